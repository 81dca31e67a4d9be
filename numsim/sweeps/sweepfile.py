"""Sweep files: an experiment file with a table ``sweep``.

    [sweep]
    seeds = 20                     # 0 ... 19 in every cell, or a list of seeds
    measure = "arms"               # or "pretraining", "spectrum", or a list of them
    title = "..."                  # of the figure
    totals = true                  # a panel with the samples of both kinds added up
    [sweep.over]
    "data.snr" = { geomspace = [0.05, 0.8, 16] }
    "finetuning.samples" = [5, 10, 20, 40]
    [sweep.show]                   # axes of the figure in other units (numsim.sweeps.axis_labels)
    "data.snr" = "kappa"
    [[sweep.boundary]]             # see numsim.sweeps.criteria
    ...

A file that builds on a preset (``preset = NAME``) replaces the keys of its table one by one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from ..config.errors import ConfigError, fault, nearest
from ..config.experiment import Experiment
from ..config.sources import load, read_levels
from ..models.checks import show
from .axis_labels import UNITS
from .criteria import Criterion
from .study import Study

__all__ = ["load_sweep"]

_KEYS = ("seeds", "measure", "title", "totals", "over", "show", "boundary")


def load_sweep(path: str | os.PathLike[str], overrides: Mapping[str, object] | None = None) -> Study:
    """The study of a sweep file or preset, with overrides on the experiment; ConfigError with every fault."""
    faults: list[str] = []
    experiment = None
    try:
        experiment = load(path, overrides)
    except ConfigError as error:
        faults += error.faults
    table: dict[str, Any] = {}
    try:
        for level in read_levels(path):
            given = level.get("sweep", {})
            if not isinstance(given, Mapping):
                raise ConfigError(fault("sweep", show(given), "a table"))
            table |= given
    except ConfigError as error:
        faults += [line for line in error.faults if line not in faults]
    if not table and not faults:
        faults.append(fault("sweep", "no such table", f"{os.fspath(path)} to have one, with seeds and over"))
    faults += [
        fault(f"sweep.{key}", show(value), f"a known name; nearest: {nearest(key, _KEYS)}")
        for key, value in table.items()
        if key not in _KEYS
    ]
    criteria = _criteria(table.get("boundary", []), faults)
    shown = table.get("show", {})
    if not isinstance(shown, Mapping) or any(unit not in list(UNITS) for unit in shown.values()):
        faults.append(fault("sweep.show", show(shown), f"a table of axes and units, {', '.join(UNITS)}"))
    over = table.get("over", {})
    faults += [
        f"sweep.show: got {show(name)}, expected an axis of the sweep"
        for name in (shown if isinstance(shown, Mapping) else ())
        if not isinstance(over, Mapping) or name not in over
    ]
    if not isinstance(table.get("totals", False), bool):
        faults.append(fault("sweep.totals", show(table["totals"]), "true or false"))
    measure = table.get("measure", "arms")
    measures = [measure] if isinstance(measure, str) else measure
    if not isinstance(measures, list):
        faults.append(fault("sweep.measure", show(measure), "a name, or a list of names"))
        measures = ["arms"]
    try:
        if table:
            study = Study(
                experiment if experiment is not None else Experiment(),
                table.get("over", {}),
                table.get("seeds", 1),
                measures=[str(name) for name in measures],
                criteria=criteria,
                title=str(table.get("title", "")),
                totals=bool(table.get("totals", False)),
                shown={str(k): str(v) for k, v in shown.items()} if isinstance(shown, Mapping) else {},
            )
    except ConfigError as error:
        faults += error.faults
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
    return study


def _criteria(given: object, faults: list[str]) -> list[Criterion]:
    if not isinstance(given, list) or not all(isinstance(entry, Mapping) for entry in given):
        faults.append(fault("sweep.boundary", show(given), "tables, [[sweep.boundary]]"))
        return []
    known = {f.name: f for f in fields(Criterion)}
    found = []
    for position, entry in enumerate(given):
        where = f"sweep.boundary {entry.get('name', position + 1)}"
        wrong = [
            f"{where}: got {name} = {show(value)}, expected a known name; nearest: {nearest(name, known)}"
            for name, value in entry.items()
            if name not in known
        ]
        wrong += [
            f"{where}: got no {name}, expected one"
            for name, f in known.items()
            if f.default is MISSING and f.default_factory is MISSING and name not in entry
        ]
        faults += wrong
        if not wrong:
            found.append(Criterion(**entry))
    return found
