"""A pre-training step against its roofline: the larger of flops / dgemm rate and bytes / memory bandwidth.

What a step must do, M = 2m filters and n0 samples, with one triangle of S = P^T P and of the Gram matrix G:

    flops  11 M n0^2   (1 for S, 2 for P (p + p^T), 8 for increments @ G)
    bytes  16 n0^2     (one triangle of G, read once; states are M n0 each)

Both rates are measured in the same process, on the same core. Parts of the step are timed one by one, on the
kernels that make it up: totals (S, exp, sums), pulls (S and exp anew, weights, P (p + p^T)), gram.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .harness import OK, Case, Measured, Row
from .instances import SLOW, experiment
from .scaling import step_seconds

REPETITIONS = 5


def best_seconds(function: Callable[[], object], budget: float = 1.0) -> float:
    """The quickest of some calls: what the machine can do when nobody disturbs it."""
    found: list[float] = []
    end = time.perf_counter() + budget
    while len(found) < REPETITIONS or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return min(found)


def dgemm_rate(size: int = 1500) -> float:
    """Flops a second of a square matrix product."""
    a, b, out = np.random.default_rng(0).random((3, size, size))
    return 2.0 * size**3 / best_seconds(lambda: np.matmul(a, b, out=out))


def read_bandwidth(count: int = 2**26) -> float:
    """Bytes a second of reading arrays (2 times 512 MB) that no cache holds."""
    a = np.ones(count)
    b = np.ones(count)
    return 16.0 * count / best_seconds(lambda: np.dot(a, b))


def flops(samples: float, filters: float) -> float:
    """Of a step, m = ``filters`` of each sign."""
    return 11.0 * 2.0 * filters * samples**2


def parts(instance: Any, filters: int, samples: int) -> dict[str, float]:
    """Seconds of the kernels that a step is made of, and of the exponentials inside them."""
    from numsim.descent import blocks
    from numsim.descent._kernels import exponential, pretraining, similarity, softmax

    z, z_aug = instance.unlabelled.sums(instance.mu)
    inner = np.concatenate([instance.filters @ z.T, instance.filters @ z_aug.T], axis=1)
    buffers = blocks.contrastive_buffers(2 * filters, samples)
    gram = blocks.gram_of(z, z_aug, 2 * filters, 1)
    bound = similarity.set_exponents(inner, 1.0, buffers)
    exponents = np.full(samples * (samples + 1) // 2, bound / 2)

    def exponentials() -> None:
        block = exponents.copy()
        exponential.exponentials(block, bound, buffers.bits)

    passes = 1 if buffers.block == samples else 2
    copying = best_seconds(exponents.copy)
    return {
        "totals": best_seconds(lambda: softmax._totals_without_shift(inner, 1.0, bound, buffers)),
        "pulls": best_seconds(lambda: softmax._pulls(inner, 1.0, bound, buffers)),
        "gram": best_seconds(lambda: pretraining._multiply_blocks(inner, gram, buffers)),
        "exp": passes * (best_seconds(exponentials) - copying),
    }


def step(*, samples: int, filters: int, steps: int, cores: int, seed: int) -> Measured:
    """Seconds a step in the linear stage, with the rates of the machine and the seconds of its parts."""
    import numsim
    from numsim.descent.blas import blas_threads

    with blas_threads(1):
        rates = {"dgemm": dgemm_rate(), "bandwidth": read_bandwidth()}
        e = experiment(samples=samples, filters=filters, labelled=2)
        instance = numsim.draw(e, seed)
        found = parts(instance, filters, samples)
        z, z_aug = instance.unlabelled.sums(instance.mu)  # type: ignore[union-attr]
        seconds = step_seconds(
            lambda progress: numsim.pretrain(
                instance.filters,
                z,
                z_aug,
                learning_rate=SLOW * e.pretraining.learning_rate,
                max_steps=steps,
                stop_at_linear_end=False,
                record=2,
                progress=progress,
            )
        )
    return Measured(seconds, {**rates, **found})


def cases(smoke: bool) -> list[Case]:
    """m = 32 at three sizes."""
    filters = 2 if smoke else 32
    return [
        Case(
            work="roofline",
            setting=f"pre-training, n0 = {samples}, m = {filters}",
            target=f"{__name__}:step",
            arguments={"samples": samples, "filters": filters, "steps": 3 if smoke else steps},
            facts={"samples": float(samples), "filters": float(filters)},
            processes=None if samples < 4000 else 1,
        )
        for samples, steps in ({12: 3} if smoke else {250: 4000, 1000: 200, 4000: 12}).items()
    ]


def shares(rows: Sequence[Row]) -> list[Row]:
    """A row a size: how much of the roofline is reached, and where the rest goes."""
    found = []
    for row in rows:
        if row.status != OK or row.numsim is None:
            continue
        fact = row.facts
        by_flops = flops(fact["samples"], fact["filters"]) / fact["dgemm"]
        by_bytes = 16.0 * fact["samples"] ** 2 / fact["bandwidth"]
        roof = max(by_flops, by_bytes)
        spent = {name: 100.0 * fact[name] / row.numsim for name in ("gram", "totals", "pulls", "exp")}
        rest = 100.0 - spent["gram"] - spent["totals"] - spent["pulls"]
        words = (
            f"{100 * roof / row.numsim:.0f} % of the roofline, {1e3 * roof:.3g} ms "
            f"({1e3 * by_flops:.3g} ms at {fact['dgemm'] / 1e9:.3g} GFlop/s, {1e3 * by_bytes:.3g} ms at "
            f"{fact['bandwidth'] / 1e9:.3g} GB/s); of the step: Gram product {spent['gram']:.0f} %, totals "
            f"{spent['totals']:.0f} %, pulls {spent['pulls']:.0f} % (exponentials in both "
            f"{spent['exp']:.0f} %), rest {rest:.0f} %"
        )
        facts = {"roofline": roof, "share": roof / row.numsim}
        found.append(Row("roofline", row.setting, "", 1, "step", OK, words, facts=facts))
    return found
