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

from ..models.checks import finite, positive, real_array
from ._kernels import similarity, softmax
from .blocks import contrastive_buffers
from .offset import info_nce_gradient, shifted

__all__ = ["LINEAR_END", "checked_filters", "checked_views", "info_nce"]

Floats = npt.NDArray[np.float64]
LINEAR_END = 0.3
"""The linear stage ends at the first step with max |s_ii'| / temperature above this."""
FAR, VERY_FAR = 1.0, 32.0
"""Offsets |mean z| / rms |z_i - mean z| from which samples are shifted (offset.py): in one evaluation, which
that keeps exact to round-off, and in a descent, whose steps then take up to twice as long: there the factor
R^2 eps is left up to 2e-13. Below, every bit is that of the formulas here."""


def checked_views(z: npt.ArrayLike, z_aug: npt.ArrayLike) -> tuple[Floats, Floats]:
    """z and z~ as float64 (n0, D), or a ValueError that says what does not fit."""
    z, z_aug = real_array("z", z), real_array("z_aug", z_aug)
    if z.ndim != 2 or z_aug.shape != z.shape or len(z) == 0:
        raise ValueError(
            f"z has shape {z.shape} and z_aug {z_aug.shape}, expected the same (n0, D) for both, n0 >= 1: "
            "row i of z_aug is the augmented view of row i of z"
        )
    finite("z", z)
    finite("z_aug", z_aug)
    return z, z_aug


def checked_filters(W: npt.ArrayLike, width: int) -> Floats:
    """W as float64 (M, width), or a ValueError that says what does not fit."""
    W = real_array("W", W)
    if W.ndim != 2 or W.shape[1] != width or len(W) == 0:
        raise ValueError(f"W has shape {W.shape}, expected (M, {width}): one filter a row, as wide as z")
    finite("W", W)
    return W


def info_nce(
    W: npt.ArrayLike, z: npt.ArrayLike, z_aug: npt.ArrayLike, *, temperature: float = 1.0
) -> tuple[float, Floats]:
    """InfoNCE loss (1) of the linear CNN and its gradient (2).

    Parameters
    ----------
    W : (M, D) filters.
    z, z_aug : (n0, D) patch sums and their augmented views; negatives are the un-augmented z_i'.
    temperature : tau > 0.

    Returns
    -------
    loss : float; log n0 at W = 0.
    grad : (M, D).

    Raises
    ------
    ValueError : shapes that do not fit, NaN or infinite entries, temperature <= 0, similarities beyond
        float64.

    Source: derivations/model.md (6) and (8). Stable for similarities of any size; samples far from the origin
    cost no digits (offset.py), beyond an offset of about 1e16 times their spread they no longer differ.
    """
    z, z_aug = checked_views(z, z_aug)
    W = checked_filters(W, z.shape[1])
    temperature = positive("temperature", temperature)
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
