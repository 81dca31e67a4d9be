"""S5: pre-training and fine-tuning need fewer labels than direct training, s5_label_complexity.md."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

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
)
from numsim.theory import (
    critical_strength,
    end_to_end_boundary,
    finetuning_strength,
    learned_test_loss,
    linear_end_ratio,
    loss_bound,
    success_probability,
    time_to_loss,
)

from ..identities.roundoff import unless_given
from .direct_training import Trained, outcome_ratios
from .label_ladders import aligned_exponent, direct_exponent, finetuning_exponent
from .two_arms import both, finetuned, law, long, predicted_ratio, two_stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ------------------------------------------------------------------ the headline


def _good(run: Trained) -> bool:
    """Training loss <= eps and test loss <= 6 eps + exp(-n^2)."""
    e = run.experiment
    bound = loss_bound(run.loss, e.finetuning.samples)
    return bool(run.reached and run.loss <= e.finetuning.target_loss and run.test.loss <= bound)


def _headline(
    trials: Trials, shrink: float, pretrained: bool, threshold: float
) -> tuple[list[Comparison], dict[str, Any]]:
    """20 of 20 against 0 of 20, and the fine-tuned runs against their hand-over."""
    e, used = (two_stage(4.0 / x, n0=50, n=12, scale=0.005) for x in (1.0, shrink))
    runs = [both(used, seed) for seed in trials.seeds(20, 100)]
    arms = [run.simclr if pretrained else run.direct for run in runs]
    strength = finetuning_strength(e.snr, predicted_ratio(e, 0.3), e.network.q)
    failed, lucky = sum(not _good(arm) for arm in arms), sum(_good(run.direct) for run in runs)
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
            q=e.network.q,
            scale=arm.scale,
        )
        steps.append(arm.steps / fit.steps)
        expected.append(fit.steps)
        losses.append(arm.test.loss / learned_test_loss(fit.margins))
    if len(steps) > 2:
        comparisons += [
            equals("fine-tuning: steps over S2 (11)", 1.0, steps, order=2 / float(np.mean(expected))),
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


def _boundary(trials: Trials, threshold: float) -> tuple[list[Comparison], dict[str, Any]]:
    """At the predicted kappa* R is as predicted and half the networks learn: S5 (8), (9)."""
    comparisons, rows = [], []
    for n0, scale, dim, steps, draws in trials.pick(_QUICK, _FULL):
        kappa = end_to_end_boundary(
            [6, 6], samples=n0, dim=int(dim), filters=16, q=3.0, relative_init_scale=scale
        )
        e = two_stage(kappa, n0=n0, n=12, scale=scale, dim=dim)
        found = [finetuned(e, seed, steps) for seed in trials.seeds(draws, draws)]
        words = f"n0 = {n0}, sigma_0 = {scale:g}, d = {dim:g}"
        expected = predicted_ratio(e, threshold)
        comparisons.append(equals(f"R, {words}", expected, [f[0] for f in found], order=_RATIO_ORDER))
        needed = critical_strength([6, 6], filters=16, q=3.0)
        at = finetuning_strength(e.snr, predicted_ratio(e, 0.3), 3.0)
        comparisons.append(equals(f"strength at kappa*, {words}", needed, at, order=1e-6))
        learned = [f[2] if steps else min(f[1]) > 1 for f in found]
        if dim > 1e6:  # otherwise the bulk has grown to the size of the untouched noise (note, Check)
            count, off = sum(learned), 1 + _RATIO_ORDER + 1 / (4 * e.network.filters)
            comparisons += [
                failure_rate(f"learned at kappa*, {words}", law(e, at * off), count, draws),
                failure_rate(f"not learned at kappa*, {words}", 1 - law(e, at / off), draws - count, draws),
            ]
        if steps:
            wrong = sum(f[2] != (min(f[1]) > 1) for f in found if not 1 / _NEAR < min(f[1]) < _NEAR)
            comparisons.append(equals(f"outcomes predicted wrong, {words}", 0.0, wrong, absolute=0.5))
        rows.append([kappa, np.mean(learned)])
    return comparisons, {"boundary": np.array(rows)}


_NEAR = 1.2
_QUICK = ((40, 1e-2, 1e8, 60_000, 40), (20, 1e-4, 1e12, None, 80), (40, 1e-4, 1e6, None, 24))
_FULL = tuple(
    (n0, scale, dim, 60_000 if scale > 5e-4 and scale * math.sqrt(dim) >= 10 else None, 60)
    for n0 in (20, 40, 100)
    for scale in (1e-2, 1e-3, 1e-4)
    for dim in (1e6, 1e12)
)
"""n0, sigma_0 sigma_p sqrt(d), d, most steps of fine-tuning, draws.

No steps: the outcome from S2 (7), where training would be long, or d is not >> (n / s_0)^2 (note, Check).
"""


def _elsewhere(trials: Trials) -> list[Comparison]:
    """R at another step size, temperature and number of filters; roots at other q, classes, probabilities."""
    usual = two_stage(2.0, n0=40, n=4, scale=1e-2, dim=1e8)
    temperature, slower = 0.5, 0.5  # than the default growth of 0.1 a step
    rate = {"pretraining.learning_rate": slower * temperature * usual.pretraining.learning_rate}
    e = usual.replace({"network.filters": 6, "pretraining.temperature": temperature, **rate})
    where: dict[str, Any] = {"samples": 40, "dim": e.data.dim, "filters": 6, "relative_init_scale": 1e-2}
    expected = linear_end_ratio(e.kappa, growth=0.1 * slower, threshold=0.3 * temperature, **where)
    found = [finetuned(e, seed, None)[0] for seed in trials.seeds(20, 60)]
    comparisons = [equals("R, growth 0.05, tau = 0.5, 6 filters", expected, found, order=_RATIO_ORDER)]
    for counts, filters, q, probability in (((3, 8), 5, 4.0, 0.8), ((6,), 9, 2.5, 0.2)):
        strength = critical_strength(counts, filters=filters, q=q, probability=probability)
        success = success_probability(strength, counts, filters=filters, q=q)
        comparisons.append(equals(f"success at its strength, q = {q:g}", probability, success, order=1e-6))
    kappa = end_to_end_boundary([3, 5], q=4.0, growth=0.05, threshold=0.2, **where)
    ratio = linear_end_ratio(kappa, growth=0.05, threshold=0.2, **where)
    needed = critical_strength([3, 5], filters=6, q=4.0)
    rest = {"growth": 0.1, "threshold": 0.3}
    return [
        *comparisons,
        equals("strength at kappa*, q = 4", needed, kappa / 40 * ratio**2, order=1e-6),
        equals("strength, q = 4", 0.04 * 9.0, finetuning_strength(0.2, 3.0, 4.0), order=1e-12),
        unless_given(critical_strength, {"counts": (6, 6), "filters": 6, "q": 3.0}, probability=0.5),
        unless_given(linear_end_ratio, {"kappa": 2.0, **where}, **rest),
        unless_given(end_to_end_boundary, {"counts": (6, 6), "q": 3.0, **where}, **rest),
    ]


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
    pretrained: bool = True,
    exponent: float = 0.0,
    threshold: float = 0.3,
) -> Outcome:
    """Both arms of the headline, exponents, the end-to-end boundary and the last iterate: S5 (1) to (10).

    shrink divides n0 SNR^2; pretrained = False puts the direct arm in the place of the fine-tuned one;
    exponent is added to q in that of direct training; threshold is where (8) takes the linear stage to end.
    """
    headline, data = _headline(trials, shrink, pretrained, threshold)
    found = Outcome(headline, len(data["simclr"]), data)
    if shrink != 1 or found.verdict == "fails":  # nothing to add, and the rest could take hours
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
    compared, data["smallest"] = finetuning_exponent(trials)
    exponents += [compared, *aligned_exponent(trials)]
    boundary, more = _boundary(trials, threshold)
    comparisons = [*headline, *exponents, *boundary, *_elsewhere(trials), *_last(trials)]
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
        "fine-tuning without pre-training": {"pretrained": False},
        "n0 SNR^2 smaller by 8": {"shrink": 8.0},
        "exponent q - 1 in place of q for direct training": {"exponent": -1.0},
        "linear stage to max|s|/tau = 0.4 in place of 0.3": {"threshold": 0.4},
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
