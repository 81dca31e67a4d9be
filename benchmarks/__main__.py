"""``python -m benchmarks [NAME ...]``: time numsim beside other libraries, after results were found equal."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .harness import FAILED, UNEQUAL, Protocol, Row, run_case
from .machine import machine, versions
from .tables import seconds, terminal
from .works import WORKS

DONE, WRONG, USAGE, INTERRUPTED = 0, 1, 2, 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    found.add_argument("names", nargs="*", metavar="NAME", help="works to run (all); see --list")
    found.add_argument("--json", metavar="FILE", type=Path, help="write every pair of times here")
    found.add_argument("--figures", metavar="DIR", type=Path, help="draw the figures of the works that ran")
    found.add_argument("--processes", type=int, default=3, help="fresh processes a comparison (3)")
    found.add_argument("--seconds", type=float, default=3.0, help="of timing in each process (3)")
    found.add_argument("--smoke", action="store_true", help="tiny sizes, results compared, times not judged")
    found.add_argument("--list", action="store_true", help="list the works")
    return found


def unknown(names: Sequence[str]) -> list[str]:
    """A line for every name that is no work, with the names most like it."""
    lines = []
    for name in names:
        if name not in WORKS:
            near = get_close_matches(name, WORKS, n=2, cutoff=0.4) or list(WORKS)
            lines.append(f"no work is called {name!r}; nearest: {', '.join(near)}")
    return lines


def faults(options: argparse.Namespace) -> list[str]:
    """What is wrong with the command line, a line each, before any work is done."""
    found = unknown(options.names)
    if options.processes < 1:
        found.append(f"--processes: got {options.processes}, expected at least 1")
    if not options.seconds >= 0:
        found.append(f"--seconds: got {options.seconds}, expected a number >= 0")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        found.append(f"--json: got {options.json}, expected a file in a folder that exists")
    return found


def run(names: Sequence[str], protocol: Protocol, rows: list[Row]) -> None:
    """Run works, appending to ``rows`` as they finish, with a line each on the standard error."""
    for name in names:
        work = WORKS[name]
        for case in work.cases(protocol.smoke):
            row = run_case(case, protocol)
            rows.append(row)
            found = row.words if row.words else seconds(row.numsim)
            print(f"{name}: {case.setting} {case.alternative}: {found}", file=sys.stderr, flush=True)
        if work.summary is not None:
            rows += work.summary([row for row in rows if row.work == name])


@contextmanager
def signals() -> Iterator[None]:
    """SIGTERM is Ctrl-C, and Ctrl-C is heard in the background too: no child is left running."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def document(rows: Sequence[Row], protocol: Protocol, interrupted: bool) -> dict[str, Any]:
    """All of it, for JSON."""
    return {
        "schema": 1,
        "machine": machine(),
        "versions": versions(),
        "protocol": asdict(protocol),
        "interrupted": interrupted,
        "rows": [row.as_dict() for row in rows],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 (unequal or failed), 2 (usage), 130 (interrupted)."""
    options = parser().parse_args(arguments)
    if options.list:
        for name, work in WORKS.items():
            print(f"{name:12} {work.words}")
        return DONE
    if wrong := faults(options):
        print("\n".join(wrong), file=sys.stderr)
        return USAGE
    protocol = Protocol(1 if options.smoke else options.processes, options.seconds, options.smoke)
    rows: list[Row] = []
    interrupted = False
    try:
        with signals():
            run(options.names or list(WORKS), protocol, rows)
    except KeyboardInterrupt:
        interrupted = True
    terminal(rows)
    if options.json is not None:
        options.json.write_text(json.dumps(document(rows, protocol, interrupted), indent=1) + "\n")
    if interrupted:
        return INTERRUPTED
    if options.figures is not None:
        from .figures import draw

        draw(rows, options.figures)
    bad = [row for row in rows if row.status in (UNEQUAL, FAILED)]
    for row in bad:
        print(f"{row.work}, {row.setting}, {row.alternative}: {row.words}", file=sys.stderr)
    return WRONG if bad else DONE


if __name__ == "__main__":
    sys.exit(main())
