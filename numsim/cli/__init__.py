"""The commands. Each imports what it needs when it runs, so that ``numsim --help`` is immediate.

Exit codes: 0 done, all claims hold; 1 a claim fails or a control does not; 2 usage or configuration (one line
a fault on stderr); 3 incomplete (a run that did not stay finite, a claim that is inconclusive, a result that
could not be written, a figure that could not be drawn); 130 on Ctrl-C.
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

try:
    import typer
except KeyboardInterrupt:  # most of the start-up time: Ctrl-C there is a Ctrl-C like any other
    raise SystemExit(130) from None

from . import __version__

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from .claims.claim import Claim, Evidence
    from .config.experiment import Experiment
    from .runs.result import Result
    from .runs.simulate import Report
    from .sweeps.study import Attempt

__all__ = ["app", "main"]

USAGE, INCOMPLETE, INTERRUPTED = 2, 3, 130

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Run a feature-learning theorem inside its own assumptions: SimCLR pre-training, fine-tuning and "
    "direct training of two-layer CNNs on signal-noise data, exactly in law at any dimension.",
)


def _path(text: str) -> Path:
    """A path as it was typed; an empty one, as of a variable that is not set, is none."""
    if not text:
        raise typer.BadParameter("got '', expected a path (. is this folder)")
    return Path(text)


Source = Annotated[
    str | None,
    typer.Argument(metavar="[FILE.toml or PRESET]", help="The experiment; without it the headline defaults."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Replace a setting, e.g. --set data.dim=1e10. Repeatable."
    ),
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Seed of the run (replaces the file's).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Replace the results of another experiment in that folder.")
]


class _Failure(Exception):
    """Faults to report, one line each, before leaving with ``code``."""

    def __init__(self, *faults: str, code: int = USAGE) -> None:
        super().__init__(*faults)
        self.faults = faults
        self.code = code


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"numsim {__version__}")
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    source: Source = None,
    settings: Settings = None,
    seed: Seed = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=_path, metavar="DIR", help="Write result.nc, summary.json and figure.png here."),
    ] = None,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Run one experiment, both arms.

    Pre-training and fine-tuning against direct training, every quantity that theory predicts beside what was
    measured.
    """
    experiment = _experiment(source, settings, seed)
    if out is not None:
        _prepare_run(out, experiment, replace)
    import numpy as np

    from .runs.simulate import run as simulate

    start = time.perf_counter()
    with _progress() as report, np.errstate(all="ignore"):  # a status says what was not finite
        result = simulate(experiment, report=report)
        summary = {**result.summary(), "seconds": time.perf_counter() - start}
    faults = list(result.faults)
    try:
        if out is not None:
            faults += _save(result, summary, out, replace)
    finally:  # what was found is shown whether or not it could be kept
        _show(result, summary, as_json)
    if faults:
        raise _Failure(*faults, code=INCOMPLETE)


def _prepare_run(out: Path, experiment: Experiment, replace: bool) -> None:
    """Make sure that a run's files can be written, and take no other experiment's place unasked."""
    from .runs.folders import LEDGER, RUN, other_than_run

    for name in RUN:
        _prepare(out / name, make_folder=True)
    if replace and (out / LEDGER).exists():
        from .sweeps.ledger import Ledger, LedgerError

        try:
            Ledger(out / LEDGER).close()
        except LedgerError as error:  # not a sweep's, or in use
            raise _Failure(str(error)) from error
    if (other := other_than_run(out, experiment)) and not replace:
        raise _Failure(_HOLDS.format(out, other))


_HOLDS = "{} holds {}; choose another folder, or replace it (--replace)"


@app.command()
def sweep(
    source: Annotated[
        str, typer.Argument(metavar="FILE.toml or PRESET", help="An experiment with a table sweep.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            parser=_path,
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
    as_json: Json = False,
) -> None:
    """Run an experiment over a grid of settings: the phase diagram, its boundary and its exponent.

    Interrupted at any moment, the same command goes on where it was; with more seeds or values of the axes
    too. Writes results.nc, results.csv, summary.json and figure.png beside ledger.sqlite, after Ctrl-C of
    what is there by then.
    """
    from .runs.folders import SWEEP
    from .sweeps.study import prepared
    from .sweeps.sweepfile import load_sweep

    study = load_sweep(source, _overrides(settings))
    folder = prepared(out)
    for name in SWEEP:
        _prepare(folder / name)
    from .sweeps.ledger import LedgerError, LedgerFull

    start = time.perf_counter()
    again = f"what was finished is kept in {folder}; the same command goes on from there"
    try:
        with _terminated_as_interrupted(), _sweep_progress(study.runs) as progress:
            sought = study.attempt(folder, scheduler, progress, replace=replace)
        lines = _finish_sweep(sought, folder, as_json, time.perf_counter() - start)
        if isinstance(sought.stopped, KeyboardInterrupt):
            raise sought.stopped
    except KeyboardInterrupt:
        print(f"numsim: {again}", file=sys.stderr)
        raise
    except LedgerError as error:
        raise _Failure(str(error)) from error
    except LedgerFull as error:
        raise _Failure(f"{error.strerror}; make room: {again}", code=INCOMPLETE) from error
    if sought.stopped is not None:
        lines.append(f"{sought.stopped}; {again}")
    if lines:
        raise _Failure(*lines, code=INCOMPLETE)


def _finish_sweep(sought: Attempt, folder: Path, as_json: bool, seconds: float) -> list[str]:
    """Write and show what a sweep found, however far it came; returns what was not as it should be."""
    from .runs.folders import SWEEP
    from .shown.sweep_tables import counts, show_sweep, summary, write_csv
    from .sweeps.criteria import sweep_fits
    from .sweeps.study import netcdf

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
        from .shown.phase_diagrams import diagram

        return diagram(found, fitted)

    lines = []
    try:
        if n["not_run"] < n["runs"] or sought.stopped is None:  # what is finished, if anything is
            lines = _keep(folder, dict(zip(SWEEP, writers, strict=False)), draw)
    finally:
        if as_json:
            print(json.dumps(document, allow_nan=False))
        else:
            show_sweep(found, fitted, computed=computed, seconds=seconds)
    if n["failed"] or n["non_finite"]:
        lines += [f"{where}: {why}" for where, why in list(document["failures"].items())[:_SHOWN_FAILURES]]
        lines.append(f"{n['failed']} runs failed, {n['non_finite']} were not finite")
    return lines


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


@app.command()
def plot(
    path: Annotated[
        Path,
        typer.Argument(
            parser=_path,
            metavar="RESULT",
            help="A result.nc or results.nc, or the folder that holds it.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=_path,
            metavar="FILE",
            help="Picture to write, or replace (.png, .pdf, .svg); default figure.png beside the result.",
        ),
    ] = None,
) -> None:
    """Draw the figure of a saved result: of a run, or of a sweep."""
    from .runs.folders import RESULT, RESULTS, load_saved
    from .shown.style import picture_kind

    if path.is_dir():
        path = path / (RESULTS if (path / RESULTS).exists() else RESULT)
    target = path.parent / "figure.png" if out is None else out
    try:
        picture_kind(target)
        saved = load_saved(path)
    except ValueError as error:
        raise _Failure(_sentence(error)) from error
    except OSError as error:
        raise _Failure(f"cannot read {path}: {_sentence(error)}{_unfinished(path)}") from error
    _prepare(target)
    for note in _notes(saved):
        print(f"numsim: note: {path} holds {note}", file=sys.stderr)
    if faults := _draw(target, lambda: _figure(saved)):
        raise _Failure(*faults, code=INCOMPLETE)
    print(f"written: {target}")


def _unfinished(path: Path) -> str:
    """What to do where a sweep was killed before it wrote a result."""
    from .runs.folders import LEDGER

    there = (path.parent / LEDGER).exists()
    return f"; the sweep in {path.parent} is not finished, the same sweep command goes on" if there else ""


def _notes(saved: Result | xr.Dataset) -> list[str]:
    """What whoever looks at the figure of a saved result should know."""
    from .runs.folders import other_physics

    notes = [words] if (words := other_physics(saved)) else []
    if getattr(saved, "attrs", {}).get("incomplete"):
        notes.append("a sweep that is not finished; the same sweep command goes on")
    return notes


def _figure(saved: Result | xr.Dataset) -> Figure:
    """The figure of a run, or of a sweep."""
    from .runs.result import Result

    if isinstance(saved, Result):
        from .shown.run_figure import figure

        return figure(saved)
    from .shown.phase_diagrams import diagram

    return diagram(saved)


@app.command()
def export(
    dense: Annotated[
        Path, typer.Option(parser=_path, metavar="OUT.npz", help="The file to write, or replace.")
    ],
    source: Source = None,
    settings: Settings = None,
    seed: Seed = None,
) -> None:
    """Write the instance of a run as dense arrays.

    Everything in R^d (d at most 1e5), with a readme, for anyone's own code to reproduce the trajectory.
    """
    from .runs.export import write_dense

    experiment = _experiment(source, settings, seed)
    _prepare(dense)
    if dense.exists() and dense.read_bytes()[:2] not in (b"", b"PK"):  # an experiment's file, say
        raise _Failure(f"cannot write {dense}: it is a file of another kind; choose another place")
    import numpy as np

    try:
        with _progress() as report, _writing(dense), np.errstate(all="ignore"):
            write_dense(experiment, dense, report=report)
    except FloatingPointError as error:
        raise _Failure(*str(error).splitlines(), code=INCOMPLETE) from error
    print(f"written: {dense}")


@app.command()
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
        typer.Option(parser=_path, metavar="DIR", help="Write a self-contained page, DIR/index.html."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an index.html that is not a report of numsim.")
    ] = False,
) -> None:
    """Check the theory claim by claim, predicted against measured.

    Every claim has a control, the same check on something wrong, that must fail.
    """
    from .claims.claim import verify_each

    chosen = _claims(claims)
    if report is not None:
        _prepare_report(report / "index.html", replace)
    from .shown.verification import document, exit_code, live_table, sentences, show_verification

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
        raise _Failure(_sentence(error)) from error
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
    if interrupted:
        raise KeyboardInterrupt
    if code := exit_code(found) or (INCOMPLETE if faults else 0):
        raise _Failure(*sentences(found), *faults, code=code)


def _prepare_report(page: Path, replace: bool) -> None:
    from .shown.report import FOREIGN, state

    _prepare(page, make_folder=True)
    if state(page) == FOREIGN and not replace:
        raise _Failure(_HOLDS.format(page.parent, "an index.html that is not a report of numsim"))


def _report(found: list[Evidence], folder: Path, *, missing: list[str] | None, **facts: Any) -> list[str]:
    """Write the report, unless it is of an interrupted verification and less than what is there.

    missing : the claims that an interrupted verification did not come to. Returns what could not be drawn.
    """
    from .shown.report import INTERRUPTED_REPORT, state, write_report
    from .shown.style import import_matplotlib

    faults: list[str] = []
    there = state(folder / "index.html")
    if missing is not None and not found:
        print(f"not written: {folder}/index.html, no claim was checked", file=sys.stderr)
    elif missing is not None and there not in ("", INTERRUPTED_REPORT):
        print(f"kept: {folder}/index.html, which is complete", file=sys.stderr)
    else:
        with suppress(Exception):  # which costs the figures, not the page
            import_matplotlib()
        with _writing(folder):
            page = write_report(found, folder, missing=missing, faults=faults, **facts)
        words = "" if missing is None else f" (interrupted: {len(missing)} claims were not checked)"
        print(f"written: {page}{words}", file=sys.stderr)
    return faults


@app.command()
def explain(
    claim: Annotated[str, typer.Argument(metavar="CLAIM", help="An id such as p2, or a file with a claim.")],
) -> None:
    """Show the derivation of a claim."""
    from rich.console import Console

    from .shown.notes import explain as show

    console = Console()
    for found in _claims([claim]):
        if found.note is None:
            raise _Failure(f"{found.id}: has no note; write one beside its module, with the ending .md")
        try:
            show(found, console)
        except (OSError, UnicodeDecodeError) as error:
            raise _Failure(f"cannot read {found.note}: {_sentence(error)}") from error


def _claims(names: list[str] | None) -> list[Claim]:
    from .claims.registry import find

    try:
        return find(names)
    except ValueError as error:
        raise _Failure(*str(error).splitlines()) from error


def _overrides(settings: list[str] | None, faults: list[str] | None = None) -> dict[str, object]:
    """What --set says; its faults are raised, or added to those given."""
    from .config.errors import ConfigError
    from .config.sources import parse_override

    overrides: dict[str, object] = {}
    found: list[str] = []
    for text in settings or []:
        try:
            overrides.update([parse_override(text)])
        except ConfigError as error:
            found += error.faults
    if faults is not None:
        faults += found
    elif found:
        raise ConfigError(*found)
    return overrides


def _experiment(source: str | None, settings: list[str] | None, seed: int | None) -> Experiment:
    from .config.errors import ConfigError
    from .config.sources import load

    faults: list[str] = []
    overrides = _overrides(settings, faults)
    if seed is not None:
        overrides["seed"] = seed
    try:
        experiment = load(source, overrides).resolved()
    except ConfigError as error:
        faults += error.faults
    if faults:
        raise ConfigError(*faults)
    return experiment


def _prepare(path: Path, make_folder: bool = False) -> None:
    """Make sure that a file can be written, before any work is done for it."""
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.is_dir():
            raise NotADirectoryError(0, f"{path.parent} is not a folder")
        if path.exists() and not path.is_file():  # never put a file in the place of a folder or a device
            raise FileExistsError(0, "it is not a file")
        probe = path.with_name(f".{path.name}.{os.getpid():08x}")
        probe.touch()
        probe.unlink()
    except FileExistsError as error:
        reason = error.strerror if path.parent.is_dir() else f"{path.parent} is a file, not a folder"
        raise _Failure(f"cannot write {path}: {reason}; choose another place") from error
    except (OSError, ValueError) as error:
        raise _Failure(f"cannot write {path}: {_sentence(error)}; choose another place") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _Failure(f"cannot write {path}: {_sentence(error)}", code=INCOMPLETE) from error


def _save(result: Result, summary: dict[str, Any], out: Path, replace: bool) -> list[str]:
    """Write the files of a run; returns what is wrong with its figure, if anything."""
    from .runs.folders import LEDGER, RESULT, RESULTS, SUMMARY, TABLE

    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    writers = {
        RESULT: lambda file: file.write(result.to_netcdf()),
        SUMMARY: lambda file: file.write(text.encode()),
    }
    faults = _keep(out, writers, lambda: _figure(result))
    if replace:
        for name in (RESULTS, TABLE, LEDGER):
            (out / name).unlink(missing_ok=True)
    return faults


def _keep(
    folder: Path, writers: dict[str, Callable[[BinaryIO], object]], draw: Callable[[], Figure]
) -> list[str]:
    """Write results into a folder, all or none, then their figure; returns what is wrong with that."""
    from .runs.files import write_together
    from .runs.folders import FIGURE

    written = list(writers)
    with _writing(folder):
        write_together({folder / name: write for name, write in writers.items()})
    try:
        with suppress(OSError):
            (folder / FIGURE).unlink()  # of other numbers
        if not (faults := _draw(folder / FIGURE, draw)):
            written.append(FIGURE)
    finally:
        print(f"written: {folder}/{', '.join(written)}", file=sys.stderr)
    return faults


def _draw(path: Path, draw: Callable[[], Figure]) -> list[str]:
    """Draw a picture and write it; returns the line that it costs if it cannot be: results are not lost."""
    from .runs.files import write_atomically
    from .shown.style import import_matplotlib, picture, picture_kind

    try:
        import_matplotlib()
        content = picture(draw, picture_kind(path))
    except Exception as error:  # matplotlib's own installation and settings may raise anything
        return [f"cannot draw {path}: {type(error).__name__}: {_sentence(error)}"]
    try:
        write_atomically(path, lambda file: file.write(content))
    except OSError as error:
        return [f"cannot write {path}: {_sentence(error)}"]
    return []


def _show(result: Result, summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary, allow_nan=False))
    else:
        from .shown.run_tables import show_run

        show_run(result, summary["seconds"])


@contextmanager
def _progress() -> Iterator[Report | None]:
    """A line on stderr that says what is being done, only on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        from .descent._jit import COMPILING, compilation_told_to

        with compilation_told_to(lambda name: status.update(COMPILING.format(name))):
            yield lambda stage, step, loss: status.update(f"{stage}: step {step}, loss {loss:.4g}")


def _sentence(error: BaseException) -> str:
    """The error in one line."""
    text = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    # The first line alone: Numba's on a variable that it cannot read goes on with a traceback.
    warnings.formatwarning = lambda text, *_, **__: (
        f"numsim: warning: {str(text).strip().partition(chr(10))[0]}\n"
    )
    # Drawing is off-screen here and in worker processes, also where a claim of a user's own asks pyplot.
    os.environ["MPLBACKEND"] = "agg"
    logging.getLogger("matplotlib").setLevel(logging.CRITICAL)  # of settings that are not used
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell
            setattr(sys, name, io.StringIO())
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Greek letters
    code = _main(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to interrupt
    sys.exit(code)


def _main(arguments: list[str] | None) -> int:
    try:
        code = int(app(arguments, prog_name="numsim", standalone_mode=False) or 0)
        sys.stdout.flush()
        faults = ["interrupted"] if code == INTERRUPTED else []
    except BaseException as error:
        code, faults = _explained(error)
    for fault in faults:
        print(f"numsim: {fault}", file=sys.stderr)
    return code


def _explained(error: BaseException) -> tuple[int, list[str]]:
    """The exit code and the lines that an error deserves; an error of ours is raised again."""
    from .config.errors import ConfigError

    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return INTERRUPTED, ["interrupted"]
    if isinstance(error, ConfigError):
        return USAGE, list(error.faults)
    if isinstance(error, _Failure):
        return error.code, list(error.faults)
    if isinstance(error, MemoryError):
        return INCOMPLETE, ["not enough memory: reduce the numbers of samples or filters"]
    if isinstance(error, OSError) and isinstance(error.__context__, _Failure):
        _abandon_stdout()  # neither kept nor shown: what could not be kept is the worse
        return error.__context__.code, list(error.__context__.faults)
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        _abandon_stdout()  # the reader of our output has seen enough
        return 0, []
    if isinstance(error, OSError):
        _abandon_stdout()
        return INCOMPLETE, [f"cannot write the output: {_sentence(error)}"]
    if hasattr(error, "format_message"):  # the command line's own: an unknown option, a missing value
        message = str(error.format_message())
        if message.startswith("Usage:"):  # no arguments: the help
            print(message, file=sys.stderr)
            return USAGE, []
        return USAGE, [f"{' '.join(message.split())} (see numsim --help)"]
    raise error


def _abandon_stdout() -> None:
    """Point stdout at nothing, so that Python does not complain of it at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
