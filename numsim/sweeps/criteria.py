"""What counts as success in a sweep, and the boundary along one axis where it begins.

    [[sweep.boundary]]
    name = "direct training"
    along = "finetuning.samples"       # the boundary is a value of this axis ...
    against = "data.snr"               # ... for each value of this one
    variable = "test_error"            # success: this is
    arm = "direct"
    at_most = 0.25                     # at most so much; or at_least = ...
    at = { "pretraining.samples" = 0 } # only where other axes have these values
    width = 0.2                        # refine: run cells until the 95 % interval is so narrow, in log x
    theory = "direct"                  # curve, or curves, to compare with (numsim.sweeps.curves)

Axes that are not named give a boundary, and an exponent, for each of their values.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..config.errors import nearest
from ..config.experiment import Experiment
from ..descent.blas import blas_threads
from ..models.checks import show
from ..runs.measures import NOT_RUN, variables
from .boundary import Boundary, Exponent, find_boundaries, fit_exponent, next_points
from .curves import CURVES
from .grid import Grid

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "Criterion",
    "FittedBoundary",
    "choose",
    "exponent_text",
    "predicted_exponent",
    "settings_at",
    "sweep_fits",
    "swept_experiment",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Criterion:
    """Success, and where its boundary is sought; the fields are explained above."""

    name: str
    along: str
    against: str
    variable: str = "test_error"
    arm: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    at: Mapping[str, float] = field(default_factory=dict)
    rising: bool = True
    width: float | None = None
    theory: str | Sequence[str] | None = None

    @property
    def curves(self) -> tuple[str, ...]:
        """The names of the theory's curves."""
        return (self.theory,) if isinstance(self.theory, str) else tuple(self.theory or ())

    def as_dict(self) -> dict[str, Any]:
        """What is given, as a table of a sweep file has it."""
        return {key: value for key, value in asdict(self).items() if value not in (None, {})}

    def faults(self, grid: Grid, measures: tuple[str, ...]) -> list[str]:
        """What does not fit the sweep."""
        where = f"sweep.boundary {self.name}"
        if found := self._kinds(where):
            return found
        axes = {axis.name: axis.values for axis in grid.axes}
        for key, axis in (
            ("along", self.along),
            ("against", self.against),
            *(("at", name) for name in self.at),
        ):
            if axis not in axes:
                found.append(
                    f"{where}: got {key} {show(axis)}, expected an axis of the sweep; "
                    f"nearest: {nearest(axis, axes)}"
                )
            elif key == "at" and self.at[axis] not in axes[axis]:
                found.append(f"{where}: got at {axis} = {self.at[axis]}, expected one of the axis' values")
            elif key == "along" and list(axes[axis]) != sorted(axes[axis]):
                found.append(f"{where}: got an axis {axis} that falls, expected rising values")
        if self.along == self.against:
            found.append(f"{where}: got the same axis along and against, expected two")
        known, arms = {v.name: v for v in variables(measures)}, grid.experiment.arm_names
        if self.variable not in known:
            near = nearest(self.variable, known)
            found.append(
                f"{where}: got variable {show(self.variable)}, expected one that is measured; nearest: {near}"
            )
        elif known[self.variable].per_arm != (self.arm in arms):
            expected = (
                f"one of {', '.join(arms)}" if known[self.variable].per_arm else "none for this variable"
            )
            found.append(f"{where}: got arm {show(self.arm)}, expected {expected}")
        if (self.at_most is None) == (self.at_least is None):
            found.append(
                f"{where}: got {'neither' if self.at_most is None else 'both'}, expected at_most or at_least"
            )
        for name in self.curves:
            if name not in CURVES:
                found.append(f"{where}: got theory {show(name)}, expected one of {', '.join(CURVES)}")
        if self.width is not None and not self.width > 0:
            found.append(f"{where}: got width {show(self.width)}, expected a number above 0")
        return found

    def _kinds(self, where: str) -> list[str]:
        """Fields that are not of their kind: nothing else can be said of those."""
        text, numeric = "a name", "a finite number"
        table = isinstance(self.at, Mapping)
        kinds: list[tuple[str, Any, bool, str]] = [
            *(
                (n, getattr(self, n), isinstance(getattr(self, n), str), text)
                for n in ("name", "along", "against", "variable")
            ),
            ("arm", self.arm, self.arm is None or isinstance(self.arm, str), text),
            *(
                (n, getattr(self, n), getattr(self, n) is None or _number(getattr(self, n)), numeric)
                for n in ("at_most", "at_least", "width")
            ),
            ("at", self.at, table and all(map(_number, self.at.values())), "a table of axes, NAME = VALUE"),
            ("rising", self.rising, isinstance(self.rising, bool), "true or false"),
            (
                "theory",
                self.theory,
                self.theory is None
                or isinstance(self.theory, str)
                or (isinstance(self.theory, Sequence) and all(isinstance(c, str) for c in self.theory)),
                "a name, or a list of names",
            ),
        ]
        return [f"{where}: got {n} {show(v)}, expected {kind}" for n, v, fine, kind in kinds if not fine]

    def groups(self, dataset: xr.Dataset) -> Iterator[dict[str, float]]:
        """Values of the axes that are not named: one boundary each."""
        named = {self.along, self.against, "seed", "arm", *self.at}
        free = [str(dim) for dim in dataset[self.variable].dims if dim not in named]
        for values in itertools.product(*(dataset[dim].values.tolist() for dim in free)):
            yield dict(zip(free, values, strict=True))

    def success(self, dataset: xr.Dataset, group: Mapping[str, float]) -> Floats:
        """Success (lines, points, seeds): 1; 0, also if not finite or failed; NaN where nothing was run."""
        place = {**self.at, **group} | ({"arm": self.arm} if self.arm else {})
        order = (self.against, self.along, "seed")
        values = dataset[self.variable].sel(place).transpose(*order).values.astype(np.float64)
        most, least = (
            x if x is not None else s * math.inf for x, s in ((self.at_most, 1), (self.at_least, -1))
        )
        good = (values <= most) & (values >= least)
        run = ~np.isnan(values)
        if self.arm:
            run = dataset["status"].sel(place).transpose(*order).values != NOT_RUN
        return np.where(run, good.astype(np.float64), np.nan)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class FittedBoundary(NamedTuple):
    """A criterion's boundary in one group: lines of the axis against, their boundaries, and the exponent.

    theory : the boundary's predicted positions on these lines, by curve (NaN: not on the axis).
    """

    criterion: Criterion
    group: dict[str, float]
    lines: Floats
    boundaries: list[Boundary]
    exponent: Exponent
    theory: dict[str, Floats]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for a summary."""
        return {
            "name": self.criterion.name,
            **self.group,
            "along": self.criterion.along,
            "against": self.criterion.against,
            "exponent": self.exponent._asdict(),
            "predicted_exponent": {
                name: predicted_exponent(self, positions) for name, positions in self.theory.items()
            },
            "boundary": [
                {
                    self.criterion.against: float(line),
                    **boundary._asdict(),
                    "predicted": {name: float(positions[k]) for name, positions in self.theory.items()},
                }
                for k, (line, boundary) in enumerate(zip(self.lines, self.boundaries, strict=True))
            ],
        }


def _log(points: Floats) -> bool:
    return bool(points[0] > 0)


def swept_experiment(dataset: xr.Dataset) -> Experiment:
    """The experiment that a sweep's result varied."""
    return Experiment(**json.loads(dataset.attrs["experiment"]))


def sweep_fits(dataset: xr.Dataset) -> list[FittedBoundary]:
    """The boundaries of all criteria of a sweep's result, one a group, with theory's beside them.

    No exponent on axes that hold zero.
    """
    experiment = swept_experiment(dataset)
    criteria = [Criterion(**entry) for entry in json.loads(dataset.attrs["criteria"])]
    return [_fit(c, group, dataset, experiment) for c in criteria for group in c.groups(dataset)]


def _fit(
    criterion: Criterion, group: dict[str, float], dataset: xr.Dataset, experiment: Experiment
) -> FittedBoundary:
    points = dataset[criterion.along].values.astype(np.float64)
    lines = dataset[criterion.against].values.astype(np.float64)
    success = criterion.success(dataset, group)
    exponent = Exponent(math.nan, math.nan, math.nan, 0, math.nan)
    with blas_threads(1):
        boundaries = find_boundaries(points, success, log=_log(points), rising=criterion.rising)
        if _log(points) and np.all(lines > 0):
            exponent = fit_exponent(lines, points, success, rising=criterion.rising)
    theory = {curve: _predicted(dataset, experiment, criterion, curve, group) for curve in criterion.curves}
    return FittedBoundary(criterion, group, lines, boundaries, exponent, theory)


def choose(criterion: Criterion, grid: Grid, dataset: xr.Dataset) -> set[int]:
    """Cells of the grid that a refining criterion wants run next, given what has been run."""
    assert criterion.width is not None
    names = [axis.name for axis in grid.axes]
    points = dataset[criterion.along].values.astype(np.float64)
    cells = set()
    for group in criterion.groups(dataset):
        success = criterion.success(dataset, group)
        fixed = {**criterion.at, **group}
        wanted = next_points(
            points, success, width=criterion.width, log=_log(points), rising=criterion.rising
        )
        for line, point in wanted:
            at = {criterion.against: line, criterion.along: point}
            place = [at[n] if n in at else grid.axis(n).values.index(fixed[n]) for n in names]
            cells.add(int(np.ravel_multi_index(place, grid.shape)))
    return cells


def predicted_exponent(fit: FittedBoundary, positions: Floats) -> float:
    """The slope of theory's boundary over the very lines that the measured one is fitted on."""
    used = np.array([not math.isnan(b.position) for b in fit.boundaries]) & (positions > 0)
    if used.sum() < 2 or not math.isfinite(fit.exponent.slope):
        return math.nan
    return float(np.polyfit(np.log(fit.lines[used]), np.log(positions[used]), 1)[0])


def exponent_text(fit: FittedBoundary) -> str:
    """The fitted exponent with its 95 % interval, and theory's; "" where there is none."""
    slope = fit.exponent
    if not math.isfinite(slope.slope):
        return ""
    ends = f"{slope.low:.2f} to {slope.high:.2f}" if math.isfinite(slope.low + slope.high) else "open"
    expected = [predicted_exponent(fit, positions) for positions in fit.theory.values()]
    theory = "".join(f", theory {value:.2f}" for value in expected[:1] if not math.isnan(value))
    return f"{slope.slope:.2f} ({ends}{theory})"


def settings_at(dataset: xr.Dataset, place: Mapping[str, float]) -> dict[str, float]:
    """Values of axes with those of the settings that are tied to them."""
    found = dict(place)
    for name, values in dataset.coords.items():
        if values.dims != (name,) and values.dims and (axis := str(values.dims[0])) in place:
            found[str(name)] = values.sel({axis: place[axis]}).item()
    return found


def _predicted(
    dataset: xr.Dataset, experiment: Experiment, criterion: Criterion, curve: str, group: Mapping[str, float]
) -> Floats:
    """Where theory has the boundary on each line of a group: NaN where it has none on the axis.

    Predictions at the axis' values, interpolated in log x (x where the axis holds zero).
    """
    predict, probability, _ = CURVES[curve]
    points = dataset[criterion.along].values.astype(np.float64)
    threshold = criterion.at_most if criterion.at_most is not None else criterion.at_least
    level = 0.5 if probability or threshold is None else threshold
    axis = np.log(points) if _log(points) else points
    found = np.full(dataset.sizes[criterion.against], np.nan)
    for k, line in enumerate(dataset[criterion.against].values):
        place = settings_at(dataset, {**criterion.at, **group, criterion.against: line.item()})

        def excess(j: int, place: Mapping[str, float] = place) -> float:
            try:
                return (
                    predict(experiment.replace({**place, criterion.along: float(points[j])}).resolved())
                    - level
                )
            except ValueError:  # a cell that cannot be, or of which theory has nothing to say
                return math.nan

        low, high = 0, len(points) - 1
        below, above = excess(low), excess(high)
        while high - low > 1 and math.isnan(below):  # theory may begin, or end, inside the axis
            low, below = low + 1, excess(low + 1)
        while high - low > 1 and math.isnan(above):
            high, above = high - 1, excess(high - 1)
        if not below * above <= 0 or below == above:
            continue
        while high - low > 1:  # predictions pass the level once
            middle = (low + high) // 2
            value = excess(middle)
            if value * below > 0:
                low, below = middle, value
            else:
                high, above = middle, value
        at = axis[low] + below / (below - above) * (axis[high] - axis[low])
        found[k] = math.exp(at) if _log(points) else at
    return found
