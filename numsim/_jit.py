"""The only file that imports Numba: one place decides every compile option.

``nogil``                   runs of an ensemble share the cores as threads.
``error_model="numpy"``     division by zero gives inf or NaN as in NumPy; statuses report it.
``cache``                   the first call after an install compiles (10-20 s), later ones load.
no ``fastmath``             it makes isnan(nan) False and lets sums depend on the machine.
no ``parallel``             its reductions depend on the number of threads.

Numba's disk cache does not notice edits in another file, therefore kernels that call each other
live in one file.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def kernel(function: Function) -> Function:
    """Compile ``function``, cached on disk where a cache directory can be written.

    A directory that cannot be written (a read-only install, a full disk) costs a compilation per
    process and a warning, never a crash.
    """
    try:
        compiled = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError as error:  # Numba: "cannot cache function ...: no locator available"
        _warn(error)
        compiled = numba.njit(**_OPTIONS)(function)
    cache: Any = getattr(compiled, "_cache", None)  # absent under NUMBA_DISABLE_JIT=1
    if hasattr(cache, "save_overload"):
        cache.save_overload = _forgiving(cache.save_overload, cache.cache_path)
        load = _forgiving(cache.load_overload, cache.cache_path)
        cache.load_overload = _announcing(load, function.__name__)
    return compiled  # type: ignore[no-any-return]


def _forgiving(access: Callable[..., Any], folder: str) -> Callable[..., Any]:
    """The same access to the cache in ``folder``, with an error turned into a warning."""

    def guarded(*args: Any) -> Any:
        try:
            return access(*args)
        except Exception as error:  # a damaged file raises whatever unpickling it comes upon
            _warn(error, folder)
            return None

    return guarded


COMPILING = "compiling kernels, once after an install (10 to 20 s): {}"
_listener: Callable[[str], None] | None = None


@contextmanager
def compilation_told_to(listener: Callable[[str], None]) -> Iterator[None]:
    """Call listener(name) inside whenever a kernel is not in the cache and is going to be compiled."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def _announcing(load: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The same look-up in the cache; a miss is told to whoever listens."""

    def announced(*args: Any) -> Any:
        found = load(*args)
        if found is None and _listener is not None:
            _listener(name)
        return found

    return announced


_warned = False


def _warn(error: Exception, folder: str = "") -> None:
    """Say it once a process, not once a kernel."""
    global _warned
    if _warned:
        return
    _warned = True
    where = f" in {folder}" if folder else ""
    reason = " ".join(str(error).split()) or type(error).__name__
    warnings.warn(
        f"compiled kernels cannot be cached{where} ({reason}); every start compiles anew. "
        "Make room there, or point NUMBA_CACHE_DIR at a writable folder.",
        RuntimeWarning,
        stacklevel=4,
    )
