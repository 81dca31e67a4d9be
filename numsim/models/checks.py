"""What the public functions take: numbers, whole numbers and arrays of any library, or one clear sentence.

Nothing is lost on the way in: NumPy would read text as numbers, None as NaN, and leave out imaginary parts
and masks without a word.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["finite", "non_negative", "number", "positive", "real_array", "show", "whole"]

Floats = npt.NDArray[np.float64]

_MOST = 2**53
"""The largest whole number: up to here every one is a float64, and steps fit the kernels' integers."""

_NUMBERS = "biuf"  # kinds of dtype that are real numbers
_NO_NUMBERS = (str, bytes, complex, np.complexfloating, type(None))


def show(value: object) -> str:
    """Return the value on one line of at most 60 characters, whatever it is."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a foreign repr may do anything, and that of a huge int is refused
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."


def _plain(value: Any) -> Any:
    """A NumPy scalar or an array without axes, of whatever library, as Python's number."""
    if type(value) not in (int, float) and hasattr(value, "__array__"):
        try:
            found = np.asanyarray(value)
        except Exception:  # a foreign array may refuse for any reason
            return value
        if found.ndim == 0 and found.dtype.kind in _NUMBERS and not np.ma.is_masked(found):
            return found.item()
    return value


def number(name: str, value: object, accept: Callable[[float], bool], expected: str) -> float:
    """The value as a finite float that ``accept`` accepts; ValueError "name is ..., expected ..."."""
    plain = _plain(value)
    if isinstance(plain, Real) and not isinstance(plain, bool):
        with suppress(OverflowError):  # float(10**400)
            converted = float(plain)
            if math.isfinite(converted) and accept(converted):
                return converted
    raise ValueError(f"{name} is {show(plain)}, expected {expected}")


def positive(name: str, value: object) -> float:
    """A finite number above 0."""
    return number(name, value, lambda x: x > 0, "a positive finite number")


def non_negative(name: str, value: object, meaning: str = "") -> float:
    """A finite number >= 0; meaning : what 0 stands for."""
    return number(name, value, lambda x: x >= 0, f"a number >= 0{meaning and f' (0: {meaning})'}")


def whole(name: str, value: object, least: int = 0) -> int:
    """A whole number >= least of any type (50, np.int64(50), 50.0), up to 2^53."""
    plain = _plain(value)
    limit = ""
    if isinstance(plain, Real) and not isinstance(plain, bool):
        with suppress(OverflowError, ValueError):  # infinite, NaN
            converted = int(float(plain))  # exact up to 2^53
            if converted == plain and least <= converted <= _MOST:
                return converted
            limit = " and <= 2^53" if converted > _MOST else ""
    raise ValueError(f"{name} is {show(plain)}, expected a whole number >= {least}{limit}")


def real_array(name: str, value: object) -> Floats:
    """The value as a float64 array (itself, if it is one), or a ValueError that says what it is instead.

    Complex numbers are taken where all imaginary parts are 0, masked arrays where nothing is masked.
    """
    if type(value) is np.ndarray and value.dtype == np.float64:
        return value
    expected = "expected an array of real numbers"
    parts = value if isinstance(value, list | tuple) else (value,)
    if any(np.ma.is_masked(part) for part in parts):
        raise ValueError(f"{name} has masked entries, {expected}: fill them or leave them out")
    try:
        found = np.asarray(value)
    except Exception as error:  # rows of different lengths; a foreign array may refuse for any reason
        raise ValueError(f"{name} cannot be read as an array: {' '.join(str(error).split())}") from error
    if found.dtype.kind == "c":
        if found.imag.any():
            raise ValueError(f"{name} has imaginary parts other than 0, {expected}")
        found = found.real
    elif found.dtype.kind == "O":
        strange = next((x for x in found.flat if isinstance(x, _NO_NUMBERS)), found)
        if strange is not found:
            raise ValueError(f"{name} holds {show(strange)}, {expected}")
        try:
            found = found.astype(np.float64)
        except Exception as error:
            raise ValueError(f"{name} is {show(value)}, {expected}") from error
    elif found.dtype.kind not in _NUMBERS:
        kind = "text" if found.dtype.kind in "US" else found.dtype
        raise ValueError(f"{name} holds {kind}, {expected}")
    with np.errstate(over="ignore"):  # of longer floats: infinite entries are for the caller to refuse
        return np.asarray(found, dtype=np.float64)


def finite(name: str, array: Floats) -> None:
    """Refuse NaN and infinite entries."""
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite entries")
