"""The very instance of a run in R^d, so that anyone's own code can reproduce its trajectory."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..config.arms import Plan
from ..config.errors import ConfigError
from ..config.experiment import Experiment, Resolved
from ..config.sources import Given, as_experiment
from ..descent.blas import blas_threads
from ..descent.rules import epoch_batches, label_flips
from ..models.streams import generator
from .draw import draw
from .files import write_atomically
from .result import Result
from .simulate import Arm, Pretrained, Simulation, simulate, training_start, unlabelled_patches

if TYPE_CHECKING:
    from .simulate import Report

__all__ = ["dense_arrays", "write_dense"]

Floats = npt.NDArray[np.float64]

Place = Callable[[Floats], Floats]
"""From the instance's coordinates to R^d."""

MOST = 100_000

_README = """Dense instance of a numsim run. Arrays (d = ambient dimension, float64): mu (d,), of a mixture
signals (S, d), of own arrays neither; W0 (2m, d) initial filters; x (n, P, d) patches of the labelled
samples; y (n,) observed labels; true_y (n,), but of own arrays x_test, y_test; split (2m,); of a mixture
clusters (n,). Hand-over: W[split].reshape(2, m, d), index 0 is the sign +1. Training of arm NAME: NAME_steps
updates from W0, or from the filters after its pre-training, to W_NAME (2, m, d): {training}
f = output_scale / m * sum over filters and patches of sigma(<w, x>), first sign minus second; sigma is
{activation}. A step: g = gradient on the batch; with sam_radius r > 0 the gradient at w + r g/|g|;
g <- g min(1, clip_norm/|g|) if clip_norm > 0; g <- g + weight_decay w; v <- momentum v + g; w <- w - rate v,
norms over all filters and biases; with schedule "cosine" rate = learning_rate (1 + cos(pi t/T))/2,
t = 0, 1, ... and T the cap on steps. finetuning_batches (T, B) are the samples of each step,
finetuning_flips (T, n) multiply the labels, where used. What an arm has of its own is called ..._NAME, or
NAME_learning_rate; all else is the base's. {bias}{pretraining}config is the experiment as JSON; its "arms"
are the overrides, by dotted name."""

_SIGMA = {
    "relu": "max(0, t)^q (derivative 0 at t = 0)",
    "power": "sign(t) |t|^q",
    "leaky": "slope t for t <= 0, slope t + (1 - slope) t^2/(2 width) up to width, "
    "t - (1 - slope) width/2 beyond",
}
_TRAINING = {
    "logistic": "the loss is the mean over samples of log(1 + exp(-y f)).",
    "squared": "the loss is half the mean over samples of (f - y)^2.",
}
_CONTRASTIVE = {
    "info_nce": "L = mean over i of -log(exp(s_i+) / (exp(s_i+) + sum over k != i of exp(s_ik))), k samples",
    "nt_xent": "L = mean over all 2 n0 of -log(exp(s_ii+) / sum over k != i of exp(s_ik)), i+ the other view",
    "spectral": "L = -(2/n0) sum_i <h_i, h~_i> + sum over samples i != k of <h_i, h_k>^2 / (n0 (n0 - 1))",
}


def _readme(e: Resolved, pretrained: Pretrained | None, bias: bool) -> str:
    """What the arrays are, for this experiment."""
    stage = ""
    if pretrained is not None:
        s = e.pretraining
        seen = (
            "h_r = sum over patches of sigma(<w_r, x>), unlabelled and views (n0, P, d), power pretraining_q"
            if s.encoder == "network"
            else "h = W z, z and z_aug (n0, d) patch sums of the samples and of their views"
        )
        unit = ", divided by its length" if s.normalised else ""
        stage = (
            f"Pre-training: pretraining_steps updates from W0 to W_pretrained (2m, d). Features {seen}{unit};"
            "\n"
            f"s_ik = <h_i, h_k> / temperature, s_i+ of a sample and its view; {_CONTRASTIVE[s.loss]}.\n"
            "pretraining_batches (T, B): the samples of each step, negatives are among them.\n"
        )
    biases = "With a bias, <w, x> + b throughout: bias0[split].reshape(2, m) starts, bias_NAME (2, m) ends.\n"
    loss = e.finetuning.loss
    return _README.format(
        training=_TRAINING.get(loss, f"the loss is that of {loss}."),
        activation=_SIGMA[e.network.activation],
        bias=biases if bias else "",
        pretraining=stage,
    )


def write_dense(experiment: Experiment | Given, path: Path, *, report: Report | None = None) -> None:
    """Run the experiment and write ``dense_arrays`` to an .npz file (replaced only when whole)."""
    arrays = dense_arrays(experiment, report=report)
    write_atomically(path, lambda file: np.savez(file, **arrays))


def dense_arrays(experiment: Experiment | Given, *, report: Report | None = None) -> dict[str, Any]:
    """Arrays of a run in R^d: its coordinates placed along a random orthonormal frame (Haar).

    experiment : an Experiment, the name of a preset, the path of a file, or a mapping of settings.

    Raises ConfigError for d > 1e5 and for fresh views (no one set of views exists), FloatingPointError for a
    run that did not stay finite.
    """
    e = as_experiment(experiment).resolved()
    faults = []
    if e.data.dim > MOST:
        faults.append(f"data.dim: got {e.data.dim}, expected at most {MOST} for a dense export; lower it")
    if e.pretraining.samples and e.pretraining.views == "fresh":
        faults.append(
            'pretraining.views: got "fresh", expected "fixed" for a dense export (one set of views)'
        )
    if faults:
        raise ConfigError(*faults)
    with blas_threads(e.threads):
        simulation = simulate(e, draw(e), report=report)
        if not (result := Result.of(simulation)).finite:
            raise FloatingPointError("\n".join(result.faults))
        return _arrays(simulation)


def _frame(width: int, dim: int, rng: np.random.Generator) -> Floats:
    """Orthonormal rows (width, dim), uniformly distributed: the axes that the coordinates belong to."""
    raw = rng.standard_normal((width, dim))
    orthogonal, triangle = np.linalg.qr(raw.T)
    return np.ascontiguousarray((orthogonal * np.sign(np.diag(triangle))).T)


def _embedding(e: Resolved, width: int) -> Place:
    """Coordinates (..., width) in R^d, along a random frame; own arrays are there already."""
    if e.data.own:
        return lambda rows: rows
    frame = _frame(width, e.data.dim, generator(e.seed, "embedding"))
    return lambda rows: rows @ frame


def _arrays(simulation: Simulation) -> dict[str, Any]:
    e, instance = simulation.experiment, simulation.instance
    width = instance.filters.shape[1]
    place = _embedding(e, width)
    labelled = instance.labelled
    started = next((arm.pretrained for arm in simulation.arms.values() if arm.pretrained), None)
    arrays: dict[str, Any] = {
        "readme": _readme(e, started, instance.bias is not None),
        "config": json.dumps(e.as_dict()),
        **({} if e.data.own else {"mu": place(instance.mu)}),
        "W0": place(instance.filters),
        "y": labelled.labels,
        **({} if e.data.own else {"true_y": labelled.true_labels}),
        "split": instance.order,
        "q": e.network.q,
        "output_scale": e.network.output_scale,
        "temperature": e.pretraining.temperature,
        "finetuning_learning_rate": e.finetuning.learning_rate,
    }
    if instance.own is not None:
        own = instance.own
        arrays |= {"x": own.x, "x_test": own.x_test, "y_test": own.y_test}
    elif instance.mixtures is None:
        signal = labelled.true_labels[:, None] * instance.mu
        arrays["x"] = np.stack([place(signal), place(labelled.noise)], axis=1)
    else:
        dictionary, _ = training_start(replace(instance, bias=None), labelled, instance.filters)
        arrays["x"] = place(dictionary.vectors)[dictionary.patches]
        assert instance.signals is not None
        arrays |= {"signals": place(instance.signals), "clusters": labelled.clusters}
    if e.network.activation == "leaky":
        arrays |= {"slope": e.network.slope, "width": e.network.width}
    if instance.bias is not None:
        arrays["bias0"] = instance.bias
    if started is not None:
        arrays |= _unlabelled(simulation, place)
    taken = [arm.descent.steps for arm in simulation.arms.values() if arm.descent is not None]
    arrays |= _random(e, [arm.plan for arm in simulation.arms.values()], max(taken, default=0))
    for name, arm in simulation.arms.items():
        if arm.descent is not None:
            arrays |= _arm(e, name, arm, place, width)
    return arrays


def _arm(e: Resolved, name: str, arm: Arm, place: Place, width: int) -> dict[str, Any]:
    """Where an arm ends, and what it has of its own."""
    assert arm.descent is not None
    found = {f"W_{name}": place(arm.filters[..., :width]), f"{name}_steps": arm.descent.steps}
    if arm.plan.finetuning.learning_rate != e.finetuning.learning_rate:
        found[f"{name}_learning_rate"] = arm.plan.finetuning.learning_rate
    if e.network.bias:
        found[f"bias_{name}"] = arm.filters[..., width]
    settings = arm.plan.pretraining
    if arm.plan.own_pretraining and arm.pretrained is not None and settings is not None:
        found |= {
            f"pretraining_learning_rate_{name}": settings.learning_rate,
            f"temperature_{name}": settings.temperature,
            f"W_pretrained_{name}": place(arm.pretrained.filters),
            f"pretraining_steps_{name}": arm.pretrained.descent.steps,
        }
    return found


def _unlabelled(simulation: Simulation, place: Place) -> dict[str, Any]:
    """The unlabelled samples and their views, and what shared pre-training made of them."""
    e, instance, found = simulation.experiment, simulation.instance, dict[str, Any]()
    if instance.own is not None and e.pretraining.encoder == "network":
        found |= {"unlabelled": instance.own.unlabelled, "views": instance.own.views}
        found["pretraining_q"] = e.pretraining.q
    elif e.pretraining.encoder == "network":
        patches = unlabelled_patches((instance.mixtures or e.mixtures).data, instance)
        dense = place(patches.vectors)[patches.patches]
        n = e.pretraining.samples
        found |= {"unlabelled": dense[:n], "views": dense[n:], "pretraining_q": e.pretraining.q}
    else:
        z, z_aug = instance.sums()
        found |= {"z": place(z), "z_aug": place(z_aug)}
    if simulation.pretrained is not None:
        found |= {
            "pretraining_learning_rate": e.pretraining.learning_rate,
            "pretraining_steps": simulation.pretrained.descent.steps,
            "W_pretrained": place(simulation.pretrained.filters),
        }
    return found


def _random(e: Resolved, plans: Sequence[Plan], longest: int) -> dict[str, Any]:
    """Batches and flips of every stage, T of the longest arm; ..._NAME where an arm's are not the base's."""
    found: dict[str, Any] = {}
    n, n0 = e.finetuning.samples, e.pretraining.samples

    def batches(stream: str, samples: int, batch: int, steps: int) -> npt.NDArray[np.int64]:
        return epoch_batches(generator(e.seed, stream), samples, batch, steps)

    for plan in plans:
        settings, stage = plan.finetuning, plan.pretraining
        if settings.batch:
            own = "" if settings.batch == e.finetuning.batch else f"_{plan.name}"
            found[f"finetuning_batches{own}"] = batches("batches", n, settings.batch, longest)
        if settings.label_noise:
            own = "" if settings.label_noise == e.finetuning.label_noise else f"_{plan.name}"
            rng = generator(e.seed, "label noise")
            found[f"finetuning_flips{own}"] = label_flips(rng, n, settings.label_noise, longest)
        if stage is not None and stage.batch:
            own = "" if stage.batch == e.pretraining.batch else f"_{plan.name}"
            found[f"pretraining_batches{own}"] = batches("pretraining batches", n0, stage.batch, stage.steps)
    return found
