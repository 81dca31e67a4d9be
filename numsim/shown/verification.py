"""A verification for the terminal and for machines: table, JSON document, sentences, exit code."""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .. import __version__
from ..claims import Claim, Comparison, Evidence, Outcome

__all__ = [
    "BROKEN",
    "INCOMPLETE",
    "claims_table",
    "document",
    "exit_code",
    "live_table",
    "sentences",
    "show_verification",
]

BROKEN, INCOMPLETE = 1, 3

_LIBRARIES = ("numpy", "scipy", "numba")
_STYLES = {"holds": "green", "fails": "red", "inconclusive": "yellow"}


def number(value: float) -> str:
    """Four digits, or a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.4g}"


def exit_code(found: Sequence[Evidence]) -> int:
    """0 all hold and all controls fail; 1 a claim fails or a control does not; 3 a claim is inconclusive."""
    if any(e.verdict == "fails" or e.control != "fails" for e in found):
        return BROKEN
    return INCOMPLETE if any(e.verdict != "holds" for e in found) else 0


def document(
    found: Sequence[Evidence], *, seed: int, effort: str, seconds: float, interrupted: bool = False
) -> dict[str, Any]:
    """What ``verify --json`` prints: one entry a claim, NaN and infinities as null."""
    return {
        "schema": 1,
        "seed": seed,
        "effort": effort,
        "seconds": seconds,
        "interrupted": interrupted,
        "versions": {
            "numsim": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
        },
        "claims": [_entry(evidence) for evidence in found],
    }


def _entry(evidence: Evidence) -> dict[str, Any]:
    return {
        "id": evidence.id,
        "title": evidence.title,
        "source": evidence.source,
        "verdict": evidence.verdict,
        "predicted": _finite(evidence.predicted),
        "measured": _finite(evidence.measured),
        "margin": _finite(evidence.margin),
        "trials": evidence.trials,
        "seconds": evidence.seconds,
        "reason": evidence.outcome.error or evidence.outcome.reason,
        "comparisons": [_comparison(c, evidence.outcome) for c in evidence.outcome.comparisons],
        "control": {
            "verdict": evidence.control,
            "controls": [
                {"words": c.words, "verdict": c.verdict, "margin": _finite(c.outcome.margin)}
                for c in evidence.controls
            ],
        },
    }


def _comparison(comparison: Comparison, outcome: Outcome) -> dict[str, Any]:
    return {
        "name": comparison.name,
        "predicted": _finite(comparison.predicted),
        "relation": comparison.relation,
        "measured": _finite(comparison.measured),
        "interval": None if comparison.interval is None else [_finite(x) for x in comparison.interval],
        "margin": _finite(comparison.margin(outcome.level)),
        "verdict": comparison.verdict(outcome.level),
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def claims_table(claims: Sequence[Claim], found: Sequence[Evidence], running: bool = False) -> Table:
    """A row a claim: predicted, measured, verdict, and whether its controls fail as they must."""
    table = Table(title="Claims: predicted against measured", title_justify="left", title_style="bold")
    table.add_column("id", no_wrap=True)
    table.add_column("claim, source", overflow="fold", ratio=1)
    for column in ("predicted", "measured", "margin"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("control", no_wrap=True)
    by_id = {evidence.id: evidence for evidence in found}
    for claim in claims:
        what = Text.assemble(claim.title, "\n", (claim.source, "dim"))
        evidence = by_id.get(claim.id)
        if evidence is None:
            table.add_row(claim.id, what, "", "", "", Text("…" if running else "not run", "dim"), "")
            continue
        good_control = "green" if evidence.control == "fails" else "red"
        table.add_row(
            claim.id,
            what,
            number(evidence.predicted),
            number(evidence.measured),
            f"{evidence.margin:.2f}" if math.isfinite(evidence.margin) else number(evidence.margin),
            Text(evidence.verdict, _STYLES[evidence.verdict]),
            Text(evidence.control, good_control),
        )
    return table


def show_verification(
    claims: Sequence[Claim],
    found: Sequence[Evidence],
    seconds: float,
    console: Console | None = None,
    *,
    interrupted: bool = False,
) -> None:
    """Print the table of all claims asked for, and what it comes to."""
    console = console or Console()
    console.print(claims_table(claims, found))
    console.print(
        "margin: share of the tolerance left in a claim's tightest comparison (1 none used, below 0 missed); "
        "control: the same check on something deliberately wrong, which must fail",
        style="dim",
        highlight=False,
    )
    holding = sum(e.verdict == "holds" for e in found)
    controls = [c for e in found for c in e.controls]
    failing = sum(c.verdict == "fails" for c in controls)
    if interrupted:
        console.print(f"interrupted: {len(found)} of {len(claims)} claims were checked", highlight=False)
    console.print(
        f"{holding} of {len(claims)} claims hold, {failing} of {len(controls)} controls fail as they must; "
        f"{seconds:.1f} s",
        highlight=False,
    )


def sentences(found: Sequence[Evidence]) -> list[str]:
    """One line for everything that is not as it should be: what, predicted, measured, how far beyond."""
    lines = []
    for e in found:
        if e.verdict != "holds":
            lines.append(f"{e.id} {e.verdict}: {_why(e.outcome, e.verdict)}")
        lines += [
            f"{e.id} control {c.verdict}, must fail: {c.words}"
            + (f" ({c.outcome.reason})" if c.outcome.reason else "")
            for c in e.controls
            if c.verdict != "fails"
        ]
    return lines


def _why(outcome: Outcome, verdict: str) -> str:
    if outcome.error or outcome.reason:
        return outcome.error or outcome.reason
    for c in outcome.comparisons:
        if c.verdict(outcome.level) == verdict:
            if c.reason:
                return f"{c.name}: {c.reason}"
            interval = (
                "" if c.interval is None else f" (95 % {number(c.interval[0])} to {number(c.interval[1])})"
            )
            return (
                f"{c.name}: measured {number(c.measured)}{interval}, expected {c.relation} "
                f"{number(c.predicted)}, margin {c.margin(outcome.level):.2f}"
            )
    return "it compares nothing"


class Watch(Protocol):
    """Called with all evidence so far."""

    def __call__(self, found: Sequence[Evidence]) -> None:
        """Show it."""


@contextmanager
def live_table(claims: Sequence[Claim]) -> Iterator[Watch]:
    """The table filling up on stderr while claims run, only on a terminal; it vanishes at the end."""
    if not sys.stderr.isatty():
        yield lambda found: None
        return
    from ..descent._jit import COMPILING, compilation_told_to

    console = Console(stderr=True)
    with Live(Text("checking", "dim"), console=console, transient=True, refresh_per_second=4) as live:

        def say(name: str) -> None:
            live.update(Text(COMPILING.format(name), "dim"))

        with compilation_told_to(say):
            yield lambda found: live.update(claims_table(claims, found, running=True))
