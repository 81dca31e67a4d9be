"""Losses as values: what a supervised loss sees of a run, and users' own losses.

A loss is a pair: ``task(settings, samples)`` makes a NamedTuple of arrays and numbers, once a descent, and
the compiled ``increments(R, task, out)`` gets it with the inner products R_rk = <w_r, v_k> (M, K), the first
half of the filters having sign +1; it returns the loss and writes minus its derivative by R to ``out`` (M,
K). That is all that a gradient step needs: the derivative by w_r is sum_k (dL/dR_rk) v_k.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._jit import is_kernel, uncached
from ._jit import kernel as kernel
from ._kernels import loop
from ._kernels import losses as table
from ._kernels import supervised as kernels
from .network import ACTIVATIONS

__all__ = ["LOSSES", "Loss", "Samples", "Settings", "kernel", "load_loss", "loss_named"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Settings(NamedTuple):
    """What a loss may want to know of the network: q, m filters a sign, output scale, the activation."""

    q: float
    filters: int
    output_scale: float
    activation: str
    slope: float
    width: float


class Samples(NamedTuple):
    """Labels (n,) of +-1, and patches (n, P) that index into the dictionary.

    With batches and label noise both are written anew before every step: keep these arrays, no copies.
    entries : K at most.
    """

    labels: Floats
    patches: Integers
    entries: int


@dataclass(frozen=True)
class Loss:
    """A supervised loss: ``task(settings, samples)`` and a kernel ``increments(R, task, out) -> loss``.

    digest : of the file that it stands in, "" for ours.
    """

    task: Callable[[Settings, Samples], Any]
    increments: Callable[[Floats, Any, Floats], float]
    digest: str = ""

    def loops(self) -> tuple[Any, Any]:
        """The loops of loop.py for this loss; of a user's own no compiled form is kept on disk."""
        return _own_loops(self) if self.digest else (loop.descend, loop.descend_on_all)


def _buffers(filters: int, samples: Samples) -> kernels.SupervisedBuffers:
    output, pull = np.empty((2, samples.entries))
    scratch = np.empty((3, samples.labels.shape[-1]))
    return kernels.SupervisedBuffers(np.empty(filters * samples.entries), output, pull, scratch)


def _task_of(kind: Any) -> Callable[[Settings, Samples], Any]:
    def task(settings: Settings, samples: Samples) -> Any:
        sigma = kernels.Activation(
            ACTIVATIONS.index(settings.activation), settings.q, settings.slope, settings.width
        )
        scale = settings.output_scale / settings.filters
        return kind(samples.labels, samples.patches, sigma, scale, _buffers(2 * settings.filters, samples))

    return task


LOSSES = {
    "logistic": Loss(_task_of(kernels.Logistic), kernels.logistic),
    "squared": Loss(_task_of(kernels.Squared), kernels.squared),
}
"""By the name of ``finetuning.loss``. derivations/model.md has their formulas."""


def loss_named(name: str | Loss) -> Loss:
    """A loss by its name, or of a user: "path.py:name"; a Loss is itself. ValueError if there is none."""
    if isinstance(name, Loss):
        return name if name.digest or name in LOSSES.values() else _checked(name, "a Loss")
    if name in LOSSES:
        return LOSSES[name]
    path, colon, inside = str(name).rpartition(":")
    if not colon or not path.endswith(".py"):
        raise ValueError(
            f"loss is {name!r}, expected one of {', '.join(LOSSES)}, or FILE.py:NAME of your own"
        )
    return load_loss(str(Path(path).absolute()), inside)


@lru_cache(maxsize=16)
def load_loss(path: str, name: str) -> Loss:
    """The loss of this name in a Python file. Raises ValueError that says what is wrong with it."""
    file = Path(path)
    where = f"{path}:{name}"
    if not file.is_file():
        raise ValueError(f"{where}: no such file")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:20]
    module_name = f"numsim_loss_{digest}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        sentence = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ValueError(f"{where}: cannot be imported: {sentence}") from error
    found = getattr(module, name, None)
    pair = (found.task, found.increments) if isinstance(found, Loss) else found
    if not (isinstance(pair, tuple) and len(pair) == 2 and all(callable(part) for part in pair)):
        raise ValueError(
            f"{where}: got {'nothing of that name' if found is None else type(found).__name__}, "
            "expected a pair (task, increments) of functions"
        )
    return _checked(Loss(pair[0], pair[1], digest), where)


def _checked(loss: Loss, where: str) -> Loss:
    if not is_kernel(loss.increments):
        raise ValueError(f"{where}: increments is not compiled; decorate it with numsim.losses.kernel")
    return loss if loss.digest else Loss(loss.task, loss.increments, f"object {id(loss)}")


_REGISTERED: dict[type, Any] = {}


@lru_cache(maxsize=16)
def _own_loops(loss: Loss) -> tuple[Any, Any]:
    return uncached(loop.descend), uncached(loop.descend_on_all)


def register(loss: Loss, task: Any) -> Any:
    """Make a user's kernel known to the loop, by the type of its task; returns the task."""
    if not loss.digest:
        return task
    kind = type(task)
    if not (isinstance(task, tuple) and hasattr(task, "_fields")):
        raise ValueError(f"task returned {kind.__name__}, expected a NamedTuple of arrays and numbers")
    if _REGISTERED.get(kind) is not loss.increments:
        _REGISTERED[kind] = loss.increments
        table.increments.add(kind, loss.increments)
        table.reached.add(kind, kernels.below_target)
    return task
