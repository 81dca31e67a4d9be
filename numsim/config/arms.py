"""Arms: trainings of one draw that differ in how, not in what: named overrides of rules, losses and rates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..models.checks import show
from .errors import fault, nearest
from .parts import PARTS, ResolvedFinetuning, ResolvedPretraining

__all__ = ["DEFAULT_ARMS", "SKIP", "Plan", "arm_faults"]

SKIP = "skip_pretraining"
DEFAULT_ARMS: dict[str, dict[str, Any]] = {"simclr": {}, "direct": {SKIP: True}}
_DRAW = {
    "pretraining": {"samples", "views", "overlap", "signal_kept"},
    "finetuning": {"samples", "labelled", "clusters"},
}
_NAME = re.compile(r"[^\s./\\\x00-\x1f\x7f][^./\\\x00-\x1f\x7f]{0,39}")


@dataclass(frozen=True)
class Plan:
    """One arm as it is run.

    name; pretraining : its contrastive stage, None where it starts from W^0; finetuning : its supervised one;
    overrides : as given, by dotted name; own_pretraining : whether its contrastive stage is not the base's.
    """

    name: str
    pretraining: ResolvedPretraining | None
    finetuning: ResolvedFinetuning
    overrides: Mapping[str, Any]
    own_pretraining: bool = False


def known_overrides() -> list[str]:
    """The settings that an arm may override: those that change no draw."""
    names = [
        f"{part}.{name}"
        for part, left in _DRAW.items()
        for name in PARTS[part].model_fields
        if name not in left
    ]
    return [*names, SKIP]


def arm_faults(arms: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(arm, line) for everything wrong with the names of arms and of what they override."""
    known = known_overrides()
    for arm, overrides in arms.items():
        if not _NAME.fullmatch(arm) or arm.endswith(" "):
            yield arm, fault("arms", show(arm), "names of up to 40 characters, without dots and slashes")
        for name, value in overrides.items():
            where = f"arms.{arm}.{name}"
            if name == SKIP:
                if not isinstance(value, bool):
                    yield arm, fault(where, show(value), "true or false")
            elif name not in known:
                part, _, setting = name.partition(".")
                if part in PARTS and setting in PARTS[part].model_fields:
                    expected = (
                        "a setting that changes no draw, of pretraining or finetuning; all arms share one"
                    )
                else:
                    expected = f"a known name; nearest: {nearest(name, known)}"
                yield arm, fault(where, show(value), expected)
