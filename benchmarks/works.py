"""The works by name. To add one: a module with ``cases(smoke) -> list[Case]``, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import dimension, heatmap, laboratory, latency, roofline, scaling, steps
from .harness import Case, Row

__all__ = ["WORKS", "Work"]


@dataclass(frozen=True)
class Work:
    """What it is in words; its cases (smoke: tiny ones); what its rows give together, if anything."""

    words: str
    cases: Callable[[bool], list[Case]]
    summary: Callable[[Sequence[Row]], list[Row]] | None = None


WORKS: dict[str, Work] = {
    "pretraining": Work("a step of contrastive pre-training, same coordinates", steps.pretraining_cases),
    "training": Work("a step of supervised training, same coordinates", steps.training_cases),
    "dimension": Work("a step of both stages in R^d against numsim's run", dimension.cases),
    "rules": Work("a step of training by every rule", laboratory.rule_cases),
    "losses": Work("a step on every other loss and activation", laboratory.loss_cases),
    "arrays": Work("pre-training in batches on 60,000 images", laboratory.array_cases),
    "heatmap": Work("a replicate of the ReLU heat map, on two cores", heatmap.cases),
    "scaling": Work("time and memory against d, n0, n and m", scaling.cases, scaling.exponents),
    "large": Work("pre-training with n0 = 10,000: seconds a step, peak memory", scaling.large_cases),
    "roofline": Work("a pre-training step against what the machine can do", roofline.cases, roofline.shares),
    "latency": Work("import and first run, cold and warm cache", latency.cases),
    "verify": Work("the whole theory, quick", latency.verify_cases),
}
