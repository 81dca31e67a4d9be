"""What is measured of a run in ensembles and sweeps: a few numbers a (configuration, seed), by name.

    arms         every arm: train_loss, test_loss, test_error, steps, status (the contract of ``run_many``)
    pretraining  the contrastive stage alone: pretraining_steps, pretraining_loss, alignment = cos^2(W - W^0,
    mu) spectrum     of the power matrix A alone: top_eigenvalue in units of u, top_alignment = cos^2(v_1, mu)
    (P2)

All are of the very instance that ``run(configuration, seed)`` trains on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..config.arms import DEFAULT_ARMS
from ..config.experiment import Experiment, Resolved
from ..descent.driver import STATUSES as ENDS
from ..descent.power_matrix import top_eigenpairs
from .draw import Instance, draw
from .prediction import predicted_unit
from .replicates import portion_size, supervised_runs
from .simulate import Arm, Report, Simulation, pretrain_only, simulate

__all__ = [
    "ABSENT",
    "ARMS",
    "BY_CLUSTER",
    "FAILED",
    "MEASURES",
    "NON_FINITE",
    "NOT_RUN",
    "PHYSICS",
    "STATUSES",
    "Variable",
    "blank",
    "clusters_of",
    "measure",
    "measure_many",
    "size",
    "variables",
]

Floats = npt.NDArray[np.float64]

ARMS = tuple(DEFAULT_ARMS)
STATUSES = ("absent", "target_loss", "max_steps", "non_finite", "failed", "not_run")
"""Of an arm, from -1 on: there is none; how training ended; the run broke off; it was left out."""
ABSENT, NON_FINITE, FAILED, NOT_RUN = -1, 2, 3, 4

PHYSICS = 3
"""Version of what a configuration and a seed mean: raised whenever any number of any run changes.

A ledger keeps it, so that numbers of two versions are never mixed (tests/test_measures.py holds numbers of
this version).
"""


@dataclass(frozen=True)
class Variable:
    """One number that is measured; words : what it is; per_arm : whether there is one for each arm."""

    name: str
    words: str
    per_arm: bool = False


MEASURES: dict[str, tuple[Variable, ...]] = {
    "arms": (
        Variable("train_loss", "training loss", True),
        Variable("test_loss", "test loss", True),
        Variable("test_error", "test error", True),
        Variable("steps", "steps of supervised training", True),
        Variable("status", "how training ended", True),
    ),
    "pretraining": (
        Variable("pretraining_steps", "steps of pre-training"),
        Variable("pretraining_loss", "InfoNCE loss"),
        Variable("alignment", "alignment cos^2(W - W^0, mu)"),
    ),
    "spectrum": (
        Variable("top_eigenvalue", "top eigenvalue of the power matrix, in units of u"),
        Variable("top_alignment", "alignment cos^2(v_1, mu)"),
    ),
}


def variables(measures: Sequence[str]) -> tuple[Variable, ...]:
    """The variables of some measures, in the order in which ``measure`` returns their numbers."""
    return tuple(variable for name in measures for variable in MEASURES[name])


BY_CLUSTER = (
    Variable("test_loss_by_cluster", "test loss of a cluster", True),
    Variable("test_error_by_cluster", "test error of a cluster, its label flips included", True),
)
"""Of a mixture, beside the measure "arms": one number an arm and cluster each."""


def clusters_of(e: Experiment) -> tuple[str, ...]:
    """The clusters whose errors are measured: those of the test data of a mixture."""
    return e.mixtures.test.clusters if e.table else ()


def size(measures: Sequence[str], arms: Sequence[str] = ARMS, clusters: Sequence[str] = ()) -> int:
    """How many numbers ``measure`` returns: one a variable, or one an arm, or an arm and cluster."""
    found = sum(len(arms) if v.per_arm else 1 for v in variables(measures))
    return found + ("arms" in measures) * len(BY_CLUSTER) * len(arms) * len(clusters)


def blank(
    measures: Sequence[str], status: int, arms: Sequence[str] = ARMS, clusters: Sequence[str] = ()
) -> Floats:
    """What stands for the numbers of a run that gave none: NaN, and the status of each arm."""
    found = [
        np.full(len(arms) if v.per_arm else 1, status if v.name == "status" else math.nan)
        for v in variables(measures)
    ]
    left = size(measures, arms, clusters) - size(measures, arms)
    return np.concatenate([*found, np.full(left, math.nan)])


def measure(
    e: Resolved, seed: int, measures: Sequence[str] = ("arms",), *, report: Report | None = None
) -> Floats:
    """The numbers of ``measures`` for an experiment and a seed, arms side by side (float64)."""
    instance = draw(e, seed)
    simulation = None
    if "arms" in measures:
        simulation = simulate(e, instance, seed, record=2, report=report)
    found: list[float] = []
    for name in measures:
        if name == "arms":
            assert simulation is not None
            found += _arms(simulation)
        elif name == "pretraining":
            found += _pretraining(e, instance, seed, simulation, report)
        else:
            found += _spectrum(e, instance)
    if simulation is not None and e.table:
        found += _by_cluster(simulation)
    return np.array(found)


def measure_many(
    e: Resolved, seeds: Sequence[int], measures: Sequence[str] = ("arms",), *, report: Report | None = None
) -> list[Floats | Exception]:
    """``measure`` for many seeds, bit for bit; the error of a run that broke off in place of its numbers.

    Runs without a contrastive stage that are short are done a portion at a time (``replicates``).
    """
    found: list[Floats | Exception] = []
    portion = portion_size(e) if tuple(measures) == ("arms",) else 1
    for start in range(0, len(seeds), portion):
        part = seeds[start : start + portion]
        if len(part) > 1:
            with suppress(Exception):  # whatever it is: alone, each run raises it or does not
                found += _together(e, part)
                continue
        found += [_alone(e, seed, measures, report) for seed in part]
    return found


def _alone(e: Resolved, seed: int, measures: Sequence[str], report: Report | None) -> Floats | Exception:
    try:
        return measure(e, seed, measures, report=report)
    except Exception as error:
        return error


def _together(e: Resolved, seeds: Sequence[int]) -> list[Floats]:
    """What ``_arms`` gives for each seed; there is no simclr arm."""
    trained, loss, error = supervised_runs(e, seeds)
    codes = np.array([STATUSES.index(status) - 1 if status in STATUSES else ABSENT for status in ENDS])
    status = np.where(np.isfinite(loss + error), codes[trained.codes], NON_FINITE)
    numbers = np.full((len(seeds), 5, len(ARMS)), math.nan)
    numbers[:, 4, 0] = ABSENT
    for place, values in enumerate((trained.losses, loss, error, trained.steps, status)):
        numbers[:, place, 1] = values
    return list(numbers.reshape(len(seeds), -1))


def _arms(simulation: Simulation) -> list[float]:
    names = simulation.experiment.arm_names
    columns = zip(*(_arm(simulation.arms.get(name)) for name in names), strict=True)
    return [value for column in columns for value in column]


def _by_cluster(simulation: Simulation) -> list[float]:
    """Losses, then errors, arm by arm; NaN where an arm has none."""
    e = simulation.experiment
    nothing = np.full(len(clusters_of(e)), math.nan)
    found: list[float] = []
    for field in ("loss_by_cluster", "error_by_cluster"):
        for name in e.arm_names:
            arm = simulation.arms.get(name)
            found += list(nothing if arm is None else getattr(arm.test, field, nothing))
    return found


def _arm(arm: Arm | None) -> list[float]:
    if arm is None:
        return [math.nan] * 4 + [ABSENT]
    descent, test = arm.descent, arm.test
    if descent is None:  # nothing finite to start from
        return [math.nan, test.loss, test.error, 0.0, NON_FINITE]
    return [descent.loss, test.loss, test.error, descent.steps, STATUSES.index(arm.status) - 1]


def _pretraining(
    e: Resolved, instance: Instance, seed: int, simulation: Simulation | None, report: Report | None
) -> list[float]:
    if instance.unlabelled is None:
        return [math.nan] * 3
    if simulation is not None and simulation.pretrained is not None:
        stage = simulation.pretrained
    else:
        stage = pretrain_only(e, instance, seed, report=report)
    return [stage.descent.steps, stage.descent.loss, stage.alignment]


def _spectrum(e: Resolved, instance: Instance) -> list[float]:
    if instance.unlabelled is None or instance.unlabelled.augmented is None or instance.own is not None:
        return [math.nan] * 2
    settings = e.pretraining
    z, z_aug = instance.unlabelled.sums(instance.mu)
    values, vectors = top_eigenpairs(
        z, z_aug, learning_rate=settings.learning_rate, temperature=settings.temperature
    )
    return [float(values[0]) / predicted_unit(e), float(instance.direction @ vectors[:, 0]) ** 2]
