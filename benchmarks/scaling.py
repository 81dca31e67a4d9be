"""Work (e): time and memory against d, n0, n and m, with exponents beside those of the flop count.

Against d: the whole experiment (both arms and the tests) with fixed numbers of steps, in a process of its own
for its peak memory, then in turn with the same at d = 1e5. Against n0, n, m: seconds a step, read off the
progress that a stage reports, so that what comes before the first step does not count; at a thousandth of
the step size, hence in the linear stage throughout.

Multiplications and additions of a step, M = 2m, K = n + 2:
    pre-training  11 M n0^2  (1 for a triangle of S = P^T P, 2 for P (p + p^T), 8 for increments @ Gram)
    training      2 M K^2    (increments @ Gram)
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .harness import OK, Case, Measured, Row, Sides
from .instances import SLOW, experiment, patches
from .statistics import exponent

REFERENCE_DIM = 10**5
DIMS = (10**3, 10**5, 10**7, 10**9, 10**12, 10**15)
WORK = 5e10
"""Operations that a point spends in steps (some seconds), 8 steps at least."""


def peak_memory() -> float:
    """Largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def pretraining_operations(samples: float, filters: float) -> float:
    """Operations of a pre-training step."""
    return 11.0 * 2.0 * filters * samples**2


def training_operations(labelled: float, filters: float) -> float:
    """Operations of a supervised step."""
    return 2.0 * 2.0 * filters * (labelled + 2.0) ** 2


def whole_run(*, dim: int, steps: int, cores: int, seed: int) -> Sides:
    """The experiment at this d against the experiment at d = 1e5, both with the same numbers of steps."""
    import numsim

    def prepared(d: int) -> Any:
        return numsim.Experiment().replace(
            {
                "data.dim": d,
                "pretraining.steps": steps,
                "pretraining.stop_at_linear_end": False,
                "finetuning.max_steps": 20 * steps,
                "finetuning.target_loss": 0.0,
                "seed": seed,
                "threads": cores,
            }
        )

    here, there = prepared(dim), prepared(REFERENCE_DIM)
    ended = [numsim.run(here)]
    memory = peak_memory()
    ended.append(numsim.run(there))
    taken = [result.simclr.steps + result.direct.steps for result in ended if result.simclr is not None]
    return Sides(
        lambda: numsim.run(here),
        lambda: numsim.run(there),
        (1, 1),
        float(abs(taken[0] - taken[1])),
        0.0,
        {"memory": memory},
    )


def step_seconds(stage: Callable[[Callable[[int, float], None]], Any]) -> list[float]:
    """Seconds a step between the reports of a stage that is called with a progress function.

    A stage so short that it reports only its end (smoke sizes) is measured as a whole.
    """
    stamps: list[tuple[int, float]] = []
    start = time.perf_counter()
    stage(lambda step, loss: stamps.append((step, time.perf_counter())))
    if len(stamps) < 2:
        stamps.insert(0, (0, start))
    return [(b - a) / (j - i) for (i, a), (j, b) in pairwise(stamps) if j > i]


def pretraining_steps(*, samples: int, filters: int, cores: int, seed: int, steps: int = 0) -> Measured:
    """Seconds a pre-training step; steps : 0: as many as make WORK."""
    import numsim

    e = experiment(samples=samples, filters=filters, labelled=2)
    instance = numsim.draw(e, seed)
    z, z_aug = instance.unlabelled.sums(instance.mu)  # type: ignore[union-attr]
    filters_at_start = instance.filters
    del instance
    steps = steps or int(max(8, WORK / pretraining_operations(samples, filters)))
    seconds = step_seconds(
        lambda progress: numsim.pretrain(
            filters_at_start,
            z,
            z_aug,
            learning_rate=SLOW * e.pretraining.learning_rate,
            max_steps=steps,
            stop_at_linear_end=False,
            record=2,
            progress=progress,
            threads=cores,
        )
    )
    return Measured(seconds, {"memory": peak_memory()})


def training_steps(*, labelled: int, filters: int, cores: int, seed: int, steps: int = 0) -> Measured:
    """Seconds a supervised step; steps : 0: as many as make WORK."""
    import numsim
    from numsim.descent.network import split_filters

    e = experiment(samples=0, filters=filters, labelled=labelled)
    instance = numsim.draw(e, seed)
    steps = steps or int(max(8, WORK / training_operations(labelled, filters)))
    seconds = step_seconds(
        lambda progress: numsim.train(
            split_filters(instance.filters, instance.order),
            patches(instance),
            instance.labelled.labels,
            q=e.network.q,
            learning_rate=SLOW * e.finetuning.learning_rate,
            max_steps=steps,
            target_loss=0.0,
            record=2,
            progress=progress,
            threads=cores,
        )
    )
    return Measured(seconds, {"memory": peak_memory()})


def _points(stage: str, letter: str, sizes: Sequence[int], smoke: bool) -> list[Case]:
    """Points of a stage against n0, n or m; big ones in one process, whose many steps give the interval."""
    few, base = (20, 2) if smoke else (250, 10)
    count = "samples" if stage == "pretraining" else "labelled"
    words = "pre-training" if stage == "pretraining" else "training"
    found = []
    for size in sizes:
        point = {count: few, "filters": size} if letter == "m" else {count: size, "filters": base}
        found.append(
            Case(
                work="scaling",
                setting=f"{words}, {letter} = {size}",
                target=f"{__name__}:{stage}_steps",
                arguments={**point, "steps": 5 if smoke else 0},
                facts={name: float(value) for name, value in point.items()},
                processes=1 if letter == "n0" and size > 1000 else None,
            )
        )
    return found


def cases(smoke: bool) -> list[Case]:
    """The whole run against d, then a step of either stage against its sizes (m at n0 = n = 250)."""
    dims = (10**3, 10**15) if smoke else DIMS
    sizes = (20,) if smoke else (250, 500, 1000, 2000, 4000)
    widths = (2,) if smoke else (16, 32, 64, 128, 256, 512)
    found = [
        Case(
            work="scaling",
            setting=f"whole run, d = 1e{round(np.log10(dim))}",
            target=f"{__name__}:whole_run",
            arguments={"dim": dim, "steps": 2 if smoke else 50},
            alternative="numsim, d = 1e5",
            unit="run",
            facts={"dim": float(dim)},
        )
        for dim in dims
    ]
    for stage, letter in (("pretraining", "n0"), ("training", "n")):
        found += _points(stage, letter, sizes, smoke) + _points(stage, "m", widths, smoke)
    return found


def large_cases(smoke: bool) -> list[Case]:
    """One large pre-training stage, for its memory: drawing, Gram matrix and three steps."""
    samples = 60 if smoke else 10_000
    return [
        Case(
            work="large",
            setting=f"pre-training, n0 = {samples}",
            target=f"{__name__}:pretraining_steps",
            arguments={"samples": samples, "filters": 2 if smoke else 10, "steps": 3},
            cores=1 if smoke else 2,
            facts={"samples": float(samples)},
            processes=1,
        )
    ]


SERIES: dict[tuple[str, str], tuple[str, Callable[[float, float], float]]] = {
    ("pre-training", "n0"): ("samples", pretraining_operations),
    ("pre-training", "m"): ("filters", pretraining_operations),
    ("training", "n"): ("labelled", training_operations),
    ("training", "m"): ("filters", training_operations),
}


def series(rows: Sequence[Row], stage: str, letter: str) -> list[Row]:
    """The measured points of a stage against n0, n or m."""
    start = f"{stage}, {letter} = "
    return [
        row for row in rows if row.work == "scaling" and row.status == OK and row.setting.startswith(start)
    ]


def exponents(rows: Sequence[Row]) -> list[Row]:
    """A row a series: the fitted exponent of seconds a step, and the flop count's at the same points."""
    found = []
    for (stage, letter), (fact, operations) in SERIES.items():
        points = series(rows, stage, letter)
        if len(points) < 3:
            continue
        x = [point.facts[fact] for point in points]
        size = "samples" if stage == "pre-training" else "labelled"
        counted = [operations(point.facts[size], point.facts["filters"]) for point in points]
        slope, error = exponent(x, [point.numsim or np.nan for point in points])
        flops, _ = exponent(x, counted)
        last, _ = exponent(x[-2:], [point.numsim or np.nan for point in points[-2:]])
        words = (
            f"exponent {slope:.2f} ± {error:.2f}, of the last two points {last:.2f}; flop count {flops:.2f}"
        )
        facts = {"exponent": slope, "error": error, "last_exponent": last, "flop_exponent": flops}
        found.append(Row("scaling", f"{stage} against {letter}", "", 1, "step", OK, words, facts=facts))
    return found
