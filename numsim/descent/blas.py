"""How many threads BLAS has: a property of the process, held while somebody needs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ..models.checks import whole

__all__ = ["blas_threads"]

_state = threading.Condition()
_here = threading.local()
_running = 0
_threads = 0
_limiter: Any = None


@cache
def _controller() -> Any:
    # Numba's matrix products call SciPy's BLAS, a library of its own: load it before looking for libraries.
    import scipy.linalg.cython_blas  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _take_over() -> None:
    """Let the present thread set the number.

    From threadpoolctl 3.8 on only the first thread that ever did can, and others silently do nothing; here
    it is whoever comes first or leaves last.
    """
    for library in _controller().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


@contextmanager
def blas_threads(threads: int) -> Iterator[None]:
    """Hold BLAS to ``threads`` threads inside.

    The limit is a property of the process: runs that want the same number share it (the last one to leave
    restores it), runs that want another number wait. Otherwise a run that ends would change how many
    threads, and so which bits, its neighbour's matrix products have. A thread that holds it already keeps
    its number.
    """
    global _running, _threads, _limiter
    threads = whole("threads", threads, least=1)
    if getattr(_here, "holds", False):
        yield
        return
    with _state:
        _state.wait_for(lambda: _running == 0 or _threads == threads)
        if _running == 0:
            _take_over()
            _limiter = _controller().limit(limits=threads, user_api="blas")
            _threads = threads
        _running += 1
    _here.holds = True
    try:
        yield
    finally:
        _here.holds = False
        with _state:
            _running -= 1
            if _running == 0:
                _take_over()
                _limiter.restore_original_limits()
                _take_over()  # nobody has it
                _state.notify_all()
