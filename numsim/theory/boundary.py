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
_LONGEST = 60  # longest sum of clocks resolved, in medians of one, beside 8 times the number of samples
_NODES = 300
_TINY = 1e-300


# ------------------------------------------------------------------ how probable an outcome is


@lru_cache(maxsize=256)
def _clock_law(count: int, filters: int, q: float) -> tuple[Floats, Floats]:
    """Law of sum_i beta_i^(2-q), beta_i the largest of m Gaussians: values and masses on a grid, S2 (8).

    What is missing to 1 is longer than the grid: samples that are never, or hardly, memorised, ``_one_long``.
    """
    from scipy.special import log_ndtr, ndtri

    median = float(ndtri(0.5 ** (1 / filters))) ** (2 - q)
    cell = median / _CELLS
    cells = (8 * count + _LONGEST) * _CELLS
    edges = (np.arange(cells + 1) - 0.5) * cell
    largest = np.maximum(edges, _TINY) ** (-1 / (q - 2))  # beta whose clock it is
    shorter = np.where(edges > 0, -np.expm1(filters * log_ndtr(largest)), 0.0)
    one = np.diff(shorter)
    masses, factor, left = np.zeros(cells), one, count
    masses[0] = 1.0
    while left:  # powers of the law by repeated squaring, cut off at the grid's end
        if left & 1:
            masses = _convolved(masses, factor)
        left >>= 1
        if left:
            factor = _convolved(factor, factor)
    held = masses > 1e-15
    return np.flatnonzero(held) * cell, masses[held]


def _convolved(first: Floats, second: Floats) -> Floats:
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(2 * len(first), real=True)
    product: Floats = irfft(rfft(first, size) * rfft(second, size), size)[: len(first)]
    return np.maximum(product, 0.0)


def success_probability(strength: float, counts: Sequence[int], *, filters: int, q: float) -> float:
    """Probability that the signal of every class is learned, ``outcome_ratio`` > 1: S2 (9).

    prod_j E[1 - Phi((strength sum_i beta_i^(2-q))^(-1/(q-2)))^m], beta_i = max of m standard Gaussians, the
    sum over the class's n_j samples. strength = SNR^q from random filters; SNR^2 R^(q-2) from filters with
    signal-to-noise ratio R, S5 (3). So the switch depends on n and SNR through n SNR^q, up to fluctuations
    of the sum.

    strength : > 0; counts : n_j, one a class (0: nothing is learned); filters : m; q : > 2.
    """
    result = 1.0
    for count in counts:
        result *= _class_probability(strength, count, filters, q) if count else 0.0
    return result


@lru_cache(maxsize=4096)
def _class_probability(strength: float, count: int, filters: int, q: float) -> float:
    from scipy.special import log_ndtr

    clocks, masses = _clock_law(count, filters, float(q))

    def missed(total: Floats) -> Floats:
        lost: Floats = np.exp(filters * log_ndtr(np.maximum(strength * total, _TINY) ** (-1 / (q - 2))))
        return lost

    beyond = max(0.0, 1.0 - float(masses.sum()))
    lost = beyond * float(np.mean(missed(_one_long(count, filters, q)))) if beyond > 0 else 0.0
    return 1.0 - float(masses @ missed(clocks)) - lost


def _one_long(count: int, filters: int, q: float) -> Floats:
    """Sums of clocks beyond the grid of ``_clock_law``: one that is very long, and others of median length.

    Quantiles of the long one, inf where no filter is active on the sample. With few filters and large q tails
    are heavy, and one does it.
    """
    from scipy.special import ndtr, ndtri

    median = float(ndtri(0.5 ** (1 / filters))) ** (2 - q)
    rest = (count - 1) * median
    least = (8 * count + _LONGEST) * median - rest
    tail = float(ndtr(least ** (-1 / (q - 2)))) ** filters
    largest = ndtri(((np.arange(_NODES) + 0.5) / _NODES * tail) ** (1 / filters))  # beta whose clock it is
    active = largest > 0
    result: Floats = np.where(active, np.where(active, largest, 1.0) ** (2 - q), np.inf) + rest
    return result


def critical_strength(counts: Sequence[int], *, filters: int, q: float, probability: float = 0.5) -> float:
    """The strength at which success has this probability, the root of S2 (9).

    counts, filters and q as for ``success_probability``. Raises ValueError where there is none.
    """
    from scipy.optimize import brentq

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
    result = 1.0
    for count in counts:
        reach = (strength * count * (1 - 2 ** (2 - q))) ** (1 / (q - 2)) if count else 0.0
        inside = np.exp(filters * count * log_ndtr(reach * a)) if count else np.zeros_like(a)
        result *= float(np.sum(mass * density * inside))
    return result


@lru_cache(maxsize=1)
def _legendre() -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes and weights on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights


# ------------------------------------------------------------------ with pre-training


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
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    top = linear_modes(kappa, samples)[0]
    unit = growth / top.eigenvalue
    beyond = -float(ndtri(float(samples) ** -2))
    signal = filters / samples * relative_init_scale**2 * top.eigenvalue

    def excess(steps: float) -> float:
        ruled = signal * math.exp(2 * steps * math.log1p(growth))
        bulk = math.exp(2 * steps * math.log1p(unit)) + math.exp(2 * steps * math.log1p(-unit))
        bulk *= relative_init_scale**2 / 2
        largest = ruled + beyond * math.sqrt(2 * filters * bulk**2 + 2 * ruled * bulk)
        return math.log(largest / threshold)

    alone = math.log(threshold / signal) / (2 * math.log1p(growth))
    steps = float(brentq(excess, 0.0, alone)) if excess(0.0) < 0 < excess(alone) else 0.0
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


def finetuning_strength(snr: float, ratio: float, q: float) -> float:
    """The strength that decides fine-tuning, SNR^2 R^(q-2): S5 (3); SNR^q from random filters, where R = SNR.

    snr : |mu| / (sigma_p sqrt(d)); ratio : R; q : activation power.
    """
    return float(snr**2 * ratio ** (q - 2))


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
