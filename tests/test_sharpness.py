"""SAM's shift against one step by hand; patches of noise against K1's error and draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tolerances
from hypothesis import given
from hypothesis import strategies as st

import numsim
from numsim.theory import patch_test_error, relu_test_error, sam_share, sam_shift, signal_margin


def test_filters_below_the_shift_are_silent_in_one_step() -> None:
    rng = np.random.default_rng(5)
    n, m, d, radius = 30, 60, 400, 0.2
    noise = np.zeros((n, d))
    noise[np.arange(n), np.arange(n)] = math.sqrt(d)  # orthogonal patches of length sigma_p sqrt(d)
    y = np.where(np.arange(n) % 2, 1.0, -1.0)
    W = 0.003 * rng.standard_normal((2, m, d))
    after, _ = numsim.train(
        W, noise[:, None], y, q=1.0, learning_rate=1e-3, max_steps=1, target_loss=0.0, sam_radius=radius
    )
    side = (y < 0).astype(int)
    before, moved = (np.einsum("nmd,nd->nm", w[side], noise) for w in (W, after))
    shift = sam_shift(radius, noise_norm=math.sqrt(d), filters=m, batch=n)
    learned = moved > before
    scatter = 4 / math.sqrt(2 * m * n)  # of the filters that are active
    assert before[learned].min() == pytest.approx(shift, rel=scatter)
    assert before[~learned].max() == pytest.approx(shift, rel=scatter)
    share = sam_share(shift, 0.003 * math.sqrt(d))
    deviation = math.sqrt(share * (1 - share) / learned.size)
    assert learned.mean() == pytest.approx(
        share, abs=tolerances.STANDARD_ERRORS * deviation + share * scatter
    )


@given(
    st.floats(0.03, 4.0), st.floats(1.2, 6.0), st.integers(8, 200), st.floats(0.0, 3.0), st.floats(0.0, 0.4)
)
def test_one_patch_of_noise_is_k1(
    signal: float, inverse: float, filters: int, initial: float, flips: float
) -> None:
    law = {"inverse": inverse, "filters": filters, "flip_probability": flips, "initial": initial}
    exact = relu_test_error(signal, **law)  # type: ignore[arg-type]
    assert patch_test_error(signal, **law) == pytest.approx(exact, abs=1e-3)  # type: ignore[arg-type]


def test_patches_of_noise_against_draws() -> None:
    rng = np.random.default_rng(2)
    inverse, m, noises, count = 2.0, 20, 3, 20_000
    total = np.zeros(count)
    for sign in (1, -1):
        for _ in range(noises):
            h = rng.standard_normal((count, 1)) + math.sqrt(inverse - 1) * rng.standard_normal((count, m))
            total += sign * np.maximum(h, 0.0).mean(axis=1)
    for signal in (0.3, 1.0, 2.0):
        share = float(np.mean(total < -signal))
        error = math.sqrt(share * (1 - share) / count)
        found = patch_test_error(signal, inverse=inverse, filters=m, patches=noises + 1)
        assert abs(found - share) < tolerances.STANDARD_ERRORS * error + 1e-3


@given(st.floats(0.0, 200.0), st.floats(0.0, 0.49))
def test_margins_obey_their_equation(steps: float, flipped: float) -> None:
    rate, count = 0.1, 4000
    margin, step = 0.0, rate * steps / count
    for _ in range(count):
        middle = margin + step / 2 * (1 / (1 + math.exp(margin)) - flipped)
        margin += step * (1 / (1 + math.exp(middle)) - flipped)
    assert signal_margin(steps, rate=rate, flipped=flipped) == pytest.approx(margin, abs=1e-5)
