"""Ensembles: one experiment at many seeds, on all cores, as one labelled dataset.

A run is one thread; its matrix products have ``experiment.threads`` BLAS threads, whatever runs beside it. So
an entry has the same bits as ``run(experiment, seed)``, on any number of workers and in any order.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .config import Experiment
from .experiment import check_memory
from .measures import ARMS, FAILED, PHYSICS, STATUSES, blank, measure, variables
from .threads import blas_threads, cores
from .versions import versions

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["checked_seeds", "dataset", "run_many"]

Floats = npt.NDArray[np.float64]


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


def run_many(experiment: Experiment, seeds: int | Iterable[int], *, workers: int | None = None) -> xr.Dataset:
    """Run an experiment at many seeds and keep what both arms end in.

    Parameters
    ----------
    experiment : what to simulate; its own seed is not used.
    seeds : the seeds, or a number of them (0, 1, ...).
    workers : runs at a time; None: as many as there are cores for ``experiment.threads`` each.

    Returns
    -------
    Dataset with dims arm ("simclr", "direct") and seed: train_loss, test_loss, test_error, steps (NaN where
    an arm is absent) and status (``flag_values`` and ``flag_meanings`` as in the CF conventions, -1 absent).

    Entry (arm, s) has the bits of ``run(experiment, seed=s)``, whatever the number of workers. A run that is
    not finite, or that memory did not suffice for, is a status, not an error.

    Raises
    ------
    ConfigError : settings that cannot be run. ValueError : seeds that are none.
    """
    listed = checked_seeds(seeds)
    e = experiment.resolved()
    check_memory(e)
    if workers is not None and (isinstance(workers, bool) or workers < 1):
        raise ValueError(f"workers is {workers}, expected a number >= 1, or None for all cores")
    workers = min(workers or max(1, cores() // e.threads), len(listed))
    stopped = threading.Event()

    def watch(stage: str, step: int, loss: float) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt

    def outcome(seed: int) -> Floats:
        with np.errstate(all="ignore"):  # a status says what was not finite
            try:
                return measure(e, seed, report=watch)
            except MemoryError:
                return blank(("arms",), FAILED)

    with blas_threads(e.threads):
        if workers == 1:
            rows = [outcome(seed) for seed in listed]
        else:
            with ThreadPoolExecutor(workers) as executor:
                try:
                    rows = list(executor.map(outcome, listed))
                except BaseException:
                    stopped.set()  # long runs stop at their next pause
                    executor.shutdown(wait=True, cancel_futures=True)
                    raise
    return dataset(np.stack(rows), ("arms",), {"seed": listed}, experiment=e)


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
    found: dict[str, Any] = {}
    column = 0
    for v in variables(measures):
        width = len(ARMS) if v.per_arm else 1
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
    per_arm = {"arm": list(ARMS)} if any(v.per_arm for v in variables(measures)) else {}
    settings = {key: value for key, value in experiment.as_dict().items() if key != "seed"}
    return xr.Dataset(
        found,
        coords={**per_arm, **coordinates},
        attrs={
            "experiment": json.dumps(settings, sort_keys=True),
            "physics": PHYSICS,
            **versions(),
            **(attributes or {}),
        },
    )
