"""Contrastive pre-training of the linear CNN: InfoNCE, its gradient, the power matrix, the dynamics.

With z_i = y_i mu + xi_i, P = W z^T (M, n0), P~ = W z~^T, s_ii' = <P_i, P_i'>, s_i+ = <P_i, P~_i> and row
softmax p over {i+} and {i' != i},

    L = -(1/n0) sum_i log p_i+                                                                       (1)
    dL/dW = (1/(n0 tau)) (C z + C~ z~),                                                              (2)
        C_ri = sum_i' (p_ii' + p_i'i) P_ri' + (p_i+ - 1) P~_ri,    C~_ri = (p_i+ - 1) P_ri.

Derivation: dL/ds_i+ = (p_i+ - 1)/(n0 tau), dL/ds_ii' = p_ii'/(n0 tau); s_ii' is bilinear in P and P, so
that P_i receives p_ii' P_i' from row i and p_i'i P_i' from row i'; s_i+ gives P~_i to z_i and P_i to z~_i.
All filters share the same symmetric map: dL/dw_r = H(W) w_r (derivations/model.md (8)).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..models.checks import positive
from ._kernels import similarity, softmax
from .blocks import contrastive_buffers
from .nt_xent import loss_gradient
from .offset import info_nce_gradient, shifted
from .views import checked_filters, checked_views

__all__ = ["LINEAR_END", "info_nce"]

Floats = npt.NDArray[np.float64]
LINEAR_END = 0.3
"""The linear stage ends at the first step with max |s_ii'| / temperature above this."""
FAR, VERY_FAR = 1.0, 32.0
"""Offsets |mean z| / rms |z_i - mean z| from which samples are shifted (offset.py): in one evaluation, which
that keeps exact to round-off, and in a descent, whose steps then take up to twice as long: there the factor
R^2 eps is left up to 2e-13. Below, every bit is that of the formulas here."""


def info_nce(
    W: npt.ArrayLike,
    z: npt.ArrayLike,
    z_aug: npt.ArrayLike,
    *,
    temperature: float = 1.0,
    normalised: bool = False,
) -> tuple[float, Floats]:
    """InfoNCE loss (1) of the linear CNN and its gradient (2).

    Parameters
    ----------
    W : (M, D) filters.
    z, z_aug : (n0, D) patch sums and their augmented views; negatives are the un-augmented z_i'.
    temperature : tau > 0.
    normalised : whether features are divided by their length, nt_xent.py (3).

    Returns
    -------
    loss : float; log n0 at W = 0, or where all unit features are equal.
    grad : (M, D).

    Raises
    ------
    ValueError : shapes that do not fit, NaN or infinite entries, temperature <= 0, similarities beyond
        float64, a feature of length 0 that would be normalised.

    Source: derivations/model.md (6) and (8). Stable for similarities of any size; samples far from the origin
    cost no digits (offset.py), beyond an offset of about 1e16 times their spread they no longer differ.
    """
    z, z_aug = checked_views(z, z_aug)
    W = checked_filters(W, z.shape[1])
    temperature = positive("temperature", temperature)
    if normalised:
        return loss_gradient("info_nce", W, z, z_aug, temperature, True)
    loss, grad = _info_nce(W, z, z_aug, temperature)
    if not (np.isfinite(loss) and np.isfinite(grad).all()):
        raise ValueError("similarities <F(z_i), F(z_i')> exceed the range of float64: scale W or z down")
    return loss, grad


@np.errstate(over="ignore", invalid="ignore")
def _info_nce(W: Floats, z: Floats, z_aug: Floats, temperature: float) -> tuple[float, Floats]:
    n = len(z)
    data = shifted(z, z_aug, FAR)
    if data is not None:
        return info_nce_gradient(W, data, temperature, contrastive_buffers(len(W) + 1, n))
    inner = np.concatenate([W @ z.T, W @ z_aug.T], axis=1)
    buffers = contrastive_buffers(len(W), n)
    similarity.set_exponents(inner, temperature, buffers)
    loss = softmax.info_nce_increments(inner, temperature, 1.0, buffers)
    grad: Floats = (buffers.increments[:, :n] @ z + buffers.increments[:, n:] @ z_aug) / (n * temperature)
    return float(loss), grad
