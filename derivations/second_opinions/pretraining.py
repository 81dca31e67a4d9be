"""Second opinions on findings 1 to 11, 20, 21 and 27: the same numbers by code that shares nothing.

What FINDINGS.md quotes for pre-training and concentration is measured again: in weight space at a dimension
that fits into memory, in the orthonormal coordinates that d -> infinity leaves, or by an exact sum.
Nothing here imports numsim; what is claimed is written down as a number. ``OPINIONS`` is what
``python -m numsim.derivations.second_opinions`` runs and prints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .opinion import Opinion

__all__ = ["OPINIONS"]

Floats = npt.NDArray[np.float64]


def _mean(draws: list[float] | Floats) -> tuple[float, float]:
    values = np.asarray(draws, dtype=np.float64)
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


# ------------------------------------------------------------------ samples


class _Samples(NamedTuple):
    """z and z~ (n0, D), labels (n0,), noise (n0, D); the signal is along the first axis, sigma_p = 1."""

    z: Floats
    views: Floats
    labels: Floats
    noise: Floats


def _dense(
    rng: np.random.Generator, n: int, d: int, kappa: float, a: float = 0.0, projected: bool = True
) -> _Samples:
    """Balanced labels and independent Gaussian entries in R^d."""
    y = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    xi, new = rng.standard_normal((2, n, d))
    if projected:
        xi[:, 0] = new[:, 0] = 0.0
    signal = np.zeros(d)
    signal[0] = math.sqrt(kappa * d / n)
    views = xi if a == 1 else a * xi + math.sqrt(1 - a * a) * new
    return _Samples(y[:, None] * signal + xi, y[:, None] * signal + views, y, xi)


def _orthogonal(n: int, d: float, kappa: float, a: float = 0.0, plus: int | None = None) -> _Samples:
    """What d -> infinity leaves: noise vectors orthogonal, of length sqrt(d); ``plus`` labels are +1."""
    y = np.where(np.arange(n) < (n // 2 if plus is None else plus), 1.0, -1.0)
    axes = math.sqrt(d) * np.eye(2 * n, 2 * n + 1, 1)
    xi, new = axes[:n], axes[n:]
    signal = np.zeros(2 * n + 1)
    signal[0] = math.sqrt(kappa * d / n)
    views = a * xi + math.sqrt(1 - a * a) * new
    return _Samples(y[:, None] * signal + xi, y[:, None] * signal + views, y, xi)


# ------------------------------------------------------------------ the power matrix


def _spectrum(s: _Samples) -> tuple[Floats, Floats, Floats]:
    """Eigenvalues of A in units of u = eta sigma_p^2 d / (n0 tau), eigenvectors (columns), and their basis.

    By the sum over pairs i != i', on an orthonormal basis of what samples and views span.
    """
    n, d = s.z.shape
    both = np.concatenate([s.z, s.views, np.eye(1, d)])
    basis = np.eye(d) if d <= len(both) else np.linalg.qr(both.T)[0]
    z, v = s.z @ basis, s.views @ basis
    pairs = np.ones((n, n)) - np.eye(n)
    half = (n - 1) * z.T @ v - z.T @ pairs @ z
    values, vectors = np.linalg.eigh((half + half.T) / n)
    length = float(np.mean(np.sum(s.noise**2, axis=1)))
    return values[::-1] / length, vectors[:, ::-1], basis


def _alignment(s: _Samples) -> float:
    _, vectors, basis = _spectrum(s)
    return float((basis @ vectors[:, 0])[0] ** 2)


def _top_ratio() -> tuple[float, float]:
    """lambda_1 over 2 eta |mu|^2 / tau, that is over 2 kappa u, at kappa = 4."""
    rng = np.random.default_rng(1)
    return _mean([_spectrum(_dense(rng, 50, 30_000, 4.0))[0][0] / 8 for _ in range(8)])


def _gap() -> tuple[float, float]:
    """Growth of signal over that of the bulk's middle, lambda_1 over the mean of its positive half."""
    rng, found = np.random.default_rng(2), []
    for _ in range(8):
        values = _spectrum(_dense(rng, 50, 30_000, 4.0))[0]
        found.append(float(values[0] / values[1:49].mean()))
    return _mean(found)


def _half_aligned() -> tuple[float, float]:
    rng = np.random.default_rng(3)
    return _mean([_alignment(_dense(rng, 50, 30_000, 0.5)) for _ in range(12)])


def _aligned(
    seed: int, n: int, d: int, kappa: float, a: float, draws: int, finite: float = 0.0
) -> Callable[[], tuple[float, float]]:
    def measure() -> tuple[float, float]:
        rng = np.random.default_rng(seed)
        value, error = _mean([_alignment(_dense(rng, n, d, kappa, a)) for _ in range(draws)])
        return value, math.hypot(error, finite)

    return measure


def _noise_ratio(projected: bool) -> Callable[[], tuple[float, float]]:
    """Signal over mean noise of v_1 at c = 2, kappa = 2.67."""

    def measure() -> tuple[float, float]:
        rng, found = np.random.default_rng(4), []
        for _ in range(60):
            s = _dense(rng, 400, 200, 2.67, projected=projected)
            _, vectors, basis = _spectrum(s)
            v = basis @ vectors[:, 0]
            mu = math.sqrt(2.67 * 200 / 400)
            found.append(float(np.mean(s.labels * (s.noise @ v)) / (mu * v[0])))
        share, error = _mean(found)
        return 1 / share, error / share**2

    return measure


def _lowest() -> tuple[float, float]:
    rng = np.random.default_rng(5)
    return _mean([_spectrum(_dense(rng, 300, 600, 0.5))[0][-1] for _ in range(12)])


def _imbalanced() -> tuple[float, float]:
    """At mean label 0.3 and kappa = 1, without randomness; the error is that of n0 = 200 and 400."""
    tops = [_spectrum(_orthogonal(n, 1e12, 1.0, plus=round(0.65 * n)))[0][0] for n in (200, 400)]
    return 2 * tops[1] - tops[0], abs(tops[1] - tops[0])


def _overlapping() -> tuple[float, float]:
    rng = np.random.default_rng(6)
    return _mean([_spectrum(_dense(rng, 50, 30_000, 1.0, 0.5))[0][0] for _ in range(8)])


# ------------------------------------------------------------------ dimensions


def _short() -> tuple[float, float]:
    """How far cos^2 is below 2/3 at kappa = 1, d = 5.5 n0, relative."""
    rng = np.random.default_rng(7)
    value, error = _mean([_alignment(_dense(rng, 200, 1100, 1.0)) for _ in range(40)])
    return 1 - 1.5 * value, 1.5 * error


def _cross_terms() -> tuple[float, float]:
    """Exponent of d* = n0^2 max g^2, g the n0 (n0 - 1)/2 products over sqrt(d), from n0 = 26 to 400."""
    rng, sizes = np.random.default_rng(8), np.array([26, 50, 100, 200, 400])
    slopes = []
    for _ in range(40):
        largest = [np.max(np.abs(rng.standard_normal(n * (n - 1) // 2))) for n in sizes]
        slopes.append(np.polyfit(np.log(sizes), np.log(sizes**2 * np.array(largest) ** 2), 1)[0])
    return _mean(slopes)


def _norms() -> tuple[float, float]:
    """The smallest d from which on 100 norms are within a factor 2 with probability 0.975, by chi^2."""
    from scipy.special import gammainc, gammaincc

    d = np.arange(2, 400)
    once = gammainc((d - 1) / 2, d / 4) + gammaincc((d - 1) / 2, 3 * d / 4)
    return float(d[np.flatnonzero(1 - (1 - once) ** 100 > 0.025)[-1] + 1]), 0.0


def _memorised_at_1000() -> tuple[float, float]:
    """Error of cos^2 after 500 steps at n0 = 20, kappa = 4, d = 1000, in the root mean square."""
    limit = _course(_Run(20, 1e12, 4.0, scale=1e-6, filters=8, balanced=True), 1, (500,))[0].alignment
    rng, squares = np.random.default_rng(9), []
    for _ in range(16):
        s = _dense(rng, 20, 1000, 4.0)
        start = 1e-6 / math.sqrt(1000) * rng.standard_normal((8, 1000))
        end = list(_descent(s, start, 500, 0.1 / 9 * 20 / 1000))[-1][1]
        moved = end - start
        squares.append((float(np.sum(moved[:, 0] ** 2) / np.sum(moved**2)) - limit) ** 2)
    square, error = _mean(squares)
    return math.sqrt(square), error / (2 * math.sqrt(square))


# ------------------------------------------------------------------ descent on InfoNCE


def _weights(inner: Floats, on_views: Floats) -> tuple[float, Floats, Floats]:
    """Loss, p_ii' with zeros on the diagonal, p_i+, of <w_r, z_i> and <w_r, z~_i> (M, n0), tau = 1."""
    s, own = inner.T @ inner, np.sum(inner * on_views, axis=0)
    np.fill_diagonal(s, -np.inf)
    top = np.maximum(s.max(axis=1), own)
    weights, positive = np.exp(s - top[:, None]), np.exp(own - top)
    total = weights.sum(axis=1) + positive
    return float(np.mean(np.log(total) + top - own)), weights / total[:, None], positive / total


def _descent(s: _Samples, W: Floats, steps: int, rate: float) -> Iterator[tuple[float, Floats]]:
    """Loss and filters at steps 0 to ``steps`` of gradient descent in weight space."""
    n = len(s.z)
    for _ in range(steps + 1):
        inner, on_views = W @ s.z.T, W @ s.views.T
        loss, p, positive = _weights(inner, on_views)
        yield loss, W
        left = (positive - 1) * on_views + inner @ (p + p.T)
        W = W - rate / n * (left @ s.z + ((positive - 1) * inner) @ s.views)


class _Run(NamedTuple):
    """n0, d, kappa, overlap, relative initial scale, 2m and labels of a run; lambda_1 = 0.1."""

    samples: int
    dim: float
    kappa: float
    overlap: float = 0.0
    scale: float = 1e-3
    filters: int = 20
    balanced: bool = False


class _State(NamedTuple):
    """Of filters: loss, cos^2(w - w^0, mu), cos^2 with the mean noise of views and samples, R."""

    loss: float
    alignment: float
    on_views: float
    on_samples: float
    ratio: float


def _course(run: _Run, seed: int, at: tuple[int, ...]) -> list[_State]:
    """A run on fixed views in the coordinates that d -> infinity leaves, at some steps."""
    n, d = run.samples, run.dim
    rng = np.random.default_rng(seed)
    plus = n // 2 if run.balanced else int(rng.binomial(n, 0.5))
    s = _orthogonal(n, d, run.kappa, run.overlap, plus)
    start = run.scale / math.sqrt(d) * rng.standard_normal((run.filters, 2 * n + 1))
    untouched = run.filters * run.scale**2 / d * (d - 2 * n - 1)
    rate = 0.1 * n / (d * (2 * run.kappa + 1 + run.overlap))
    mu = math.sqrt(run.kappa * d / n)
    seen, mean = (
        [],
        (s.labels @ (s.views - s.labels[:, None] * s.z[0, 0] * s.labels[0] * np.eye(1, 2 * n + 1))),
    )
    noise = s.labels @ s.noise
    for step, (loss, W) in enumerate(_descent(s, start, max(at), rate)):
        if step in at:
            moved, size = W - start, float(np.sum((W - start) ** 2)) or 1.0
            views, samples = (
                float(np.sum((moved @ (v / np.linalg.norm(v))) ** 2)) / size for v in (mean, noise)
            )
            across = float(np.sum(W[:, 1:] ** 2)) + untouched
            ratio = mu * math.sqrt(float(np.sum(W[:, 0] ** 2)) / across)
            seen.append(_State(loss, float(np.sum(moved[:, 0] ** 2)) / size, views, samples, ratio))
    return seen


_DEFAULT = _Run(100, 1e8, 4.0)


def _at(run: _Run, step: int, what: str, draws: int = 16) -> Callable[[], tuple[float, float]]:
    def measure() -> tuple[float, float]:
        return _mean([getattr(_course(run, seed, (step,))[0], what) for seed in range(draws)])

    return measure


def _perturbation(end: bool) -> Callable[[], tuple[float, float]]:
    """|Xi| / |A| of default filters over sigma_0 at d = 1e8, or (``end``) at max |s| = 0.3."""

    def measure() -> tuple[float, float]:
        n, d, found = 100, 1e8, []
        s = _orthogonal(n, d, 4.0)
        zero = _map(s, np.zeros((1, 2 * n + 1)))
        size = np.max(np.abs(np.linalg.eigvalsh(zero)))
        for seed in range(4 if end else 16):
            start = 1e-3 / math.sqrt(d) * np.random.default_rng(seed).standard_normal((20, 2 * n + 1))
            for _, W in _descent(s, start, 200 if end else 0, 0.1 / 9 * n / d):
                similar = (W @ s.z.T).T @ (W @ s.z.T)
                np.fill_diagonal(similar, 0.0)
                if np.max(np.abs(similar)) > 0.3:
                    break
            change = np.max(np.abs(np.linalg.eigvalsh(_map(s, W) - zero))) / size
            found.append(
                float(change / np.max(np.abs(similar)) * 0.3 if end else change / (1e-3 / math.sqrt(d)))
            )
        return _mean(found)

    return measure


def _map(s: _Samples, W: Floats) -> Floats:
    """-n0 H(W), (D, D), term by term of the gradient."""
    _, p, positive = _weights(W @ s.z.T, W @ s.views.T)
    half = s.z.T @ ((1 - positive)[:, None] * s.views) - s.z.T @ p @ s.z
    found: Floats = half + half.T
    return found


def _handed_over() -> tuple[float, float]:
    """R at the first step with max |s| > 0.3, default settings."""
    n, d, found = 100, 1e8, []
    s = _orthogonal(n, d, 4.0)
    for seed in range(16):
        start = 1e-3 / math.sqrt(d) * np.random.default_rng(seed).standard_normal((20, 2 * n + 1))
        for _, W in _descent(s, start, 200, 0.1 / 9 * n / d):
            similar = (W @ s.z.T).T @ (W @ s.z.T)
            np.fill_diagonal(similar, 0.0)
            if np.max(np.abs(similar)) > 0.3:
                break
        across = float(np.sum(W[:, 1:] ** 2)) + 20 * 1e-6 * (1 - (2 * n + 1) / d)
        found.append(0.2 * math.sqrt(d) * math.sqrt(float(np.sum(W[:, 0] ** 2)) / across))
    return _mean(found)


def _extrapolated() -> tuple[float, float]:
    """cos^2 on fixed views as t -> infinity at n0 = 20, by Aitken's rule along log s_ii'."""
    n, d, rate = 20, 1e12, 0.1 / 9 * 20 / 1e12
    s = _orthogonal(n, d, 4.0)
    start = 1e-9 / math.sqrt(d) * np.random.default_rng(0).standard_normal((8, 2 * n + 1))
    x, y = [], []
    for loss, W in _descent(s, start, 6000, rate):
        if loss < 0.05:
            moved = W - start
            y.append(float(np.sum(moved[:, 0] ** 2) / np.sum(moved**2)))
            x.append(math.log(float(np.sum((W @ s.z.T) ** 2)) / n))
    limits = []
    for share in (0.5, 0.75):
        far, middle, near = np.interp(np.linspace(x[0] + share * (x[-1] - x[0]), x[-1], 3), x, y)
        limits.append(near - (middle - near) ** 2 / ((far - middle) - (middle - near)))
    return float(limits[1]), 2 * float(abs(limits[1] - limits[0]))


# ------------------------------------------------------------------ views drawn anew


def _fresh(seed: int, steps: int, negatives: str, a: float = 0.0, n: int = 100, d: float = 1e8) -> _State:
    """Fresh views at the defaults: coordinates on mu and the anchors' noise, a Gram matrix of the rest.

    What filters see of new noise is Gaussian with their Gram matrix off mu; its n0 directions are new and
    orthogonal, of length sqrt(d), up to 1/sqrt(d). a : the overlap of anchors and views.
    """
    rng = np.random.default_rng(seed)
    mu = 0.2 * math.sqrt(d)
    kappa = 4.0
    rate, new = 0.1 / (2 * kappa + 1 + a) * n / d, math.sqrt(1 - a * a)
    y = rng.choice([-1.0, 1.0], n)
    M = 20
    start = 1e-3 / math.sqrt(d) * rng.standard_normal((M, n + 1))
    W, rest = start.copy(), np.eye(M) * (1e-6 / d * (d - n - 1))  # Gram matrix of the other coordinates
    gained = np.zeros((M, M))  # of what has been added to them
    for step in range(steps + 1):
        inner = np.outer(W[:, 0] * mu, y) + math.sqrt(d) * W[:, 1:]
        off = np.linalg.cholesky(W[:, 1:] @ W[:, 1:].T + rest)
        seen = off @ rng.standard_normal((M, n))  # of new noise
        on_views = np.outer(W[:, 0] * mu, y) + a * math.sqrt(d) * W[:, 1:] + new * seen
        if negatives == "anchors":
            loss, p, positive = _weights(inner, on_views)
            left, right = (positive - 1) * on_views + inner @ (p + p.T), (positive - 1) * inner
        else:
            s = inner.T @ on_views
            weights = np.exp(s - s.max(axis=1, keepdims=True))
            p = weights / weights.sum(axis=1, keepdims=True)
            loss = float(-np.mean(np.log(np.diag(p))))
            pull = p - np.eye(n)
            left, right = on_views @ pull.T, inner @ pull
        if step == steps:
            break
        left, right = -rate / n * left, -rate / n * right
        W[:, 0] += mu * (left + right) @ y
        W[:, 1:] += math.sqrt(d) * (left + a * right)
        right = new * right
        cross = right @ seen.T
        rest = rest + cross + cross.T + d * right @ right.T
        gained = gained + d * right @ right.T
    along = float(np.sum(W[:, 0] ** 2))
    moved = W - start
    cosine = float(np.sum(moved[:, 0] ** 2)) / (float(np.sum(moved**2)) + float(np.trace(gained)))
    ratio = mu * math.sqrt(along / (float(np.sum(W[:, 1:] ** 2)) + float(np.trace(rest))))
    return _State(loss, cosine, math.nan, math.nan, ratio)


def _fresh_at(
    step: int, what: str, negatives: str = "anchors", a: float = 0.0
) -> Callable[[], tuple[float, float]]:
    def measure() -> tuple[float, float]:
        return _mean([getattr(_fresh(seed, step, negatives, a), what) for seed in range(24)])

    return measure


# ------------------------------------------------------------------ sums


def _signal_excess() -> tuple[float, float]:
    """Mean over all labellings of log(1 + negatives of the own label), less log(n0/2), n0 = 100."""
    n = 100
    mean = math.fsum(math.comb(n - 1, k) * math.log(1 + k) for k in range(n)) / 2 ** (n - 1)
    return mean - math.log(n / 2), 0.0


def _both_signs() -> tuple[float, float]:
    """Failures of C2 at m = 16, n = 10, delta = 0.0109234 over delta, from 1.6 million draws."""
    m, n, delta = 16, 10, 0.0109233996
    high, high_noise = math.sqrt(2 * math.log(8 * m / delta)), 2 * math.sqrt(math.log(8 * m * n / delta))
    rng, failed, block, blocks = np.random.default_rng(10), 0, 10_000, 160
    for _ in range(blocks):
        g = rng.standard_normal((2 * (n + 1), m, block), dtype=np.float32)
        top, size = g.max(axis=1), np.abs(g).max(axis=1)
        bad = (top[:2] < 0.5).any(axis=0) | (top[2:] < 0.25).any(axis=0)
        bad |= (size[:2] > high).any(axis=0) | (size[2:] > high_noise).any(axis=0)
        failed += int(bad.sum())
    return failed / (block * blocks * delta), math.sqrt(failed) / (block * blocks * delta)


def _cross_bound(ratio: bool) -> Callable[[], tuple[float, float]]:
    """n = 20, delta = 0.05, d -> infinity: draws in which the bound is exceeded once, or bound over sharp."""

    def measure() -> tuple[float, float]:
        n, delta = 20, 0.05
        pairs, bound = n * (n - 1) // 2, 2 * math.sqrt(math.log(4 * n**2 / delta))
        if not ratio:
            return 1 / (pairs * math.erfc(bound / math.sqrt(2))), 0.0
        low, high = 1.0, 10.0
        for _ in range(80):  # 1 - (1 - P)^pairs = delta/2
            middle = (low + high) / 2
            exceeded = 1 - (1 - math.erfc(middle / math.sqrt(2))) ** pairs
            low, high = (middle, high) if exceeded > delta / 2 else (low, middle)
        return bound / low, 0.0

    return measure


def _balance() -> tuple[float, float]:
    """The smallest n from which on both classes have n/4 samples with probability 0.95."""
    good = [sum(math.comb(n, k) for k in range(n + 1) if min(k, n - k) >= n / 4) / 2**n for n in range(1, 60)]
    return float(2 + max(k for k, p in enumerate(good) if p < 0.95)), 0.0


OPINIONS: list[Opinion] = [
    Opinion(1, "top eigenvalue over 2 eta |mu|^2/tau, kappa = 4", 1.125, _top_ratio),
    Opinion(1, "growth of signal over that of the bulk, kappa = 4", 9.0, _gap),
    Opinion(2, "cos^2(v_1, mu) at kappa = 1/2, d >> n0", 0.5, _half_aligned),
    Opinion(2, "cos^2 at twice the transition, n0 = d/2", 0.5894, _aligned(11, 600, 1200, 1.0981, 0.0, 8)),
    Opinion(
        2,
        "cos^2 at half the transition, n0 = d/2, to 1/n0",
        0.0,
        _aligned(12, 400, 800, 0.2745, 0.0, 12, 1 / 400),
    ),
    Opinion(3, "signal over noise of v_1, c = 2, projected", 4.75, _noise_ratio(True)),
    Opinion(3, "signal over noise of v_1, c = 2, not projected", 5.34, _noise_ratio(False)),
    Opinion(3, "lowest eigenvalue at c = 1/2", -2.914, _lowest),
    Opinion(4, "top eigenvalue at mean label 0.3, kappa = 1", 2.846, _imbalanced),
    Opinion(5, "cos^2 short of 2/3 at kappa = 1, d = 5.5 n0", 0.05, _short),
    Opinion(5, "exponent of d for the worst cross term", 2.24, _cross_terms),
    Opinion(5, "norms within a factor 2: d at n0 = 100", 121.0, _norms),
    Opinion(5, "error of memorisation's cos^2 at d = 1000", 0.0055, _memorised_at_1000),
    Opinion(6, "|Xi|/|A| at the start, over sigma_0", 11.0, _perturbation(False)),
    Opinion(6, "|Xi|/|A| at max |s| = 0.3", 0.318, _perturbation(True)),
    Opinion(7, "signal to fresh noise at the linear end", 113.0, _handed_over),
    Opinion(8, "cos^2 on fixed views, 200 steps", 0.5927, _at(_DEFAULT, 200, "alignment")),
    Opinion(8, "cos^2 on fixed views, t -> infinity", 0.585, _extrapolated),
    Opinion(8, "cos^2 with the views' mean noise, 200 steps", 0.3606, _at(_DEFAULT, 200, "on_views")),
    Opinion(9, "cos^2 on fresh views, 400 steps", 0.7226, _fresh_at(400, "alignment")),
    Opinion(9, "R on fresh views, 400 steps", 1209.9, _fresh_at(400, "ratio")),
    Opinion(9, "R on fixed views, 400 steps", 887.5, _at(_DEFAULT, 400, "ratio")),
    Opinion(
        9, "cos^2 with fresh views as negatives, 400 steps", 0.9454, _fresh_at(400, "alignment", "views")
    ),
    Opinion(
        28, "cos^2 on fresh views, a = 0.9, 400 steps", 0.0925, _fresh_at(400, "alignment", "anchors", 0.9)
    ),
    Opinion(10, "top eigenvalue at a = 1/2, kappa = 1", 3.5, _overlapping),
    Opinion(10, "cos^2 without views at 2.74 n0, n0 = d/10", 0.5, _aligned(13, 822, 3000, 1.6675, 1.0, 4)),
    Opinion(10, "cos^2 without views at 4 n0*, d = 600", 0.015, _aligned(14, 240, 600, 0.8109, 1.0, 40)),
    Opinion(11, "loss of signal alone less log(n0/2), n0 = 100", 0.005025, _signal_excess),
    Opinion(20, "failures of both signs over delta", 1.038, _both_signs),
    Opinion(21, "draws in which the cross-term bound fails once", 4.45e7, _cross_bound(False)),
    Opinion(21, "cross-term bound over the sharp one, n = 20", 1.69, _cross_bound(True)),
    Opinion(21, "samples for class balance, delta = 0.05", 15.0, _balance),
    Opinion(
        27,
        "cos^2 without augmentation, 140 steps",
        0.7897,
        _at(_DEFAULT._replace(overlap=1.0), 140, "alignment"),
    ),
    Opinion(
        27,
        "cos^2 without augmentation, 200 steps",
        0.7295,
        _at(_DEFAULT._replace(overlap=1.0), 200, "alignment"),
    ),
    Opinion(
        27,
        "cos^2 without augmentation, 400 steps",
        0.0665,
        _at(_DEFAULT._replace(overlap=1.0), 400, "alignment"),
    ),
]
