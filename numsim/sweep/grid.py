"""The cells of a sweep: axes over numeric settings, and every cell's settings in canonical form."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np

from ..config import Experiment, check_setting, flat_settings, numeric_settings
from ..faults import ConfigError, fault, nearest, show
from ..measures import PHYSICS
from ..settings import merge

__all__ = ["Axis", "Grid", "parse_axes"]

_SPACINGS: dict[str, Any] = {"linspace": np.linspace, "geomspace": np.geomspace}
_MOST = 10**7  # cells of one sweep: beyond that its list alone fills the memory


@dataclass(frozen=True)
class Axis:
    """A setting by dotted name and the different values it takes, in the order given."""

    name: str
    values: tuple[int | float, ...]


@dataclass(frozen=True)
class Grid:
    """All combinations of the axes' values on top of an experiment, the last axis fastest."""

    experiment: Experiment
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each axis has."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def size(self) -> int:
        """How many cells there are."""
        return math.prod(self.shape)

    def axis(self, name: str) -> Axis:
        """The axis of this name."""
        return self.axes[[axis.name for axis in self.axes].index(name)]

    def overrides(self, cell: int) -> dict[str, int | float]:
        """What sets a cell apart: the value of each axis by name."""
        places = np.unravel_index(cell, self.shape)
        return {axis.name: axis.values[place] for axis, place in zip(self.axes, places, strict=True)}

    def cells(self) -> Iterator[dict[str, int | float]]:
        """The overrides of all cells, in order."""
        return (self.overrides(cell) for cell in range(self.size))

    @cached_property
    def _base(self) -> dict[str, object]:
        flat = flat_settings(self.experiment)
        flat.pop("seed", None)
        return flat

    def key(self, cell: int, measures: Sequence[str]) -> bytes:
        """16 bytes that name a cell's numbers: hash of its settings, of what is measured, and of PHYSICS.

        The settings are those given, in JSON with sorted names and exact floats; what is derived from them is
        part of PHYSICS.
        """
        return hashlib.blake2b(self.canonical(cell, measures).encode(), digest_size=16).digest()

    def canonical(self, cell: int, measures: Sequence[str]) -> str:
        """The text that ``key`` is the hash of."""
        settings = merge([self._base, self.overrides(cell)])
        document = {"physics": PHYSICS, "measures": list(measures), "settings": settings}
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse_axes(over: object, where: str = "over") -> tuple[Axis, ...]:
    """Axes from a mapping of dotted names to lists of numbers, {linspace = [a, b, n]} or {geomspace = ...}.

    Spaced values of a setting that counts are rounded to whole numbers, and repetitions left out. Raises
    ConfigError with every fault.
    """
    faults: list[str] = []
    if not isinstance(over, Mapping) or not over:
        raise ConfigError(fault(where, show(over), "a table of at least one axis, NAME = VALUES"))
    axes = [_axis(f"{where}.{name}", str(name), values, faults) for name, values in over.items()]
    names = {axis.name for axis in axes if axis}
    for first, second in (("data.snr", "data.signal_norm"), _SCALES):
        if {first, second} <= names:
            faults.append(f"{where}: got both {first} and {second}, expected one of the two")
    if not faults and (cells := math.prod(len(axis.values) for axis in axes if axis)) > _MOST:
        faults.append(fault(where, f"{cells} cells", f"at most {_MOST}; sweep a part at a time"))
    if faults:
        raise ConfigError(*faults)
    return tuple(axis for axis in axes if axis)


_SCALES = ("network.init_scale", "network.relative_init_scale")


def _axis(where: str, name: str, given: object, faults: list[str]) -> Axis | None:
    known = numeric_settings()
    if name not in known:
        near = f"the name of a number; nearest: {nearest(name, known)}"
        faults.append(fault(where, show(given), "seeds to be given by seeds" if name == "seed" else near))
        return None
    whole = known[name] is int
    values = (
        _spaced(where, given, whole, faults) if isinstance(given, Mapping) else _listed(where, given, faults)
    )
    found: list[int | float] = []
    for position, value in enumerate(values):
        checked, wrong = check_setting(name, value)
        if wrong:
            faults.append(f"{where}[{position}]: got {show(value)}, expected {wrong}")
        elif checked in found:
            faults.append(f"{where}[{position}]: got {show(value)} once more, expected different values")
        else:
            found.append(checked)
    return Axis(name, tuple(found))


def _listed(where: str, given: object, faults: list[str]) -> list[Any]:
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if isinstance(given, str) or not isinstance(given, Sequence) or not len(given):
        expected = (
            "a list of numbers, {linspace = [first, last, count]} or {geomspace = [first, last, count]}"
        )
        faults.append(fault(where, show(given), f"{expected}, not empty"))
        return []
    return list(given)


def _spaced(where: str, given: Mapping[Any, Any], whole: bool, faults: list[str]) -> list[Any]:
    """First and last are met exactly."""
    kind = next(iter(given), None)
    expected = "{linspace = [first, last, count]} or {geomspace = [first, last, count]}"
    values = given.get(kind)
    if (
        len(given) != 1
        or kind not in _SPACINGS
        or isinstance(values, str)
        or not isinstance(values, Sequence)
    ):
        faults.append(fault(where, show(dict(given)), expected))
        return []
    numbers = all(isinstance(v, Real) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    if not (len(values) == 3 and numbers and values[2] == int(values[2]) and 2 <= values[2] <= _MOST):
        faults.append(fault(f"{where}.{kind}", show(values), "two numbers and a count >= 2"))
        return []
    first, last, count = float(values[0]), float(values[1]), int(values[2])
    if kind == "geomspace" and not (first > 0 and last > 0):
        faults.append(fault(f"{where}.{kind}", show(values), "positive ends"))
        return []
    spaced = [float(x) for x in _SPACINGS[str(kind)](first, last, num=count)]
    if whole:
        return list(dict.fromkeys(round(x) for x in spaced))
    return spaced
