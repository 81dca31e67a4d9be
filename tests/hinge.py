"""A loss of one's own: the hinge loss max(0, 1 - y f), for f = (s/m) sum_r j_r max(0, <w_r, x>)^q."""

from typing import Any, NamedTuple

import numpy as np

from numsim.losses import Loss, Samples, Settings, kernel

Floats = Any  # arrays of float64


class Task(NamedTuple):
    labels: Floats  # kept, not copied: batches and label noise are written into it
    patches: Any
    q: float
    scale: float


@kernel
def increments(R: Floats, task: Task, out: Floats) -> float:
    sign = np.ones(len(R))
    sign[len(R) // 2 :] = -1.0
    loss, pull, n = 0.0, np.zeros(R.shape[1]), len(task.labels)
    for i in range(n):
        f = 0.0
        for k in task.patches[i]:
            f += task.scale * np.sum(sign * np.maximum(R[:, k], 0.0) ** task.q)
        loss += max(0.0, 1.0 - task.labels[i] * f) / n
        for k in task.patches[i]:
            pull[k] += task.labels[i] / n if task.labels[i] * f < 1.0 else 0.0
    for r in range(len(R)):
        slope = np.where(R[r] > 0.0, task.q * np.maximum(R[r], 0.0) ** (task.q - 1.0), 0.0)  # q = 1 too
        out[r] = task.scale * sign[r] * slope * pull
    return loss


def task(settings: Settings, samples: Samples) -> Task:
    return Task(samples.labels, samples.patches, settings.q, settings.output_scale / settings.filters)


HINGE = Loss(task, increments)
