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
from ..config.experiment import Experiment, is_inner_setting
from ..config.sources import Given, as_experiment
from ..config.values import MOST
from ..models.checks import show
from ..models.samples import Samples
from ..runs.ensembles import LARGEST_SAVED, checked_seeds, dataset
from ..runs.files import write_atomically
from ..runs.folders import LEDGER, RESULTS
from ..runs.measures import FAILED, MEASURES, NOT_RUN, blank, clusters_of, size
from .connect import connect
from .criteria import Criterion, choose
from .executors import Executor, Unreachable
from .folder import Owner, prepared
from .grid import Grid, Value, parse_axes
from .ledger import Ledger
from .results import netcdf
from .runner import Progress, Runner

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Attempt", "Study", "sweep"]

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
            if any(is_inner_setting(name) for axis in self.grid.axes for name in axis.at(0)):
                self.grid.experiment.replace(self.grid.overrides(0))  # whether there is such a place
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

    @property
    def _clusters(self) -> tuple[str, ...]:
        return clusters_of(self.grid.experiment)

    @property
    def _arms(self) -> tuple[str, ...]:
        return self.grid.experiment.arm_names

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
        owner = Owner(self.grid, self.measures)
        if out is not None and not (out / LEDGER).exists():  # before one is made there
            owner.claim(out, None, replace)
        with Ledger(None if out is None else out / LEDGER, replace=replace) as ledger:
            if out is not None:
                owner.claim(out, ledger, replace)
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

    def _next(self, ledger: Ledger, runner: Runner, chosen: set[int]) -> set[int]:
        """The cells of the next round: all, or those that refining criteria ask for."""
        refining = [criterion for criterion in self.criteria if criterion.width is not None]
        if not refining:
            return set(range(self.grid.size)) - chosen
        found = self._dataset(self._collect(ledger, runner, chosen))
        return {cell for criterion in refining for cell in choose(criterion, self.grid, found)} - chosen

    def _collect(self, ledger: Ledger, runner: Runner, chosen: set[int]) -> tuple[Floats, dict[str, str]]:
        """Numbers (cells, seeds, size) and the reasons of those that have none."""
        numbers = np.empty((self.grid.size, len(self.seeds), size(self.measures, self._arms, self._clusters)))
        numbers[:] = blank(self.measures, NOT_RUN, self._arms, self._clusters)
        reasons: dict[str, str] = {}
        failed = blank(self.measures, FAILED, self._arms, self._clusters)
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


def _storable(values: Sequence[Value]) -> list[Any]:
    """Values of an axis as NetCDF 3 can hold them: whole numbers beyond 32 bits (dim) as exact floats."""
    numbers = [x for x in values if not isinstance(x, str)]
    return [float(x) for x in numbers] if numbers and max(numbers) > MOST else list(values)


def sweep(
    experiment: Experiment | Given,
    over: Mapping[str, Any],
    seeds: int | Iterable[int],
    out: str | os.PathLike[str] | None,
    scheduler: str | None = None,
    resume: bool = True,
    *,
    data: Samples | None = None,
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
    over : axes, dotted names of settings that are numbers or words to a list of values, or of numbers to
        {"linspace": [first, last, count]} or {"geomspace": ...}; data.classes takes a list of pairs. An axis
        displaces its twin (snr and signal_norm, the two initial scales).
    seeds : the seeds, or a number of them (0, 1, ...).
    out : folder for ledger.sqlite, which keeps every finished cell, and results.nc; None: keep nothing. One
        that holds another experiment is refused; this one with other seeds or axis values goes on.
    scheduler : None: the cores of this machine; "local": a Dask cluster of this machine; or the address of a
        Dask scheduler.
    resume : whether a ledger in ``out`` is gone on with; False: refuse a folder that has one.
    data : one's own arrays in the place of drawn data.
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
    chosen = as_experiment(experiment, data) if data is not None else experiment
    study = Study(chosen, over, seeds, measures=measures, criteria=criteria)
    folder = None if out is None else prepared(out, resume)
    found, _, stopped = study.attempt(folder, scheduler, progress, replace=replace)
    if folder is not None:
        write_atomically(folder / RESULTS, lambda file: file.write(netcdf(found)))
    if stopped is not None:
        raise stopped
    return found
