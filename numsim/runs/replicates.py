"""Many short supervised runs in few calls: replicates side by side in the leading axis of every array.

Around a run of a quarter of a millisecond, some fifty small NumPy calls take as long as the run, and threads
wait for one another's Python. So short runs of one configuration are drawn, trained and tested a
portion at a time, with the kernels, the matrix products and so the bits of a single run.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..config.experiment import Resolved
from ..descent.driver import WORK_BETWEEN_PAUSES, WORK_OF_A_STEP
from ..descent.evaluation import evaluate_stack
from ..descent.supervised import Trained, train_stack
from ..models.signal_noise import signal_noise_entries
from ..models.streams import generator
from .draw import draw_supervised
from .simulate import test_network, test_settings, training_settings, training_start

__all__ = ["portion_size", "supervised_runs"]

Floats = npt.NDArray[np.float64]

_PORTION = 32  # runs: their arrays stay in the second-level cache, and calls cost little a run

_drawing = threading.Lock()
"""Drawing is many short calls, each of which lets go of Python's lock: two threads at it wait for one another
at every one, and take a third longer than one after the other."""


def portion_size(e: Resolved) -> int:
    """How many runs of an experiment one call does: 1 if they are long, or have a contrastive stage.

    A call cannot be interrupted: it must not take longer than a loop between its pauses.
    """
    if e.pretraining.samples or e.arms or e.table or e.data.own or not plain(e):
        return 1
    filters, entries = 2 * e.network.filters, signal_noise_entries(e.finetuning.samples)
    steps = e.finetuning.max_steps * (filters * entries**2 + WORK_OF_A_STEP)
    test = e.evaluation.samples * filters * (filters + 50)  # normals, their products, activations
    return max(1, min(_PORTION, int(WORK_BETWEEN_PAUSES / (steps + test))))


def plain(e: Resolved) -> bool:
    """Whether training is gradient descent on the logistic loss of ReLU powers, all that the stack does."""
    stage = e.finetuning
    return stage.rule.plain and stage.loss == "logistic" and e.network.activation == "relu"


def supervised_runs(e: Resolved, seeds: Sequence[int]) -> tuple[Trained, Floats, Floats]:
    """What runs without a contrastive stage end in: training, test losses (B,), test errors (B,)."""
    with _drawing:
        instance = draw_supervised(e, seeds)
        rngs = [generator(seed, "evaluation") for seed in seeds]
    dictionary, initial = training_start(instance, instance.labelled, instance.filters)
    trained = train_stack(initial, dictionary, **training_settings(e, e.plans[0].finetuning))
    loss, _, error, _ = evaluate_stack(
        *test_network(instance, trained.filters, instance.filters.shape[-1]),
        rngs=rngs,
        **test_settings(e),
    )
    return trained, loss, error
