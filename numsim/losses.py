"""A user's own supervised loss: what it is made of, and what it gets.

    LOSS = numsim.losses.Loss(task, increments)

``task(settings, samples)`` returns a NamedTuple of arrays and numbers; ``increments(R, task, out)``,
decorated with ``numsim.losses.kernel``, gets it with R (M, K), writes minus dL/dR to ``out`` (M, K), and
returns the loss. ``finetuning.loss = "FILE.py:LOSS"`` names it in a configuration. numsim.descent.losses has
the details.
"""

from .descent.losses import Loss, Samples, Settings, kernel

__all__ = ["Loss", "Samples", "Settings", "kernel"]
