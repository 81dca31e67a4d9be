"""Where the batches of a sweep run: in processes of this machine, or on a Dask cluster.

Processes, because a run of a sweep is often a millisecond, mostly Python around short kernels: threads wait
for one another's lock (two of them took as long as one, two processes half). And a process that dies takes
its batch with it, not the sweep.

An executor submits batches and hands back finished ones; ``WorkerDied`` says that a batch took its worker
with it (or was beside one that did), ``Unreachable`` that there is nobody left to ask.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Protocol

from ..runs.workers import cores, end, process_pool, submit
from .batches import Batch, Row, run_batch

__all__ = ["Executor", "Here", "Processes", "Unreachable", "WorkerDied"]


class WorkerDied(Exception):
    """The worker of a batch died, perhaps of it."""


class Unreachable(Exception):
    """The executor is gone; what it had is not finished."""


class Executor(Protocol):
    """The part of concurrent.futures that a sweep needs, with names for what can go wrong.

    alone : whether a worker's death spoils everything that is
    under way, not only its own batch.
    """

    alone: bool

    @property
    def seconds(self) -> float:
        """How much work a batch should hold."""

    @property
    def workers(self) -> int:
        """How many batches can run at once."""

    def submit(self, batch: Batch) -> Any:
        """Hand a batch over; returns what ``done`` and ``collect`` know it by."""

    def done(self, pending: Collection[Any], timeout: float) -> list[Any]:
        """Those of ``pending`` that are finished, waiting for one at most ``timeout`` seconds."""

    def collect(self, handle: Any) -> list[Row]:
        """The rows of a finished batch; raises WorkerDied or Unreachable."""

    def close(self) -> None:
        """Stop, whatever is under way."""


class Here:
    """This very process: for a sweep so small that starting others takes longer."""

    workers, seconds, alone = 1, 0.1, False

    def __init__(self) -> None:
        """Nothing is under way."""
        self._batches: dict[int, Batch] = {}
        self._numbers = itertools.count()

    def submit(self, batch: Batch) -> int:
        """Keep it; it is run when it is collected, where Ctrl-C is heard."""
        number = next(self._numbers)
        self._batches[number] = batch
        return number

    def done(self, pending: Collection[int], timeout: float) -> list[int]:
        """One of them."""
        return list(pending)[:1]

    def collect(self, handle: int) -> list[Row]:
        """Run it."""
        return run_batch(self._batches.pop(handle))

    def close(self) -> None:
        """Nothing to stop."""


class Processes:
    """As many processes as there are cores. They end with their parent, however it ends."""

    alone = True
    seconds = 0.1  # of work in a batch: little is lost when the sweep is killed

    def __init__(self, threads: int = 1) -> None:
        """threads : BLAS threads that each run takes."""
        self.workers = max(1, cores() // threads)
        self._pool: Any = None

    def submit(self, batch: Batch) -> Future[list[Row]]:
        """Hand it to the pool, a new one if the last has lost a process."""
        if self._pool is None:
            self._pool = process_pool(self.workers)
        return submit(self._pool, run_batch, batch)

    def done(self, pending: Collection[Future[list[Row]]], timeout: float) -> list[Future[list[Row]]]:
        """Those that are finished."""
        return list(wait(pending, timeout, FIRST_COMPLETED).done)

    def collect(self, handle: Future[list[Row]]) -> list[Row]:
        """The rows, or WorkerDied with a new pool to come."""
        from concurrent.futures.process import BrokenProcessPool

        try:
            return handle.result()
        except BrokenProcessPool as error:
            self.close()
            raise WorkerDied(str(error).splitlines()[0]) from error

    def close(self) -> None:
        """End the processes, whatever they do."""
        if self._pool is not None:
            end(self._pool)
            self._pool = None
