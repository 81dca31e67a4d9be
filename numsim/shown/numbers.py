"""Numbers for a reader: 10⁸ and 3 · 10⁻⁵ in place of 1e+08 and 3e-05."""

from __future__ import annotations

import math

__all__ = ["number"]

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, digits: int = 4) -> str:
    """A number for a reader: four digits, powers of ten as such, a dash for NaN."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    mantissa = mantissa.replace("-", "−")
    if not exponent:
        return mantissa
    power = f"10{str(int(exponent)).translate(_RAISED)}"
    return {"1": power, "−1": f"−{power}"}.get(mantissa, f"{mantissa} · {power}")
