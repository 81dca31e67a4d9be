"""Work (d): replicates of the ReLU heat map (theory.md K; preset kou-heatmap) a second, on two cores.

A replicate draws data and filters, trains 100 steps and tests on 1,000 points, in the middle of the map.
numsim runs it in the processes of its sweeps; PyTorch in two processes of one thread, or one of two threads.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from .harness import Case, Sides, Unequal
from .instances import FLOOR, distance

Floats = npt.NDArray[np.float64]

DIM, SIGNAL_NORM, SEEDS = 600, 5.0, 10
STANDARD_ERRORS = 4.0
"""Mean test errors of two samples of replicates differ by more than this once in 16,000 times by chance."""


def map_experiment(dim: int) -> Any:
    """The heat map's experiment at one place of the map."""
    import numsim

    place = {"data.dim": dim, "data.signal_norm": SIGNAL_NORM}
    return numsim.load("kou-heatmap", place).resolved()


def own_replicates(experiment: Any, cells: int, workers: int) -> Callable[[], list[float]]:
    """numsim: ``cells`` cells of ten seeds each, as a sweep hands them to its processes; test errors.

    Cells differ by next to nothing in the signal, so that all have one law.
    """
    from numsim.measures import variables
    from numsim.sweep.batches import Batch, Task
    from numsim.sweep.executors import Processes

    pool = Processes()
    pool.workers = workers
    names = [v.name for v in variables(("arms",)) for _ in range(2)]
    column = names.index("test_error") + 1  # the direct arm
    tasks = [
        Task(
            cell,
            {"data.signal_norm": SIGNAL_NORM * (1 + 1e-9 * cell)},
            tuple(range(SEEDS * cell, SEEDS * cell + SEEDS)),
        )
        for cell in range(cells)
    ]
    parts = 4 * workers
    batches = [Batch(experiment, ("arms",), tuple(tasks[k::parts])) for k in range(parts)]

    def run() -> list[float]:
        pending = [pool.submit(batch) for batch in batches if batch.tasks]
        rows = [row for handle in pending for row in pool.collect(handle)]
        return [float(row.numbers[column]) for row in rows if row.numbers is not None]

    return run


def torch_replicates(dim: int, count: int, processes: int) -> Callable[[], list[float]]:
    """PyTorch: ``count`` replicates in so many processes (1: this one, with its threads); test errors."""
    from .alternatives.torch_heatmap import one_thread, replicate

    work = (replicate, [dim] * count, [SIGNAL_NORM] * count, range(count))
    if processes == 1:
        return lambda: list(map(*work))
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=one_thread)
    return lambda: list(pool.map(*work, chunksize=max(1, count // (2 * processes))))


def trajectory_distance(experiment: Any) -> float:
    """How far PyTorch's filters and biases end from numsim's on the same instance in R^d."""
    import torch

    from numsim.export import dense_arrays

    from .alternatives.torch_heatmap import train

    dense = dense_arrays(experiment)
    start, bias = dense["W0"][dense["split"]], dense["bias0"][dense["split"]]
    settings = experiment.finetuning
    patches = np.ascontiguousarray(dense["x"].transpose(1, 0, 2))
    arrays = (torch.from_numpy(array) for array in (start, bias, patches, dense["y"]))
    W, b = train(*arrays, learning_rate=settings.learning_rate, epochs=settings.max_steps)
    return max(
        distance(W.numpy(), dense["W_direct"].reshape(start.shape), start),
        distance(b.numpy(), dense["bias_direct"].reshape(bias.shape), bias),
    )


def same_mean(first: Sequence[float], second: Sequence[float]) -> float:
    """Difference of two means in standard errors; raises Unequal beyond 4."""
    a, b = np.asarray(first), np.asarray(second)
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    z = float(abs(a.mean() - b.mean()) / error)
    if not z <= STANDARD_ERRORS:
        raise Unequal(f"mean test errors {a.mean():.4f} and {b.mean():.4f} are {z:.1f} standard errors apart")
    return z


def replicates(
    *, dim: int, cells: int, count: int, checked: int, processes: int, cores: int, seed: int
) -> Sides:
    """Both sides; first the same instance on both, then the mean test errors of ``checked`` replicates."""
    e = map_experiment(dim)
    apart = trajectory_distance(e.replace({"seed": seed}))
    own = own_replicates(e, cells, cores)
    other = torch_replicates(dim, count, processes)
    z = same_mean(own(), torch_replicates(dim, checked, processes)())
    other()
    facts = {"standard_errors": z}
    return Sides(own, other, (cells * SEEDS, count), apart, FLOOR, facts)


def cases(smoke: bool) -> list[Case]:
    """Two ways to use two cores."""
    ways = {"PyTorch, 2 processes": 2, "PyTorch, 2 threads": 1}
    return [
        Case(
            work="heatmap",
            setting="d = 600, |mu| = 5",
            target=f"{__name__}:replicates",
            arguments={
                "dim": DIM,
                "cells": 8 if smoke else 200,
                "count": 4 if smoke else 40,
                "checked": 20 if smoke else 200,
                "processes": processes,
            },
            alternative=way,
            needs="torch",
            cores=2,
            unit="replicate",
        )
        for way, processes in ways.items()
    ]
