"""What a claim is: a statement, its check and controls, what a check returns, and the evidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.streams import of_claim
from .comparison import LEVEL, Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EFFORTS", "Claim", "Control", "Evidence", "Outcome", "Trials"]

EFFORTS = ("quick", "full")


def check_settings(seed: int, effort: str) -> None:
    """Refuse a seed or an effort out of range."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed}, expected an integer from 0 to 2^63 - 1")
    if effort not in EFFORTS:
        raise ValueError(f"effort is {effort!r}, expected {' or '.join(EFFORTS)}")


class Trials:
    """Where a check gets its randomness and its size from.

    effort : "quick" (a second or two) or "full"; rng : a generator of its own. The same for a check and its
    controls, another one for every claim and seed.
    """

    def __init__(self, claim: str, seed: int = 0, effort: str = "quick") -> None:
        """Start the streams of ``claim`` for this seed."""
        check_settings(seed, effort)
        self.effort = effort
        self.rng, self._seeds = of_claim(claim, seed)

    def pick(self, quick: Any, full: Any) -> Any:
        """The value for the effort asked for."""
        return quick if self.effort == "quick" else full

    def seeds(self, quick: int, full: int) -> Iterator[int]:
        """Independent seeds for ``draw``, ``run`` and generators, as many as the effort asks for."""
        for _ in range(self.pick(quick, full)):
            yield int(self._seeds.integers(2**63))


@dataclass(frozen=True)
class Outcome:
    """What a check found: comparisons, the statement's own first, and what its figure needs.

    trials : independent draws behind it; data : arrays by name. error : the check broke off (``fails``);
    reason : why nothing can be said (``inconclusive``).
    """

    comparisons: Sequence[Comparison]
    trials: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    reason: str = ""

    @property
    def level(self) -> float:
        """The share of LEVEL that each random comparison has."""
        return LEVEL / max(1, sum(c.random for c in self.comparisons))

    @property
    def verdict(self) -> str:
        """``fails`` if any comparison does, else ``inconclusive`` if any is, else ``holds``."""
        verdicts = {c.verdict(self.level) for c in self.comparisons}
        if self.error or "fails" in verdicts:
            return "fails"
        return "inconclusive" if self.reason or not verdicts or "inconclusive" in verdicts else "holds"

    @property
    def shown(self) -> Comparison | None:
        """The comparison a table shows: the first, or the one that misses by most."""
        if not self.comparisons:
            return None
        if self.verdict == "fails":  # the worst
            return min(self.comparisons, key=lambda c: c.margin(self.level))
        return self.comparisons[0]

    @property
    def margin(self) -> float:
        """The smallest margin of all comparisons."""
        return min((c.margin(self.level) for c in self.comparisons), default=math.nan)


Check = Callable[..., Outcome]


@dataclass(frozen=True)
class Claim:
    """A statement, its check and its controls.

    id : short, e.g. "P2"; title : one line; source : paper and number; statement : the formula in LaTeX.
    check : called as check(trials, **control), returns an Outcome; without keywords it is the claim itself.
    controls : in words, the keywords that must make it fail; at least one.
    theory : names in numsim.theory that the prediction comes from.
    figure : called as figure(evidence), returns a matplotlib Figure of predicted against measured.
    note : the derivation, a Markdown file.
    """

    id: str
    title: str
    source: str
    check: Check
    controls: Mapping[str, Mapping[str, Any]]
    statement: str = ""
    theory: Sequence[str] = ()
    figure: Callable[[Evidence], Figure] | None = None
    note: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a claim without a control."""
        if not self.controls or not all(self.controls.values()):
            raise ValueError(
                f"claim {self.id} has no control: give controls={{'what is wrong': {{keyword: value}}}} "
                "under which its check must fail; a check that cannot fail says nothing"
            )


@dataclass(frozen=True)
class Control:
    """One control of a claim: what is wrong with it, and what the check made of it."""

    words: str
    outcome: Outcome

    @property
    def verdict(self) -> str:
        """Must be ``fails``."""
        return self.outcome.verdict


@dataclass(frozen=True)
class Evidence:
    """A claim, what its check found, what it made of the controls, and the seconds all took."""

    claim: Claim
    outcome: Outcome
    controls: Sequence[Control]
    seconds: float = 0.0

    @property
    def id(self) -> str:
        """The claim's."""
        return self.claim.id

    @property
    def title(self) -> str:
        """The claim's."""
        return self.claim.title

    @property
    def source(self) -> str:
        """The claim's."""
        return self.claim.source

    @property
    def verdict(self) -> str:
        """``holds``, ``fails`` or ``inconclusive``."""
        return self.outcome.verdict

    @property
    def predicted(self) -> float:
        """Of the comparison shown."""
        return math.nan if self.outcome.shown is None else self.outcome.shown.predicted

    @property
    def measured(self) -> float:
        """Of the comparison shown."""
        return math.nan if self.outcome.shown is None else self.outcome.shown.measured

    @property
    def margin(self) -> float:
        """Share of the tolerance left in the tightest comparison; negative: missed."""
        return self.outcome.margin

    @property
    def trials(self) -> int:
        """Independent draws behind the verdict."""
        return self.outcome.trials

    @property
    def control(self) -> str:
        """``fails`` if every control does, else the verdict of the first that does not."""
        return next((c.verdict for c in self.controls if c.verdict != "fails"), "fails")

    @property
    def good(self) -> bool:
        """The claim holds and its controls fail."""
        return self.verdict == "holds" and self.control == "fails"
