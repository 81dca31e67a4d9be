"""The two-layer CNN: activations, forward pass, and the split of pre-trained filters.

f = F_+1 - F_-1,  F_j(W, x) = (output_scale / m) sum_r sum_p sigma(<w_jr, x^(p)>), with sigma one of

    relu    max(0, z)^q                                                                               (1)
    power   sign(z) |z|^q                                                                             (2)
    leaky   a z for z <= 0; a z + (1 - a) z^2/(2 b) up to b; z - (1 - a) b/2 beyond, which is smooth  (3)

a the ``slope``, b the ``width``. derivations/model.md (4); Cao et al. 2022, section 3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["ACTIVATIONS", "activation", "forward", "split_filters"]

Floats = npt.NDArray[np.float64]

ACTIVATIONS = ("relu", "power", "leaky")
"""By name, in the order of the kernels' numbers."""


def activation(
    z: npt.ArrayLike, q: float, kind: str = "relu", slope: float = 0.1, width: float = 1.0
) -> Floats:
    """sigma(z) elementwise, (1) to (3); q = 1 is ReLU, q > 2 the paper's; leaky ignores q."""
    z = np.asarray(z, dtype=np.float64)
    result: Floats
    if kind == "leaky":
        inside = np.clip(z, 0.0, width)
        rest = np.maximum(z - width, 0.0)
        result = slope * z + (1 - slope) * (inside**2 / (2 * width) + rest)
    elif kind == "power":
        result = np.sign(z) * np.abs(z) ** q
    else:
        result = np.maximum(z, 0.0) ** q
    return result


def forward(
    W: npt.ArrayLike,
    x: npt.ArrayLike,
    *,
    q: float,
    output_scale: float = 1.0,
    kind: str = "relu",
    slope: float = 0.1,
    width: float = 1.0,
) -> Floats:
    """Network outputs f (n,) for filters W (2, m, D), index 0 is j = +1, and patches x (n, P, D)."""
    W, x = np.asarray(W, dtype=np.float64), np.asarray(x, dtype=np.float64)
    inner = np.einsum("jrd,npd->jrnp", W, x)
    per_sign = activation(inner, q, kind, slope, width).sum(axis=(1, 3))
    outputs: Floats = output_scale / W.shape[1] * (per_sign[0] - per_sign[1])
    return outputs


def split_filters(filters: Floats, order: npt.NDArray[np.int64]) -> Floats:
    """Filters (..., 2m, D) in two random halves (..., 2, m, D) that initialise F_+1 and F_-1.

    order : (..., 2m) permutations; half j holds the filters order[j m : (j + 1) m].
    """
    *stack, count, width = filters.shape
    chosen = filters[order] if order.ndim == 1 else np.take_along_axis(filters, order[..., None], axis=-2)
    return chosen.reshape(*stack, 2, count // 2, width)
