"""What the checks of exact identities (E1 to E5) share: deviations, and how large round-off makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numsim.claims import Comparison, equals

__all__ = [
    "EPS",
    "Deviations",
    "complex_gradient",
    "deviation",
    "difference_quotient",
    "disturbed",
    "recorded_steps",
    "trajectory_tolerance",
    "unless_given",
]

Floats = npt.NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)
_FLOOR = 1e-10
_RESPONSE = 100.0


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


def unless_given(
    function: Callable[..., npt.ArrayLike], given: Mapping[str, Any], **defaults: Any
) -> Comparison:
    """What is not given has these values: a closed form called without them, and with them."""
    without, explicit = function(**given), function(**given, **defaults)
    name = f"{function.__name__}: {', '.join(defaults)} unless given"
    return equals(name, 0.0, deviation(without, explicit, 1.0))


def disturbed(W: Floats, rng: np.random.Generator, copies: int = 2) -> list[Floats]:
    """W (...) with every entry changed by a relative eps, up or down at random."""
    return [W * (1.0 + EPS * rng.choice([-1.0, 1.0], size=W.shape)) for _ in range(copies)]


def trajectory_tolerance(states: Sequence[Floats], others: Sequence[Sequence[Floats]]) -> list[float]:
    """Absolute tolerance of each state of a trajectory, E4 (11).

    1e-10 of its largest entry, or 100 times its response to a round-off perturbation of the start, which the
    same trajectory from disturbed starts (``others``) shows.
    """
    return [
        max(
            _FLOOR * float(np.max(np.abs(state))),
            _RESPONSE * max(float(np.max(np.abs(other[t] - state))) for other in others),
        )
        for t, state in enumerate(states)
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


def recorded_steps(steps: int, rows: int) -> list[int]:
    """Which steps a record of ``rows`` rows keeps.

    When it is full, every other row goes and the stride doubles; the last step is always there.
    """
    stride = 1
    while steps >= rows * stride:
        stride *= 2
    return sorted({*range(0, steps, stride), steps})
