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


def _call_dgemm(typing: Any, alpha: Any, left: Any, right: Any, beta: Any, out: Any) -> Any:
    """The call of BLAS dgemm, which wants a pointer to everything.

    It counts columns first: what it computes is out^T = right^T left^T. An operand whose rows are not
    contiguous is the transpose of one whose rows are.
    """
    byte, word, pointer = ir.IntType(8), ir.IntType(32), ir.IntType(8).as_pointer()
    tools: Any = cgutils

    def build(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def place(value: Any) -> Any:
            slot = tools.alloca_once_value(builder, value)
            return builder.bitcast(slot, pointer)

        def array(number: int) -> tuple[Any, Any, Any, Any]:
            """Its letter, leading dimension, address, and shape."""
            found = target.make_array(signature.args[number])(target, builder, arguments[number])
            shape, strides = (tools.unpack_tuple(builder, part, 2) for part in (found.shape, found.strides))
            item = strides[1].type(8)
            rows = builder.icmp_signed("==", strides[1], item)
            letter = builder.select(rows, byte(ord("N")), byte(ord("T")))
            leading = builder.sdiv(builder.select(rows, strides[0], strides[1]), item)
            size = [place(builder.trunc(length, word)) for length in shape]
            return (
                place(letter),
                place(builder.trunc(leading, word)),
                builder.bitcast(found.data, pointer),
                size,
            )

        turn_left, leading_left, first, (_, k) = array(1)
        turn_right, leading_right, second, _ = array(2)
        _, leading_out, result, (m, n) = array(4)
        passed = [turn_right, turn_left, n, m, k, place(arguments[0]), second, leading_right]
        passed += [first, leading_left, place(arguments[3]), result, leading_out]
        called = ir.FunctionType(ir.VoidType(), [pointer] * len(passed))
        builder.call(tools.get_or_insert_function(builder.module, called, "numsim_dgemm"), passed)
        return target.get_dummy_value()

    return numba.void(numba.float64, left, right, numba.float64, out), build


def _multiply_interpreted(alpha: float, left: Floats, right: Floats, beta: float, out: Floats) -> None:
    product = alpha * (left @ right)
    out[...] = product if beta == 0.0 else product + beta * out


_interpreted: bool = numba.config.DISABLE_JIT  # type: ignore[attr-defined]
multiply: Any = _multiply_interpreted if _interpreted else intrinsic(_call_dgemm)
"""out = alpha left @ right + beta out, in kernels: left (m, k), right (k, n), out (m, n).

Where beta is 0, out may hold anything. Rows of out, and rows or columns of the others, are contiguous, but
may be parts of longer ones.
"""
