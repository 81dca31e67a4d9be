"""P9: views that lose their signal, beside views that keep their noise, p9_lost_signal.md."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, equals
from numsim.config import Experiment
from numsim.descent.power_matrix import power_matrix, top_eigenpairs
from numsim.runs.draw import draw
from numsim.theory import fresh_kept_spectrum, kept_for_overlap, kept_spectrum, spectrum
from numsim.theory.spectrum import Spectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_HIGH = 1e12
_COUNT = 500
_POINTS = ((1.0, 0.5, 0.0), (4.0, 0.5, 0.5), (1.0, 0.2, 1.0), (4.0, 0.0, 0.0), (2.0, 0.8, 0.2))
"""(kappa, s, a) at d >> n0."""
_ASPECTS = ((0.5, 0.5, 0.0, 2.5), (0.5, 0.5, 0.5, 2.5), (2.0, 0.7, 0.0, 2.0))
"""(c, s, a, kappa over its threshold)."""
_ORDER = 5.0
"""Corrections of a single draw over 1/n0, 1 % at n0 = 500: P9 (12). Of a mean 2."""


class Found(NamedTuple):
    """Of one draw: lambda_1/u, cos^2(v_1, mu), and the share of views that kept their signal."""

    top: float
    alignment: float
    share: float


@lru_cache(maxsize=1024)
def drawn(seed: int, count: int, dim: float, kappa: float, kept: float, overlap: float) -> Found:
    """The power matrix of one instance as a run has it."""
    e = Experiment(
        data={"dim": dim, "snr": math.sqrt(kappa / count), "balanced": True},
        network={"filters": 1},
        pretraining={"samples": count, "overlap": overlap, "signal_kept": kept},
        finetuning={"samples": 2, "max_steps": 0},
        evaluation={"samples": 2},
    ).resolved()
    instance = draw(e, seed)
    z, z_aug = instance.sums()
    values, vectors = top_eigenpairs(z, z_aug, learning_rate=count / dim, temperature=1.0)
    assert instance.unlabelled is not None
    coins = instance.unlabelled.kept
    share = 1.0 if coins is None else float(np.mean(coins))
    return Found(float(values[0]), float((vectors[:, 0] @ instance.direction) ** 2), share)


class Wrong(NamedTuple):
    """What a control gets wrong.

    power : s^power for s; factor : of s; ignored : s = 1; averaged : every view has s times the signal;
    level : the 4 of (10); aspect : factor of c; fixed : the law of fixed views where they are fresh.
    """

    power: float = 1.0
    factor: float = 1.0
    ignored: bool = False
    averaged: bool = False
    level: float = 4.0
    aspect: float = 1.0
    fixed: bool = False

    def law(self, kappa: float, c: float, a: float, s: float) -> Spectrum:
        """The closed form with these faults."""
        if self.averaged and c == 0:
            return _averaged(kappa, a, s)
        s = 1.0 if self.ignored else min(self.factor * s**self.power, 1.0)
        return kept_spectrum(kappa, self.aspect * c, a, s)


def _averaged(kappa: float, a: float, s: float) -> Spectrum:
    """d >> n0, views of s times the signal: (1 + s)^2 for 1 + 3s, (1 - s)^2 for 1 - s."""
    plus, minus = (1 + a) * (1 + s) ** 2 / 2, (1 - a) * (1 - s) ** 2 / 2

    def excess(x: float) -> float:
        return x - 2 * kappa * s - kappa * (plus / (x - 1 - a) + minus / (x + 1 - a))

    top = float(brentq(excess, 1 + a + 1e-9, 10 * (1 + kappa)))
    squares = plus / (top - 1 - a) ** 2 + minus / (top + 1 - a) ** 2
    return Spectrum(top, 1 + a, 1 / (1 + kappa * squares), 0.0)


def _draws(trials: Trials, wrong: Wrong) -> tuple[list[Comparison], Floats]:
    """Single draws at d >> n0 given how many coins fell how, their worst: P9 (8)."""
    seeds, found, points = list(trials.seeds(4, 20)), [], []
    for kappa, s, a in _POINTS:
        runs = [drawn(seed, _COUNT, _HIGH, kappa, s, a) for seed in seeds]
        laws = [wrong.law(kappa, 0.0, a, run.share) for run in runs]
        at = f"kappa = {kappa:g}, s = {s:g}, a = {a:g}"
        for name, field in (("lambda_1/u", "top"), ("cos^2", "alignment")):
            ratios = np.array(
                [getattr(run, field) / getattr(law, field) for run, law in zip(runs, laws, strict=True)]
            )
            worst = float(ratios[np.argmax(np.abs(ratios - 1))])
            words = f"{name}, measured / predicted, {at}"
            found.append(equals(words, 1.0, worst, order=_ORDER / _COUNT))
        points.append([kappa, s, a, np.mean([run.alignment for run in runs]), laws[0].alignment])
    return found, np.array(points)


def _aspects(trials: Trials, wrong: Wrong) -> list[Comparison]:
    """Any n0/d: means over draws, P9 (6), (7)."""
    count, found = trials.pick(150, 600), []
    seeds = list(trials.seeds(20, 40))
    for c, s, a, above in _ASPECTS:
        kappa = above * kept_spectrum(0.0, c, a, s).threshold
        runs = [drawn(seed, count, round(count / c), kappa, s, a) for seed in seeds]
        laws = [wrong.law(kappa, c, a, run.share) for run in runs]
        at = f"c = {c:g}, s = {s:g}, a = {a:g}"
        for name, field in (("lambda_1/u", "top"), ("cos^2", "alignment")):
            ratios = [getattr(run, field) / getattr(law, field) for run, law in zip(runs, laws, strict=True)]
            found.append(equals(f"{name}, measured / predicted, {at}", 1.0, ratios, order=2 / count))
    return found


def _worth(wrong: Wrong) -> list[Comparison]:
    """Where losing signal costs as much as keeping noise, by draws and by thresholds: P9 (9), (10)."""
    found = []
    for kappa, a in ((0.5, 1.0), (4.0, 1.0), (4.0, 0.3)):
        s = kept_for_overlap(a, kappa)
        name = f"cos^2 at s = {s:.3f}, a = 0, kappa = {kappa:g}"
        law = kept_spectrum(kappa, 0.0, 0.0, s).alignment
        found.append(equals(name, spectrum(kappa, 0.0, a).alignment, law, order=1e-9))
    c = 1e-10
    for a in (0.3, 1.0):
        s = (wrong.level / (1 + a) - 1) / 3
        ratio = kept_spectrum(0.0, c, 0.0, s).threshold / spectrum(0.0, c, a).threshold
        found.append(
            equals(
                f"threshold by lost signal over that by kept noise, a = {a:g}",
                1.0,
                ratio,
                order=3 * math.sqrt(c),
            )
        )
        limit = kept_for_overlap(a)
        found.append(
            equals(f"s at the transition, a = {a:g}", (wrong.level / (1 + a) - 1) / 3, limit, order=1e-9)
        )
    large = kept_for_overlap(1.0, math.inf)
    found.append(
        equals("s worth no augmentation, kappa large", large, kept_for_overlap(1.0, 1e6), order=1e-5)
    )
    return found


def _fresh(trials: Trials, wrong: Wrong) -> list[Comparison]:
    """The mean of A over fresh views: P9 (11)."""
    (seed,) = trials.seeds(1, 1)
    rng, count, found = np.random.default_rng(seed), 100, []
    labels = rng.permutation(np.repeat([1.0, -1.0], count // 2))
    for kappa, s, a in ((1.0, 0.5, 0.0), (4.0, 0.3, 0.5), (0.3, 0.8, 1.0)):
        signal = math.sqrt(kappa / count) * labels[:, None]
        z = np.concatenate([signal, np.eye(count)], axis=1)
        mean = np.concatenate([s * signal, a * np.eye(count)], axis=1)
        values, vectors = np.linalg.eigh(power_matrix(z, mean, learning_rate=count))
        law = wrong.law(kappa, 0.0, a, s) if wrong.fixed else fresh_kept_spectrum(kappa, a, s)
        at = f"fresh views, kappa = {kappa:g}, s = {s:g}, a = {a:g}"
        found.append(
            equals(f"lambda_1/u, {at}", law.top, values[-1], order=2 * (1 + kappa) / law.top / count)
        )
        found.append(equals(f"cos^2, {at}", law.alignment, vectors[0, -1] ** 2, order=2 / count))
    return found


def check(
    trials: Trials,
    *,
    power: float = 1.0,
    factor: float = 1.0,
    ignored: bool = False,
    averaged: bool = False,
    level: float = 4.0,
    aspect: float = 1.0,
    fixed: bool = False,
) -> Outcome:
    """Spectra of drawn power matrices against P9 (6) to (11); the keywords are those of ``Wrong``."""
    wrong = Wrong(power, factor, ignored, averaged, level, aspect, fixed)
    draws, points = _draws(trials, wrong)
    comparisons = [*draws, *_aspects(trials, wrong), *_worth(wrong), *_fresh(trials, wrong)]
    total = trials.pick(4 * len(_POINTS) + 20 * len(_ASPECTS), 20 * len(_POINTS) + 40 * len(_ASPECTS))
    return Outcome(comparisons, total, {"points": points})


def figure(evidence: Evidence) -> Figure:
    """cos^2 against s at two kappa with draws, and the boundary between lost signal and kept noise."""
    from numsim.shown.claim_figures import CONTROL, PREDICTED, measured_points, panels

    drawn_figure, (left, right) = panels(2)
    s = np.linspace(0.0, 1.0, 101)
    curves = ((1.0, 0.0), (4.0, 0.5))
    for number, (kappa, a) in enumerate(curves):
        once = {} if number == 0 else {"label": None}
        left.plot(s, [kept_spectrum(kappa, 0.0, a, x).alignment for x in s], **{**PREDICTED, **once})
        wrong = [_averaged(kappa, a, x).alignment for x in s]
        label = "control: views of $s$ times the signal"
        left.plot(s, wrong, **{**CONTROL, "label": label, **once})
    points = evidence.outcome.data["points"]
    own = np.array([p for p in points if (p[0], p[2]) in curves])
    measured_points(left, own[:, 1], own[:, 3])
    left.set(xlabel="$s$, chance that a view keeps its signal", ylabel=r"$\cos^2(v_1, \mu)$")
    left.legend(fontsize=8)
    overlaps = np.linspace(0.0, 1.0, 41)
    for number, kappa in enumerate((0.0, 1.0, math.inf)):
        once = {} if number == 0 else {"label": None}
        boundary = [kept_for_overlap(a, kappa) for a in overlaps]
        right.plot(overlaps, boundary, **{**PREDICTED, **once})
        words = {0.0: r"$\kappa \to 0$", 1.0: r"$\kappa = 1$", math.inf: r"$\kappa \to \infty$"}[kappa]
        right.annotate(words, (1.0, boundary[-1]), ha="right", va="bottom", fontsize=8)
    right.set(xlabel="$a$, overlap of views", ylabel="$s$ that costs as much", ylim=(0, 1.05))
    return drawn_figure


CLAIM = Claim(
    id="P9",
    title="Views that lose the signal, beside views that keep the noise",
    source="numsim (new)",
    statement=r"\lambda - 2\kappa s = \frac{\kappa}{2}\left(\frac{(1 + a)(1 + 3s)}{\lambda - 1 - a} + "
    r"\frac{(1 - a)(1 - s)}{\lambda + 1 - a}\right) \quad (d \gg n_0), \qquad (1 + a)(1 + 3s) = 4",
    check=check,
    controls={
        "s^2 for s": {"power": 2.0},
        "s off by 10 %": {"factor": 0.9},
        "P6 without s": {"ignored": True},
        "views of s times the signal, (1 + s)^2 for 1 + 3s": {"averaged": True},
        "the boundary (1 + a)(1 + 3s) = 4.1": {"level": 4.1},
        "n0/d off by 60 %": {"aspect": 1.6},
        "the law of fixed views for fresh ones": {"fixed": True},
    },
    theory=("kept_spectrum", "kept_for_overlap", "fresh_kept_spectrum"),
    figure=figure,
)
