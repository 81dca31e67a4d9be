"""Ensembles: one experiment at many seeds, on all cores, as one labelled dataset.

A run is one thread; its matrix products have ``experiment.threads`` BLAS threads, whatever runs beside it. So
an entry has the same bits as ``run(experiment, seed)``, on any number of workers and in any order.

Runs share this process as threads; where there are many short ones, they are done by worker processes, since
half of a run of a millisecond is Python, for which threads wait for one another (two took as long as one).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..config.experiment import Experiment, Resolved
from ..config.sources import Given, as_experiment
from ..config.values import MOST
from ..descent.blas import blas_threads
from ..models.samples import Samples
from .draw import check_memory
from .measures import BY_CLUSTER, FAILED, PHYSICS, STATUSES, blank, clusters_of, measure_many, variables
from .replicates import portion_size
from .simulate import Report
from .versions import versions
from .workers import cores, end, in_threads, lasting_pool

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["checked_seeds", "dataset", "run_many"]

Floats = npt.NDArray[np.float64]

_SHORT = 5e-3  # seconds of a run below which threads do not pay
_START = 3.0  # seconds until worker processes have started
_BATCH = 0.1  # seconds of work handed to a worker process at a time
_IDLE = 300  # seconds that worker processes wait for another ensemble

LARGEST_SAVED = 2**53
"""The largest seed that a NetCDF 3 file holds: as a float, of the same value."""

_last_use = -math.inf  # of the worker processes, on the monotonic clock


def checked_seeds(seeds: int | Iterable[int]) -> list[int]:
    """Seeds as given, or 0 ... seeds - 1 for a number; ValueError for none, repetitions or anything else."""
    if isinstance(seeds, Integral) and not isinstance(seeds, bool):
        if seeds < 1:
            raise ValueError(f"seeds is {seeds}, expected a number of seeds >= 1 or a list of seeds")
        return list(range(int(seeds)))
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise ValueError(f"seeds is {seeds!r}, expected a number of seeds or a list of seeds")
    listed = list(seeds)
    for seed in listed:
        if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            raise ValueError(f"seeds holds {seed!r}, expected integers from 0 to 2^63 - 1")
    found = [int(seed) for seed in listed]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"seeds holds {'repetitions' if found else 'nothing'}, expected different seeds")
    return found


def run_many(
    experiment: Experiment | Given,
    seeds: int | Iterable[int],
    *,
    data: Samples | None = None,
    workers: int | None = None,
) -> xr.Dataset:
    """Run an experiment at many seeds and keep what its arms end in.

    Parameters
    ----------
    experiment : what to simulate: an Experiment, the name of a preset, the path of a file, or a mapping of
        settings; its own seed is not used.
    seeds : the seeds, or a number of them (0, 1, ...).
    data : one's own arrays in the place of drawn data.
    workers : runs at a time; None: as many as there are cores for ``experiment.threads`` each. Threads, or
        processes where there are many short runs.

    Returns ------- Dataset with dims arm (the experiment's; of most "simclr", "direct") and seed:
    train_loss, test_loss, test_error, steps (NaN where an arm is absent) and status (``flag_values`` and
    ``flag_meanings`` as in the CF conventions, -1 absent).

    Entry (arm, s) has the bits of ``run(experiment, seed=s)``, whatever the number of workers. A run that is
    not finite, or that memory did not suffice for, is a status, not an error. Seeds from 2^31 on are saved to
    NetCDF 3 as floats of the same value; beyond 2^53 there is none, and saving is an error.

    Raises
    ------
    ConfigError : settings that cannot be run. ValueError : seeds that are none.
    """
    listed = checked_seeds(seeds)
    e = as_experiment(experiment, data).resolved()
    check_memory(e)
    if workers is not None and (isinstance(workers, bool) or workers < 1):
        raise ValueError(f"workers is {workers}, expected a number >= 1, or None for all cores")
    workers = min(workers or max(1, cores() // e.threads), len(listed))
    started = time.monotonic() < _last_use + _IDLE / 2
    enough = 0.0 if started else 2 * _START  # seconds of work that are worth processes
    if workers == 1:
        rows = _rows(e, listed)
    elif portion_size(e) > 1 or len(listed) * _SHORT <= enough or len(listed) < 3:
        rows = _in_threads(e, listed, workers)
    else:  # many: two of them tell how short they are
        rows = _rows(e, listed[:1])  # the first may compile
        start = time.perf_counter()
        rows += _rows(e, listed[1:2])
        seconds, rest = time.perf_counter() - start, listed[2:]
        if seconds < _SHORT and seconds * len(rest) > enough:
            rows += _in_processes(e, rest, workers, max(1, round(_BATCH / seconds)))
        else:
            rows += _in_threads(e, rest, workers)
    return dataset(np.stack(rows), ("arms",), {"seed": listed}, experiment=e)


def _rows(e: Resolved, seeds: Sequence[int], report: Report | None = None) -> list[Floats]:
    """What the runs end in."""
    with blas_threads(e.threads), np.errstate(all="ignore"):  # a status says what was not finite
        found = measure_many(e, seeds, report=report)
    return [_numbers(e, numbers) for numbers in found]


def _numbers(e: Resolved, found: Floats | Exception) -> Floats:
    if isinstance(found, MemoryError):
        return blank(("arms",), FAILED, e.arm_names, clusters_of(e))
    if isinstance(found, Exception):
        raise found
    return found


def _in_threads(e: Resolved, seeds: Sequence[int], workers: int) -> list[Floats]:
    def rows_of(part: Sequence[int], stopped: Callable[[], bool]) -> list[Floats]:
        def watch(stage: str, step: int, loss: float) -> None:
            if stopped():  # long runs stop at their next pause
                raise KeyboardInterrupt

        return _rows(e, part, watch)

    size = portion_size(e)
    parts = [seeds[k : k + size] for k in range(0, len(seeds), size)]
    with blas_threads(e.threads):
        return [row for rows in in_threads(rows_of, parts, workers) for row in rows]


def _in_processes(e: Resolved, seeds: Sequence[int], workers: int, batch: int) -> list[Floats]:
    """In processes that stay for the next ensemble: they take seconds to start."""
    global _last_use
    size = min(batch, -(-len(seeds) // (4 * workers)))  # a few batches each, for they end at different times
    batches = [seeds[k : k + size] for k in range(0, len(seeds), size)]
    executor = lasting_pool(workers, _IDLE)
    try:
        rows = [row for rows in executor.map(partial(_rows, e), batches) for row in rows]
    except BrokenProcessPool:  # somebody killed a worker
        _last_use = -math.inf
        return _in_threads(e, seeds, workers)
    except BaseException:  # Ctrl-C
        _last_use = -math.inf
        end(executor)
        raise
    _last_use = time.monotonic()
    return rows


def dataset(
    rows: Floats,
    measures: Sequence[str],
    coordinates: Mapping[str, Any],
    *,
    experiment: Experiment,
    attributes: Mapping[str, str | int] | None = None,
) -> xr.Dataset:
    """Numbers of ``measure`` (..., size) over the grid of coordinates, the last of them seeds, with labels.

    Holds no times, hosts or numbers of tries: equal results are equal files.
    """
    import xarray as xr

    shape = tuple(len(values) for values in coordinates.values())
    grid = rows.reshape(*shape, rows.shape[-1])
    dims = tuple(coordinates)
    arms = experiment.arm_names
    found: dict[str, Any] = {}
    column = 0
    for v in variables(measures):
        width = len(arms) if v.per_arm else 1
        values = grid[..., column : column + width]
        column += width
        attrs: dict[str, Any] = {"long_name": v.words}
        if v.name == "status":
            values = values.astype(np.int8)
            attrs["flag_values"] = np.arange(-1, len(STATUSES) - 1, dtype=np.int8)
            attrs["flag_meanings"] = " ".join(STATUSES)
        if v.per_arm:
            arm_first = np.moveaxis(values, -1, 0)
            found[v.name] = (("arm", *dims), np.ascontiguousarray(arm_first), attrs)
        else:
            found[v.name] = (dims, np.ascontiguousarray(values[..., 0]), attrs)
    clusters = clusters_of(experiment) if "arms" in measures else ()
    if clusters:
        dims_of = ("arm", *dims, "cluster")
        for v in BY_CLUSTER:
            width = len(arms) * len(clusters)
            values = grid[..., column : column + width].reshape(*shape, len(arms), len(clusters))
            column += width
            moved = np.ascontiguousarray(np.moveaxis(values, -2, 0))
            found[v.name] = (dims_of, moved, {"long_name": v.words})
        coordinates = {**coordinates, "cluster": list(clusters)}
    per_arm = {"arm": list(arms)} if any(v.per_arm for v in variables(measures)) else {}
    settings = {key: value for key, value in experiment.as_dict().items() if key != "seed"}
    labelled = xr.Dataset(
        found,
        coords={**per_arm, **coordinates},
        attrs={
            "experiment": json.dumps(settings, sort_keys=True),
            "physics": PHYSICS,
            **versions(),
            **(attributes or {}),
        },
    )
    for name in dims:  # the largest integers of a NetCDF 3 file have 32 bits, its floats 53
        numbers = labelled.variables[name]
        if numbers.dtype.kind == "i" and MOST < numbers.values.max() <= LARGEST_SAVED:
            numbers.encoding["dtype"] = "float64"
    return labelled
