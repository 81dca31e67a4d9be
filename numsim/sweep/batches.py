"""What a worker does: run some cells of a sweep, here or in another process or on another machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..config import Experiment
from ..faults import ConfigError
from ..measures import measure
from ..threads import blas_threads

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
    """What one cell gave at one seed: numbers, or the reason why there are none."""

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
        with blas_threads(e.threads), np.errstate(all="ignore"):
            rows += [_row(task.cell, e, seed, batch.measures) for seed in task.seeds]
    return rows


def _row(cell: int, e: Experiment, seed: int, measures: Sequence[str]) -> Row:
    start = time.perf_counter()
    try:
        numbers = measure(e, seed, measures)
    except ConfigError as error:
        return Row(cell, seed, 0.0, None, "; ".join(error.faults))
    except MemoryError:
        return Row(cell, seed, 0.0, None, "not enough memory")
    except Exception as error:
        return Row(cell, seed, 0.0, None, f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Row(cell, seed, time.perf_counter() - start, numbers)
