"""What is said when a configuration is wrong: one line a fault, all faults at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, NamedTuple

from ..models.checks import show

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["ConfigError", "Fault", "explain", "fault", "nearest"]


_BY_COORDINATE = {"optimizer", "optimiser", "rule", "adam", "adamw", "adagrad", "rmsprop", "sign", "signsgd"}
"""Names under which coordinate-wise methods are asked for."""


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


class Fault(NamedTuple):
    """What is wrong: the line that says it, the settings it concerns, whether it is a rule between them."""

    line: str
    settings: tuple[str, ...]
    rule: bool = False

    def concerns(self, names: Collection[str]) -> bool:
        """Whether it concerns a setting, or one of a part, of these names."""
        return any(name in names or name.partition(".")[0] in names for name in self.settings)


def explain(error: ValidationError, known: Sequence[str], part: str = "") -> list[Fault]:
    """Return what pydantic found wrong with the settings of an experiment, or of the part of this name.

    known : the names that there are. A rule between settings is an error of type "rule", whose context holds
    its line and the settings involved.
    """
    found = []
    for wrong in error.errors(include_url=False):
        context = wrong.get("ctx", {})
        if wrong["type"] == "rule":
            found.append(Fault(context["line"], context["involved"], rule=True))
            continue
        where = ".".join([part] * bool(part) + [str(piece) for piece in wrong["loc"]])
        if wrong["type"] == "extra_forbidden" and where.rpartition(".")[2].lower() in _BY_COORDINATE:
            expected = (
                "no method that treats coordinates one by one (Adam, sign descent): it is not "
                "rotation-equivariant, so that its law depends on axes that the theorems do not have; "
                "momentum, weight_decay, batch, clip_norm, sam_radius and label_noise are"
            )
        elif wrong["type"] == "extra_forbidden":
            parts = [] if "." in where else [name.partition(".")[0] for name in known if "." in name]
            expected = f"a known name; nearest: {nearest(where, [*known, *parts])}"
        elif wrong["type"] == "model_type":
            expected = f"a table of settings, {where}.NAME = VALUE"
        else:
            expected = context.get("expected") or wrong["msg"]  # of a choice, or of a value
        found.append(Fault(fault(where, show(wrong["input"]), expected), (where,)))
    return found
