"""A sweep from beginning to end: which cells, in which order, and the labelled result."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..config.errors import ConfigError, fault, nearest
from ..config.experiment import Experiment, flat_settings
from ..config.sources import Given, as_experiment
from ..config.values import MOST, merge
from ..models.checks import show
from ..runs.ensembles import LARGEST_SAVED, checked_seeds, dataset
from ..runs.files import write_atomically
from ..runs.folders import LEDGER, RESULT, RESULTS, SWEEP, clear, differences, other_physics, strangers
from ..runs.measures import FAILED, MEASURES, NOT_RUN, blank, size
from .criteria import Criterion, choose, swept_experiment
from .executors import Executor, Unreachable, connect
from .grid import Grid, parse_axes
from .ledger import Ledger
from .results import load_results, netcdf
from .runner import Progress, Runner

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Attempt", "Study", "prepared", "sweep"]

Floats = npt.NDArray[np.float64]


class Attempt(NamedTuple):
    """What a sweep came to: its result, the runs that it took, and what stopped it before it was complete.

    The result of a sweep that was stopped has attrs["incomplete"] = 1, and the status not_run where nothing
    is known yet.
    """

    found: xr.Dataset
    computed: int
    stopped: KeyboardInterrupt | Unreachable | None


class Study:
    """A sweep that has been checked, and can be run.

    experiment : what is varied; over : axes (``parse_axes``); seeds : the same in every cell; measures : what
    is measured (runs/measures.py); criteria : what counts as success, and where its boundary is sought;
    title, shown, totals : of the figure, axes it shows in other units (axis_labels.py), and whether
    it adds up the samples of both kinds.
    Raises ConfigError with every fault.
    """

    def __init__(
        self,
        experiment: Experiment | Given,
        over: Mapping[str, Any],
        seeds: int | Iterable[int],
        *,
        measures: Sequence[str] = ("arms",),
        criteria: Sequence[Criterion] = (),
        title: str = "",
        shown: Mapping[str, str] | None = None,
        totals: bool = False,
    ) -> None:
        """Check everything that can be checked before any run."""
        faults: list[str] = []
        try:
            self.grid = Grid(as_experiment(experiment), parse_axes(over, "sweep.over"))
        except ConfigError as error:
            faults += error.faults
        try:
            self.seeds = checked_seeds(seeds)
            if max(self.seeds) > LARGEST_SAVED:
                expected = f"at most 2^53 = {LARGEST_SAVED}, which NetCDF can hold"
                faults.append(fault("sweep.seeds", str(max(self.seeds)), expected))
        except ValueError as error:
            faults.append(f"sweep.seeds: {error}")
        for name in measures:
            if name not in MEASURES:
                near = f"one of {', '.join(MEASURES)}; nearest: {nearest(str(name), MEASURES)}"
                faults.append(fault("sweep.measure", show(name), near))
        self.measures = tuple(dict.fromkeys(measures))
        self.title, self.shown, self.totals = title, dict(shown or {}), totals
        self.criteria = tuple(criteria)
        if not faults:
            for criterion in self.criteria:
                faults += criterion.faults(self.grid, self.measures)
        if faults:
            raise ConfigError(*faults)

    @property
    def runs(self) -> int:
        """Cells and seeds, if none is left out."""
        return self.grid.size * len(self.seeds)

    def run(
        self,
        out: Path | None,
        scheduler: str | None = None,
        progress: Progress | None = None,
        *,
        replace: bool = False,
    ) -> tuple[xr.Dataset, int]:
        """Run what the ledger in ``out`` does not have; the result, and how many runs that took.

        With refining criteria cells are run in rounds, each near the boundaries that the last has shown. What
        is run follows from what was found alone, so that an interrupted sweep goes on as it would have.

        Raises ConfigError where ``out`` holds another experiment, unless replace.
        """
        sought = self.attempt(out, scheduler, progress, replace=replace)
        if sought.stopped is not None:
            raise sought.stopped
        return sought.found, sought.computed

    def attempt(
        self,
        out: Path | None,
        scheduler: str | None = None,
        progress: Progress | None = None,
        *,
        replace: bool = False,
    ) -> Attempt:
        """As ``run``, but being interrupted, or losing the scheduler, is a value: what is there by then."""
        if out is not None and not (out / LEDGER).exists():  # before one is made there
            self._claim(out, None, replace)
        with Ledger(None if out is None else out / LEDGER, replace=replace) as ledger:
            if out is not None:
                self._claim(out, ledger, replace)
            executor: Executor | None = None
            stopped: KeyboardInterrupt | Unreachable | None = None
            chosen: set[int] = set()
            runner = Runner(self.grid, self.measures, ledger, progress)
            try:
                try:
                    executor = connect(scheduler, self.grid.experiment.threads, self.runs)
                    while more := self._next(ledger, runner, chosen):
                        chosen |= more
                        runner.run(executor, sorted(chosen), self.seeds)
                finally:
                    if executor is not None:
                        executor.close()
            except (KeyboardInterrupt, Unreachable) as error:
                stopped, chosen = error, set(range(self.grid.size))
            found = self._dataset(self._collect(ledger, runner, chosen), complete=stopped is None)
            return Attempt(found, runner.computed, stopped)

    def _claim(self, out: Path, ledger: Ledger | None, replace: bool) -> None:
        """Refuse a folder that holds another experiment, or empty it."""
        if other := self._other(out, ledger):
            if not replace:
                raise ConfigError(f"{out} holds {other}; choose another folder, or replace it (--replace)")
            if ledger is not None:
                ledger.clear()
                clear(out)
        if ledger is not None:
            ledger.owner = self._name

    def _other(self, out: Path, ledger: Ledger | None) -> str:
        """What a folder holds, in words, other than this sweep with perhaps other values and seeds."""
        if (out / RESULT).exists():
            return "a run"
        wanted = self._document(self.grid.overrides(0), self.grid.experiment, self.measures)
        mine = ledger is not None and ledger.owner == self._name
        texts = [] if ledger is None or mine else ledger.texts()  # 50 us each, of perhaps millions
        for text in texts:
            kept = json.loads(text)
            if found := differences(self._fixed(kept["settings"], kept["measures"]), wanted):
                return f"another experiment ({found})"
        if not (out / RESULTS).exists():
            return "" if mine or texts else strangers(out, SWEEP)
        saved = load_results(out / RESULTS)
        if saved is None:
            return f"a {RESULTS} that cannot be read"
        axes = {str(k): v.values.tolist() for k, v in saved.coords.items() if k not in ("arm", "seed")}
        varied = {name: values[0] if len(values) == 1 else values for name, values in axes.items()}
        measured = [name for name in MEASURES if {v.name for v in MEASURES[name]} <= set(saved.data_vars)]
        found = differences(self._document(varied, swept_experiment(saved), measured), wanted)
        return f"another experiment ({found})" if found else other_physics(saved)

    def _document(
        self, overrides: Mapping[str, object], experiment: Experiment, measures: Sequence[str]
    ) -> dict[str, object]:
        return self._fixed(merge([flat_settings(experiment), overrides]), measures)

    @property
    def _name(self) -> str:
        """What a ledger knows this sweep by, whatever values and seeds it has."""
        axes = sorted(name for axis in self.grid.axes for name in (axis.name, *axis.tied))
        wanted = self._document(self.grid.overrides(0), self.grid.experiment, self.measures)
        return json.dumps({"axes": axes, "fixed": wanted}, sort_keys=True)

    def _fixed(self, settings: Mapping[str, object], measures: Sequence[str]) -> dict[str, object]:
        """What makes a sweep the same experiment: the settings that its axes do not vary, and measures."""
        varied = {name for axis in self.grid.axes for name in (axis.name, *axis.tied)} | {"seed"}
        fixed = {name: value for name, value in settings.items() if name not in varied}
        return {**fixed, "sweep.measure": sorted(measures)}

    def _next(self, ledger: Ledger, runner: Runner, chosen: set[int]) -> set[int]:
        """The cells of the next round: all, or those that refining criteria ask for."""
        refining = [criterion for criterion in self.criteria if criterion.width is not None]
        if not refining:
            return set(range(self.grid.size)) - chosen
        found = self._dataset(self._collect(ledger, runner, chosen))
        return {cell for criterion in refining for cell in choose(criterion, self.grid, found)} - chosen

    def _collect(self, ledger: Ledger, runner: Runner, chosen: set[int]) -> tuple[Floats, dict[str, str]]:
        """Numbers (cells, seeds, size) and the reasons of those that have none."""
        numbers = np.empty((self.grid.size, len(self.seeds), size(self.measures)))
        numbers[:] = blank(self.measures, NOT_RUN)
        reasons: dict[str, str] = {}
        failed = blank(self.measures, FAILED)
        for cell in sorted(chosen):
            known = ledger.numbers(runner.key(cell))
            for k, seed in enumerate(self.seeds):
                if seed in known:
                    numbers[cell, k] = known[seed]
            if len(known) < len(self.seeds):
                why = ledger.reasons(runner.key(cell))
                numbers[cell, [s not in known and s in why for s in self.seeds]] = failed
                place = ", ".join(f"{name} = {value}" for name, value in self.grid.overrides(cell).items())
                reasons |= {f"{place}, seed {s}": why[s] for s in self.seeds if s not in known and s in why}
        return numbers, reasons

    def _dataset(self, collected: tuple[Floats, dict[str, str]], *, complete: bool = True) -> xr.Dataset:
        numbers, reasons = collected
        coordinates: dict[str, Any] = {axis.name: _storable(axis.values) for axis in self.grid.axes}
        tied = {name: (a.name, _storable(values)) for a in self.grid.axes for name, values in a.tied.items()}
        attributes: dict[str, str | int] = {
            "criteria": json.dumps([c.as_dict() for c in self.criteria]),
            "title": self.title,
            "shown": json.dumps(self.shown),
            "totals": int(self.totals),
        }
        if reasons:
            attributes["failures"] = json.dumps(reasons)
        if not complete:
            attributes["incomplete"] = 1
        return dataset(
            numbers,
            self.measures,
            {**coordinates, "seed": self.seeds},
            experiment=self.grid.experiment,
            attributes=attributes,
        ).assign_coords(tied)


def _storable(values: Sequence[int | float]) -> list[int | float]:
    """Values of an axis as NetCDF 3 can hold them: whole numbers beyond 32 bits (dim) as exact floats."""
    return [float(x) for x in values] if max(values) > MOST else list(values)


def sweep(
    experiment: Experiment | Given,
    over: Mapping[str, Any],
    seeds: int | Iterable[int],
    out: str | os.PathLike[str] | None,
    scheduler: str | None = None,
    resume: bool = True,
    *,
    measures: Sequence[str] = ("arms",),
    criteria: Sequence[Criterion] = (),
    progress: Progress | None = None,
    replace: bool = False,
) -> xr.Dataset:
    """Run an experiment over a grid of settings, at the same seeds in every cell.

    Parameters
    ----------
    experiment : what is varied: an Experiment, the name of a preset, the path of a file, or a mapping of
        settings; its own seed is not used.
    over : axes, dotted names of numeric settings to a list of values, {"linspace": [first, last, count]} or
        {"geomspace": ...}; an axis displaces its twin (snr and signal_norm, the two initial scales).
    seeds : the seeds, or a number of them (0, 1, ...).
    out : folder for ledger.sqlite, which keeps every finished cell, and results.nc; None: keep nothing. One
        that holds another experiment is refused; this one with other seeds or axis values goes on.
    scheduler : None: the cores of this machine; "local": a Dask cluster of this machine; or the address of a
        Dask scheduler.
    resume : whether a ledger in ``out`` is gone on with; False: refuse a folder that has one.
    measures : what is measured, of "arms", "pretraining" and "spectrum" (``numsim.runs.measures``).
    criteria : boundaries to look for (``numsim.sweeps.criteria``); those with a width choose which cells are
        run.
    progress : called as progress(finished, wanted).
    replace : whether what another experiment has left in ``out`` is removed.

    Returns
    -------
    Dataset as of ``run_many``, with a dim for each axis (its values are the coordinate) before seed. Entry
    (arm, ..., s) has the bits of ``run(configuration, seed=s)``. A run that is not finite, or that breaks
    off, is a status; attrs["failures"] says why, by cell. Cells that refinement left out have the status
    not_run.

    Interrupted, by Ctrl-C or at its death, it has lost nothing but the cells under way: the same call
    finishes the rest, with the same bits. What is there at Ctrl-C is in results.nc, whose
    attrs["incomplete"] is then 1.

    Raises
    ------
    ConfigError : axes, seeds or criteria that cannot be, a folder of another experiment; LedgerError : a
    ledger that is not ours, damaged, in use, or of another version; LedgerFull : the disk is full.
    Unreachable : the scheduler was lost.
    """
    study = Study(experiment, over, seeds, measures=measures, criteria=criteria)
    folder = None if out is None else prepared(out, resume)
    found, _, stopped = study.attempt(folder, scheduler, progress, replace=replace)
    if folder is not None:
        write_atomically(folder / RESULTS, lambda file: file.write(netcdf(found)))
    if stopped is not None:
        raise stopped
    return found


def prepared(given: str | os.PathLike[str], resume: bool = True) -> Path:
    """The folder of a sweep, made if need be; ConfigError where there can be none."""
    folder = Path(given)
    try:
        if not os.fspath(given):
            raise ConfigError(fault("out", "an empty path", "the path of a folder; . is this one"))
        if folder.exists() and not folder.is_dir():
            raise ConfigError(fault("out", show(str(folder)), "a folder; this is a file"))
        if not resume and (folder / LEDGER).exists():
            expected = "a folder without a ledger; resume = True goes on with this one"
            raise ConfigError(fault("out", show(str(folder)), expected))
        folder.mkdir(parents=True, exist_ok=True)
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ConfigError(fault("out", show(str(folder)), f"a folder that can be made ({reason})")) from error
    return folder
