"""Where training begins to learn the signal: probabilities (S2), and the boundary end to end (S5).

From random filters everything depends on Gaussians' maxima, and whether the signal is learned has a law
without free constants. With the signal's strength at the end of the linear stage (P3, and the bulk, which
ends the stage first where kappa is small) the boundary in n0, n, SNR, sigma_0 and d follows from settings
alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .handover import handover_ratio
from .linearisation import linear_modes
from .powers import closed_form, power

__all__ = [
    "bounded_noise_probability",
    "critical_strength",
    "end_to_end_boundary",
    "finetuning_strength",
    "linear_end_ratio",
    "success_probability",
]

Floats = npt.NDArray[np.float64]

_CELLS = 60  # of the median clock, for laws of sums of clocks
_LONGEST = 60  # longest sum of clocks on the first grid, in medians of one, beside 8 times the samples
_COARSE_CELLS = 256  # where the next, coarser grid begins
_COARSER = 16  # times as far it goes
_PARTS = 16  # of a cell of it, in which clocks are placed
_LAST = 1e280
_UNRESOLVED = 1e-6  # mass that may be left beyond the last grid
_NEGLIGIBLE = 1e-15
_NODES = 300
_TINY = 1e-300


# ------------------------------------------------------------------ how probable an outcome is


@lru_cache(maxsize=256)
def _clock_law(count: int, filters: int, q: float) -> tuple[Floats, Floats]:
    """Law of sum_i beta_i^(2-q), beta_i the largest of m Gaussians: values and masses, S2 (8).

    The clocks' law has a heavy tail, beta small, and the heavier the larger q is: one grid, on which sums are
    convolutions, resolves them up to its end, coarser ones what is beyond. What is missing to 1 in the end
    are samples that are never memorised, beta <= 0, of probability 1 - (1 - 2^-m)^n.
    """
    from scipy.special import log_ndtr, ndtri

    def shorter(clock: npt.ArrayLike) -> Floats:
        x = np.asarray(clock, dtype=np.float64)
        largest = np.maximum(x, _TINY) ** (-1 / (q - 2))  # beta whose clock it is
        return np.where(x > 0, -np.expm1(filters * log_ndtr(largest)), 0.0)

    # One filter is silent on half of all samples: then the median of the others.
    level = 0.5 if filters > 1 else 0.75
    cell = power(float(ndtri(level ** (1 / filters))), 2 - q) / _CELLS
    cells = (8 * count + _LONGEST) * _CELLS
    masses = _power(np.diff(shorter((np.arange(cells + 1) - 0.5) * cell)), count)
    held = masses > _NEGLIGIBLE
    values = np.asarray(np.flatnonzero(held) * cell, dtype=np.float64)
    masses, end = masses[held], (cells - 1) * cell
    memorised = 1 - 2.0**-filters
    while count * (memorised - float(shorter(end))) > _UNRESOLVED and end < _LAST:
        cell = end / _COARSE_CELLS
        cells = _COARSER * _COARSE_CELLS
        # Clocks far below a cell add up too: each goes to both ends of its cell, so that its mean stays.
        parts = np.diff(shorter(np.arange(cells * _PARTS + 1) * (cell / _PARTS))).reshape(cells, _PARTS)
        upper = parts @ ((np.arange(_PARTS) + 0.5) / _PARTS)
        one = parts.sum(axis=1) - upper
        one[1:] += upper[:-1]
        more = _power(one, count)
        more[:_COARSE_CELLS] = 0.0
        more[_COARSE_CELLS] /= 2  # that half of it which is beyond the end
        held = more > _NEGLIGIBLE
        values, masses = np.append(values, np.flatnonzero(held) * cell), np.append(masses, more[held])
        end = (cells - 1) * cell
    return values, masses


def _power(one: Floats, count: int) -> Floats:
    """The law of a sum of ``count`` on the grid of ``one``, cut off at its end: by repeated squaring."""
    masses, factor, left = np.zeros(len(one)), one, count
    masses[0] = 1.0
    while left:
        if left & 1:
            masses = _convolved(masses, factor)
        left >>= 1
        if left:
            factor = _convolved(factor, factor)
    return masses


def _convolved(first: Floats, second: Floats) -> Floats:
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(2 * len(first), real=True)
    product: Floats = irfft(rfft(first, size) * rfft(second, size), size)[: len(first)]
    return np.maximum(product, 0.0)


@closed_form
def success_probability(strength: float, counts: Sequence[int], *, filters: int, q: float) -> float:
    """Probability that the signal of every class is learned, ``outcome_ratio`` > 1: S2 (9).

    prod_j E[1 - Phi((strength sum_i beta_i^(2-q))^(-1/(q-2)))^m], beta_i = max of m standard Gaussians, the
    sum over the class's n_j samples. strength = SNR^q from random filters; SNR^2 R^(q-2) from filters with
    signal-to-noise ratio R, S5 (3). So the switch depends on n and SNR through n SNR^q, up to fluctuations
    of the sum.

    strength : > 0; counts : n_j, one a class (0: nothing is learned); filters : m; q : > 2.
    Raises ValueError for other strengths and q, and for no class.
    """
    _check_law(counts, q)
    if not 0 < strength < math.inf:
        raise ValueError(f"strength is {strength}, expected a finite number > 0")
    result = 1.0
    for count in counts:
        result *= _class_probability(strength, count, filters, q) if count else 0.0
    return result


@lru_cache(maxsize=4096)
def _class_probability(strength: float, count: int, filters: int, q: float) -> float:
    from scipy.special import log_ndtr

    clocks, masses = _clock_law(count, filters, float(q))
    needed = np.maximum(strength * clocks, _TINY) ** (-1 / (q - 2))
    beyond = max(0.0, 1.0 - float(masses.sum())) * 2.0**-filters
    return 1.0 - float(masses @ np.exp(filters * log_ndtr(needed))) - beyond


def _check_law(counts: Sequence[int], q: float) -> None:
    if not q > 2:
        raise ValueError(f"q is {q}, expected a power above 2: activations have no clock otherwise")
    if not (len(counts) and min(counts) >= 0):
        raise ValueError(f"counts is {counts}, expected the samples of at least one class, each >= 0")


@closed_form
def critical_strength(counts: Sequence[int], *, filters: int, q: float, probability: float = 0.5) -> float:
    """The strength at which success has this probability, the root of S2 (9).

    counts, filters and q as for ``success_probability``. Raises ValueError where there is none.
    """
    from scipy.optimize import brentq

    _check_law(counts, q)
    if min(counts) == 0:
        raise ValueError(f"counts is {counts}, expected at least 1 sample a class: none is never learned")

    def excess(log_strength: float) -> float:
        strength = math.exp(log_strength)
        return success_probability(strength, counts, filters=filters, q=q) - probability

    low, high = -math.log(min(counts)) - 12, -math.log(min(counts)) + 25
    if not excess(low) < 0 < excess(high):
        raise ValueError(
            f"the probability of success does not pass {probability}: with {filters} filters there are too "
            "many samples that are never memorised, or signals that are never learned"
        )
    return math.exp(float(brentq(excess, low, high, xtol=1e-10)))


@closed_form
def bounded_noise_probability(strength: float, counts: Sequence[int], *, filters: int, q: float) -> float:
    """Probability that no noise activation more than doubles while the signal is learned: S2 (12).

    beta_max of the class's m n_j activations and alpha of its signal's m: strength n_j (alpha/beta_max)^(q-2)
    (1 - 2^(2-q)) >= 1, hence prod_j int Phi(k_j a)^(m n_j) d Phi(a)^m over a > 0, with
    k_j = (strength n_j (1 - 2^(2-q)))^(1/(q-2)). strength, counts, filters
    and q as for ``success_probability``.
    """
    from scipy.special import log_ndtr

    nodes, weights = _legendre()
    a, mass = 5 * (nodes + 1), 5 * weights
    density = np.exp(-(a**2) / 2 + (filters - 1) * log_ndtr(a)) * (filters / math.sqrt(2 * math.pi))
    _check_law(counts, q)
    result = 1.0
    for count in counts:
        reach = power(strength * count * (1 - 2 ** (2 - q)), 1 / (q - 2)) if count else 0.0
        inside = np.exp(filters * count * log_ndtr(reach * a)) if count else np.zeros_like(a)
        result *= min(1.0, float(np.sum(mass * density * inside)))  # a quadrature, off by round-off
    return result


@lru_cache(maxsize=1)
def _legendre() -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes and weights on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights


# ------------------------------------------------------------------ with pre-training


@closed_form
def linear_end_ratio(
    kappa: float,
    *,
    samples: int,
    dim: int,
    filters: int,
    relative_init_scale: float,
    growth: float = 0.1,
    threshold: float = 0.3,
) -> float:
    """R = <w, mu> / sd<w, xi_new> at the linear end, max |s_ii'| = threshold, bulk included: S5 (8).

    With lambda_1 = growth, u its unit, s_0 = sigma_0 sigma_p sqrt(d) and z = Phi^-1(1 - n0^-2), T solves

        T_1 + z sqrt(2 m B^2 + 2 T_1 B) = threshold,
        T_1 = (m/n0) s_0^2 (1 + 2 kappa) (1 + lambda_1)^(2T),  B = (s_0^2/2) ((1 + u)^(2T) + (1 - u)^(2T)),

    and R is ``handover_ratio`` half a step later, as the stage ends at the first step beyond.

    kappa : n0 SNR^2; samples : n0; dim : d; filters : m; relative_init_scale : s_0; growth : of the top
    direction per step; threshold : of max |s_ii'|, the linear end's 0.3 times tau. Balanced labels, ideal
    views, d >> n0.
    Raises ValueError for a growth at which one step turns the bulk around, u >= 1.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    top = linear_modes(kappa, samples)[0]
    unit = growth / top.eigenvalue
    if not 0 < unit < 1:
        raise ValueError(f"growth is {growth}, expected it between 0 and lambda_1 / u = {top.eigenvalue:g}")
    beyond = -float(ndtri(float(samples) ** -2))
    signal = filters / samples * relative_init_scale**2 * top.eigenvalue

    def excess(steps: float) -> float:
        ruled = signal * math.exp(2 * steps * math.log1p(growth))
        bulk = math.exp(2 * steps * math.log1p(unit)) + math.exp(2 * steps * math.log1p(-unit))
        bulk *= relative_init_scale**2 / 2
        largest = ruled + beyond * math.sqrt(2 * filters * bulk**2 + 2 * ruled * bulk)
        return math.log(largest / threshold)

    steps = 0.0
    if signal < threshold and excess(0.0) < 0:
        alone = math.log(threshold / signal) / (2 * math.log1p(growth))
        steps = float(brentq(excess, 0.0, alone)) if excess(alone) > 0 else 0.0
    return handover_ratio(
        growth=growth,
        alignment=top.alignment,
        steps=steps + 0.5,
        unit=unit,
        overlap=0.0,
        samples=samples,
        dim=dim,
        signal_norm=math.sqrt(kappa / samples * dim),
        sigma_p=1.0,
    )


@closed_form
def finetuning_strength(snr: float, ratio: float, q: float) -> float:
    """The strength that decides fine-tuning, SNR^2 R^(q-2): S5 (3); SNR^q from random filters, where R = SNR.

    snr : |mu| / (sigma_p sqrt(d)); ratio : R; q : activation power.
    """
    return float(snr**2 * ratio ** (q - 2))


@closed_form
def end_to_end_boundary(
    counts: Sequence[int],
    *,
    samples: int,
    dim: int,
    filters: int,
    q: float,
    relative_init_scale: float,
    growth: float = 0.1,
    threshold: float = 0.3,
) -> float:
    """kappa* = n0 SNR^2 at which half of all fine-tuned networks learn the signal: S5 (9).

    The root of SNR^2 R(kappa)^(q-2) = ``critical_strength``. counts : n_j of the labelled classes; q : power;
    samples, dim, filters, relative_init_scale, growth and threshold as for ``linear_end_ratio``.
    Raises ValueError where there is none between 1e-4 and n0.
    """
    from scipy.optimize import brentq

    needed = critical_strength(counts, filters=filters, q=q)
    if needed == 0 or math.isinf(needed):
        raise ValueError("no boundary: the strength that is needed is beyond float64")

    def excess(log_kappa: float) -> float:
        kappa = math.exp(log_kappa)
        ratio = linear_end_ratio(
            kappa,
            samples=samples,
            dim=dim,
            filters=filters,
            relative_init_scale=relative_init_scale,
            growth=growth,
            threshold=threshold,
        )
        return math.log(finetuning_strength(math.sqrt(kappa / samples), ratio, q) / needed)

    low, high = math.log(1e-4), math.log(samples)
    if not excess(low) < 0 < excess(high):
        raise ValueError("no boundary for kappa = n0 SNR^2 between 1e-4 and n0 (SNR = 1)")
    return math.exp(float(brentq(excess, low, high, xtol=1e-10)))
