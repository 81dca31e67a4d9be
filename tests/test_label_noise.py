"""numsim.theory.label_noise: laws and limits of the stationary margin, and the chain itself, drawn."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
from hypothesis import given, settings
from hypothesis import strategies as st

from numsim.theory import (
    label_noise_growth,
    label_noise_pull,
    label_noise_pull_expansion,
    memorisation_gain,
    stationary_mean,
)

Floats = npt.NDArray[np.float64]

GRID = 1e-4  # relative, of a mean on the grid: squared spacing over squared width of the law
CHAINS, STEPS, BURNT = 400, 4000, 1000

gains = st.floats(0.01, 0.9)
shares = st.floats(0.02, 0.35)


def drawn_pull(gain: float, p: float, seed: int) -> tuple[float, float]:
    """Mean pull of chains (3) of L1 drawn step by step, and its standard error."""
    rng = np.random.default_rng(seed)
    f = np.full(CHAINS, math.log(1 / p - 1))
    total = np.zeros(CHAINS)
    for step in range(STEPS):
        right = 1 / (1 + np.exp(f))
        g = np.where(rng.random(CHAINS) < p, right - 1, right)
        f *= (1 + gain * g) ** 2
        if step >= BURNT:
            total += g
    means = total / (STEPS - BURNT)
    return float(means.mean()), float(means.std() / math.sqrt(CHAINS))


@pytest.mark.parametrize(("gain", "p"), [(0.1, 0.1), (0.4, 0.2), (0.5, 0.05)])
def test_pull_is_that_of_chains_drawn(gain: float, p: float) -> None:
    mean, error = drawn_pull(gain, p, seed=3)
    assert abs(label_noise_pull(gain, p) - mean) < tolerances.STANDARD_ERRORS * error


@settings(max_examples=15, deadline=None)
@given(gain=gains, p=shares)
def test_margins_stay_where_they_are(gain: float, p: float) -> None:
    """E log(1 + a g) = 0, the very definition of the stationary law, and the mean of a constant."""
    scale = gain * p * (1 - p)

    def drift(f: Floats) -> Floats:
        right = 1 / (1 + np.exp(f))
        found: Floats = (1 - p) * np.log1p(gain * right) + p * np.log1p(-gain * (1 - right))
        return found

    assert abs(stationary_mean(drift, gain, p)) < GRID * scale
    assert stationary_mean(lambda f: np.full_like(f, 3.0), gain, p) == pytest.approx(3.0, rel=GRID)


@settings(max_examples=15, deadline=None)
@given(p=shares)
def test_expansion_is_reached_at_third_order(p: float) -> None:
    """pull - expansion falls like a^3, pull - first order like a^2."""
    small, large = 0.02, 0.04
    left = [
        [label_noise_pull(a, p) - label_noise_pull_expansion(a, p, order) for a in (small, large)]
        for order in (1, 2)
    ]
    noise = GRID * label_noise_pull(large, p)
    assert abs(left[0][1] - 4 * left[0][0]) < 4 * large * abs(left[0][1]) + 5 * noise
    assert abs(left[1][1]) < 2 * large**3 + noise


def test_margins_wander_about_the_flips_log_odds() -> None:
    middle = stationary_mean(np.log, 0.01, 0.1)
    assert middle == pytest.approx(math.log(math.log(9)), abs=0.01)
    spread = stationary_mean(lambda f: (np.log(f) - middle) ** 2, 0.01, 0.1)
    assert spread == pytest.approx(0.01 / math.log(9), rel=0.05)  # a / f*, to first order in a


def test_growth_in_units_of_the_experiment() -> None:
    sizes: dict[str, Any] = {
        "learning_rate": 0.6,
        "samples": 50,
        "filters": 4,
        "noise_norm": 10.0,
        "output_scale": 2.0,
    }
    gain = memorisation_gain(**sizes)
    assert gain == pytest.approx(2 * 0.6 * 2 * 100 / 200)
    with pytest.raises(ValueError, match=r"gain is 1\.2"):
        label_noise_growth(**sizes, signal_norm=1.0, flip_probability=0.1)
    sizes["learning_rate"] = 0.05
    found = label_noise_growth(**sizes, signal_norm=3.0, flip_probability=0.1, class_share=0.25)
    expected = 2 * 0.25 * 0.05 * 2 * 9 / 4 * label_noise_pull(memorisation_gain(**sizes), 0.1)
    assert found == pytest.approx(expected, rel=tolerances.CLOSED_FORM)


@pytest.mark.parametrize(
    ("gain", "p", "words"),
    [
        (0.0, 0.1, "gain is"),
        (math.nan, 0.1, "gain is"),
        (0.1, 0.0, "flip_probability is"),
        (0.99, 0.49, "shrink"),
    ],
)
def test_what_has_no_stationary_law_is_refused(gain: float, p: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        label_noise_pull(gain, p)
    if words != "shrink":
        with pytest.raises(ValueError, match=words):
            label_noise_pull_expansion(gain, p)
