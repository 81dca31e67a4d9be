"""The linear stage: exact modes of A in high dimension (P3), and what the softmax adds to A, Xi (P1).

For balanced labels and d -> infinity at fixed n0, where the Gram matrix of [z; z~] is sigma_p^2 d times
[[1, a], [a, 1]] (x) I plus SNR^2 y y^T in all four blocks. The span of the samples then splits into the label
mode y, the all-ones mode and n0 - 2 equal bulk modes, each with a 2 x 2 problem of its own: P3 (2).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .powers import closed_form

__all__ = ["Mode", "initial_perturbation", "late_perturbation", "linear_modes", "softmax_response"]

Floats = npt.NDArray[np.float64]

_NULL = 1e-15  # at a = 1, xi_i - xi~_i = 0 is no direction


class Mode(NamedTuple):
    """Eigenvectors of A of one kind.

    eigenvalue : in units of u; multiplicity : how many; alignment : cos^2 of one with mu;
    own : squared coefficient of the unit eigenvector on the mode's normalised sum of z_i / (sigma_p sqrt(d)).
    """

    eigenvalue: float
    multiplicity: int
    alignment: float
    own: float


@closed_form
def linear_modes(kappa: float, samples: int, overlap: float = 0.0) -> tuple[Mode, ...]:
    """All eigenvectors of A that samples span: P3 (3) and (4), exact for d -> infinity, balanced labels.

    In the order label +, label -, ones +, ones -, bulk +, bulk -. With n = n0 and the 2 x 2 matrices
        K = [[p, 1 - 1/n], [1 - 1/n, 0]],  p = 2/n (label and bulk), 2/n - 2 (ones),
        G = [[1 + s, a + s], [a + s, 1 + s]],  s = kappa (label), 0 (ones and bulk),
    eigenvalues are those of K G, eigenvectors c have c^T G c = 1, own = c_1^2, cos^2 = s (c_1 + c_2)^2.
    The first is the top: 2 kappa + 1 + a and cos^2 = 2 kappa / (2 kappa + 1 + a), both up to O(1/n0^2).

    kappa : n0 SNR^2; samples : n0 >= 2, even; overlap : a.
    """
    n = samples
    label = _pair(2 / n, n, overlap, kappa, 1)
    ones = _pair(2 / n - 2, n, overlap, 0.0, 1)
    return (*label, *ones, *_pair(2 / n, n, overlap, 0.0, n - 2))


def _pair(p: float, n: int, a: float, s: float, count: int) -> tuple[Mode, Mode]:
    """The two modes of K G for K = [[p, q], [q, 0]], q = 1 - 1/n, and G of signal strength s."""
    q = 1 - 1 / n
    summed, apart = 1 + a + 2 * s, 1 - a  # eigenvalues of G, on (1, 1) and (1, -1)
    product = -q * q * summed * apart
    half = p * (1 + s) / 2 + q * (a + s)
    larger = half + math.copysign(math.sqrt(half * half - product), half)  # in modulus; no cancellation
    other = product / larger if larger else 0.0

    def mode(eigenvalue: float) -> Mode:
        first, second = eigenvalue - q * (a + s), q * (1 + s)  # c, up to its length
        length = (summed * (first + second) ** 2 + apart * (first - second) ** 2) / 2
        if length <= _NULL * second**2:
            return Mode(eigenvalue, count, 0.0, 0.0)
        return Mode(eigenvalue, count, s * (first + second) ** 2 / length, first**2 / length)

    return mode(max(larger, other)), mode(min(larger, other))


@closed_form
def softmax_response(similarity: Floats, positive: Floats, temperature: float) -> tuple[Floats, Floats]:
    """Softmax weights p_ii' (n0, n0) and p_i+ (n0,) to first order in the similarities: P1 (4).

    p = (1/n0) (1 + l - mean l), l = s / tau over the row's n0 terms {i+} and {i' != i}; p_ii = 0.
    similarity : (n0, n0) s_ii', of which the diagonal is not looked at; positive : (n0,) s_i+;
    temperature : tau. Off by O(l^2).
    """
    n = len(positive)
    logits, own = similarity / temperature, positive / temperature
    np.fill_diagonal(logits, 0.0)
    mean = (logits.sum(axis=1) + own) / n
    negatives = (1 + logits - mean[:, None]) / n
    np.fill_diagonal(negatives, 0.0)
    return negatives, (1 + own - mean) / n


@closed_form
def initial_perturbation(kappa: float, filters_per_sample: float, energy: float = 1.0) -> float:
    """X, in ||Xi^0||_2 = 2 u (sigma_0^2 sigma_p^2 d / tau) X for random filters: P1 (10).

    X = 1 + b g + 1/g with b = 2m/n0 and g the positive root of
        b ((1 + kappa)^2 o - 1) g^2 - (1 - b (1 + kappa) ((1 + kappa) o - 1)) g - 1 = 0,
    if it is below 1/sqrt(b); otherwise the signal does not leave the bulk and X = 1 + 2 sqrt(b).

    kappa : n0 SNR^2; filters_per_sample : b; energy : o, the filters' squared inner product with the label
    mode, sum_r (sum_i y_i <w_r, z_i>)^2 / (2 m n0 sigma_0^2 sigma_p^2 d (1 + kappa)), 1 on average.
    Limit d >> n0, then n0 and m -> infinity together; corrections of order 1/n0 (n0^(-2/3) at the edge).
    """
    b, strength = filters_per_sample, (1 + kappa) * energy
    edge = 1 / math.sqrt(b)
    square = b * ((1 + kappa) * strength - 1)
    linear = 1 - b * (1 + kappa) * (strength - 1)
    inside = linear * linear + 4 * square
    if inside >= 0 and linear < math.sqrt(inside):
        root = math.sqrt(inside)
        g = 2 / (root - linear)
        if g < edge:
            return 1 + b * g + 1 / g
    return 1 + b * edge + 1 / edge


@closed_form
def late_perturbation(kappa: float, samples: int, overlap: float = 0.0) -> float:
    """C in ||Xi^t||_2 / ||A||_2 = C max |s_ii'| / tau once the filters are along v_1: P1 (12) and (13).

    C = 2 (1 + kappa) / (2 kappa + 1 + a) + O(1/n0) while lambda_1 is A's largest eigenvalue in size. Then
    exactly, with v_1 seen as X on z_i and r X on z~_i, and l = (r - 1) / n0 the mean of a row's similarities,
    C is the largest eigenvalue of
        (1/n0) [[2 (n0 - 1) + 2 l, r - l], [r - l, 0]] [[1 + kappa, a + kappa], [a + kappa, 1 + kappa]]
    over that of A in units of u. For small max |s| / tau.

    kappa : n0 SNR^2 > 0; samples : n0, even; overlap : a.
    """
    modes = linear_modes(kappa, samples, overlap)
    first = math.sqrt(modes[0].own)
    second = math.sqrt(modes[0].alignment / kappa) - first
    equal, across = 1 + kappa, overlap + kappa
    r = (across * first + equal * second) / (equal * first + across * second)
    mean = (r - 1) / samples
    p, q = 2 * (samples - 1) + 2 * mean, r - mean
    half = (p * equal + 2 * q * across) / 2
    largest = half + math.sqrt(half**2 + q**2 * (equal**2 - across**2))
    return largest / samples / max(abs(mode.eigenvalue) for mode in modes)
