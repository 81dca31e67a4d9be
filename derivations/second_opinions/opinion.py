"""One second opinion: what a finding claims, and how it is measured once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Opinion"]


class Opinion(NamedTuple):
    """entry : of FINDINGS.md; text : what is measured; claimed : what the entry says.

    measure : returns what is measured and its standard error, 0 where nothing is drawn.
    """

    entry: int
    text: str
    claimed: float
    measure: Callable[[], tuple[float, float]]
