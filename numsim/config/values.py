"""Settings by dotted name: the kinds of value, tables to and from dotted names, one level on another.

Nothing here but ``TWINS`` knows which settings there are: the models of parts.py and config.py say so.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import suppress
from math import isfinite
from numbers import Real
from typing import Annotated, Any

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from ..models.checks import show
from .errors import fault

__all__ = [
    "MOST",
    "TWINS",
    "Count",
    "Flag",
    "NonNegative",
    "Positive",
    "Steps",
    "flatten",
    "integer",
    "merge",
    "nest",
    "number",
]

MOST = 2**31 - 1
"""The largest count: counts and steps fit the 32-bit dimensions of NetCDF 3."""

TWINS = {"data.snr": "data.signal_norm", "network.init_scale": "network.relative_init_scale"}
_TWIN_OF = TWINS | {second: first for first, second in TWINS.items()}


def number(kind: Callable[[Any], float], accept: Callable[[float], bool], expected: str) -> PlainValidator:
    """Any real number that ``kind`` (int or float) takes without loss and ``accept`` accepts."""

    def check(value: Any) -> float:
        if isinstance(value, Real) and not isinstance(value, bool):
            with suppress(OverflowError, ValueError):  # int(inf), float(10**400)
                converted = kind(value)
                if isfinite(converted) and accept(converted) and (kind is float or converted == value):
                    return converted
        raise PydanticCustomError("number", expected)

    return PlainValidator(check)


def integer(low: int, high: int = MOST, expected: str = "") -> PlainValidator:
    """An integral number from ``low`` to ``high``, 1e8 as well as 100000000."""
    return number(int, lambda x: low <= x <= high, expected or f"an integer from {low} to {high}")


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise PydanticCustomError("flag", "true or false")
    return value


Count = Annotated[int, integer(1)]
Steps = Annotated[int, integer(0)]
Positive = Annotated[float, number(float, lambda x: x > 0, "a finite number above 0")]
NonNegative = Annotated[float, number(float, lambda x: x >= 0, "a finite number, at least 0")]
Flag = Annotated[bool, PlainValidator(_flag)]


def _text(key: object) -> str:
    """The key as a name that can be encoded, whatever it is."""
    return key.encode(errors="backslashreplace").decode() if isinstance(key, str) else show(key)


def flatten(level: object, parts: Mapping[str, type[Any]], faults: list[str]) -> dict[str, object]:
    """Return the settings of one level by dotted name; a setting given twice and both twins are faults.

    parts : the model of each part by its name; a part may be given as a model or as a table.
    """
    if not isinstance(level, Mapping):
        faults.append(fault("settings", show(level), "a mapping of dotted names to values"))
        return {}
    flat: dict[str, object] = {}
    for key, value in level.items():
        name = _text(key)
        part = parts.get(name)
        if part and isinstance(value, part):
            value = value.as_dict()
        inside = part is not None and isinstance(value, Mapping)
        for dotted, leaf in (
            [(f"{name}.{_text(k)}", v) for k, v in value.items()] if inside else [(name, value)]
        ):
            if dotted in flat:
                faults.append(fault(dotted, f"{show(flat[dotted])} and {show(leaf)}", "one value"))
            flat[dotted] = leaf
    for first, second in TWINS.items():
        if flat.get(first) is not None and flat.get(second) is not None:
            got = f"both ({show(flat[first])} and {show(flat[second])})"
            faults.append(f"{first}, {second}: got {got}, expected one of the two")
    return flat


def nest(flat: Mapping[str, Any], parts: Container[str]) -> dict[str, Any]:
    """Return the tables of settings given by dotted name; a part given as something else stays that."""
    nested: dict[str, Any] = {}
    for dotted, value in flat.items():
        part, _, name = dotted.partition(".")
        if not name or part not in parts:
            nested[dotted] = value
        elif isinstance(table := nested.setdefault(part, {}), dict):
            table[name] = value
    return nested


def merge(levels: Iterable[Mapping[str, object]]) -> dict[str, object]:
    """Return flat levels, lowest first, as one; a twin displaces its twin from lower levels."""
    merged: dict[str, object] = {}
    for flat in levels:
        for name, value in flat.items():
            twin = _TWIN_OF.get(name)
            if twin and twin not in flat and value is not None:
                merged.pop(twin, None)
        merged |= flat
    return merged
