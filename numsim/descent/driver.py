"""What both stages of gradient descent share: buffers, pauses, statuses, and the trajectory kept.

The loops themselves are kernels (``_kernels/descent.py``); here they are given buffers and run until a
limit, returning to Python a few times a second for progress and Ctrl-C. Where they pause changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from ..models.checks import whole
from ._kernels import descent

__all__ = ["EXPLANATIONS", "NON_FINITE", "STATUSES", "Descent", "Progress", "descend"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Progress = Callable[[int, float], None]

STATUSES = ("linear_end", "target_loss", "max_steps", "non_finite")
"""How a stage ended, in the order of the kernels' codes."""

NON_FINITE = STATUSES[descent.NON_FINITE]

EXPLANATIONS = {
    "linear_end": "reached the end of the linear stage",
    "target_loss": "reached the target loss",
    "max_steps": "stopped at the largest allowed number of steps",
    "non_finite": "not finite: the step size is too large; reduce the learning_rate of this stage",
}
"""The statuses in words, with what to change where that helps."""

WORK_BETWEEN_PAUSES = 2e9  # multiplications: about 0.1 s
WORK_OF_A_STEP = 1e4  # what a step costs beside its product with the Gram matrix, in the same unit
_RECORD_ROWS = 200
_RECORD_BYTES = 64e6


@dataclass(frozen=True)
class Descent:
    """The end of a descent in Gram form and the states kept along the way.

    status : one of STATUSES; steps : taken; loss : of the last iterate.
    inner, coefficients : (M, K) of the last iterate.
    recorded_steps, recorded_losses : (R,); recorded_coefficients : (R, M, K), evenly spaced, with the
    first and (unless it was not finite) the last iterate.
    """

    status: str
    steps: int
    loss: float
    inner: Floats
    coefficients: Floats
    recorded_steps: Integers
    recorded_losses: Floats
    recorded_coefficients: Floats

    @property
    def explanation(self) -> str:
        """The status in words, with what to change where that helps."""
        return EXPLANATIONS[self.status]

    def filters(self, start: Floats, *vectors: Floats) -> Floats:
        """The last iterate's filters (M, D) from the first's and the dictionary's vectors, (K, D) in all.

        NaN throughout if the descent did not stay finite.
        """
        if self.status == NON_FINITE:
            return np.full_like(start, np.nan)
        ends = accumulate(len(part) for part in vectors)
        parts = zip(vectors, ends, strict=True)
        return start + sum(self.coefficients[:, end - len(part) : end] @ part for part, end in parts)


def descend(
    loop: Callable[[descent.State, descent.Limits, descent.Recorder], int],
    inner: Floats,
    *,
    max_steps: int,
    threshold: float,
    record: int | None = None,
    progress: Progress | None = None,
) -> Descent:
    """Run ``loop`` from inner products (M, K) until a limit.

    record : how many states to keep at most; None: up to 200 in up to 64 MB. As many as max_steps + 1
    keeps all.
    """
    filters, entries = inner.shape
    max_steps = whole("max_steps", max_steps)
    if record is None:
        record = int(np.clip(_RECORD_BYTES / (8 * filters * entries), 2, _RECORD_ROWS))
    rows = max(2, min(whole("record", record), max_steps + 1))
    # Where only max_steps ends the loop, the stride at which all states fit is known: none is kept in vain.
    stride = 1 if threshold > 0 else 2 ** (max_steps // rows).bit_length()
    found = _descend(loop, inner, max_steps, threshold, rows, stride, progress)
    if found.status == NON_FINITE and stride > 1:  # it ended early after all
        found = _descend(loop, inner, max_steps, threshold, rows, 1, progress)
    return found


def _descend(
    loop: Callable[[descent.State, descent.Limits, descent.Recorder], int],
    inner: Floats,
    max_steps: int,
    threshold: float,
    rows: int,
    stride: int,
    progress: Progress | None,
) -> Descent:
    """The same with so many rows for states, kept every ``stride`` steps or more."""
    filters, entries = inner.shape
    # One row more than the kernels fill: for the last iterate, if it is not one of those kept.
    states, losses = np.empty((rows + 1, filters, entries)), np.empty(rows + 1)
    steps = np.empty(rows + 1, dtype=np.int64)
    cursor = np.array([0, stride], dtype=np.int64)
    recorder = descent.Recorder(states[:rows], losses[:rows], steps[:rows], cursor)
    state = descent.State(
        np.array(inner, order="C"),
        np.zeros((filters, entries)),
        np.zeros(1, dtype=np.int64),
        np.zeros(1),
    )
    span = int(max(1, WORK_BETWEEN_PAUSES / (filters * entries * entries + WORK_OF_A_STEP)))
    code = descent.PAUSED
    while code == descent.PAUSED:
        pause = int(state.clock[0]) + span
        code = loop(state, descent.Limits(max_steps, float(threshold), pause), recorder)
        if progress is not None:
            progress(int(state.clock[0]), float(state.loss[0]))
    kept, last, loss = int(cursor[0]), int(state.clock[0]), float(state.loss[0])
    if code != descent.NON_FINITE and steps[kept - 1] != last:
        steps[kept], losses[kept], states[kept] = last, loss, state.coefficients
        kept += 1
    recorded = (steps[:kept], losses[:kept], states[:kept])
    return Descent(STATUSES[code], last, loss, state.inner, state.coefficients, *recorded)
