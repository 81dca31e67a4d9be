"""The inside of a child process: hold to the cores, build both sides, compare, time A B A B, print JSON.

``python -m benchmarks.child`` reads its order from the standard input and is started by harness.py only.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .harness import Sides

FEWEST_PAIRS = 5
MOST_PAIRS = 200
REST = 0.02  # idle threads of a library spin for some milliseconds and would take the other's core


def hold_to(cores: int) -> None:
    """Use only so many cores: the last ones, the first being busier with the system's own work."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[-cores:])


def seconds(function: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def time_pairs(sides: Sides, budget: float, fewest: int, rest: float) -> list[tuple[float, float]]:
    """Seconds a unit of both sides, in turn, for about ``budget`` seconds and at least ``fewest`` pairs."""
    pairs: list[tuple[float, float]] = []
    gc.collect()
    gc.disable()
    end = time.perf_counter() + budget
    while len(pairs) < fewest or (time.perf_counter() < end and len(pairs) < MOST_PAIRS):
        time.sleep(rest)
        own = seconds(sides.numsim) / sides.units[0]
        time.sleep(rest)
        pairs.append((own, seconds(sides.alternative) / sides.units[1]))
    gc.enable()
    return pairs


def answer(order: Mapping[str, Any]) -> dict[str, Any]:
    """Follow an order and return what the parent is to know."""
    from .harness import Sides, Unequal

    module, _, name = order["target"].partition(":")
    found = getattr(import_module(module), name)(**order["arguments"])
    if not isinstance(found, Sides):
        return {"seconds": list(found.seconds), "facts": dict(found.facts)}
    try:
        found.check()
    except Unequal as error:
        return {"unequal": str(error)}
    smoke = order["smoke"]
    rest = REST if order["cores"] > 1 and not smoke else 0.0
    pairs = time_pairs(found, 0.0 if smoke else order["seconds"], 1 if smoke else FEWEST_PAIRS, rest)
    return {
        "pairs": pairs,
        "difference": found.difference,
        "tolerance": found.tolerance,
        "facts": dict(found.facts),
    }


def main() -> None:
    """Read the order, print the answer; anything else that is printed goes to the standard error."""
    order = json.loads(sys.stdin.read())
    hold_to(order["cores"])
    out, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(answer(order)), file=out)


if __name__ == "__main__":
    main()
