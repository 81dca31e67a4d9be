"""C1: noise patches have length near sigma_p sqrt(d) and are nearly orthogonal, c1_noise_concentration.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from numsim.claims import (
    Claim,
    Comparison,
    Evidence,
    Outcome,
    Trials,
    equals,
    failure_rate,
    follows,
    frequency,
)
from numsim.theory import (
    cross_term_bound,
    cross_term_quantile,
    cross_term_tail,
    noise_norm_dimension,
    noise_norm_dimension_bound,
    noise_norm_failure,
    noise_norm_interval,
)

from .drawn_noise import noise_in_coordinates, noise_in_space, noise_of_instances

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_SAMPLES, _DELTA = 20, 0.05
_SIGMA = 0.7
_HUGE = 10**12
_EXACT = 1e-9
_HALF = 0.5


def _gram(vectors: Floats) -> tuple[Floats, Floats]:
    """Squared norms (repeats, n) and the largest |<xi_i, xi_k>|, i != k, (repeats,)."""
    gram = vectors @ np.swapaxes(vectors, 1, 2)
    norms = np.diagonal(gram, axis1=1, axis2=2).copy()
    off = np.abs(gram) * (1 - np.eye(gram.shape[1]))
    return norms, off.max(axis=(1, 2))


def _outside(norms: Floats, dim: float) -> npt.NDArray[np.bool_]:
    """Whether any norm leaves the interval, (repeats,)."""
    low, high = noise_norm_interval(dim)
    return np.asarray(((norms < low) | (norms > high)).any(axis=1), dtype=np.bool_)


def _product_law(dim: float, projected: bool) -> Callable[[Floats], Floats]:
    """Distribution function of <xi_i, xi_k> / sigma_p^2 from the tail of its size."""

    def law(x: Floats) -> Floats:
        tail = cross_term_tail(np.abs(x), dim, projected=projected) / 2
        return np.where(x < 0, tail, 1 - tail)

    return law


def _pairs(vectors: Floats) -> tuple[Floats, Floats]:
    """Disjoint pairs, the first with the last and so on inwards."""
    half = vectors.shape[1] // 2
    return vectors[:, :half], vectors[:, ::-1][:, :half]


def _lengths(name: str, vectors: Floats, freedom: int) -> Comparison:
    """|xi|^2 / sigma_p^2 against C1 (3)."""
    from scipy.stats import chi2

    return follows(f"{name}: |xi|^2", lambda x: chi2.cdf(x, freedom), np.sum(vectors**2, axis=2))


def _products(name: str, vectors: Floats, dim: int, *, projected: bool = True) -> Comparison:
    """<xi_i, xi_k> / sigma_p^2 of disjoint pairs against C1 (10)."""
    first, last = _pairs(vectors)
    return follows(f"{name}: <xi_i, xi_k>", _product_law(dim, projected), np.sum(first * last, axis=2))


def _given(name: str, vectors: Floats) -> Comparison:
    """<xi_i, xi_k> / (sigma_p |xi_k|) of disjoint pairs against C1 (8)."""
    from scipy.stats import norm

    first, last = _pairs(vectors)
    scaled = np.sum(first * last, axis=2) / np.sqrt(np.sum(last**2, axis=2))
    return follows(f"{name}: <xi_i, xi_k> / |xi_k|", norm.cdf, scaled)


def _first(name: str, vectors: Floats) -> Comparison:
    """The first view and the first labelled patch over the first unlabelled one, of 8 each, against C1 (8).

    Where two random streams are one, it is their first vectors that are alike.
    """
    from scipy.stats import norm

    first = vectors[:, 0] / np.linalg.norm(vectors[:, 0], axis=1, keepdims=True)
    scaled = np.einsum("rd,rkd->rk", first, vectors[:, [8, 16]])
    return follows(f"{name}: first patches", norm.cdf, scaled)


def _statement(trials: Trials, dim: int, factor: float, louder: float) -> Comparison:
    """How often a norm or a product leaves its bounds."""
    repeats = trials.pick(200, 2000)
    norms, products = _gram(noise_in_space(trials, repeats, dim, (_SAMPLES,), louder))
    missed = _outside(norms, dim) | (products > factor * cross_term_bound(dim, _SAMPLES, _DELTA))
    return failure_rate(f"norms and products, d = {dim:.3g}", _DELTA, int(missed.sum()), repeats)


def _ladder(trials: Trials, louder: float) -> tuple[list[Comparison], Floats]:
    """How often a norm leaves its interval, dimension by dimension, against C1 (4)."""
    repeats = trials.pick(200, 2000)
    comparisons = []
    ladder = (20, noise_norm_dimension(_SAMPLES, 0.5), noise_norm_dimension(_SAMPLES, 0.1))
    for dim in ladder:
        norms, _ = _gram(noise_in_space(trials, repeats, dim, (_SAMPLES,), louder))
        expected = noise_norm_failure(dim, _SAMPLES)
        found = int(_outside(norms, dim).sum())
        comparisons.append(frequency(f"a norm outside, d = {dim}", expected, found, repeats))
    return comparisons, np.array(ladder, dtype=np.float64)


def _largest(trials: Trials, louder: float) -> tuple[Comparison, Floats]:
    """The largest of all products at a dimension where they are independent, against C1 (12)."""
    repeats = trials.pick(250, 2000)
    _, products = _gram(noise_in_space(trials, repeats, _HUGE, (10,), louder))
    expected = cross_term_quantile(_HUGE, 10, _HALF)
    found = int((products > expected).sum())
    return frequency("largest product above its median", _HALF, found, repeats), products


def _worst(ratios: Floats) -> float:
    return float(np.max(np.abs(ratios - 1)))


def _budgets() -> list[Comparison]:
    """What the bounds leave of delta, by the inequalities they come from; laws that are elementary."""
    from scipy.optimize import minimize_scalar
    from scipy.special import gammainc, gammaincc

    n, delta, dim = _SAMPLES, _DELTA, 300.0
    bound = cross_term_bound(dim, n, delta, _SIGMA) / _SIGMA**2
    other = cross_term_bound(50.0, 7, 0.3)
    rate = -minimize_scalar(
        lambda s: -1.5 * s - math.log(1 - 2 * s) / 2,
        bounds=(0, 0.5),
        method="bounded",
        options={"xatol": 1e-10},
    ).fun
    enough = noise_norm_dimension_bound(n, delta / 2)
    norms = [gammainc((d - 1) / 2, d / 4) + gammaincc((d - 1) / 2, 3 * d / 4) for d in range(2, 400)]
    smallest = 2 + next(i for i, p in enumerate(norms) if 1 - (1 - p) ** n <= delta / 2)
    free = [gammainc(d / 2, d / 4) + gammaincc(d / 2, 3 * d / 4) for d in range(1, 400)]
    smallest_free = 1 + next(i for i, p in enumerate(free) if 1 - (1 - p) ** n <= delta / 2)
    low, high = noise_norm_interval(dim, _SIGMA)
    once = gammainc(30 / 2, 30 / 4) + gammaincc(30 / 2, 3 * 30 / 4)
    several = next(d for d in range(1, 400) if 1 - (1 - free[d - 1]) ** 6 <= 0.2)
    x = np.array([0.3, 2.0, 9.0])
    return [
        equals(
            "products' share of delta, C1 (11)",
            delta / 2,
            n**2 * 2 * math.exp(-(bound**2) / (4 * dim)),
            order=_EXACT,
        ),
        equals("products' share of 0.3, n = 7", 0.15, 7**2 * 2 * math.exp(-(other**2) / 200), order=_EXACT),
        equals(
            "norms' share of 0.2, n = 6",
            0.2,
            12 * math.exp(rate * -noise_norm_dimension_bound(6, 0.2)),
            order=_EXACT,
        ),
        equals("a norm outside, not projected", once, noise_norm_failure(30, projected=False), order=_EXACT),
        equals("smallest d, n = 6, not projected", several, noise_norm_dimension(6, 0.2, projected=False)),
        equals("norms' share of delta, C1 (7)", delta / 2, 2 * n * math.exp(rate * -enough), order=_EXACT),
        equals("smallest d for the norms", smallest, noise_norm_dimension(n, delta / 2)),
        equals(
            "smallest d, not projected", smallest_free, noise_norm_dimension(n, delta / 2, projected=False)
        ),
        equals("lower end of the norms", _SIGMA**2 * dim / 2, low, order=_EXACT),
        equals("upper end of the norms", 3 * _SIGMA**2 * dim / 2, high, order=_EXACT),
        equals("products in R^3, C1 (10)", 1, 1 + _worst(cross_term_tail(x, 3) / np.exp(-x)), order=_EXACT),
        equals(
            "products in R^5, C1 (10)",
            1,
            1 + _worst(cross_term_tail(x, 5) / (np.exp(-x) * (1 + x / 2))),
            order=_EXACT,
        ),
        equals(
            "largest of 45 products in R^3, C1 (12)",
            -math.log(1 - (1 - delta) ** (1 / 45)),
            cross_term_quantile(3, 10, delta),
            order=_EXACT,
        ),
        equals(
            "largest of 6 products in R^2, not projected",
            -math.log(1 - 0.7 ** (1 / 6)),
            cross_term_quantile(2, 4, 0.3, projected=False),
            order=_EXACT,
        ),
    ]


def check(
    trials: Trials,
    *,
    dim: int | None = None,
    factor: float = 1.0,
    tails: float = math.inf,
    louder: float = 1.0,
) -> Outcome:
    """Failures of C1 (1) and (2) against delta, and the exact laws behind them.

    ``dim`` replaces the dimension that C1 (7) asks for, ``factor`` multiplies the bound of the products,
    ``tails`` are the degrees of freedom of Student's t in place of a Gaussian coordinate, ``louder``
    multiplies the noise.
    """
    needed = math.ceil(noise_norm_dimension_bound(_SAMPLES, _DELTA / 2)) if dim is None else dim
    small = noise_in_space(trials, trials.pick(300, 2500), 12, (7, 13), louder)
    free = noise_in_space(trials, trials.pick(100, 1000), 9, (5, 11), louder, projected=False)
    large = noise_in_space(trials, trials.pick(80, 600), 10**8, (_SAMPLES,), louder)
    instances, instance_dim, along = noise_of_instances(trials, louder)
    dense, dense_dim = noise_in_coordinates(trials, tails, louder)
    ladder, dims = _ladder(trials, louder)
    largest, products = _largest(trials, louder)
    comparisons = [
        _statement(trials, needed, factor, louder),
        _statement(trials, 10**8, factor, louder),
        *ladder,
        largest,
        _lengths("axes to come", small[:, :7], 11),
        _lengths("no axes left", small[:, 7:], 11),
        _given("d = 12", small),
        _products("d = 12", small, 12),
        _lengths("not projected", free, 9),
        _products("not projected", free, 9, projected=False),
        _lengths("d = 1e8", large, 10**8 - 1),
        _products("d = 1e8", large, 10**8),
        _lengths("draw", instances, instance_dim - 1),
        _products("draw", instances, instance_dim),
        _lengths("coordinates", dense, dense_dim - 1),
        _products("coordinates", dense, dense_dim),
        _first("draw", instances),
        equals("draw: largest |<xi, mu>|", 0, along),
        *_budgets(),
    ]
    data = {"products": np.sort(products) / math.sqrt(_HUGE), "dims": dims}
    return Outcome(comparisons, sum(len(v) for v in (small, free, large, instances, dense)), data)


def figure(evidence: Evidence) -> Figure:
    """Left: how often one of 20 norms leaves its interval. Right: law of the largest of 45 products."""
    from numsim.shown.claim_figures import CONTROL, MEASURED, PREDICTED, measured_points, panels

    drawn, (left, right) = panels(2)
    d = np.arange(10, 201, 2)
    left.semilogy(d, [noise_norm_failure(int(k), _SAMPLES) for k in d], **PREDICTED)
    rate = math.log(2 * _SAMPLES / _DELTA) / noise_norm_dimension_bound(_SAMPLES, _DELTA)
    left.semilogy(d, 2 * _SAMPLES * np.exp(-rate * d), color="0.5", linewidth=1.2, label="Chernoff's bound")
    found = evidence.outcome.comparisons[2:5]
    middle = np.array([c.measured for c in found])
    interval = np.array([c.interval for c in found])
    measured_points(left, evidence.outcome.data["dims"], middle, np.abs(interval.T - middle))
    left.axvline(20, **{**CONTROL, "label": "control, d = 20"})
    left.set(xlabel="dimension $d$", ylabel="P(a norm outside), $n = 20$", ylim=(1e-4, 2))
    left.legend(loc="lower left", bbox_to_anchor=(0.12, 0.0), fontsize=8)
    t = np.linspace(1, 6, 120)
    once = cross_term_tail(t * math.sqrt(_HUGE), _HUGE)
    right.semilogy(t, 1 - (1 - once) ** 45, **PREDICTED)
    values = evidence.outcome.data["products"]
    shown = slice(None, None, max(1, len(values) // 25))
    right.semilogy(values[shown], (1 - np.arange(len(values)) / len(values))[shown], **MEASURED)
    bound = cross_term_bound(_HUGE, 10, _DELTA) / math.sqrt(_HUGE)
    right.axvline(bound, color="0.5", linewidth=1.2, label="bound")
    right.axvline(0.35 * bound, **{**CONTROL, "label": "control, 0.7 for 2"})
    right.set(
        xlabel=r"$\max |\langle\xi_i, \xi_k\rangle| / \sigma_p^2\sqrt{d}$", ylabel="P(larger), $n = 10$"
    )
    right.set(ylim=(1e-4, 2))
    right.legend(loc="lower left", bbox_to_anchor=(0.22, 0.0), fontsize=8)
    return drawn


CLAIM = Claim(
    id="C1",
    title="Noise patches have nearly equal length and are nearly orthogonal",
    source="Cao et al. 2022, appendix B; exact laws new here",
    statement=r"\sigma_p^2 d / 2 \le \lVert \xi_i \rVert^2 \le 3 \sigma_p^2 d / 2 , \quad "
    r"\lvert \langle \xi_i, \xi_k \rangle \rvert \le 2 \sigma_p^2 \sqrt{d \log(4 n^2 / \delta)}",
    check=check,
    controls={
        "norms at d = 20": {"dim": 20},
        "0.7 for the 2 in the bound of the products": {"factor": 0.35},
        "Student's t with 8 degrees of freedom for the Gaussian": {"tails": 8.0},
    },
    theory=(
        "cross_term_bound",
        "cross_term_quantile",
        "cross_term_tail",
        "noise_norm_dimension",
        "noise_norm_dimension_bound",
        "noise_norm_failure",
        "noise_norm_interval",
    ),
    figure=figure,
)
