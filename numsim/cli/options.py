"""What several commands take, and the experiment that it describes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import Failure

if TYPE_CHECKING:
    from ..config.experiment import Experiment
    from ..shown.style import Look

__all__ = [
    "Json",
    "Latex",
    "Replace",
    "Seed",
    "Settings",
    "Source",
    "Style",
    "Width",
    "experiment_of",
    "look_of",
    "overrides_of",
    "typed_path",
]


def typed_path(text: str) -> Path:
    """A path as it was typed; an empty one, as of a variable that is not set, is none."""
    if not text:
        raise typer.BadParameter("got '', expected a path (. is this folder)")
    return Path(text)


Source = Annotated[
    str | None,
    typer.Argument(metavar="[FILE.toml or PRESET]", help="The experiment; without it the headline defaults."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Replace a setting, e.g. --set data.dim=1e10. Repeatable."
    ),
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Seed of the run (replaces the file's).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Replace the results of another experiment in that folder.")
]


_INCHES = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27}
"""A pt is TeX's, in which it prints \\columnwidth."""
_NARROWEST, _WIDEST = 1.5, 40.0


def _style(text: str) -> str:
    if text not in ("screen", "paper"):
        raise typer.BadParameter(f"got {text!r}, expected screen or paper")
    return text


def _inches(text: str) -> float:
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(in|cm|mm|pt)", text.strip(), flags=re.ASCII)
    if found is None:
        raise typer.BadParameter(
            f"got {text!r}, expected a length with its unit: 5.5in, 14cm, 140mm or 397pt"
        )
    inches = float(found[1]) * _INCHES[found[2]]
    if not _NARROWEST <= inches <= _WIDEST:
        raise typer.BadParameter(f"got {text!r}, expected {_NARROWEST:g}in to {_WIDEST:g}in")
    return inches


Style = Annotated[
    str,
    typer.Option(
        "--style", parser=_style, metavar="screen|paper", help="Of the figure; paper: all text of 8 pt."
    ),
]
Width = Annotated[
    float | None,
    typer.Option(
        "--width", parser=_inches, metavar="LENGTH", help="Of the figure: 5.5in, also cm, mm and TeX's pt."
    ),
]
Latex = Annotated[
    Path | None,
    typer.Option(
        "--latex", parser=typed_path, metavar="FILE", help="Write the tables for LaTeX with booktabs."
    ),
]


def look_of(style: str, width: float | None, figure: str = "") -> Look:
    """The look that --style and --width ask for; a fault where no figure is written.

    figure : the option that asks for one, where it is missing.
    """
    from ..shown.style import SCREEN, Look

    look = Look(style == "paper", width)
    if figure and look != SCREEN:
        raise Failure(f"got --style or --width without a figure to write, expected {figure} as well")
    return look


def overrides_of(settings: list[str] | None, faults: list[str] | None = None) -> dict[str, object]:
    """What --set says; its faults are raised, or added to those given."""
    from ..config.errors import ConfigError
    from ..config.sources import parse_override

    overrides: dict[str, object] = {}
    found: list[str] = []
    for text in settings or []:
        try:
            overrides.update([parse_override(text)])
        except ConfigError as error:
            found += error.faults
    if faults is not None:
        faults += found
    elif found:
        raise ConfigError(*found)
    return overrides


def experiment_of(source: str | None, settings: list[str] | None, seed: int | None) -> Experiment:
    """The experiment of a command, resolved; ConfigError with every fault of its file and its settings."""
    from ..config.errors import ConfigError
    from ..config.sources import load

    faults: list[str] = []
    overrides = overrides_of(settings, faults)
    if seed is not None:
        overrides["seed"] = seed
    try:
        experiment = load(source, overrides).resolved()
    except ConfigError as error:
        faults += error.faults
    if faults:
        raise ConfigError(*faults)
    return experiment
