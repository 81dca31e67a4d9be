"""Where theory sees the boundary of a sweep: a prediction for a configuration, to be compared cell by cell.

    direct       probability that direct training learns both classes (S2, S5)
    finetuned    the same after pre-training (S5), by the strength SNR^2 R^(q-2) at the linear end
    spectrum     cos^2(v_1, mu) of the power matrix (P2, P6)
    transition   kappa over kappa*, below which v_1 sees nothing of the signal (P2)
    alignment    cos^2(W - W^0, mu): of v_1 up to the end of the linear stage, and what is left of it long
    after
                 (P3, P5)
    relu         test error of ReLU filters with label flips (K1), the median over draws of labels

The boundary is where a probability is 1/2, or where another prediction passes the criterion's threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..config.experiment import Resolved
from ..descent.contrastive import LINEAR_END
from ..models.streams import fixed
from ..runs.prediction import predicted_spectrum, predicted_unit
from ..theory import (
    collective_descent,
    finetuning_strength,
    inverse_active,
    linear_end_ratio,
    memorisation_speed,
    memorised_margin,
    relu_signal,
    relu_test_error,
    success_probability,
)

__all__ = ["CURVES", "Curve"]

Floats = npt.NDArray[np.float64]

_SPLITS = 12  # of n labels into two classes: quantiles of the binomial law where there are more


class Curve(NamedTuple):
    """A prediction for an experiment; probability : of success, else the variable itself."""

    predict: Callable[[Resolved], float]
    probability: bool
    words: str


def _over_splits(e: Resolved, strength: float) -> float:
    """S2 (9) averaged over how many labels of n are +1."""
    n, q, m = e.finetuning.samples, e.network.q, e.network.filters

    def one(plus: int) -> float:
        return success_probability(strength, [plus, n - plus], filters=m, q=q)

    if e.data.balanced:
        return one(n // 2)
    from scipy.stats import binom

    if n <= 2 * _SPLITS:
        return float(sum(binom.pmf(k, n, 0.5) * one(k) for k in range(n + 1)))
    return float(np.mean([one(int(k)) for k in binom.ppf((np.arange(_SPLITS) + 0.5) / _SPLITS, n, 0.5)]))


def _direct(e: Resolved) -> float:
    if not e.network.q > 2 or e.snr == 0:
        return math.nan
    return _over_splits(e, e.snr**e.network.q)


def _finetuned(e: Resolved) -> float:
    """With sigma_0 in units of sqrt(tau), in which the stage ends at max |s| = 0.3."""
    if not e.network.q > 2 or e.kappa == 0 or e.pretraining.overlap > 0:
        return math.nan
    ratio = linear_end_ratio(
        e.kappa,
        samples=e.pretraining.samples,
        dim=e.data.dim,
        filters=e.network.filters,
        relative_init_scale=e.relative_init_scale / math.sqrt(e.pretraining.temperature),
        threshold=LINEAR_END,
    )
    return _over_splits(e, finetuning_strength(e.snr, ratio, e.network.q))


def _spectrum(e: Resolved) -> float:
    return predicted_spectrum(e).alignment if e.pretraining.samples else math.nan


def _transition(e: Resolved) -> float:
    """1/2 at the transition, where v_1 begins to see the signal."""
    threshold = predicted_spectrum(e).threshold
    return e.kappa / (e.kappa + threshold) if e.pretraining.samples and e.kappa > 0 else math.nan


def _alignment(e: Resolved) -> float:
    """The descent in three variables, from the filters' expected overlaps with the modes, P5 (13)."""
    n0, m = e.pretraining.samples, e.network.filters
    if not n0 or e.kappa == 0:
        return math.nan
    unit = predicted_unit(e)
    # sum over 2m filters of <w_r, v_1>^2, times sigma_p^2 d / (n0 tau)
    energy = 2 * m * e.init_scale**2 * e.noise_norm**2 / (n0 * e.pretraining.temperature)
    course = collective_descent(
        e.pretraining.steps,
        kappa=e.kappa,
        samples=n0 + n0 % 2,
        unit=unit,
        energy=energy,
        overlap=e.pretraining.overlap,
        pairs=(n0 + n0 % 2 - 2) * energy,
    )
    return float(course.alignment[-1])


def _relu(e: Resolved) -> float:
    """Median over label draws of K1 (12) after max_steps.

    beta lies between its values for filters that the first step kicks and for those that it does not, by the
    share of that step in a filter's activation.
    x of K1 (11) for class j is beta (clean less flipped samples of j) SNR^2 sqrt(d / bearers of the label j).
    """
    n, m, p = e.finetuning.samples, e.network.filters, e.data.flip_probability
    scale, rate = e.network.output_scale, e.finetuning.learning_rate
    first = rate * scale * e.noise_norm**2 / (2 * n * m)
    kicked = first / (first + e.relative_init_scale)
    inverse = (1 - kicked) * inverse_active(m) + kicked * inverse_active(m, kicked=True)
    speed = memorisation_speed(
        np.array([1 / inverse]),
        samples=n,
        filters=m,
        learning_rate=rate,
        noise_norm=e.noise_norm,
        output_scale=scale,
    )
    margin = float(memorised_margin(e.finetuning.max_steps, speed)[0])
    unit = relu_signal(majority=1.0, own=1.0, snr=e.snr, dim=e.data.dim, inverse=inverse)
    signals = unit * _majorities(n, p, e.data.balanced)
    grid = np.linspace(signals.min(), max(signals.max(), signals.min() + 1e-9), _SIGNALS)
    initial = (e.relative_init_scale * scale / margin) ** 2 * e.data.dim / (n / 2)
    errors = [
        relu_test_error(x, inverse=inverse, filters=m, flip_probability=p, initial=initial) for x in grid
    ]
    return float(np.median(np.interp(signals, grid, errors).mean(axis=0)))


_SIGNALS = 12  # values of x at which K1 (12) is computed; it is smooth
_DRAWS = 400


@lru_cache(maxsize=64)
def _majorities(n: int, flips: float, balanced: bool) -> Floats:
    """(2, draws): samples of a class that keep their label less those that do not, over sqrt(bearers)."""
    rng = fixed()
    plus = np.full(_DRAWS, n // 2) if balanced else rng.binomial(n, 0.5, _DRAWS)
    true = np.stack([plus, n - plus])
    flipped = rng.binomial(true, flips)
    bearers = true - flipped + flipped[::-1]
    result: Floats = (true - 2 * flipped) / np.sqrt(np.maximum(bearers, 1))
    return result


CURVES = {
    "direct": Curve(_direct, True, "half of all runs learn"),
    "finetuned": Curve(_finetuned, True, "half of all runs learn"),
    "spectrum": Curve(_spectrum, False, "alignment of the limit"),
    "transition": Curve(_transition, True, "phase transition"),
    "alignment": Curve(_alignment, False, "descent in two variables"),
    "relu": Curve(_relu, False, "small initial filters"),
}
