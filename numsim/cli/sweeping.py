"""The command ``sweep``."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import INCOMPLETE, Failure
from .files import keep, prepare, prepare_latex, write_latex
from .options import Json, Latex, Replace, Settings, Style, Width, look_of, overrides_of, typed_path

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from ..shown.style import Look
    from ..sweeps.criteria import FittedBoundary
    from ..sweeps.study import Attempt

__all__ = ["sweep"]


def sweep(
    source: Annotated[
        str, typer.Argument(metavar="FILE.toml or PRESET", help="An experiment with a table sweep.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            parser=typed_path,
            metavar="DIR",
            help="Folder of the ledger and the results; what is in it is gone on with.",
        ),
    ],
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help='A Dask scheduler; "local" starts one. Default: this machine.'),
    ] = None,
    settings: Settings = None,
    replace: Replace = False,
    style: Style = "screen",
    width: Width = None,
    latex: Latex = None,
    as_json: Json = False,
) -> None:
    """Run an experiment over a grid of settings: the phase diagram, its boundary and its exponent.

    Interrupted at any moment, the same command goes on where it was; with more seeds or values of the axes
    too. Writes results.nc, results.csv, summary.json and figure.png beside ledger.sqlite, after Ctrl-C of
    what is there by then.
    """
    from ..runs.folders import SWEEP
    from ..sweeps.folder import prepared
    from ..sweeps.sweepfile import load_sweep

    study = load_sweep(source, overrides_of(settings))
    folder = prepared(out)
    for name in SWEEP:
        prepare(folder / name)
    prepare_latex(latex)
    from ..sweeps.ledger import LedgerError, LedgerFull

    start = time.perf_counter()
    again = f"what was finished is kept in {folder}; the same command goes on from there"
    try:
        with _terminated_as_interrupted(), _sweep_progress(study.runs) as progress:
            sought = study.attempt(folder, scheduler, progress, replace=replace)
        look = look_of(style, width)
        lines = _finish_sweep(sought, folder, look, latex, as_json, time.perf_counter() - start)
        if isinstance(sought.stopped, KeyboardInterrupt):
            raise sought.stopped
    except KeyboardInterrupt:
        print(f"numsim: {again}", file=sys.stderr)
        raise
    except LedgerError as error:
        raise Failure(str(error)) from error
    except LedgerFull as error:
        raise Failure(f"{error.strerror}; make room: {again}", code=INCOMPLETE) from error
    if sought.stopped is not None:
        lines.append(f"{sought.stopped}; {again}")
    if lines:
        raise Failure(*lines, code=INCOMPLETE)


def _finish_sweep(
    sought: Attempt, folder: Path, look: Look, latex: Path | None, as_json: bool, seconds: float
) -> list[str]:
    """Write and show what a sweep found, however far it came; returns what was not as it should be."""
    from ..runs.folders import SWEEP
    from ..shown.sweep_tables import counts, show_sweep, summary, write_csv
    from ..sweeps.criteria import sweep_fits
    from ..sweeps.results import netcdf

    found, computed = sought.found, sought.computed
    fitted = sweep_fits(found)
    document = summary(found, fitted, computed=computed, seconds=seconds)
    n = counts(found)
    writers = (
        lambda file: file.write(netcdf(found)),
        lambda file: write_csv(found, file),
        lambda file: file.write((json.dumps(document, indent=2, allow_nan=False) + "\n").encode()),
    )

    def draw() -> Figure:
        from ..shown.phase_diagrams import diagram

        return diagram(found, fitted)

    lines = []
    try:
        if n["not_run"] < n["runs"] or sought.stopped is None:  # what is finished, if anything is
            lines = keep(folder, dict(zip(SWEEP, writers, strict=False)), draw, look)
            lines += write_latex(latex, lambda: _tables(found, fitted))
    finally:
        if as_json:
            print(json.dumps(document, allow_nan=False))
        else:
            show_sweep(found, fitted, computed=computed, seconds=seconds)
    if n["failed"] or n["non_finite"]:
        lines += [f"{where}: {why}" for where, why in list(document["failures"].items())[:_SHOWN_FAILURES]]
        lines.append(f"{n['failed']} runs failed, {n['non_finite']} were not finite")
    return lines


def _tables(found: xr.Dataset, fitted: Sequence[FittedBoundary]) -> str:
    """The boundaries for LaTeX; without any, the mean of every cell."""
    from ..shown.latex import tables_in_latex
    from ..shown.run_tables import ARMS
    from ..shown.sweep_tables import fit_table, means_table
    from ..sweeps.axis_labels import SYMBOLS

    tables = [fit_table(fit) for fit in fitted] or [means_table(found)]
    about = "the sweep is not finished" if found.attrs.get("incomplete") else ""
    return tables_in_latex(tables, about, {**SYMBOLS, **ARMS})


_SHOWN_FAILURES = 5


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """A request to terminate, as of a batch system, ends a sweep like Ctrl-C: in order."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _sweep_progress(runs: int) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr with rate and time left, only on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting workers (the first time they compile the kernels)", total=None, rate="")
        start, first = time.perf_counter(), None

        def show(finished: int, wanted: int) -> None:
            nonlocal first
            first = finished if first is None else first
            rate = (finished - first) / max(time.perf_counter() - start, 1e-9)
            words = f"{rate:.3g} runs/s" if finished > first else ""
            bar.update(task, description="runs", completed=finished, total=wanted, rate=words)

        yield show
