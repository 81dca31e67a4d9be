"""The power matrix A, by which small filters grow (P1), and its leading eigenpairs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..models.checks import positive
from ..models.streams import fixed
from . import offset
from .contrastive import FAR, VERY_FAR
from .offset import shifted
from .views import checked_views

__all__ = ["power_matrix", "top_eigenpairs"]

Floats = npt.NDArray[np.float64]


def power_matrix(
    z: npt.ArrayLike, z_aug: npt.ArrayLike, *, learning_rate: float, temperature: float = 1.0
) -> Floats:
    """The matrix A (D, D) of claim P1: pre-training of small filters is w <- (I + A) w.

    A = (eta/(n0^2 tau)) sum_i sum_{i' != i} (z_i z~_i^T + z~_i z_i^T - z_i z_i'^T - z_i' z_i^T)
      = (eta/(n0^2 tau)) [(n0 - 1)(z^T z~ + z~^T z) + 2 z^T z - 2 s s^T],  s = sum_i z_i,

    which is -eta H(0): gradient (2) with all softmax weights 1/n0.

    Parameters
    ----------
    z, z_aug : (n0, D), as for ``info_nce``.
    learning_rate, temperature : eta and tau, positive.

    Raises
    ------
    ValueError : as ``info_nce``; products beyond float64.

    Source: P1; Zhang and Cao, Lemma 5.1. Samples far from the origin cost no digits (offset.py).
    """
    z, z_aug = checked_views(z, z_aug)
    learning_rate = positive("learning_rate", learning_rate)
    temperature = positive("temperature", temperature)
    A = _power_matrix(z, z_aug, learning_rate / (len(z) ** 2 * temperature), FAR)
    if not np.isfinite(A).all():
        raise ValueError("products of z and z_aug exceed the range of float64: scale them down")
    return A


@np.errstate(over="ignore", invalid="ignore")
def _power_matrix(z: Floats, z_aug: Floats, scale: float, far: float) -> Floats:
    data = shifted(z, z_aug, far)
    if data is not None:
        return offset.power_matrix(data, scale)
    n = len(z)
    cross = z.T @ z_aug
    total = z.sum(axis=0)
    A: Floats = scale * ((n - 1) * (cross + cross.T) + 2.0 * (z.T @ z) - 2.0 * np.outer(total, total))
    return A


def top_eigenpairs(
    z: Floats, z_aug: Floats, *, learning_rate: float, temperature: float, count: int = 1
) -> tuple[Floats, Floats]:
    """Largest eigenvalues (count,), descending, and unit eigenvectors (D, count) of the power matrix.

    By Lanczos on products with z and z~ (never forming A) unless D is small; the start vector is fixed.
    """
    n, width = z.shape
    scale = learning_rate / (n**2 * temperature)
    if width <= 400:
        A = _power_matrix(z, z_aug, scale, VERY_FAR)
        values, vectors = np.linalg.eigh(A)
        return values[::-1][:count].copy(), vectors[:, ::-1][:, :count].copy()
    from scipy.sparse.linalg import LinearOperator, eigsh

    total = z.sum(axis=0)

    def product(v: Floats) -> Floats:
        v = v.reshape(width)
        first, second = z @ v, z_aug @ v
        both = z.T @ ((n - 1) * second + 2.0 * first) + z_aug.T @ ((n - 1) * first)
        result: Floats = scale * (both - 2.0 * total * (total @ v))
        return result

    operator = LinearOperator((width, width), matvec=product, dtype=np.float64)
    start = fixed().standard_normal(width)
    values, vectors = eigsh(operator, k=count, which="LA", v0=start)
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]
