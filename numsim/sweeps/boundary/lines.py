"""The lines of a sweep: points run, outcomes, and the fit of each."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...config.errors import fault
from ...models.checks import show
from .likelihood import likeliest

Floats = npt.NDArray[np.float64]


class Line(NamedTuple):
    """Points run of one line: u (K,), success (K, S) made rising, its sums k and n, the fit t and w."""

    u: Floats
    success: Floats
    k: Floats
    n: Floats
    t: float
    w: float

    @property
    def seeds(self) -> int:
        """How many seeds were run anywhere on the line."""
        return int((~np.isnan(self.success)).any(axis=0).sum())

    @property
    def side(self) -> int:
        """-1 : the boundary is below the first point run, 1 : above the last, 0 : neither."""
        if not self.u.size:
            return 0
        below = not (self.n > self.k).any() or self.t < self.u[0]
        above = not (self.k > 0).any() or self.t > self.u[-1]
        return int(above) - int(below)

    @property
    def found(self) -> bool:
        """Whether the boundary lies within the points run."""
        return not math.isnan(self.t) and self.side == 0


def transformed(x: npt.ArrayLike, log: bool) -> Floats:
    """u : (K,), log x or x."""
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all() or (np.diff(values) <= 0).any():
        raise ValueError(fault("x", show(x), "finite numbers in ascending order"))
    if not log:
        return values
    if values[0] <= 0:
        raise ValueError(fault("x", f"{values[0]:g} as its first", "numbers above 0, or log=False"))
    return np.asarray(np.log(values), dtype=np.float64)


def fitted_lines(u: Floats, success: npt.ArrayLike, rising: bool) -> list[Line]:
    """Each line of success (L, K, S) with its fit."""
    values = np.asarray(success, dtype=np.float64)
    if values.ndim != 3 or values.shape[1] != u.size:
        raise ValueError(fault("success", f"shape {values.shape}", f"(lines, {u.size} points as x, seeds)"))
    if not values.shape[2]:
        raise ValueError(fault("success", "no seeds", "at least one"))
    if not (np.isnan(values) | (values == 0) | (values == 1)).all():
        wrong = values[~(np.isnan(values) | (values == 0) | (values == 1))][0]
        raise ValueError(fault("success", f"{wrong:g} in it", "0, 1, or NaN for what was not run"))
    lines = []
    for line in values if rising else 1 - values:
        run = ~np.isnan(line).all(axis=1)
        outcomes = line[run]
        k: Floats = np.asarray(np.nansum(outcomes, axis=1))
        n: Floats = np.asarray(np.sum(~np.isnan(outcomes), axis=1, dtype=np.float64))
        lines.append(Line(u[run], outcomes, k, n, *likeliest(u[run], k, n)))
    return lines


def transformed_back(t: float, log: bool) -> float:
    """x of a u; a position far outside the points run may be 0 or inf."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.exp(t)) if log else t
