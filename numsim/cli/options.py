"""What several commands take, and the experiment that it describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..config.experiment import Experiment

__all__ = ["Json", "Replace", "Seed", "Settings", "Source", "experiment_of", "overrides_of", "typed_path"]

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


def typed_path(text: str) -> Path:
    """A path as it was typed; an empty one, as of a variable that is not set, is none."""
    if not text:
        raise typer.BadParameter("got '', expected a path (. is this folder)")
    return Path(text)


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
