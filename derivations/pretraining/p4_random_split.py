"""P4: after the random split each half holds filters of both signs, p4_random_split.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, equals, frequency
from numsim.config import Experiment
from numsim.descent.network import split_filters
from numsim.descent.pretraining import pretrain
from numsim.runs.draw import draw
from numsim.theory import split_probability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_FILTERS = (4, 3, 2, 6)
_MANY = 96
"""Filters of a half in the experiments that are read in groups: a multiple of each of the above."""

_EXACT = 1e-12


def _experiment(filters: int) -> Experiment:
    return Experiment(
        data={"dim": 1e6},
        network={"filters": filters},
        pretraining={"samples": 10},
        finetuning={"samples": 2},
    ).resolved()


def _halves(experiment: Experiment, seed: int, sort: bool, beyond: bool) -> Floats:
    """<w, mu> after pre-training, in the two halves of the experiment's own split: (2, m)."""
    instance = draw(experiment, seed)
    assert instance.unlabelled is not None
    rate = experiment.pretraining.learning_rate
    assert rate is not None
    z, z_aug = instance.unlabelled.sums(instance.mu)
    filters, _ = pretrain(
        instance.filters,
        z,
        z_aug,
        learning_rate=rate,
        max_steps=200,
        stop_at_linear_end=not beyond,
        record=2,
    )
    along = filters @ instance.mu
    order = np.argsort(along) if sort else instance.order
    return split_filters(filters, order) @ instance.mu


def _good(halves: Floats, filters: int) -> npt.NDArray[np.bool_]:
    """Whether both halves have both signs, for every ``filters`` neighbours in the halves: (groups,)."""
    groups = halves.reshape(2, -1, filters)
    both = (groups > 0).any(axis=2) & (groups < 0).any(axis=2)
    return np.asarray(both.all(axis=0), dtype=np.bool_)


def _frequency(name: str, filters: int, found: list[npt.NDArray[np.bool_]], halves: float) -> Comparison:
    good, expected = np.array(found), split_probability(filters) ** (halves / 2)
    return frequency(f"both signs in both halves, {name}", expected, int(good.sum()), good.size)


def _grouped(trials: Trials, repeats: int, halves: float, sort: bool, beyond: bool) -> list[Comparison]:
    """Many filters at once, read in groups of every size."""
    e = _experiment(_MANY)
    found = [_halves(e, seed, sort, beyond) for seed in trials.seeds(repeats, repeats)]
    words = "past the linear stage, m" if beyond else "m"
    return [_frequency(f"{words} = {m}", m, [_good(each, m) for each in found], halves) for m in _FILTERS]


def check(trials: Trials, *, halves: float = 2, later: float | None = None, sort: bool = False) -> Outcome:
    """Frequency of a good split against P4 (3).

    ``halves`` 1 forgets one half at the linear end, ``later`` past it and in small networks (None: as many);
    ``sort`` splits in order.
    """
    later = halves if later is None else later
    repeats, beyond, alone = trials.pick((45, 8, 100), (300, 40, 1000))
    grouped = _grouped(trials, repeats, halves, sort, beyond=False)
    past = _grouped(trials, beyond, later, sort, beyond=True)
    e = _experiment(3)
    single = [_good(_halves(e, seed, sort, False), 3) for seed in trials.seeds(alone, alone)]
    return Outcome(
        [*grouped, *past, _frequency("6 filters in all, m = 3", 3, single, later), *_counted()],
        repeats + beyond + alone,
        {
            "filters": np.array(_FILTERS),
            "good": np.array([c.measured for c in grouped]),
            "interval": np.array([c.interval for c in grouped]),
        },
    )


def _counted() -> list[Comparison]:
    """P4 (3) by listing all 4^m signs."""
    found = []
    for m in (1, 2, 3, 5):
        signs = (np.arange(2 ** (2 * m))[:, None] >> np.arange(2 * m)) % 2
        sums = signs.reshape(-1, 2, m).sum(axis=2)
        share = np.mean(((sums > 0) & (sums < m)).all(axis=1))
        found.append(
            equals(f"all signs listed, m = {m}", float(share), split_probability(m), absolute=_EXACT)
        )
    return found


def figure(evidence: Evidence) -> Figure:
    """Probability of a good split against m: P4 (3), measured with intervals, one half forgotten."""
    from numsim.shown.claim_figures import CONTROL, PREDICTED, measured_points, panels

    drawn, (axes,) = panels()
    m = np.arange(2, 9)
    exact = np.array([split_probability(int(k)) for k in m])
    axes.plot(m, exact, **PREDICTED)
    axes.plot(m, np.sqrt(exact), **{**CONTROL, "label": "control, one half forgotten"})
    data = evidence.outcome.data
    measured_points(axes, data["filters"], data["good"], np.abs(data["interval"].T - data["good"]))
    axes.set(xlabel="filters in a half, $m$", ylabel="P(both signs in both halves)")
    axes.legend()
    return drawn


CLAIM = Claim(
    id="P4",
    title="The random split leaves both signs in both halves",
    source="Zhang-Cao, Lemma 5.4",
    statement=r"\mathbb{P}(\text{both signs in both halves}) = (1 - 2^{1-m})^2 \ge 1 - 2^{2-m}",
    check=check,
    controls={
        "one half forgotten": {"halves": 1},
        "one half forgotten at the linear end alone": {"halves": 1, "later": 2},
        "one half forgotten past it": {"later": 1},
        "filters sorted before the split": {"sort": True},
    },
    theory=("split_probability",),
    figure=figure,
)
