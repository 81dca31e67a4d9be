"""Descents with nothing patched: across the pauses and in the blocks they really have, and where they end."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances

import numsim
from numsim.descent import reference
from numsim.descent.blocks import block_size

Floats = npt.NDArray[np.float64]

# Steps of the smallest problems, which pause every 199,960 (supervised) and 199,681 (contrastive).
LONG = 200_100


class Steps:
    """A progress function that keeps the steps it is told of."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, step: int, loss: float) -> None:
        self.seen.append(step)

    def assert_paused(self) -> None:
        assert len(self.seen) > 1
        assert self.seen == sorted(self.seen)
        assert self.seen[-1] == LONG


@pytest.mark.compiled
def test_training_goes_on_where_it_paused() -> None:
    """A hopeless margin pulls with exactly 1: w falls by 1 a step, and not a bit is lost."""
    steps = Steps()
    settings: dict[str, Any] = {"q": 1.0, "learning_rate": 1.0, "target_loss": 0.0}
    W, run = numsim.train([[[1e6]], [[-1.0]]], [[[1.0]]], [-1.0], max_steps=LONG, progress=steps, **settings)
    assert (run.status, run.steps) == ("max_steps", LONG)
    assert W.ravel().tolist() == [1e6 - LONG, -1.0]
    steps.assert_paused()


@pytest.mark.compiled
def test_pretraining_goes_on_where_it_paused() -> None:
    """w grows by the factor 1 + 2 eta a step, as long as its similarities are nothing."""
    steps = Steps()
    start, rate = 1e-9, 1e-6
    z = [[1.0], [-1.0]]
    W, run = numsim.pretrain([[start]], z, z, learning_rate=rate, max_steps=LONG, progress=steps)
    assert (run.status, run.steps) == ("max_steps", LONG)
    assert W[0, 0] == pytest.approx(start * (1 + 2 * rate) ** LONG, rel=tolerances.EPS * LONG)
    steps.assert_paused()


def test_a_loss_of_zero_ends_nothing_without_a_target() -> None:
    settings: dict[str, Any] = {"q": 1.0, "learning_rate": 1.0, "target_loss": 0.0}  # 0: no target
    task = [[[900.0]], [[-1.0]]], [[[1.0]]], [1.0]  # exp(-900) is 0
    _, run = numsim.train(*task, max_steps=3, **settings)
    assert (run.status, run.steps, run.loss) == ("max_steps", 3, 0.0)
    _, run = numsim.train(*task, max_steps=0, **settings)
    assert (run.status, run.steps, run.recorded_steps.tolist()) == ("max_steps", 0, [0])
    _, run = numsim.train(*task, max_steps=3, **{**settings, "target_loss": 0.01})
    assert (run.status, run.steps) == ("target_loss", 0)


@pytest.mark.compiled
@pytest.mark.parametrize("size", [0.003, 0.3, 5.0, 400.0])
def test_blocks_of_unequal_size_are_the_reference(size: float) -> None:
    W, z, z_aug = filters_and_views(size)
    loss, gradient = numsim.info_nce(W, z, z_aug)
    expected_loss, expected = reference.info_nce(W, z, z_aug)
    terms = sum(W.shape) + len(z)
    scale = (1.0 + size) * float(np.max(np.linalg.norm(np.concatenate([z, z_aug]), axis=1)) ** 2)
    np.testing.assert_allclose(loss, expected_loss, rtol=0, atol=tolerances.roundoff(terms, 1.0 + size))
    atol = tolerances.roundoff(terms, scale * float(np.max(np.abs(W))))
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=atol)


@pytest.mark.compiled
def test_a_gram_matrix_in_blocks_makes_the_descent_of_the_reference() -> None:
    W, z, z_aug = filters_and_views(0.01)
    settings: dict[str, Any] = {"learning_rate": 0.05, "max_steps": 3, "stop_at_linear_end": False}
    expected = reference.pretrain(W, z, z_aug, temperature=1.0, **settings)
    last, run = numsim.pretrain(W, z, z_aug, **settings)
    views = np.concatenate([z, z_aug])
    atol = tolerances.TRAJECTORY_FLOOR * float(np.max(np.abs(W)))
    np.testing.assert_allclose(last, expected.filters[-1], rtol=0, atol=atol)
    np.testing.assert_allclose(run.recorded_losses, expected.losses, rtol=tolerances.TRAJECTORY_FLOOR)
    inner = expected.filters[-1] @ views.T
    atol *= float(np.max(np.sum(np.abs(views), axis=1)))
    np.testing.assert_allclose(run.inner, inner, rtol=0, atol=atol)


def filters_and_views(size: float) -> tuple[Floats, Floats, Floats]:
    """So many filters and samples that S and the Gram matrix come in blocks; largest |s| = ``size``."""
    filters, n = 200, 75
    assert 1 < n / block_size(filters, n) < 2
    W, z, z_aug = (np.random.default_rng(k).standard_normal((k, 4)) for k in (filters, n, n + 1))
    z_aug = z_aug[:n]
    s, s_plus = reference.similarities(W, z, z_aug)
    return W * np.sqrt(size / max(np.abs(s).max(), np.abs(s_plus).max())), z, z_aug
