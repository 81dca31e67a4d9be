"""Work (d): replicates of the ReLU heat map (K1; preset kou-heatmap) a second, on two cores.

A replicate draws data and filters, trains 100 steps and tests on 1,000 points, in the middle of the map.
numsim runs it as an ensemble, PyTorch in two processes of one thread, or one of two threads.
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

DIM, SIGNAL_NORM = 600, 5.0
STANDARD_ERRORS = 4.0
"""Mean test errors of two samples of replicates differ by more than this once in 16,000 times by chance."""


def map_experiment(dim: int) -> Any:
    """The heat map's experiment at one place of the map."""
    import numsim

    place = {"data.dim": dim, "data.signal_norm": SIGNAL_NORM}
    return numsim.load("kou-heatmap", place).resolved()


def own_replicates(experiment: Any, count: int, workers: int) -> Callable[[], list[float]]:
    """numsim: one place of the map at ``count`` seeds, as an ensemble; test errors."""
    import numsim

    def run() -> list[float]:
        found = numsim.run_many(experiment, count, workers=workers)
        errors: list[float] = found["test_error"].sel(arm="direct").values.tolist()
        return errors

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

    from numsim.runs.export import dense_arrays

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
    *, dim: int, own_count: int, count: int, checked: int, processes: int, cores: int, seed: int
) -> Sides:
    """Both sides; first the same instance on both, then the mean test errors of ``checked`` replicates."""
    e = map_experiment(dim)
    apart = trajectory_distance(e.replace({"seed": seed}))
    own = own_replicates(e, own_count, cores)
    other = torch_replicates(dim, count, processes)
    z = same_mean(own(), torch_replicates(dim, checked, processes)())
    other()
    facts = {"standard_errors": z}
    return Sides(own, other, (own_count, count), apart, FLOOR, facts)


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
                "own_count": 80 if smoke else 4000,
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
