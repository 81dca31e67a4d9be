"""Second opinions on the findings about supervised training, by other code than the claims use.

Gradient descent written from the definitions in plain NumPy: filters are held by their inner products with
the signal and the noise patches, and a step of descent moves these by the patches' Gram matrix. Patches are
drawn in R^d and the Gram matrix is theirs, or it is diagonal, the limit of large d. Nothing of numsim is
used; what the findings claim is written here as numbers. ``OPINIONS`` is what
``python -m numsim.derivations.second_opinions`` runs and prints.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .opinion import Opinion

__all__ = ["OPINIONS"]

Floats = npt.NDArray[np.float64]


# ------------------------------------------------------------------ descent on many instances at once


class Nets(NamedTuple):
    """R instances.

    inner (R, 2, m, 1 + n) : <w_jr, v> for v = mu, xi_1 ... xi_n; gram (R, 1 + n, 1 + n), or its diagonal
    (R, 1 + n); y, observed (R, n) : true and observed labels.
    """

    inner: Floats
    gram: Floats
    y: Floats
    observed: Floats


def _pull(net: Nets, inner: Floats, q: float) -> tuple[Floats, Floats]:
    """Margins (R, n) and the coefficients (R, 2, m, 1 + n) of -n m gradient on mu and the xi_i."""
    m = inner.shape[2]
    sign = np.array([1.0, -1.0])[None, :, None, None]
    along = inner[..., :1] * net.y[:, None, None, :]  # <w, y_i mu>
    across = inner[..., 1:]

    def power(x: Floats, p: float) -> Floats:
        result = np.where(x > 0, 1.0, 0.0)
        for _ in range(int(p)):
            result *= x
        return result

    outputs = np.sum(sign * (power(along, q) + power(across, q)), axis=(1, 2)) / m
    margins = net.observed * outputs
    g = net.observed / (1 + np.exp(np.minimum(margins, 700.0)))
    weight = sign * g[:, None, None, :] * q
    signal = np.sum(weight * power(along, q - 1) * net.y[:, None, None, :], axis=3, keepdims=True)
    return margins, np.concatenate([signal, weight * power(across, q - 1)], axis=3)


def descend(
    net: Nets, *, q: float, rate: float, loss: float, steps: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """inner and summed coefficients at the first step with training loss <= loss, that loss, and the steps.

    rate : eta / (n m).
    """
    inner, total = net.inner.copy(), np.zeros_like(net.inner)
    losses, taken = np.full(len(inner), np.inf), np.zeros(len(inner))
    active = np.arange(len(inner))
    for _ in range(steps):
        part = Nets(inner[active], net.gram[active], net.y[active], net.observed[active])
        margins, pull = _pull(part, part.inner, q)
        losses[active] = np.mean(np.logaddexp(0.0, -margins), axis=1)
        going = losses[active] > loss
        active, pull = active[going], rate * pull[going]
        if not len(active):
            break
        total[active] += pull
        gram = net.gram[active]
        moved = pull * gram[:, None, None, :] if gram.ndim == 2 else np.einsum("rjmk,rkl->rjml", pull, gram)
        inner[active] += moved
        taken[active] += 1
    return inner, total, losses, taken


def start(
    rng: np.random.Generator,
    runs: int,
    n: int,
    m: int,
    snr: float,
    scale: float,
    *,
    dim: int | None = None,
    balanced: bool = False,
    flips: float = 0.0,
) -> Nets:
    """Random filters in units in which |xi| = 1: dim None is the limit of orthogonal patches of length 1."""
    y = np.sign(rng.random((runs, n)) - 0.5)
    if balanced:
        y = np.tile(np.repeat([1.0, -1.0], n // 2), (runs, 1))
    observed = np.where(rng.random((runs, n)) < flips, -y, y)
    sizes = np.concatenate([[snr], np.ones(n)])
    if dim is None:
        inner = scale * sizes * rng.standard_normal((runs, 2, m, 1 + n))
        return Nets(inner, np.tile(sizes**2, (runs, 1)), y, observed)
    inner, gram = np.empty((runs, 2, m, 1 + n)), np.empty((runs, 1 + n, 1 + n))
    for k in range(runs):
        patches = rng.standard_normal((1 + n, dim)) / math.sqrt(dim)
        patches[1:, 0] = 0.0  # projected off mu, which is along axis 0
        patches[0] = 0.0
        patches[0, 0] = snr
        W = scale * rng.standard_normal((2 * m, dim))
        inner[k], gram[k] = (W @ patches.T).reshape(2, m, -1), patches @ patches.T
    return Nets(inner, gram, y, observed)


def ratios(net: Nets, q: float, snr: float) -> Floats:
    """(R, 2) pull there is over pull it takes, from the start, clean labels; 0 without samples."""
    found = np.zeros((len(net.y), 2))
    for side, j in enumerate((1.0, -1.0)):
        a = np.max(j * net.inner[:, side, :, 0], axis=1)
        b = np.max(net.inner[:, side, :, 1:], axis=1)
        with np.errstate(divide="ignore"):
            clock = np.where(b > 0, np.maximum(b, 1e-300) ** (2 - q), np.inf)
        budget = snr**2 * np.sum(np.where(net.y == j, clock, 0.0), axis=1)
        found[:, side] = np.where(a > 0, budget * np.maximum(a, 0.0) ** (q - 2), 0.0)
    return found


def learned(inner: Floats, size: float = 1.0) -> npt.NDArray[np.bool_]:
    """(R, 2) whether an activation on each class's signal is of at least this size."""
    return np.stack([inner[:, 0, :, 0].max(axis=1), -inner[:, 1, :, 0].min(axis=1)], axis=1) > size


def share(hits: npt.ArrayLike) -> tuple[float, float]:
    """A frequency and its standard error, that of one miss at least."""
    x = np.asarray(hits, dtype=np.float64).ravel()
    p = (x.sum() + 0.5) / (x.size + 1)
    return float(x.mean()), math.sqrt(p * (1 - p) / x.size)


# ------------------------------------------------------------------ findings 12 to 16


def _criterion(median: bool) -> tuple[float, float]:
    """Outcomes near the switch in R^4000, called by the power mean (or the median) of b_0."""
    rng, n, q, scale = np.random.default_rng(12), 8, 3.0, 0.12
    right = []
    for snr in (0.5, 0.65, 0.8):
        net = start(rng, 80, n, 8, snr, scale, dim=4000)
        end, _, losses, _ = descend(net, q=q, rate=0.25 / n, loss=0.01, steps=60_000)
        exact = called = ratios(net, q, snr)
        if median:
            called = np.zeros_like(exact)
            for side, j in enumerate((1.0, -1.0)):
                own = np.where(net.y == j, net.inner[:, side, :, 1:].max(axis=1), np.nan)
                a, count = np.max(j * net.inner[:, side, :, 0], axis=1), np.sum(net.y == j, axis=1)
                middle = np.array([np.nanmedian(x) if np.isfinite(x).any() else np.nan for x in own])
                called[:, side] = np.where(a > 0, count * snr**2 * a / middle, 0.0)
        window = (0.7, 1.4) if median else (1 / 1.2, 1.2)
        judged = (losses <= 0.01)[:, None] & (exact > 0) & ((called < window[0]) | (called > window[1]))
        right.append(((called > 1) == learned(end))[judged])
    return share(np.concatenate(right))


def _switch(level: float) -> tuple[float, float]:
    """Both classes learned at n SNR^3 = level, from drawn maxima: n = 20 in balanced classes, m = 16."""
    rng, draws = np.random.default_rng(13), 150_000
    strength, good = level / 20, np.ones(draws, dtype=bool)
    for _ in range(2):
        alpha = rng.standard_normal((draws, 16)).max(axis=1)
        beta = rng.standard_normal((draws, 10, 16)).max(axis=2)
        budget = np.where((beta > 0).all(axis=1), np.sum(1 / np.maximum(beta, 1e-12), axis=1), np.inf)
        good &= strength * np.maximum(alpha, 0.0) * budget > 1
    return share(good)


def _wandering() -> tuple[float, float]:
    """Both classes learned at n SNR^5 = 0.744, n = 200 in balanced classes and m = 10, from drawn maxima."""
    rng, draws = np.random.default_rng(28), 4000
    good = np.ones(draws, dtype=bool)
    for _ in range(2):
        alpha = np.maximum(rng.standard_normal((draws, 10)).max(axis=1), 0.0)
        beta = np.maximum(rng.standard_normal((draws, 100, 10)).max(axis=2), 1e-50)
        good &= 0.744 / 200 * alpha**3 * np.sum(beta**-3.0, axis=1) > 1
    return share(good)


def _memorised() -> tuple[float, float]:
    """10^8 (log 2 - test loss) where noise wins: n SNR^3 = 0.12, n = 20, m = 16, scale 0.03."""
    rng, q, m, scale = np.random.default_rng(15), 3.0, 16, 0.03
    net = start(rng, 60, 20, m, 0.18, scale, balanced=True)
    net = net._replace(inner=net.inner[(ratios(net, q, 0.18) < 0.5).all(axis=1)])
    k = len(net.inner)
    net = Nets(net.inner, net.gram[:k], net.y[:k], net.observed[:k])
    end = descend(net, q=q, rate=0.04, loss=0.01, steps=6000)[0]
    off = []
    for W in end:
        g = np.maximum(scale * rng.standard_normal((4000, 2, m)), 0.0) ** q
        fresh = (g[:, 0] - g[:, 1]).sum(axis=1) / m
        fresh = np.concatenate([fresh, -fresh])
        tested = [np.sum(np.maximum(j * W[:, :, 0], 0.0) ** q, axis=1) / m for j in (1.0, -1.0)]
        f = [tested[0][0] - tested[0][1], tested[1][1] - tested[1][0]]
        off.append(math.log(2) - float(np.mean([np.logaddexp(0.0, -x - fresh).mean() for x in f])))
    return _mean(1e8 * np.array(off))


def _last_is_best() -> tuple[float, float]:
    """Runs in R^4000 whose learned signal's loss falls between all of eight training losses to 10^-4."""
    rng, n, m, q = np.random.default_rng(16), 8, 8, 3.0
    net = start(rng, 30, n, m, 1.5, 0.1, dim=4000, balanced=True)
    falls, before = np.ones(30, dtype=bool), np.full(30, np.inf)
    chosen = (ratios(net, q, 1.5) > 2).all(axis=1)
    for loss in np.geomspace(0.1, 1e-3, 8):
        end = descend(net, q=q, rate=0.25 / n, loss=float(loss), steps=20_000)[0]
        f = np.stack(
            [
                np.sum(np.maximum(end[:, 0, :, 0], 0) ** q - np.maximum(end[:, 1, :, 0], 0) ** q, axis=1),
                np.sum(np.maximum(-end[:, 1, :, 0], 0) ** q - np.maximum(-end[:, 0, :, 0], 0) ** q, axis=1),
            ]
        )
        test = np.mean(np.logaddexp(0.0, -f / m), axis=0)
        falls &= (test <= before) & (np.abs(end[..., 1:]).max(axis=(1, 2, 3)) < 1.0)
        before = test
    return share(falls[chosen])


# ------------------------------------------------------------------ with pre-training, patches orthogonal


def pretrained(
    rng: np.random.Generator, n0: int, m: int, snr: float, scale: float, tau: float = 1.0
) -> Floats:
    """Signal parts <w_r, mu> (2m,) at the linear end; <w, xi_new> keeps its initial scale.

    Orthonormal axes: mu / |mu|, then the n0 patches and their n0 views, all of length 1; |mu| = snr.
    """
    y = np.where(np.arange(n0) < n0 // 2, 1.0, -1.0) if n0 > 1 else np.ones(1)
    z = np.zeros((n0, 1 + 2 * n0))
    z[:, 0], view = snr * y, np.zeros((n0, 1 + 2 * n0))
    view[:, 0] = snr * y
    z[np.arange(n0), 1 + np.arange(n0)] = view[np.arange(n0), 1 + n0 + np.arange(n0)] = 1.0
    W = scale * rng.standard_normal((2 * m, 1 + 2 * n0))
    kappa = n0 * snr**2
    rate = 0.1 * tau * n0 / (1 + 2 * kappa)
    while True:
        F, V = W @ z.T, W @ view.T
        s, own = F.T @ F, np.sum(F * V, axis=0)
        np.fill_diagonal(s, own)  # the positive takes the place of itself
        if max(np.abs(s).max(), 0.0) >= 0.3 * tau:
            return snr * W[:, 0]
        p = np.exp((s - s.max(axis=1, keepdims=True)) / tau)
        p /= p.sum(axis=1, keepdims=True)
        off = p.copy()
        np.fill_diagonal(off, 0.0)
        late = np.diag(p) - 1
        gradient = (V * late) @ z + (F * late) @ view + F @ (off + off.T) @ z
        W = W - rate / (n0 * tau) * gradient


def _labels(rng: np.random.Generator, along: Floats, spread: float, snr: float, m: int, most: int) -> float:
    """The first even number of balanced labels with which the start says that both classes are learned."""
    halves = rng.permutation(along).reshape(2, m)
    need = 0.0
    for j, half in zip((1.0, -1.0), halves, strict=True):
        a = float(np.max(j * half))
        if a <= 0:
            return math.inf
        beta = np.maximum(spread * rng.standard_normal((most, m)).max(axis=1), 1e-300)
        enough = np.flatnonzero(snr**2 * a * np.cumsum(1 / beta) > 1)
        need = max(need, 2.0 * (1 + enough[0]) if len(enough) else math.inf)
    return need


def _labels_exponent(falling: bool) -> tuple[float, float]:
    """Slope of the mean log n* on log SNR at n0 SNR^2 = 4, from n0 = 16 and 128; q = 3, m = 16."""
    rng, means, errors = np.random.default_rng(17 + falling), [], []
    for n0 in (16, 128):
        snr = math.sqrt(4 / n0)
        scale = 0.25 * snr**2 if falling else 0.05
        logs = []
        for _ in range(40):
            along = pretrained(rng, n0, 16, snr, scale)
            logs += [math.log(_labels(rng, along, scale, snr, 16, 400)) for _ in range(3)]
        per_net = np.mean(np.reshape(logs, (-1, 3)), axis=1)
        means.append(per_net.mean())
        errors.append(per_net.std(ddof=1) / math.sqrt(len(per_net)))
    width = math.log(math.sqrt(1 / 8))
    return float((means[1] - means[0]) / width), float(np.linalg.norm(errors) / abs(width))


def _boundary() -> tuple[float, float]:
    """kappa* at n0 = 100, n = 20 balanced, m = 10, q = 3, s_0 = 10^-2: the median start is at its border."""
    rng, logs, kappas = np.random.default_rng(18), [], (0.95, 1.33, 1.85)
    for kappa in kappas:
        snr, row = math.sqrt(kappa / 100), []
        for _ in range(60):
            along = pretrained(rng, 100, 10, snr, 0.01)
            for _ in range(4):
                halves, least = rng.permutation(along).reshape(2, 10), math.inf
                for j, half in zip((1.0, -1.0), halves, strict=True):
                    beta = np.maximum(0.01 * rng.standard_normal((10, 10)).max(axis=1), 1e-300)
                    least = min(least, snr**2 * float(np.sum(1 / beta)) * max(float(np.max(j * half)), 1e-9))
                row.append(math.log(least))
        logs.append(np.reshape(row, (60, 4)))

    def root(picked: list[Floats]) -> float:
        middle = [float(np.median(x)) for x in picked]
        return math.exp(np.polyfit(middle, np.log(kappas), 1)[1])

    again = [root([x[rng.integers(0, 60, 60)] for x in logs]) for _ in range(200)]
    return root(logs), float(np.std(again))


def _interval() -> tuple[float, float]:
    """Upper over lower end of Cao et al.'s interval of sigma_0 at the headline, d = 10^8."""
    lower, upper = 20 / math.sqrt(1e8), 10.0**-2 * 20.0**-1
    return upper / lower, 1e-12


# ------------------------------------------------------------------ ReLU


class Kou(NamedTuple):
    """Ends of ReLU trainings: inverse active share, steps times c epsilon, test errors."""

    inverse: Floats
    time: Floats
    errors: Floats


def _relu(seed: int, runs: int, strength: float, p: float) -> Kou:
    """n = 20, m = 40, tiny filters, c = 0.1, loss 0.05; strength : n |mu|^4 / (sigma_p^4 d)."""
    rng, n, m, dim = np.random.default_rng(seed), 20, 40, 20_000
    snr = (strength / (n * dim)) ** 0.25
    net = start(rng, runs, n, m, snr, 1e-9, dim=dim, flips=p)
    end, total, losses, steps = descend(net, q=1.0, rate=0.1, loss=0.05, steps=2000)
    inverse, time, errors = [], [], []
    for k in range(runs):
        side = (net.observed[k] < 0).astype(int)
        active = np.mean(end[k, :, :, 1:] > 0, axis=1)[side, np.arange(n)]
        inverse.append(np.mean(1 / active))
        time.append(steps[k] * 0.1 * losses[k])
        root = np.linalg.cholesky(net.gram[k, 1:, 1:] + 1e-12 * np.eye(n)) / math.sqrt(dim)
        fresh = (total[k][..., 1:].reshape(2 * m, n) @ root) @ rng.standard_normal((n, 1000))
        noise = np.maximum(fresh, 0.0).reshape(2, m, -1).sum(axis=1)
        y = np.sign(rng.random(1000) - 0.5)
        signal = np.maximum(y * end[k, :, :, 0].reshape(2, m, 1), 0.0).sum(axis=1)
        f = (signal + noise)[0] - (signal + noise)[1]
        wrong = np.where(rng.random(1000) < p, -y, y) * f <= 0
        errors.append(wrong.mean())
    return Kou(np.array(inverse), np.array(time), np.array(errors))


def _mean(values: Floats) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))


# ------------------------------------------------------------------ phase diagrams


def _direct_exponent() -> tuple[float, float]:
    """1 over the slope of log SNR* on log n, n = 12 and 96: direct training, q = 3, m = 32, random labels.

    For each draw the SNR from which on the test loss is at most 6 epsilon = 0.3 at training loss 0.05.
    """
    rng, q, m, scale, means, errors = np.random.default_rng(24), 3.0, 32, 0.04, [], []
    for n, runs in ((12, 48), (96, 16)):
        unit = start(rng, runs, n, m, 1.0, scale)
        both = np.abs(unit.y.sum(axis=1)) < n
        unit = Nets(*(x[both] for x in unit))
        low, high = np.full(len(unit.y), 0.1), np.full(len(unit.y), 1.6)
        for _ in range(6):
            snr = np.sqrt(low * high)
            inner = unit.inner.copy()
            inner[..., 0] *= snr[:, None, None]
            gram = unit.gram.copy()
            gram[:, 0] = snr**2
            end = descend(
                unit._replace(inner=inner, gram=gram),
                q=q,
                rate=min(0.5, 1.2 * n / 96) / n,
                loss=0.05,
                steps=1500,
            )[0]
            good = learned(end).all(axis=1)
            low, high = np.where(good, low, snr), np.where(good, snr, high)
        logs = np.log(np.sqrt(low * high))
        means.append(float(np.median(logs)))
        errors.append(1.25 * float(logs.std(ddof=1)) / math.sqrt(len(logs)))
    slope = (means[1] - means[0]) / math.log(96 / 12)
    return 1 / slope, float(np.linalg.norm(errors)) / math.log(96 / 12) / slope**2


def _coin(n: int) -> tuple[float, float]:
    """Test error at most 0.1 with n labels after pre-training: n0 = 60, SNR = 0.4, m = 32, q = 3."""
    rng, m, each = np.random.default_rng(250 + n), 32, 40
    net = start(rng, 8 * each, n, m, 0.4, 0.04)
    for k in range(8):
        along = pretrained(rng, 60, m, 0.4, 0.04, tau=200.0)
        for run in range(each):
            net.inner[k * each + run, :, :, 0] = rng.permutation(along).reshape(2, m)
    end = descend(net, q=3.0, rate=0.08 / n, loss=0.05, steps=3000)[0]
    size = np.maximum(end[..., 0], 0) ** 3, np.maximum(-end[..., 0], 0) ** 3
    plus = size[0][:, 0].sum(axis=1) > size[0][:, 1].sum(axis=1)
    minus = size[1][:, 1].sum(axis=1) > size[1][:, 0].sum(axis=1)
    return share(plus & minus)


def _aligned_exponent() -> tuple[float, float]:
    """Slope of log n0* on log SNR, cos^2(v_1, mu) = 1/2 in R^5000, SNR = 0.2 and 0.07, random labels."""
    rng, found = np.random.default_rng(26), []
    for snr, sizes in ((0.2, (8, 12, 18)), (0.07, (60, 100, 160))):
        rows = []
        for n0 in sizes:
            cos = []
            for _ in range(150 if n0 < 50 else 8):
                y = np.sign(rng.random(n0) - 0.5)
                z, view = rng.standard_normal((2, n0, 5000)) / math.sqrt(5000)
                z[:, 0], view[:, 0] = snr * y, snr * y
                # A up to a factor: sum over i' of z_i~ for all pairs, less the anchors among themselves.
                rows_of = np.concatenate([z, view])
                k = np.arange(n0)
                C = np.zeros((2 * n0, 2 * n0))
                C[:n0, :n0] = -2 * (1 - np.eye(n0))
                C[k, n0 + k] = C[n0 + k, k] = n0 - 1.0
                gram = rows_of @ rows_of.T
                root = np.linalg.cholesky(gram)
                vector = np.linalg.eigh(root.T @ C @ root)[1][:, -1]
                top = np.linalg.solve(root.T, vector) @ rows_of
                cos.append(float(top[0] ** 2 / (top @ top)))
            spread = 1.25 * float(np.std(cos, ddof=1)) / math.sqrt(len(cos))
            rows.append((math.log(n0), float(np.median(cos)), spread))
        x, c, e = np.array(rows).T
        slope, level = np.polyfit(np.log(c / (1 - c)), x, 1)
        found.append((level, abs(slope) * 4 * float(np.mean(e)) / math.sqrt(3)))
    width = math.log(0.2 / 0.07)
    return float((found[0][0] - found[1][0]) / width), math.hypot(found[0][1], found[1][1]) / width


OPINIONS: list[Opinion] = [
    Opinion(12, "outcomes called right by the power mean, R^4000", 1.0, lambda: _criterion(False)),
    Opinion(13, "both classes learned at n SNR^3 = 2", 0.343, lambda: _switch(2.0)),
    Opinion(13, "both classes learned at n SNR^3 = 2.24", 0.5, lambda: _switch(2.24)),
    Opinion(13, "both classes learned at n SNR^3 = 4", 0.95, lambda: _switch(4.0)),
    Opinion(14, "outcomes called right by the median, R^4000", 0.98, lambda: _criterion(True)),
    Opinion(15, "10^8 (log 2 - test loss) where noise wins", 1.35, _memorised),
    Opinion(16, "runs whose test loss falls to the end, R^4000", 1.0, _last_is_best),
    Opinion(17, "exponent of labels at fixed sigma_0", -2.05, lambda: _labels_exponent(False)),
    Opinion(17, "exponent of labels at falling sigma_0", 0.12, lambda: _labels_exponent(True)),
    Opinion(18, "kappa* at s_0 = 0.01, n0 = 100, n = 20", 1.33, _boundary),
    Opinion(19, "interval of sigma_0, upper over lower end", 0.25, _interval),
    Opinion(22, "beta from small filters, R^20000", 1.27, lambda: _mean(_relu(22, 60, 0.1, 0.0).inverse)),
    Opinion(
        23, "error at 7.7, n = 20, p = 0.1, R^20000", 0.1316, lambda: _mean(_relu(23, 150, 7.7, 0.1).errors)
    ),
    Opinion(24, "exponent of direct training, q = 3", -2.97, _direct_exponent),
    Opinion(25, "test error <= 0.1 with one label", 0.5, lambda: _coin(1)),
    Opinion(25, "test error <= 0.1 with two labels", 0.75, lambda: _coin(2)),
    Opinion(25, "test error <= 0.1 with three labels", 0.875, lambda: _coin(3)),
    Opinion(29, "both classes learned at n SNR^5 = 0.744, n = 200, m = 10", 0.5, _wandering),
    Opinion(26, "exponent of n0 for alignment, R^5000", -2.0, _aligned_exponent),
]
