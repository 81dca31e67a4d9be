"""Closed forms at the edges of their arguments: powers that end at infinity, and no NaN without a word."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import numpy as np

__all__ = ["closed_form", "log_quotient", "power"]

P = ParamSpec("P")
R = TypeVar("R")


def power(base: float, exponent: float) -> float:
    """base ** exponent for base >= 0; inf where it exceeds float64, and for 0 to a negative power."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf
    except ValueError:  # math.pow(0, negative)
        if base == 0:
            return math.inf
        raise


def log_quotient(numerator: float, denominator: float) -> float:
    """log(numerator / denominator) of numbers > 0, also where the quotient exceeds float64."""
    quotient = numerator / denominator
    return math.log(quotient) if quotient < math.inf else math.log(numerator) - math.log(denominator)


def closed_form(function: Callable[P, R]) -> Callable[P, R]:
    """A closed form whose value is never NaN.

    Where an expression is undefined (0/0, inf - inf, a quotient by 0) or an intermediate exceeds float64, and
    no limit is documented, ValueError says at which arguments. Limits and values beyond float64 are inf.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with np.errstate(all="ignore"):
                result = function(*args, **kwargs)
        except ArithmeticError:
            raise ValueError(_undefined(function.__name__, signature, args, kwargs)) from None
        if any(np.any(part != part) for part in _numbers(result)):  # NaN, also of other number types
            raise ValueError(_undefined(function.__name__, signature, args, kwargs))
        return result

    return checked


def _numbers(result: Any) -> Iterator[Any]:
    if isinstance(result, tuple):
        for part in result:
            yield from _numbers(part)
    else:
        yield result


def _undefined(name: str, signature: inspect.Signature, args: Any, kwargs: Any) -> str:
    bound = signature.bind(*args, **kwargs)
    with np.printoptions(threshold=6, edgeitems=2, precision=4):
        given = ", ".join(f"{key} = {value}" for key, value in bound.arguments.items())
    return f"{name} is undefined, or beyond float64, at {given}"
