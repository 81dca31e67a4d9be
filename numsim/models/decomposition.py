"""Signal-noise decomposition: from coefficients on the dictionary to gamma and rho, and back to filters.

    w_jr = w_jr^0 + j gamma_jr mu / |mu|^2 + sum_i rho_jri xi_i / |xi_i|^2     (supervised stage)    (1)
    w_r  = w_r^0 + gamma_r mu / |mu|^2 + sum_i rho_ri xi_i / |xi_i|^2
                 + sum_i rho~_ri xi~_i / |xi~_i|^2                             (pre-training)        (2)

derivations/model.md (10); Cao et al. 2022, Definition 4.1. A step's coefficients c on the vectors v become
gamma and rho through |v|^2; a vector of length zero has coefficient zero.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .dictionary import PatchDictionary

__all__ = ["pretraining_coefficients", "reassemble", "supervised_coefficients"]

Floats = npt.NDArray[np.float64]


def pretraining_coefficients(
    on_sums: Floats, dictionary: PatchDictionary, mu: Floats, noise: Floats, augmented: Floats
) -> tuple[Floats, Floats, Floats]:
    """gamma (..., M), rho and rho~ (..., M, n0) of (2) from coefficients (..., M, K) on ``dictionary``.

    Its parts are "samples" and "views": z_i = y_i mu + xi_i gives
    gamma_r = |mu|^2 sum_i y_i (alpha_ri + alpha~_ri), rho_ri = alpha_ri |xi_i|^2.
    """
    own, view = (on_sums[..., dictionary.part(name)] for name in ("samples", "views"))
    gamma = float(mu @ mu) * ((own + view) @ dictionary.labels)
    return gamma, own * np.sum(noise**2, axis=1), view * np.sum(augmented**2, axis=1)


def supervised_coefficients(
    on_patches: Floats, dictionary: PatchDictionary, mu: Floats, noise: Floats
) -> tuple[Floats, Floats]:
    """gamma (..., 2, m) and rho (..., 2, m, n) of (1) from coefficients (..., 2m, K) on ``dictionary``.

    Its parts are "signal", +mu and -mu, and "noise", the xi_i.
    """
    *lead, filters, entries = on_patches.shape
    c = on_patches.reshape(*lead, 2, filters // 2, entries)
    sign = np.array([1.0, -1.0])[:, None]
    plus, minus = np.moveaxis(c[..., dictionary.part("signal")], -1, 0)
    gamma: Floats = sign * (plus - minus) * float(mu @ mu)
    rho: Floats = c[..., dictionary.part("noise")] * np.sum(noise**2, axis=1)
    return gamma, rho


def reassemble(W0: Floats, gamma: Floats, rho: Floats, mu: Floats, noise: Floats) -> Floats:
    """Filters (2, m, D) from (1); W0 (2, m, D), gamma (2, m), rho (2, m, n), mu (D,), noise (n, D)."""
    sign = np.array([1.0, -1.0])[:, None]
    filters: Floats = W0 + (sign * gamma)[..., None] * _unit_square(mu) + rho @ _unit_square(noise)
    return filters


def _unit_square(vectors: Floats) -> Floats:
    """v / |v|^2 along the last axis, zero for a zero vector."""
    squares = np.sum(vectors**2, axis=-1, keepdims=True)
    scaled: Floats = np.divide(vectors, squares, out=np.zeros_like(vectors), where=squares > 0)
    return scaled
