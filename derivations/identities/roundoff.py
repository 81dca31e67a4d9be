"""What checks of exact identities share: largest deviations, and derivatives of a loss that know only it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from numsim.claims import Comparison, equals

__all__ = [
    "EPS",
    "Deviations",
    "complex_gradient",
    "deviation",
    "difference_quotient",
]

Floats = npt.NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)


def deviation(measured: npt.ArrayLike, expected: npt.ArrayLike, size: float | None = None) -> float:
    """Largest |measured - expected|, relative to ``size`` (by default the largest |expected|)."""
    a, b = np.asarray(measured, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if a.shape != b.shape:
        return float("inf")
    size = float(np.max(np.abs(b), initial=0.0)) if size is None else size
    difference = float(np.max(np.abs(a - b), initial=0.0))
    return difference / size if size > 0 else (0.0 if difference == 0 else float("inf"))


class Deviations:
    """The largest deviation of every identity over all cases it was tried on."""

    def __init__(self) -> None:
        """Nothing tried yet."""
        self.worst: dict[str, float] = {}

    def add(
        self, name: str, measured: npt.ArrayLike, expected: npt.ArrayLike, size: float | None = None
    ) -> None:
        """One more case of the identity ``name``."""
        found = deviation(measured, expected, size)
        self.worst[name] = float(np.maximum(self.worst.get(name, 0.0), found))  # a NaN stays

    def compared(self, tolerance: float, **others: float) -> list[Comparison]:
        """One comparison an identity: the worst deviation is 0 up to ``tolerance``.

        others : tolerances of identities that have their own, by the first word of their names.
        """
        return [
            equals(name, 0.0, value, absolute=others.get(name.split()[0], tolerance))
            for name, value in self.worst.items()
        ]


def complex_gradient(loss: Callable[[npt.NDArray[np.complex128]], complex], W: Floats) -> Floats:
    """The gradient of a real-analytic loss, entry by entry: Im loss(W + i h e) / h, exact for tiny h."""
    h = 1e-30
    gradient = np.empty_like(W)
    for index in np.ndindex(*W.shape):
        moved = W.astype(np.complex128)
        moved[index] += 1j * h
        gradient[index] = loss(moved).imag / h
    return gradient


def difference_quotient(loss: Callable[[Floats], float], W: Floats, along: Floats, h: float) -> float:
    """(loss(W + h V) - loss(W - h V)) / (2 h) for the direction V = ``along``."""
    return (loss(W + h * along) - loss(W - h * along)) / (2 * h)
