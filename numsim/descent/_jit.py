"""The only file that imports Numba: one place decides every compile option, and where compiled code is kept.

``nogil``                   runs of an ensemble share the cores as threads.
``error_model="numpy"``     division by zero gives inf or NaN as in NumPy; statuses report it.
no ``fastmath``             it makes isnan(nan) False and lets sums depend on the machine.
no ``parallel``             its reductions depend on the number of threads.

The first call after an install compiles (10-20 s), later ones load. Nothing is written into the package: pip
leaves behind what it did not install, and the folder then hides a checkout. Compiled kernels are kept in the
user's cache folder, or in NUMBA_CACHE_DIR, which installations, checkouts and machines share: a file is named
by all that its code depends on, so none is ever stale. (Numba's own index looks at the file of a kernel, not
at what it calls in others; and of two processes that compile different signatures at once, one may find the
code of the other under the name of its own.)
"""

import functools
import hashlib
import os
import shutil
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import llvmlite  # type: ignore[import-untyped]
import llvmlite.binding  # type: ignore[import-untyped]
import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import caching, cgutils
from numba.extending import get_cython_function_address, intrinsic, overload
from numba.misc.appdirs import AppDirs

Floats = npt.NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_interpreted: bool = numba.config.DISABLE_JIT  # type: ignore[attr-defined]


def kernel(function: Function) -> Function:
    """Compile ``function``, cached on disk where a cache folder can be written.

    A folder that cannot be written (a read-only home, a full disk) costs a compilation per process and a
    warning, never a crash.
    """
    compiled: Any = numba.njit(**_OPTIONS)(function)
    if not _interpreted:
        try:
            compiled._cache = _Cache(function)
        except RuntimeError as error:
            _warn(error)
    return compiled  # type: ignore[no-any-return]


def uncached(compiled: Function) -> Function:
    """The kernel once more, not kept on disk: for what calls code that no version here knows."""
    if _interpreted:
        return compiled
    return numba.njit(**_OPTIONS)(compiled.py_func)  # type: ignore[attr-defined, no-any-return]


def is_kernel(function: object) -> bool:
    """Whether a function can be called by kernels: compiled, or any at all where all are interpreted."""
    return callable(function) and (_interpreted or hasattr(function, "py_func"))


class ByTask:
    """One name for kernels that differ by the type of their second argument, a NamedTuple.

    Kernels call ``ByTask(...).call(inner, task, *rest)``: compiled once for each type, the choice costs
    nothing.
    """

    def __init__(self, arguments: int) -> None:
        """A name without kernels yet, of two or three arguments."""
        self._kernels: dict[type, Any] = {}
        if arguments == 3:

            def call(inner: Any, task: Any, rest: Any) -> Any:
                return self._kernels[type(task)](inner, task, rest)

            def choose(inner: Any, task: Any, rest: Any) -> Any:
                chosen = self._kernels[task.instance_class]
                return lambda inner, task, rest: chosen(inner, task, rest)

        else:

            def call(inner: Any, task: Any, rest: Any, last: Any) -> Any:  # type: ignore[misc]
                return self._kernels[type(task)](inner, task, rest, last)

            def choose(inner: Any, task: Any, rest: Any, last: Any) -> Any:  # type: ignore[misc]
                chosen = self._kernels[task.instance_class]
                return lambda inner, task, rest, last: chosen(inner, task, rest, last)

        self.call: Any = call
        if not _interpreted:
            overload(call, strict=False)(choose)  # their annotations differ

    def add(self, task: type, compiled: Any) -> None:
        """The kernel for this type of task."""
        self._kernels[task] = compiled


_PACKAGE = Path(__file__).parents[1]
_SWITCHES = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
"""Settings of Numba (NUMBA_OPT, ...) that change the code it makes."""

_VERSIONS = 16  # that are kept, those used last: a few megabytes each
_DAY = 86400.0  # seconds


@functools.cache
def _version() -> str:
    """A name for what all kernels depend on: every file with kernels, what compiles them, and how."""
    sources = [Path(__file__), *sorted((Path(__file__).parent / "_kernels").glob("*.py"))]
    parts: list[object] = [(path.name, path.read_bytes()) for path in sources]
    parts += [sys.version, numba.__version__, llvmlite.__version__, np.__version__]
    parts += [_OPTIONS, [getattr(numba.config, name, None) for name in _SWITCHES]]
    return _digest(parts)


def _digest(parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


@functools.cache
def _stamp(file: str) -> str:
    """What a kernel in ``file`` depends on; tests have kernels of their own."""
    return _digest((_version(), Path(file).read_bytes()))


@functools.cache
def _folder() -> Path:
    """Where compiled kernels of this version are; RuntimeError where there is no place for them.

    In NUMBA_CACHE_DIR or what the platform has for it (XDG_CACHE_HOME, ~/.cache, ~/Library/Caches, ...).
    """
    given = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    base = Path(given, "numsim").absolute() if given else Path(AppDirs("numsim", False).user_cache_dir)
    if not base.is_absolute():  # where nobody knows the user's home, ~ is left as it is
        raise RuntimeError("the user has no home")
    folder = base / "kernels" / _version()
    with suppress(OSError):
        _use(folder)
    with suppress(OSError):
        _clear_package()
    return folder


def _use(folder: Path) -> None:
    """Note the day a version is used; for a new one, drop those not used for longest."""
    if folder.is_dir():
        if time.time() - folder.stat().st_mtime > _DAY:
            os.utime(folder)
        return
    folder.mkdir(parents=True)
    versions = sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in versions[:-_VERSIONS]:
        shutil.rmtree(old, ignore_errors=True)


def _clear_package() -> None:
    """Remove what numsim once cached inside the package, which an uninstall left behind if it was run."""
    for package in (_PACKAGE, Path(sysconfig.get_path("purelib"), "numsim")):
        for left in package.glob("_kernels/__pycache__/*.nb[ic]"):
            left.unlink()
        folders = ["_kernels/__pycache__", "_kernels"]  # where kernels were until they moved
        if package.is_dir() and not (package / "__init__.py").exists():
            folders += ["__pycache__", "."]
        for folder in folders:
            with suppress(FileNotFoundError):
                (package / folder).rmdir()


class _Locator(caching._CacheLocator):
    """One folder for the kernels of a version."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._py_file = file
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> "_Locator":
        return cls(function, file)

    def get_cache_path(self) -> str:
        return str(_folder())

    def get_source_stamp(self) -> str:
        return _stamp(self._py_file)

    def get_disambiguator(self) -> str:
        return str(self._line)


class _Files(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012


class _Entries(caching.IndexDataCacheFile):
    """A file for each signature of a kernel, type of CPU and version: no index that two could write."""

    def load(self, key: object) -> Any:
        with suppress(FileNotFoundError):
            return self._load_data(self._entry(key))
        return None

    def save(self, key: object, data: object) -> None:
        self._save_data(self._entry(key), data)

    def _entry(self, key: object) -> str:
        return f"{self._index_name.removesuffix('.nbi')}.{_digest((key, self._source_stamp))}.nbc"


class _Cache(caching.FunctionCache):
    """The compiled forms of a kernel on disk. An access that fails is a warning; a miss is told."""

    _impl_class = _Files

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = _stamp(function.__code__.co_filename)
        self._cache_file = _Entries(self.cache_path, self._impl.filename_base, stamp)

    def load_overload(self, signature: Any, target: Any) -> Any:
        found = None
        try:
            found = super().load_overload(signature, target)
        except OSError as error:
            _warn(error, self.cache_path)
        except Exception:  # a damaged file raises whatever unpickling it comes upon, and is replaced
            pass
        if found is None and _listener is not None:
            _listener(self._py_func.__name__)
        return found

    def save_overload(self, signature: Any, compiled: Any) -> None:
        try:
            super().save_overload(signature, compiled)
        except Exception as error:
            _warn(error, self.cache_path)


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


multiply: Any = _multiply_interpreted if _interpreted else intrinsic(_call_dgemm)
"""out = alpha left @ right + beta out, in kernels: left (m, k), right (k, n), out (m, n).

Where beta is 0, out may hold anything. Rows of out, and rows or columns of the others, are contiguous, but
may be parts of longer ones.
"""
