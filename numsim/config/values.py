"""Settings by dotted name: the kinds of value, tables to and from dotted names, one level on another.

Nothing here but ``TWINS`` knows which settings there are: the models of parts.py and config.py say so.
"""

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from numbers import Real
from typing import Annotated, Any

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from ..models.checks import show
from .errors import fault

__all__ = [
    "ARMS",
    "MOST",
    "TABLES",
    "TWINS",
    "Count",
    "Flag",
    "NonNegative",
    "Positive",
    "Rows",
    "Steps",
    "Table",
    "flatten",
    "integer",
    "merge",
    "nest",
    "number",
    "optional_table",
    "rows",
    "table",
]

MOST = 2**31 - 1
"""The largest count: counts and steps fit the 32-bit dimensions of NetCDF 3."""

TABLES = (
    "data.signals",
    "data.cosines",
    "data.noise",
    "data.clusters",
    "finetuning.clusters",
    "evaluation.clusters",
)
"""Settings that are tables or lists of tables; what is in them has deeper names, data.clusters.0.weight."""

DISPLACES = {
    "pretraining.loss": ("pretraining.stop_at_linear_end", "pretraining.normalised"),
    "pretraining.normalised": ("pretraining.stop_at_linear_end",),
    "pretraining.encoder": ("pretraining.stop_at_linear_end",),
}
"""Settings of lower levels whose meaning goes where these are given."""

ARMS = "arms"
"""The table of arms: [arms.NAME], whose entries are overrides of other settings."""

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


class Table(dict[str, Any]):
    """A table whose entries are named by the user, hashed by value."""

    def __hash__(self) -> int:  # type: ignore[override]
        """Of its content."""
        return hash(json.dumps(self, sort_keys=True, default=repr))


def table(value: object) -> Table:
    """A table, and the tables and lists in it, that nobody else holds."""
    if not isinstance(value, Mapping):
        raise PydanticCustomError("table", "a table")
    return Table({_text(name): _held(inside) for name, inside in value.items()})


def optional_table(value: object) -> Table | None:
    """A table, or None."""
    return None if value is None else table(value)


class Rows(list[Any]):
    """A list of tables, hashed by value."""

    def __hash__(self) -> int:  # type: ignore[override]
        """Of its content."""
        return hash(json.dumps(self, sort_keys=True, default=repr))


def rows(value: object) -> Rows | None:
    """A list of tables that nobody else holds, or None."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise PydanticCustomError("rows", "a list of tables")
    return Rows([_held(inside) for inside in value])


def _held(value: object) -> Any:
    if isinstance(value, Mapping):
        return table(value)
    if isinstance(value, list | tuple):
        return [_held(inside) for inside in value]
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


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
        if name.partition(".")[0] == ARMS and ARMS not in parts:
            _flatten_arms(name, value, parts, flat, faults)
            continue
        part = parts.get(name)
        if part and isinstance(value, part):
            value = value.given()
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


def _flatten_arms(
    name: str, value: object, parts: Mapping[str, type[Any]], flat: dict[str, object], faults: list[str]
) -> None:
    """Arms of a level, as a table of tables or by dotted names: each arm's overrides, by dotted name."""
    _, _, rest = name.partition(".")
    if not rest:
        if not isinstance(value, Mapping):
            faults.append(fault(name, show(value), "a table of arms, each a table of settings"))
            return
        for arm, overrides in value.items():
            _flatten_arms(f"{ARMS}.{_text(arm)}", overrides, parts, flat, faults)
        return
    arm, _, setting = rest.partition(".")
    if setting:
        overrides = {setting: value}
    elif isinstance(value, Mapping):
        found: list[str] = []
        overrides = flatten(value, parts, found)
        faults += [f"{ARMS}.{arm}.{line}" for line in found]
    else:
        faults.append(fault(name, show(value), "a table of settings of this arm"))
        return
    known = flat.setdefault(f"{ARMS}.{arm}", {})
    assert isinstance(known, dict)
    known.update(overrides)


def nest(flat: Mapping[str, Any], parts: Container[str]) -> dict[str, Any]:
    """Return the tables of settings given by dotted name; a part given as something else stays that."""
    nested: dict[str, Any] = {}
    for dotted, value in flat.items():
        part, _, name = dotted.partition(".")
        if part == ARMS and name:
            nested.setdefault(ARMS, {})[name] = value
            continue
        if not name or part not in parts:
            nested[dotted] = value
        elif isinstance(table := nested.setdefault(part, {}), dict):
            table[name] = value
    return nested


def _placed(known: object, path: list[str], value: object) -> object:
    """A copy of a table, or list of tables, with one entry set; by number in lists."""
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(known, list):
        listed = list(known)
        if head.isdigit() and int(head) < len(listed):
            listed[int(head)] = _placed(listed[int(head)], rest, value)
        else:
            listed.append({head: _placed({}, rest, value)})  # tables.py says what is wrong with it
        return listed
    named = dict(known) if isinstance(known, Mapping) else {}
    for twin, other in (("norm", "snr"), ("snr", "norm")):
        if head == twin and not rest:
            named.pop(other, None)
    named[head] = _placed(named.get(head), rest, value)
    return named


def _joined(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of two levels, entry by entry; norm and snr of a signal displace one another."""
    found = dict(low)
    for name, value in high.items():
        known = found.get(name)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            left = {k: v for k, v in known.items() if not ({k, *value} >= {"norm", "snr"})}
            found[name] = {**left, **value}
        else:
            found[name] = value
    return found


def merge(levels: Iterable[Mapping[str, object]]) -> dict[str, object]:
    """Return flat levels, lowest first, as one; a twin displaces its twin from lower levels."""
    merged: dict[str, object] = {}
    for flat in levels:
        for name, value in flat.items():
            twin = _TWIN_OF.get(name)
            if twin and twin not in flat and value is not None:
                merged.pop(twin, None)
        for name in flat:
            for other in DISPLACES.get(name, ()):
                if other not in flat:
                    merged.pop(other, None)
        if flat.get("pretraining.loss") == "spectral" and "pretraining.temperature" not in flat:
            merged.pop("pretraining.temperature", None)
        for name, value in flat.items():
            deep = name.count(".") > 1
            inside = next((t for t in TABLES if name.startswith(f"{t}.")), None) if deep else None
            if inside is not None:
                merged[inside] = _placed(merged.get(inside), name[len(inside) + 1 :].split("."), value)
                continue
            if name in TABLES and isinstance(value, Mapping) and isinstance(merged.get(name), dict):
                merged[name] = _joined(merged[name], value)  # type: ignore[arg-type]
                continue
            known = merged.get(name)
            both = name.startswith(f"{ARMS}.") and isinstance(known, dict) and isinstance(value, dict)
            merged[name] = {**known, **value} if both else value  # type: ignore[dict-item]
    return merged
