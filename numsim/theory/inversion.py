"""Inversion of a characteristic function that is known at nodes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["sine_integral"]

Floats = npt.NDArray[np.float64]


def sine_integral(values: npt.ArrayLike, times: Floats, heights: Floats) -> Floats:
    """(1/pi) int_0^T h(t) sin(t x)/t dt, what a symmetric law's P(X > x) is below 1/2.

    h is linear between the nodes, alpha + beta t, where the integral is alpha Si(t x) - beta cos(t x)/x, and
    constant below the first. values : x, any shape, not 0; times : nodes t, up to T; heights : h there.
    """
    from scipy.special import sici

    x = np.asarray(values, dtype=np.float64)[..., None]
    slope = np.diff(heights) / np.diff(times)
    level = heights[:-1] - slope * times[:-1]
    sine = sici(x * times)[0]
    parts = np.diff(sine) @ level - (np.diff(np.cos(x * times)) @ slope) / x[..., 0]
    found: Floats = (sine[..., 0] * heights[0] + parts) / math.pi
    return found
