"""Test loss and error: against brute force in R^d, exact cases, label flips, non-finite filters."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
from hypothesis import given
from hypothesis import strategies as st

from numsim.descent import evaluation
from numsim.descent.evaluation import evaluate
from numsim.descent.network import forward

Floats = npt.NDArray[np.float64]

DIM, SIGNAL, SIGMA = 6, 1.5, 0.8
SAMPLES = 40_000


def direction_of(rng: np.random.Generator, dim: int = DIM) -> Floats:
    vector = rng.standard_normal(dim)
    unit: Floats = vector / np.linalg.norm(vector)
    return unit


def measured(
    W: Floats, direction: Floats, *, samples: int = SAMPLES, **settings: Any
) -> evaluation.TestResult:
    law: dict[str, Any] = {"signal_norm": SIGNAL, "sigma_p": SIGMA, "q": 3.0}
    return evaluate(W, direction, samples=samples, rng=np.random.default_rng(1), **{**law, **settings})


def brute_force(
    W: Floats,
    direction: Floats,
    *,
    q: float,
    bias: Floats | None,
    projected: bool,
    flip_probability: float,
    output_scale: float,
) -> evaluation.TestResult:
    """Draw labels, patches and flips one by one in R^d, and count."""
    rng = np.random.default_rng(2)
    labels = rng.choice([-1.0, 1.0], SAMPLES)
    noise = SIGMA * rng.standard_normal((SAMPLES, len(direction)))
    if projected:
        noise -= np.outer(noise @ direction, direction)
    x = np.stack([labels[:, None] * SIGNAL * direction, noise], axis=1)
    if bias is not None:  # one more coordinate that every patch has equal to 1
        x = np.concatenate([x, np.ones((SAMPLES, 2, 1))], axis=2)
        W = np.concatenate([W, bias[..., None]], axis=2)
    observed = labels * np.where(rng.random(SAMPLES) < flip_probability, -1.0, 1.0)
    margins = observed * forward(W, x, q=q, output_scale=output_scale)
    loss, error = np.logaddexp(0.0, -margins), (margins < 0) + 0.5 * (margins == 0)
    root = math.sqrt(SAMPLES)
    return evaluation.TestResult(loss.mean(), loss.std() / root, error.mean(), error.std() / root)


@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(("q", "flips", "scale"), [(1.0, 0.0, 1.0), (3.0, 0.2, 2.0), (2.5, 0.1, 0.5)])
def test_brute_force(projected: bool, with_bias: bool, q: float, flips: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    direction = direction_of(rng)
    W = 0.5 * rng.standard_normal((2, 4, DIM)) + 0.2 * np.array([1.0, -1.0])[:, None, None] * direction
    bias = 0.3 * rng.standard_normal((2, 4)) if with_bias else None
    settings: dict[str, Any] = {
        "q": q,
        "bias": bias,
        "projected": projected,
        "flip_probability": flips,
        "output_scale": scale,
    }
    fast, slow = measured(W, direction, **settings), brute_force(W, direction, **settings)
    k = tolerances.STANDARD_ERRORS
    assert abs(fast.loss - slow.loss) <= k * math.hypot(fast.loss_se, slow.loss_se)
    assert abs(fast.error - slow.error) <= k * math.hypot(fast.error_se, slow.error_se)
    assert fast.error_se <= slow.error_se  # both labels of every draw are averaged


@given(p=st.floats(0.0, 0.499), seed=st.integers(0, 10**6))
def test_flips_are_exact(p: float, seed: int) -> None:
    """error = p + (1 - 2p) clean error and loss = (1 - p) E l(yf) + p E l(-yf), on the same draws."""
    rng = np.random.default_rng(seed)
    direction, W = direction_of(rng), rng.standard_normal((2, 3, DIM))
    clean = measured(W, direction, samples=200)
    flipped = measured(W, direction, samples=200, flip_probability=p)
    half = measured(W, direction, samples=200, flip_probability=0.25)
    assert flipped.error == pytest.approx(p + (1 - 2 * p) * clean.error, rel=tolerances.CLOSED_FORM)
    assert flipped.error_se == pytest.approx(
        (1 - 2 * p) * clean.error_se, rel=tolerances.SOLVED, abs=tolerances.SOLVED
    )
    # The loss is linear in p; test_brute_force has its value.
    expected = clean.loss + 4 * p * (half.loss - clean.loss)
    assert flipped.loss == pytest.approx(expected, rel=tolerances.SOLVED)


@pytest.mark.parametrize("q", [1.0, 3.0])
@pytest.mark.parametrize("flips", [0.0, 0.3])
def test_zero_filters_toss_a_coin(q: float, flips: float) -> None:
    direction = direction_of(np.random.default_rng(0))
    result = measured(np.zeros((2, 5, DIM)), direction, q=q, flip_probability=flips, samples=100)
    assert result == pytest.approx((math.log(2), 0.0, 0.5, 0.0), abs=tolerances.SOLVED)


def test_a_perfect_and_a_perfectly_wrong_network() -> None:
    direction = direction_of(np.random.default_rng(0))
    W = 5.0 * np.stack([direction, -direction])[:, None, :]
    right = measured(W, direction, flip_probability=0.2, samples=100)
    assert (right.error, right.error_se) == pytest.approx((0.2, 0.0), abs=tolerances.SOLVED)
    margin = (5 * SIGNAL) ** 3
    assert right.loss == pytest.approx(0.2 * margin, rel=tolerances.CLOSED_FORM)
    assert measured(W, direction, samples=100).loss <= tolerances.SATURATED_LOSS
    wrong = measured(-W, direction, samples=100)
    assert wrong.error == 1.0
    assert wrong.loss == pytest.approx(margin, rel=tolerances.CLOSED_FORM)


def test_the_signal_direction_of_the_noise() -> None:
    """Filters along mu see no projected noise, and noise of standard deviation sigma_p where it is not."""
    direction = direction_of(np.random.default_rng(0))
    W = np.stack([direction, -direction])[:, None, :]
    assert measured(W, direction).error == 0.0
    # q = 1: f = y |mu| + g, g ~ N(0, sigma_p^2), as positive part minus negative part.
    result = measured(W, direction, q=1.0, projected=False)
    expected = 0.5 * math.erfc(SIGNAL / SIGMA / math.sqrt(2))
    assert abs(result.error - expected) <= tolerances.STANDARD_ERRORS * result.error_se


@pytest.mark.compiled
def test_standard_errors_are_those_of_the_mean() -> None:
    rng = np.random.default_rng(3)
    direction, W = direction_of(rng), rng.standard_normal((2, 3, DIM))
    repeats, samples = 400, 500
    runs = np.array(
        [
            evaluate(
                W,
                direction,
                signal_norm=SIGNAL,
                sigma_p=SIGMA,
                q=2.0,
                samples=samples,
                rng=np.random.default_rng(seed),
            )
            for seed in range(repeats)
        ]
    )
    spread, claimed = runs.std(axis=0, ddof=1), runs.mean(axis=0)
    # A standard deviation is known to 1/sqrt(2 N) of itself, heavy tails make it a few times that.
    error = tolerances.monte_carlo(1.0, 2 * repeats)
    assert spread[0] == pytest.approx(claimed[1], rel=error)
    assert spread[2] == pytest.approx(claimed[3], rel=error)


@pytest.mark.compiled
def test_standard_errors_of_few_samples_have_no_bias() -> None:
    """Their squares are, on average, the variance of one sample, seen with both labels, over four."""
    rng = np.random.default_rng(4)
    direction, W = direction_of(rng), rng.standard_normal((2, 3, DIM))
    samples, repeats = 4, 6000
    runs = [
        evaluate(W, direction, signal_norm=SIGNAL, sigma_p=SIGMA, q=1.0, samples=samples, rng=rng)
        for _ in range(repeats)
    ]
    noise = SIGMA * rng.standard_normal((SAMPLES, DIM))
    noise -= np.outer(noise @ direction, direction)
    patches = (np.stack([noise * 0 + y * SIGNAL * direction, noise], axis=1) for y in (1, -1))
    margins = np.array([y * forward(W, x, q=1.0) for y, x in zip((1, -1), patches, strict=True)])
    for name, values in (("loss_se", np.logaddexp(0.0, -margins)), ("error_se", margins < 0)):
        squares = np.array([getattr(run, name) for run in runs]) ** 2
        error = tolerances.monte_carlo(float(np.std(squares)), repeats)
        expected = float(np.var(np.mean(values, axis=0))) / samples
        assert error < expected / 6  # one sample too many would be a quarter
        assert float(np.mean(squares)) == pytest.approx(expected, abs=error, rel=tolerances.REMAINDER)


def test_filters_in_few_dimensions() -> None:
    """d = 1 projected has no noise at all; more filters than dimensions leave the factor low."""
    W = np.array([[[1.0], [2.0]], [[-1.0], [0.5]]])
    projected = measured(W, np.ones(1), samples=100)
    assert projected.loss_se == 0.0
    dense = measured(W, np.ones(1), samples=SAMPLES, projected=False)
    slow = brute_force(
        W, np.ones(1), q=3.0, bias=None, projected=False, flip_probability=0.0, output_scale=1.0
    )
    assert abs(dense.error - slow.error) <= tolerances.STANDARD_ERRORS * slow.error_se


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_filters_that_are_not_finite(value: float) -> None:
    W = np.ones((2, 2, DIM))
    W[1, 0, 3] = value
    assert all(map(math.isnan, measured(W, np.eye(DIM)[0], samples=10)))


@pytest.mark.parametrize("size", [1e60, 1e120, 1e200, 1e300, 1.7e308])
@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize("flips", [0.0, 0.1])
def test_huge_filters_give_no_warnings(size: float, projected: bool, flips: float) -> None:
    rng = np.random.default_rng(5)
    W = size * rng.choice([-1.0, 1.0], (2, 3, DIM))
    direction = direction_of(rng)
    result = measured(W, direction, projected=projected, flip_probability=flips, samples=50)
    assert result.loss > 1 or math.isnan(result.loss)
    assert 0 <= result.error <= 1 or math.isnan(result.error)


@pytest.mark.parametrize("margin", [36.0, 700.0, 708.0, 720.0, 744.0])
def test_the_loss_of_a_great_margin_is_its_exponential(margin: float) -> None:
    """log(1 + e^-v) = e^-v, also where that is no normal number."""
    direction = np.eye(DIM)[0]
    W = np.stack([direction, -direction])[:, None, :] * margin
    found = measured(W, direction, q=1.0, signal_norm=1.0, sigma_p=1e-300, samples=10).loss
    assert found == pytest.approx(math.exp(-margin), rel=tolerances.roundoff(1, margin))


def test_an_infinite_margin_on_the_right_side_is_no_loss() -> None:
    direction = np.eye(DIM)[0]
    W = 1e200 * np.stack([direction, -direction])[:, None, :]
    assert measured(W, direction, samples=10)[::2] == (0.0, 0.0)
