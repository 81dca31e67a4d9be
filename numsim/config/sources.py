"""Where settings come from: defaults < preset < file < overrides.

Two pairs of settings say the same thing in two ways (``data.snr`` and ``data.signal_norm``;
``network.init_scale`` and ``network.relative_init_scale``): given at one level both are a fault, given at a
higher level one displaces the other.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import takewhile
from math import isfinite
from pathlib import Path
from typing import Any

from ..models.checks import show
from ..models.samples import Samples
from .errors import ConfigError, fault, nearest
from .experiment import Experiment, compose

__all__ = [
    "Given",
    "as_experiment",
    "load",
    "parse_override",
    "preset_about",
    "preset_text",
    "presets",
    "read_levels",
]

Given = str | os.PathLike[str] | Mapping[str, object]
"""What stands for an experiment: the name of a preset, the path of a file, or a mapping as of a file."""


def presets() -> tuple[str, ...]:
    """Return the names of the presets, each numsim/presets/NAME.toml."""
    files = resources.files("numsim.presets").iterdir()
    return tuple(sorted(file.name[:-5] for file in files if file.name.endswith(".toml")))


def preset_text(name: str) -> str:
    """The file of a preset, as it is written. Raises `ConfigError` for a name that there is not."""
    if name not in presets():
        raise ConfigError(_unknown(name, "one of"))
    return (resources.files("numsim.presets") / f"{name}.toml").read_text(encoding="utf-8")


def preset_about(name: str) -> str:
    """What a preset is, in a line: the first sentence of the comment that its file begins with."""
    comment = takewhile(lambda line: line.startswith("# "), preset_text(name).splitlines())
    text = " ".join(line[2:] for line in comment)
    return re.split(r"(?<=\.)\s+(?=[A-Z])", text, maxsplit=1)[0]


def _preset(name: object, faults: list[str]) -> dict[str, Any]:
    if name in presets():
        return _parse(resources.files("numsim.presets") / f"{name}.toml", f"{name}.toml", faults)
    faults.append(_unknown(name, "a file or one of"))
    return {}


def _unknown(name: object, expected: str) -> str:
    known = presets()
    near = nearest(str(name), known)
    return fault("preset", show(name), f"{expected} {', '.join(known)}; nearest: {near}")


def _parse(file: Path | Traversable, name: str, faults: list[str]) -> dict[str, Any]:
    text = ""
    try:
        text = file.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text)
    except OSError as error:
        reason = f"cannot be read: {(error.strerror or 'a read error').lower()}"
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        reason = f"got bytes that are no text in line {line}, expected TOML in UTF-8"
    except (ValueError, RecursionError) as error:  # TOML syntax; thousands of digits or brackets
        end = f"line {text.count(chr(10)) + 1}, column {len(text) - text.rfind(chr(10))}"
        message = str(error).replace("at end of document", f"at {end}, the end")
        reason = f"TOML syntax error: {' '.join(message.split())}"
    faults.append(f"{name if name.isprintable() else repr(name)}: {reason}")
    return {}


def _read(path: object, faults: list[str]) -> list[dict[str, Any]]:
    if isinstance(path, Mapping):
        return _on_presets(dict(path), faults)
    if not isinstance(path, str | os.PathLike):
        expected = "the name of a preset, the path of a TOML file, a mapping of settings or an Experiment"
        faults.append(fault("experiment", show(path), expected))
        return []
    source = os.fsdecode(path)
    is_path = Path(source).suffix or os.path.basename(source) != source or os.path.isfile(source)
    if is_path or (os.path.isdir(source) and source not in presets()):
        return _on_presets(_own_files(_parse(Path(source), source, faults), Path(source).parent), faults)
    return _on_presets(_preset(source, faults), faults)


def _own_files(table: dict[str, Any], folder: Path, part: str = "") -> dict[str, Any]:
    """The table of a file, the paths of arrays and losses of one's own taken as from its folder."""
    found = dict(table)
    for name, value in table.items():
        if isinstance(value, Mapping):
            found[name] = _own_files(dict(value), folder, name)
        elif isinstance(value, str) and (
            ((part, name) in (("data", "file"), ("", "data.file")) and value)
            or (name in ("loss", "finetuning.loss") and ".py:" in value)
        ):
            found[name] = str((folder / value).absolute())
    return found


def _on_presets(table: dict[str, Any], faults: list[str]) -> list[dict[str, Any]]:
    """A table on top of the presets that it builds on, lowest first."""
    levels = [table]
    seen: list[object] = []
    while "preset" in levels[0]:
        name = levels[0].pop("preset")
        if name in seen:
            faults.append(fault("preset", f"{show(name)} building on itself", "an end to the presets"))
            break
        seen.append(name)
        levels.insert(0, _preset(name, faults))
    return levels


def read_levels(given: Given) -> list[dict[str, Any]]:
    """Return the tables of a file, preset or mapping as written, unchecked, lowest level first.

    The key ``preset`` of a table names the level below it, and is left out. A name with a suffix or a
    separator, or of an existing file, is a file; any other is a preset. Raises `ConfigError`.
    """
    faults: list[str] = []
    levels = _read(given, faults)
    if faults:
        raise ConfigError(*faults)
    return levels


def as_experiment(given: Experiment | Given, data: Samples | None = None) -> Experiment:
    """Return the experiment that is meant, wherever one is asked for: as it is, or `load`-ed.

    data : arrays that it is to be run on.

    Raises `ConfigError`, also for None, which is a variable that was never set rather than the defaults.
    """
    if isinstance(given, Experiment):
        return given if data is None else given.replace({"data.arrays": data})
    faults: list[str] = []
    return _composed(_read(given, faults), {} if data is None else {"data.arrays": data}, faults)


def load(path: Given | None = None, overrides: Mapping[str, object] | None = None) -> Experiment:
    """Return the experiment of a TOML file or preset, with overrides on top.

    ``path`` is a file, the name of a preset, what a file would say as a mapping, or None for the defaults;
    ``overrides`` maps dotted names (or parts, to mappings) to values. The table ``sweep`` of a sweep file is
    left aside: what is loaded is the experiment that is swept. Raises `ConfigError` with every fault.
    """
    faults: list[str] = []
    levels = [] if path is None else _read(path, faults)
    return _composed(levels, {} if overrides is None else overrides, faults)


def _composed(levels: list[dict[str, Any]], overrides: Mapping[str, object], faults: list[str]) -> Experiment:
    tables = [{key: value for key, value in level.items() if key != "sweep"} for level in levels]
    return compose([*tables, overrides], faults)


def parse_override(text: str) -> tuple[str, object]:
    """Split ``key=value`` of the command line; the value is read as TOML, or as a number as Python reads it
    (.2, 1., 007; TOML wants 0.2), a bare word as a string.
    """
    key, equals, value = (piece.strip() for piece in text.partition("="))
    if not (key and equals):
        raise ConfigError(fault("--set", show(text), "key=value, such as data.snr=0.3"))
    if "\n" in value or "\r" in value:  # more lines would be more settings
        return key, value
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return key, _number(value)


def _number(text: str) -> object:
    """The finite number that the text is for Python, or the text."""
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        if isfinite(number := float(text)):
            return number
    return text
