"""The commands. Each imports what it needs when it runs, so that ``numsim --help`` is immediate.

running      run, export; sweeping: sweep; plotting: plot; verifying: verify, explain;
             listing: presets, init
options      what several of them take; files: how they write results and figures
errors       the exit code and the sentences of what went wrong

Exit codes: 0 done, all claims hold; 1 a claim fails or a control does not; 2 usage or configuration (one line
a fault on stderr); 3 incomplete (a run that did not stay finite, a claim that is inconclusive, a result that
could not be written, a figure that could not be drawn); 130 on Ctrl-C.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Annotated

try:
    import typer

    from .. import __version__
    from .errors import INCOMPLETE, INTERRUPTED, USAGE, explained
    from .listing import init, presets
    from .plotting import plot
    from .running import export, run
    from .sweeping import sweep
    from .verifying import explain, verify
except KeyboardInterrupt:  # most of the start-up time: Ctrl-C there is a Ctrl-C like any other
    raise SystemExit(130) from None

__all__ = ["INCOMPLETE", "INTERRUPTED", "USAGE", "app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Run a feature-learning theorem inside its own assumptions: SimCLR pre-training, fine-tuning and "
    "direct training of two-layer CNNs on signal-noise data, exactly in law at any dimension.",
)


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


_COMMANDS: tuple[Callable[..., None], ...] = (run, sweep, plot, export, verify, explain, presets, init)
for _command in _COMMANDS:  # in the order of the help
    app.command()(_command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    # The first line alone: Numba's on a variable that it cannot read goes on with a traceback.
    warnings.formatwarning = lambda text, *_, **__: (
        f"numsim: warning: {str(text).strip().partition(chr(10))[0]}\n"
    )
    # Drawing is off-screen here and in worker processes, also where a claim of a user's own asks pyplot.
    os.environ["MPLBACKEND"] = "agg"
    for name in ("matplotlib", "fontTools"):  # of settings that are not used, of fonts' dates
        logging.getLogger(name).setLevel(logging.CRITICAL)
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
        code, faults = explained(error)
    for fault in faults:
        print(f"numsim: {fault}", file=sys.stderr)
    return code
