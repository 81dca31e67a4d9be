"""Concentration of noise and initial filters: the papers' bounds, and the laws that they bound (C1, C2).

A noise patch projected off mu has d - 1 free coordinates, so that |xi|^2 / sigma_p^2 is chi^2 with f = d - 1
degrees of freedom (f = d if it is not projected), and its product with a given vector v is Gaussian with the
standard deviation sigma_p |v|.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from .powers import closed_form, log_quotient

__all__ = [
    "cross_term_bound",
    "cross_term_quantile",
    "cross_term_tail",
    "expected_maximum",
    "filters_needed",
    "initialisation_probability",
    "maximum_quantile",
    "noise_norm_dimension",
    "noise_norm_dimension_bound",
    "noise_norm_failure",
    "noise_norm_interval",
    "noise_overlap_bound",
    "overlap_missed",
    "signal_overlap_bound",
]

Floats = npt.NDArray[np.float64]

_LOW, _HIGH = 0.5, 1.5
"""The interval of |xi|^2 / (sigma_p^2 d)."""

_SIGNAL_LEVEL, _NOISE_LEVEL = 0.5, 0.25
"""The lower bounds of max_r j<w, mu> / (sigma_0 |mu|) and max_r j<w, xi> / (sigma_0 sigma_p sqrt d)."""

_NODES = 400
_SMALL = 1e-300
_MOST = 1e20
_REACH = 9.0


def _probability(name: str, value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}, expected a probability above 0 and below 1")
    return value


def _count(name: str, value: float, least: int = 1) -> float:
    if not value >= least:
        raise ValueError(f"{name} is {value}, expected at least {least}")
    return value


def _freedom(dim: float, projected: bool) -> float:
    return _count("dim", dim) - (1 if projected else 0)


@cache
def _legendre() -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes and weights on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights


def _any_of(count: float, probability: float) -> float:
    """1 - (1 - p)^count, the probability of one or more of independent events."""
    return -math.expm1(count * math.log1p(-probability)) if probability < 1 else 1.0


def _each_of(count: float, failure: float) -> float:
    """The probability p with 1 - (1 - p)^count = failure."""
    return -math.expm1(math.log1p(-failure) / count)


# --- C1: norms and cross terms -------------------------------------------------------------------


@closed_form
def noise_norm_interval(dim: float, sigma_p: float = 1.0) -> tuple[float, float]:
    """The interval of |xi|^2, from sigma_p^2 d / 2 to 3 sigma_p^2 d / 2: C1 (1).

    dim : d; sigma_p : noise level.
    """
    scale = sigma_p**2 * _count("dim", dim)
    return _LOW * scale, _HIGH * scale


@closed_form
def noise_norm_failure(dim: float, samples: int = 1, *, projected: bool = True) -> float:
    """Probability that any of n norms leaves the interval, 1 - (1 - p)^n, exactly: C1 (4).

    p = P(chi^2_f < d/2) + P(chi^2_f > 3d/2).
    dim : d; samples : n; projected : whether the noise is, f = d - 1, or not, f = d.
    """
    from scipy.stats import chi2

    freedom = _freedom(dim, projected)
    low, high = noise_norm_interval(dim)
    once = float(chi2.cdf(low, freedom) + chi2.sf(high, freedom)) if freedom > 0 else 1.0
    return _any_of(_count("samples", samples), once)


@closed_form
def noise_norm_dimension(samples: int, delta: float, *, projected: bool = True) -> int:
    """Smallest d from which on C1 (4), the failure of n norms, is at most delta.

    samples : n; delta : failure probability left to the norms; projected : as for ``noise_norm_failure``.
    """
    low, high = 0, math.ceil(noise_norm_dimension_bound(samples, delta))
    while high - low > 1:  # the failure falls with d, and d = 1 may do where noise is not projected
        middle = (low + high) // 2
        if noise_norm_failure(middle, samples, projected=projected) <= delta:
            high = middle
        else:
            low = middle
    return high


@closed_form
def noise_norm_dimension_bound(samples: int, delta: float) -> float:
    """The dimension that Chernoff's bound asks for, log(2n/delta) / I(3/2): C1 (7).

    I(x) = (x - 1 - log x)/2 is the rate of chi^2, I(3/2) = 0.04727; so it is 21.16 log(2n/delta).
    samples : n; delta : failure probability left to the norms, half of C1's: 21.16 log(4n/delta) there.
    """
    rate = (_HIGH - 1 - math.log(_HIGH)) / 2
    return log_quotient(2 * _count("samples", samples), _probability("delta", delta)) / rate


@closed_form
def cross_term_bound(dim: float, samples: int, delta: float, sigma_p: float = 1.0) -> float:
    """The bound of |<xi_i, xi_k>|, 2 sigma_p^2 sqrt(d log(4n^2/delta)): C1 (2).

    dim : d; samples : n; delta : failure probability of all of C1, of which this takes half.
    """
    logarithm = log_quotient(4 * _count("samples", samples) ** 2, _probability("delta", delta))
    return 2 * sigma_p**2 * math.sqrt(_count("dim", dim) * logarithm)


@closed_form
def cross_term_tail(value: npt.ArrayLike, dim: float, *, projected: bool = True) -> Floats:
    """P(|<xi_i, xi_k>| > x sigma_p^2) exactly, for one pair: C1 (10); with sigma_0 also <w, xi>, C2 (4).

    Given xi_k the product is Gaussian: E erfc(x / (sqrt 2 R)) with R^2 chi^2 of f degrees of freedom. The
    integral over R by Gauss-Legendre, within 9 of sqrt(f), beyond which R has a mass of e^(-81).
    value : x >= 0, any shape; dim : d; projected : f = d - 1, or f = d.
    """
    from scipy.special import erfc

    radii, weights = _radii(_freedom(dim, projected))
    x = np.asarray(value, dtype=np.float64)
    tail: Floats = np.minimum(erfc(x[..., None] / (math.sqrt(2) * radii)) @ weights, 1.0)
    return tail


def _radii(freedom: float) -> tuple[Floats, Floats]:
    """Nodes and weights of R = chi with ``freedom`` degrees of freedom, C1 (9)."""
    if freedom < 1:
        raise ValueError("noise projected off mu in dim = 1 is 0: a dim of at least 2 is expected")
    root = math.sqrt(freedom)
    low, high = max(0.0, root - _REACH), root + _REACH
    nodes, weights = _legendre()
    radii = low + (high - low) * (nodes + 1) / 2
    # R^(f-1) e^(-R^2/2) around its size at sqrt(f), where the exponents would cancel at large f.
    step = (radii - root) / root
    density = np.exp(freedom * (np.log1p(step) - step * (1 + step / 2)) - np.log1p(step))
    mass: Floats = weights * density
    return radii, mass / np.sum(mass)


@closed_form
def cross_term_quantile(dim: float, samples: int, failure: float, *, projected: bool = True) -> float:
    """What max_{i<k} |<xi_i, xi_k>| / sigma_p^2 exceeds with this probability, for d >> n^3: C1 (12).

    The n (n - 1)/2 products are then independent of each other: the root of 1 - (1 - tail)^(n(n-1)/2).
    dim : d; samples : n >= 2; failure : the probability; projected : as for ``cross_term_tail``.
    """
    from scipy.optimize import brentq

    pairs = _count("samples", samples, 2) * (samples - 1) / 2
    each = _each_of(pairs, _probability("failure", failure))
    scale = math.sqrt(_freedom(dim, projected))

    def excess(x: float) -> float:
        return math.log(max(float(cross_term_tail(x * scale, dim, projected=projected)), 1e-300) / each)

    if excess(40.0) > 0:
        raise ValueError(
            f"failure is {failure}, expected more: at dim = {dim} the tail is not resolved there"
        )
    return scale * float(brentq(excess, 0.0, 40.0, xtol=1e-13))


# --- C2: initial filters -------------------------------------------------------------------------


@closed_form
def signal_overlap_bound(
    filters: int, delta: float, *, init_scale: float = 1.0, signal_norm: float = 1.0
) -> float:
    """The bound of |<w, mu>| over all 2m filters, sqrt(2 log(8m/delta)) sigma_0 |mu|: C2 (1).

    filters : m; delta : failure probability of all of C2, a quarter of which is this one's; init_scale :
    sigma_0; signal_norm : |mu|.
    """
    logarithm = log_quotient(8 * _count("filters", filters), _probability("delta", delta))
    return math.sqrt(2 * logarithm) * init_scale * signal_norm


@closed_form
def noise_overlap_bound(
    filters: int, samples: int, delta: float, *, init_scale: float = 1.0, noise_norm: float = 1.0
) -> float:
    """The bound of |<w, xi_i>| for all w and i, 2 sqrt(log(8mn/delta)) sigma_0 sigma_p sqrt(d): C2 (2).

    filters : m; samples : n; delta : failure probability of all of C2, a quarter of which is this one's;
    init_scale : sigma_0; noise_norm : sigma_p sqrt(d).
    """
    count = _count("filters", filters) * _count("samples", samples)
    return 2 * math.sqrt(log_quotient(8 * count, _probability("delta", delta))) * init_scale * noise_norm


@closed_form
def filters_needed(samples: int, delta: float) -> tuple[float, float]:
    """Filters for the lower bounds, log(4/delta) / -log Phi(1/2) and log(4n/delta) / -log Phi(1/4): C2 (7).

    The rates are 0.3689 and 0.5130, in print 0.37 and 0.51. Each sign j then takes a quarter of delta.
    samples : n; delta : failure probability of all of C2.
    """
    from scipy.special import log_ndtr

    logarithm = log_quotient(4, _probability("delta", delta))
    signal, noise = -float(log_ndtr(_SIGNAL_LEVEL)), -float(log_ndtr(_NOISE_LEVEL))
    return logarithm / signal, (logarithm + math.log(_count("samples", samples))) / noise


@closed_form
def overlap_missed(level: float, filters: int, dim: float = math.inf, *, projected: bool = True) -> float:
    """Probability that max_r j<w_r, v> of m filters stays below a level, exactly: C2 (5), (6).

    v = mu, level in units of sigma_0 |mu|: Phi(level)^m (dim = inf). v = xi_i, in units of
    sigma_0 sigma_p sqrt(d): E Phi(level sqrt(d) / R)^m with R as in ``cross_term_tail``.
    level : of either sign; filters : m; dim : d; projected : f = d - 1, or f = d.
    """
    from scipy.special import log_ndtr

    count = _count("filters", filters)
    if math.isinf(dim):
        return math.exp(count * float(log_ndtr(level)))
    radii, weights = _radii(_freedom(dim, projected))
    return min(1.0, float(np.exp(count * log_ndtr(level * math.sqrt(dim) / radii)) @ weights))


@closed_form
def maximum_quantile(count: int, failure: float) -> float:
    """What max |g| of ``count`` independent standard Gaussians exceeds with probability ``failure``: C2 (9).

    Phi^-1((1 + (1 - failure)^(1/count))/2): the sharp form of C2 (1) with 2m, of C2 (2) with 2mn of them.
    """
    from scipy.special import ndtri, ndtri_exp

    each = _each_of(_count("count", count), _probability("failure", failure))
    if each < _SMALL:  # its half may be 0
        return -float(ndtri_exp(math.log(failure) - math.log(2 * count)))
    return -float(ndtri(each / 2))


@closed_form
def expected_maximum(count: int, *, absolute: bool = False) -> float:
    """E max of ``count`` independent standard Gaussians, or of their sizes (``absolute``): C2 (10).

    int_0^inf (1 - F(x)^count) dx - int_-inf^0 F(x)^count dx with F = Phi, or 2 Phi - 1 and the first alone.
    With m filters it is a_0 / (sigma_0 |mu|) on average; about sqrt(2 log m).
    """
    from scipy.special import erf, log_ndtr

    if not _count("count", count) <= _MOST:
        raise ValueError(f"count is {count}, expected at most {_MOST:g}: the nodes resolve no more")
    nodes, weights = _legendre()
    x = 10 * (nodes + 1)  # to 20 standard deviations
    # erf(x / sqrt 2) = 2 Phi(x) - 1
    above = np.log(erf(x / math.sqrt(2))) if absolute else log_ndtr(x)
    total = -np.expm1(count * above)
    if not absolute:
        total = total - np.exp(count * log_ndtr(-x))
    return float(10 * weights @ total)


@closed_form
def initialisation_probability(filters: int, samples: int, delta: float) -> float:
    """Probability that all four statements of C2 hold, for both signs and all samples, d >> n: C2 (8).

    [(2 Phi(A) - 1)^m - (Phi(1/2) - Phi(-A))^m]^2 [(2 Phi(B) - 1)^m - (Phi(1/4) - Phi(-B))^m]^(2n)
    with the bounds A = sqrt(2 log(8m/delta)) and B = 2 sqrt(log(8mn/delta)).
    filters : m; samples : n; delta : of C2.
    """
    upper = (signal_overlap_bound(filters, delta), noise_overlap_bound(filters, samples, delta))
    signal = _between(_SIGNAL_LEVEL, upper[0], filters)
    noise = _between(_NOISE_LEVEL, upper[1], filters)
    return signal**2 * noise ** (2 * samples)


def _between(level: float, bound: float, filters: int) -> float:
    """P(level <= max of m Gaussians, all within +-bound)."""
    from scipy.special import erf, ndtr

    inside = float(erf(bound / math.sqrt(2)))
    below = float(ndtr(level) - ndtr(-bound))
    return inside**filters - below**filters
