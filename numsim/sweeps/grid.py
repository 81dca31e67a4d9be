"""The cells of a sweep: axes over numeric settings, and every cell's settings in canonical form."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np

from ..config.errors import ConfigError, fault, nearest
from ..config.experiment import (
    Experiment,
    check_setting,
    flat_settings,
    is_inner_setting,
    numeric_settings,
    word_settings,
)
from ..config.values import TWINS, merge
from ..descent.losses import LOSSES, loss_named
from ..models.checks import show
from ..runs.measures import PHYSICS

__all__ = ["Axis", "Grid", "parse_axes"]

_SPACINGS: dict[str, Any] = {"linspace": np.linspace, "geomspace": np.geomspace}
_MOST = 10**7  # cells of one sweep: beyond that its list alone fills the memory


Value = Any
"""Of an axis: an int, a float, a word, or two classes as "3 7"."""


@dataclass(frozen=True)
class Axis:
    """A setting by dotted name and the different values it takes, in the order given.

    tied : other settings that move with it, each with as many values.
    """

    name: str
    values: tuple[Value, ...]
    tied: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def at(self, place: int) -> dict[str, Value]:
        """The settings at one of its values."""
        return {self.name: self.values[place]} | {name: values[place] for name, values in self.tied.items()}


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

    def overrides(self, cell: int) -> dict[str, Value]:
        """What sets a cell apart: the value of each axis, and of what is tied to it, by name."""
        found: dict[str, Value] = {}
        for axis, place in zip(self.axes, np.unravel_index(cell, self.shape), strict=True):
            found |= axis.at(int(place))
        return found

    def cells(self) -> Iterator[dict[str, Value]]:
        """The overrides of all cells, in order."""
        return (self.overrides(cell) for cell in range(self.size))

    @cached_property
    def _base(self) -> dict[str, object]:
        flat = flat_settings(self.experiment)
        for name in ("seed", "theorem"):  # which changes no number
            flat.pop(name, None)
        return flat

    def key(self, cell: int, measures: Sequence[str]) -> bytes:
        """16 bytes that name a cell's numbers: hash of its settings, of what is measured, and of PHYSICS.

        The settings are those given, in JSON with sorted names and exact floats; what is derived from them is
        part of PHYSICS.
        """
        return hashlib.blake2b(self.canonical(cell, measures).encode(), digest_size=16).digest()

    def _own_losses(self) -> list[str]:
        """Hashes of the files of losses of one's own."""
        arms = [overrides.get("finetuning.loss") for overrides in self.experiment.arms.values()]
        names = dict.fromkeys([self.experiment.finetuning.loss, *arms])
        return [loss_named(name).digest for name in names if name is not None and name not in LOSSES]

    def canonical(self, cell: int, measures: Sequence[str]) -> str:
        """The text that ``key`` is the hash of."""
        settings = _placeless(merge([self._base, self.overrides(cell)]))
        document = {"physics": PHYSICS, "measures": list(measures), "settings": settings}
        if digests := self._own_losses():
            document["losses"] = digests
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _placeless(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with losses of one's own by their name in the file, wherever that is."""
    found = dict(settings)
    for name, value in settings.items():
        if isinstance(value, dict):
            found[name] = _placeless(value)
        elif name == "finetuning.loss" and value not in LOSSES:
            found[name] = str(value).rpartition(":")[2]
    return found


def parse_axes(over: object, where: str = "over") -> tuple[Axis, ...]:
    """Axes from a mapping of dotted names to lists of numbers, {linspace = [a, b, n]} or {geomspace = ...}.

    Spaced values of a setting that counts are rounded to whole numbers, and repetitions left out. With
    {list = [...], tied = {NAME = [...]}} other settings move with the axis. Raises ConfigError with every
    fault.
    """
    faults: list[str] = []
    if not isinstance(over, Mapping) or not over:
        raise ConfigError(fault(where, show(over), "a table of at least one axis, NAME = VALUES"))
    axes = [_axis(f"{where}.{name}", str(name), values, faults) for name, values in over.items()]
    names = [name for axis in axes for name in (axis.name, *axis.tied)]
    twice = dict.fromkeys(name for name in names if names.count(name) > 1)
    faults += [fault(where, f"{name} twice", "it once") for name in twice]
    for first, second in TWINS.items():
        if {first, second} <= set(names):
            faults.append(f"{where}: got both {first} and {second}, expected one of the two")
    if not faults and (cells := math.prod(len(axis.values) for axis in axes)) > _MOST:
        faults.append(fault(where, f"{cells} cells", f"at most {_MOST}; sweep a part at a time"))
    if faults:
        raise ConfigError(*faults)
    return tuple(axes)


def _axis(where: str, name: str, given: object, faults: list[str]) -> Axis:
    tied: object = {}
    if isinstance(given, Mapping) and "list" in given and set(given) <= {"list", "tied"}:
        tied = given.get("tied", {})
        given = given["list"]
    values = _values(where, name, given, faults)
    if len(set(values)) < len(values):
        faults.append(f"{where}: got {show(given)}, expected different values")
    moving: dict[str, tuple[Value, ...]] = {}
    if not isinstance(tied, Mapping):
        faults.append(f"{where}.tied: got {show(tied)}, expected a table of settings, NAME = VALUES")
        tied = {}
    for other, numbers in tied.items():
        moving[str(other)] = _values(f"{where}.tied.{other}", str(other), numbers, faults)
        if len(moving[str(other)]) != len(values):
            expected = "as many values as the axis has"
            faults.append(f"{where}.tied.{other}: got {show(numbers)}, expected {expected}")
    return Axis(name, values, moving)


def _values(where: str, name: str, given: object, faults: list[str]) -> tuple[Value, ...]:
    if name in word_settings():
        return _word_values(where, name, given, faults)
    known = numeric_settings()
    inner = is_inner_setting(name)
    if name not in known and not inner:
        near = f"the name of a number; nearest: {nearest(name, [*known, *word_settings()])}"
        faults.append(fault(where, show(given), "seeds to be given by seeds" if name == "seed" else near))
        return ()
    whole = known.get(name.split(".", 2)[-1] if inner else name) is int
    spaced = isinstance(given, Mapping)
    values = _spaced(where, given, whole, faults) if spaced else _listed(where, given, faults)  # type: ignore[arg-type]
    found: list[int | float] = []
    for position, value in enumerate(values):
        checked, wrong = check_setting(name, value)
        if wrong or checked is None:  # which a setting may be, and an axis not
            wrong = wrong or "a number"
            faults.append(f"{where}[{position}]: got {show(value)}, expected {wrong}")
        else:
            found.append(checked)
    return tuple(found)


def _word_values(where: str, name: str, given: object, faults: list[str]) -> tuple[Value, ...]:
    """Words of a setting, or pairs of classes as "3 7"."""
    found = []
    for position, value in enumerate(_listed(where, given, faults)):
        checked, wrong = check_setting(name, value)
        if wrong or checked is None:
            faults.append(f"{where}[{position}]: got {show(value)}, expected {wrong or 'a word'}")
        else:
            found.append(checked if isinstance(checked, str) else " ".join(map(str, checked)))
    return tuple(found)


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
