"""C2: what the initial filters see of signal and noise, from above and from below, c2_initial_filters.md."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.claims import (
    Claim,
    Comparison,
    Evidence,
    Outcome,
    Trials,
    at_least,
    equals,
    failure_rate,
    follows,
    frequency,
)
from numsim.config import Experiment
from numsim.models.space import Space, pad
from numsim.runs.draw import draw
from numsim.theory import (
    cross_term_tail,
    expected_maximum,
    filters_needed,
    initialisation_probability,
    maximum_quantile,
    noise_overlap_bound,
    overlap_missed,
    signal_overlap_bound,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_SAMPLES, _DELTA = 20, 0.1
_SCALES = {"init_scale": 0.3, "signal_norm": 2.0, "sigma_p": 0.7}
_HUGE, _SMALL = 10**8, 12
_FEW = 3
_EXACT = 1e-9
_HALF = 0.5
_LEAST = (16, 10)  # m and n where the least filters of C2 (7) are worst


class _Overlaps(NamedTuple):
    """<w, mu> (repeats, 2m) and <w, xi> (repeats, 2m, n), as they are."""

    signal: Floats
    noise: Floats


def _drawn(trials: Trials, repeats: int, dim: int, filters: int, samples: int) -> _Overlaps:
    """Inner products of 2m filters with mu and n noise patches, in as many spaces."""
    signal, noise = [], []
    for _ in range(repeats):
        space = Space(dim)
        w = space.draw(2 * filters, _SCALES["init_scale"], trials.rng)
        xi = space.draw(samples, _SCALES["sigma_p"], trials.rng, projected=True)
        w = pad(w, space.revealed)
        signal.append(w @ space.signal(_SCALES["signal_norm"]))
        noise.append(w @ xi.T)
    return _Overlaps(np.array(signal), np.array(noise))


def _instances(trials: Trials, dim: int) -> _Overlaps:
    """The same of instances of an experiment, m = 6, with 6 unlabelled samples and 6 labelled ones."""
    e = Experiment(
        data={"dim": dim, "sigma_p": _SCALES["sigma_p"], "signal_norm": _SCALES["signal_norm"]},
        network={"filters": 6, "init_scale": _SCALES["init_scale"]},
        pretraining={"samples": 6, "views": "fresh"},
        finetuning={"samples": 6},
    ).resolved()
    signal, noise = [], []
    repeats = trials.pick(80, 800)
    for seed in trials.seeds(repeats, repeats):
        instance = draw(e, seed)
        assert instance.unlabelled is not None
        xi = np.concatenate([instance.unlabelled.noise, instance.labelled.noise])
        signal.append(instance.filters @ instance.mu)
        noise.append(instance.filters @ xi.T)
    return _Overlaps(np.array(signal), np.array(noise))


def _unit(overlaps: _Overlaps, dim: int) -> _Overlaps:
    """In units of sigma_0 |mu| and sigma_0 sigma_p sqrt(d)."""
    scale = _SCALES["init_scale"]
    return _Overlaps(
        overlaps.signal / (scale * _SCALES["signal_norm"]),
        overlaps.noise / (scale * _SCALES["sigma_p"] * math.sqrt(dim)),
    )


def _failures(overlaps: _Overlaps, dim: int, upper: float, lower: float) -> npt.NDArray[np.bool_]:
    """Whether any of the four statements is missed, for either sign or any sample, (repeats,)."""
    m, n = overlaps.signal.shape[1] // 2, overlaps.noise.shape[2]
    scale, norm, sigma_p = _SCALES["init_scale"], _SCALES["signal_norm"], _SCALES["sigma_p"]
    noise_norm = sigma_p * math.sqrt(dim)
    high = upper * signal_overlap_bound(m, _DELTA, init_scale=scale, signal_norm=norm)
    high_noise = upper * noise_overlap_bound(m, n, _DELTA, init_scale=scale, noise_norm=noise_norm)
    missed = (np.abs(overlaps.signal) > high).any(axis=1) | (np.abs(overlaps.noise) > high_noise).any(
        axis=(1, 2)
    )
    for sign, half in ((1.0, slice(None, m)), (-1.0, slice(m, None))):
        missed |= (sign * overlaps.signal[:, half]).max(axis=1) < lower * scale * norm / 2
        missed |= ((sign * overlaps.noise[:, half]).max(axis=1) < lower * scale * noise_norm / 4).any(axis=1)
    return np.asarray(missed, dtype=np.bool_)


def _statement(trials: Trials, filters: int, upper: float, lower: float) -> list[Comparison]:
    """How often C2 fails: against delta, and against C2 (8), with enough filters and with too few."""
    repeats = trials.pick(400, 2500)
    enough = _failures(_drawn(trials, repeats, _HUGE, filters, _SAMPLES), _HUGE, upper, lower)
    few = _failures(_drawn(trials, repeats, _HUGE, 6, 5), _HUGE, upper, lower)
    count = int(enough.sum())
    expected = 1 - initialisation_probability(filters, _SAMPLES, _DELTA)
    return [
        failure_rate(f"all four statements, m = {filters}", _DELTA, count, repeats),
        frequency(f"all four statements, m = {filters}: exact", expected, count, repeats),
        frequency(
            "m = 6, n = 5: exact", 1 - initialisation_probability(6, 5, _DELTA), int(few.sum()), repeats
        ),
    ]


def _groups(overlaps: _Overlaps) -> tuple[Floats, Floats]:
    """Maxima over groups of 3 filters, of <w, mu> and of <w, xi_i>, a sample of its own for every group.

    (repeats, groups) each: independent, because no two groups share a filter or a sample.
    """
    groups = overlaps.signal.shape[1] // _FEW
    signal = overlaps.signal[:, : groups * _FEW].reshape(-1, groups, _FEW).max(axis=2)
    columns = np.stack([overlaps.noise[:, _FEW * g : _FEW * (g + 1), g] for g in range(groups)], axis=1)
    return signal, columns.max(axis=2)


def _laws(name: str, overlaps: _Overlaps, dim: int) -> list[Comparison]:
    """Single filters with mu and with noise: C2 (3), (4); each filter with a sample of its own."""
    from scipy.stats import norm

    def product(x: Floats) -> Floats:
        tail = cross_term_tail(np.abs(x) * math.sqrt(dim), dim) / 2
        return np.where(x < 0, tail, 1 - tail)

    own = np.diagonal(overlaps.noise, axis1=1, axis2=2)
    return [
        follows(f"{name}: <w, mu>", norm.cdf, overlaps.signal),
        follows(f"{name}: <w, xi>", product, own),
    ]


def _missed(name: str, overlaps: _Overlaps, dim: int, lower: float) -> list[Comparison]:
    """How often the best of 3 filters stays below the two levels: C2 (5), (6)."""
    signal, noise = _groups(overlaps)
    below, below_noise = int((signal < lower * 0.5).sum()), int((noise < lower * 0.25).sum())
    return [
        frequency(f"{name}: best of 3 on mu too low", overlap_missed(0.5, _FEW), below, signal.size),
        frequency(
            f"{name}: best of 3 on xi too low", overlap_missed(0.25, _FEW, dim), below_noise, noise.size
        ),
    ]


def _largest(overlaps: _Overlaps, factor: float) -> list[Comparison]:
    """Largest sizes of all 2m and of all 2mn products against C2 (9), and mean maxima against C2 (10)."""
    repeats, m = len(overlaps.signal), overlaps.signal.shape[1] // 2
    sizes = np.abs(overlaps.signal).max(axis=1)
    noise = np.abs(overlaps.noise).max(axis=(1, 2))
    over = int((sizes > factor * maximum_quantile(2 * m, _HALF)).sum())
    over_noise = int((noise > factor * maximum_quantile(overlaps.noise[0].size, _HALF)).sum())
    best = np.concatenate([overlaps.signal[:, :m].max(axis=1), -overlaps.signal[:, m:].min(axis=1)])
    return [
        frequency("largest |<w, mu>| above its median", _HALF, over, repeats),
        frequency("largest |<w, xi>| above its median", _HALF, over_noise, repeats),
        equals("mean of max_r j<w, mu>", factor * expected_maximum(m), best),
        equals("mean of max |<w, mu>|", factor * expected_maximum(2 * m, absolute=True), sizes),
    ]


def _budgets() -> list[Comparison]:
    """What each bound leaves of delta by the inequality it comes from; maxima that are elementary."""
    from scipy.stats import norm

    m, n, delta = 7, 11, _DELTA
    upper = signal_overlap_bound(m, delta, init_scale=0.3, signal_norm=2.0) / 0.6
    upper_noise = noise_overlap_bound(m, n, delta, init_scale=0.3, noise_norm=2.0) / 0.6
    signal, noise = filters_needed(n, delta)
    half = maximum_quantile(5, _DELTA)
    # C2 (8) for two filters of a sign: one or both of them at or above the level.
    both = 1.0
    for level, bound, times in (
        (0.5, signal_overlap_bound(2, delta), 2),
        (0.25, noise_overlap_bound(2, 3, delta), 6),
    ):
        above, below = norm.cdf(bound) - norm.cdf(level), norm.cdf(level) - norm.cdf(-bound)
        both *= (above**2 + 2 * above * below) ** times
    return [
        equals("share of |<w, mu>|", delta / 4, 2 * m * math.exp(-(upper**2) / 2), order=_EXACT),
        equals("share of |<w, xi>|", delta / 4, 2 * m * n * math.exp(-(upper_noise**2) / 4), order=_EXACT),
        equals("share of max j<w, mu>", delta / 4, norm.cdf(1 / 2) ** signal, order=_EXACT),
        equals("share of max j<w, xi>", delta / 4, n * norm.cdf(1 / 4) ** noise, order=_EXACT),
        equals("rate 0.37 in print", 0.37, math.log(4 / delta) / signal, absolute=0.005),
        equals("rate 0.51 in print", 0.51, math.log(4 * n / delta) / noise, absolute=0.005),
        equals("quantile of the largest of 5", 1 - delta, (2 * norm.cdf(half) - 1) ** 5, order=_EXACT),
        equals("mean of the larger of 2", 1 / math.sqrt(math.pi), expected_maximum(2), order=_EXACT),
        equals("mean size of one", math.sqrt(2 / math.pi), expected_maximum(1, absolute=True), order=_EXACT),
        equals("m = 2, n = 3: C2 (8)", both, initialisation_probability(2, 3, delta), order=_EXACT),
        equals("level 0 missed by 3 filters", 1 / 8, overlap_missed(0.0, 3, 5), order=_EXACT),
        equals(
            "level missed by one filter in R^3",
            1 - math.exp(-math.sqrt(3) / 4) / 2,
            overlap_missed(0.25, 1, 3),
            order=_EXACT,
        ),
        equals(
            "the same in R^2, noise not projected",
            1 - math.exp(-math.sqrt(2) / 4) / 2,
            overlap_missed(0.25, 1, 2, projected=False),
            order=_EXACT,
        ),
    ]


def _both_signs(trials: Trials, signs: int) -> list[Comparison]:
    """At the least m of C2 (7) both signs fail more often than delta: by (8), at full effort by draws.

    The delta is the smallest that (7) admits at this m and n. signs : for how many the shares of delta are
    divided (2: with log(8/delta) and log(8n/delta), where nothing exceeds delta).
    """
    from scipy.stats import norm

    m, n = _LEAST
    delta = signs * max(4 * norm.cdf(0.5) ** m, 4 * n * norm.cdf(0.25) ** m)
    high, high_noise = signal_overlap_bound(m, delta), noise_overlap_bound(m, n, delta)

    def good(level: float, bound: float) -> float:
        """All of m inside the bound, by how many of them are above the level."""
        above, below = norm.cdf(bound) - norm.cdf(level), norm.cdf(level) - norm.cdf(-bound)
        return math.fsum(math.comb(m, k) * above**k * below ** (m - k) for k in range(1, m + 1))

    fails = 1 - good(0.5, high) ** 2 * good(0.25, high_noise) ** (2 * n)
    words = f"m = {m}, n = {n}"
    exact = 1 - initialisation_probability(m, n, delta)
    found = [
        at_least(f"failure over delta at the least m, both signs, {words}", 1.0, fails / delta),
        equals(f"failure / delta, {words}: C2 (8)", exact / delta, fails / delta, order=_EXACT),
    ]
    draws, missed, block = trials.pick(0, 2_000_000), 0, 10_000
    for _ in range(draws // block):
        signal = trials.rng.standard_normal((2, m, block), dtype=np.float32)
        noise = trials.rng.standard_normal((2, n, m, block), dtype=np.float32)
        bad = (np.abs(signal) > high).any(axis=(0, 1)) | (np.abs(noise) > high_noise).any(axis=(0, 1, 2))
        bad |= (signal.max(axis=1) < 0.5).any(axis=0) | (noise.max(axis=2) < 0.25).any(axis=(0, 1))
        missed += int(bad.sum())
    if draws:
        found.append(frequency(f"failures drawn, {words}", fails, missed, draws))
        found.append(at_least(f"failures drawn above delta, {words}", delta, missed / draws))
    return found


def check(
    trials: Trials,
    *,
    filters: int | None = None,
    upper: float = 1.0,
    lower: float = 1.0,
    signs: int = 1,
    quantile: float = 1.0,
) -> Outcome:
    """Failures of the four statements of C2 against delta and against C2 (8), and the laws behind them.

    ``filters`` replaces the number that C2 (7) asks for, ``upper`` and ``lower`` multiply the bounds,
    ``signs`` divides delta's shares, ``quantile`` multiplies the closed forms (9) and (10).
    """
    needed = math.ceil(max(filters_needed(_SAMPLES, _DELTA))) if filters is None else filters
    repeats = trials.pick(200, 1500)
    huge = _unit(_drawn(trials, repeats, _HUGE, 9, 9), _HUGE)
    small = _unit(_drawn(trials, repeats, _SMALL, 9, 9), _SMALL)
    drawn = _unit(_instances(trials, _SMALL), _SMALL)
    comparisons = [
        *_statement(trials, needed, upper, lower),
        *_laws("d = 1e8", huge, _HUGE),
        *_laws("d = 12", small, _SMALL),
        *_laws("draw", drawn, _SMALL),
        *_missed("d = 1e8", huge, _HUGE, lower),
        *_missed("d = 12", small, _SMALL, lower),
        *_largest(huge, quantile),
        *_budgets(),
        *_both_signs(trials, signs),
    ]
    both = np.concatenate([huge.signal, small.signal])
    best = np.concatenate([both[:, :9].max(axis=1), -both[:, 9:].min(axis=1)])
    return Outcome(comparisons, 2 * repeats + len(drawn.signal), {"best": np.sort(best)})


def figure(evidence: Evidence) -> Figure:
    """Left: law of max_r j<w, mu> over 9 filters. Right: probability that C2 fails, against m."""
    from numsim.shown.claim_figures import CONTROL, MEASURED, PREDICTED, measured_points, panels

    drawn, (left, right) = panels(2)
    x = np.linspace(-0.5, 3.5, 160)
    left.plot(x, [overlap_missed(float(v), 9) for v in x], **PREDICTED)
    best = evidence.outcome.data["best"]
    shown = slice(None, None, max(1, len(best) // 30))
    left.plot(best[shown], ((np.arange(len(best)) + 0.5) / len(best))[shown], **MEASURED)
    left.axvline(0.5, color="0.5", linewidth=1.2, label=r"lower bound, $\sigma_0\|\mu\|/2$")
    left.set(xlabel=r"$\max_r j\langle w_{j,r}, \mu\rangle / \sigma_0\|\mu\|$, $m = 9$")
    left.set(ylabel="distribution function")
    left.legend(loc="lower right", fontsize=8)
    m = np.arange(4, 21)
    right.semilogy(m, [1 - initialisation_probability(int(k), _SAMPLES, _DELTA) for k in m], **PREDICTED)
    for outcome, style in (
        (evidence.outcome, MEASURED),
        (evidence.controls[0].outcome, {**MEASURED, **CONTROL, "linestyle": "none"}),
    ):
        found = outcome.comparisons[1]
        filters = int(found.name.split("m = ")[1].split(":")[0])
        if found.interval is not None:
            interval = np.abs(np.array(found.interval) - found.measured)[:, None]
            if style is MEASURED:
                measured_points(right, [filters], [found.measured], interval)
            else:
                right.errorbar([filters], [found.measured], yerr=interval, **style)
    right.axhline(_DELTA, color="0.5", linewidth=1.2, label=r"$\delta$")
    right.set(xlabel="filters of a sign, $m$", ylabel="P(any statement fails), $n = 20$", ylim=(1e-2, 1.5))
    right.legend()
    return drawn


CLAIM = Claim(
    id="C2",
    title="Initial filters see signal and noise neither too much nor too little",
    source="Cao et al. 2022, appendix B; exact laws new here",
    statement=r"\frac{1}{2} \le \frac{\max_r j \langle w_{j,r}, \mu \rangle}{\sigma_0 \lVert \mu \rVert} "
    r"\le \sqrt{2 \log(8m/\delta)} , \quad "
    r"\frac{1}{4} \le \frac{\max_r j \langle w_{j,r}, \xi_i \rangle}{\sigma_0 \sigma_p \sqrt{d}} "
    r"\le 2 \sqrt{\log(8mn/\delta)}",
    check=check,
    controls={
        "9 filters where 14 are needed": {"filters": 9},
        "upper bounds times 0.74": {"upper": 0.74},
        "lower bounds times 1.5": {"lower": 1.5},
        "log(8/delta) and log(8n/delta), where nothing exceeds delta": {"signs": 2},
        "quantiles and means of the largest too large by 12 %": {"quantile": 1.12},
    },
    theory=(
        "cross_term_tail",
        "expected_maximum",
        "filters_needed",
        "initialisation_probability",
        "maximum_quantile",
        "noise_overlap_bound",
        "overlap_missed",
        "signal_overlap_bound",
    ),
    figure=figure,
)
