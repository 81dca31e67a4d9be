"""Supervised training with a velocity, v <- beta v + g, w <- w - eta v (M1).

An activation that is pushed by k a^(q-1) a step moves, with a velocity that starts at 0, as

    (1 + beta)/2 a'' + (1 - beta) a' = k a^(q-1),                                                          (1)

a flow whose first term is inertia (beta = 0 leaves Euler's 1/2). What inertia does is one number, Lambda =
k a_0^(q-2) (1 + beta)/(2 (1 - beta)^2): where it is small, momentum is gradient descent at eta/(1 - beta).
Clusters that share a signal with unequal strength are n clocks without momentum, M1 (7), and n + 1 numbers
with it, M1 (10). Source: derivations/rules/m1_momentum.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .powers import closed_form, power

__all__ = ["MomentumRace", "cluster_clock", "crossing_inertia", "inertia", "momentum_race", "momentum_steps"]

Floats = npt.NDArray[np.float64]

_SLOW, _FAST = 1e-6, 1e6
"""Lambda below and above which the flow has a closed form to 1e-5."""
_LATE = 1e6
"""Lambda y^(q-2) from which on only inertia counts."""


def _checked(momentum: float, q: float) -> None:
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum!r}, expected a number from 0 to below 1")
    if not 2 < q < math.inf:
        raise ValueError(f"q is {q!r}: activations blow up in finite time only for a finite q > 2")


@closed_form
def inertia(*, start: float, pull: float, momentum: float, q: float) -> float:
    """Lambda = k a_0^(q-2) (1 + beta) / (2 (1 - beta)^2), what a velocity counts in a race: M1 (3).

    start : a_0 >= 0; pull : k, a step without momentum adds k a^(q-1); momentum : beta; q : > 2.
    """
    _checked(momentum, q)
    slow = 1 - momentum
    return pull * power(max(start, 0.0), q - 2) * (1 + momentum) / 2 / slow / slow


@closed_form
def momentum_steps(level: float, *, start: float, pull: float, momentum: float, q: float) -> float:
    """Steps from a_0 = ``start`` at rest to a = ``level`` (inf: the blow-up) at full pull: M1 (1) to (5).

    Between the limits the flow (1) is integrated. Where Lambda (of ``inertia``) is small,

        t = (1 - (a_0/a)^(q-2)) (1-beta)/(k (q-2) a_0^(q-2)) + (q-1) (1+beta)/(2 (1-beta)) log(a/a_0) + ...,

    gradient descent at eta/(1 - beta); where it is large, sqrt((1+beta)/(k q)) times a Beta integral: the
    root of the pull. Half a step is taken off the flow, as the first step moves at once.

    level >= start > 0; pull : k >= 0, 0 leads nowhere (inf); momentum : beta; q : > 2.
    """
    _checked(momentum, q)
    if not 0 < start <= level:
        raise ValueError(f"start is {start} and level is {level}, expected numbers with 0 < start <= level")
    if level == start:
        return 0.0
    strength = inertia(start=start, pull=pull, momentum=momentum, q=q)
    if strength == 0:
        return math.inf
    rise = math.log(level / start) if level / start < math.inf else math.inf
    unit = (1 + momentum) / 2 / (1 - momentum)
    if strength < _SLOW:
        bend = min(rise, -math.log(strength) / (q - 2))
        return unit * (-math.expm1(-(q - 2) * rise) / ((q - 2) * strength) + (q - 1) * bend)
    flow = _inertial if strength > _FAST else _flow
    return max(unit * flow(rise, strength, q) - 0.5, 0.0)


def _inertial(rise: float, strength: float, q: float) -> float:
    """Time of y'' = Lambda y^(q-1) from rest at 1 to e^rise, M1 (5)."""
    from scipy.special import beta as complete
    from scipy.special import betainc

    first, second = 0.5 - 1 / q, 0.5
    share = 1 - float(betainc(first, second, math.exp(-q * rise))) if rise < math.inf else 1.0
    return math.sqrt(q / (2 * strength)) / q * float(complete(first, second)) * share


def _flow(rise: float, strength: float, q: float) -> float:
    """Time of y'' + y' = Lambda y^(q-1) from rest at 1 to e^rise, in l = log y and r = l'."""
    from scipy.integrate import solve_ivp

    late = math.log(_LATE / strength) / (q - 2)
    end = min(rise, late)

    def moved(_: float, state: Floats) -> list[float]:
        l, r = state  # noqa: E741
        return [r, strength * math.exp((q - 2) * l) - r - r * r]

    def there(_: float, state: Floats) -> float:
        return float(state[0] - end)

    there.terminal = True  # type: ignore[attr-defined]
    longest = 4 * (1 / ((q - 2) * strength) + (q - 1) * end + 10)
    found = solve_ivp(moved, (0.0, longest), [0.0, 0.0], method="LSODA", events=there, rtol=1e-9, atol=1e-12)
    time = float(found.t_events[0][0])
    if rise <= late:
        return time
    left = math.exp(-(q - 2) / 2 * late)
    return time + math.sqrt(q / (2 * strength)) * 2 / (q - 2) * (left - math.exp(-(q - 2) / 2 * rise))


@closed_form
def crossing_inertia(q: float) -> float:
    """Lambda above which a filter that starts at rest on the wrong side, -a_0, crosses 0: M1 (6).

    Of the activation sign(z) |z|^q: y'' + y' = Lambda |y|^(q-1), y(0) = -1. Below it, as without momentum,
    the filter creeps up to 0 for ever; above, its velocity carries it to where it grows. 0.859 at q = 3.
    q : > 2.
    """
    from scipy.optimize import brentq

    _checked(0.0, q)
    return math.exp(float(brentq(lambda x: _arrival(math.exp(x), q), -2.0, 2 + math.log(q), xtol=1e-6)))


def _arrival(strength: float, q: float) -> float:
    """The velocity at 0, or minus the distance that is left when the velocity is gone into creeping."""
    from scipy.integrate import solve_ivp

    def moved(_: float, state: Floats) -> list[float]:
        left = max(float(state[0]), 0.0)
        return [-float(state[1]), strength * left ** (q - 1) - float(state[1])]

    def there(_: float, state: Floats) -> float:
        return float(state[0])

    there.terminal = True  # type: ignore[attr-defined]
    found = solve_ivp(moved, (0.0, 60.0), [1.0, 0.0], method="LSODA", events=there, rtol=1e-9, atol=1e-13)
    left, velocity = found.y[:, -1]
    return float(velocity) if found.t_events[0].size else -float(left)


@closed_form
def cluster_clock(
    signal_start: float,
    *,
    of: int,
    strengths: Sequence[float],
    counts: Sequence[float],
    snr: float,
    q: float,
    scale: float,
) -> float:
    """What a sample's clock runs to in all, if its cluster is fitted by the signal alone: M1 (7).

    Theta_k = int_{a_0}^inf (q-2) a^(1-q) g_k / (SNR^2 sum_l n_l c_l^q g_l) da,
    g_l = 1/(1 + exp(s c_l^q a^q/m)),

    without momentum. Nothing is memorised iff b^(2-q) > Theta_k for every sample of every cluster k, b its
    largest activation at the start.

    signal_start : a_0 > 0, the largest of the signal; of : k; strengths, counts : c_l >= 0 and n_l of every
    cluster that shares the signal; snr : |mu|/(sigma_p sqrt(d)) at strength 1; q : > 2; scale : s/m. inf
    where no cluster pulls.
    """
    _checked(0.0, q)
    c, n = np.asarray(strengths, np.float64), np.asarray(counts, np.float64)
    if not (signal_start > 0 and scale > 0 and (c >= 0).all() and (n >= 0).all()):
        raise ValueError("expected a signal_start and a scale above 0, and no strength or count below 0")
    pulls = snr**2 * n * c**q
    if not pulls.any():
        return math.inf
    if not np.isfinite(pulls).all():
        raise OverflowError
    # In u = (a_0/a)^(q-2), from 1 to 0, by Gauss' rule between powers of _PIECE: g_l turn at powers of u.
    log_u, weights = _pieces()
    with np.errstate(over="ignore"):
        f = (c[:, None] * signal_start) ** q * scale * np.exp(-q / (q - 2) * log_u)
    log_g = -np.logaddexp(0.0, f)
    slowest = np.max(log_g[pulls > 0], axis=0)
    weakest = c == np.min(c[pulls > 0])
    gone = ~np.isfinite(slowest)  # beyond float64 the weakest is what is left
    slowest = np.where(gone, 0.0, slowest)
    share = np.exp(log_g[of] - slowest) / np.maximum(pulls @ np.exp(log_g - slowest), _LEAST)
    share = np.where(gone, float(weakest[of]) / float(pulls[weakest].sum()), share)
    return float(share @ weights) * power(signal_start, 2 - q)


_PIECE, _PIECES, _LEAST = 1.5, 120, 1e-300


@lru_cache(maxsize=1)
def _pieces() -> tuple[Floats, Floats]:
    """log u and weights of Gauss' rule on [0, 1], on pieces whose ends are powers of _PIECE, and 0."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    ends = np.concatenate([[0.0], _PIECE ** np.arange(-_PIECES, 1.0)])
    half = np.diff(ends)[:, None] / 2
    u = ends[:-1, None] + half * (nodes + 1)
    return np.log(u).ravel(), (half * weights).ravel()


class MomentumRace(NamedTuple):
    """Ends of descents: steps (...); activations as they started, signal (..., K), noise (..., n, L)."""

    steps: npt.NDArray[np.int64]
    signal: Floats
    noise: Floats


@closed_form
def momentum_race(
    signal_starts: npt.ArrayLike,
    noise_starts: npt.ArrayLike,
    *,
    strengths: npt.ArrayLike,
    filters: int,
    q: float,
    signal_norm: float,
    noise_norm: float,
    learning_rate: float,
    momentum: float = 0.0,
    output_scale: float = 1.0,
    loss: float = 0.01,
    max_steps: int = 100_000,
) -> MomentumRace:
    """Descents of a few leading activations alone to a training loss, a velocity each: M1 (10).

    f_i = (s/m) (c_i^q sum_k a_k^q + sum_l b_il^q),  g_i = 1/(1 + e^(f_i)),  h = eta s q / (n m),
    v <- beta v + h |mu|^2 a_k^(q-1) sum_i c_i^q g_i,  a_k  <- a_k + v,
    v <- beta v + h sigma_p^2 d b_il^(q-1) g_i,        b_il <- b_il + v.

    signal_starts : (..., K) largest <u_r, mu>; noise_starts : (..., n, L) largest y_i <u_r, xi_i>, K and L as
    few as one likes; strengths : c_i (..., n) or (n,); filters : m; q : > 2; signal_norm : |mu| at strength
    1; noise_norm : sigma_p sqrt(d); learning_rate : eta; momentum : beta; output_scale : s; loss : where a
    descent stops, or after max_steps. A start <= 0 does not move.
    """
    _checked(momentum, q)
    a = np.maximum(np.array(signal_starts, np.float64), 0.0)
    b = np.maximum(np.array(noise_starts, np.float64), 0.0)
    c = np.broadcast_to(np.asarray(strengths, np.float64), b.shape[:-1]) ** q
    scale = output_scale / filters
    step = learning_rate * q * scale / b.shape[-2]
    velocity, velocities = np.zeros_like(a), np.zeros_like(b)
    steps = np.zeros(a.shape[:-1], np.int64)
    for _ in range(max_steps):
        rise, rises = a ** (q - 1), b ** (q - 1)
        f = scale * (c * np.sum(rise * a, axis=-1)[..., None] + np.sum(rises * b, axis=-1))
        wrong = np.exp(-f)
        moving = np.log1p(wrong).mean(axis=-1) > loss
        if not moving.any():
            break
        g = wrong / (1 + wrong)
        pull = np.sum(c * g, axis=-1)[..., None]
        velocity = momentum * velocity + step * signal_norm**2 * rise * pull
        velocities = momentum * velocities + step * noise_norm**2 * rises * g[..., None]
        a = np.where(moving[..., None], a + velocity, a)
        b = np.where(moving[..., None, None], b + velocities, b)
        steps += moving
    return MomentumRace(steps, a, b)
