"""Single activations on their way to the blow-up, over ladders of step size and initial scale: for S1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.descent.supervised import train_dictionary
from numsim.models.signal_noise import Labelled, signal_noise_dictionary
from numsim.models.space import Space, pad
from numsim.theory import race

__all__ = ["FEEDBACK_AT", "KINDS", "LEVEL_AT", "REMAINDERS", "RUNGS", "Duel", "Run", "duel"]

Floats = npt.NDArray[np.float64]

KINDS = ("signal", "noise", "delayed")
"""Who races: the signal far ahead, the median noise patch far ahead, the signal behind half the samples."""
REMAINDERS = (10.0, 30.0, 90.0)
"""R = (level/a_0)^(q-2), so that 1/R of the time is missing at the level: the ladder of initial scales."""
RUNGS = (10.0, 20.0, 40.0)
"""Steps to the blow-up in units of R: the ladder of step sizes (all of it at the middle scale)."""
LEVEL_AT, FEEDBACK_AT = 0.05, 0.2
"""Outputs (s/m) a^q at which the steps are read: low, where |l'| = 1/2, and higher, where it is less."""

_LADDER = [(r, c) for r in REMAINDERS for c in RUNGS[:2]] + [(REMAINDERS[1], RUNGS[2])]
_DIM = 10**14
_FILTERS = 4
_SIGNS = np.array([1.0] * 6 + [-1.0] * 2)  # times j: a large and a small class
_FLIPPED = np.array([-1.0] + [1.0] * 7)  # one label: n_j = 4 and 2, observed classes of 5 and 3
_LEAD = 50.0
_SMALLEST = 0.2  # start that may race, in standard deviations
_FASTEST = 1.8  # times the median start: a patch that blows up in a few steps overshoots, into the cross-talk
_SECOND = 0.8  # of the racer's start that the next filter may have: it would share the output


class Run(NamedTuple):
    """One training: a_0, the class's b_0i, eta, steps to LEVEL_AT and to FEEDBACK_AT (NaN: not reached)."""

    signal_start: float
    noise_starts: Floats
    rate: float
    low: float
    high: float


class Duel(NamedTuple):
    """One activation's trainings by (R, c).

    settings : keywords of ``race`` but for the starts, n_j and the step size; class_samples : n_j;
    feedback : F of S1 (9); levels : the activations at LEVEL_AT and FEEDBACK_AT.
    """

    kind: str
    settings: Mapping[str, Any]
    class_samples: float
    feedback: float
    levels: tuple[float, float]
    runs: Mapping[tuple[float, float], Run]


class _Field(NamedTuple):
    """An instance of unit initial scale but for mu, and who races in it.

    along : (m,) j <w_jr, mu> / |mu| and noise (m, n_class) <w_jr, xi_i> of the class with index ``side``.
    middle : the class's sample with the median start, an index into labelled.
    """

    W: Floats
    labelled: Labelled
    side: int
    along: Floats
    noise: Floats
    middle: int

    @property
    def own(self) -> Floats:
        """1 for every sample of the class that kept its label, -1 for those that did not."""
        label = 1.0 - 2.0 * self.side
        own: Floats = self.labelled.labels[self.labelled.true_labels == label] * label
        return own


def _field(rng: np.random.Generator, kind: str, sigma_p: float) -> _Field:
    """Draw until starts are not tiny, one filter leads clearly, and the median sample kept its label."""
    while True:
        j = float(rng.choice([-1.0, 1.0]))
        side = int(rng.integers(2)) if kind != "delayed" else int(j < 0)
        flipped = _FLIPPED if kind != "delayed" else 1.0
        space = Space(_DIM)
        W = space.draw(2 * _FILTERS, 1 / (sigma_p * math.sqrt(_DIM)), rng)
        patches = space.draw(len(_SIGNS), sigma_p, rng, projected=True)
        W = pad(W, space.revealed).reshape(2, _FILTERS, -1)
        W[1 - side] *= 0.01  # the other class stays out of it
        labelled = Labelled(j * _SIGNS, j * _SIGNS * flipped, patches)
        label = 1.0 - 2.0 * side
        members = np.flatnonzero(labelled.labels == label)
        noise = W[side] @ patches[members].T
        starts = noise.max(axis=0)
        along = label * W[side, :, 0] * sigma_p * math.sqrt(_DIM)
        median = int(np.argsort(starts)[len(starts) // 2])  # classes are odd: a sample of it
        middle = int(members[median])
        second, first = np.sort(noise[:, median] if kind == "noise" else along)[-2:]
        kept = labelled.labels[middle] == labelled.true_labels[middle]
        # A filter far along -mu, or a flipped sample's noise, would bring an output to begin with.
        fair = min(along.max(), starts.min()) > _SMALLEST and along.max() > -along.min()
        fair = fair and np.max(W[side] @ patches.T) < _FASTEST * starts[median]
        if kept and fair and second < _SECOND * first:
            return _Field(W, labelled, side, along, noise, middle)


def _ratio(kind: str, starts: Floats, q: float) -> float:
    """T_noise / T_signal, with the median start, that gives the racer its place."""
    times = np.sort(starts ** (2 - q)) * np.median(starts) ** (q - 2)  # in units of the median sample's
    if kind == "signal":
        return _LEAD / float(times[0])
    if kind == "noise":
        return 1 / _LEAD
    half = len(times) // 2
    finish = math.sqrt(times[half - 1] * times[half])
    return float(1 / np.mean(np.minimum(times, finish)))


@lru_cache(maxsize=4096)  # a check and its controls look at the same duels
def duel(seed: int, kind: str) -> Duel:
    """Race one activation at every rung of both ladders."""
    rng = np.random.default_rng(seed)
    q = float(rng.choice([2.5, 3.0, 4.0, 5.0]))
    scale, sigma_p = math.exp(rng.uniform(-1, 1)), math.exp(rng.uniform(-1, 1))
    field = _field(rng, kind, sigma_p)
    count, starts = float(field.own.sum()), field.noise.max(axis=0)
    middle = float(np.median(starts))
    snr = (_ratio(kind, starts, q) / count * (middle / field.along.max()) ** (q - 2)) ** (1 / q)
    settings = {
        "samples": len(_SIGNS),
        "filters": _FILTERS,
        "q": q,
        "signal_norm": snr * sigma_p * math.sqrt(_DIM),
        "noise_norm": sigma_p * math.sqrt(_DIM),
        "output_scale": scale,
    }
    low, high = ((f * _FILTERS / scale) ** (1 / q) for f in (LEVEL_AT, FEEDBACK_AT))
    signal = snr * float(field.along.max())
    runs = {}
    for remainder, rung in _LADDER if kind != "delayed" else _LADDER[2:6]:
        shrink = low / (middle if kind == "noise" else signal) * remainder ** (-1 / (q - 2))
        found = race(
            signal_start=shrink * signal,
            noise_start=shrink * middle,
            class_samples=count,
            learning_rate=1.0,
            **settings,
        )
        wanted = rung * remainder * max(1.0, 1 / (q - 2))
        rate = (found.noise_time if kind == "noise" else found.signal_time) / wanted
        passed = _crossings(
            field,
            kind,
            shrink,
            settings,
            rate,
            int((2 if kind == "delayed" else 1) * 1.2 * wanted) + 50,
            (low, high),
        )
        runs[remainder, rung] = Run(shrink * signal, shrink * starts, rate, *passed)
    feedback = scale / _FILTERS * (len(field.own) / count if kind == "signal" else 1.0)
    return Duel(kind, settings, count, feedback, (low, high), runs)


def _crossings(
    field: _Field,
    kind: str,
    shrink: float,
    settings: Mapping[str, Any],
    rate: float,
    most: int,
    levels: tuple[float, float],
) -> tuple[float, float]:
    """Steps at which the racer passes the levels; between steps as in the flow, where a^(2-q) is linear."""
    q, mu = settings["q"], np.zeros(field.W.shape[2])
    mu[0] = settings["signal_norm"]
    dictionary = signal_noise_dictionary(mu, field.labelled)
    column = 2 + field.middle if kind == "noise" else field.side
    W = shrink * field.W
    starts = W[field.side] @ dictionary.vectors[column]
    _, run = train_dictionary(
        W,
        dictionary,
        q=q,
        output_scale=settings["output_scale"],
        learning_rate=rate,
        max_steps=most,
        target_loss=0.0,
        record=most + 1,
    )
    racer = int(np.argmax(starts))
    moved = run.recorded_coefficients[:, field.side * _FILTERS + racer] @ dictionary.gram()[:, column]
    path = starts[racer] + moved

    def passed(level: float) -> float:
        after = int(np.argmax(path >= level))
        if after == 0:
            return math.nan
        x = np.array([path[after - 1], level, path[after]]) ** (2 - q)
        return after - 1 + float((x[0] - x[1]) / (x[0] - x[2]))

    return passed(levels[0]), passed(levels[1])
