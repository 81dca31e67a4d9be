"""In which line of a user's file an error came up: what a claim of one's own is told when it raises."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

__all__ = ["place", "raised"]


def raised(error: BaseException, user: Callable[..., Any] | None) -> str:
    """Return what a user's function raised, in one line: its kind, its text, and the file and line.

    The line is the innermost one in the file of the function, where whoever wrote it can do something about
    it; that of its definition if the error came before it began, or after it returned.
    """
    sentence = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    code = getattr(_innermost(user), "__code__", None)
    if code is None:
        return sentence
    return f"{sentence} ({place(error, code.co_filename) or _place(code.co_filename, code.co_firstlineno)})"


def place(error: BaseException, file: str) -> str:
    """Return the innermost line of ``file`` that an error came through, "" if there is none."""
    lines = [
        line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file
    ]
    return _place(file, lines[-1]) if lines else ""


def _place(file: str, line: int) -> str:
    with suppress(OSError, ValueError):  # the working directory is gone; another drive
        if not (shown := os.path.relpath(file)).startswith(os.pardir):
            file = shown
    return f"{file}, line {line}"


def _innermost(user: Any) -> object:
    """The function itself: out of a partial, without what wraps it, of an object that can be called."""
    while isinstance(user, partial):
        user = user.func
    if callable(user):
        user = inspect.unwrap(user)
    return user if hasattr(user, "__code__") else getattr(type(user), "__call__", None)  # noqa: B004
