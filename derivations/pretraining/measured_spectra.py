"""What the checks of P2 and P6 measure: spectra of the power matrix of drawn samples, whole or its top.

Lengths are in units of sigma_p sqrt(d) and eigenvalues in units of u, so that |mu|^2 = kappa / n0. A draw
that several comparisons or controls look at is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.descent.power_matrix import top_eigenpairs
from numsim.models.signal_noise import Unlabelled, draw_unlabelled
from numsim.models.space import Space, pad
from numsim.theory import power_unit

__all__ = ["HIGH", "Bordered", "Found", "bordered", "resolvent_traces", "samples", "tops", "whole"]

Floats = npt.NDArray[np.float64]

HIGH = 1e13
"""A dimension so high that sqrt(n0/d) is nothing."""

_RATE, _TEMPERATURE, _SIGMA = 0.3, 0.7, 1.7
"""Any will do: the unit u takes them out."""

_ROWS = 32


def samples(
    count: int,
    dim: float,
    rng: np.random.Generator,
    *,
    overlap: float = 0.0,
    projected: bool = True,
    balanced: bool = True,
) -> Unlabelled:
    """Labels, noise and augmented noise of ``count`` samples in R^dim, sigma_p = 1/sqrt(dim)."""
    space = Space(round(dim))
    drawn = draw_unlabelled(
        space,
        count,
        sigma_p=dim**-0.5,
        projected=projected,
        balanced=balanced,
        overlap=overlap,
        fixed_views=True,
        label_rng=rng,
        noise_rng=rng,
        view_rng=rng,
    )
    assert drawn.augmented is not None
    return Unlabelled(drawn.labels, pad(drawn.noise, space.revealed), drawn.augmented)


class Found(NamedTuple):
    """Of one draw: eigenvalues in units of u, cos^2(v_1, mu), mean_i y_i <v_1, xi_i> over <v_1, mu>."""

    top: float
    second: float
    lowest: float
    alignment: float
    noise_share: float


@lru_cache(maxsize=4096)
def whole(
    seed: int,
    count: int,
    dim: float,
    kappa: float,
    overlap: float = 0.0,
    *,
    projected: bool = True,
    negatives: bool = True,
) -> Found:
    """The whole spectrum of one draw, in physical units and divided by u.

    ``negatives`` False: of A without the terms of the negative pairs.
    """
    rng = np.random.default_rng(seed)
    drawn = samples(count, dim, rng, overlap=overlap, projected=projected)
    assert drawn.augmented is not None
    length = _SIGMA * dim**0.5
    noise, views = length * drawn.noise, length * drawn.augmented
    mu = np.zeros(noise.shape[1])
    mu[0] = length * (kappa / count) ** 0.5
    z, z_aug = Unlabelled(drawn.labels, noise, views).sums(mu)
    if negatives:
        values, vectors = top_eigenpairs(
            z, z_aug, learning_rate=_RATE, temperature=_TEMPERATURE, count=len(mu)
        )
    else:
        ascending, columns = np.linalg.eigh(_RATE / _TEMPERATURE / count * (z.T @ z_aug + z_aug.T @ z))
        values, vectors = ascending[::-1], columns[:, ::-1]
    unit = power_unit(
        learning_rate=_RATE, temperature=_TEMPERATURE, sigma_p=_SIGMA, dim=round(dim), samples=count
    )
    along = float(vectors[:, 0] @ mu)
    across = float(np.mean(drawn.labels * (noise @ vectors[:, 0])))
    top, second, lowest = (float(values[k]) / unit for k in (0, 1, -1))
    return Found(top, second, lowest, along**2 / float(mu @ mu), across / along if along else np.nan)


@dataclass(frozen=True)
class Bordered:
    """A/u in the Krylov space of mu: tridiagonal, and only its first row and column know kappa, P2 (9).

    signal : the entry at mu, over kappa; coupling : the entry beside it, over sqrt(kappa); diagonal (k,),
    beside (k - 1,) : the tridiagonal matrix of the noise.
    """

    signal: float
    coupling: float
    diagonal: Floats
    beside: Floats

    def top(self, kappa: float) -> tuple[float, float, float]:
        """The two largest eigenvalues and cos^2(v_1, mu)."""
        from scipy.linalg import eigh_tridiagonal

        diagonal = np.concatenate([[kappa * self.signal], self.diagonal])
        beside = np.concatenate([[np.sqrt(kappa) * self.coupling], self.beside])
        last = len(diagonal) - 1
        values, vectors = eigh_tridiagonal(
            diagonal, beside, select="i", select_range=(last - 1, last), check_finite=False
        )
        return float(values[1]), float(values[0]), float(vectors[0, 1] ** 2)


class _Rows:
    """A matrix in blocks of rows that fit in the cache, each without the zeros at its end.

    Drawn noise is a staircase, and a product with the matrix and one with its transpose share a pass.
    """

    def __init__(self, matrix: Floats) -> None:
        self._blocks = []
        for start in range(0, len(matrix), _ROWS):
            rows = matrix[start : start + _ROWS]
            width = 1 + int(np.max(np.flatnonzero(rows.any(axis=0)), initial=0))
            self._blocks.append((slice(start, start + _ROWS), rows[:, :width]))

    def apply(self, v: Floats, count: int, back: Floats | None = None, image: Floats | None = None) -> Floats:
        """Matrix times v, (count,); the transpose times ``back`` is added to ``image``."""
        result = np.empty(count)
        for rows, block in self._blocks:
            width = block.shape[1]
            result[rows] = block @ v[:width]
            if back is not None and image is not None:
                image[:width] += back[rows] @ block
        return result

    def add_transposed(self, back: Floats, image: Floats) -> None:
        """Add the transpose times ``back`` to ``image``."""
        for rows, block in self._blocks:
            image[: block.shape[1]] += back[rows] @ block


def bordered(drawn: Unlabelled) -> Bordered:
    """Lanczos' recursion for A/u as P2 (2) has it, started at mu; noise projected off mu.

    12 n0^(1/3) steps: the gap that has to be resolved at the edge is n0^(-2/3) wide. Every new vector is made
    orthogonal to all before it, twice: eigenvalues that have converged would otherwise come up again.
    """
    assert drawn.augmented is not None
    n, width = drawn.noise.shape
    noise, views = _Rows(drawn.noise), _Rows(drawn.augmented)
    signs, ones = drawn.labels / np.sqrt(n), np.full(n, n**-0.5)
    mean = float(signs @ ones)

    def product(v: Floats) -> Floats:
        image = np.zeros(width)
        first = noise.apply(v, n)
        second = views.apply(v, n, (1 - 1 / n) * first, image)
        noise.add_transposed((1 - 1 / n) * second + 2 / n * first - 2 * (ones @ first) * ones, image)
        return image

    border = np.zeros(width)
    noise.add_transposed((1 + 1 / n) * signs - 2 * mean * ones, border)
    views.add_transposed((1 - 1 / n) * signs, border)
    coupling = float(np.linalg.norm(border))
    basis = np.zeros((min(round(12 * n ** (1 / 3)), width), width))
    basis[0] = border / coupling
    diagonal, beside = [], []
    for k in range(len(basis)):
        image = product(basis[k])
        diagonal.append(float(basis[k] @ image))
        for _ in range(2):
            image -= (basis[: k + 1] @ image) @ basis[: k + 1]
        length = float(np.linalg.norm(image))
        if k + 1 == len(basis) or length < 1e-11:
            break
        beside.append(length)
        basis[k + 1] = image / length
    return Bordered(2 * (1 - mean**2), coupling, np.array(diagonal), np.array(beside))


@lru_cache(maxsize=4096)
def tops(
    seed: int,
    count: int,
    aspect: float,
    kappas: tuple[float, ...],
    overlap: float = 0.0,
    imbalance: float | None = 0.0,
) -> Floats:
    """Top, second, cos^2 (K, 3) of one draw at K values of kappa, with the same noise.

    aspect : c; imbalance : the mean label, None for labels drawn independently.
    """
    rng = np.random.default_rng(seed)
    drawn = samples(count, count / aspect, rng, overlap=overlap, balanced=imbalance is not None)
    if imbalance:
        labels = np.where(np.arange(count) < round(count * (1 + imbalance) / 2), 1.0, -1.0)
        drawn = Unlabelled(labels, drawn.noise, drawn.augmented)
    tridiagonal = bordered(drawn)
    return np.array([tridiagonal.top(kappa) for kappa in kappas])


@lru_cache(maxsize=1024)
def resolvent_traces(seed: int, count: int, dim: int, value: float, overlap: float = 0.0) -> Floats:
    """(3,) of the noise's matrix M at lambda = ``value``: tr(lambda - M)^-1 / d, and with P and Q around it.

    P = (X + X~)/sqrt(2 (1 + a)), Q = (X - X~)/sqrt(2 (1 - a)): the traces of P (lambda - M)^-1 P^T / n0 and
    the same with Q, P2 (5).
    """
    drawn = samples(count, dim, np.random.default_rng(seed), overlap=overlap)
    first, second = drawn.noise, drawn.augmented
    assert second is not None
    noise = first.T @ second
    inverse = np.linalg.inv(value * np.eye(len(noise)) - noise - noise.T)
    plus, minus = (first + second) / (2 * (1 + overlap)) ** 0.5, (first - second) / (2 * (1 - overlap)) ** 0.5
    # Axes that no sample reaches are eigenvectors of M with the eigenvalue 0.
    trace = (np.trace(inverse) + (dim - len(noise)) / value) / dim
    return np.array([trace, *(np.sum((side @ inverse) * side) / count for side in (plus, minus))])
