"""What is said when a configuration is wrong: one line a fault, all faults at once."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

__all__ = ["ConfigError", "fault", "nearest", "show"]


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
