"""The only file that imports Numba: one place decides every compile option.

``nogil``                   runs of an ensemble share the cores as threads.
``error_model="numpy"``     division by zero gives inf or NaN as in NumPy; statuses report it.
``cache``                   the first call after an install compiles (10-20 s), later ones load.
no ``fastmath``             it makes isnan(nan) False and lets sums depend on the machine.
no ``parallel``             its reductions depend on the number of threads.

Numba's disk cache looks at a kernel's own file only: after an edit of what it calls elsewhere it would give
the old result. Here an entry is valid as long as no file with kernels has changed.
"""

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import llvmlite.binding  # type: ignore[import-untyped]
import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

Floats = npt.NDArray[np.float64]
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
        if hasattr(cache, "_cache_file"):
            cache._cache_file._source_stamp = _sources()
        cache.save_overload = _forgiving(cache.save_overload, cache.cache_path)
        load = _forgiving(cache.load_overload, cache.cache_path)
        cache.load_overload = _announcing(load, function.__name__)
    return compiled  # type: ignore[no-any-return]


@functools.cache
def _sources() -> tuple[tuple[str, int, int], ...]:
    """Name, time of change and size of every file that a kernel may depend on."""
    here = Path(__file__)
    files = sorted([here, *(here.parent / "_kernels").glob("*.py")])
    return tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files)


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


# Numba's np.dot wants contiguous operands and does not add to what is there: a slice would be copied, a sum
# be a pass of its own. Both together are a fifth of what a small step spends around its products.
llvmlite.binding.add_symbol("numsim_dgemm", get_cython_function_address("scipy.linalg.cython_blas", "dgemm"))


def _call_dgemm(
    typing: Any,
    transb: Any,
    transa: Any,
    n: Any,
    m: Any,
    k: Any,
    alpha: Any,
    b: Any,
    ldb: Any,
    a: Any,
    lda: Any,
    beta: Any,
    c: Any,
    ldc: Any,
) -> Any:
    """SciPy's BLAS dgemm: letters and sizes by value, arrays by address; BLAS wants a pointer to each."""
    size, real = numba.int64, numba.float64
    signature = numba.void(size, size, size, size, size, real, size, size, size, size, real, size, size)
    byte, word, pointer = ir.IntType(8), ir.IntType(32), ir.IntType(8).as_pointer()
    tools: Any = cgutils

    def build(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def place(value: Any, kind: Any) -> Any:
            slot = tools.alloca_once(builder, kind)
            builder.store(value, slot)
            return builder.bitcast(slot, pointer)

        passed = []
        for number, value in enumerate(arguments):
            if number in (5, 10):  # alpha, beta
                passed.append(place(value, ir.DoubleType()))
            elif number in (6, 8, 11):  # arrays
                passed.append(builder.inttoptr(value, pointer))
            else:
                kind = byte if number < 2 else word
                passed.append(place(builder.trunc(value, kind), kind))
        called = ir.FunctionType(ir.VoidType(), [pointer] * len(passed))
        builder.call(tools.get_or_insert_function(builder.module, called, "numsim_dgemm"), passed)
        return target.get_dummy_value()

    return signature, build


_dgemm: Any = intrinsic(_call_dgemm)
_STRAIGHT, _TURNED = ord("N"), ord("T")


def _multiply(alpha: float, left: Floats, right: Floats, beta: float, out: Floats) -> None:
    """out (m, n) = alpha left (m, k) @ right (k, n) + beta out (where beta is 0, out may hold anything).

    Rows of out, and rows or columns of the others, are contiguous, but may be parts of longer ones.
    BLAS counts columns first: what it computes is out^T = right^T left^T.
    """
    row_right, row_left = right.strides[1] == 8, left.strides[1] == 8
    _dgemm(
        _STRAIGHT if row_right else _TURNED,
        _STRAIGHT if row_left else _TURNED,
        out.shape[1],
        out.shape[0],
        left.shape[1],
        alpha,
        right.ctypes.data,
        (right.strides[0] if row_right else right.strides[1]) // 8,
        left.ctypes.data,
        (left.strides[0] if row_left else left.strides[1]) // 8,
        beta,
        out.ctypes.data,
        out.strides[0] // 8,
    )


def _multiply_interpreted(alpha: float, left: Floats, right: Floats, beta: float, out: Floats) -> None:
    product = alpha * (left @ right)
    out[...] = product if beta == 0.0 else product + beta * out


_interpreted: bool = numba.config.DISABLE_JIT  # type: ignore[attr-defined]
multiply = _multiply_interpreted if _interpreted else kernel(_multiply)
