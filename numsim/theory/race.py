"""The race between signal and noise in supervised training (S1), and its outcome (S4).

While |l'| = 1/2, the largest activation of a class grows as da/dt = k a^(q-1), which blows up at
1 / (k (q - 2) a_0^(q-2)) for q > 2. For the signal all n_j samples of the class push the same direction,
k = eta s q |mu|^2 n_j / (2 n m); a noise patch is pushed by its own sample alone,
k = eta s q sigma_p^2 d / (2 n m), s the output scale. The signal is first iff
n_j SNR^2 (a_0 / b_0)^(q-2) > 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .powers import power

__all__ = ["Race", "race"]


class Race(NamedTuple):
    """Blow-up times in steps (inf: never) and the ratio t_noise / t_signal; the signal wins above 1."""

    signal_time: float
    noise_time: float
    ratio: float

    @property
    def winner(self) -> str:
        """The predicted winner: "signal" or "noise"."""
        return "signal" if self.ratio > 1 else "noise"


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
    """Blow-up times of one class and who wins, at leading order.

    t_signal = 2 n m / (n_j eta s q (q-2) |mu|^2 a_0^(q-2)),
    t_noise  = 2 n m / (eta s q (q-2) sigma_p^2 d b_0^(q-2)).

    Parameters
    ----------
    signal_start : a_0 = max_r j <w_jr, mu>; noise_start : b_0, the median over the class's samples of
        max_r <w_jr, xi_i> for generalisation, the maximum for the first memorised sample.
    class_samples : n_j, with label flips the samples that keep their label minus those that do not.
    samples : n; filters : m; q : activation power; signal_norm : |mu|; noise_norm : sigma_p sqrt(d);
    learning_rate : eta; output_scale : s.

    Raises ValueError for q <= 2, where nothing blows up. Source: theory.md S1.
    """
    if not q > 2:
        raise ValueError(f"q is {q}: activations blow up in finite time only for q > 2")
    rate = learning_rate * output_scale * q * (q - 2) / (2 * samples * filters)

    def time(strength: float, start: float) -> float:
        pull = rate * strength * power(max(start, 0.0), q - 2)
        return 1 / pull if pull > 0 else math.inf

    signal = time(max(class_samples, 0.0) * signal_norm**2, signal_start)
    noise = time(noise_norm**2, noise_start)
    if math.isinf(signal):
        return Race(signal, noise, 0.0)
    return Race(signal, noise, noise / signal if signal > 0 else math.inf)
