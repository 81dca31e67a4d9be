"""Modes of the linear stage, what the softmax adds to it, descent beyond: closed forms against matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tolerances
from hypothesis import given
from hypothesis import strategies as st

from numsim.descent import reference
from numsim.theory import (
    collective_descent,
    collective_scale,
    fresh_handover_ratio,
    fresh_view_spectrum,
    handover_ratio,
    initial_perturbation,
    late_perturbation,
    linear_modes,
    memorised_alignment,
    saturation,
    softmax_response,
    spectrum,
)

KAPPAS = st.floats(0.01, 100)
OVERLAPS = st.floats(0, 0.95)
SIZES = st.integers(1, 200).map(lambda half: 2 * half)


def near(value: object, rel: float = tolerances.SOLVED, absolute: float = 0.0) -> object:
    return pytest.approx(value, rel=rel, abs=absolute)


# ---------------------------------------------------------------- modes


@given(kappa=KAPPAS, n=SIZES, a=OVERLAPS)
def test_modes_are_those_of_the_explicit_matrices(kappa: float, n: int, a: float) -> None:
    modes = linear_modes(kappa, n, a)
    assert sum(mode.multiplicity for mode in modes) == 2 * n
    q = 1 - 1 / n
    for pair, (p, s) in enumerate(((2 / n, kappa), (2 / n - 2, 0.0), (2 / n, 0.0))):
        K, G = np.array([[p, q], [q, 0]]), np.array([[1 + s, a + s], [a + s, 1 + s]])
        root = np.linalg.cholesky(G)
        values, vectors = np.linalg.eigh(root.T @ K @ root)
        for mode, value, vector in zip(
            modes[2 * pair : 2 * pair + 2], values[::-1], vectors.T[::-1], strict=True
        ):
            c = np.linalg.solve(root.T, vector)
            scale = float(np.max(np.abs(values)))
            assert mode.eigenvalue == near(value, absolute=tolerances.SOLVED * scale)
            assert mode.own == near(c[0] ** 2, absolute=tolerances.SOLVED)
            assert mode.alignment == near(s * (c[0] + c[1]) ** 2, absolute=tolerances.SOLVED)


@given(kappa=KAPPAS, a=st.floats(0, 1))
def test_modes_of_many_samples_are_the_limit(kappa: float, a: float) -> None:
    n = 10**8
    top, *_, upper, lower = linear_modes(kappa, n, a)
    limit = spectrum(kappa, 0.0, a)
    assert (top.eigenvalue, top.alignment) == near((limit.top, limit.alignment))
    assert upper.eigenvalue == near(limit.edge)
    assert lower.eigenvalue == near(a - 1, absolute=1e2 / n)


def test_views_that_are_the_samples_leave_nothing_beside_them() -> None:
    modes = linear_modes(2.0, 10, 1.0)
    for lower in modes[1::2]:
        assert (lower.eigenvalue, lower.alignment, lower.own) == near((0.0, 0.0, 0.0), absolute=1e-12)


# ---------------------------------------------------------------- perturbation of the power method


def test_softmax_to_first_order() -> None:
    rng = np.random.default_rng(0)
    n, tau = 6, 0.7
    s, s_plus = rng.standard_normal((n, n)), rng.standard_normal(n)
    h = tolerances.SMALL
    p, p_plus = softmax_response(h * s, h * s_plus, tau)
    for i in range(n):
        own, others, _ = reference.softmax_row(i, h * s, h * s_plus, tau)
        assert p_plus[i] - 1 / n == near(own - 1 / n, tolerances.LINEARISED)
        assert p[i] == near(others, tolerances.LINEARISED * h)
    assert p_plus + p.sum(axis=1) == near(np.ones(n))


@given(kappa=KAPPAS, b=st.floats(0.01, 10), o=st.floats(0.1, 5))
def test_initial_perturbation_solves_its_secular_equation(kappa: float, b: float, o: float) -> None:
    edge = 1 + 2 * math.sqrt(b)
    x = initial_perturbation(kappa, b, o)
    assert x >= edge * (1 - tolerances.CLOSED_FORM)
    if x > edge * (1 + 1e-6):
        zeta = x + b
        g = (zeta - 1 - b - math.sqrt((zeta - 1 - b) ** 2 - 4 * b)) / (2 * b)
        right = b * (1 + kappa) * ((1 + kappa) * o * (1 + g) - 1)
        assert x == near(right, 1e-6)


@given(b=st.floats(0.01, 10))
def test_noise_alone_is_at_the_edge(b: float) -> None:
    assert initial_perturbation(0.0, b) == near(1 + 2 * math.sqrt(b))


@given(kappa=st.floats(2, 100), a=OVERLAPS)
def test_late_perturbation_of_many_samples(kappa: float, a: float) -> None:
    n = 10**6
    assert late_perturbation(kappa, n, a) == near(2 * (1 + kappa) / (2 * kappa + 1 + a), 10 / n)


# ---------------------------------------------------------------- saturation and hand-over


@pytest.mark.parametrize("growth", [0.02, 0.01])
def test_saturation_of_finite_steps(growth: float) -> None:
    """The discrete recursion s <- s (1 + lambda (1 - tanh s))^2 itself."""
    s, lost = 1e-6, 0.0
    while s < 0.3:
        step = math.log1p(growth * (1 - math.tanh(s)))
        s, lost = s * math.exp(2 * step), lost + math.log1p(growth) - step
    assert lost == pytest.approx(saturation(s, growth), abs=growth**2)


def test_fresh_ratio_at_its_ends() -> None:
    law = {"unit": 0.01, "overlap": 0.5, "samples": 100, "dim": 10**8, "signal_norm": 2e3, "sigma_p": 1.0}
    limit = fresh_view_spectrum(4.0, 0.5)
    law |= {"growth": 0.01 * limit.top, "alignment": limit.alignment}
    start = fresh_handover_ratio(steps=0, **law)  # type: ignore[arg-type]
    assert start == near(2e3 / math.sqrt(10**8 - 1))
    late, never = (fresh_handover_ratio(steps=t, **law) for t in (1e4, math.inf))  # type: ignore[arg-type]
    assert late == near(never)
    at_most = 2e3 * math.sqrt(limit.alignment / (1 - limit.alignment))
    assert 0.9 * at_most < never < at_most


def test_no_kick_where_views_are_the_samples() -> None:
    law = {"unit": 0.01, "overlap": 1.0, "samples": 100, "dim": 10**12, "signal_norm": 2e5, "sigma_p": 1.0}
    law |= {"growth": 0.1, "alignment": 0.8}
    pair = [ratio(steps=300, **law) for ratio in (fresh_handover_ratio, handover_ratio)]  # type: ignore[arg-type]
    assert pair[0] == near(pair[1], 1e-6)


# ---------------------------------------------------------------- beyond the linear stage


@given(kappa=KAPPAS, a=OVERLAPS)
def test_memorised_alignment_is_that_of_the_growing_mode(kappa: float, a: float) -> None:
    G = np.array([[1 + kappa, a + kappa], [a + kappa, 1 + kappa]])
    values, vectors = np.linalg.eig(np.array([[-2.0, 1.0], [1.0, 0.0]]) @ G)
    c = vectors[:, np.argmax(values)]
    assert memorised_alignment(kappa, a) == near(kappa * (c[0] + c[1]) ** 2 / (c @ G @ c), 1e-7)
    root = math.sqrt(kappa)
    values, vectors = np.linalg.eig(np.array([[0.0, -root], [-root, -2.0]]))
    A, B = vectors[:, np.argmax(values)]
    assert memorised_alignment(kappa, a, fresh=True) == near(A**2 / (A**2 + B**2), 1e-7)


@given(kappa=KAPPAS, a=OVERLAPS)
def test_memorising_costs_up_to_half_of_the_alignment(kappa: float, a: float) -> None:
    before = 2 * kappa / (2 * kappa + 1 + a)
    assert before / 2 < memorised_alignment(kappa, a) < before
    assert 0.5 < memorised_alignment(kappa, a, fresh=True) < 1


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("a", [0.0, 0.5, 1.0])
def test_the_bulk_of_tiny_filters_grows_as_its_mode(a: float, fresh: bool) -> None:
    unit, n, steps = 0.01, 100, 50
    law = {"kappa": 4.0, "samples": n, "unit": unit, "energy": 1e-20, "overlap": a, "fresh": fresh}
    path = collective_descent(steps, pairs=1e-20, **law)  # type: ignore[arg-type]
    mode = linear_modes(4.0, n, a)[4].eigenvalue
    if fresh:  # on the samples alone, E z~_i = a xi_i
        mode = 2 * a * (1 - 1 / n) + 2 / n
    bulk = math.sqrt(path.pairs[-1] / path.pairs[0]) if path.pairs[0] > 0 else 1.0
    assert bulk == near((1 + unit * mode) ** steps if path.pairs[0] > 0 else 1.0, 1e-6)


def test_a_descent_without_a_bulk_is_that_of_two_variables() -> None:
    law = {"kappa": 4.0, "samples": 20, "unit": 0.01, "energy": 1e-3, "overlap": 0.5}
    two, none = collective_descent(500, **law), collective_descent(500, pairs=0.0, **law)  # type: ignore[arg-type]
    tiny = collective_descent(500, pairs=1e-30, **law)  # type: ignore[arg-type]
    for without, zero, small in zip(two, none, tiny, strict=True):
        assert np.array_equal(without, zero)
        assert small == near(without, tolerances.SOLVED) or np.max(np.abs(small)) < tolerances.SOLVED
    assert np.all(two.pairs == 0)


def test_without_augmentation_pairs_take_the_alignment() -> None:
    energy = 1e-5
    law = {"kappa": 4.0, "samples": 100, "unit": 0.01, "energy": energy, "overlap": 1.0}
    path = collective_descent(600, pairs=98 * energy, **law)  # type: ignore[arg-type]
    assert path.alignment[0] == near(0.8, 1e-6)
    assert path.alignment[-1] < 0.1
    assert path.loss[-1] < 0.1 < math.log(50) < path.loss[0]


def test_scale_of_two_variables() -> None:
    """It falls with the overlap, and knows filters and temperature by sigma_0 sqrt(2m / tau) alone."""
    scales = [collective_scale(4.0, 20, a, filters=10) for a in (0.0, 0.8, 1.0)]
    assert scales[0] > scales[1] > scales[2] == 0.0
    other = collective_scale(4.0, 20, 0.8, filters=40, temperature=16.0)
    assert other == near(2 * scales[1], 3e-3)  # where the bisection stops


def test_memorised_alignment_refuses_views_that_are_the_samples() -> None:
    with pytest.raises(ValueError, match="overlap is 1"):
        memorised_alignment(1.0, 1.0)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("a", [0.0, 0.5, 1.0])
def test_descent_of_tiny_filters_is_linear(a: float, fresh: bool) -> None:
    unit, kappa, n = 0.01, 4.0, 100
    path = collective_descent(
        50, kappa=kappa, samples=n, unit=unit, energy=1e-20, overlap=a, fresh=fresh, untouched=1.0
    )
    top = fresh_view_spectrum(kappa, a).top if fresh else linear_modes(kappa, n, a)[0].eigenvalue
    growth = math.sqrt(path.similarity[-1] / path.similarity[0]) ** (1 / 50) - 1
    assert growth == near(unit * top, 2 / n if fresh else tolerances.SOLVED)
    assert path.loss == near(np.full(51, math.log(n)))
    assert path.alignment[-1] == near(path.alignment[0], 2 * unit**2 if fresh else tolerances.SOLVED)
    assert path.ratio[-1] / path.ratio[0] == near((1 + unit * top) ** 50, 50 * unit if fresh else 1e-6)


def test_without_augmentation_the_loss_stays_at_its_floor() -> None:
    steps, unit = 5000, 0.01
    path = collective_descent(steps, kappa=4.0, samples=100, unit=unit, energy=1e-3, overlap=1.0)
    above = path.loss[-1] - math.log(50)  # falls as 1/t
    assert 0 < above < 1 / (unit * steps)
    assert path.alignment[-1] == near(path.alignment[0], 1e-6)
