"""E2: the gradient of InfoNCE, its matrix H, and descent along it, e2_contrastive_gradient.md."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numsim import info_nce, power_matrix, pretrain
from numsim.claims import Claim, Outcome, Trials, equals
from numsim.descent import reference

from .quotient_figure import STEPS, figure
from .roundoff import Deviations, complex_gradient, difference_quotient

if TYPE_CHECKING:
    pass

Floats = npt.NDArray[np.float64]

_EXACT = 1e-11
_QUOTIENT = 1e-6  # h^2 L'''/6 + eps L/h at h = 1e-5 (note, Check)
_SMALL = 1e-8  # relative correction of A: a few times max |s|/tau, below 1e-10 there
_SAMPLES = 20
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


def _descents(rng: np.random.Generator, found: Deviations) -> int:
    """Whole descents, every state against the reference's; how many end at its step and for its reason."""
    right = 0
    for temperature, size, stop in _DESCENTS:
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
        _, run = pretrain(W, z, z_aug, record=16, **settings)
        right += (run.status, run.steps) == (twin.status, len(twin.filters) - 1)
        states = W + run.recorded_coefficients @ np.concatenate([z, z_aug])
        found.add("descent: filters at every step", states, twin.filters)
        found.add("descent: losses at every step", run.recorded_losses, twin.losses)
    return right


_DESCENTS = ((1.0, 0.02, True), (0.3, 0.1, True), (2.0, 1.0, False))
"""Temperature, largest |s|/tau at the start, whether the descent ends with the linear stage."""


def _power_matrix(rng: np.random.Generator, found: Deviations) -> None:
    """A = -eta H(0) exactly, and a step of small filters is a step of its power method."""
    _, z, z_aug = _views(rng, n=6, width=9)
    A = power_matrix(z, z_aug, learning_rate=0.3, temperature=2.0)
    found.add("power matrix against the reference", A, reference.power_matrix(z, z_aug, 0.3, 2.0))
    H = reference.info_nce_matrix(np.zeros((1, 9)), z, z_aug, 2.0)
    found.add("power matrix is -eta H(0)", A, -0.3 * H)
    W = 1e-7 * rng.standard_normal((2, 9))  # similarities below 1e-10
    _, gradient = info_nce(W, z, z_aug, temperature=2.0)
    found.add("small filters descend along A", -0.3 * gradient, W @ A)


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
    errors = [abs(difference_quotient(ours, W, along, h) / exact - 1) for h in STEPS]
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
            _power_matrix(rng, found)
            right, expected, repeats = right + _descents(rng, found), expected + len(_DESCENTS), repeats + 1
        comparisons += found.compared(_EXACT, quotient=_QUOTIENT, small=_SMALL)
        comparisons.append(equals("descents that end where they should", expected, right))
    return Outcome(comparisons, repeats, {"errors": np.array(errors), "exact": exact})


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
