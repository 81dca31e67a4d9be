"""NT-Xent and the spectral loss, and the tasks that the loop descends on for every contrastive loss.

With features h_i = W z_i, h~_i = W z~_i (M,), u = h/|h| if normalised, else h, all 2n of them u_1 ... u_2n
with i+ the other view of i, s_ij = <u_i, u_j>/tau and row softmax p_ij over j != i:

    L = -(1/2n) sum_i log p_ii+                                                                      (1)
    dL/du_i = (1/(2n tau)) (sum_j (p_ij + p_ji) u_j - 2 u_i+)                                        (2)
    dL/dh_i = (dL/du_i - u_i <u_i, dL/du_i>)/|h_i|   (normalised)                                    (3)

(2): s_ij is in the terms of i and of j, with derivatives p_ij - [j = i+] and p_ji - [i = j+]. (3): the
derivative of h/|h| is (1 - u u^T)/|h|; it follows that <W, dL/dW> = 0, the loss does not know the scale of W.

    L = -(2/n) sum_i <h_i, h~_i> + (1/(n (n - 1))) sum_{i != k} <h_i, h_k>^2      (spectral)         (4)
    dL/dh_i = -(2/n) h~_i + (4/(n (n - 1))) (C - |h_i|^2) h_i,  dL/dh~_i = -(2/n) h_i,
        C = sum_k h_k h_k^T                                                                          (5)

InfoNCE (contrastive.py) has its negatives among the samples alone. Chen et al. 2020 (NT-Xent); HaoChen et al.
2021 (spectral, as remembered: a form of theirs with samples for both factors of the second term).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..models.checks import positive
from ._kernels import contrastive as kernels
from ._kernels.exponential import TILE
from ._kernels.supervised import Activation
from .blocks import contrastive_buffers
from .views import checked_filters, checked_views

__all__ = ["CONTRASTIVE", "contrastive_task", "nt_xent", "spectral_loss"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CONTRASTIVE = ("info_nce", "nt_xent", "spectral")
"""By the name of ``pretraining.loss``."""


def contrastive_task(
    loss: str,
    filters: int,
    entries: int,
    patches: Integers,
    *,
    temperature: float,
    normalised: bool,
    activation: Activation | None = None,
    threads: int = 1,
) -> Any:
    """What the loop descends on: patches (n, 2P) into the dictionary, of a sample and then of its view.

    activation : of the network encoder, None for the linear one, whose patches are in order.
    """
    samples = len(patches)
    network = activation is not None
    encoder = kernels.Encoder(network, patches, activation or Activation(0, 1.0, 0.0, 1.0), normalised)
    size, columns = filters * 2 * samples, 2 * samples
    panels = 0
    if loss == "nt_xent":
        starts = np.arange(0, columns, kernels.PANEL)
        panels = int(np.sum(np.minimum(kernels.PANEL, columns - starts) * (columns - starts)))
    scratch = kernels.Scratch(
        features=np.empty(size if network else 0),
        unit=np.empty(size if normalised else 0),
        pull=np.empty(size),
        slopes=np.empty(filters * entries if network else 0),
        rows=np.empty((6, columns)),
        panels=np.empty(panels),
        bits=np.empty(TILE),
        ones=np.ones(columns),
        square=np.empty(filters**2),
    )
    if loss == "nt_xent":
        return kernels.NTXent(temperature, encoder, scratch)
    if loss == "spectral":
        return kernels.Spectral(encoder, scratch)
    return kernels.InfoNCE(temperature, encoder, scratch, contrastive_buffers(filters, samples, threads))


_KERNELS: dict[str, Any] = {
    "info_nce": kernels.info_nce,
    "nt_xent": kernels.nt_xent,
    "spectral": kernels.spectral,
}


def loss_gradient(
    loss: str, W: Floats, z: Floats, z_aug: Floats, temperature: float, normalised: bool
) -> tuple[float, Floats]:
    """A contrastive loss of the linear encoder and its gradient, for checked arrays."""
    n = len(z)
    inner = np.concatenate([W @ z.T, W @ z_aug.T], axis=1)
    if normalised:
        lengths = np.max(np.abs(inner), axis=0)
        if not (lengths > 0).all():
            at = int(np.argmin(lengths))
            which = f"z[{at}]" if at < n else f"z_aug[{at - n}]"
            raise ValueError(
                f"the feature W {which} is 0, expected one with a direction: it cannot be normalised"
            )
    patches = np.stack([np.arange(n), np.arange(n, 2 * n)], axis=1)
    task = contrastive_task(loss, len(W), 2 * n, patches, temperature=temperature, normalised=normalised)
    out = np.zeros_like(inner)
    value = float(_KERNELS[loss](np.ascontiguousarray(inner), task, out))
    grad: Floats = -(out[:, :n] @ z + out[:, n:] @ z_aug)
    if not (np.isfinite(value) and np.isfinite(grad).all()):
        raise ValueError(
            "the similarities exceed what float64 tells apart: scale W or z down, or raise temperature"
        )
    return value, grad


def nt_xent(
    W: npt.ArrayLike,
    z: npt.ArrayLike,
    z_aug: npt.ArrayLike,
    *,
    temperature: float = 0.5,
    normalised: bool = True,
) -> tuple[float, Floats]:
    """NT-Xent (1) of the linear CNN and its gradient (2), (3).

    Parameters
    ----------
    W : (M, D) filters.
    z, z_aug : (n0, D) patch sums and their augmented views.
    temperature : tau > 0.
    normalised : whether features have length 1.

    Returns
    -------
    loss : float; log(2 n0 - 1) where all features are equal.
    grad : (M, D); <W, grad> = 0 where normalised.

    Raises
    ------
    ValueError : shapes that do not fit, NaN or infinite entries, temperature <= 0, a feature of length 0 that
        would be normalised, similarities beyond float64.

    Source: equations (1) to (3) of this module. Stable at any temperature and scale of W.
    """
    z, z_aug = checked_views(z, z_aug)
    W = checked_filters(W, z.shape[1])
    return loss_gradient("nt_xent", W, z, z_aug, positive("temperature", temperature), bool(normalised))


def spectral_loss(W: npt.ArrayLike, z: npt.ArrayLike, z_aug: npt.ArrayLike) -> tuple[float, Floats]:
    """Spectral contrastive loss (4) of the linear CNN and its gradient (5).

    Parameters
    ----------
    W : (M, D) filters.
    z, z_aug : (n0, D) patch sums and their augmented views, n0 >= 2.

    Returns
    -------
    loss : float; 0 at W = 0.
    grad : (M, D).

    Raises
    ------
    ValueError : shapes that do not fit, n0 = 1, NaN or infinite entries, similarities beyond float64.

    Source: equations (4) and (5) of this module.
    """
    z, z_aug = checked_views(z, z_aug)
    if len(z) < 2:
        raise ValueError("z has 1 sample, expected at least 2: the spectral loss is over pairs")
    W = checked_filters(W, z.shape[1])
    return loss_gradient("spectral", W, z, z_aug, 1.0, False)
