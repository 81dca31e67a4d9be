"""numsim.theory.xor: limits, symmetries, and the flow that the closed form solves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numsim.theory import xor_share, xor_side, xor_signal

PULLS = st.floats(0.05, 5.0)
COSINES = st.floats(0.0, 0.99)


def flow(
    own: float, mirror: float, opposed: float, opposed_mirror: float, cosine: float
) -> tuple[float, float]:
    """Outputs on u and v of X1 (2), in small steps from a filter that starts on the side of u."""
    a, b, steps = 1e-6, 0.0, 20_000
    for _ in range(steps):
        towards = own if a > 0 else -mirror
        away = -opposed if b > 0 else opposed_mirror
        a, b = a + (towards + cosine * away) / steps, b + (away + cosine * towards) / steps
    return max(a, 0.0), max(b, 0.0)


@pytest.mark.parametrize("cosine", [0.0, 0.3, 0.8])
@pytest.mark.parametrize(("own", "opposed"), [(1.0, 1.0), (1.0, 0.4), (1.0, 0.1), (0.7, 0.8)])
def test_the_flow_ends_at_the_closed_form(cosine: float, own: float, opposed: float) -> None:
    a, b = flow(own, 0.9, opposed, 0.6, cosine)
    assert a == pytest.approx(
        xor_signal(own=own, opposed=opposed, cosine=cosine, share=1.0, other=0.0), abs=2e-3
    )
    wrong = -xor_signal(own=opposed, opposed=own, cosine=cosine, share=0.0, other=1.0)
    assert b == pytest.approx(wrong, abs=2e-3)


@settings(deadline=None)
@given(own=PULLS, opposed=PULLS, cosine=COSINES)
def test_signals_at_limits(own: float, opposed: float, cosine: float) -> None:
    assert xor_signal(own=own, opposed=opposed, cosine=0.0) == own / 2
    assert xor_signal(own=own, opposed=0.0, cosine=cosine) == own / 2
    assert xor_signal(own=own, opposed=-opposed, cosine=cosine) == own / 2
    assert xor_signal(own=own, opposed=opposed, cosine=cosine) == xor_signal(
        own=own, opposed=opposed, cosine=-cosine
    )
    equal = xor_signal(own=own, opposed=own, cosine=cosine)
    assert equal == pytest.approx(own * (1 - cosine**2) / 2, rel=1e-12)


@settings(deadline=None)
@given(pull=PULLS, cosine=COSINES)
def test_nothing_changes_side_at_equal_pulls(pull: float, cosine: float) -> None:
    pulls = {"own": pull, "mirror": pull, "opposed": pull, "opposed_mirror": pull}
    assert xor_share(**pulls, cosine=cosine) == pytest.approx(0.5, abs=1e-15)
    for first in (1, -1):
        assert xor_side(**pulls, cosine=cosine, first=first, second=first) == first


@settings(deadline=None)
@given(own=PULLS, mirror=PULLS, opposed=PULLS, opposed_mirror=PULLS, cosine=COSINES)
def test_the_other_side_has_the_rest(
    own: float, mirror: float, opposed: float, opposed_mirror: float, cosine: float
) -> None:
    here = xor_share(own=own, mirror=mirror, opposed=opposed, opposed_mirror=opposed_mirror, cosine=cosine)
    there = xor_share(own=mirror, mirror=own, opposed=opposed_mirror, opposed_mirror=opposed, cosine=cosine)
    assert 0 <= here <= 1
    if min(own, mirror, opposed, opposed_mirror) > 0.06:  # no exact ties
        assert here + there == pytest.approx(1.0, abs=1e-12)


def test_a_small_cluster_loses_filters() -> None:
    found = xor_share(own=0.45, mirror=1.0, opposed=1.0, opposed_mirror=1.0, cosine=0.5)
    assert found == pytest.approx(0.25 - math.asin(0.5) / (2 * math.pi))


def test_cosines_beyond_one() -> None:
    with pytest.raises(ValueError, match="from -1 to 1"):
        xor_signal(own=1.0, opposed=1.0, cosine=1.5)
