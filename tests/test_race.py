"""The race beyond its leading order: steps to a level, memorised samples, the boundary of fine-tuning."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tolerances
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.integrate import quad

from numsim.theory import critical_ratio, delayed_signal_time, noise_power_mean, race, steps_to_reach

powers = st.floats(2.1, 8)
times = st.lists(st.floats(1e-2, 1e3), min_size=1, max_size=12)


def near(expected: Any, rel: float = tolerances.CLOSED_FORM) -> Any:
    return pytest.approx(expected, rel=rel)


# ---------------------------------------------------------------- steps to a level


@given(q=powers, start=st.floats(1e-3, 0.5), growth=st.floats(1.0, 50), blow_up=st.floats(1, 1e4))
@example(q=8.0, start=0.37109375, growth=1.0 + tolerances.EPS, blow_up=1502.0)
def test_steps_to_a_level_are_those_of_the_flow_and_of_discrete_time(
    q: float, start: float, growth: float, blow_up: float
) -> None:
    """S1 (7) by quadrature of dt = da / (k a^(q-1)), and S1 (8), that of da / a."""
    level = start * growth
    pull = 1 / (blow_up * (q - 2) * start ** (q - 2))

    def steps(share: float) -> float:  # on the way from start to level: no difference of nearly equal ones
        a = start + share * (level - start)
        return float((level - start) * (a ** (1 - q) / pull + (q - 1) / 2 / a))

    expected, _ = quad(steps, 0, 1, epsabs=0, epsrel=1e-11, limit=200)
    found = steps_to_reach(level, start=start, blow_up=blow_up, q=q)
    assert found == near(expected, rel=tolerances.SOLVED)


@pytest.mark.parametrize("q", [2.5, 3.0, 5.0])
def test_feedback_is_the_pull_that_the_output_takes(q: float) -> None:
    """S1 (9): the integral of f / 2 over dt, f = F a^q."""
    start, level, blow_up, feedback = 0.1, 0.7, 300.0, 0.4
    pull = 1 / (blow_up * (q - 2) * start ** (q - 2))
    lost, _ = quad(lambda a: feedback * a**q / 2 / (pull * a ** (q - 1)), start, level)
    law = {"start": start, "blow_up": blow_up, "q": q}
    found = steps_to_reach(level, feedback=feedback, **law) - steps_to_reach(level, **law)
    assert found == near(lost, rel=tolerances.SOLVED)


def test_steps_from_nowhere_and_without_pull() -> None:
    assert steps_to_reach(0.5, start=0.1, blow_up=math.inf, q=3.0, feedback=1.0) == math.inf
    assert steps_to_reach(0.1, start=0.1, blow_up=math.inf, q=3.0) == 0
    for start, level in ((0.0, 1.0), (0.2, 0.1), (-1.0, 1.0), (1.0, math.inf), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="expected numbers with 0 < start <= level"):
            steps_to_reach(level, start=start, blow_up=10.0, q=3.0)


@given(q=powers, start=st.floats(1e-3, 0.5), blow_up=st.floats(1, 1e4))
def test_no_step_to_where_one_is(q: float, start: float, blow_up: float) -> None:
    assert steps_to_reach(start, start=start, blow_up=blow_up, q=q, feedback=1.0) == 0


def test_steps_to_a_level_end_at_the_blow_up() -> None:
    """The flow's part tends to T as the level rises."""
    steps = steps_to_reach(1e9, start=1e-3, blow_up=100.0, q=4.0)
    assert steps - 1.5 * math.log(1e12) == near(100.0)


# ---------------------------------------------------------------- memorised samples


@given(noise=times, share=st.floats(0.01, 0.99))
def test_the_delayed_signal_has_been_pulled_as_much_as_it_needs(noise: list[float], share: float) -> None:
    """S1 (12), with a signal that is not too slow."""
    needed = share * float(np.mean(noise))
    when = delayed_signal_time(needed, noise)
    assert np.mean(np.minimum(when, noise)) == near(needed, rel=tolerances.SOLVED)
    assert when >= needed * (1 - tolerances.CLOSED_FORM)
    assert delayed_signal_time(needed, noise[::-1]) == near(when, rel=tolerances.SOLVED)


@given(noise=times, excess=st.floats(1.01, 10))
def test_a_signal_slower_than_the_mean_never_blows_up(noise: list[float], excess: float) -> None:
    assert delayed_signal_time(excess * float(np.mean(noise)), noise) == math.inf


def test_samples_that_are_never_memorised_pull_forever() -> None:
    assert delayed_signal_time(3.0, [1.0, 2.0, math.inf, math.inf]) == near(4.5)
    assert delayed_signal_time(3.0, [math.inf]) == near(3.0)
    assert delayed_signal_time(math.inf, [1.0, 2.0]) == math.inf


# ---------------------------------------------------------------- the boundary of fine-tuning


@given(q=powers, starts=st.lists(st.floats(0.1, 10), min_size=1, max_size=12))
def test_the_power_mean_lies_among_the_samples(q: float, starts: list[float]) -> None:
    mean = noise_power_mean(starts, q)
    assert min(starts) * (1 - tolerances.SOLVED) <= mean <= max(starts) * (1 + tolerances.SOLVED)
    assert noise_power_mean([2 * b for b in starts], q) == near(2 * mean, rel=tolerances.SOLVED)
    assert noise_power_mean(starts * 3, q) == near(mean, rel=tolerances.SOLVED)


def test_the_power_mean_at_q_3_is_the_harmonic_mean() -> None:
    assert noise_power_mean([1.0, 2.0, 4.0], 3.0) == near(3 / (1 + 0.5 + 0.25))


@given(q=powers, count=st.integers(1, 50), snr=st.floats(0.01, 3), scale=st.floats(1e-3, 1))
def test_at_the_critical_ratio_both_times_are_equal(q: float, count: int, snr: float, scale: float) -> None:
    """S4 (3) is S1 (6) at 1, for equal starts b_0i."""
    found = race(
        signal_start=scale * critical_ratio(count, snr, q),
        noise_start=scale,
        class_samples=count,
        samples=100,
        filters=5,
        q=q,
        signal_norm=snr,
        noise_norm=1.0,
        learning_rate=0.1,
    )
    assert found.ratio == near(1.0, rel=tolerances.SOLVED)


@given(q=powers, starts=st.lists(st.floats(0.5, 2), min_size=2, max_size=9), snr=st.floats(0.1, 2))
def test_above_the_critical_ratio_the_signal_blows_up_in_the_end(
    q: float, starts: list[float], snr: float
) -> None:
    """S4 (3) is where S1 (12) ceases to have a solution."""
    count = len(starts)

    def signal(start: float) -> float:
        law: dict[str, Any] = {
            "class_samples": count,
            "samples": 50,
            "filters": 5,
            "q": q,
            "learning_rate": 0.1,
        }
        races = [
            race(signal_start=start, noise_start=b, signal_norm=snr, noise_norm=1.0, **law) for b in starts
        ]
        return delayed_signal_time(races[0].signal_time, [r.noise_time for r in races])

    boundary = critical_ratio(count, snr, q) * noise_power_mean(starts, q)
    assert signal(boundary * (1 + tolerances.REMAINDER)) < math.inf
    assert signal(boundary * (1 - tolerances.REMAINDER)) == math.inf


@pytest.mark.parametrize("q", [1.0, 2.0, math.nan])
def test_nothing_blows_up_up_to_q_2(q: float) -> None:
    refused = pytest.raises(ValueError, match="only for q > 2")
    with refused:
        steps_to_reach(1.0, start=0.1, blow_up=10.0, q=q)
    with refused:
        noise_power_mean([1.0], q)
    with refused:
        critical_ratio(10, 0.2, q)
