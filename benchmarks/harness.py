"""The protocol: fresh processes, equality first, then both sides in turn, A B A B.

A ``Case`` names a function that, in a child process, builds both sides (``Sides``) or measures one
(``Measured``). The child holds itself to the case's cores before any numerical library is loaded (child.py);
here the parent starts it, collects what it prints and turns it into a ``Row`` of the table.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .statistics import compare, interval, median

ROOT = Path(__file__).resolve().parent.parent
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

OK, SKIPPED, UNEQUAL, FAILED = "ok", "skipped", "unequal", "failed"


class Unequal(AssertionError):
    """Two sides did not produce the same result: their times say nothing."""


@dataclass(frozen=True)
class Sides:
    """Two ways to do the same work, and how far apart their results were.

    numsim, alternative : do it once; units : how many (steps, replicates) a call of each does.
    difference : found between the results; tolerance : the largest that counts as equal.
    facts : what else was measured, by name.
    """

    numsim: Callable[[], object]
    alternative: Callable[[], object]
    units: tuple[int, int]
    difference: float
    tolerance: float
    facts: Mapping[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """Raise Unequal unless the results agree (a NaN does not)."""
        if not self.difference <= self.tolerance:
            raise Unequal(
                f"the two sides differ by {self.difference:.3g}, more than the tolerance {self.tolerance:.3g}"
            )


@dataclass(frozen=True)
class Measured:
    """Seconds a unit of one side alone, repeatedly, and what else was measured."""

    seconds: Sequence[float]
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One line of the table.

    target : "module:function" that makes the sides; arguments : its keywords, plus ``seed`` (the process's
    number) and ``cores``. alternative : the library, "" where numsim is measured alone. needs : the module
    that must be installed. facts : the parameters that figures and fits want. processes : None: as told.
    """

    work: str
    setting: str
    target: str
    arguments: Mapping[str, Any]
    alternative: str = ""
    needs: str = ""
    cores: int = 1
    unit: str = "step"
    facts: Mapping[str, float] = field(default_factory=dict)
    processes: int | None = None


@dataclass
class Row:
    """What a case gave. Times in seconds a unit; ratio: alternative / numsim, with its 95 % interval.

    pairs : (numsim, alternative) of each pair, a list a process; times : of a measurement, likewise.
    """

    work: str
    setting: str
    alternative: str
    cores: int
    unit: str
    status: str
    words: str = ""
    numsim: float | None = None
    numsim_low: float | None = None
    numsim_high: float | None = None
    other: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    difference: float | None = None
    tolerance: float | None = None
    facts: dict[str, float] = field(default_factory=dict)
    pairs: list[list[tuple[float, float]]] = field(default_factory=list)
    times: list[list[float]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Protocol:
    """processes : fresh ones a case; seconds : of timing in each; smoke : equality only, times not judged."""

    processes: int = 3
    seconds: float = 3.0
    smoke: bool = False


class Broken(Exception):
    """A child ended without a result."""


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def run_case(case: Case, protocol: Protocol) -> Row:
    """Run a case in its processes; what goes wrong there is the row's status."""
    row = Row(case.work, case.setting, case.alternative, case.cores, case.unit, OK, facts=dict(case.facts))
    if case.needs and importlib.util.find_spec(case.needs) is None:
        row.status, row.words = SKIPPED, f"{case.needs} is not installed: pip install 'numsim[bench]'"
        return row
    if case.cores > usable_cores():
        row.status, row.words = SKIPPED, f"needs {case.cores} cores, this machine has {usable_cores()}"
        return row
    answers = []
    try:
        for number in range(case.processes or protocol.processes):
            answers.append(_child(case, protocol, number))
    except Unequal as error:
        row.status, row.words = UNEQUAL, str(error)
    except Broken as error:
        row.status, row.words = FAILED, str(error)
    else:
        _fill(row, answers, protocol)
    return row


def _fill(row: Row, answers: Sequence[Mapping[str, Any]], protocol: Protocol) -> None:
    """The numbers of a row from the answers of its processes; facts are medians over them."""
    for name in answers[0]["facts"]:
        row.facts[name] = float(np.median([a["facts"][name] for a in answers]))
    if "pairs" in answers[0]:
        row.pairs = [[(own, other) for own, other in a["pairs"]] for a in answers]
        row.difference = max(a["difference"] for a in answers)
        row.tolerance = max(a["tolerance"] for a in answers)
        found = compare(row.pairs)
        row.numsim, row.other = found.numsim, found.alternative
        if not protocol.smoke:
            row.ratio, row.ratio_low, row.ratio_high = found.ratio, found.low, found.high
        own = [[pair[0] for pair in process] for process in row.pairs]
    else:
        own = row.times = [list(a["seconds"]) for a in answers]
        row.numsim = median(np.concatenate(own))
    row.numsim_low, row.numsim_high = interval([np.array(values) for values in own], median)


def _child(case: Case, protocol: Protocol, number: int) -> dict[str, Any]:
    """Run the case once in a fresh process and return what it prints."""
    order = {
        "target": case.target,
        "arguments": {**case.arguments, "seed": number, "cores": case.cores},
        "cores": case.cores,
        "seconds": protocol.seconds,
        "smoke": protocol.smoke,
    }
    environment = {
        **os.environ,
        **dict.fromkeys(THREADS, str(case.cores)),
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    command = [sys.executable, "-m", "benchmarks.child"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as child:
        try:
            out, err = child.communicate(json.dumps(order))
        except BaseException:  # Ctrl-C
            child.kill()
            raise
    if child.returncode != 0 or not out.strip():
        last = (err.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise Broken(last)
    answer: dict[str, Any] = json.loads(out)
    if "unequal" in answer:
        raise Unequal(answer["unequal"])
    return answer
