"""Long descents on InfoNCE at the default settings: what findings 8, 9 and 27 quote.

    python -m numsim.derivations.pretraining.descents [--seeds 24]

n0 = 100, d = 1e8, SNR = 0.2 (kappa = 4), 20 filters, relative initial scale 1e-3, random labels, steps with
lambda_1 = 0.1. Printed are means over seeds and errors of the loss; cos^2(w - w^0, mu); the share of
w - w^0 along the mean noise of the views, sum_i y_i xi~_i (fixed views); and the ratio R of signal to fresh
noise, which is what fine-tuning needs (S5).

fixed, fresh         views drawn once or at every step; negatives are the samples, as in InfoNCE
views as negatives   s_ii' = <F(z_i), F(z~_i')> in the softmax of row i, i' = i being the positive
a = 1, a = 0.9       every sample is its own view, or nearly: beside the two variables of P5, and all three
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.claims import Comparison, equals
from numsim.config import Experiment, Resolved
from numsim.descent.blas import blas_threads
from numsim.descent.fresh_views import FreshViews, pretrain_fresh_views
from numsim.descent.pretraining import alignment, pretrain
from numsim.models.signal_noise import draw_views
from numsim.models.space import Space, lower_factor, pad
from numsim.runs.draw import Instance, draw
from numsim.theory import collective_descent

from .high_dimension import rate_of, signal_ratio, unit_of, views_of

__all__ = ["State", "descend", "main", "views_as_negatives"]

Floats = npt.NDArray[np.float64]


class State(NamedTuple):
    """Filters after some steps: loss, cos^2(w - w^0, mu), cos^2 with the views' mean noise, R."""

    loss: float
    alignment: float
    noise: float
    ratio: float


def _setting(seed: int, overlap: float = 0.0, views: str = "fixed") -> tuple[Resolved, Instance]:
    e = Experiment(
        seed=seed,
        pretraining={"overlap": overlap, "views": views, "stop_at_linear_end": False},
        finetuning={"samples": 2},
    ).resolved()
    return e, draw(e)


def _state(loss: float, start: Floats, last: Floats, instance: Instance, views: Floats | None) -> State:
    """Of filters (M, D') in the instance's coordinates and perhaps some more."""
    moved = last - pad(start, last.shape[1])
    noise = math.nan
    if views is not None:
        assert instance.unlabelled is not None
        noise = alignment(moved, pad(instance.unlabelled.labels[None] @ views, last.shape[1])[0])
    return State(loss, alignment(moved, instance.mu), noise, signal_ratio(last, instance.mu))


def descend(seed: int, steps: int, *, overlap: float = 0.0, views: str = "fixed") -> State:
    """Pre-training as numsim does it."""
    e, instance = _setting(seed, overlap, views)
    u = instance.unlabelled
    assert u is not None
    rate = rate_of(e)
    if views == "fixed":
        z, z_aug = views_of(instance)
        last, run = pretrain(
            instance.filters,
            z,
            z_aug,
            learning_rate=rate,
            max_steps=steps,
            stop_at_linear_end=False,
            record=2,
        )
        return _state(run.loss, instance.filters, last, instance, u.augmented)
    last, fresh = pretrain_fresh_views(
        instance.filters,
        instance.mu,
        u.labels,
        u.noise,
        _drawn(e, seed),
        learning_rate=rate,
        temperature=1.0,
        max_steps=steps,
        stop_at_linear_end=False,
    )
    return _state(fresh.loss, instance.filters, last, instance, None)


def _drawn(e: Resolved, seed: int) -> FreshViews:
    return FreshViews(e.data.dim, 1.0, True, e.pretraining.overlap, np.random.default_rng(seed))


def views_as_negatives(seed: int, steps: int, views: str = "fresh") -> State:
    """The same with views in the place of the negatives' samples, by NumPy.

    Row i of the loss is log sum_i' exp(<F(z_i), F(z~_i')>) - <F(z_i), F(z~_i)>.
    """
    e, instance = _setting(seed, views=views)
    u = instance.unlabelled
    assert u is not None
    W, base, law = instance.filters, instance.filters.shape[1], _drawn(e, seed)
    n, rate = len(u.labels), rate_of(e)
    for step in range(steps + 1):
        if views == "fixed":
            assert u.augmented is not None
            noise = u.augmented
        else:
            noise = draw_views(Space(law.dim, W.shape[1]), u.noise, 0.0, 1.0, True, law.rng)
        signal = pad(u.labels[:, None] * instance.mu, noise.shape[1])
        W, z, z_aug = pad(W, noise.shape[1]), signal + pad(u.noise, noise.shape[1]), signal + noise
        anchors, others = W @ z.T, W @ z_aug.T
        s = anchors.T @ others
        top = s.max(axis=1, keepdims=True)
        p = np.exp(s - top)
        total = p.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(total[:, 0]) + top[:, 0] - np.diag(s)))
        if step == steps:
            return _state(loss, instance.filters, W, instance, u.augmented)
        pull = p / total - np.eye(n)
        W = W - rate / n * (others @ pull.T @ z + anchors @ pull @ z_aug)
        if views == "fresh":
            extra = W[:, base:]
            W = np.concatenate([W[:, :base], lower_factor(extra)], axis=1)
    raise AssertionError("steps is negative")


def _theory(steps: int, overlap: float, views: str, pairs: bool) -> float:
    """cos^2 by P5 (3) or (10), with the third variable (13) or without, from expected overlaps."""
    e, _ = _setting(0, overlap, views)
    n, unit = e.pretraining.samples, unit_of(e)
    energy = 2 * e.network.filters * e.init_scale**2 * unit / rate_of(e)
    path = collective_descent(
        steps,
        kappa=e.kappa,
        samples=n,
        unit=unit,
        energy=energy,
        overlap=overlap,
        fresh=views == "fresh",
        pairs=(n - 2) * energy if pairs else 0.0,
    )
    return float(path.alignment[-1])


_OVERLAPS = {
    "fixed, a = 1": (1.0, "fixed"),
    "fixed, a = 0.9": (0.9, "fixed"),
    "fresh, a = 0.9": (0.9, "fresh"),
}


def _rows(seeds: Sequence[int]) -> Iterator[tuple[str, int, list[State]]]:
    for steps in (100, 140, 200, 400, 2000):
        yield "fixed", steps, [descend(s, steps) for s in seeds]
    for steps in (100, 140, 200, 400):
        yield "fresh", steps, [descend(s, steps, views="fresh") for s in seeds]
    for views in ("fresh", "fixed"):
        for steps in (100, 400):
            words = f"views as negatives, {views}"
            yield words, steps, [views_as_negatives(s, steps, views) for s in seeds]
    for words, (overlap, views) in _OVERLAPS.items():
        for steps in (140, 200, 400):
            yield words, steps, [descend(s, steps, overlap=overlap, views=views) for s in seeds]


def _shown(found: Comparison) -> str:
    if math.isnan(found.measured):
        return "-".rjust(20)
    return f"{found.measured:.5g} +- {found.spread:.1g}".rjust(20)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table: views, steps, loss, cos^2, share along the views' mean noise, R."""
    parser = argparse.ArgumentParser(description="long descents at the default settings")
    parser.add_argument("--seeds", type=int, default=24, help="how many")
    seeds = range(parser.parse_args(arguments).seeds)
    print(f"{'views':26s}{'steps':>6s}{'loss':>20s}{'cos^2':>20s}{'views noise':>20s}{'R':>20s}")
    with blas_threads(1):
        for words, steps, states in _rows(seeds):
            columns = [equals("", 0.0, list(values)) for values in zip(*states, strict=True)]
            line = f"{words:26s}{steps:6d}" + "".join(_shown(column) for column in columns)
            if words in _OVERLAPS:
                two, three = (_theory(steps, *_OVERLAPS[words], pairs) for pairs in (False, True))
                line += f"   two variables {two:.4f}, three {three:.4f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
