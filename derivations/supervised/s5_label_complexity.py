"""S5: pre-training and fine-tuning need fewer labels than direct training, s5_label_complexity.md."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numsim.claims import (
    Claim,
    Comparison,
    Evidence,
    Outcome,
    Trials,
    at_most,
    equals,
    failure_rate,
    frequency,
)
from numsim.theory import (
    critical_strength,
    end_to_end_boundary,
    finetuning_strength,
    learned_test_loss,
    linear_end_ratio,
    loss_bound,
    time_to_loss,
)

from .direct_training import Trained, drawn_successes, outcome_ratios
from .label_ladders import aligned_exponent, direct_exponent, finetuning_exponents
from .two_arms import both, finetuned, law, long, predicted_ratio, ruled_ratio, tossed, two_stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ------------------------------------------------------------------ the headline


def _good(run: Trained) -> bool:
    """Training loss <= eps and test loss <= 6 eps + exp(-n^2)."""
    e = run.experiment
    bound = loss_bound(run.loss, e.finetuning.samples)
    return bool(run.reached and run.loss <= e.finetuning.target_loss and run.test.loss <= bound)


def _headline(
    trials: Trials,
    shrink: float,
    louder: float,
    threshold: float,
    power: float,
    margins: float,
) -> tuple[list[Comparison], dict[str, Any]]:
    """20 of 20 against 0 of 20, and the fine-tuned runs against their hand-over."""
    e = two_stage(4.0, n0=50, n=12, scale=0.005)
    seeds = list(trials.seeds(20, 100))
    runs = [both(two_stage(4.0 / shrink, n0=50, n=12, scale=0.005), seed) for seed in seeds]
    direct = [run.direct for run in runs]
    if louder != 1:
        direct = [both(two_stage(4.0 * louder**2, n0=50, n=12, scale=0.005), seed).direct for seed in seeds]
    arms = [run.simclr for run in runs]
    strength = finetuning_strength(e.snr, predicted_ratio(e, 0.3), e.network.q)
    failed, lucky = sum(not _good(arm) for arm in arms), sum(_good(arm) for arm in direct)
    comparisons = [
        failure_rate(
            "fine-tuning: test loss above 6 eps + exp(-n^2)", 1 - law(e, strength), failed, len(runs)
        ),
        failure_rate("direct training: test loss below it", law(e, e.snr**e.network.q), lucky, len(runs)),
        at_most("arms start from other filters than theirs", 0.0, max(run.mixed for run in runs)),
        equals(
            "R at the linear end, kappa = 4",
            predicted_ratio(e, threshold),
            [run.ratio for run in runs],
            order=_RATIO_ORDER,
        ),
    ]
    steps, losses, expected = [], [], []
    for arm in arms:
        if min(outcome_ratios(arm)) < 2:
            continue
        counts = [len(arm.members(side)) for side in range(2)]
        fit = time_to_loss(
            [arm.signal(side) for side in range(2)],
            [arm.rate * count * e.signal_norm**2 for count in counts],
            [count / len(arm.labels) for count in counts],
            loss=arm.loss,
            q=e.network.q + power,
            scale=arm.scale,
        )
        steps.append(arm.steps / fit.steps)
        expected.append(fit.steps)
        losses.append(arm.test.loss / learned_test_loss(margins * fit.margins))
    if len(steps) > 2:
        # The law holds run by run; against a mean, the scatter that a wrong law makes would excuse it.
        farthest, two = max(steps, key=lambda ratio: abs(ratio - 1)), 2 / float(np.mean(expected))
        comparisons += [
            equals("fine-tuning: steps over S2 (11), farthest", 1.0, farthest, order=two),
            equals("fine-tuning: test loss over S2 (13)", 1.0, losses, order=5e-3),
        ]
    data = {
        "simclr": np.array([arm.test.loss for arm in arms]),
        "direct": np.array([run.direct.test.loss for run in runs]),
    }
    return comparisons, data


_RATIO_ORDER = 0.05
"""S5 (8) takes the largest of n0^2/2 similarities as Gaussian and the half step on average; note, Check."""


# ------------------------------------------------------------------ the boundary, end to end


class _Place(NamedTuple):
    """Where the boundary is looked at: n0, sigma_0 sigma_p sqrt(d), d; starts, how many are trained; q."""

    samples: int
    scale: float
    dim: float
    starts: int
    trained: int = 0
    q: float = 3.0


_QUICK = (
    _Place(40, 1e-2, 1e8, 160, 30),
    _Place(20, 1e-4, 1e12, 160),
    _Place(40, 1e-4, 1e6, 24),
    _Place(40, 1e-1, 1e12, 160, q=4.0),
)
_FULL = tuple(
    _Place(n0, scale, dim, 400, 60 if scale > 5e-4 and scale * math.sqrt(dim) >= 10 else 0)
    for n0 in (20, 40, 100)
    for scale in (1e-2, 1e-3, 1e-4)
    for dim in (1e6, 1e12)
)
"""None is trained, and S2 (7) of the start decides, where training would be long or d is not >> (n / s_0)^2
(note, Check)."""
_NEAR = 1.2
_BULK_GROWN = 1e7  # d up to which the bulk has grown to the size of the untouched noise (note, Check)


def _boundary(
    trials: Trials, bulk: bool, stronger: float, rule: str
) -> tuple[list[Comparison], dict[str, Any]]:
    """At the predicted kappa* R is as predicted and half the networks learn: S5 (8), (9).

    bulk : whether (8) or (5) says when the stage ends; stronger : a factor on the strength (3); rule : the
    b_0 that calls outcomes, "power mean" or "max".
    """
    comparisons, rows = [], []
    for n0, scale, dim, starts, few, q in trials.pick(_QUICK, _FULL):
        kappa = end_to_end_boundary(
            [6, 6], samples=n0, dim=int(dim), filters=16, q=q, relative_init_scale=scale
        )
        e = two_stage(kappa, n0=n0, n=12, scale=scale, dim=dim, q=q)
        seeds = list(trials.seeds(starts, starts))
        found = [finetuned(e, seed, None) for seed in seeds]
        words = f"n0 = {n0}, sigma_0 = {scale:g}, d = {dim:g}, q = {q:g}"
        expected = predicted_ratio(e, 0.3) if bulk else ruled_ratio(e)
        comparisons.append(equals(f"R, {words}", expected, [f.ratio for f in found], order=_RATIO_ORDER))
        share = sum(min(f.outcomes) > 1 for f in found) / starts
        if dim > _BULK_GROWN:
            at = stronger * finetuning_strength(e.snr, predicted_ratio(e, 0.3), q)
            off = (1 + _RATIO_ORDER) ** (q - 2) * (1 + 1 / (4 * e.network.filters))
            count = round(share * starts)
            comparisons += [
                failure_rate(f"{words} at kappa*, {what}", chance, k, starts)
                for what, chance, k in (
                    ("learned", law(e, at * off), count),
                    ("not learned", 1 - law(e, at / off), starts - count),
                )
            ]
        if few:
            trained_ones = [finetuned(e, seed, 60_000) for seed in seeds[:few]]
            ratios = [min(f.outcomes if rule == "power mean" else f.first) for f in trained_ones]
            wrong = sum(
                f.learned != (ratio > 1)
                for f, ratio in zip(trained_ones, ratios, strict=True)
                if not 1 / _NEAR < ratio < _NEAR
            )
            comparisons.append(equals(f"outcomes predicted wrong, {words}", 0.0, wrong, absolute=0.5))
        rows.append([kappa, share])
    return comparisons, {"boundary": np.array(rows)}


def _elsewhere(trials: Trials, scaled: bool, surer: float) -> list[Comparison]:
    """R at another step size, temperature and number of filters; S2 (9) at other q, classes, probabilities.

    scaled : whether the linear stage ends at 0.3 tau, or at 0.3; surer : added to probabilities.
    """
    usual = two_stage(2.0, n0=40, n=4, scale=1e-2, dim=1e8)
    temperature, slower = 0.5, 0.5  # than the default growth of 0.1 a step
    rate = {"pretraining.learning_rate": slower * temperature * usual.pretraining.learning_rate}
    e = usual.replace({"network.filters": 6, "pretraining.temperature": temperature, **rate})
    where: dict[str, Any] = {"samples": 40, "dim": e.data.dim, "filters": 6, "relative_init_scale": 1e-2}
    threshold = 0.3 * (temperature if scaled else 1.0)
    expected = linear_end_ratio(e.kappa, growth=0.1 * slower, threshold=threshold, **where)
    found = [finetuned(e, seed, None).ratio for seed in trials.seeds(20, 60)]
    comparisons = [equals("R, growth 0.05, tau = 0.5, 6 filters", expected, found, order=_RATIO_ORDER)]
    draws = trials.pick(2000, 20_000)
    for counts, filters, q, probability in (((3, 8), 5, 4.0, 0.8), ((6,), 9, 2.5, 0.2)):
        strength = critical_strength(counts, filters=filters, q=q, probability=probability)
        learned = drawn_successes(trials.rng, strength, counts, filters, q, draws)
        name = f"networks that learn at a strength of S2 (9), q = {q:g}"
        comparisons.append(frequency(name, probability + surer, learned, draws))
    return [
        *comparisons,
        equals("strength, q = 4", 0.04 * 9.0, finetuning_strength(0.2, 3.0, 4.0), order=1e-12),
    ]


def _tossed(trials: Trials, missing: float) -> list[Comparison]:
    """A test error of at most 0.1 from one and from two random labels: S5 (11), 1 - missing^n."""
    seeds, found = list(trials.seeds(200, 1000)), []
    for labels in (1, 2):
        good = sum(tossed(seed, labels) <= _SMALL_ERROR for seed in seeds)
        name = f"test error at most {_SMALL_ERROR:g} from {labels} label{'s' * (labels > 1)}"
        found.append(frequency(name, 1 - missing**labels, good, len(seeds)))
    return found


_SMALL_ERROR = 0.1


# ------------------------------------------------------------------ last iterate, best iterate


def _last(trials: Trials) -> list[Comparison]:
    """The test loss falls for ever and the noise stays below a limit that no time exceeds: S5 (10)."""
    found = [long(seed, trials.pick(3e-4, 1e-5)) for seed in trials.seeds(5, 12)]
    # (10) is of runs that learn both classes: S2 (9) leaves out one in 3000, whose noise has no limit.
    kept = [f for f in found if math.isfinite(f.limit) and f.limit < 0.1]
    return [
        at_most("largest rise of the test loss on the way", 0.0, max(f.rise for f in kept), absolute=1e-8),
        at_most("noise activation over its limit", 1.0, max(f.largest / f.limit for f in kept), order=2e-3),
        equals("test loss over training loss, at the end", 1.0, [f.loss for f in kept], order=1e-3),
    ]


# ------------------------------------------------------------------ the claim


def check(
    trials: Trials,
    *,
    shrink: float = 1.0,
    louder: float = 1.0,
    threshold: float = 0.3,
    power: float = 0.0,
    margins: float = 1.0,
    exponent: float = 0.0,
    fixed: float = -2.0,
    falling: float = 0.0,
    unlabelled: float = -2.0,
    aligned: float = 0.5,
    bulk: bool = True,
    stronger: float = 1.0,
    rule: str = "power mean",
    scaled: bool = True,
    surer: float = 0.0,
    missing: float = 0.5,
) -> Outcome:
    """Both arms of the headline, exponents, the end-to-end boundary and the last iterate: S5 (1) to (11).

    shrink divides n0 SNR^2, louder multiplies the SNR of direct training in the headline; threshold is where
    (8) takes its linear stage to end; power is added to q in S2 (11), margins multiplies the margins in
    S2 (13); exponent is added to q in that of direct training; fixed and falling are the exponents of
    fine-tuning's labels at fixed and falling sigma_0, unlabelled and aligned those of the alignment and
    n0 SNR^2 where it is 1/2; bulk, stronger, rule : as for ``_boundary``, scaled, surer : for ``_elsewhere``,
    missing : for ``_tossed``.
    """
    headline, data = _headline(trials, shrink, louder, threshold, power, margins)
    found = Outcome(headline, len(data["simclr"]), data)
    if shrink != 1 or found.verdict == "fails":  # the rest adds nothing, and could take hours
        return found
    exponents = []
    ladders = (
        {3.0: (4, 64)}
        if trials.effort == "quick"
        else {3.0: (4, 8, 16, 32, 64), 4.0: (4, 8, 16, 32), 5.0: (4, 8, 16)}
    )
    for q, ladder in ladders.items():
        compared, measured = direct_exponent(trials, q, ladder, exponent)
        exponents.append(compared)
        if q == 3:
            data |= {"ladder": np.array(ladder), "thresholds": measured}
    exponents += [
        *finetuning_exponents(trials, fixed, falling),
        *aligned_exponent(trials, unlabelled, aligned),
    ]
    boundary, more = _boundary(trials, bulk, stronger, rule)
    apart = [*_elsewhere(trials, scaled, surer), *_tossed(trials, missing), *_last(trials)]
    comparisons = [*headline, *exponents, *boundary, *apart]
    return Outcome(comparisons, len(data["simclr"]), data | more)


def figure(evidence: Evidence) -> Figure:
    """Test losses of both arms, the SNR that direct training needs, and the predicted end-to-end boundary."""
    from numsim.shown.claim_figures import CONTROL, MEASURED, PREDICTED, measured_points, panels

    drawn, (left, right) = panels(2)
    data = evidence.outcome.data
    for k, (arm, marker) in enumerate((("simclr", "o"), ("direct", "s"))):
        words = {"simclr": "pre-trained, fine-tuned", "direct": "direct"}[arm]
        x = k + np.linspace(-0.3, 0.3, len(data[arm]))
        left.plot(x, data[arm], **{**MEASURED, "marker": marker, "label": words})
    for k, level in enumerate((0.01, math.log(2))):
        left.plot([k - 0.4, k + 0.4], [level, level], **{**PREDICTED, "label": "_" if k else "predicted"})
    left.axhline(loss_bound(0.01, 12), **{**CONTROL, "label": r"$6\varepsilon + e^{-n^2}$"})
    left.set(yscale="log", xticks=[], ylabel="test loss", ylim=(5e-3, 1.5))
    left.legend()
    ladder, found = data["ladder"], data["thresholds"]
    n = np.geomspace(ladder[0], ladder[-1], 20)
    even = [int(2 * round(x / 2)) for x in n]
    needed = [critical_strength([x // 2] * 2, filters=16, q=3.0) ** (1 / 3) for x in even]
    right.plot(even, needed, **PREDICTED)
    right.plot(n, needed[0] * (n / n[0]) ** -0.5, **{**CONTROL, "label": "control: exponent $q - 1$"})
    measured_points(right, ladder, found.mean(axis=1), found.std(axis=1) / math.sqrt(found.shape[1]))
    right.set(
        xscale="log", yscale="log", xlabel="labelled samples $n$", ylabel="SNR that direct training needs"
    )
    right.set_xticks(ladder, [str(x) for x in ladder])
    right.set_yticks([0.2, 0.3, 0.5, 0.8], ["0.2", "0.3", "0.5", "0.8"])
    right.minorticks_off()
    right.legend()
    return drawn


CLAIM = Claim(
    id="S5",
    title="Pre-training makes a constant number of labels enough",
    source="Zhang-Cao, Theorem 4.2 against Theorem 4.3; boundary and exponents at finite scales new here",
    statement=(
        r"n^*_{\text{direct}} \propto \mathrm{SNR}^{-q}, \qquad "
        r"n^*_{\text{fine-tuned}} \propto \mathrm{SNR}^0, \qquad n_0^* \propto \mathrm{SNR}^{-2}"
    ),
    check=check,
    controls={
        "n0 SNR^2 = 1.6 in place of 4": {"shrink": 2.5},
        "direct training at twice the SNR": {"louder": 2.0},
        "linear stage to max|s|/tau = 0.4 in place of 0.3": {"threshold": 0.4},
        "clocks of exponent q - 1.95 in place of q - 2": {"power": 0.05},
        "margins 1 % larger": {"margins": 1.01},
        "exponent q - 1 in place of q for direct training": {"exponent": -1.0},
        "labels as SNR^0 at fixed sigma_0 too": {"fixed": 0.0},
        "labels as SNR^-2 at falling sigma_0 too": {"falling": -2.0},
        "alignment at n0 as SNR^-2.1": {"unlabelled": -2.1},
        "alignment 1/2 at n0 SNR^2 = 0.55": {"aligned": 0.55},
        "the top direction alone ends the linear stage": {"bulk": False},
        "half as much again of SNR^2 R^(q-2)": {"stronger": 1.5},
        "maximum in place of the power mean of b_0": {"rule": "max"},
        "the linear stage ends at 0.3 for 0.3 tau": {"scaled": False},
        "probabilities of S2 (9) larger by 0.1": {"surer": 0.1},
        "a label misses with probability 1/4 for 1/2": {"missing": 0.25},
    },
    theory=(
        "after_clock",
        "critical_strength",
        "elapsed_clock",
        "end_to_end_boundary",
        "finetuning_strength",
        "learned_test_loss",
        "linear_end_ratio",
        "linear_modes",
        "loss_bound",
        "success_probability",
        "time_to_loss",
    ),
    figure=figure,
)
