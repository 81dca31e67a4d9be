"""S1: the race between signal and noise, s1_race.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, equals, failure_rate, slope
from numsim.theory import Race, delayed_signal_time, race, steps_to_reach

from .blow_up_ladders import FEEDBACK_AT, REMAINDERS, RUNGS, Duel, Run, duel
from .races import NEAR, Contest, contest
from .step_sizes import defaults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_MIDDLE, _LAST = REMAINDERS[1:]
_ERROR_RATE = 0.005
_ERROR_OF_MEDIAN = 0.1
_WINDOW = (0.7, 1.4)
"""Ratios S1 (6), with the median, too near to 1 to call."""
_SLOWEST = 0.1  # b_0i in units of the median below which S1 (11) is not read: cross-talk overtakes it


class _Reading(NamedTuple):
    """How predictions are made: S1 (5) with n_j and median b_0, unless a control says otherwise.

    factor : on blow-up times in (5); lost, slack : added to coefficients of (8) and (9); more : samples that
    (11) counts beside n_j; memorised : whether samples stop pulling in (12); stepped : (8) is in (10).
    """

    counted: str = "n_j"
    typical: str = "median"
    power: float = 0.0
    factor: float = 1.0
    lost: float = 0.0
    slack: float = 0.0
    memorised: bool = True
    stepped: bool = True
    more: int = 0

    def middle(self, starts: Floats) -> float:
        """The b_0 that stands for a class."""
        return float(np.median(starts) if self.typical == "median" else np.max(starts))

    def race(self, signal: float, noise: float, count: float, settings: Mapping[str, Any]) -> Race:
        """The prediction; ``power`` is added to the exponent q - 2 of both starts."""
        if self.counted == "n":
            count = settings["samples"]
        raised = 1 + self.power / (settings["q"] - 2)
        found = race(
            signal_start=max(signal, 0.0) ** raised,
            noise_start=max(noise, 0.0) ** raised,
            class_samples=count,
            **settings,
        )
        return found


# ---------------------------------------------------------------- who wins


def _pulled(reading: _Reading, c: Contest) -> float:
    """n_j times the signal's steps of full pull over the sum of the samples', S1 (11); NaN: not read."""
    q, settings = c.settings["q"], c.settings
    if min(c.signal_start, c.class_samples) <= 0 or c.noise.min() < _SLOWEST * np.median(c.noise_starts):
        return math.nan

    def steps(ends: Floats, blow_up: float) -> float:
        return steps_to_reach(float(ends[1]), start=float(ends[0]), blow_up=blow_up, q=q)

    own = reading.race(c.signal_start, 1.0, c.class_samples, settings).signal_time
    noise = [steps(ends, reading.race(1.0, float(ends[0]), 1.0, settings).noise_time) for ends in c.noise]
    return float((c.class_samples + reading.more) * steps(c.signal, own) / (c.weights @ noise))


def _winners(
    trials: Trials, reading: _Reading, contests: Sequence[Contest], rule: str
) -> tuple[list[Comparison], dict[str, Floats]]:
    """Whether a class's signal is learned, against S1 (13); in many contests what (6) makes of it, too.

    rule : the b_0 that stands for a class, "power mean" of (13) or "max".
    """
    won = np.array([c.learned for c in contests])

    def ratios(typical: str) -> Floats:
        right = _Reading(typical=typical)
        starts = [(c, right.middle(c.noise_starts)) for c in contests]
        return np.array([right.race(c.signal_start, b, c.class_samples, c.settings).ratio for c, b in starts])

    called = np.array([c.budget() for c in contests]) if rule == "power mean" else ratios(rule)
    wrong = int(np.sum((called > 1) != won))
    pulled = np.array([_pulled(reading, c) for c in contests if c.clean])
    comparisons = [
        failure_rate("wrong by the power mean, S1 (13)", _ERROR_RATE, wrong, len(contests)),
        # The median: what a wrong budget scatters would be excused in a mean by its own standard error.
        equals("pull on the signal over pull on the noise", 1.0, float(np.nanmedian(pulled)), order=0.01),
        equals(
            "table of compare() against its definition", 0.0, max(c.table for c in contests), absolute=1e-9
        ),
    ]
    if trials.effort == "full":
        clean = np.array([c.clean for c in contests])
        middle = ratios("median")
        clear = clean & ((middle < _WINDOW[0]) | (middle > _WINDOW[1]))
        missed = int(np.sum((middle > 1) != won, where=clear))
        name = f"wrong by the median outside {list(_WINDOW)}, clean labels"
        comparisons.append(failure_rate(name, _ERROR_OF_MEDIAN, missed, int(clear.sum())))
    return comparisons, {
        "ratio": np.array([c.budget() for c in contests]),
        "ratio_of_maximum": ratios("max"),
        "signal_won": won,
    }


# ---------------------------------------------------------------- when


class _Timed(NamedTuple):
    """A duel with its predictions: blow_up, start and steps to a level of the run at (R, c)."""

    duel: Duel
    reading: _Reading

    def _of(self, run: Run) -> tuple[float, float]:
        """Blow-up time and start."""
        d, middle = self.duel, self.reading.middle(run.noise_starts)
        found = self.reading.race(
            run.signal_start, middle, d.class_samples, {**d.settings, "learning_rate": run.rate}
        )
        if d.kind == "signal":
            return found.signal_time, float(run.signal_start)
        return found.noise_time, float(np.median(run.noise_starts))

    def flow(self, remainder: float, coarse: float = RUNGS[0], high: bool = False) -> float:
        """Time to a level over the predicted blow-up, extrapolated to step size 0 from two step sizes."""
        shares = []
        for rung in (coarse, 2 * coarse):
            run = self.duel.runs[remainder, rung]
            shares.append((run.high if high else run.low) / self._of(run)[0])
        return float(2 * shares[1] - shares[0])

    def whole(self) -> float:
        """Measured over predicted steps S1 (10), at the smallest scale."""
        run = self.duel.runs[_LAST, RUNGS[1]]
        return float(run.low / self._expected(run, float(self.reading.stepped)))

    def _expected(self, run: Run, discrete: float = 1.0) -> float:
        blow_up, start = self._of(run)
        q, level = self.duel.settings["q"], self.duel.levels[0]
        steps = steps_to_reach(level, start=start, blow_up=blow_up, q=q, feedback=self.duel.feedback)
        return float(steps - (1 - discrete) * (q - 1) / 2 * math.log(level / start))

    def excess(self, rung: float) -> float:
        """Share of the blow-up time by which descent is slower than the flow."""
        run = self.duel.runs[_MIDDLE, rung]
        return float((run.low - self._expected(run, discrete=0.0)) / self._of(run)[0])

    def discrete(self) -> float:
        """The same in units of S1 (8), at the smallest step size."""
        run = self.duel.runs[_MIDDLE, RUNGS[2]]
        blow_up, start = self._of(run)
        q, level = self.duel.settings["q"], self.duel.levels[0]
        coefficient = (q - 1 + self.reading.lost) / 2
        return float(self.excess(RUNGS[2]) * blow_up / (coefficient * math.log(level / start)))

    def slack(self) -> float:
        """Delay by |l'| < 1/2 at the upper level in units of S1 (9)."""
        run = self.duel.runs[_MIDDLE, RUNGS[2]]
        blow_up, start = self._of(run)
        q, level = self.duel.settings["q"], self.duel.levels[1]

        def steps(feedback: float) -> float:
            return steps_to_reach(level, start=start, blow_up=blow_up, q=q, feedback=feedback)

        missing = (start / level) ** (q - 2)
        late = self.flow(_MIDDLE, RUNGS[1], high=True) - (1 - missing)
        predicted = (steps(self.duel.feedback) - steps(0.0)) * (1 + self.reading.slack / (q - 2))
        return float(late * blow_up / predicted)

    def delayed(self, remainder: float) -> float:
        """Time to the level over S1 (12), extrapolated to step size 0."""
        d, shares = self.duel, []
        for rung in RUNGS[:2]:
            run = d.runs[remainder, rung]
            settings = {**d.settings, "learning_rate": run.rate}
            found = [
                self.reading.race(run.signal_start, b, d.class_samples, settings) for b in run.noise_starts
            ]
            gone = [f.noise_time if self.reading.memorised else math.inf for f in found]
            shares.append(run.low / delayed_signal_time(found[0].signal_time, gone))
        return float(2 * shares[1] - shares[0])


def _limit(share: Callable[[float], float]) -> float:
    """Extrapolated to initial scale 0, where nothing of the time is missing at the level: 1/R -> 0."""
    return float((_LAST * share(_LAST) - _MIDDLE * share(_MIDDLE)) / (_LAST - _MIDDLE))


def _worst(name: str, shares: Sequence[float], order: float) -> Comparison:
    """All shares are 1 but for the error order: the one that is furthest from it."""
    values = np.array(shares)
    return equals(name, 1.0, float(values[np.argmax(np.abs(values - 1))]), order=order)  # NaN counts as most


def _times(
    reading: _Reading, duels: Mapping[str, Sequence[Duel]], orders: tuple[float, float]
) -> tuple[list[Comparison], dict[str, Floats]]:
    timed = {kind: [_Timed(d, reading) for d in found] for kind, found in duels.items()}
    both = timed["signal"] + timed["noise"]
    missing = np.array([[1 - t.flow(r) for t in both] for r in REMAINDERS])
    late = np.array([[t.excess(c) for t in both] for c in RUNGS])
    small, fine = 1 / np.array(REMAINDERS), 1 / np.array(RUNGS)
    comparisons = []
    for kind in ("signal", "noise"):
        limits = [_limit(t.flow) / reading.factor for t in timed[kind]]
        whole = [t.whole() for t in timed[kind]]
        comparisons += [
            _worst(f"{kind}: blow-up time in the limit, over (5)", limits, 1e-3),
            _worst(f"{kind}: steps to a level, over (10)", whole, 1e-3),
        ]
    delayed = [_limit(t.delayed) for t in timed["delayed"]]
    comparisons += [
        _worst("delayed signal: blow-up time in the limit, over (12)", delayed, 0.02),
        slope("order of the error in a_0^(q-2)", orders[0], small, missing / missing[0], absolute=0.02),
        slope("order of the error in the step size", orders[1], fine, late / late[0], absolute=0.04),
        _worst("discrete time: steps lost, over (8)", [t.discrete() for t in both], 0.15),
        _worst("feedback: steps lost, over (9)", [t.slack() for t in both], FEEDBACK_AT),
    ]
    data = {"small": small, "missing": missing, "fine": fine, "late": late}
    return comparisons, data


# ---------------------------------------------------------------- the claim


def _alone() -> Race:
    """A race in which no filter points along the signal."""
    ones = dict.fromkeys(("noise_start", "class_samples", "signal_norm", "noise_norm", "learning_rate"), 1.0)
    return race(signal_start=-1.0, samples=1, filters=1, q=3.0, **ones)


def check(
    trials: Trials,
    *,
    rule: str = "power mean",
    more: int = 0,
    counted: str = "n_j",
    typical: str = "median",
    power: float = 0.0,
    factor: float = 1.0,
    stepped: bool = True,
    lost: float = 0.0,
    slack: float = 0.0,
    memorised: bool = True,
    orders: tuple[float, float] = (1.0, 1.0),
    share: float = 0.25,
) -> Outcome:
    """Winners and times against S1 (5) to (13).

    rule : the b_0 in S1 (13), "max" the first sample to be memorised; counted : "n" forgets that a class has
    n_j samples; typical : "max" takes the first sample to be memorised for the median one; power is added to
    the exponent q - 2; factor, stepped, lost, slack, more, memorised : as for ``_Reading``; orders : of the
    error in a_0^(q-2) and in the step size; share : the default step's of the stability limit.
    """
    reading = _Reading(counted, typical, power, factor, lost, slack, memorised, stepped, more)
    contests = [contest(seed) for seed in trials.seeds(80, 1000)]
    duels = {
        kind: [duel(seed, kind) for seed in trials.seeds(quick, full)]
        for kind, quick, full in (("signal", 10, 100), ("noise", 10, 100), ("delayed", 8, 100))
    }
    winners, won = _winners(trials, reading, contests, rule)
    times, late = _times(reading, duels, orders)
    return Outcome(
        [
            *winners,
            equals("ratio of a race without a signal", 0.0, _alone().ratio, absolute=1e-12),
            # 1 and 2 are memorised on the way: 1 + 2 + t = 3 * 3.
            equals("(12) solved by hand", 6.0, delayed_signal_time(3.0, [9.0, 1.0, 2.0]), order=1e-12),
            *times,
            *defaults(trials.seeds(20, 100), share),
        ],
        len(contests) + sum(len(found) for found in duels.values()),
        {**won, **late},
    )


def figure(evidence: Evidence) -> Figure:
    """Who wins against the predicted ratio, and how fast the error of the blow-up time goes to zero."""
    from numsim.shown.claim_figures import CONTROL, MEASURED, PREDICTED, measured_points, panels

    drawn, (left, right) = panels(2)
    data = evidence.outcome.data
    edges = np.array([1 / 8, 1 / 4, 1 / 2.4, 1 / NEAR, NEAR, 2.4, 4, 8])
    ends, won = edges[[0, -1]].tolist(), data["signal_won"]
    left.axvspan(1 / NEAR, NEAR, color="0.5", alpha=0.15)
    left.plot([ends[0], 1, 1, ends[1]], [0, 0, 1, 1], **PREDICTED)
    for name in ("ratio_of_maximum", "ratio"):
        bins = [won[(data[name] >= low) & (data[name] < high)] for low, high in pairwise(edges.tolist())]
        kept = [k for k, found in enumerate(bins) if len(found)]
        x = np.sqrt(edges[1:] * edges[:-1])[kept]
        y = np.array([bins[k].mean() for k in kept])
        if name == "ratio":
            sizes = np.array([len(bins[k]) for k in kept])
            middle = (y * sizes + 1) / (sizes + 2)
            half = 2 * np.sqrt(middle * (1 - middle) / (sizes + 3))
            bars = np.stack([y - np.clip(middle - half, 0, y), np.clip(middle + half, y, 1) - y])
            measured_points(left, x, y, bars)
        else:
            left.plot(x, y, marker="s", markersize=4, **{**CONTROL, "label": "by the maximum $b_0$"})
    left.set(
        xscale="log",
        xlabel="$n_j\\,\\mathrm{SNR}^2 (a_0/b_0)^{q-2}$, power mean $b_0$",
        ylabel="share won by the signal",
    )
    left.set_xticks([1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8], ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    left.set_xticks([], minor=True)
    left.set_ylim(-0.05, 1.4)
    left.legend(loc="upper left", fontsize=8)
    for values, x, marker, words in (
        (data["missing"], data["small"], "o", "before the blow-up, $(a_0/a)^{q-2}$"),
        (data["late"], data["fine"], "^", "discrete time, step size"),
    ):
        means = np.abs(values).mean(axis=1)
        right.plot(x, means[0] * x / x[0], **{**PREDICTED, "label": "_"})
        right.plot(x, means, **{**MEASURED, "marker": marker, "label": words})
    right.set(xscale="log", yscale="log", ylim=(1e-3, 0.4), ylabel="relative error of the blow-up time")
    right.set_xlabel("$(a_0/a)^{q-2}$, or step size (lines: slope 1)")
    right.legend(fontsize=8)
    return drawn


CLAIM = Claim(
    id="S1",
    title="Signal and noise race to a blow-up; the faster one is learned",
    source="numsim (new); setting of Cao et al. 2022",
    statement=(
        r"t_{\text{signal}} = \frac{2nm}{n_j \eta s q (q-2) \lVert\mu\rVert^2 a_0^{q-2}}, \qquad "
        r"t_{\text{noise}} = \frac{2nm}{\eta s q (q-2) \sigma_p^2 d\, b_0^{q-2}}"
    ),
    check=check,
    controls={
        "maximum in place of the power mean of b_0": {"rule": "max"},
        "n_j + 1 for n_j in the budget of pull": {"more": 1},
        "n for the class's n_j": {"counted": "n"},
        "maximum in place of median b_0": {"typical": "max"},
        "exponent q - 1.99 in place of q - 2": {"power": 0.01},
        "blow-up times longer by 0.5 %": {"factor": 1.005},
        "steps to a level as in the flow": {"stepped": False},
        "q/2 for (q - 1)/2 in what steps lose": {"lost": 1.0},
        "(q - 1)/4 for (q - 2)/4 in the feedback": {"slack": 1.0},
        "memorised samples go on pulling": {"memorised": False},
        "error of order a_0^(1.1 (q-2))": {"orders": (1.1, 1.0)},
        "error of order 1.1 in the step size": {"orders": (1.0, 1.1)},
        "default step at 0.26 of the stability limit": {"share": 0.26},
    },
    theory=("race", "steps_to_reach", "delayed_signal_time"),
    figure=figure,
)
