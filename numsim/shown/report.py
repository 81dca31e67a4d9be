"""The report of a verification: one HTML page that loads nothing, for screens of any size, dark, or paper."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ..claims import Control, Evidence
from ..claims.comparison import SUITE_LEVEL, Comparison
from ..claims.user_errors import raised
from ..runs.files import write_atomically
from .notes import formula_html, inline_html, numbers, to_html, without_title
from .numbers import number
from .svg import inline_svg
from .verification import document

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COMPLETE", "FOREIGN", "INTERRUPTED_REPORT", "anchor", "drawing", "page", "state", "write_report"]

_SIGNS = {"holds": "✓", "fails": "✗", "inconclusive": "?"}
_RELATIONS = {"=": "=", "<=": "≤", ">=": "≥"}
_WORDS = {"=": "", "≤": "at most ", "≥": "at least "}

COMPLETE, INTERRUPTED_REPORT, FOREIGN = "complete", "interrupted", "foreign"
_MARK = '<meta name="numsim-report" content="{}">'
_GENERATOR = '<meta name="generator" content="numsim '


def state(path: Path) -> str:
    """What is at the place of a report: COMPLETE or INTERRUPTED_REPORT, FOREIGN if it is none, "" if nothing.

    Raises OSError for a file that cannot be read.
    """
    if not path.exists():
        return ""
    head = path.read_bytes()[:4096].decode(errors="replace")
    if _MARK.format(INTERRUPTED_REPORT) in head:
        return INTERRUPTED_REPORT
    return COMPLETE if _GENERATOR in head else FOREIGN


def write_report(
    evidence: Sequence[Evidence],
    folder: str | Path,
    *,
    seed: int,
    effort: str,
    seconds: float,
    missing: Sequence[str] | None = None,
    faults: list[str] | None = None,
) -> Path:
    """Write ``folder``/index.html, replaced only when whole, and return its path.

    evidence : what was found, in the order of the page; seed, effort, seconds : of the verification.
    missing : if it was interrupted, the ids of the claims it did not come to.
    A figure that cannot be drawn, or a note that cannot be read, is replaced by the reason; the former are
    added to ``faults``, a line each. Raises OSError where the page cannot be written.
    """
    text = page(evidence, seed=seed, effort=effort, seconds=seconds, missing=missing, faults=faults)
    target = Path(folder) / "index.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, lambda file: file.write(text.encode()))
    return target


def page(
    evidence: Sequence[Evidence],
    *,
    seed: int,
    effort: str,
    seconds: float,
    missing: Sequence[str] | None = None,
    faults: list[str] | None = None,
) -> str:
    """The whole page; ``write_report`` says what the arguments are."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = files("numsim.shown.templates").joinpath("report.html.j2").read_text(encoding="utf-8")
    notes = {anchor(e.id): _note(e) for e in evidence}
    equations = {place: numbers(note) for place, note in notes.items()}
    controls = [control for e in evidence for control in e.controls]
    sections = [_section(e, notes[anchor(e.id)], equations) for e in evidence]
    if faults is not None:
        undrawn = ((s["id"], s["figure"]["fault"]) for s in sections if s["figure"]["fault"])
        faults += [f"cannot draw the figure of {name}: {fault}" for name, fault in undrawn]
    return environment.from_string(template).render(
        claims=sections,
        mark=Markup(_MARK.format(COMPLETE if missing is None else INTERRUPTED_REPORT)),
        missing=missing,
        holding=sum(e.verdict == "holds" for e in evidence),
        controls=len(controls),
        failing=sum(control.verdict == "fails" for control in controls),
        versions=document([], seed=seed, effort=effort, seconds=seconds)["versions"],
        seed=seed,
        effort=effort,
        seconds=seconds,
        suites=round(1 / SUITE_LEVEL),
    )


def anchor(claim: str) -> str:
    """The name of a claim inside the page, and of its figure's file."""
    return re.sub(r"\W+", "-", claim.lower()) or "claim"


def _note(evidence: Evidence) -> str:
    path = evidence.claim.note
    try:
        return "" if path is None else without_title(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        return f"The note cannot be read: {error}"


def _section(e: Evidence, note: str, equations: dict[str, list[str]]) -> dict[str, Any]:
    """What the page shows of a claim."""
    place = anchor(e.id)
    shown = e.outcome.shown
    return {
        "anchor": place,
        "id": e.id,
        "title": Markup(inline_html(e.title)),
        "source": Markup(inline_html(e.source)),
        "statement": Markup(formula_html(e.claim.statement, display=True)) if e.claim.statement else "",
        "verdict": e.verdict,
        "sign": _SIGNS[e.verdict],
        "reason": e.outcome.error or e.outcome.reason,
        "shown": None if shown is None else _row(shown, e.outcome.level),
        "margin": _margin(e.margin),
        "comparisons": [_row(c, e.outcome.level) for c in e.outcome.comparisons],
        "controls": [_control(control) for control in e.controls],
        "failing": sum(control.verdict == "fails" for control in e.controls),
        "trials": e.trials,
        "seconds": e.seconds,
        "figure": _figure(e, place),
        "caption": _caption(e),
        "note": Markup(to_html(note, prefix=place, equations=equations)) if note else "",
    }


def _row(c: Comparison, level: float) -> dict[str, Any]:
    """A comparison in words and numbers."""
    if c.p_value is None:
        tolerance = number(c.allowance + c.noise(level))
    else:
        parts = f"p = {number(c.p_value, 2)},", f"at least {number(level, 2)}"
        tolerance = " ".join(part.replace(" ", "\u00a0") for part in parts)  # may break between them only
    verdict = c.verdict(level)
    digits = _digits(c.interval)
    return {
        "name": c.name.replace(" = ", "\u00a0=\u00a0"),
        "predicted": number(c.predicted),
        "relation": _RELATIONS[c.relation],
        "measured": number(c.measured, digits),
        "interval": "" if c.interval is None else " to ".join(number(end, digits) for end in c.interval),
        "tolerance": tolerance,
        "margin": _margin(c.margin(level)),
        "verdict": verdict,
        "sign": _SIGNS[verdict],
        "reason": c.reason,
    }


def _digits(interval: tuple[float, float] | None) -> int:
    """As many as tell the ends of an interval apart, at least four."""
    low, high = interval or (0.0, 1.0)
    return next((digits for digits in range(4, 9) if number(low, digits) != number(high, digits)), 4)


def _margin(margin: float) -> dict[str, Any]:
    """A margin as text, and as a bar of [-1, 1] around the middle of a line 2 long."""
    cut = 0.0 if math.isnan(margin) else max(-1.0, min(1.0, margin))
    text = f"{margin:.2f}".replace("-", "−") if abs(margin) < 100 else number(margin, 2)
    sign = {"missed": margin < 0, "drawn": not math.isnan(margin)}
    return {"text": text, "start": 1 + min(cut, 0.0), "length": abs(cut), **sign}


def _control(control: Control) -> dict[str, Any]:
    """A control: what is wrong, what the check made of it, and by which comparison."""
    outcome = control.outcome
    worst = outcome.shown
    return {
        "words": control.words,
        "good": control.verdict == "fails",
        "verdict": control.verdict,
        "reason": outcome.error or outcome.reason,
        "shown": None if worst is None else _row(worst, outcome.level),
    }


def _caption(e: Evidence) -> str:
    """The figure in a sentence, for those who do not see it."""
    shown = e.outcome.shown
    if shown is None:
        return f"{e.id}: nothing was compared."
    row = _row(shown, e.outcome.level)
    interval = f" (95 % interval {row['interval']})" if row["interval"] else ""
    failing = sum(control.verdict == "fails" for control in e.controls)
    predicted = f"predicted {_WORDS[row['relation']]}{row['predicted']}"
    verdicts = f"the claim {_said(e.verdict)}, {failing} of {len(e.controls)} controls fail"
    return f"{e.id}, {row['name']}: measured {row['measured']}{interval}, {predicted}; {verdicts}."


def _said(verdict: str) -> str:
    return "is inconclusive" if verdict == "inconclusive" else verdict


def drawing(e: Evidence) -> Callable[[], Figure] | None:
    """What draws the claim's figure, or that of its deviations; None where there is nothing to draw."""
    if e.claim.figure is None and not e.outcome.comparisons:
        return None

    def draw() -> Figure:
        from .claim_figures import deviations

        return (deviations if e.claim.figure is None else e.claim.figure)(e)

    return draw


def _figure(e: Evidence, place: str) -> dict[str, Any]:
    """The claim's figure, or why there is none."""
    if (draw := drawing(e)) is None:
        return {"svg": "", "fault": ""}
    try:
        return {"svg": Markup(inline_svg(draw, f"figure-{place}", _caption(e))), "fault": ""}
    except Exception as error:  # a user's function may raise anything; the numbers are not lost with it
        return {"svg": "", "fault": raised(error, e.claim.figure)}
