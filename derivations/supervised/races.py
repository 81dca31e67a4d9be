"""Random experiments of supervised training, and who won the race in them: for S1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.config import Experiment
from numsim.runs.draw import Instance, draw
from numsim.runs.prediction import compare
from numsim.runs.simulate import Arm, simulate
from numsim.theory import Race, outcome_ratio, race, steps_to_reach

__all__ = ["NEAR", "Contest", "contest"]

Floats = npt.NDArray[np.float64]

NEAR = 1.15
"""Ratios S1 (13) within this factor of 1 are not run: filters and steps of finite size decide there."""

_LONGEST = 3000.0  # predicted steps of a race that is run; more would be waiting
_DECIDED = 0.1  # output of an activation alone above which it has blown up
_BUDGET = 200_000  # steps of training; the races last some hundreds, the slowest sample's some thousands
_SLOWEST = 10_000.0  # predicted steps until the last sample is memorised


class Contest(NamedTuple):
    """One class of one random experiment, before and after training.

    settings : keywords of ``race`` but for the starts and n_j; signal_start : a_0; noise_starts : b_0i of the
    class's samples; class_samples : n_j; clean : no label was flipped. learned : whether the signal's own
    output was above 1/10 at a training loss of 0.01; snr : SNR; table : largest relative deviation of
    ``prediction.compare``'s numbers from those recomputed here, inf where its winners differ. For S1 (11):
    signal : (2,) start and end of max_r j <w_jr, mu>; noise : (n_class, 2) the same of the noise of samples
    whose true label is j, on the filters of their observed sign; weights : (n_class,) 1 where the label was
    kept, -1 where it was flipped.
    """

    settings: Mapping[str, Any]
    signal_start: float
    noise_starts: Floats
    class_samples: float
    clean: bool
    learned: bool
    snr: float
    table: float
    signal: Floats
    noise: Floats
    weights: Floats

    def budget(self, flips: bool = True) -> float:
        """S1 (13) of the class; flips : whether samples with a flipped label pull the other way."""
        kept, starts = self.weights > 0, self.noise[:, 0]
        against = starts[~kept] if flips else ()
        return outcome_ratio(
            self.signal_start, starts[kept], snr=self.snr, q=self.settings["q"], flipped=against
        )


def _random_experiment(rng: np.random.Generator) -> Experiment:
    """Any q, m, n, scales and flips, around n SNR^q = 1; races of a few hundred steps."""
    q = float(rng.choice([3.0, 4.0, 5.0]) if rng.random() < 0.5 else rng.uniform(2.5, 5.0))
    n = int(rng.integers(4, 31))
    b_0 = (0.09 * math.exp(rng.uniform(-1, 1)) / (q * (q - 2))) ** (1 / (q - 2))
    return Experiment(
        seed=int(rng.integers(2**63)),
        data={
            "dim": 1e14,
            "snr": n ** (-1 / q) * math.exp(rng.uniform(0.0, 0.45)),
            "sigma_p": math.exp(rng.uniform(-1, 1)),
            "flip_probability": float(rng.choice([0.0, 0.1])),
        },
        network={
            "filters": int(rng.integers(5, 21)),
            "q": q,
            "output_scale": math.exp(rng.uniform(-1, 1)),
            "relative_init_scale": b_0,
        },
        pretraining={"samples": 0},
        finetuning={"samples": n, "target_loss": 0.01, "max_steps": _BUDGET},
        evaluation={"samples": 2},
    ).resolved()


def _activations(W: Floats, instance: Instance, side: int) -> tuple[float, Floats]:
    """max_r <w_jr, j mu>, and max_r <w_jr, xi_i> for every i, of filters W (2, m, D); j = +1 is side 0."""
    j = 1.0 - 2.0 * side
    noise = instance.labelled.noise
    return float(np.max(j * (W[side] @ instance.mu))), np.max(W[side] @ noise.T, axis=0)


def _own(W: Floats, instance: Instance) -> Floats:
    """(n,) max_r <w_jr, xi_i>, j the sample's observed label."""
    labelled = instance.labelled
    inner = W @ labelled.noise.T
    own: Floats = np.max(inner, axis=1)[
        (labelled.labels < 0).astype(np.int64), np.arange(len(labelled.labels))
    ]
    return own


@lru_cache(maxsize=4096)  # a check and its controls look at the same contests
def contest(seed: int) -> Contest:
    """Draw experiments until the ratio S1 (13) of a class, chosen by coin, is not near 1; train."""
    rng = np.random.default_rng(seed)
    while True:
        e = _random_experiment(rng)
        side = int(rng.integers(2))
        instance = draw(e)
        labelled, j = instance.labelled, 1.0 - 2.0 * side
        members, of_class = labelled.labels == j, labelled.true_labels == j
        if not members.any():
            continue
        settings: dict[str, Any] = {
            "samples": e.finetuning.samples,
            "filters": e.network.filters,
            "q": e.network.q,
            "signal_norm": e.signal_norm,
            "noise_norm": e.noise_norm,
            "learning_rate": e.finetuning.learning_rate,
            "output_scale": e.network.output_scale,
        }
        count = float(np.sum(labelled.labels[of_class] * j))
        W = instance.filters[instance.order].reshape(2, e.network.filters, -1)
        start, starts = _activations(W, instance, side)
        expected = race(
            signal_start=start, noise_start=float(np.median(starts[members])), class_samples=count, **settings
        )
        own, kept = _own(W, instance), labelled.labels[of_class] == j
        slowest = expected.noise_time * (np.median(starts[members]) / max(own.min(), 1e-300)) ** (
            e.network.q - 2
        )
        pulling, against = own[of_class][kept], own[of_class][~kept]
        budget = outcome_ratio(start, pulling, snr=e.snr, q=e.network.q, flipped=against)
        if 1 / NEAR <= budget <= NEAR or min(expected[:2]) > _LONGEST or slowest > _SLOWEST:
            continue
        early = _early(rng, expected, start, starts[members], settings)
        return _held(e, instance, side, settings, count, early)


def _early(
    rng: np.random.Generator, expected: Race, start: float, starts: Floats, settings: Mapping[str, Any]
) -> int:
    """Steps at which the predicted winner's output is about half or twice what makes a winner."""
    signal = expected.winner == "signal"
    begin = start if signal else float(np.median(starts))
    output = _DECIDED * float(rng.choice([0.5, 2.0]))
    level = (output * settings["filters"] / settings["output_scale"]) ** (1 / settings["q"])
    if begin >= level:
        return 0
    blow_up = expected.signal_time if signal else expected.noise_time
    return int(steps_to_reach(level, start=begin, blow_up=blow_up, q=settings["q"]))


def _held(
    e: Experiment, instance: Instance, side: int, settings: Mapping[str, Any], count: float, early: int
) -> Contest:
    """Train, once to ``early`` steps and once to the end, and read off both ends."""
    labelled, j = instance.labelled, 1.0 - 2.0 * side
    members, of_class = labelled.labels == j, labelled.true_labels == j
    tables = []
    for changes in ({"finetuning.max_steps": early, "finetuning.target_loss": 0.0}, {}):
        run = e.replace(changes)
        simulation = simulate(run, instance)
        arm, row = simulation.direct, compare(simulation)["race"]["direct"][f"{j:+.0f}"]
        start, starts = _activations(arm.initial, instance, side)
        end, ends = _activations(arm.filters, instance, side)
        winner = _winner(run, arm, end, ends[members])
        tables.append(_table(row, start, starts[members], count, settings, winner))
    # A flipped sample's noise is learned by the filters of the other sign.
    _, other_starts = _activations(arm.initial, instance, 1 - side)
    _, other_ends = _activations(arm.filters, instance, 1 - side)
    own = labelled.labels[of_class] == j
    pairs = np.stack(
        [
            np.where(own, starts[of_class], other_starts[of_class]),
            np.where(own, ends[of_class], other_ends[of_class]),
        ],
        axis=1,
    )
    return Contest(
        settings,
        start,
        starts[members],
        count,
        bool((labelled.labels == labelled.true_labels).all()),
        e.network.output_scale / e.network.filters * max(end, 0.0) ** e.network.q > _DECIDED,
        e.snr,
        max(tables),
        np.array([start, end]),
        pairs,
        np.where(own, 1.0, -1.0),
    )


def _winner(e: Experiment, arm: Arm, signal: float, noise: Floats) -> str:
    """The larger of a and median b_i at the last step, if its output (s/m) x^q is above 1/10."""
    assert arm.descent is not None
    larger = max(signal, float(np.median(noise)))
    if e.network.output_scale / e.network.filters * max(larger, 0.0) ** e.network.q <= _DECIDED:
        return "undecided"
    return "signal" if larger == signal else "noise"


def _table(
    row: Mapping[str, Any],
    start: float,
    starts: Floats,
    count: float,
    settings: Mapping[str, Any],
    winner: str,
) -> float:
    """Largest relative deviation of a row of ``prediction.compare`` from its definition."""
    middle = float(np.median(starts))
    expected = race(signal_start=start, noise_start=middle, class_samples=count, **settings)
    if (row["predicted"], row["measured"], row["samples"]) != (expected.winner, winner, len(starts)):
        return math.inf
    numbers = {"signal_start": start, "noise_start": middle, **expected._asdict()}
    return max(
        0.0 if row[name] == value else abs(row[name] - value) / abs(value) for name, value in numbers.items()
    )
