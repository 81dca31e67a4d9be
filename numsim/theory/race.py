"""The race between signal and noise in supervised training: who blows up when (S1), what decides it (S4).

While |l'| = 1/2 an activation grows as da/dt = k a^(q-1), S1 (3), and blows up after 1 / (k (q-2) a_0^(q-2))
steps. For the signal all samples of the class push one direction, k = eta s q |mu|^2 n_j / (2 n m); a noise
patch is pushed by its own sample alone, k = eta s q sigma_p^2 d / (2 n m), s the output scale. The signal is
first iff n_j SNR^2 (a_0 / b_0)^(q-2) > 1. A sample stops pushing the signal once its noise is memorised; with
that the race is known to the end, S1 (12), and fine-tuning succeeds above an exact ratio, S4 (3).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .powers import closed_form, power

__all__ = ["Race", "critical_ratio", "delayed_signal_time", "noise_power_mean", "race", "steps_to_reach"]


class Race(NamedTuple):
    """Blow-up times in steps (inf: never) and the ratio t_noise / t_signal; the signal wins above 1."""

    signal_time: float
    noise_time: float
    ratio: float

    @property
    def winner(self) -> str:
        """The predicted winner: "signal" or "noise"."""
        return "signal" if self.ratio > 1 else "noise"


@closed_form
def race(
    *,
    signal_start: float,
    noise_start: float,
    class_samples: float,
    samples: int,
    filters: int,
    q: float,
    signal_norm: float,
    noise_norm: float,
    learning_rate: float,
    output_scale: float = 1.0,
) -> Race:
    """Blow-up times of one class and who wins, at leading order: S1 (5) and S1 (6).

    t_signal = 2 n m / (n_j eta s q (q-2) |mu|^2 a_0^(q-2)),
    t_noise  = 2 n m / (eta s q (q-2) sigma_p^2 d b_0^(q-2)).

    Parameters
    ----------
    signal_start : a_0 = max_r j <w_jr, mu>; noise_start : b_0, the median over the class's samples of
        max_r <w_jr, xi_i> for generalisation, the maximum for the first memorised sample.
    class_samples : n_j, the samples of true label j; with label flips those that keep their label minus those
        that do not.
    samples : n; filters : m; q : activation power; signal_norm : |mu|; noise_norm : sigma_p sqrt(d);
    learning_rate : eta; output_scale : s.

    Raises ValueError for q <= 2, where nothing blows up.
    """
    _check(q)
    rate = learning_rate * output_scale * q * (q - 2) / (2 * samples * filters)

    signal = blow_up_time(rate * (max(class_samples, 0.0) * signal_norm**2), signal_start, q)
    noise = blow_up_time(rate * noise_norm**2, noise_start, q)
    if math.isinf(signal):
        return Race(signal, noise, 0.0)
    return Race(signal, noise, noise / signal if signal > 0 else math.inf)


def blow_up_time(rate: float, start: float, q: float) -> float:
    """1/(c x_0^(q-2)), when dx/dt = c x^(q-1)/(q-2) blows up, S1 (4); inf where nothing moves."""
    pull = rate * power(max(start, 0.0), q - 2)
    return 1 / pull if pull > 0 else math.inf


@closed_form
def steps_to_reach(level: float, *, start: float, blow_up: float, q: float, feedback: float = 0.0) -> float:
    """Steps of gradient descent from a_0 = ``start`` to a = ``level``, S1 (10).

    t = T (1 - (a_0/a)^(q-2)) + (q-1)/2 log(a/a_0) + (q-2)/4 F T a_0^(q-2) (a^2 - a_0^2):
    the flow, that descent in steps is slower, and that the pull |l'| < 1/2 falls as the output F a^q grows.

    level : a >= a_0 > 0; blow_up : T of ``race`` (inf: no step leads anywhere); q : activation power, > 2.
    feedback : F = s/m, with label flips times (kept + flipped) / (kept - flipped) for the signal. 0: steps
        of full pull, which S1 (11) adds up.
    """
    _check(q)
    if not 0 < start <= level < math.inf:
        raise ValueError(f"start is {start} and level is {level}, expected numbers with 0 < start <= level")
    if math.isinf(blow_up):  # without pull
        return 0.0 if level == start else math.inf
    rise = (level - start) / start  # exact up to level = 2 start, where a quotient has lost its digits
    growth = math.log1p(rise) if rise <= 1 else math.log(level / start)
    flow = blow_up * -math.expm1(-(q - 2) * growth)
    slack = (q - 2) / 4 * feedback * blow_up * start ** (q - 2) * (level - start) * (level + start)
    return float(flow + (q - 1) / 2 * growth + slack)


@closed_form
def delayed_signal_time(signal_time: float, noise_times: npt.ArrayLike) -> float:
    """When the signal blows up, given that memorised samples stop pulling: S1 (12); inf: never.

    The time t at which the mean over the class's samples of min(t, T_i) is T_signal.
    signal_time : T_signal of ``race``; noise_times : T_i, one a sample of the class, inf allowed.
    """
    times = np.sort(np.asarray(noise_times, dtype=np.float64))
    needed = signal_time * len(times)
    gone = 0.0  # what samples memorised by now have contributed
    for memorised, latest in enumerate(times.tolist()):
        pulling = len(times) - memorised
        if gone + pulling * latest > needed:
            return (needed - gone) / pulling
        gone += latest
    return math.inf


@closed_form
def noise_power_mean(noise_starts: npt.ArrayLike, q: float) -> float:
    """The b_0 that decides fine-tuning: the power mean (mean_i b_0i^(2-q))^(1/(2-q)), S4 (2).

    noise_starts : b_0i = max_r <w_jr, xi_i>, one a sample of the class; q : activation power, > 2.
    A sample with b_0i <= 0 is never memorised: with one the mean is 0, and any signal is learned in the end.
    """
    _check(q)
    starts = np.asarray(noise_starts, dtype=np.float64)
    if not starts.size:
        raise ValueError("noise_starts is empty, expected at least one sample of the class")
    if starts.min() <= 0:
        return 0.0
    mean = float(np.mean(starts ** (2 - q)))
    if not 0 < mean < math.inf:  # in units of the smallest, by which they are apart
        least = float(starts.min())
        return least * float(np.mean((starts / least) ** (2 - q)) ** (1 / (2 - q)))
    return float(mean ** (1 / (2 - q)))


@closed_form
def critical_ratio(class_samples: float, snr: float, q: float) -> float:
    """Signal ratio a_0 / b_0 above which fine-tuning learns a class: (n_j SNR^2)^(-1/(q-2)), S4 (3).

    class_samples : n_j, of the smaller class if both are to be learned; snr : |mu| / (sigma_p sqrt(d));
    q : activation power, > 2. inf where there is no sample, or no signal: no start is enough.
    """
    _check(q)
    return power(class_samples * snr**2, -1 / (q - 2))


def _check(q: float) -> None:
    if not q > 2:
        raise ValueError(f"q is {q}: activations blow up in finite time only for q > 2")
