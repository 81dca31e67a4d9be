"""Every pool of workers on this machine: threads, processes, and processes that stay."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

__all__ = ["cores", "end", "in_threads", "lasting_pool", "process_pool", "safe_path", "submit"]

Part = TypeVar("Part")
Found = TypeVar("Found")


def cores() -> int:
    """How many cores this process may use (affinity and container limits included)."""
    from loky import cpu_count

    return int(cpu_count())


def _follow(parent: int) -> None:
    """A worker process leaves Ctrl-C to its parent, and ends with it, even in the middle of a long run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


_SAFE = "PYTHONSAFEPATH"


@contextmanager
def safe_path() -> Iterator[None]:
    """Interpreters started inside do not look for modules in the current folder.

    Those of worker processes would (``python -m``, ``python -c``), and take a user's random.py there for the
    library's. Where this process finds modules they are told when they have started.
    """
    before = os.environ.get(_SAFE)
    os.environ[_SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE]
        else:
            os.environ[_SAFE] = before


def _settings() -> dict[str, Any]:
    """What every pool of loky is made with: workers that follow this process, on a ``safe_path``."""
    from multiprocessing import resource_tracker

    from loky.backend import resource_tracker as loky_tracker

    with safe_path():  # two interpreters that clean up after the workers, started with the first of them
        loky_tracker.ensure_running()
        if os.name == "posix":
            resource_tracker.ensure_running()
    return {"initializer": _follow, "initargs": (os.getpid(),), "env": {_SAFE: "1"}}


def submit(pool: Executor, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """``pool.submit``, where a pool that a process has just died in gives a future that says so."""
    from concurrent.futures import Future
    from concurrent.futures.process import BrokenProcessPool

    try:
        return pool.submit(function, *arguments)
    except BrokenProcessPool as error:
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return failed


def process_pool(count: int) -> Executor:
    """A pool of so many processes, for ``submit`` and ``end``."""
    from loky import ProcessPoolExecutor

    pool: Executor = ProcessPoolExecutor(count, **_settings())
    return pool


def lasting_pool(count: int, idle: float) -> Executor:
    """The pool of processes that stays for the next one who asks: they take seconds to start.

    idle : seconds without work after which its processes end.
    """
    from loky import get_reusable_executor

    pool: Executor = get_reusable_executor(count, timeout=idle, **_settings())
    return pool


def end(pool: Any) -> None:
    """End a pool's processes, whatever they do."""
    pool.shutdown(wait=True, kill_workers=True)


def in_threads(
    function: Callable[[Part, Callable[[], bool]], Found], parts: Sequence[Part], count: int
) -> list[Found]:
    """function(part, stopped) of every part, in so many threads of this process, in order.

    stopped() turns true once the results are not wanted any more, by Ctrl-C or another part's error: a long
    call then breaks off by itself, for threads cannot be ended.
    """
    from concurrent.futures import ThreadPoolExecutor

    event = threading.Event()
    with ThreadPoolExecutor(count) as executor:
        try:
            return list(executor.map(lambda part: function(part, event.is_set), parts))
        except BaseException:
            event.set()
            executor.shutdown(wait=True, cancel_futures=True)
            raise
