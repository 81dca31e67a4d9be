"""The commands of one run: ``run`` and ``export``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import HOLDS, INCOMPLETE, Failure
from .files import figure_of, keep, prepare, prepare_latex, write_latex, writing
from .options import (
    Json,
    Latex,
    Replace,
    Seed,
    Settings,
    Source,
    Style,
    Width,
    experiment_of,
    look_of,
    typed_path,
)

if TYPE_CHECKING:
    from ..config.experiment import Experiment
    from ..runs.result import Result
    from ..runs.simulate import Report
    from ..shown.style import Look

__all__ = ["export", "run"]


def run(
    source: Source = None,
    settings: Settings = None,
    seed: Seed = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=typed_path, metavar="DIR", help="Write result.nc, summary.json and figure.png here."
        ),
    ] = None,
    replace: Replace = False,
    style: Style = "screen",
    width: Width = None,
    latex: Latex = None,
    as_json: Json = False,
) -> None:
    """Run one experiment, both arms.

    Pre-training and fine-tuning against direct training, every quantity that theory predicts beside what was
    measured.
    """
    look = look_of(style, width, "--out DIR" if out is None else "")
    experiment = experiment_of(source, settings, seed)
    if out is not None:
        _prepare_run(out, experiment, replace)
    prepare_latex(latex)
    import numpy as np

    from ..runs.run import run as simulate

    start = time.perf_counter()
    with _progress() as report, np.errstate(all="ignore"):  # a status says what was not finite
        result = simulate(experiment, report=report)
        summary = {**result.summary(), "seconds": time.perf_counter() - start}
    faults = list(result.faults)
    try:
        if out is not None:
            faults += _save(result, summary, out, replace, look)
        faults += write_latex(latex, lambda: _tables(result))
    finally:  # what was found is shown whether or not it could be kept
        _show(result, summary, as_json)
    if faults:
        raise Failure(*faults, code=INCOMPLETE)


def _prepare_run(out: Path, experiment: Experiment, replace: bool) -> None:
    """Make sure that a run's files can be written, and take no other experiment's place unasked."""
    from ..runs.folders import LEDGER, RUN, other_than_run

    for name in RUN:
        prepare(out / name, make_folder=True)
    if replace and (out / LEDGER).exists():
        from ..sweeps.ledger import Ledger, LedgerError

        try:
            Ledger(out / LEDGER).close()
        except LedgerError as error:  # not a sweep's, or in use
            raise Failure(str(error)) from error
    if (other := other_than_run(out, experiment)) and not replace:
        raise Failure(HOLDS.format(out, other))


def _save(result: Result, summary: dict[str, Any], out: Path, replace: bool, look: Look) -> list[str]:
    """Write the files of a run; returns what is wrong with its figure, if anything."""
    from ..runs.folders import LEDGER, RESULT, RESULTS, SUMMARY, TABLE

    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    writers = {
        RESULT: lambda file: file.write(result.to_netcdf()),
        SUMMARY: lambda file: file.write(text.encode()),
    }
    faults = keep(out, writers, lambda: figure_of(result), look)
    if replace:
        for name in (RESULTS, TABLE, LEDGER):
            (out / name).unlink(missing_ok=True)
    return faults


def _tables(result: Result) -> str:
    from ..shown.latex import tables_in_latex
    from ..shown.run_tables import ARMS, headline, run_tables

    return tables_in_latex(run_tables(result), headline(result.experiment), ARMS)


def _show(result: Result, summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary, allow_nan=False))
    else:
        from ..shown.run_tables import show_run

        show_run(result, summary["seconds"])


@contextmanager
def _progress() -> Iterator[Report | None]:
    """A line on stderr that says what is being done, only on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        from ..descent._jit import COMPILING, compilation_told_to

        with compilation_told_to(lambda name: status.update(COMPILING.format(name))):
            yield lambda stage, step, loss: status.update(f"{stage}: step {step}, loss {loss:.4g}")


def export(
    dense: Annotated[
        Path, typer.Option(parser=typed_path, metavar="OUT.npz", help="The file to write, or replace.")
    ],
    source: Source = None,
    settings: Settings = None,
    seed: Seed = None,
) -> None:
    """Write the instance of a run as dense arrays.

    Everything in R^d (d at most 1e5), with a readme, for anyone's own code to reproduce the trajectory.
    """
    from ..runs.export import write_dense

    experiment = experiment_of(source, settings, seed)
    prepare(dense)
    if dense.exists() and dense.read_bytes()[:2] not in (b"", b"PK"):  # an experiment's file, say
        raise Failure(f"cannot write {dense}: it is a file of another kind; choose another place")
    import numpy as np

    try:
        with _progress() as report, writing(dense), np.errstate(all="ignore"):
            write_dense(experiment, dense, report=report)
    except FloatingPointError as error:
        raise Failure(*str(error).splitlines(), code=INCOMPLETE) from error
    print(f"written: {dense}")
