"""Works (f) and (g): what a user waits for at the command line, process start included.

Cold: an empty cache of compiled kernels, as after an install. Warm: the cache of an earlier run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from .harness import Case, Measured

RUN = ("-m", "numsim", "run", "--json")


def call(arguments: Sequence[str], cache: str) -> float:
    """Seconds that this interpreter takes with these arguments; raises RuntimeError if it fails."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    taken = time.perf_counter() - start
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise RuntimeError(f"{' '.join(arguments)} ended with exit code {done.returncode}: {said}")
    return taken


def command(*, arguments: Sequence[str], warm: bool, repetitions: int, cores: int, seed: int) -> Measured:
    """Wall-clock seconds of a command, each with an empty cache or all with a warm one."""
    with tempfile.TemporaryDirectory() as folder:
        if warm:
            call(arguments, folder)
            return Measured([call(arguments, folder) for _ in range(repetitions)])
    seconds = []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            seconds.append(call(arguments, folder))
    return Measured(seconds)


def _case(
    work: str, setting: str, arguments: Sequence[str], warm: bool, repetitions: int, cores: int
) -> Case:
    return Case(
        work=work,
        setting=setting,
        target=f"{__name__}:command",
        arguments={"arguments": list(arguments), "warm": warm, "repetitions": repetitions},
        cores=cores,
        unit="call",
        processes=1,
    )


def cases(smoke: bool) -> list[Case]:
    """The interpreter alone for comparison, the import, and a run with a warm and an empty cache."""
    few = 1 if smoke else 20
    found = [
        _case("latency", "python -c pass", ("-c", "pass"), True, few, 1),
        _case("latency", "import numsim", ("-c", "import numsim"), True, few, 1),
    ]
    if not smoke:
        found += [
            _case("latency", "numsim run --json, warm cache", RUN, True, 10, 2),
            _case("latency", "numsim run --json, cold cache", RUN, False, 3, 2),
        ]
    return found


def verify_cases(smoke: bool) -> list[Case]:
    """The theory, checked, with a warm cache; exit code 0 is asserted."""
    if smoke:
        return []
    arguments = ("-m", "numsim", "verify", "--json")
    return [_case("verify", "numsim verify, quick", arguments, True, 1, 2)]
