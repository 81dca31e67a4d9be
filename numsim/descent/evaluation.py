"""Test loss and error of a trained network on fresh data, exact in law.

A test sample meets the filters only through <w_r, y mu> and the Gaussian vector of <w_r, xi>, whose
covariance is sigma_p^2 times the filters' Gram matrix (of the parts orthogonal to mu if the noise is
projected). It is drawn as L g with the filters' LQ factor L: 2m numbers a sample, whatever d.

Given xi, both labels are averaged exactly; with flip probability p the observed test label differs with
probability p: error = p + (1 - 2p) clean error, loss = (1 - p) E l(y f) + p E l(-y f).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..models.space import lower_factor
from ..models.streams import lanes
from ._kernels.readout import LANES, Readout, sample_sums

__all__ = ["TestResult", "evaluate", "evaluate_stack"]

Floats = npt.NDArray[np.float64]


class TestResult(NamedTuple):
    """Means over the test distribution and their Monte-Carlo standard errors."""

    loss: float
    loss_se: float
    error: float
    error_se: float


def evaluate(
    W: Floats,
    direction: Floats,
    bias: Floats | None = None,
    *,
    signal_norm: float,
    sigma_p: float,
    q: float,
    output_scale: float = 1.0,
    projected: bool = True,
    flip_probability: float = 0.0,
    samples: int,
    rng: np.random.Generator,
) -> TestResult:
    """Test loss and error from ``samples`` noise draws, each seen with both labels.

    Parameters
    ----------
    W : (2, m, D) filters; direction : (D,) unit vector mu / |mu|; bias : (2, m) or None.
    signal_norm, sigma_p : |mu| and the noise level of the test data.
    flip_probability : of the observed test label.

    A sample with f = 0 exactly counts as half an error (its predicted label is a coin toss).
    Filters that are not finite give NaN, activations beyond float64 an infinite or NaN result, no warning.

    ``rng`` gives the states of the generators in the kernel (``streams.lanes``).
    """
    found = evaluate_stack(
        W[None],
        direction,
        None if bias is None else bias[None],
        signal_norm=signal_norm,
        sigma_p=sigma_p,
        q=q,
        output_scale=output_scale,
        projected=projected,
        flip_probability=flip_probability,
        samples=samples,
        rngs=[rng],
    )
    return TestResult(*(float(values[0]) for values in found))


@np.errstate(over="ignore", invalid="ignore")
def evaluate_stack(
    W: Floats,
    direction: Floats,
    bias: Floats | None = None,
    *,
    signal_norm: float,
    sigma_p: float,
    q: float,
    output_scale: float = 1.0,
    projected: bool = True,
    flip_probability: float = 0.0,
    samples: int,
    rngs: Sequence[np.random.Generator],
) -> tuple[Floats, Floats, Floats, Floats]:
    """``evaluate`` for B networks at once: W (B, 2, m, D), bias (B, 2, m), a generator each.

    Returns the four numbers of a TestResult, (B,) each.
    """
    count, m, width = len(W), W.shape[2], W.shape[3]
    flat = W.reshape(count, 2 * m, width)
    along = flat @ direction
    across = flat - along[..., None] * direction if projected else flat
    readouts = Readout(
        factor=np.ascontiguousarray(sigma_p * lower_factor(across)),  # (B, 2m, at most 2m)
        bias=np.zeros((count, 2 * m)) if bias is None else bias.reshape(count, 2 * m),
        reach=signal_norm * along,
        scale=output_scale / m,
        power=float(q),
        flips=float(flip_probability),
    )
    sums = sample_sums(readouts, samples, lanes(rngs, LANES))
    loss_mean, loss_se = _mean_and_error(sums[:, 0], sums[:, 1], samples)
    error_mean, error_se = _mean_and_error(sums[:, 2], sums[:, 3], samples)
    clean = 1 - 2 * flip_probability
    return sums[:, 4] + loss_mean, loss_se, flip_probability + clean * error_mean, clean * error_se


def _mean_and_error(total: Floats, squares: Floats, count: int) -> tuple[Floats, Floats]:
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0.0)
    error: Floats = np.sqrt(variance / max(count - 1, 1))
    return mean, error
