"""S4: fine-tuning from any initialisation is decided by its signal ratio, s4_any_initialisation.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, at_most, equals, slope
from numsim.theory import critical_ratio, noise_power_mean

from .ratio_thresholds import CELLS, TARGET, Cell, boundary, dense_test, fine_tuned_losses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POWERS = (3.0, 4.0, 5.0)
_ORDER = (
    0.04  # of Gamma^(q-2): what is left of the initial scale after extrapolation, and the bisection's cells
)
_SIDES = (
    (-1.4, 1.0, "both classes lost"),
    (-0.15, 0.5, "the smaller class lost"),
    (2.5, 0.0, "both learned"),
)
"""Shift of (q - 2) log Gamma from the boundary (the larger class has its own log 2.5 lower), share lost."""
_LEVEL = 0.05  # training to a loss of 0.1/n leaves the learned classes with about as much


def _predicted(q: float, cell: Cell, exponent: float, snr_power: float, single_class: bool) -> float:
    """The boundary S4 (3), or what a control makes of it."""
    count = float(max(cell.classes) if single_class else min(cell.classes))
    return critical_ratio(count, cell.snr ** (snr_power / 2), q + exponent)


def check(
    trials: Trials,
    *,
    exponent: float = 0.0,
    snr_power: float = 2.0,
    single_class: bool = False,
    typical: str = "power mean",
    slopes: float = 0.0,
    lost: float = 1.0,
) -> Outcome:
    """Measured boundaries against S4 (3), over q, n and SNR.

    exponent is added to the q - 2 in -1/(q - 2); snr_power replaces the 2 of SNR^2; single_class asks for the
    larger class only; typical : "median" measures Gamma by the median b_0 instead of the power mean; slopes :
    as exponent, in the fitted exponents alone; lost : factor on the test loss of a class at chance.
    """
    seeds = list(trials.seeds(6, 24))
    x = np.array([cell.smaller * cell.snr**2 for cell in CELLS])
    measured, predicted = np.empty((2, len(_POWERS), len(CELLS), len(seeds)))
    middles = np.empty_like(measured)
    for a, q in enumerate(_POWERS):
        for b, cell in enumerate(CELLS):
            predicted[a, b] = _predicted(q, cell, exponent, snr_power, single_class)
            for c, seed in enumerate(seeds):
                found = boundary(seed, q, cell)
                # The scale's remainder is linear in (a_0/A)^(q-2): extrapolated to 0, S4 (5).
                measured[a, b, c] = found.ratios[1] ** 2 / found.ratios[0]
                middles[a, b, c] = found.middle
    seen = measured * middles if typical == "median" else measured
    powers = np.array(_POWERS)[:, None, None]
    shares = (seen / predicted) ** (powers - 2)
    worst = float(shares.ravel()[np.argmax(np.abs(np.log(shares)))])
    comparisons = [equals("boundary of Gamma^(q-2) over the predicted one, worst", 1.0, worst, order=_ORDER)]
    for a, q in enumerate(_POWERS):
        expected = -1 / (q - 2 + slopes)
        comparisons.append(
            slope(
                f"exponent against n_j SNR^2, q = {q:g}", expected, x, seen[a], absolute=_ORDER / (q - 2) / 2
            )
        )
    # b_0 uniform on [1/2, 3/2]: the power mean's own limit, for classes of 1000.
    sample = np.linspace(0.5, 1.5, 2001)
    comparisons.append(
        equals("power mean of b_0, q = 4", math.sqrt(3) / 2, noise_power_mean(sample, 4.0), order=1e-3)
    )
    return Outcome(
        [*comparisons, *_both_sides(seeds, lost), *_testing(trials)],
        measured.size,
        {"x": x, "ratios": measured, "medians": measured * middles},
    )


def _both_sides(seeds: Sequence[int], lost: float) -> list[Comparison]:
    """Loss on either side of the boundaries: S4 (4) at its three levels, the training loss at its target."""
    comparisons = []
    for shift, level, words in _SIDES:
        found = np.array(
            [fine_tuned_losses(seed, q, cell, shift) for seed in seeds[:2] for q in _POWERS for cell in CELLS]
        )
        reported, train, test = found.T
        off = float(np.max(np.abs(reported / train - 1)))
        comparisons += [
            *(
                equals(f"test loss, {words}: {which}", lost * level * math.log(2), x, absolute=_LEVEL)
                for which, x in (("largest", test.max()), ("smallest", test.min()))
            ),
            at_most(f"training loss times n, {words}", TARGET, train.max(), order=1e-9),
            equals(f"training loss as reported, {words}", 0.0, off, absolute=1e-9),
        ]
    return comparisons


def _testing(trials: Trials) -> list[Comparison]:
    """``evaluate`` against sampling in R^d: the losses above are read off by it."""
    (seed,) = trials.seeds(1, 1)
    losses, errors, found = dense_test(seed)
    return [
        equals("test loss against sampling", found.loss, losses, absolute=5 * found.loss_se),
        equals("test error against sampling", found.error, errors, absolute=5 * found.error_se),
    ]


def figure(evidence: Evidence) -> Figure:
    """The boundary against n_j SNR^2 for every q, and in units of the prediction, with the median b_0 too."""
    from numsim.shown.claim_figures import CONTROL, MEASURED, PREDICTED, measured_points, panels

    drawn, (left, right) = panels(2)
    data = evidence.outcome.data
    x, line = data["x"], np.geomspace(0.25, 4.5, 30)
    for a, q in enumerate(_POWERS):
        label = {} if a == 0 else {"label": "_"}
        left.plot(line, [critical_ratio(value, 1.0, q) for value in line], **{**PREDICTED, **label})
        logs = np.log(data["ratios"][a])
        left.plot(x, np.exp(logs.mean(axis=1)), **{**MEASURED, **label})
        left.annotate(f"$q = {q:g}$", (line[0], critical_ratio(line[0], 1.0, q)), fontsize=8)
        centres = np.array([critical_ratio(value, 1.0, q) for value in x])
        shares = data["ratios"][a] / centres[:, None]
        medians = data["medians"][a] / centres[:, None]
        at = x * (1 + 0.08 * (a - 1))
        measured_points(right, at, shares.mean(axis=1), shares.std(axis=1))
        right.plot(at, medians.mean(axis=1), marker="s", markersize=4, **{**CONTROL, "linestyle": "none"})
    wrong = [critical_ratio(value, 1.0, _POWERS[-1] + 1) for value in line]
    left.plot(line, wrong, **{**CONTROL, "label": "control: $q - 1$, at $q = 5$"})
    left.set(xscale="log", yscale="log", xlabel="$n_j\\,\\mathrm{SNR}^2$", ylabel="$a_0/b_0$ at the boundary")
    right.axhline(1.0, **PREDICTED)
    right.set(
        xscale="log", ylim=(0.6, 1.2), xlabel="$n_j\\,\\mathrm{SNR}^2$", ylabel="over the predicted one"
    )
    left.legend(fontsize=8)
    left.set_yticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
    left.set_yticks([], minor=True)
    for axes in (left, right):
        axes.set_xticks([0.3, 1, 3], ["0.3", "1", "3"])
        axes.set_xticks([], minor=True)
    right.text(
        0.04, 0.06, "squares: by the median $b_0$, $q$ = 3, 4, 5", transform=right.transAxes, fontsize=8
    )
    return drawn


CLAIM = Claim(
    id="S4",
    title="Fine-tuning from any initialisation succeeds above an exact signal ratio",
    source="Zhang-Cao, Theorem 5.5; sharp form new here",
    statement=(
        r"\frac{a_0}{\bar b_0} > \left(n_j\,\mathrm{SNR}^2\right)^{-1/(q-2)} \text{ in both classes}, \qquad "
        r"\bar b_0 = \left(\frac{1}{n_j}\sum_i b_{0i}^{2-q}\right)^{1/(2-q)}"
    ),
    check=check,
    controls={
        "exponent -1/(q - 1.9)": {"exponent": 0.1},
        "fitted exponents -1/(q - 1.8)": {"slopes": 0.2},
        "SNR^1.9 for SNR^2": {"snr_power": 1.9},
        "test loss of a lost class 10 % larger": {"lost": 1.1},
        "only the larger class": {"single_class": True},
        "median b_0 for the power mean": {"typical": "median"},
    },
    theory=("critical_ratio", "noise_power_mean"),
    figure=figure,
)
