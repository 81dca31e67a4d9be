"""Powers that end at infinity: closed forms are evaluated at the edges of every setting's range."""

from __future__ import annotations

import math

__all__ = ["power"]


def power(base: float, exponent: float) -> float:
    """base ** exponent for base >= 0; inf where it exceeds float64."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf
