"""The dimension-free Gaussian space: vectors of R^d in the few coordinates that anybody looks at.

All randomness of an experiment is Gaussian and rotation-invariant, and nothing looks at R^d except
through inner products. So space is revealed only where somebody looked (deferred decisions; Bartlett's
decomposition of the Wishart matrix; derivations/model.md (12)):

    axis 0 is mu / |mu|; a vector drawn from N(0, s^2 I_d) when r axes are revealed has N(0, s^2)
    coordinates on those r axes, s chi_(d - r) on one new axis, and zeros beyond.          (1)

Proof in one line: given the r axes, the rest of the vector is Gaussian in their orthogonal complement,
of dimension d - r; its length is s chi_(d - r), its direction is uniform, independent of all that was
drawn, and becomes the new axis. When r = d there is no complement and (1) is ordinary dense sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import finite, real_array

__all__ = ["Rng", "Space", "compress", "each", "lower_factor", "pad"]

Floats = npt.NDArray[np.float64]
Rng = np.random.Generator | Sequence[np.random.Generator]
"""Of one replicate, or of each of several, which are then the leading axis of what is drawn."""


def each(draw: Callable[[np.random.Generator], npt.NDArray[Any]], rng: Rng) -> npt.NDArray[Any]:
    """What ``draw`` gives, or stacked what it gives for each of several generators."""
    return np.stack([draw(one) for one in rng]) if isinstance(rng, Sequence) else draw(rng)


class Space:
    """R^dim with axis 0 along the signal; remembers how many axes have been revealed.

    Parameters
    ----------
    dim : ambient dimension d, from 1 to 1e15.
    revealed : axes that are in use already (at least the signal's); signal_axes : how many signals span.
    """

    def __init__(self, dim: int, revealed: int = 1, signal_axes: int = 1) -> None:
        """Start with ``revealed`` axes in use, or raise ValueError."""
        if not 1 <= revealed <= dim:
            raise ValueError(
                f"a space of dimension {dim} cannot have {revealed} revealed axes: give 1 <= revealed <= dim"
            )
        self.dim = dim
        self.revealed = revealed
        self.signal_axes = signal_axes

    def draw(self, count: int, scale: float, rng: Rng, *, projected: bool = False) -> Floats:
        """Coordinates (count, axes revealed afterwards) of independent N(0, scale^2 I) vectors, rule (1).

        projected: N(0, scale^2 (I - mu mu^T / |mu|^2)) instead: coordinate 0 is zero, with more signals those
        of all their axes, and the complement of the revealed axes still has dimension d - r.
        rng: a list of generators gives a leading axis, of as many spaces that reveal the same axes.
        """
        generators = rng if isinstance(rng, Sequence) else [rng]
        before = self.revealed
        fresh = min(count, self.dim - before)
        vectors = np.empty((len(generators), count, before + fresh))
        squares = np.empty((len(generators), fresh))
        freedom = float(self.dim - before) - np.arange(fresh)
        for k, generator in enumerate(generators):
            generator.standard_normal(out=vectors[k])
            if fresh:
                squares[k] = generator.chisquare(freedom)
        corner = vectors[:, :fresh, before:]  # lower triangular: row k reveals axis before + k
        corner[:, _above(fresh)] = 0.0
        diagonal = vectors.reshape(len(generators), -1)[:, before :: before + fresh + 1]
        diagonal[:, :fresh] = np.sqrt(squares)
        if projected:
            vectors[..., : self.signal_axes] = 0.0
        self.revealed = before + fresh
        vectors *= scale
        return vectors if generators is rng else vectors[0]

    def signal(self, norm: float) -> Floats:
        """mu = norm times axis 0, shape (revealed,)."""
        mu = np.zeros(self.revealed)
        mu[0] = norm
        return mu


@lru_cache(maxsize=64)
def _above(size: int) -> npt.NDArray[np.bool_]:
    """The places above the diagonal of a square matrix."""
    return np.triu(np.ones((size, size), dtype=np.bool_), 1)


def pad(vectors: Floats, width: int) -> Floats:
    """Vectors (..., D) drawn before later axes were revealed, in (..., width) coordinates (zeros there)."""
    if vectors.shape[-1] == width:
        return vectors
    padded = np.zeros((*vectors.shape[:-1], width))
    padded[..., : vectors.shape[-1]] = vectors
    return padded


def lower_factor(vectors: Floats) -> Floats:
    """The factor L (..., k, min(k, D)) of vectors = L Q (..., k, D), Q with orthonormal rows.

    Equal inner products: vectors vectors^T = L L^T.
    """
    upper: Floats = np.linalg.qr(vectors.swapaxes(-1, -2), mode="r")  # type: ignore[assignment]
    lower: Floats = upper.swapaxes(-1, -2)
    return lower


def compress(*vectors: npt.ArrayLike) -> tuple[Floats, ...]:
    """The given vectors in one common isometric coordinate system, at most sum(k_i) wide.

    With the rows stacked to X (k, d): X = L Q (LQ factorisation), and L (k, min(k, d)) are the
    coordinates, since X X^T = L L^T. Rank-deficient input needs no care: L has zeros on its diagonal.
    Where d <= k already, the arrays come back as float64 copies.

    Parameters
    ----------
    vectors : arrays (k_i, d).

    Returns
    -------
    tuple of arrays (k_i, D), D = min(d, sum k_i), all inner products kept to round-off
    (error of <x, y> at most c D eps |x| |y|).

    Raises
    ------
    ValueError : nothing given, not two-dimensional, different d, NaN or infinite entries.

    Source: derivations/model.md (12); Golub and Van Loan, Matrix Computations, 5.2 (error of Householder QR).
    """
    if not vectors:
        raise ValueError("compress got no arrays: give at least one array of shape (k, d)")
    arrays = [real_array(f"compress: array {position}", v) for position, v in enumerate(vectors)]
    for position, array in enumerate(arrays):
        if array.ndim != 2:
            raise ValueError(
                f"compress: array {position} has shape {array.shape}, expected (k, d): "
                "one vector a row (use v[None] for a single vector)"
            )
        if array.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                f"compress: array {position} has vectors of length {array.shape[1]}, "
                f"array 0 of length {arrays[0].shape[1]}: all must live in the same space"
            )
        finite(f"compress: array {position}", array)
    rows = sum(len(array) for array in arrays)
    if arrays[0].shape[1] <= rows:
        return tuple(array.copy() for array in arrays)
    lower = lower_factor(np.concatenate(arrays))
    cuts = np.cumsum([len(array) for array in arrays])[:-1]
    return tuple(np.ascontiguousarray(part) for part in np.split(lower, cuts))
