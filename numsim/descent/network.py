"""The two-layer CNN: activation, forward pass, and the split of pre-trained filters.

f = F_+1 - F_-1,  F_j(W, x) = (output_scale / m) sum_r sum_p sigma(<w_jr, x^(p)>),
sigma(z) = max(0, z)^q. derivations/model.md (4); Cao et al. 2022, section 3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["activation", "forward", "split_filters"]

Floats = npt.NDArray[np.float64]


def activation(z: npt.ArrayLike, q: float) -> Floats:
    """sigma(z) = max(0, z)^q elementwise; q = 1 is ReLU, q > 2 the paper's."""
    result: Floats = np.maximum(np.asarray(z, dtype=np.float64), 0.0) ** q
    return result


def forward(W: npt.ArrayLike, x: npt.ArrayLike, *, q: float, output_scale: float = 1.0) -> Floats:
    """Network outputs f (n,) for filters W (2, m, D), index 0 is j = +1, and patches x (n, P, D)."""
    W, x = np.asarray(W, dtype=np.float64), np.asarray(x, dtype=np.float64)
    inner = np.einsum("jrd,npd->jrnp", W, x)
    per_sign = activation(inner, q).sum(axis=(1, 3))
    outputs: Floats = output_scale / W.shape[1] * (per_sign[0] - per_sign[1])
    return outputs


def split_filters(filters: Floats, order: npt.NDArray[np.int64]) -> Floats:
    """Filters (..., 2m, D) in two random halves (..., 2, m, D) that initialise F_+1 and F_-1.

    order : (..., 2m) permutations; half j holds the filters order[j m : (j + 1) m].
    """
    *stack, count, width = filters.shape
    chosen = filters[order] if order.ndim == 1 else np.take_along_axis(filters, order[..., None], axis=-2)
    return chosen.reshape(*stack, 2, count // 2, width)
