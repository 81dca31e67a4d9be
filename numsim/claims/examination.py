"""Examining claims and their controls: one, several in parallel, and how small a fault a check detects."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from ..descent.blas import blas_threads
from ..runs.workers import cores, end, process_pool, submit
from .claim import Claim, Control, Evidence, Outcome, Trials, check_settings
from .comparison import Comparison
from .user_errors import raised

__all__ = ["examine", "smallest_detected", "verify", "verify_each"]


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

    check_settings(seed, effort)
    found = find(claims)
    by_id = {evidence.id: evidence for evidence in verify_each(found, seed, effort)}
    return [by_id[claim.id] for claim in found]


def verify_each(claims: Sequence[Claim], seed: int = 0, effort: str = "quick") -> Iterator[Evidence]:
    """Evidence as it comes in, from as many processes as there are cores.

    Processes, because checks are Python around short kernels: threads would wait for one another's lock and
    take longer than one alone. Leaving the loop early, by Ctrl-C for example, ends them.
    """
    check_settings(seed, effort)
    if len(claims) < 2:
        yield from (examine(claim, seed, effort) for claim in claims)
        return
    executor = process_pool(min(cores(), len(claims)))
    try:
        running = {submit(executor, _findings, claim, seed, effort): claim for claim in claims}
        for future in as_completed(running):
            yield Evidence(running[future], *_collected(future))
    finally:
        end(executor)


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
