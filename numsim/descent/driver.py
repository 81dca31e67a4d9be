"""What both stages of gradient descent share: buffers, pauses, statuses, and the trajectory kept.

The loops themselves are kernels (``_kernels/descent.py``); here they are given buffers and run until a
limit, returning to Python a few times a second for progress and Ctrl-C. Where they pause changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..models.checks import whole
from ._kernels import descent

__all__ = ["EXPLANATIONS", "NON_FINITE", "STATUSES", "Descent", "Observe", "Progress", "descend"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Progress = Callable[[int, float], None]
Observe = tuple[int, Callable[[int, Floats], None]]

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
MOST_SEEN = 4096  # entries of a step: more would be a Gram matrix of 134 MB
WORK_OF_A_STEP = 1e4  # what a step costs beside its product with the Gram matrix, in the same unit
_RECORD_ROWS = 200
_RECORD_BYTES = 64e6


@dataclass(frozen=True)
class Descent:
    """The end of a descent in Gram form and the states kept along the way.

    status : one of STATUSES; steps : taken; loss : of the last iterate.
    inner, coefficients : (M, K) of the last iterate; inner (M, 0) of a descent in coordinates.
    recorded_steps, recorded_losses : (R,); recorded_coefficients : (R, M, K), evenly spaced, with the
    first and (unless it was not finite) the last iterate. initial, recorded_initial (R,) : the factor of the
    first iterate's filters, 1 without weight decay.
    """

    status: str
    steps: int
    loss: float
    inner: Floats
    coefficients: Floats
    recorded_steps: Integers
    recorded_losses: Floats
    recorded_coefficients: Floats
    recorded_initial: Floats
    initial: float = 1.0

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
        first = start if self.initial == 1.0 else self.initial * start
        return first + sum(self.coefficients[:, end - len(part) : end] @ part for part, end in parts)


def descend(
    loop: Callable[[descent.State, descent.Limits, descent.Recorder], int],
    inner: Floats,
    *,
    max_steps: int,
    threshold: float,
    record: int | None = None,
    progress: Progress | None = None,
    epoch: int = 1,
    span: int | None = None,
    observe: tuple[int, Callable[[descent.State], None]] | None = None,
    entries: int | None = None,
) -> Descent:
    """Run ``loop`` from inner products (M, K) until a limit; entries : K, where it keeps none, (M, 0).

    record : how many states to keep at most; None: up to 200 in up to 64 MB. As many as max_steps + 1
    keeps all. epoch : steps after which states may be kept; span : steps between pauses at most; observe :
    (every, callback), called with the state every so many steps, the first and the last included.
    """
    filters, entries = len(inner), inner.shape[1] if entries is None else entries
    max_steps = whole("max_steps", max_steps)
    if record is None:
        record = int(np.clip(_RECORD_BYTES / (8 * filters * entries), 2, _RECORD_ROWS))
    rows = max(2, min(whole("record", record), max_steps + 1))
    # Where only max_steps ends the loop, the stride at which all states fit is known: none is kept in vain.
    stride = 1 if threshold > 0 else 2 ** (max_steps // epoch // rows).bit_length()
    span = min(span or max_steps + 1, int(max(1, WORK_BETWEEN_PAUSES / _work(filters, entries))))
    pauses = Pauses(span, progress, observe)
    found = _descend(loop, inner, entries, max_steps, threshold, rows, stride, pauses)
    if found.status == NON_FINITE and stride > 1:  # it ended early after all
        found = _descend(loop, inner, entries, max_steps, threshold, rows, 1, pauses)
    return found


def _work(filters: int, entries: int) -> float:
    """Multiplications of a step, or as long as they take."""
    return filters * entries * min(entries, MOST_SEEN) + WORK_OF_A_STEP


class Pauses(NamedTuple):
    """Where a loop returns to Python, and what is done there."""

    span: int
    progress: Progress | None
    observe: tuple[int, Callable[[descent.State], None]] | None

    def next(self, step: int) -> int:
        """The step of the next pause."""
        if self.observe is None:
            return step + self.span
        every = self.observe[0]
        return min(step + self.span, (step // every + 1) * every)

    def at(self, state: descent.State, *, last: bool = False) -> None:
        """Tell those who look."""
        step = int(state.clock[0])
        if self.progress is not None and step:
            self.progress(step, float(state.loss[0]))
        if self.observe is not None and (last or step % self.observe[0] == 0):
            self.observe[1](state)


def _descend(
    loop: Callable[[descent.State, descent.Limits, descent.Recorder], int],
    inner: Floats,
    entries: int,
    max_steps: int,
    threshold: float,
    rows: int,
    stride: int,
    pauses: Pauses,
) -> Descent:
    """The same with so many rows for states, kept every ``stride`` steps or more."""
    filters = len(inner)
    # One row more than the kernels fill: for the last iterate, if it is not one of those kept.
    states, losses = np.empty((rows + 1, filters, entries)), np.empty(rows + 1)
    steps = np.empty(rows + 1, dtype=np.int64)
    cursor = np.array([0, stride], dtype=np.int64)
    initial = np.ones(rows + 1)
    recorder = descent.Recorder(states[:rows], losses[:rows], steps[:rows], cursor, initial[:rows])
    state = descent.State(
        np.array(inner, order="C"),
        np.zeros((filters, entries)),
        np.zeros(1, dtype=np.int64),
        np.zeros(1),
    )
    code = descent.PAUSED
    if pauses.observe is not None:
        pauses.at(state)
    while code == descent.PAUSED:
        pause = pauses.next(int(state.clock[0]))
        code = loop(state, descent.Limits(max_steps, float(threshold), pause), recorder)
        pauses.at(state, last=code not in (descent.PAUSED, descent.NON_FINITE))
    kept, last, loss = int(cursor[0]), int(state.clock[0]), float(state.loss[0])
    if code != descent.NON_FINITE and steps[kept - 1] != last:
        steps[kept], losses[kept], states[kept] = last, loss, state.coefficients
        initial[kept] = getattr(loop, "initial", 1.0)
        kept += 1
    recorded = (steps[:kept], losses[:kept], states[:kept], initial[:kept])
    return Descent(STATUSES[code], last, loss, state.inner, state.coefficients, *recorded)
