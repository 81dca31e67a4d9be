"""What a worker does: run some cells of a sweep, here or in another process or on another machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..config.errors import ConfigError
from ..config.experiment import Experiment
from ..descent.blas import blas_threads
from ..runs.measures import measure_many

__all__ = ["Batch", "Row", "Task", "run_batch"]

Floats = npt.NDArray[np.float64]


class Task(NamedTuple):
    """One cell at some seeds: its number in the grid, what sets it apart, the seeds."""

    cell: int
    overrides: Mapping[str, int | float]
    seeds: tuple[int, ...]


class Batch(NamedTuple):
    """Tasks that travel together, with all that a worker needs to know."""

    experiment: Experiment
    measures: tuple[str, ...]
    tasks: tuple[Task, ...]

    @property
    def runs(self) -> int:
        """How many cells and seeds."""
        return sum(len(task.seeds) for task in self.tasks)


class Row(NamedTuple):
    """What one cell gave at one seed: numbers, or the reason why there are none; seconds, its cell's mean."""

    cell: int
    seed: int
    seconds: float
    numbers: Floats | None
    reason: str = ""


def run_batch(batch: Batch) -> list[Row]:
    """Every cell and seed of a batch; an error is the reason of the cell that raised it."""
    rows: list[Row] = []
    for task in batch.tasks:
        try:
            e = batch.experiment.replace(task.overrides).resolved()
        except ConfigError as error:
            rows += [Row(task.cell, seed, 0.0, None, "; ".join(error.faults)) for seed in task.seeds]
            continue
        start = time.perf_counter()
        with blas_threads(e.threads), np.errstate(all="ignore"):
            found = measure_many(e, task.seeds, batch.measures)
        seconds = (time.perf_counter() - start) / len(task.seeds)
        rows += [_row(task.cell, *pair, seconds) for pair in zip(task.seeds, found, strict=True)]
    return rows


def _row(cell: int, seed: int, found: Floats | Exception, seconds: float) -> Row:
    match found:
        case ConfigError():
            return Row(cell, seed, 0.0, None, "; ".join(found.faults))
        case MemoryError():
            return Row(cell, seed, 0.0, None, "not enough memory")
        case Exception():
            return Row(cell, seed, 0.0, None, f"{type(found).__name__}: {' '.join(str(found).split())}")
    return Row(cell, seed, seconds, found)
