"""Data far from the origin: nothing is lost to what moves all samples together. Twins in exact arithmetic."""

from __future__ import annotations

import decimal
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances

import numsim
from numsim.descent import blocks, pretraining, reference
from numsim.descent.offset import shifted

Floats = npt.NDArray[np.float64]
Exact = npt.NDArray[np.object_]

OFFSETS = [0.0, 0.3, 1.0, 3.0, 30.0, 1e3, 1e5, 1e7, 1e8, 1e10, 1e12]


def exactly(x: Floats) -> Exact:
    """The very numbers, as fractions."""
    return np.asarray(np.frompyfunc(Fraction, 1, 1)(x))


def decimals(x: Any) -> Exact:
    """The very numbers, as decimals."""
    return np.asarray(np.frompyfunc(Decimal, 1, 1)(x))


def exact_power_matrix(z: Floats, z_aug: Floats) -> Exact:
    """A of P1 at eta = tau = 1 without round-off."""
    first, second, n = exactly(z), exactly(z_aug), len(z)
    total = first.sum(axis=0)
    cross = first.T @ second
    whole = (n - 1) * (cross + cross.T) + 2 * first.T @ first - 2 * np.outer(total, total)
    return np.asarray(whole / Fraction(n**2))


def exact_info_nce(W: Any, z: Floats, z_aug: Floats, temperature: float) -> tuple[Decimal, Exact]:
    """Loss and gradient in 100 digits."""
    with decimal.localcontext(prec=100):
        filters, first, second = (decimals(x) for x in (W, z, z_aug))
        tau, n = Decimal(temperature), len(z)
        P, P_aug = filters @ first.T, filters @ second.T
        loss, H = Decimal(0), np.full((z.shape[1],) * 2, Decimal(0))
        for i in range(n):
            others = [k for k in range(n) if k != i]
            exponents = [P[:, i] @ P_aug[:, i] / tau, *(P[:, i] @ P[:, k] / tau for k in others)]
            powers = [(x - max(exponents)).exp() for x in exponents]
            shares = [power / sum(powers) for power in powers]
            loss += max(exponents) - exponents[0] + sum(powers).ln()
            pull = (shares[0] - 1) * second[i]
            for share, k in zip(shares[1:], others, strict=True):
                pull = pull + share * first[k]
            H = H + np.outer(first[i], pull) + np.outer(pull, first[i])
        return loss / n, np.asarray(filters @ H / (n * tau))


def relative(found: Any, expected: Any) -> float:
    """Largest error, relative to the largest entry."""
    error = np.abs(exactly(np.asarray(found)) - expected).max()
    return float(error / np.abs(expected).max())


def moved(offset: float, seed: int = 0, n: int = 7, width: int = 4) -> tuple[Floats, Floats]:
    """Samples of standard deviation 1 at a distance, and views."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(width)
    direction *= offset / np.linalg.norm(direction)
    z = rng.standard_normal((n, width))
    return z + direction, 0.5 * z + rng.standard_normal((n, width)) + direction


@pytest.mark.parametrize("offset", [*OFFSETS, 1e15])
def test_the_power_matrix_of_two_points_is_the_same_anywhere(offset: float) -> None:
    z = np.array([[offset + 1, offset], [offset, offset + 1]])
    A = numsim.power_matrix(z, z, learning_rate=1.0)
    np.testing.assert_allclose(A, [[0.5, -0.5], [-0.5, 0.5]], rtol=tolerances.roundoff(1))


@pytest.mark.parametrize("equal_views", [False, True])
@pytest.mark.parametrize("offset", OFFSETS)
def test_the_power_matrix_keeps_its_digits(offset: float, equal_views: bool) -> None:
    z, z_aug = moved(offset)
    if equal_views:
        z_aug = z
    A = numsim.power_matrix(z, z_aug, learning_rate=1.0)
    assert relative(A, exact_power_matrix(z, z_aug)) <= tolerances.roundoff(1)
    np.testing.assert_array_equal(A, A.T)


def along_and_across(offset: float) -> tuple[Floats, Floats, Floats]:
    """Filters whose products with the offset are 1, as softmaxes that are not 0 or 1 need, and samples."""
    z, z_aug = moved(offset)
    W = np.random.default_rng(1).standard_normal((3, z.shape[1])) * 0.3
    m = z.mean(axis=0)
    if offset:
        W += np.outer((1.0 - W @ m) / (m @ m), m)
    return W, z, z_aug


@pytest.mark.parametrize("block", [2, 3, 100])
@pytest.mark.parametrize("temperature", [0.01, 1.0])
@pytest.mark.parametrize("offset", OFFSETS)
def test_info_nce_keeps_its_digits(
    offset: float, temperature: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss to the round-off of its exponents, the gradient to that of its sums."""
    monkeypatch.setattr(blocks, "block_size", lambda filters, n, threads=1: min(block, n))
    W, z, z_aug = along_and_across(offset)
    loss, grad = numsim.info_nce(W, z, z_aug, temperature=temperature)
    expected_loss, expected = exact_info_nce(W, z, z_aug, temperature)
    size = (1 + float(np.abs(z - z.mean(axis=0)).max()) ** 2) / temperature
    assert abs(loss - float(expected_loss)) <= tolerances.roundoff(len(z), size)
    assert relative(grad, exactly(expected.astype(np.float64))) <= tolerances.roundoff(len(z))


@pytest.mark.parametrize("offset", OFFSETS)
def test_descents_keep_their_digits(offset: float) -> None:
    """Three steps against the same in 100 digits; a step moves filters by about 0.05 / offset."""
    W, z, z_aug = along_and_across(offset)
    rate, temperature, steps = 0.05 / (1 + offset**2), 0.7, 3
    settings: dict[str, Any] = {"max_steps": steps, "stop_at_linear_end": False, "record": steps + 1}
    found, run = numsim.pretrain(W, z, z_aug, learning_rate=rate, temperature=temperature, **settings)
    exact, losses = decimals(W), []
    for _ in range(steps + 1):
        loss, gradient = exact_info_nce(exact, z, z_aug, temperature)
        losses.append(float(loss))
        last = exact
        with decimal.localcontext(prec=100):
            exact = np.asarray(exact - Decimal(rate) * gradient)
    expected = last.astype(np.float64)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerances.roundoff(2 * steps))
    np.testing.assert_allclose(run.recorded_losses, losses, rtol=tolerances.roundoff(2 * steps, 1 + offset))
    moves, distance = found - W, (last - decimals(W)).astype(np.float64)
    np.testing.assert_allclose(moves, distance, rtol=0, atol=tolerances.roundoff(2 * steps))


@pytest.mark.parametrize("stop", [False, True])
def test_both_forms_of_a_descent_agree(stop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both keep enough digits: states, losses, statuses, coefficients on the samples as given."""
    z, z_aug = moved(1.5)
    W = np.random.default_rng(2).standard_normal((3, 4)) * 0.05
    settings: dict[str, Any] = {
        "learning_rate": 0.1,
        "max_steps": 60,
        "stop_at_linear_end": stop,
        "record": 61,
    }
    plain, one = numsim.pretrain(W, z, z_aug, **settings)
    monkeypatch.setattr(pretraining, "VERY_FAR", 0.0)
    shifted_W, other = numsim.pretrain(W, z, z_aug, **settings)
    assert (one.status, one.steps) == (other.status, other.steps)
    tolerance = tolerances.TRAJECTORY_FLOOR
    np.testing.assert_allclose(shifted_W, plain, rtol=0, atol=tolerance * np.abs(plain).max())
    for name in ("inner", "coefficients", "recorded_coefficients", "recorded_losses", "recorded_steps"):
        mine, yours = getattr(other, name), getattr(one, name)
        np.testing.assert_allclose(mine, yours, rtol=0, atol=tolerance * max(1.0, np.abs(yours).max()))


def test_a_distant_descent_that_diverges_says_so_and_keeps_its_states() -> None:
    z, z_aug = moved(1e6)
    W = np.random.default_rng(2).standard_normal((3, 4))
    settings: dict[str, Any] = {"learning_rate": 10.0, "max_steps": 100, "stop_at_linear_end": False}
    last, run = numsim.pretrain(W, z, z_aug, record=8, **settings)
    assert run.status == "non_finite"
    assert np.isnan(last).all()
    assert np.isfinite(run.recorded_losses).all()
    assert run.recorded_steps[0] == 0
    assert run.recorded_steps[-1] == run.steps - 1


def test_only_what_is_far_is_shifted() -> None:
    assert shifted(*moved(0.0, n=200), 1.0) is None
    assert shifted(*moved(3.0, n=200), 1.0) is not None
    huge = np.full((3, 2), 1e200)
    assert shifted(huge, huge, 1.0) is None  # compared to no avail, and no warning


def test_reference_and_twin_agree_at_the_origin() -> None:
    z, z_aug = moved(0.0)
    W = np.random.default_rng(2).standard_normal((3, 4))
    expected = reference.power_matrix(z, z_aug, 1.0)
    assert relative(expected, exact_power_matrix(z, z_aug)) <= tolerances.roundoff(len(z) ** 2)
    loss, grad = reference.info_nce(W, z, z_aug)
    expected_loss, exact = exact_info_nce(W, z, z_aug, 1.0)
    np.testing.assert_allclose(loss, float(expected_loss), rtol=tolerances.roundoff(len(z)))
    assert relative(grad, exactly(exact.astype(np.float64))) <= tolerances.roundoff(len(z))
