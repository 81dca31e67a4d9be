"""C3: both classes have at least a quarter of the samples, c3_class_balance.md."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numsim.claims import (
    Claim,
    Comparison,
    Evidence,
    Outcome,
    Trials,
    equals,
    failure_rate,
    frequency,
)
from numsim.config import Experiment
from numsim.models.signal_noise import Labelled, Unlabelled, draw_labelled, draw_labels, draw_unlabelled
from numsim.models.space import Space
from numsim.runs.draw import draw
from numsim.theory import balance_probability, balance_rate, balance_samples, balance_samples_bound

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_DELTA = 0.05
_SHARE = 0.25
_FLIP = 0.2
_EXACT = 1e-9
_LADDER = (4, 8, 12, 18)


def _biased(labels: Floats, positive: float, rng: np.random.Generator) -> Floats:
    """Labels of which as many -1 are made +1 as gives P(+1) = positive."""
    raised = (labels < 0) & (rng.random(labels.shape) < 2 * positive - 1)
    return np.where(raised, 1.0, labels)


def _labels(trials: Trials, repeats: int, samples: int, positive: float) -> Floats:
    """Sets of labels (repeats, n)."""
    drawn = np.array([draw_labels(samples, False, trials.rng) for _ in range(repeats)])
    return _biased(drawn, positive, trials.rng)


def _balanced_sets(labels: Floats, share: float) -> npt.NDArray[np.bool_]:
    """Whether both classes have their share, (repeats,)."""
    positive, negative = (labels > 0).sum(axis=1), (labels < 0).sum(axis=1)
    found: npt.NDArray[np.bool_] = np.minimum(positive, negative) >= share * labels.shape[1]
    return found


def _statement(trials: Trials, samples: int, share: float, positive: float) -> Comparison:
    """How often a class is short at the n of C3 (1)."""
    repeats = trials.pick(2000, 20000)
    short = ~_balanced_sets(_labels(trials, repeats, samples, positive), share)
    return failure_rate(f"a class short of n/4, n = {samples}", _DELTA, int(short.sum()), repeats)


def _ladder(trials: Trials, share: float, positive: float) -> list[Comparison]:
    """How often both classes have their share, at numbers of samples where that is in doubt: C3 (2)."""
    repeats = trials.pick(1500, 10000)
    found = []
    ones = 0
    for n in _LADDER:
        labels = _labels(trials, repeats, n, positive)
        good = int(_balanced_sets(labels, share).sum())
        found.append(frequency(f"both classes, n = {n}", balance_probability(n), good, repeats))
        ones += int((labels > 0).sum())
    return [*found, frequency("labels +1", 0.5, ones, repeats * sum(_LADDER))]


def _labelled(trials: Trials, balanced: bool, subset_of: Unlabelled | None = None) -> Labelled:
    return draw_labelled(
        Space(5),
        6,
        sigma_p=1.0,
        projected=True,
        balanced=balanced,
        flip_probability=_FLIP,
        subset_of=subset_of,
        label_rng=trials.rng,
        noise_rng=trials.rng,
        flip_rng=trials.rng,
    )


def _unlabelled(trials: Trials, balanced: bool) -> Unlabelled:
    return draw_unlabelled(
        Space(40),
        10,
        sigma_p=1.0,
        projected=True,
        balanced=balanced,
        overlap=0.0,
        fixed_views=False,
        label_rng=trials.rng,
        noise_rng=trials.rng,
        view_rng=trials.rng,
    )


def _often(name: str, probability: float, events: Any) -> Comparison:
    found = np.asarray(events)
    return frequency(name, probability, int(found.sum()), found.size)


def _fair(name: str, labels: Floats) -> list[Comparison]:
    """Labels are +1 half of the time, and neighbours agree half of the time (disjoint pairs)."""
    pairs = labels[:, ::2] == labels[:, 1::2]
    return [_often(f"{name}: +1", 0.5, labels > 0), _often(f"{name}: equal pairs", 0.5, pairs)]


def _sets(trials: Trials) -> list[Comparison]:
    """Labels of samples, fresh and chosen among unlabelled ones: fair, flipped at their rate."""
    repeats = trials.pick(400, 3000)
    comparisons: list[Comparison] = []
    for balanced in (False, True):
        unlabelled = [_unlabelled(trials, balanced) for _ in range(repeats)]
        kinds = {
            "fresh": [_labelled(trials, balanced) for _ in range(repeats)],
            "subset": [_labelled(trials, balanced, u) for u in unlabelled],
        }
        latent = np.array([u.labels for u in unlabelled])
        for kind, sets in kinds.items():
            true, seen = (np.array([getattr(s, name) for s in sets]) for name in ("true_labels", "labels"))
            comparisons += _flips(f"{kind}, balanced" if balanced else kind, true, seen)
            if balanced:
                comparisons += _exactly_half(kind, true, latent)
            else:
                comparisons += _fair(f"{kind}: observed labels", seen)
                good = _balanced_sets(seen, _SHARE)
                comparisons.append(_often(f"{kind}: both classes, n = 6", balance_probability(6), good))
        comparisons += _subsets("balanced subset" if balanced else "subset", kinds["subset"], unlabelled)
    return comparisons


def _flips(name: str, true: Floats, seen: Floats) -> list[Comparison]:
    """Observed labels differ from true ones at their rate, from +1 as often as from -1."""
    return [
        _often(f"{name}: flipped", _FLIP, true != seen),
        _often(f"{name}: +1 flipped", _FLIP / 2, (true > 0) & (seen < 0)),
    ]


def _exactly_half(kind: str, true: Floats, latent: Floats) -> list[Comparison]:
    """Balanced sets have half the labels of either sign, in random order: C3 (7)."""
    unequal = np.abs(true.sum(axis=1)).sum() + np.abs(latent.sum(axis=1)).sum()
    return [
        equals(f"{kind}, balanced: surplus of a sign", 0, unequal),
        equals(f"{kind}, balanced: size", 6, true.shape[1]),
        _often(f"{kind}, balanced: the first is +1", 0.5, true[:, 0] > 0),
        _often(f"{kind}, balanced: the first two agree", 2 / 5, true[:, 0] == true[:, 1]),
    ]


def _subsets(kind: str, chosen: list[Labelled], of: list[Unlabelled]) -> list[Comparison]:
    """Labelled samples are unlabelled ones with their labels, none comes twice, all come equally often."""
    sound = first = 0
    for labelled, unlabelled in zip(chosen, of, strict=True):
        same = (labelled.noise[:, None] == unlabelled.noise).all(axis=2)
        once = (same.sum(axis=1) == 1).all() and (same.sum(axis=0) <= 1).all()
        sound += bool(once and np.array_equal(same @ unlabelled.labels, labelled.true_labels))
        first += int(same[:, 0].any())
    return [
        equals(f"{kind}: sets in which it is one", len(chosen), sound),
        frequency(f"{kind}: the first unlabelled sample is in it", 6 / 10, first, len(chosen)),
    ]


def _instances(trials: Trials) -> list[Comparison]:
    """The labels of an experiment."""
    e = Experiment(
        data={"dim": 100}, network={"filters": 1}, pretraining={"samples": 8}, finetuning={"samples": 6}
    ).resolved()
    repeats = trials.pick(60, 600)
    instances = [draw(e, seed) for seed in trials.seeds(repeats, repeats)]
    latent = np.array([i.unlabelled.labels for i in instances if i.unlabelled is not None])
    true = np.array([i.labelled.true_labels for i in instances])
    seen = np.array([i.labelled.labels for i in instances])
    return [
        *_fair("draw: unlabelled", latent),
        *_fair("draw: labelled", seen),
        equals("draw: flipped where none are", 0, (true != seen).sum()),
        _often("draw: latent label = label", 0.5, latent[:, :6] == seen),
    ]


def _counts() -> list[Comparison]:
    """C3 (2) by counting subsets, Hoeffding's bound, the smallest n, and the rate at large n."""

    def counted(n: int, share: float, positive: float = 0.5) -> float:
        good = [k for k in range(n + 1) if min(k, n - k) >= share * n]
        return math.fsum(math.comb(n, k) * positive**k * (1 - positive) ** (n - k) for k in good)

    smallest = 1 + max(n for n in range(1, 60) if counted(n, _SHARE) < 1 - _DELTA)
    least = 1 + max(n for n in range(1, 60) if counted(n, 0.1) < 0.8)
    bound = balance_samples_bound(_DELTA)
    n = 4000
    short = 2 * sum(math.comb(n, k) for k in range(n // 4)) / 2**n
    expected = math.exp(-n * balance_rate()) * math.sqrt(8 / (3 * math.pi * n)) * (1 - 229 / (36 * n))
    return [
        equals("Hoeffding's share of delta", _DELTA / 2, 2 * math.exp(-bound / 8), order=_EXACT),
        equals(
            "Hoeffding's share of delta = 0.3",
            0.15,
            2 * math.exp(-balance_samples_bound(0.3) / 8),
            order=_EXACT,
        ),
        equals("smallest n", smallest, balance_samples(_DELTA)),
        equals("smallest n, a tenth of the samples", least, balance_samples(0.2, 0.1)),
        equals("rate of a tenth", math.log(2 * 0.1**0.1 * 0.9**0.9), balance_rate(0.1), order=_EXACT),
        equals("failure at n = 4000 / its rate, C3 (6)", 1, short / expected, order=100 / n**2),
        *(
            equals(
                f"counted, n = {n}",
                counted(n, share, positive),
                balance_probability(n, share, positive),
                order=_EXACT,
            )
            for n, share, positive in ((11, 0.25, 0.5), (20, 0.4, 0.5), (7, 0.3, 0.5), (16, 0.25, 0.6))
        ),
    ]


def check(
    trials: Trials, *, samples: int | None = None, share: float = _SHARE, positive: float = 0.5
) -> Outcome:
    """Sets with a class short of n/4 against delta and against the binomial law, for all that draws labels.

    ``samples`` replaces the number that C3 (1) asks for, ``share`` the quarter that is counted, ``positive``
    the probability of a label +1.
    """
    needed = math.ceil(balance_samples_bound(_DELTA)) if samples is None else samples
    ladder = _ladder(trials, share, positive)
    comparisons = [
        _statement(trials, needed, share, positive),
        *ladder,
        *_sets(trials),
        *_instances(trials),
        *_counts(),
    ]
    return Outcome(comparisons, trials.pick(2000, 20000), {"samples": np.array(_LADDER)})


def figure(evidence: Evidence) -> Figure:
    """Probability that a class is short of n/4 against n: law, Hoeffding's bound, measured, control."""
    from numsim.shown.claim_figures import CONTROL, PREDICTED, measured_points, panels

    drawn, (axes,) = panels()
    n = np.arange(4, 61)
    short = np.array([1 - balance_probability(int(k)) for k in n])
    axes.semilogy(n, short, **{**PREDICTED, "marker": ".", "markersize": 4})
    axes.semilogy(n, np.minimum(1, 2 * np.exp(-n / 8)), color="0.5", linewidth=1.2, label="Hoeffding's bound")
    axes.semilogy(
        n, [1 - balance_probability(int(k), 0.4) for k in n], **{**CONTROL, "label": "control, 0.4 n"}
    )
    found = evidence.outcome.comparisons[1 : 1 + len(_LADDER)]
    middle = np.array([1 - c.measured for c in found])
    interval = 1 - np.array([c.interval for c in found])
    measured_points(axes, evidence.outcome.data["samples"], middle, np.abs(interval.T - middle))
    axes.axhline(_DELTA, color="0.5", linewidth=0.8, linestyle=":", label=r"$\delta$")
    axes.axvline(
        balance_samples_bound(_DELTA), color="0.5", linewidth=0.8, linestyle="-.", label=r"$8\log(4/\delta)$"
    )
    axes.set(xlabel="samples $n$", ylabel="P(a class has fewer than $n/4$)", ylim=(1e-4, 1.5))
    axes.legend()
    return drawn


CLAIM = Claim(
    id="C3",
    title="Both classes have at least a quarter of the samples",
    source="Cao et al. 2022, appendix B; exact probability new here",
    statement=r"n \ge 8 \log(4/\delta) \;\Rightarrow\; "
    r"\mathbb{P}\left( n/4 \le \lvert \{ i : y_i = 1 \} \rvert \le 3n/4 \right) \ge 1 - \delta",
    check=check,
    controls={
        "10 samples where 36 are asked for": {"samples": 10},
        "0.4 n for n/4": {"share": 0.4},
        "P(y = +1) = 0.55": {"positive": 0.55},
    },
    theory=("balance_probability", "balance_rate", "balance_samples", "balance_samples_bound"),
    figure=figure,
)
