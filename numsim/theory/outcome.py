"""The outcome of supervised training, from its start: learned, memorised, test loss (S2, S3, S5).

For q > 2, d -> infinity and small steps every activation x > 0 runs on a clock: x^(2-q) falls linearly in the
clock of its patch, theta_i for the noise of sample i, and SNR^2 sum_i theta_i over the class for the signal,
S2 (4) and (5). A whole network of 2m filters is n clocks, and what a clock can still run, x^(2-q), is all
that decides: S2 (7). Activations of one patch meet in the output, f = scale sum_r x_r^q, scale = s/m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .inversion import sine_integral
from .powers import closed_form

__all__ = [
    "Fit",
    "after_clock",
    "along_test_error",
    "elapsed_clock",
    "learned_test_loss",
    "loss_bound",
    "memorised_test_loss",
    "noise_output_tail",
    "noisy_test_error",
    "outcome_ratio",
    "time_to_loss",
]

Floats = npt.NDArray[np.float64]

_POINTS = 300
_NODES = 500
_TIMES = 600
_TINY = 1e-300


# ------------------------------------------------------------------ clocks


@closed_form
def after_clock(start: npt.ArrayLike, clock: npt.ArrayLike, q: float, pull: float = 0.0) -> Floats:
    """Activation once its clock has run theta, (x_0^(2-q) - theta)^(-1/(q-2)): S2 (4), (5).

    inf from the blow-up on; x_0 <= 0 stays. theta < 0 for an activation of the other sign's filters, which
    shrinks. With a ``pull`` (as for ``elapsed_clock``) the flow's clock is theta less the last term of S2
    (6), at the x that the flow gives.

    start : x_0, any shape; clock : theta, broadcast against it; q : activation power, > 2.
    """
    x = np.asarray(start, dtype=np.float64)
    own = np.maximum(x, _TINY) ** (2 - q)

    def moved(flow: Floats) -> Floats:
        left = own - flow
        result: Floats = np.where(left > 0, np.maximum(left, _TINY) ** (-1 / (q - 2)), np.inf)
        return result

    theta = np.asarray(clock, dtype=np.float64)
    end = moved(theta)
    if pull:
        slower = (q - 1) * (q - 2) / 4 * pull * np.log(end / np.maximum(x, _TINY))
        end = moved(theta - np.where(np.isfinite(slower), np.abs(slower), 0.0))
    return np.where(x > 0, end, x)


@closed_form
def elapsed_clock(start: npt.ArrayLike, end: npt.ArrayLike, q: float, pull: float = 0.0) -> Floats:
    """The clock between two sizes of an activation, S2 (6):

    theta = x_0^(2-q) - x^(2-q) + (q-1)(q-2)/4 pull log(x/x_0), the last term because steps are slower than
    the flow; pull/2 is what a step adds per x^(q-1) while |l'| = 1/2.

    start, end : x_0 and x, > 0, of any shape; end = inf is the blow-up of the flow, pull = 0.
    """
    x_0, x = np.asarray(start, np.float64), np.asarray(end, np.float64)
    flow: Floats = x_0 ** (2 - q) - x ** (2 - q)
    return flow + (q - 1) * (q - 2) / 4 * pull * np.log(x / x_0) if pull else flow


@closed_form
def outcome_ratio(
    signal_start: float, noise_starts: npt.ArrayLike, *, snr: float, q: float, flipped: npt.ArrayLike = ()
) -> float:
    """SNR^2 (sum_i b_0i^(2-q) - sum_k b_0k^(2-q)) / a_0^(2-q), the pull there is over that it takes: S2 (7).

    The class's signal is learned iff it is above 1, exactly for d -> infinity, small filters and small steps;
    otherwise every sample is memorised. It is n_j SNR^2 (a_0/b_0)^(q-2) with the power mean b_0 of S4.
    Samples k of the class whose label is flipped pull the other way until they are memorised, S1 (13).

    signal_start : a_0 = max_r j <w_jr, mu>, 0 if <= 0; noise_starts : b_0i = max_r <w_jr, xi_i> of the
    class's samples that kept their label; one <= 0 is never memorised, and pulls for ever; without any sample
    nothing pulls, and it is 0. flipped : b_0k = max_r <w_-jr, xi_k> of those that did not.
    snr : |mu| / (sigma_p sqrt(d)), > 0 if a_0 is; q : > 2.
    """
    starts, against = np.asarray(noise_starts, dtype=np.float64), np.asarray(flipped, dtype=np.float64)
    if not signal_start > 0 or (against <= 0).any():
        return 0.0
    if (starts <= 0).any():
        return math.inf
    pull = np.sum((signal_start / starts) ** (q - 2)) - np.sum((signal_start / against) ** (q - 2))
    return float(snr**2 * max(float(pull), 0.0))


# ------------------------------------------------------------------ the run to a training loss


class Fit(NamedTuple):
    """Training at the loss asked for: steps; margins (G,) y f and largest activations (G,), one a group."""

    steps: float
    margins: Floats
    tops: Floats


@closed_form
def time_to_loss(
    starts: Sequence[npt.ArrayLike],
    pulls: Sequence[float],
    shares: Sequence[float],
    *,
    loss: float,
    q: float,
    scale: float,
) -> Fit:
    """Steps of gradient descent until the training loss, and every margin by then: S2 (10) and (11).

    A group is what shares one activation pattern: a class whose signal is learned (S2), a sample that is
    memorised (S3). Its largest activation x grows by pull g(f) x^(q-1) a step, g(f) = 1/(1 + e^f), so that

        t(x) = (1/pull) [2 theta(x)/(q-2) + int_(x_0)^x (e^f - 1) u^(1-q) du] + (1/2) log(F(x)/F(x_0)),

    F = pull g x^(q-1): the flow, and that steps are slower than it; f(x) = scale sum_r x_r^q with all other
    activations on the same clock. The loss is sum_g share_g log(1 + e^(-f_g)).

    starts : (G,) of (m,) activations at the start, of which those > 0 count; pulls : (G,)
    eta s q |mu|^2 n_j / (n m) of a class, eta s q |xi_i|^2 / (n m) of a sample; shares : (G,) of the samples;
    loss : below log(2) times the smallest share; q : > 2; scale : s/m.

    Raises ValueError for a loss above that of the start, and for a group that never moves: no activation, or
    no pull, above 0.
    """
    from scipy.optimize import brentq

    if not 0 < loss < math.log(2) * sum(shares):
        raise ValueError(f"loss is {loss}, expected it between 0 and the log 2 of the start")
    if not all(pull > 0 and np.max(x) > 0 for x, pull in zip(starts, pulls, strict=True)):
        raise ValueError("a group has no activation or no pull above 0: it never fits its samples")

    curves = [
        _curve(np.asarray(x, np.float64), p, loss, q, scale) for x, p in zip(starts, pulls, strict=True)
    ]

    def margins(log_time: float) -> Floats:
        return np.array([np.interp(log_time, c[0], c[1]) for c in curves])

    def excess(log_time: float) -> float:
        return float(np.dot(shares, np.logaddexp(0.0, -margins(log_time)))) - loss

    times = np.linspace(0.0, max(float(c[0][-1]) for c in curves), 100)
    losses = np.dot(shares, np.logaddexp(0.0, -np.stack([np.interp(times, c[0], c[1]) for c in curves])))
    after = max(1, int(np.argmax(losses <= loss)))
    if not losses[after] <= loss < losses[0]:
        raise ValueError(
            f"loss is {loss}, expected it above what can be resolved and below that of the start"
        )
    at = float(brentq(excess, times[after - 1], times[after], xtol=1e-9))
    tops = np.array([np.interp(at, c[0], c[2]) for c in curves])
    return Fit(math.exp(at), margins(at), tops)


def _curve(x: Floats, pull: float, loss: float, q: float, scale: float) -> tuple[Floats, Floats, Floats]:
    """log t, f and x of one group on a grid of x, by the trapezoidal rule in log x."""
    start = np.sort(x[x > x.max() / 2])[::-1]  # the others do not even double: S2 (3)
    end = ((10 - math.log(loss)) / scale) ** (1 / q)
    if not start[0] < end < math.inf:
        raise ValueError(f"an activation starts at {start[0]:g}, where its samples are fitted already")
    log_top = math.log(start[0]) + math.log(end / start[0]) * np.linspace(0.0, 1.0, _POINTS)
    top = np.exp(log_top)
    clock = elapsed_clock(start[0], top, q)
    f = scale * (top**q + np.sum(after_clock(start[1:, None], clock, q) ** q, axis=0))
    slack = np.expm1(f) * top ** (2 - q)  # times d log x
    late = np.concatenate([[0.0], np.cumsum((slack[1:] + slack[:-1]) / 2 * (log_top[1] - log_top[0]))])
    flow = (2 * clock / (q - 2) + late) / pull
    step = top ** (q - 1) / (1 + np.exp(f))
    time = flow + np.log(step / step[0]) / 2
    return np.log(np.maximum(time, _TINY)), f, top


# ------------------------------------------------------------------ test loss and error


@closed_form
def learned_test_loss(margins: npt.ArrayLike) -> float:
    """Mean of log(1 + e^(-f)) over both signals, S2 (13): test noise does not move f where d -> infinity.

    margins : (2,) y f of the two signal patches.
    """
    return float(np.mean(np.logaddexp(0.0, -np.asarray(margins, dtype=np.float64))))


@closed_form
def loss_bound(train_loss: float, samples: int) -> float:
    """6 eps + exp(-n^2), the bound of Cao et al. 4.3 and Zhang and Cao 4.2: S2 (14).

    train_loss : eps; samples : n.
    """
    return 6 * train_loss + math.exp(-(samples**2))


@closed_form
def along_test_error(filters_ratio: float, level: float) -> float:
    """Test error of one filter a sign along +-mu where noise is not projected off mu: S2 (18).

    (1/2) [Phi(-k t) + Phi(-t/k)], k the ratio of the filters' sizes and t = |mu| / sigma_p: noise along mu
    misleads where it is as large as the signal is.

    filters_ratio : k; level : t.
    """
    from scipy.special import ndtr

    if filters_ratio == 0 and level > 0:  # one filter alone: right where noise does not turn the signal
        return 0.25
    return float(ndtr(-filters_ratio * level) + ndtr(-level / filters_ratio)) / 2


def _moment(power: float) -> float:
    """E max(0, g)^k = 2^(k/2) Gamma((k + 1)/2) / (2 sqrt(pi)) of a standard Gaussian."""
    return 2 ** (power / 2) * math.gamma((power + 1) / 2) / (2 * math.sqrt(math.pi))


@closed_form
def memorised_test_loss(signals: npt.ArrayLike, noise_size: float, filters: int, q: float) -> float:
    """How far the test loss is below log 2 when nothing but noise was fitted: S3 (6).

    log 2 - loss = (S_+ + S_-)/4 - E N^2 / 8, S_j = y f of signal patch j, N = noise_size (D_+ - D_-) the
    output of fresh noise, D of m filters each: E N^2 = 2 m noise_size^2 (E g^2q - (E g^q)^2) with
    g = max(0, x) of a standard Gaussian x.
    Off by O(S^2, N^4). signals : (2,); noise_size : (s/m) (sd <w, xi>)^q; filters : m; q : power.
    """
    square = 2 * filters * noise_size**2 * (_moment(2 * q) - _moment(q) ** 2)
    return float(np.mean(np.asarray(signals, dtype=np.float64))) / 2 - square / 8


@closed_form
def noisy_test_error(signals: npt.ArrayLike, noise_size: float, filters: int, q: float) -> float:
    """Test error where filters hold none of the fresh noise, (1/2) sum_j P(N > S_j): S2 (15), S3 (7).

    signals, noise_size, filters, q : as for ``memorised_test_loss``. 1/2 less the noise's density times
    the signal if that is small.
    """
    margins = np.asarray(signals, dtype=np.float64)
    values = np.where(margins == 0, 0.0, margins / noise_size)  # also where there is no noise
    return float(np.mean(noise_output_tail(values, filters, q)))


@closed_form
def noise_output_tail(values: npt.ArrayLike, filters: int, q: float, *, odd: bool = False) -> Floats:
    """P(D > x), D = sum of max(0, g_r)^q over m Gaussians less that over m others: S2 (16).

    By inversion of the characteristic function |phi|^(2m), phi = E exp(i t max(0, g)^q), |phi| -> 1/2:
        P(D > x) = 1/2 - (1/pi) int_0^inf sin(t x)/t (|phi|^(2m) - 4^(-m)) dt - sign(x) 4^(-m)/2;
    4^(-m) is the atom at 0, all filters silent. To 3e-4, 2e-3 for m = 1 (where |phi| falls slowly). Beyond 12
    standard deviations of D one filter alone is that large: m Phi(-x^(1/q)), below 1e-6.
    values : x, any shape; filters : m; q : power. odd : D is the sum of sign(g) |g|^q over all 2m Gaussians,
    phi = E cos(t |g|^q) -> 0, M1 (12): no atom, and 2m filters that may be large.
    """
    from scipy.special import ndtr

    times, transform = _transform(filters, float(q), odd)
    x = np.asarray(values, dtype=np.float64)
    far = np.abs(x) > _FAR * _deviation(filters, q, odd)
    near = np.where(far | (x == 0), 1.0, x)
    smooth = np.where(x == 0, 0.0, sine_integral(near, times, transform))
    rare = np.minimum(0.5, (1 + odd) * filters * ndtr(-(np.abs(x) ** (1 / q))))
    silent = 0.0 if odd else 4.0**-filters
    tail: Floats = np.where(
        far,
        np.where(x > 0, rare, 1 - rare),
        0.5 - smooth - np.sign(x) * silent / 2,
    )
    return np.clip(tail, 0.0, 1.0)


_FAR = 12.0


def _deviation(filters: int, q: float, odd: bool) -> float:
    """Standard deviation of D, S2 (16) and M1 (12)."""
    square = 2 * _moment(2 * q) if odd else _moment(2 * q) - _moment(q) ** 2
    return math.sqrt(2 * filters * square)


@lru_cache(maxsize=1)
def _legendre() -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes and weights on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights


@lru_cache(maxsize=32)
def _transform(filters: int, q: float, odd: bool) -> tuple[Floats, Floats]:
    """Nodes t and |phi|^(2m) less its limit, to where that is negligible."""
    nodes, weights = _legendre()
    g, mass = 4 * (nodes + 1), 4 * weights
    mass = mass * np.exp(-(g**2) / 2) / math.sqrt(2 * math.pi)
    size = _deviation(filters, q, odd)
    times = np.geomspace(1e-4 / size, 20.0, _TIMES)
    phase = np.multiply.outer(times, g**q)
    if odd:
        return times, (2 * (np.cos(phase) @ mass)) ** (2 * filters)
    square = (0.5 + np.cos(phase) @ mass) ** 2 + (np.sin(phase) @ mass) ** 2
    return times, square**filters - 4.0**-filters
