"""ReLU filters and flipped labels (K1, K2): how fast samples are memorised, what a test sample then sees.

At leading order in n/d and n SNR^2 a noise patch meets only its own sample's pull. Sample i, observed label
j, is held by the share alpha_i of the m filters of sign j on which xi_i is active, and all these grow alike,

    dF_i/dt = c_i / (1 + e^(F_i)),   c_i = eta s^2 alpha_i sigma_p^2 d / (n m),   F_i = y_i f_i:       K1 (2).

The filters' coefficients are rho_i = F_i / (s alpha_i), so that one number, beta = mean of 1/alpha_i, is in
every constant: of the time to a given loss, of the signal coefficient, K2 (4), of the test error.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .powers import closed_form

__all__ = [
    "coefficient_balance",
    "derivative_bound",
    "derivative_ratio",
    "inverse_active",
    "memorisation_speed",
    "memorisation_steps",
    "memorised_loss",
    "memorised_margin",
    "relu_mean_error",
    "relu_signal",
    "relu_test_error",
]

Floats = npt.NDArray[np.float64]


@closed_form
def memorisation_speed(
    active: npt.ArrayLike,
    *,
    samples: int,
    filters: int,
    learning_rate: float,
    noise_norm: float,
    output_scale: float = 1.0,
) -> Floats:
    """c_i = eta s^2 alpha_i sigma_p^2 d / (n m) per step, of samples with active shares alpha_i: K1 (2).

    active : alpha_i, any shape; samples : n; filters : m; learning_rate : eta; noise_norm : sigma_p sqrt(d);
    output_scale : s.
    """
    shares = np.asarray(active, dtype=np.float64)
    rate = learning_rate * (output_scale * noise_norm) ** 2 / (samples * filters)
    speed: Floats = rate * shares
    return speed


def _speeds(speed: npt.ArrayLike) -> Floats:
    """c_i as an array; ValueError for what is none."""
    c = np.asarray(speed, dtype=np.float64)
    if not (c.size and (c >= 0).all() and np.isfinite(c).all()):
        raise ValueError(f"speed is {speed!r}, expected at least one sample's, finite and >= 0")
    return c


@closed_form
def memorised_margin(steps: npt.ArrayLike, speed: npt.ArrayLike) -> Floats:
    """F(t) of a sample that starts at F = 0: F + e^F = 1 + c t, hence F = log omega(1 + c t), K1 (4).

    omega is Wright's function, omega + log omega = x. steps : t; speed : c, broadcast against each other.
    """
    from scipy.special import wrightomega

    x = 1 + np.asarray(speed, dtype=np.float64) * np.asarray(steps, dtype=np.float64)
    margin: Floats = np.log(wrightomega(x))
    return margin


@closed_form
def memorised_loss(steps: float, speed: npt.ArrayLike) -> float:
    """Training loss after t steps, mean over i of log(1 + e^(-F_i)): K1 (5).

    steps : t; speed : (n,) c_i.
    """
    return float(np.mean(np.log1p(np.exp(-memorised_margin(steps, _speeds(speed))))))


@closed_form
def memorisation_steps(target_loss: float, speed: npt.ArrayLike) -> float:
    """Steps of gradient descent to a training loss epsilon: the root of K1 (5), less K1 (7)'s shift.

    t = mean(1/c_i) / epsilon (1 + O(epsilon log(1/epsilon))), of which gradient descent saves
    log(1/(2 epsilon)) / 2 steps, because each is taken with the pull at its beginning.
    target_loss : epsilon, below log 2; speed : (n,) c_i >= 0. inf where samples of speed 0 keep the loss
    above it, or the time exceeds float64.

    Raises ValueError for a target that the start already meets.
    """
    if not 0 < target_loss < math.log(2):
        raise ValueError(f"target_loss is {target_loss}, expected a number between 0 and log 2")
    from scipy.optimize import brentq

    c = _speeds(speed)
    moving, still = c[c > 0], float(np.mean(c == 0))
    left = target_loss - still * math.log(2)
    if not left > 0:
        return math.inf
    # F + e^F = 1 + c t gives e^-F < 2 / (c t) from 0 on.
    high = float(np.max(1 / moving)) * 2 * (1 - still) / left
    if math.isinf(high):
        return math.inf
    flow = brentq(lambda t: memorised_loss(t, c) - target_loss, 0.0, high, xtol=1e-9 * high)
    return max(0.0, float(flow) + math.log(2 * target_loss) / 2)


@closed_form
def inverse_active(filters: int, *, kicked: bool = False, share: float = 0.5) -> float:
    """beta = E[m/k], k > 0 the active ones of a sample's m filters: K1 (8), and after a kick K2 (8).

    k ~ Binomial(m, alpha) with alpha = ``share`` where the initial filters decide who is active, and with
    alpha uniform on (1/2, 1) where they are so small that the first step decides: 1/share (2) and 2 log 2 for
    many filters, with a relative correction (1/m) E[(1 - alpha)/alpha^2] / E[1/alpha]. A sample with k = 0,
    of probability (1 - share)^m, is never memorised.
    filters : m; kicked : whether the first step decides; share : 1/2 but for SAM, A1 (4).
    """
    from scipy.special import gammaln

    k = np.arange(1, filters + 1)
    count = gammaln(filters + 1) - gammaln(k + 1) - gammaln(filters - k + 1)
    alpha, weights = np.array([share]), np.array([1.0])
    if kicked:
        nodes, weights = np.polynomial.legendre.leggauss(40)
        alpha = 0.75 + nodes / 4
    chance = np.exp(count + np.outer(np.log(alpha), k) + np.outer(np.log1p(-alpha), filters - k))
    return float(weights @ (chance @ (filters / k)) / np.sum(weights @ chance))


@closed_form
def coefficient_balance(active: npt.ArrayLike, margins: npt.ArrayLike, agreement: npt.ArrayLike) -> float:
    """gamma / sum_i rho_i in units of SNR^2, both averaged over the filters of their sign: K2 (4).

    sum_i (y_i observed)(y_i true) F_i/alpha_i / sum_i F_i, or (1 - 2p) beta where all margins are alike.
    active : (n,) alpha_i; margins : (n,) F_i; agreement : (n,) of +-1, or 1 - 2p for its mean.
    """
    F = np.asarray(margins, dtype=np.float64)
    gained = np.asarray(agreement, dtype=np.float64) * F / np.asarray(active, dtype=np.float64)
    return float(np.sum(gained) / np.sum(F))


@closed_form
def derivative_ratio(steps: float, speed: npt.ArrayLike) -> float:
    """max over i, k of l'_i / l'_k after t steps: K2 (5).

    (1 + omega(1 + max c t)) / (1 + omega(1 + min c t)), from 1 to nearly max c / min c.
    steps : t; speed : (n,) c_i.
    """
    pull = 1 / (1 + np.exp(memorised_margin(steps, _speeds(speed))))
    return float(np.max(pull) / np.min(pull))


@closed_form
def derivative_bound(speed: npt.ArrayLike) -> float:
    """What that ratio never exceeds, (max c / min c)^e with e = 1.0175: K2 (6). Its limit has e = 1.

    e is the greatest elasticity of 1 + omega(1 + x) in x, omega (omega + log omega - 1) / (1 + omega)^2.
    speed : (n,) c_i; inf where one sample never moves and another does.
    """
    from scipy.optimize import minimize_scalar

    def elasticity(log_omega: float) -> float:
        omega = math.exp(log_omega)
        return omega * (omega + log_omega - 1) / (1 + omega) ** 2

    top = minimize_scalar(lambda u: -elasticity(u), bounds=(0.0, 20.0), method="bounded")
    c = _speeds(speed)
    return float((np.max(c) / np.min(c)) ** elasticity(float(top.x)))


@closed_form
def relu_signal(*, majority: float, own: float, snr: float, dim: float, inverse: float) -> float:
    """x, the signal margin in units of the noise of one output on a test sample: K1 (11).

    x = beta (n_clean - n_flipped) SNR^2 sqrt(d / n_own): with equal classes
    (1 - 2p) beta sqrt(n/2) |mu|^2 / (sigma_p^2 sqrt(d)).
    majority : samples of the class that keep their label less those that do not, (1 - 2p) n/2; own : samples
    that bear the label, n/2; snr : SNR; dim : d; inverse : beta.
    """
    return inverse * majority * snr**2 * math.sqrt(dim / own)


@closed_form
def relu_test_error(
    signal: float,
    *,
    inverse: float,
    filters: int,
    flip_probability: float = 0.0,
    other: float = 1.0,
    initial: float = 0.0,
) -> float:
    """Test error of one class, p + (1 - 2p) P(phi(Z) - phi(Z') < -x), with the 1/m of few filters: K1 (12).

    Z, Z' standard Gaussian, phi(z) = E relu(z + sqrt(v) N), v = beta - 1 + the initial filters' share. With m
    filters the difference scatters by N(0, (V(Z) + V(Z')) / m), V(z) = Var relu(z + sqrt(v) N). For large x
    the probability is exp(-x^2/2) to exponential order.

    signal : x; inverse : beta; filters : m; flip_probability : p, of the test label; other : samples that
    bear the other label, over those that bear the class's own; initial : variance of the initial filters on a
    test patch, over the trained ones' mean's, (sigma_0 sigma_p sqrt(d) s / F)^2 d / n_own.
    """
    from scipy.special import ndtr

    # A trapezoidal sum: exact to all digits once it resolves the scatter.
    m = min(filters, 10_000)
    half = math.ceil(6.5 * max(6.0, math.sqrt(m)))
    z = np.linspace(-6.5, 6.5, 2 * half + 1)
    weights = np.exp(-(z**2) / 2)
    weights /= weights.sum()
    mean, spread = zip(
        *(_rectified(math.sqrt(share) * z, share * (inverse - 1) + initial) for share in (1.0, other)),
        strict=True,
    )
    gap = signal + mean[0][:, None] - mean[1]
    noise = np.sqrt((spread[0][:, None] + spread[1]) / m) + 1e-9
    wrong = min(1.0, float(weights @ ndtr(-gap / noise) @ weights))  # weights add up to 1 but for round-off
    return flip_probability + (1 - 2 * flip_probability) * wrong


def relu_mean_error(
    signal: float,
    *,
    samples: int,
    inverse: float,
    filters: int,
    flip_probability: float,
    initial: float = 0.0,
    balanced: bool = True,
) -> float:
    """Test error from the setting alone: K1 (12) averaged over the training labels, K1 (15).

    Of the N_j samples of class j, n/2 or Binomial(n, 1/2), K_j ~ Binomial(N_j, p) are flipped, so that
    N_j - K_j + K_-j bear its label, B_j, and

        x_j = x (N_j - 2 K_j) / ((1 - 2p) n/2) sqrt((n/2) / B_j).

    x sits in an exponential: the mean exceeds the error at N_j = n/2 and K_j = p n/2, which is the limit of
    many samples; as x -> infinity it ends at p + (1 - 2p) (P(2 K_j > N_j) + P(2 K_j = N_j) / 2), not at p.

    signal : x of K1 (11) with (1 - 2p) n/2 for the majority and n/2 bearers; samples : n; inverse, filters,
    flip_probability : as for ``relu_test_error``, initial also, at n/2 bearers; balanced : whether N_j = n/2.
    """
    from scipy.interpolate import RectBivariateSpline
    from scipy.stats import binom

    if samples < 2 or (balanced and samples % 2):
        raise ValueError(
            f"samples is {samples}, expected at least 2, and an even number for balanced classes"
        )
    size = np.arange(samples + 1)
    mine, flipped, across = np.meshgrid(size, size, size, indexing="ij", sparse=True)
    of_size = (mine == samples // 2) * 1.0 if balanced else binom.pmf(mine, samples, 0.5)
    chance = of_size * binom.pmf(flipped, mine, flip_probability)
    chance = chance * binom.pmf(across, samples - mine, flip_probability)
    bearers = mine - flipped + across
    kept = (chance > _UNLIKELY) & (bearers > 0) & (bearers < samples)
    own = (np.broadcast_to(bearers, kept.shape)[kept]) / (samples / 2)
    majority = np.broadcast_to(mine - 2 * flipped, kept.shape)[kept] / (samples / 2)
    x = signal * majority / ((1 - 2 * flip_probability) * np.sqrt(own))
    nodes = [np.linspace(v.min() - 1e-3, v.max() + 1e-3, k) for v, k in ((x, _NODES[0]), (own, _NODES[1]))]
    errors = [
        [
            relu_test_error(
                at,
                inverse=inverse,
                filters=filters,
                flip_probability=flip_probability,
                other=(2 - share) / share,
                initial=initial / share,
            )
            for share in nodes[1]
        ]
        for at in nodes[0]
    ]
    each = RectBivariateSpline(*nodes, np.array(errors))(x, own, grid=False)
    return float(np.average(each, weights=chance[kept]))


_UNLIKELY = 1e-8  # triples of counts that are left out: together they change no fifth digit
_NODES = (30, 6)  # of x and of the bearers, in both of which the error is smooth


def _rectified(z: Floats, variance: float) -> tuple[Floats, Floats]:
    """Mean and variance of relu(z + sqrt(v) N)."""
    from scipy.special import ndtr

    s = math.sqrt(max(variance, 1e-12))
    density = s * np.exp(-((z / s) ** 2) / 2) / math.sqrt(2 * math.pi)
    mean = z * ndtr(z / s) + density
    square = (z**2 + s**2) * ndtr(z / s) + z * density
    return mean, np.maximum(square - mean**2, 0.0)
