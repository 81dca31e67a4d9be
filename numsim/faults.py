"""What is said when a configuration is wrong: one line a fault, all faults at once."""

import inspect
import os
import re
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from difflib import SequenceMatcher
from functools import partial
from typing import Any

__all__ = ["ConfigError", "fault", "nearest", "place", "raised", "show"]


class ConfigError(ValueError):
    """Everything wrong with a configuration.

    ``faults`` holds one line a fault: where, what was given, what is expected; ``str()`` joins the lines.
    """

    def __init__(self, *faults: str) -> None:
        """Take the faults, one line each, in the order they are to be read."""
        super().__init__(*faults)
        self.faults: tuple[str, ...] = faults

    def __str__(self) -> str:
        """Return the faults, one a line."""
        return "\n".join(self.faults)


def show(value: object) -> str:
    """Return the value on one line of at most 60 characters, whatever it is."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a foreign repr may do anything, and that of a huge int is refused
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."


def fault(where: str, got: str, expected: str) -> str:
    """Return the line of a fault: where, what was given, what is expected."""
    name = where if re.fullmatch(r"[\w.-]{1,60}", where) else show(where)
    return f"{name}: got {got}, expected {expected}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known dotted name most like this one, as a whole or in its last word."""
    wrong = name[:80].lower()

    def likeness(candidate: str) -> tuple[float, float]:
        whole = SequenceMatcher(None, wrong, candidate).ratio()
        last = SequenceMatcher(None, wrong.rpartition(".")[2], candidate.rpartition(".")[2]).ratio()
        return max(whole, last), whole

    return max(known, key=likeness, default="none")


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
