"""Claims: a statement of theory, a check that measures it, and a control that must fail.

    from numsim.claims import Claim, Outcome, equals

    def check(trials, *, factor=2.0):
        draws = [measure(seed) for seed in trials.seeds(quick=20, full=200)]
        return Outcome([equals("what is compared", factor * theory(), draws, order=0.01)])

    CLAIM = Claim(id="X1", title="...", source="...", check=check, controls={"half of it": {"factor": 1.0}})

A control is the same check on a run that violates the hypothesis, or with a formula that is deliberately a
little wrong: keyword arguments for ``check`` under which it must come out ``fails``. How often a check fails
by chance is bounded in ``numsim.claims.comparison``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..descent.blas import blas_threads
from ..models.streams import of_claim
from ..runs.workers import cores, pool_settings, submit
from .comparison import (
    LEVEL,
    Comparison,
    at_least,
    at_most,
    equals,
    failure_rate,
    follows,
    frequency,
    same_law,
    slope,
)
from .user_errors import raised

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "EFFORTS",
    "Claim",
    "Comparison",
    "Control",
    "Evidence",
    "Outcome",
    "Trials",
    "at_least",
    "at_most",
    "equals",
    "examine",
    "failure_rate",
    "follows",
    "frequency",
    "same_law",
    "slope",
    "smallest_detected",
    "verify",
    "verify_each",
]

EFFORTS = ("quick", "full")


def _check(seed: int, effort: str) -> None:
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
        _check(seed, effort)
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


def _attempt(claim: Claim, trials: Trials, keywords: Mapping[str, Any]) -> Outcome:
    """What the check finds: a claim whose check breaks off fails, a control must fail by its numbers."""
    try:
        with np.errstate(all="ignore"):
            return _checked(claim.check(trials, **keywords))
    except MemoryError:
        return Outcome([], reason="not enough memory")
    except Exception as error:
        sentence = f"the check raised {raised(error, claim.check)}"
        return Outcome([], reason=sentence) if keywords else Outcome([], error=sentence)


def _checked(found: Any) -> Outcome:
    """What a check returned, if it is an outcome with comparisons."""
    if not isinstance(found, Outcome):
        raise TypeError(f"a check must return an Outcome, got {type(found).__name__}")
    single = isinstance(found.comparisons, Comparison)
    if single or not all(isinstance(c, Comparison) for c in found.comparisons):
        raise TypeError("an Outcome takes a list of comparisons, such as [equals(...)]")
    return found


def examine(claim: Claim, seed: int = 0, effort: str = "quick") -> Evidence:
    """Check one claim and its controls, all on the same random draws.

    A check that raises an error fails; a control that does is inconclusive.
    """
    start = time.perf_counter()

    def attempt(keywords: Mapping[str, Any]) -> Outcome:
        return _attempt(claim, Trials(claim.id, seed, effort), keywords)

    with blas_threads(1):
        outcome = attempt({})
        controls = [Control(words, attempt(keywords)) for words, keywords in claim.controls.items()]
    return Evidence(claim, outcome, controls, time.perf_counter() - start)


def verify(
    claims: Sequence[str | Path | Claim] | None = None, seed: int = 0, effort: str = "quick"
) -> list[Evidence]:
    """Check claims and their controls, in parallel, and return the evidence in the order asked for.

    claims : ids ("P2"), paths of modules with a ``Claim``, or claims; None: all of ``numsim.derivations``.
    seed : of all randomness; any seed must give the same verdicts.
    effort : "quick" (the suite in a minute) or "full" (larger ladders, minutes).

    Raises ValueError for an unknown claim or effort. Source: the statistics are in claims/comparison.py.
    """
    from .registry import find

    _check(seed, effort)
    found = find(claims)
    by_id = {evidence.id: evidence for evidence in verify_each(found, seed, effort)}
    return [by_id[claim.id] for claim in found]


def verify_each(claims: Sequence[Claim], seed: int = 0, effort: str = "quick") -> Iterator[Evidence]:
    """Evidence as it comes in, from as many processes as there are cores.

    Processes, because checks are Python around short kernels: threads would wait for one another's lock and
    take longer than one alone. Leaving the loop early, by Ctrl-C for example, ends them.
    """
    _check(seed, effort)
    if len(claims) < 2:
        yield from (examine(claim, seed, effort) for claim in claims)
        return
    from loky import ProcessPoolExecutor, as_completed

    executor = ProcessPoolExecutor(min(cores(), len(claims)), **pool_settings())
    try:
        running = {submit(executor, _findings, claim, seed, effort): claim for claim in claims}
        for future in as_completed(running):
            yield Evidence(running[future], *_collected(future))
    finally:
        executor.shutdown(kill_workers=True)


def _findings(claim: Claim, seed: int, effort: str) -> tuple[Outcome, Sequence[Control], float]:
    """The evidence without the claim, which the parent has."""
    evidence = examine(claim, seed, effort)
    return evidence.outcome, evidence.controls, evidence.seconds


def _collected(future: Future[tuple[Outcome, Sequence[Control], float]]) -> tuple[Any, ...]:
    """What a process found; if it died, or could not send it, that."""
    error = future.exception()
    if error is None:
        return future.result()
    lost = Outcome([], reason=f"its process was lost: {type(error).__name__}: {str(error).splitlines()[0]}")
    return lost, [Control("not run", lost)], math.nan


def smallest_detected(
    claim: Claim, keyword: str, values: Sequence[Any], *, seeds: int = 5, effort: str = "quick"
) -> Any:
    """The first of ``values`` for ``keyword``, ordered from nearly right to wrong, that fails at every seed.

    The power of a check, as its note reports it; None if even the last passes once.
    """

    def outcome(value: Any, seed: int) -> Outcome:
        return _attempt(claim, Trials(claim.id, seed, effort), {keyword: value})

    for value in values:
        if all(outcome(value, seed).verdict == "fails" for seed in range(seeds)):
            return value
    return None
