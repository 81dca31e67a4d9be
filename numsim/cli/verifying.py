"""The commands of claims: ``verify`` and ``explain``."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import HOLDS, INCOMPLETE, Failure, sentence
from .files import prepare, prepare_latex, write_figure, write_latex, writing
from .options import Json, Latex, Style, Width, look_of, typed_path

if TYPE_CHECKING:
    from ..claims import Claim, Evidence
    from ..shown.style import Look

__all__ = ["explain", "verify"]


def verify(
    claims: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CLAIM ...]", help="Ids such as p2, or files with claims of your own; all."),
    ] = None,
    effort: Annotated[
        str, typer.Option(metavar="quick|full", help="quick: the whole suite in a minute; full: 15 minutes.")
    ] = "quick",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of all randomness.")] = 0,
    as_json: Json = False,
    report: Annotated[
        Path | None,
        typer.Option(parser=typed_path, metavar="DIR", help="Write a self-contained page, DIR/index.html."),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            parser=typed_path, metavar="DIR", help="Write the figure of every claim, DIR/p2.pdf ..."
        ),
    ] = None,
    style: Style = "screen",
    width: Width = None,
    latex: Latex = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an index.html that is not a report of numsim.")
    ] = False,
) -> None:
    """Check the theory claim by claim, predicted against measured.

    Every claim has a control, the same check on something wrong, that must fail.
    """
    from ..claims import verify_each

    look = look_of(style, width, "--figures DIR" if figures is None else "")
    chosen = _claims(claims)
    if report is not None:
        _prepare_report(report / "index.html", replace)
    if figures is not None:
        for claim in chosen:
            prepare(_figure_file(figures, claim.id), make_folder=True)
    prepare_latex(latex)
    from ..shown.verification import document, exit_code, live_table, sentences, show_verification

    start = time.perf_counter()
    found: list[Evidence] = []
    interrupted = False
    try:
        with live_table(chosen) as watch:
            for evidence in verify_each(chosen, seed, effort):
                found.append(evidence)
                watch(found)
    except KeyboardInterrupt:
        interrupted = True
    except ValueError as error:
        raise Failure(sentence(error)) from error
    seconds = time.perf_counter() - start
    order = [claim.id for claim in chosen]
    found.sort(key=lambda evidence: order.index(evidence.id))
    if as_json:
        summary = document(found, seed=seed, effort=effort, seconds=seconds, interrupted=interrupted)
        print(json.dumps(summary, allow_nan=False))
    else:
        show_verification(chosen, found, seconds, interrupted=interrupted)
    faults: list[str] = []
    if report is not None:
        missing = [name for name in order if name not in {e.id for e in found}] if interrupted else None
        faults = _report(found, report, seed=seed, effort=effort, seconds=seconds, missing=missing)
    if figures is not None:
        faults += _figures(found, figures, look)
    if interrupted:
        if latex is not None:
            print(f"not written: {latex}, not all claims were checked", file=sys.stderr)
        raise KeyboardInterrupt
    faults += write_latex(latex, lambda: _table(chosen, found, effort, seed))
    if code := exit_code(found) or (INCOMPLETE if faults else 0):
        raise Failure(*sentences(found), *faults, code=code)


def _prepare_report(page: Path, replace: bool) -> None:
    from ..shown.report import FOREIGN, state

    prepare(page, make_folder=True)
    if state(page) == FOREIGN and not replace:
        raise Failure(HOLDS.format(page.parent, "an index.html that is not a report of numsim"))


def _report(found: list[Evidence], folder: Path, *, missing: list[str] | None, **facts: Any) -> list[str]:
    """Write the report, unless it is of an interrupted verification and less than what is there.

    missing : the claims that an interrupted verification did not come to. Returns what could not be drawn.
    """
    from ..shown.report import INTERRUPTED_REPORT, state, write_report
    from ..shown.style import import_matplotlib

    faults: list[str] = []
    there = state(folder / "index.html")
    if missing is not None and not found:
        print(f"not written: {folder}/index.html, no claim was checked", file=sys.stderr)
    elif missing is not None and there not in ("", INTERRUPTED_REPORT):
        print(f"kept: {folder}/index.html, which is complete", file=sys.stderr)
    else:
        with suppress(Exception):  # which costs the figures, not the page
            import_matplotlib()
        with writing(folder):
            page = write_report(found, folder, missing=missing, faults=faults, **facts)
        words = "" if missing is None else f" (interrupted: {len(missing)} claims were not checked)"
        print(f"written: {page}{words}", file=sys.stderr)
    return faults


def _figure_file(folder: Path, claim: str) -> Path:
    from ..shown.report import anchor

    return folder / f"{anchor(claim)}.pdf"


def _figures(found: list[Evidence], folder: Path, look: Look) -> list[str]:
    """Write the figure of every claim; returns what could not be drawn or written."""
    from ..shown.report import drawing

    faults, written = list[str](), 0
    for evidence in found:
        if (draw := drawing(evidence)) is not None:
            wrong = write_figure(_figure_file(folder, evidence.id), draw, look)
            faults, written = faults + wrong, written + (not wrong)
    print(f"written: {folder}, {written} figures", file=sys.stderr)
    return faults


def _table(chosen: list[Claim], found: list[Evidence], effort: str, seed: int) -> str:
    from ..shown.latex import tables_in_latex
    from ..shown.verification import claims_table

    return tables_in_latex([claims_table(chosen, found)], f"effort {effort}, seed {seed}")


def explain(
    claim: Annotated[str, typer.Argument(metavar="CLAIM", help="An id such as p2, or a file with a claim.")],
) -> None:
    """Show the derivation of a claim."""
    from rich.console import Console

    from ..shown.notes import explain as show

    console = Console()
    for found in _claims([claim]):
        if found.note is None:
            raise Failure(f"{found.id}: has no note; write one beside its module, with the ending .md")
        try:
            show(found, console)
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"cannot read {found.note}: {sentence(error)}") from error


def _claims(names: list[str] | None) -> list[Claim]:
    from ..claims.registry import find

    try:
        return find(names)
    except ValueError as error:
        raise Failure(*str(error).splitlines()) from error
