"""The command ``plot``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import INCOMPLETE, Failure, sentence
from .files import figure_of, prepare, write_figure
from .options import Style, Width, look_of, typed_path

if TYPE_CHECKING:
    import xarray as xr

    from ..runs.result import Result

__all__ = ["plot"]


def plot(
    path: Annotated[
        Path,
        typer.Argument(
            parser=typed_path,
            metavar="RESULT",
            help="A result.nc or results.nc, or the folder that holds it.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=typed_path,
            metavar="FILE",
            help="Picture to write, or replace (.png, .pdf, .svg, .pgf); default figure.png by the result.",
        ),
    ] = None,
    style: Style = "screen",
    width: Width = None,
) -> None:
    """Draw the figure of a saved result: of a run, or of a sweep."""
    from ..runs.folders import RESULT, RESULTS
    from ..shown.style import picture_kind
    from ..sweeps.results import load_saved

    if path.is_dir():
        path = path / (RESULTS if (path / RESULTS).exists() else RESULT)
    target = path.parent / "figure.png" if out is None else out
    try:
        picture_kind(target)
        saved = load_saved(path)
    except ValueError as error:
        raise Failure(sentence(error)) from error
    except OSError as error:
        raise Failure(f"cannot read {path}: {sentence(error)}{_unfinished(path)}") from error
    prepare(target)
    for note in _notes(saved):
        print(f"numsim: note: {path} holds {note}", file=sys.stderr)
    if faults := write_figure(target, lambda: figure_of(saved), look_of(style, width)):
        raise Failure(*faults, code=INCOMPLETE)
    print(f"written: {target}")


def _unfinished(path: Path) -> str:
    """What to do where a sweep was killed before it wrote a result."""
    from ..runs.folders import LEDGER

    there = (path.parent / LEDGER).exists()
    return f"; the sweep in {path.parent} is not finished, the same sweep command goes on" if there else ""


def _notes(saved: Result | xr.Dataset) -> list[str]:
    """What whoever looks at the figure of a saved result should know."""
    from ..runs.folders import other_physics

    notes = [words] if (words := other_physics(saved)) else []
    if getattr(saved, "attrs", {}).get("incomplete"):
        notes.append("a sweep that is not finished; the same sweep command goes on")
    return notes
