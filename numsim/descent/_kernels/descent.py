"""What both stages of gradient descent in Gram form share: state, limits, statuses, the recorder.

The state of a filter is its inner products with a dictionary of vectors and its coefficients on
them. One step is: activations from the inner products, coefficient increments, and
``inner += increments @ gram``. No array of the ambient dimension exists.

Shapes: M filters in all, n samples, K dictionary entries, R record rows.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._jit import kernel

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

GO_ON, PAUSED, LINEAR_END, TARGET_LOSS, MAX_STEPS, NON_FINITE = -2, -1, 0, 1, 2, 3


class Recorder(NamedTuple):
    """Buffers for the states along the way, evenly spaced whatever the number of steps turns out to be.

    States : (R, M, K) coefficients; losses : (R,); steps : (R,); cursor : (2,) rows used and stride.
    initial : (R,) factors of w^0, where a rule shrinks it.
    When all R rows are used, every other one is dropped and the stride doubles.
    """

    states: Floats
    losses: Floats
    steps: Integers
    cursor: Integers
    initial: Floats


class State(NamedTuple):
    """What a stage carries from step to step, changed in place.

    inner : (M, K) <w_r, v_k>; coefficients : (M, K) of w_r - w_r^0 on v_k; clock : (1,) steps taken;
    loss : (1,) of the present iterate.
    """

    inner: Floats
    coefficients: Floats
    clock: Integers
    loss: Floats


class Limits(NamedTuple):
    """When to stop: after ``max_steps``, or once the monitored value passes ``threshold`` (0: never).

    The value is max |s_ii'| / temperature in pre-training (stop above), the loss in training (stop at or
    below). ``pause`` is the step at which the loop returns to its caller, for progress and Ctrl-C.
    """

    max_steps: int
    threshold: float
    pause: int


@kernel
def _copy(source: Floats, target: Floats) -> None:
    """Flat, so that the compiler sees one long loop."""
    a, b = source.reshape(-1), target.reshape(-1)
    for k in range(a.size):
        b[k] = a[k]


@kernel
def record(recorder: Recorder, count: int, step: int, loss: float, initial: float, state: State) -> None:
    """Keep a state, which is due: ``count``, of steps or of epochs, is a multiple of the stride."""
    rows = recorder.steps.shape[0]
    if recorder.cursor[0] == rows:
        kept = (rows + 1) // 2
        for row in range(1, kept):
            _copy(recorder.states[2 * row], recorder.states[row])
            recorder.losses[row] = recorder.losses[2 * row]
            recorder.initial[row] = recorder.initial[2 * row]
            recorder.steps[row] = recorder.steps[2 * row]
        recorder.cursor[0] = kept
        recorder.cursor[1] *= 2
        if count % recorder.cursor[1] != 0:
            return
    row = recorder.cursor[0]
    _copy(state.coefficients, recorder.states[row])
    recorder.losses[row] = loss
    recorder.initial[row] = initial
    recorder.steps[row] = step
    recorder.cursor[0] += 1


@kernel
def add(source: Floats, target: Floats) -> None:
    """target += source; flat, so that the compiler sees one long loop."""
    a, b = source.reshape(-1), target.reshape(-1)
    for k in range(a.size):
        b[k] += a[k]
