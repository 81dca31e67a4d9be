"""Rules: how a step moves the filters, given the gradient of a loss.

With g_0 the gradient of the step's batch, at w, and its labels' flips:

    g = gradient at w + r g_0/|g_0|  (sharpness-aware, r > 0 and g_0 != 0),  else g_0                   (1)
    g <- g min(1, c/|g|)             (clipping, c > 0)                                                 (2)
    g <- g + lambda w                (weight decay)                                                    (3)
    v <- beta v + g,  w <- w - eta_t v                                                                 (4)

Norms are over all filters and biases. Schedule "constant": eta_t = eta; "cosine": eta (1 + cos(pi t/T))/2, t
= 0 at the first update and T the cap on steps. All of it is rotation-equivariant, so that it can be done on
coefficients (derivations/model.md); methods that treat coordinates one by one (Adam, sign descent) are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..models.checks import non_negative, number, whole

__all__ = ["PLAIN", "SCHEDULES", "Rule", "epoch_batches", "label_flips"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class Rule:
    """Everything but the step size; the defaults are plain gradient descent on all samples.

    momentum : beta, 0 <= beta < 1; weight_decay : lambda; batch : samples a step (0: all), a divisor of their
    number; clip_norm : c (0: off); sam_radius : r (0: off); schedule : one of SCHEDULES; label_noise : chance
    that a label is flipped, anew every step, below 1/2.
    """

    momentum: float = 0.0
    weight_decay: float = 0.0
    batch: int = 0
    clip_norm: float = 0.0
    sam_radius: float = 0.0
    schedule: str = "constant"
    label_noise: float = 0.0

    def checked(self, samples: int, *, least: int = 1) -> Rule:
        """The rule in Python's numbers, or a ValueError; least : samples that a batch must have."""
        batch = whole("batch", self.batch)
        if batch and (batch < least or samples % batch):
            few = f" of at least {least}" if least > 1 else ""
            raise ValueError(
                f"batch is {batch}, expected 0 (all samples) or a divisor{few} of {samples} samples"
            )
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is {self.schedule!r}, expected one of {', '.join(SCHEDULES)}")
        return Rule(
            momentum=number("momentum", self.momentum, lambda b: 0 <= b < 1, "a number from 0 to below 1"),
            weight_decay=non_negative("weight_decay", self.weight_decay),
            batch=batch,
            clip_norm=non_negative("clip_norm", self.clip_norm, "off"),
            sam_radius=non_negative("sam_radius", self.sam_radius, "off"),
            schedule=self.schedule,
            label_noise=number(
                "label_noise", self.label_noise, lambda p: 0 <= p < 0.5, "a number from 0 to below 0.5"
            ),
        )

    @property
    def plain(self) -> bool:
        """Whether a step is minus the step size times the gradient on all samples."""
        return self == PLAIN

    @property
    def slow(self) -> bool:
        """Whether filters have a velocity."""
        return self.momentum > 0 or self.weight_decay > 0


PLAIN = Rule()


def _epochs(rng: np.random.Generator, samples: int, batch: int) -> Iterator[Integers]:
    while True:
        yield rng.permutation(samples).reshape(-1, batch)


class BatchRows:
    """Batches step after step: each epoch is a new random permutation cut into rows of ``batch``."""

    def __init__(self, rng: np.random.Generator, samples: int, batch: int) -> None:
        """Start at the first epoch."""
        self._epochs = _epochs(rng, samples, batch)
        self._left = np.empty((0, batch), dtype=np.int64)

    def take(self, steps: int) -> Integers:
        """The batches (steps, batch) of the next steps."""
        parts = [self._left]
        have = len(self._left)
        while have < steps:
            parts.append(next(self._epochs))
            have += len(parts[-1])
        rows = np.concatenate(parts)
        self._left = rows[steps:]
        return np.ascontiguousarray(rows[:steps])


def epoch_batches(rng: np.random.Generator, samples: int, batch: int, steps: int) -> Integers:
    """Batches (steps, batch) of sample numbers: each epoch is a new random permutation cut into batches."""
    return BatchRows(rng, samples, batch).take(steps)


def label_flips(rng: np.random.Generator, samples: int, probability: float, steps: int) -> Floats:
    """Signs (steps, samples): -1 with this probability, anew every step, where u < p for a uniform u."""
    return np.where(rng.random((steps, samples)) < probability, -1.0, 1.0)
