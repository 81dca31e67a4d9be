"""A sweep on a Dask cluster (``pip install 'numsim[dask]'``): the same batches as futures of
dask.distributed.

What a future became is asked of its status. A scheduler that dies leaves futures cancelled or lost, which is
no result: their cells are unfinished. A worker that dies is replaced by the others; Dask gives a batch up
when two workers have died of it (KilledWorker), and the sweep then tries its cells one by one.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import distributed
from distributed.scheduler import KilledWorker

from ..config.errors import ConfigError, fault
from ..models.checks import show
from ..runs.workers import safe_path
from .batches import Batch, Row, run_batch
from .executors import Unreachable, WorkerDied

__all__ = ["Cluster"]

_CONNECT = 10.0  # seconds
_SHORTEST = 0.3  # seconds of work in a batch
_PATIENCE = 60.0  # seconds without any worker


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without collections of garbage inside.

    A client that could not connect is garbage in a circle. Its end waits for a lock that the start of another
    holds: collected there, in this thread or in that of the new client's loop, it would wait for ever.
    """
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Cluster:
    """Connect to the scheduler at ``address``, or ("local") start a cluster of this machine's cores."""

    alone = False

    def __init__(self, address: str) -> None:
        """Raise ConfigError where nobody answers, or nobody works."""
        self._local: Any = None
        self._lasting = ExitStack()
        self._lasting.enter_context(_unheard())
        try:
            if address == "local":
                self._lasting.enter_context(safe_path())  # to the end: workers that die are started again
                with _uncollected():
                    self._local = distributed.LocalCluster(threads_per_worker=1, dashboard_address=None)
                address = self._local.scheduler_address
            with _uncollected():
                self._client = distributed.Client(address, timeout=_CONNECT, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            self.close()
            expected = "the address of a running Dask scheduler, tcp://HOST:PORT, or local"
            raise ConfigError(fault("scheduler", show(address), f"{expected} ({_first(error)})")) from error
        try:
            self._client.wait_for_workers(1, timeout=_CONNECT)
        except TimeoutError as error:
            self.close()
            raise ConfigError(
                f"scheduler: got {address} without workers, expected at least one; start some with "
                f"dask worker {address}"
            ) from error
        self._manned = time.monotonic()
        self._before = self._client.run_on_scheduler(_tolerate, 1)

    @property
    def workers(self) -> int:
        """How many batches can run at once, at the moment."""
        found = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return max(1, sum(int(worker["nthreads"]) for worker in found))

    @property
    def seconds(self) -> float:
        """Of work in a batch: each costs scheduler and client milliseconds, so 100 a second at most."""
        return max(_SHORTEST, self.workers / 100)

    def submit(self, batch: Batch) -> distributed.Future:
        """Hand it to the scheduler."""
        return self._client.submit(run_batch, batch, pure=False, retries=0)

    def done(self, pending: Collection[distributed.Future], timeout: float) -> list[distributed.Future]:
        """Those that are finished, or lost."""
        try:
            distributed.wait(list(pending), timeout=timeout, return_when="FIRST_COMPLETED")
        except TimeoutError:
            pass
        except Exception as error:  # a client without a scheduler raises errors of many kinds
            if self._client.status != "running":
                raise Unreachable(f"the Dask scheduler was lost ({_first(error)})") from error
        if self._client.status != "running":
            raise Unreachable(f"the Dask scheduler was lost (its client is {self._client.status})")
        # Lost: its worker died after it was finished; the scheduler has it run again.
        return [future for future in pending if future.status not in ("pending", "lost")]

    def _expect_workers(self) -> None:
        """Raise Unreachable where there has been no worker for long; nannies restart one in seconds."""
        now = time.monotonic()
        if self._client.scheduler_info(n_workers=-1)["workers"]:
            self._manned = now
        elif now - self._manned > _PATIENCE:
            raise Unreachable(f"the Dask scheduler has had no workers for {_PATIENCE:g} s")

    def collect(self, handle: distributed.Future) -> list[Row]:
        """The rows of a future that is finished; cancelled and lost ones are nobody's result."""
        if handle.status == "finished":
            try:
                rows: list[Row] = handle.result(timeout=60)
            except Exception as error:  # it was finished, and its worker died before it was fetched
                raise WorkerDied("its result was lost with its worker") from error
            return rows
        if handle.status in ("pending", "lost"):  # since ``done``
            raise WorkerDied("its result was lost with its worker")
        if handle.status == "error":
            reason = handle.exception(timeout=60)
            if isinstance(reason, KilledWorker):
                raise WorkerDied("two Dask workers died of it")  # Dask's words name hosts
            raise Unreachable(f"the Dask workers cannot run a batch ({_first(reason)})")
        raise Unreachable(f"the Dask scheduler was lost (a batch is {handle.status})")

    def close(self) -> None:
        """Let go of the scheduler as it was, and stop what was started here."""
        with self._lasting:
            self._close()

    def _close(self) -> None:
        client = getattr(self, "_client", None)
        if client is not None:
            if client.status == "running" and self._local is None and hasattr(self, "_before"):
                client.run_on_scheduler(_tolerate, self._before)
            client.close(timeout=2)
        if self._local is not None:
            self._local.close(timeout=5)


_LOGGERS = ("distributed", "tornado", "asyncio")


def _unheard() -> ExitStack:
    """Keep Dask from logging until the stack is closed: what happened is said in a sentence of ours.

    Where a scheduler is lost Dask logs a page of traceback in each of its threads. The loggers are the
    session's, which may have other clients: they get their voice back.
    """
    stack = ExitStack()
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in _LOGGERS:
            logger.addFilter(_nothing)
            stack.callback(logger.removeFilter, _nothing)
    return stack


def _nothing(record: logging.LogRecord) -> bool:
    return False


def _tolerate(deaths: int, dask_scheduler: Any = None) -> int:
    """Let a task survive so many workers, on the scheduler; returns how many it was."""
    before = int(dask_scheduler.allowed_failures)
    dask_scheduler.allowed_failures = deaths
    return before


def _first(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
