"""The folders of results: what a run or a sweep writes there, and what must not be replaced unasked.

A folder holds one experiment. The same one, or one with more seeds or axis values, goes on in it; any other
is refused, so that nothing that took hours is lost to a folder's name typed twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.experiment import Experiment, flat_settings
from ..models.checks import show
from .measures import PHYSICS
from .result import Result
from .saved import load_result

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "FIGURE",
    "LEDGER",
    "RESULT",
    "RESULTS",
    "RUN",
    "SUMMARY",
    "SWEEP",
    "TABLE",
    "clear",
    "differences",
    "other_physics",
    "other_than_run",
    "physics_of",
    "strangers",
]

RESULT, RESULTS, SUMMARY, TABLE = "result.nc", "results.nc", "summary.json", "results.csv"
FIGURE, LEDGER = "figure.png", "ledger.sqlite"
RUN = (RESULT, SUMMARY, FIGURE)
"""What a run writes."""
SWEEP = (RESULTS, TABLE, SUMMARY, FIGURE)
"""What a sweep writes beside its ledger."""

_SHOWN = 3


def physics_of(saved: Result | xr.Dataset) -> str:
    """The physics version (``numsim.runs.measures.PHYSICS``) that computed a saved result, or "unknown"."""
    if isinstance(saved, Result):
        return saved.provenance.get("physics", "unknown")
    return str(saved.attrs["physics"])


def other_physics(saved: Result | xr.Dataset) -> str:
    """In words, that a saved result is of another physics version than this numsim's; "" if it is not."""
    found = physics_of(saved)
    if found == str(PHYSICS):
        return ""
    version = "an unknown physics version" if found == "unknown" else f"physics version {found}"
    return f"numbers of {version}, this numsim computes version {PHYSICS}"


def other_than_run(folder: Path, experiment: Experiment) -> str:
    """What a folder holds, in words, other than the run of this resolved experiment; "" if nothing."""
    if any((folder / name).exists() for name in (LEDGER, RESULTS)):
        return "a sweep"
    path = folder / RESULT
    if not path.exists():
        return strangers(folder, RUN)
    try:
        saved = load_result(path)
    except (OSError, ValueError):
        return f"a {RESULT} that cannot be read"
    found = differences(flat_settings(saved.experiment), flat_settings(experiment))
    return f"another experiment ({found})" if found else other_physics(saved)


def strangers(folder: Path, names: Iterable[str]) -> str:
    """Files of these names where there is no result that they could belong to, in words; "" if none."""
    found = [name for name in names if (folder / name).exists()]
    return f"{', '.join(found)} of unknown origin" if found else ""


def differences(kept: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    """Where the settings that are kept differ from those that are wanted, in words; "" if nowhere."""
    names = [name for name in {**kept, **wanted} if kept.get(name) != wanted.get(name)]
    words = [f"{name} {_said(kept, name)} there, {_said(wanted, name)} here" for name in names[:_SHOWN]]
    return "; ".join(words) + (f"; {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _said(settings: Mapping[str, object], name: str) -> str:
    return show(settings[name]) if settings.get(name) is not None else "not given"


def clear(folder: Path) -> None:
    """Remove what a run, or a sweep's end, has written: a folder never holds files of two experiments.

    The ledger of a sweep is emptied by the sweep that replaces it, which has it locked.
    """
    for name in {*RUN, *SWEEP}:
        with suppress(FileNotFoundError):
            (folder / name).unlink()
