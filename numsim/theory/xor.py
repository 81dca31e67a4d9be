"""XOR of two signals learned by a ReLU network: which filters hold a cluster, and how much of it (X1).

Clusters +-u with label +1 and +-v with label -1, u and v of one length and the angle theta. A cluster's pull
P is what it moves the filters by that it acts on, K1 (9) of its own samples; ``relu_test_error`` turns what
is left of it into the error.
Source: derivations/relu/x1_xor.md.
"""

from __future__ import annotations

import math

from .powers import closed_form

__all__ = ["xor_share", "xor_side", "xor_signal"]


def _cosine(cosine: float) -> float:
    if not -1 <= cosine <= 1:
        raise ValueError(f"cosine is {cosine!r}, expected a number from -1 to 1")
    return abs(cosine)


@closed_form
def xor_signal(*, own: float, opposed: float, cosine: float, share: float = 0.5, other: float = 0.5) -> float:
    """The signal's part of a cluster's margin, in units of its pull: X1 (3).

    share (P - c min(c P, P')) - other max(0, c P' - P), c = |cos theta|: at equal pulls share P sin^2 theta.

    own : P, of the cluster; opposed : P' >= 0, of the cluster of the other label at an acute angle to it;
    cosine : cos theta; share : of the filters of its label that hold the cluster; other : of those of the
    other label that hold the opposed one.
    """
    c = _cosine(cosine)
    opposed = max(opposed, 0.0)
    return share * (own - c * min(c * own, opposed)) - other * max(0.0, c * opposed - own)


@closed_form
def xor_side(
    *,
    own: float,
    mirror: float,
    opposed: float,
    opposed_mirror: float,
    cosine: float,
    first: int,
    second: int,
) -> int:
    """On which side of its own signal a filter ends, +1 or -1: the map of the first steps, X1 (5).

    own, mirror : pulls of the clusters on the positive and negative side of its own label's signal; opposed,
    opposed_mirror : of those of the other label's; cosine : of both positive sides, at least 0; first, second
    : sides on which the filter starts, +1 or -1, of its own signal and of the other. Initial filters are
    small against one step's pull.
    """
    a, b = 1e-9 * first, 1e-9 * second
    for _ in range(_STEPS):
        towards = own if a > 0 else -mirror
        away = -opposed if b > 0 else opposed_mirror
        a, b = a + towards + cosine * away, b + away + cosine * towards
    return 1 if a > 0 else -1


_STEPS = 200


@closed_form
def xor_share(*, own: float, mirror: float, opposed: float, opposed_mirror: float, cosine: float) -> float:
    """Expected share of the filters of a cluster's label that hold it: X1 (6), 1/2 at equal pulls.

    own, mirror, opposed, opposed_mirror : pulls, as of ``xor_side``; cosine : c. Initial filters lie on the
    positive sides of both signals with probability 1/4 + arcsin(c)/(2 pi).
    """
    both = 0.25 + math.asin(_cosine(cosine)) / (2 * math.pi)
    pulls = {"own": own, "mirror": mirror, "opposed": opposed, "opposed_mirror": opposed_mirror}
    total = 0.0
    for first in (1, -1):
        for second in (1, -1):
            chance = both if first == second else 0.5 - both
            total += chance * (xor_side(**pulls, cosine=cosine, first=first, second=second) > 0)
    return total
