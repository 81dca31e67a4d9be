"""The very instance of a run in R^d, so that anyone's own code can reproduce its trajectory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..config.errors import ConfigError
from ..config.experiment import Experiment
from ..config.sources import Given, as_experiment
from ..descent.blas import blas_threads
from ..models.streams import generator
from .draw import draw
from .files import write_atomically
from .result import Result
from .simulate import Simulation, simulate

if TYPE_CHECKING:
    from .simulate import Report

__all__ = ["dense_arrays", "write_dense"]

Floats = npt.NDArray[np.float64]

MOST = 100_000

_README = """Dense instance of a numsim run. Arrays (d = ambient dimension, float64):
mu (d,); W0 (2m, d) initial filters; z, z_aug (n0, d) patch sums and views of the unlabelled samples;
x (n, 2, d) patches [y mu, xi] with the true y; y (n,) observed labels; true_y (n,); split (2m,).
Pre-training (if z is there): W <- W - pretraining_learning_rate * dL/dW, pretraining_steps times, from W0 to
W_pretrained (2m, d), with s_ij = <W z_i, W z_j> / temperature, s_i+ = <W z_i, W z_aug_i> / temperature and
L = mean over i of -log(exp(s_i+) / (exp(s_i+) + sum over j != i of exp(s_ij))).
Hand-over: W[split].reshape(2, m, d), index 0 is the sign +1.
Training: W <- W - finetuning_learning_rate * dL/dW with L = mean over i of log(1 + exp(-y_i f_i)),
f = output_scale / m * sum over filters and patches of max(0, <w, x>)^q, first sign minus second:
simclr_steps steps from W_pretrained to W_simclr (2, m, d), direct_steps steps from W0 to W_direct.
With a bias, <w, x> + b throughout: bias0[split].reshape(2, m) starts both arms, bias_simclr and
bias_direct (2, m) are final, same learning rate. At q = 1 the derivative of max(0, t) at t = 0 is 0.
config is the experiment as JSON."""


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


def _arrays(simulation: Simulation) -> dict[str, Any]:
    e, instance = simulation.experiment, simulation.instance
    arms = {"simclr": simulation.simclr, "direct": simulation.direct}
    width = instance.filters.shape[1]
    frame = _frame(width, e.data.dim, generator(e.seed, "embedding"))
    labelled = instance.labelled
    signal = labelled.true_labels[:, None] * instance.mu
    arrays: dict[str, Any] = {
        "readme": _README,
        "config": json.dumps(e.as_dict()),
        "mu": instance.mu @ frame,
        "W0": instance.filters @ frame,
        "x": np.stack([signal @ frame, labelled.noise @ frame], axis=1),
        "y": labelled.labels,
        "true_y": labelled.true_labels,
        "split": instance.order,
        "q": e.network.q,
        "output_scale": e.network.output_scale,
        "temperature": e.pretraining.temperature,
        "finetuning_learning_rate": e.finetuning.learning_rate,
    }
    if instance.bias is not None:
        arrays["bias0"] = instance.bias
    if simulation.pretrained is not None and instance.unlabelled is not None:
        z, z_aug = instance.unlabelled.sums(instance.mu)
        arrays |= {
            "z": z @ frame,
            "z_aug": z_aug @ frame,
            "pretraining_learning_rate": e.pretraining.learning_rate,
            "pretraining_steps": simulation.pretrained.descent.steps,
            "W_pretrained": simulation.pretrained.filters @ frame,
        }
    for name, arm in arms.items():
        if arm is None or arm.descent is None:
            continue
        arrays[f"W_{name}"] = arm.filters[..., :width] @ frame
        arrays[f"{name}_steps"] = arm.descent.steps
        if instance.bias is not None:
            arrays[f"bias_{name}"] = arm.filters[..., width]
    return arrays
