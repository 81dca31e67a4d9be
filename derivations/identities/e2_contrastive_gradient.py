"""E2: the gradient of InfoNCE, its matrix H, and descent along it, e2_contrastive_gradient.md."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numsim import info_nce, power_matrix, pretrain
from numsim.claims import Claim, Evidence, Outcome, Trials, equals
from numsim.descent import reference
from numsim.descent._kernels.exponential import TILE, exponentials
from numsim.descent.blocks import block_size
from numsim.descent.power_matrix import top_eigenpairs
from numsim.descent.pretraining import alignment

from .roundoff import EPS, Deviations, complex_gradient, difference_quotient, recorded_steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_EXACT = 1e-11
_QUOTIENT = 1e-6  # h^2 L'''/6 + eps L/h at h = 1e-5 (note, Check)
_SMALL = 1e-8  # relative correction of A: a few times max |s|/tau, below 1e-10 there
_EIGENPAIRS = 1e-9  # Lanczos stops at round-off of the largest eigenvalue, vectors by the gap to the next
_EXPONENTIAL = 4 * EPS  # 3 eps of the kernel's (its docstring), 1 eps of NumPy's
_SAMPLES = 20
_LONG = 200_000  # steps of the smallest problem, which pauses every 199681
_STEPS = np.geomspace(1e-9, 1e-1, 17)  # of the difference quotient, for the figure
_SIZES = (1e-3, 0.34, 0.35, 5.0, 60.0, 299.0, 301.0, 900.0, 4e3, 1e4)
"""Largest |s|/tau: both sides of where the exponential is reduced, and of where rows are shifted."""


def _views(rng: np.random.Generator, n: int = 5, filters: int = 3, width: int = 6) -> tuple[Floats, ...]:
    """W (M, D), z and z~ (n0, D) of standard Gaussians."""
    return tuple(rng.standard_normal((count, width)) for count in (filters, n, n))


def _largest_exponent(W: Floats, z: Floats, z_aug: Floats) -> float:
    s, s_plus = reference.similarities(W, z, z_aug)
    return float(max(np.max(np.abs(s)), np.max(np.abs(s_plus))))


def _formula(
    W: Floats, z: Floats, z_aug: Floats, temperature: float, *, positive: float, shared: bool
) -> Floats:
    """E2 (8); ``positive`` multiplies the positive pair's term, ``shared`` False: denominators without it."""
    s, s_plus = W @ z.T, W @ z_aug.T
    logits, pair = s.T @ s / temperature, np.sum(s * s_plus, axis=0) / temperature
    np.fill_diagonal(logits, -np.inf)
    top = np.maximum(logits.max(axis=1), pair)
    share, own = np.exp(logits - top[:, None]), np.exp(pair - top)
    total = share.sum(axis=1) + (own if shared else 0.0)
    p, rest = share / total[:, None], share.sum(axis=1) / (share.sum(axis=1) + own)
    on_z = s @ (p + p.T) - positive * rest * s_plus
    gradient: Floats = (on_z @ z - positive * (rest * s) @ z_aug) / (len(z) * temperature)
    return gradient


def _gradients(rng: np.random.Generator, found: Deviations) -> None:
    """Loss and gradient against the reference and three derivatives, at similarities of any size."""
    for size, temperature in itertools.product(_SIZES, (0.2, 4.0)):
        W, z, z_aug = _views(rng)
        W *= np.sqrt(size * temperature / _largest_exponent(W, z, z_aug))
        loss, gradient = info_nce(W, z, z_aug, temperature=temperature)
        twin, expected = reference.info_nce(W, z, z_aug, temperature)
        # An exponent s/tau is off by eps |s|/tau, and its weight by as much.
        scale = (1 + size) * float(np.max(np.abs(W))) / temperature
        found.add("loss against the reference", loss, twin, max(abs(twin), size))
        found.add("gradient against the reference", gradient, expected, scale)
        stepped = complex_gradient(
            partial(reference.info_nce_loss, z=z, z_aug=z_aug, temperature=temperature), W
        )
        found.add("gradient against the complex step", gradient, stepped, scale)
        H = reference.info_nce_matrix(W, z, z_aug, temperature)
        own = gradient @ W.T
        found.add("gradient is W H, one H for all filters", own, W @ H @ W.T, scale * size)
        found.add("gradient W^T is symmetric", own, own.T, scale * size)
        if 0.1 < size < 10:
            along = gradient / np.linalg.norm(gradient)
            ours = partial(_loss, z=z, z_aug=z_aug, temperature=temperature)
            quotient = difference_quotient(ours, W, along, 1e-5 / (1 + size))
            found.add("quotient of differences of the loss", np.sum(gradient * along), quotient)


def _loss(W: Floats, z: Floats, z_aug: Floats, temperature: float = 1.0) -> float:
    return info_nce(W, z, z_aug, temperature=temperature)[0]


def _special_points(found: Deviations) -> None:
    """A positive that dominates or is hopeless, in closed form; one sample."""
    for n in (2, 5):
        off = np.ones((n, n)) - np.eye(n)
        for s in (10.0, 200.0, 299.0, 301.0, 590.0, 605.0, 700.0):
            tail = np.exp(-s)
            loss, gradient = info_nce(np.eye(n), np.eye(n), s * np.eye(n))  # s_i+ = s, s_ii' = 0
            share = tail / (1 + (n - 1) * tail) / n
            found.add("dominant positive, loss", loss, np.log1p((n - 1) * tail))
            expected = share * (2 * off - 2 * (n - 1) * s * np.eye(n))
            found.add("dominant positive, gradient", gradient, expected)
    for n, s in itertools.product((2, 4), (299.0, 301.0, 590.0, 605.0, 1e3, 1e5)):  # s_ii' = -s_i+ = s
        loss, gradient = info_nce([[np.sqrt(s)]], np.ones((n, 1)), -np.ones((n, 1)))
        found.add("hopeless positive", [loss, gradient[0, 0]], [2 * s + np.log(n - 1), 4 * np.sqrt(s)])
    ones = np.ones((2, 1))
    for s in (-1e6, -800.0, -40.0, 40.0, 700.0, 800.0):  # views far longer than their samples
        loss, _ = info_nce([[100.0]], 1e-8 * ones, s * 1e4 * ones)
        found.add("dominant view, loss", loss, np.logaddexp(0.0, -s))
    loss, gradient = info_nce(ones.T, ones[:1, :1] * [[1.0, 2.0]], ones[:1, :1] * [[3.0, 4.0]])
    found.add("one sample has no negatives", [loss, *gradient.ravel()], np.zeros(3), 1.0)


def _many(rng: np.random.Generator, found: Deviations) -> None:
    """More similarities than one pass of the exponential holds, and the exponential itself."""
    W, z, z_aug = _views(rng, n=34, width=3)
    W *= np.sqrt(2.0 / _largest_exponent(W, z, z_aug))
    loss, gradient = info_nce(W, z, z_aug)
    twin, expected = reference.info_nce(W, z, z_aug)
    found.add("many samples, loss", loss, twin)
    found.add("many samples, gradient", gradient, expected)
    for largest in (0.0043, 0.0044, 0.3465, 0.347, 0.45, 0.6, 1.0, 20.0, 700.0):
        x = np.concatenate([np.linspace(-largest, largest, TILE - 1), rng.uniform(-largest, largest, 1)])
        ours = x.copy()
        exponentials(ours, largest, np.empty(TILE))
        found.add("exponential of the kernel", ours / np.exp(x), np.ones(TILE))


def _blocks(rng: np.random.Generator, found: Deviations) -> None:
    """So many samples and filters that S and the Gram matrix come in blocks, of unequal size."""
    filters, n = 200, 75
    assert block_size(filters, n) < n
    W, z, z_aug = _views(rng, n=n, filters=filters, width=4)
    for size in (0.003, 0.3, 5.0, 400.0):
        W *= np.sqrt(size / _largest_exponent(W, z, z_aug))
        scale = (1.0 + size) * float(np.max(np.abs(W)))
        loss, gradient = info_nce(W, z, z_aug)
        twin, expected = reference.info_nce(W, z, z_aug)
        found.add("blocks of samples, loss", loss, twin, 1.0 + size)
        found.add("blocks of samples, gradient", gradient, expected, scale)
    W *= np.sqrt(0.01 / _largest_exponent(W, z, z_aug))
    settings: dict[str, Any] = {"learning_rate": 0.05, "max_steps": 3, "stop_at_linear_end": False}
    twins = reference.pretrain(W, z, z_aug, temperature=1.0, **settings)
    last, run = pretrain(W, z, z_aug, **settings)
    found.add("blocks of the Gram matrix, filters", last, twins.filters[-1])
    found.add("blocks of the Gram matrix, losses", run.recorded_losses, twins.losses)
    both = np.concatenate([z, z_aug])
    found.add("blocks of the Gram matrix, inner products", run.inner, twins.filters[-1] @ both.T)


def _descents(rng: np.random.Generator, found: Deviations) -> tuple[int, int]:
    """Whole descents, recorded at all steps and at few; how many end as they should, of how many."""
    ends = []
    for temperature, size, stop in ((1.0, 0.02, True), (0.3, 0.1, True), (2.0, 1.0, False)):
        W, z, z_aug = _views(rng)
        z_aug = z_aug + z  # views that have something in common: the loss falls
        W *= np.sqrt(size * temperature / _largest_exponent(W, z, z_aug))
        top = float(np.linalg.eigvalsh(reference.power_matrix(z, z_aug, 1.0, temperature))[-1])
        settings: dict[str, Any] = {
            "learning_rate": 0.3 / top,
            "temperature": temperature,
            "max_steps": 15,
            "stop_at_linear_end": stop,
        }
        twin = reference.pretrain(W, z, z_aug, **settings)
        last, run = pretrain(W, z, z_aug, record=16, **settings)
        ends.append((run.status, run.steps) == (twin.status, len(twin.filters) - 1))
        both = np.concatenate([z, z_aug])
        states = W + run.recorded_coefficients @ both
        found.add("descent: filters at every step", states, twin.filters)
        found.add("descent: losses at every step", run.recorded_losses, twin.losses)
        found.add("descent: the last filters", last, twin.filters[-1])
        found.add("descent: inner products", run.inner, twin.filters[-1] @ both.T)
        found.add("descent: the last loss", run.loss, twin.losses[-1])
        moved, mu = last - W, z[0]
        cosine = np.sum((moved @ mu) ** 2) / (np.sum(moved**2) * (mu @ mu))
        found.add("descent: alignment", alignment(moved, mu), cosine)
        for rows in (3, 4, 5):
            _, thin = pretrain(W, z, z_aug, record=rows, **settings)
            kept = recorded_steps(run.steps, rows)
            found.add("records: evenly spaced steps", thin.recorded_steps, kept)
            found.add("records: their states", thin.recorded_coefficients, run.recorded_coefficients[kept])
            found.add("records: their losses", thin.recorded_losses, run.recorded_losses[kept])
    for side in (1.0, -1.0):  # the linear end is max |s_ii'| > 0.3 tau, i' != i, whatever the sign
        for sign in (1.0, -1.0):
            z = np.array([[1.0], [sign * 0.3 * (1 + side * 1e-9)], [0.1]])
            _, run = pretrain([[np.sqrt(0.7)]], z, z, learning_rate=1.0, temperature=0.7, max_steps=0)
            ends.append(run.status == ("linear_end" if side > 0 else "max_steps"))
    _, run = pretrain([[1.0]], [[0.3], [1.0]], [[1.0], [1.0]], learning_rate=1.0, max_steps=0)
    ends.append(run.status == "max_steps")  # at the threshold, not beyond it
    _, run = pretrain(
        [[1.0]], [[2.0], [1.0]], [[1.0], [1.0]], learning_rate=1e150, max_steps=9, stop_at_linear_end=False
    )
    ends.append(run.status == "non_finite" and bool(np.isfinite(run.recorded_losses).all()))
    return sum(ends), len(ends)


def _long_run() -> bool:
    """The smallest problem across a pause of the loop: w grows by 1 + 2 eta a step while s is nothing."""
    seen: list[int] = []
    eta, start = 1e-6, 1e-9
    W, run = pretrain(
        [[start]],
        [[1.0], [-1.0]],
        [[1.0], [-1.0]],
        learning_rate=eta,
        max_steps=_LONG,
        progress=lambda step, loss: seen.append(step),
    )
    grown = W[0, 0] / (start * (1 + 2 * eta) ** _LONG)
    whole = (run.status, run.steps) == ("max_steps", _LONG) and seen[-1] == _LONG
    return whole and len(seen) > 1 and seen == sorted(seen) and abs(grown - 1) < _LONG * EPS


def _power_matrix(rng: np.random.Generator, found: Deviations) -> None:
    """A = -eta H(0) exactly, and its leading eigenpairs by both methods."""
    for width, count in ((9, 3), (401, 2)):
        _, z, z_aug = _views(rng, n=6, width=width)
        z_aug[:, 0] = z[:, 0] = 3.0 * z[:, 0]
        A = power_matrix(z, z_aug, learning_rate=0.3, temperature=2.0)
        found.add("power matrix against the reference", A, reference.power_matrix(z, z_aug, 0.3, 2.0))
        H = reference.info_nce_matrix(np.zeros((1, width)), z, z_aug, 2.0)
        found.add("power matrix is -eta H(0)", A, -0.3 * H)
        W = 1e-7 * rng.standard_normal((2, width))  # similarities below 1e-10
        _, gradient = info_nce(W, z, z_aug, temperature=2.0)
        found.add("small filters descend along A", -0.3 * gradient, W @ A)
        values, vectors = top_eigenpairs(z, z_aug, learning_rate=0.3, temperature=2.0, count=count)
        span = np.linalg.qr(np.concatenate([z, z_aug]).T)[0]  # A vanishes outside it
        exact = np.linalg.eigvalsh(span.T @ A @ span)[::-1][:count]
        found.add("eigenvalues of the power matrix", values, exact)
        found.add("eigenvectors of the power matrix", A @ vectors, vectors * values)
        found.add("eigenvectors of length one", vectors.T @ vectors, np.eye(count))
        default = power_matrix(z, z_aug, learning_rate=0.3)
        found.add("power matrix at the default temperature", default, 2.0 * A)
        value, _ = top_eigenpairs(z, z_aug, learning_rate=0.3, temperature=2.0)
        found.add("eigenvalues of the power matrix", value, exact[:1])


def check(trials: Trials, *, positive: float = 1.0, shared: bool = True, slope: float = 0.0) -> Outcome:
    """The gradient against derivatives of the loss, and descents against the reference, step by step.

    ``positive`` multiplies the positive pair's term of E2 (8); ``shared`` False takes the positive out of the
    negatives' denominators; ``slope`` is a relative error of the formula along the gradient.
    """
    rng = trials.rng
    W, z, z_aug = _views(rng, n=_SAMPLES, filters=4, width=10)
    W *= np.sqrt(2.0 / _largest_exponent(W, z, z_aug))
    formula = _formula(W, z, z_aug, 1.0, positive=positive, shared=shared)
    _, gradient = info_nce(W, z, z_aug)
    along = gradient / np.linalg.norm(gradient)
    exact = reference.info_nce_loss(W + 1e-30j * along, z, z_aug).imag / 1e-30
    ours = partial(_loss, z=z, z_aug=z_aug)
    errors = [abs(difference_quotient(ours, W, along, h) / exact - 1) for h in _STEPS]
    written, found = Deviations(), Deviations()
    written.add("formula of the gradient", gradient, formula)
    shown = equals(
        "slope of the loss along its gradient", (1 + slope) * np.sum(formula * along), exact, order=_EXACT
    )
    comparisons = [shown, *written.compared(_EXACT)]
    repeats = 1
    if positive == 1.0 and shared and not slope:  # the rest does not look at the formula: once is enough
        right = expected = 0
        for _ in trials.seeds(1, 30):
            _gradients(rng, found)
            _special_points(found)
            _many(rng, found)
            _blocks(rng, found)
            _power_matrix(rng, found)
            good, all_ = _descents(rng, found)
            right, expected, repeats = right + good, expected + all_, repeats + 1
        comparisons += found.compared(
            _EXACT,
            quotient=_QUOTIENT,
            small=_SMALL,
            exponential=_EXPONENTIAL,
            eigenvalues=_EIGENPAIRS,
            eigenvectors=_EIGENPAIRS,
        )
        comparisons.append(equals("descents that end where they should", expected + 1, right + _long_run()))
    return Outcome(comparisons, repeats, {"errors": np.array(errors), "exact": exact})


def figure(evidence: Evidence) -> Figure:
    """Difference quotients of the loss against the gradient: error h^2, then round-off; a control's error."""
    from numsim.shown.claim_figures import CONTROL, PREDICTED, measured_points, panels

    drawn, (axes,) = panels()
    errors = evidence.outcome.data["errors"]
    axes.loglog(
        _STEPS,
        errors[-5] / _STEPS[-5] ** 2 * _STEPS**2,
        **{**PREDICTED, "label": r"predicted: $\propto h^2$"},
    )
    measured_points(axes, _STEPS, np.maximum(errors, 1e-17))
    for control in evidence.controls[:1]:
        shown = control.outcome.comparisons[0]
        axes.axhline(
            abs(shown.measured / shown.predicted - 1), **{**CONTROL, "label": f"control: {control.words}"}
        )
    axes.set(xlabel="step $h$ of the difference quotient", ylabel="relative error", ylim=(1e-13, 10))
    axes.legend()
    return drawn


CLAIM = Claim(
    id="E2",
    title="The InfoNCE gradient is H(W) w, one symmetric H for all filters",
    source="Zhang-Cao, by differentiation",
    statement=r"\nabla_{w_r} L = H w_r , \quad H = \frac{1}{n_0\tau} \sum_i \left[ (p_{i+} - 1)"
    r"(z_i \tilde z_i^\top + \tilde z_i z_i^\top) + \sum_{i' \ne i} p_{ii'} "
    r"(z_i z_{i'}^\top + z_{i'} z_i^\top) \right]",
    check=check,
    controls={
        "the positive pair's term times (n0 - 1)/n0": {"positive": 1 - 1 / _SAMPLES},
        "the positive left out of the negatives' denominators": {"shared": False},
        "the slope along the gradient off by 1e-10": {"slope": 1e-10},
    },
    figure=figure,
)
