"""numsim.theory against independent computations: explicit matrices, numerical roots, derivatives, limits."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tolerances
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

from numsim.config import Experiment
from numsim.theory import (
    Condition,
    Spectrum,
    augmentation_worth,
    coefficient_growth,
    conditions,
    fresh_view_spectrum,
    handover_ratio,
    imbalanced_spectrum,
    linear_stage_steps,
    power_unit,
    race,
    spectrum,
)
from numsim.theory.defaults import (
    pretraining_learning_rate,
    relative_init_scale,
    supervised_learning_rate,
)

KAPPAS = st.floats(1e-3, 1e3)
ASPECTS = st.floats(1e-6, 1e3)
OVERLAPS = st.floats(0.0, 1.0)

near: Callable[..., Any] = pytest.approx


def secular(z: float, c: float) -> float:
    """K(z) of P2."""
    return 2 * c * z / (1 - z**2) + 1 / z


def numerical_edge(c: float) -> tuple[float, float]:
    """z* and K(z*) by minimisation."""
    found = minimize_scalar(secular, bounds=(0.0, 1.0), args=(c,), method="bounded", options={"xatol": 1e-12})
    return float(found.x), float(found.fun)


# ---------------------------------------------------------------- spectrum


def test_spectrum_at_the_quoted_point() -> None:
    expected = (2.073, 1.676, 0.431, 0.203)
    assert tuple(spectrum(0.5, 0.1)) == near(expected, abs=tolerances.THREE_DIGITS)


@given(kappa=KAPPAS, a=OVERLAPS)
def test_overlap_is_the_explicit_matrix(kappa: float, a: float) -> None:
    """On (mu, sum y xi, sum y xi') normalised: A/u = p p~^T + p~ p^T, p = (sqrt kappa, 1, 0)."""
    p = np.array([math.sqrt(kappa), 1.0, 0.0])
    view = np.array([math.sqrt(kappa), a, math.sqrt((1 - a) * (1 + a))])
    values, vectors = np.linalg.eigh(np.outer(p, view) + np.outer(view, p))
    top, edge, alignment, threshold = spectrum(kappa, 0.0, a)
    assert top == near(values[-1], rel=tolerances.CLOSED_FORM)
    assert alignment == near(vectors[0, -1] ** 2, rel=tolerances.SOLVED)
    assert (edge, threshold) == (1 + a, 0.0)


@given(kappa=KAPPAS)
def test_ideal_views_in_high_dimension(kappa: float) -> None:
    expected = (1 + 2 * kappa, 1.0, 2 * kappa / (1 + 2 * kappa), 0.0)
    assert tuple(spectrum(kappa)) == near(expected, rel=tolerances.CLOSED_FORM)


@pytest.mark.parametrize("projected", [True, False])
def test_worth_of_augmentation_is_four_where_samples_are_few(projected: bool) -> None:
    assert augmentation_worth(0.0, projected=projected) == 4.0
    assert augmentation_worth(1e-10, projected=projected) == pytest.approx(4.0, rel=1e-4)


def test_worth_of_augmentation_at_any_aspect() -> None:
    """Projected: ever more, then no number of samples; not projected: from 4 to 2."""
    more = [augmentation_worth(c) for c in (0.01, 0.1, 0.5, 0.64, 0.66, 10.0)]
    assert more == sorted(more)
    assert math.isinf(more[-1])
    assert math.isinf(more[-2])
    less = [augmentation_worth(c, projected=False) for c in (1e-3, 0.1, 1.0, 10.0, 1e9)]
    assert less == sorted(less, reverse=True)
    assert less[-1] == pytest.approx(2.0, rel=1e-4)
    with pytest.raises(ValueError, match="aspect is -1"):
        augmentation_worth(-1.0)


@given(c=ASPECTS)
def test_edge_is_the_minimum_of_the_secular_function(c: float) -> None:
    argument, value = numerical_edge(c)
    edge, threshold = spectrum(0.0, c).edge, spectrum(0.0, c).threshold
    assert edge == near(value, rel=tolerances.SOLVED)
    # At the transition the signal's 2 kappa/(1 - z) meets the edge at z*, found to the root of round-off.
    assert 1 - 2 * threshold / edge == near(argument, abs=100 * tolerances.SOLVED)


@given(kappa=KAPPAS, c=ASPECTS)
def test_top_is_the_root_of_the_secular_equation(kappa: float, c: float) -> None:
    result = spectrum(kappa, c)
    highest, edge = numerical_edge(c)

    def excess(z: float) -> float:
        return secular(z, c) - 2 * kappa / (1 - z)

    if kappa <= result.threshold * (1 + tolerances.FINITE_SIZE * tolerances.REMAINDER):
        assert result.top <= edge * (1 + tolerances.REMAINDER)
        return
    z = brentq(excess, 1e-12, highest, xtol=1e-15, rtol=1e-14)
    assert result.top == near(secular(z, c), rel=tolerances.SOLVED)
    assert result.top >= result.edge


def alignment_from_slope(top: Callable[[float], float], kappa: float) -> float:
    """cos^2 = d log lambda_1 / d log kappa: only the mu row of A knows |mu|, and it gives lambda_1 v_mu."""
    h = tolerances.SLOPE_STEP
    up, down = top(kappa * math.exp(h)), top(kappa * math.exp(-h))
    return (math.log(up) - math.log(down)) / (2 * h)


@given(excess=st.floats(1.1, 1e3), c=ASPECTS)
def test_alignment_is_the_slope_of_the_eigenvalue(excess: float, c: float) -> None:
    kappa = excess * spectrum(0.0, c).threshold
    slope = alignment_from_slope(lambda k: spectrum(k, c).top, kappa)
    assert spectrum(kappa, c).alignment == near(slope, abs=tolerances.SLOPE)


@given(kappa=KAPPAS, a=OVERLAPS)
def test_alignment_with_overlap_and_fresh_views_is_the_slope_too(kappa: float, a: float) -> None:
    slope = alignment_from_slope(lambda k: spectrum(k, 0.0, a).top, kappa)
    assert spectrum(kappa, 0.0, a).alignment == near(slope, abs=tolerances.SLOPE)
    slope = alignment_from_slope(lambda k: fresh_view_spectrum(k, a).top, kappa)
    assert fresh_view_spectrum(kappa, a).alignment == near(slope, abs=tolerances.SLOPE)


@pytest.mark.parametrize("c", [1e-300, 1e-33, 1e-20, 1e-12])
@given(kappa=KAPPAS)
def test_the_limit_of_high_dimension_is_continuous(c: float, kappa: float) -> None:
    correction = 4 * math.sqrt(c)  # the edge is 1 + 2 sqrt(c) to first order
    limit, close = spectrum(kappa), spectrum(kappa, c)
    assert close == near(limit, rel=correction + tolerances.CLOSED_FORM, abs=correction)


@given(c=ASPECTS)
def test_the_transition_is_continuous(c: float) -> None:
    threshold = spectrum(0.0, c).threshold
    step = tolerances.TRANSITION_STEP
    below, above = spectrum(threshold * (1 - step), c), spectrum(threshold * (1 + step), c)
    assert below.top == below.edge
    assert below.alignment == 0
    assert above.top == near(above.edge, rel=tolerances.SOLVED)
    assert above.alignment < tolerances.TRANSITION
    assert above.top >= above.edge * (1 - tolerances.CLOSED_FORM)


@pytest.mark.parametrize("kappa", [0.0, 1e-300, 1e-10, 1.0, 1e10, 1e300])
def test_spectra_of_any_size(kappa: float) -> None:
    laws = [spectrum(kappa, c) for c in (0.0, 1e-300, 1e-33, 0.5, 1.0, 1e10, 1e300)]
    laws += [spectrum(kappa, 0.0, 1.0), fresh_view_spectrum(kappa), fresh_view_spectrum(kappa, 1.0)]
    for law in laws:
        assert all(map(math.isfinite, law))
        assert law.top >= law.edge * (1 - tolerances.CLOSED_FORM)
        assert 0 <= law.alignment <= 1 + tolerances.CLOSED_FORM
        assert law.top >= 2 * kappa * (1 - tolerances.CLOSED_FORM)


@pytest.mark.parametrize("wrong", [-1e-9, -1.0, math.nan, math.inf, -math.inf])
def test_spectra_refuse(wrong: float) -> None:
    calls: list[tuple[Callable[..., object], tuple[float, ...]]] = [
        (spectrum, (wrong,)),
        (spectrum, (1.0, wrong)),
        (spectrum, (1.0, 0.0, wrong)),
        (fresh_view_spectrum, (wrong,)),
        (fresh_view_spectrum, (1.0, wrong)),
    ]
    for function, arguments in calls:
        with pytest.raises(ValueError, match="expected a"):
            function(*arguments)


@pytest.mark.parametrize("wrong", [-1.0, 1.0, 1.5, math.nan])
def test_imbalance_is_below_one(wrong: float) -> None:
    with pytest.raises(ValueError, match="imbalance is"):
        imbalanced_spectrum(1.0, wrong)


@pytest.mark.parametrize("function", [spectrum, imbalanced_spectrum])
def test_the_ends_of_the_ranges_are_not_refused(function: Callable[..., Spectrum]) -> None:
    assert function(0.0, 0.0).top == function(0.0, 0.0).edge == 1.0
    assert spectrum(0.0, 0.0, 1.0).top == 2.0


def test_spectra_refuse_overlap_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"overlap is 1\.1"):
        spectrum(1.0, 0.0, 1.1)
    with pytest.raises(ValueError, match=r"overlap is 1\.1"):
        fresh_view_spectrum(1.0, 1.1)


@given(kappa=KAPPAS, c=st.floats(1e-6, 10.0), projected=st.booleans())
def test_spectrum_without_augmentation_is_that_of_pca(kappa: float, c: float, projected: bool) -> None:
    """At a = 1 twice the spiked covariance: Marchenko and Pastur, transition of Baik et al. (2005)."""
    found = spectrum(kappa, c, 1.0, projected=projected)
    assert found.edge == near(2 * (1 + math.sqrt(c)) ** 2, rel=tolerances.SOLVED)
    if not projected:
        assert found.threshold == near(math.sqrt(c), rel=tolerances.SOLVED)
        if kappa > math.sqrt(c):
            assert found.top == near(2 * (1 + kappa) * (1 + c / kappa), rel=tolerances.SOLVED)


@given(kappa=KAPPAS, a=OVERLAPS)
def test_fresh_views_are_the_explicit_matrix(kappa: float, a: float) -> None:
    off = (1 + a) * math.sqrt(kappa)
    values, vectors = np.linalg.eigh(np.array([[2 * kappa, off], [off, 2 * a]]))
    result = fresh_view_spectrum(kappa, a)
    assert result.top == near(values[-1], rel=tolerances.CLOSED_FORM)
    assert result.alignment == near(vectors[0, -1] ** 2, rel=tolerances.SOLVED)


@given(kappa=KAPPAS)
def test_fresh_views_of_no_augmentation_are_fixed_views(kappa: float) -> None:
    fresh, fixed = fresh_view_spectrum(kappa, 1.0), spectrum(kappa, 0.0, 1.0)
    assert tuple(fresh) == near(tuple(fixed), rel=tolerances.CLOSED_FORM)


# ---------------------------------------------------------------- hand-over


@given(kappa=KAPPAS, log_scale=st.floats(-12, -4), m=st.integers(1, 1000), tau=st.floats(0.01, 100))
def test_steps_are_those_of_the_theorem(kappa: float, log_scale: float, m: int, tau: float) -> None:
    """P3: T = log(sqrt(tau/2m) sqrt(2k/(1+2k)) / (sigma_0 |mu|)) / log(1 + lambda_1)."""
    signal, n0, dim = 7.0, 100, 10**8
    sigma_p = signal / math.sqrt(kappa / n0 * dim)
    eta = pretraining_learning_rate(
        signal_norm=signal, sigma_p=sigma_p, dim=dim, samples=n0, temperature=tau, overlap=0.0
    )
    unit = power_unit(learning_rate=eta, temperature=tau, sigma_p=sigma_p, dim=dim, samples=n0)
    growth = unit * (1 + 2 * kappa)
    sigma_0 = math.exp(log_scale)
    steps = linear_stage_steps(
        growth=growth, learning_rate=eta, temperature=tau, filters=m, init_scale=sigma_0
    )
    amplitude = math.sqrt(tau / (2 * m)) * math.sqrt(2 * kappa / (1 + 2 * kappa)) / (sigma_0 * signal)
    expected = max(0.0, math.log(amplitude)) / math.log1p(growth)
    assert steps == near(expected, rel=tolerances.SOLVED, abs=tolerances.SOLVED)


def test_steps_need_growth() -> None:
    for growth in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="expected lambda_1 > 0"):
            linear_stage_steps(growth=growth, learning_rate=1, temperature=1, filters=1, init_scale=1)


def headline_ratio(steps: float, **changes: Any) -> float:
    e = Experiment()
    law: dict[str, Any] = {
        "growth": 0.1,
        "alignment": 8 / 9,
        "unit": 0.1 / 9,
        "overlap": 0.0,
        "samples": 100,
        "dim": 10**8,
        "signal_norm": e.signal_norm,
        "sigma_p": 1.0,
    }
    return handover_ratio(steps=steps, **{**law, **changes})


def test_ratio_before_any_step_is_the_signal_to_noise_ratio_of_random_filters() -> None:
    e = Experiment()
    assert headline_ratio(0) == near(e.signal_norm / math.sqrt(10**8 - 1), rel=tolerances.CLOSED_FORM)


@pytest.mark.parametrize("steps", [1e3, 1e5, math.inf])
def test_ratio_of_a_long_linear_stage(steps: float) -> None:
    """sqrt(2 n0) SNR^2 sqrt(d) = 5657 at the headline."""
    expected = math.sqrt(2 * 100) * 0.2**2 * math.sqrt(10**8)
    assert headline_ratio(steps) == near(expected, rel=tolerances.SOLVED)


def test_ratio_grows_with_the_steps_and_with_a_lucky_start() -> None:
    ratios = [headline_ratio(steps) for steps in range(0, 200, 10)]
    assert ratios == sorted(ratios)
    assert headline_ratio(50, initial_overlap=2.0) > headline_ratio(50)


@given(overlap=st.floats(1e-3, 1e3), steps=st.floats(0, 100))
def test_signal_coefficients_scale_with_the_filters_start_along_v1(overlap: float, steps: float) -> None:
    law: dict[str, Any] = {"growth": 0.1, "alignment": 8 / 9, "unit": 0.1 / 9, "overlap": 0.0}
    law |= {"samples": 100, "signal_norm": 2.0, "noise_norm": 10.0, "init_scale": 1e-3}
    gamma, _ = coefficient_growth([steps], **law)
    lucky, _ = coefficient_growth([steps], initial_overlap=overlap, **law)
    assert lucky == near(gamma * math.sqrt(overlap), rel=tolerances.CLOSED_FORM)


# ---------------------------------------------------------------- race

RACE: dict[str, Any] = {
    "class_samples": 10,
    "samples": 20,
    "filters": 5,
    "signal_norm": 3.0,
    "noise_norm": 10.0,
    "learning_rate": 1e-3,
}


@given(q=st.floats(2.1, 8), a=st.floats(1e-4, 1), b=st.floats(1e-4, 1), scale=st.floats(0.1, 10))
def test_blow_up_times_of_balanced_classes(q: float, a: float, b: float, scale: float) -> None:
    """S1 with n_j = n/2: the class size cancels in t_signal."""
    result = race(signal_start=a, noise_start=b, q=q, output_scale=scale, **RACE)
    rate = 1e-3 * scale * q * (q - 2)
    signal, noise = 4 * 5 / (rate * 9 * a ** (q - 2)), 2 * 20 * 5 / (rate * 100 * b ** (q - 2))
    assert (result.signal_time, result.noise_time) == near((signal, noise), rel=tolerances.CLOSED_FORM)
    assert result.ratio == near(10 * 9 / 100 * (a / b) ** (q - 2), rel=tolerances.CLOSED_FORM)
    assert result.winner == ("signal" if signal < noise else "noise")


def test_races_that_nobody_runs() -> None:
    nobody = race(signal_start=-1.0, noise_start=0.0, q=3, **RACE)
    assert nobody == (math.inf, math.inf, 0.0)
    alone = race(signal_start=1.0, noise_start=-1.0, q=3, **RACE)
    assert (alone.ratio, alone.winner) == (math.inf, "signal")
    flipped = race(signal_start=1.0, noise_start=1.0, q=3, **{**RACE, "class_samples": -2})
    assert (flipped.signal_time, flipped.winner) == (math.inf, "noise")
    assert race(signal_start=1e10, noise_start=1.0, q=400, **RACE).signal_time == 0


@pytest.mark.parametrize("q", [1.0, 2.0, math.nan])
def test_no_race_without_a_blow_up(q: float) -> None:
    with pytest.raises(ValueError, match="only for q > 2"):
        race(signal_start=1.0, noise_start=1.0, q=q, **RACE)


# ---------------------------------------------------------------- conditions


def rows(**parts: Any) -> dict[str, Condition]:
    return {
        row.name.split(" ")[0] + " " + row.name.split(" ")[1]: row for row in conditions(Experiment(**parts))
    }


def test_conditions_of_the_headline() -> None:
    table = conditions(Experiment())
    assert [row.source for row in table] == ["Zhang-Cao 4.1"] * 5 + ["Cao et al. 4.2"] * 4 + [
        "Cao et al. 4.3"
    ]
    named = rows()
    unlabelled = named["unlabelled samples"]
    assert (unlabelled.required, unlabelled.actual, unlabelled.ratio) == near((25.0, 100.0, 4.0))
    assert unlabelled.met
    direct = table[-1]
    assert (direct.required, direct.actual) == near((1.0, 20 * 0.2**3))
    assert not direct.met
    supervised = next(row for row in table if row.name.startswith("dimension d >= m^"))
    assert supervised.required == near(10.0**4 * 20.0**4)
    for row in table:
        large, small = (row.actual, row.required) if row.relation == ">=" else (row.required, row.actual)
        assert row.relation in (">=", "<=")
        assert row.ratio == near(large / small)
        assert row.met == (large >= small)


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("dimension d >= n0^4", {"data": {"dim": 10**8}}, {"data": {"dim": 10**8 - 1}}),
        ("unlabelled samples", {"data": {"snr": 0.101}}, {"data": {"snr": 0.099}}),
        ("direct training", {"data": {"snr": 0.37}}, {"data": {"snr": 0.368}}),
        (
            "supervised step",
            {"finetuning": {"learning_rate": 0.99e-8}},
            {"finetuning": {"learning_rate": 1.01e-8}},
        ),
        (
            "contrastive step",
            {"pretraining": {"learning_rate": 1 / 9.01e6}},
            {"pretraining": {"learning_rate": 1 / 8.99e6}},
        ),
        (
            "initial scale 2 m",
            {"network": {"init_scale": 0.99 / math.sqrt(20 * 1.04e8)}},
            {"network": {"init_scale": 1.01 / math.sqrt(20 * 1.04e8)}},
        ),
        (
            "initial scale sigma0 >=",
            {"network": {"init_scale": 20.1e-8}},
            {"network": {"init_scale": 19.9e-8}},
        ),
        (
            "initial scale sigma0 <=",
            {"network": {"init_scale": 0.0499e-6}},
            {"network": {"init_scale": 0.0501e-6}},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_conditions_flip_at_their_boundary(name: str, inside: Any, outside: Any) -> None:
    for parts, met in ((inside, True), (outside, False)):
        (row,) = (r for r in conditions(Experiment(**parts)) if r.name.startswith(name))
        assert row.met is met
        assert row.ratio == near(1.0, abs=0.05)


@pytest.mark.parametrize("q", [2.1, 2.5, 3.0, 4.0, 7.0])
@pytest.mark.parametrize("snr", [0.3, 2.0])
def test_required_values_at_any_power(q: float, snr: float) -> None:
    """S6 term by term, with B = min(1/(sigma_p sqrt(d)), 1/|mu|)."""
    n0, n, m, d, tau, noise = 30, 6, 5, 10**6, 0.2, 2e3
    table = conditions(
        Experiment(
            data={"dim": d, "snr": snr, "sigma_p": 2.0},
            network={"filters": m, "q": q},
            pretraining={"samples": n0, "temperature": tau},
            finetuning={"samples": n},
        )
    )
    norm = snr * noise
    B = min(1 / noise, 1 / norm)
    m_power, n_power = max(2, 4 / (q - 2)), max(4, (2 * q - 2) / (q - 2))
    expected = {
        "unlabelled samples": max(1 / snr**2, 1),
        "dimension d >= n0^4": n0**4,
        "labelled samples": 1,
        "initial scale 2 m": math.sqrt(tau / (2 * m * (noise**2 + norm**2))),
        "contrastive step": tau / (2 * norm**2 + noise**2 / n0),
        "supervised step": min(noise**-2, norm**-2),
        "dimension d >= m^": m**m_power * n**n_power,
        "initial scale sigma0 >=": n * d**-0.5 * B,
        "initial scale sigma0 <=": m ** (-2 / (q - 2)) * n ** -max(1 / (q - 2), 1) * B,
        "direct training": 1,
    }
    assert len(table) == len(expected)
    for row, (name, value) in zip(table, expected.items(), strict=True):
        assert row.name.startswith(name)
        assert row.required == near(value, rel=tolerances.CLOSED_FORM)
    assert table[-1].actual == near(n * snr**q, rel=tolerances.CLOSED_FORM)


def test_conditions_that_do_not_apply_are_left_out() -> None:
    sources = [row.source for row in conditions(Experiment(network={"q": 2.0}, pretraining={"samples": 0}))]
    assert sources == ["Cao et al. 4.2"]
    assert [row.source for row in conditions(Experiment(network={"q": 1.0}))][6:] == ["Kou et al. 2023"] * 2
    assert len(conditions(Experiment(pretraining={"samples": 0}))) == 5


@pytest.mark.parametrize("q", [2.0000001, 2.001, 50.0])
def test_conditions_at_the_edges_of_the_settings(q: float) -> None:
    for data in ({"signal_norm": 0}, {"dim": 1}, {"snr": 1e90}, {"dim": 1e15, "sigma_p": 1e80}):
        for row in conditions(Experiment(data=data, network={"q": q})):
            assert not math.isnan(row.ratio)
            assert row.met == (row.ratio >= 1)


# ---------------------------------------------------------------- defaults


@given(kappa=KAPPAS, n0=st.integers(2, 10**6), dim=st.integers(1, 10**15), tau=st.floats(1e-3, 1e3))
def test_default_growth_is_a_tenth(kappa: float, n0: int, dim: int, tau: float) -> None:
    sigma_p = 0.7
    signal = math.sqrt(kappa / n0 * dim) * sigma_p
    rate = pretraining_learning_rate(
        signal_norm=signal, sigma_p=sigma_p, dim=dim, samples=n0, temperature=tau, overlap=0.0
    )
    unit = power_unit(learning_rate=rate, temperature=tau, sigma_p=sigma_p, dim=dim, samples=n0)
    assert unit * spectrum(kappa, n0 / dim).top == near(0.1, rel=tolerances.CLOSED_FORM)


@given(kappa=KAPPAS, a=OVERLAPS)
def test_default_growth_with_overlap_is_a_tenth(kappa: float, a: float) -> None:
    n0, dim = 10, 10**15
    rate = pretraining_learning_rate(
        signal_norm=math.sqrt(kappa / n0 * dim), sigma_p=1.0, dim=dim, samples=n0, temperature=1.0, overlap=a
    )
    unit = power_unit(learning_rate=rate, temperature=1.0, sigma_p=1.0, dim=dim, samples=n0)
    high_dimension = 4 * math.sqrt(n0 / dim)  # of the edge 1 + 2 sqrt(c)
    assert unit * spectrum(kappa, 0.0, a).top == near(0.1, rel=high_dimension)


@pytest.mark.parametrize("q", [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 8.0])
@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_default_supervised_step_is_a_quarter_of_the_stability_limit(
    q: float, flips: bool, bias: bool
) -> None:
    """2/curvature is the limit: second differences of l(+-f) along k equal activations, times the data's."""
    m, scale, n, dim, norm, sigma_p = 7, 3.0, 10, 40, 1.5, 0.5
    rate = supervised_learning_rate(
        signal_norm=norm,
        sigma_p=sigma_p,
        dim=dim,
        samples=n,
        filters=m,
        q=q,
        output_scale=scale,
        bias=bias,
        flips=flips,
    )
    f = np.geomspace(1e-2, 60, 20_001)
    if flips and q >= 2:  # the wrong side too, up to where descent starts
        f = np.concatenate([f, -f[f <= 1]])
    k = m if q < 2 else 1
    z = (np.abs(f) * m / (scale * k)) ** (1 / q)
    h = tolerances.SECOND_DIFFERENCE_STEP * z

    def loss(step: Any) -> Any:
        return np.logaddexp(0.0, -np.sign(f) * scale / m * k * (z + step / math.sqrt(k)) ** q)

    curvature = float(np.max((loss(h) - 2 * loss(0.0) + loss(-h)) / h**2))
    data = norm**2 + sigma_p**2 * (math.sqrt(dim / n) + 1) ** 2 + (4 if bias else 0)
    assert rate == near(0.25 * 2 / (curvature * data), rel=tolerances.CURVATURE)


@given(q=st.floats(3, 50))
def test_default_initial_scales_give_races_of_one_length(q: float) -> None:
    scale = relative_init_scale(q)
    assert q * (q - 2) * scale ** (q - 2) == near(3e-3, rel=tolerances.SOLVED)


@pytest.mark.parametrize("q", [1.0, 2.0, 2.5, 3.0])
def test_default_initial_scale_of_small_powers(q: float) -> None:
    assert relative_init_scale(q) == near(1e-3, rel=tolerances.CLOSED_FORM)
