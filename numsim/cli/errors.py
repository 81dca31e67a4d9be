"""Faults of a command: the exit code and the sentences that each deserves."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import typer

__all__ = ["HOLDS", "INCOMPLETE", "INTERRUPTED", "USAGE", "Failure", "explained", "sentence"]

USAGE, INCOMPLETE, INTERRUPTED = 2, 3, 130

HOLDS = "{} holds {}; choose another folder, or replace it (--replace)"


class Failure(Exception):
    """Faults to report, one line each, before leaving with ``code``."""

    def __init__(self, *faults: str, code: int = USAGE) -> None:
        """Leave with ``code`` after these lines."""
        super().__init__(*faults)
        self.faults = faults
        self.code = code


def explained(error: BaseException) -> tuple[int, list[str]]:
    """The exit code and the lines that an error deserves; an error of ours is raised again."""
    from ..config.errors import ConfigError

    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return INTERRUPTED, ["interrupted"]
    if isinstance(error, ConfigError):
        return USAGE, list(error.faults)
    if isinstance(error, Failure):
        return error.code, list(error.faults)
    if isinstance(error, MemoryError):
        return INCOMPLETE, ["not enough memory: reduce the numbers of samples or filters"]
    if isinstance(error, OSError) and isinstance(error.__context__, Failure):
        _abandon_stdout()  # neither kept nor shown: what could not be kept is the worse
        return error.__context__.code, list(error.__context__.faults)
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        _abandon_stdout()  # the reader of our output has seen enough
        return 0, []
    if isinstance(error, OSError):
        _abandon_stdout()
        return INCOMPLETE, [f"cannot write the output: {sentence(error)}"]
    if hasattr(error, "format_message"):  # the command line's own: an unknown option, a missing value
        message = str(error.format_message())
        if message.startswith("Usage:"):  # no arguments: the help
            print(message, file=sys.stderr)
            return USAGE, []
        return USAGE, [f"{' '.join(message.split())} (see numsim --help)"]
    raise error


def sentence(error: BaseException) -> str:
    """The error in one line."""
    text = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())


def _abandon_stdout() -> None:
    """Point stdout at nothing, so that Python does not complain of it at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
