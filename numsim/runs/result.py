"""Results: what a run found, its labelled trajectories, and its file (NetCDF)."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..config.arms import Plan
from ..config.experiment import Resolved
from ..descent.driver import EXPLANATIONS, NON_FINITE
from ..descent.evaluation import TableTest, TestResult
from ..theory import Condition, conditions
from .draw import Instance
from .files import write_atomically
from .measures import PHYSICS
from .prediction import compare
from .simulate import Arm, Pretrained, Simulation
from .versions import versions

if TYPE_CHECKING:  # half a second, which a run that nobody plots or saves need not spend
    import xarray as xr

__all__ = ["ARM_NUMBERS", "ArmResult", "PretrainingResult", "Result", "plain_values"]

SCHEMA = 1
ARM_NUMBERS = ("train_loss", "test_loss", "test_loss_se", "test_error", "test_error_se")
_NEVER_STARTED = "not finite from the start: reduce the step size of the stage before, or the initial scale"


@dataclass(frozen=True)
class ArmResult:
    """One arm after supervised training.

    train_loss : of the last iterate; test_loss, test_error : on fresh data, with the Monte-Carlo standard
    errors test_loss_se, test_error_se; steps; status : "target_loss", "max_steps" or "non_finite". filters :
    (2, m, D), trained, in the instance's coordinates (a bias is the last); None in a result from a file.
    loss_by_cluster, error_by_cluster : of the test data, of a mixture alone. pretraining : the contrastive
    stage of this arm, where it is not the base's.
    """

    train_loss: float
    test_loss: float
    test_loss_se: float
    test_error: float
    test_error_se: float
    steps: int
    status: str
    _build: Callable[[], xr.Dataset] = field(repr=False, compare=False)
    filters: npt.NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    loss_by_cluster: Mapping[str, float] | None = None
    error_by_cluster: Mapping[str, float] | None = None
    pretraining: PretrainingResult | None = None

    @property
    def test_error_by_cluster(self) -> xr.DataArray | None:
        """Test error (cluster,), flips included, of a mixture; their mean by weight is test_error."""
        return _by_cluster(self.error_by_cluster)

    @property
    def test_loss_by_cluster(self) -> xr.DataArray | None:
        """Test loss (cluster,), of a mixture."""
        return _by_cluster(self.loss_by_cluster)

    @cached_property
    def trajectory(self) -> xr.Dataset:
        """States along the way, counted from the hand-over.

        Dims step, sign (+1, -1), filter, sample. gamma (step, sign, filter) and rho (..., sample) of
        derivations/model.md (10); signal_inner = <w, mu>, noise_inner = <w, xi_i> (with the bias, if any);
        loss (step); initial (step), the factor of w^0, with weight decay; test_loss and test_error
        (evaluation_step) where evaluation.every is given.
        """
        return self._build()

    @property
    def explanation(self) -> str:
        """The status in words, with what to change where that helps."""
        return _NEVER_STARTED if self.status == NON_FINITE and self.steps == 0 else EXPLANATIONS[self.status]


@dataclass(frozen=True)
class PretrainingResult:
    """The contrastive stage.

    steps; loss : contrastive, of the last iterate; alignment : cos^2(W - W^0, mu); status : "linear_end",
    "max_steps" or "non_finite".
    """

    steps: int
    loss: float
    alignment: float
    status: str
    _build: Callable[[], xr.Dataset] = field(repr=False, compare=False)

    @cached_property
    def trajectory(self) -> xr.Dataset:
        """States along the way: dims step, filter (all 2m), unlabelled.

        gamma (step, filter), rho and rho_aug (step, filter, unlabelled) of derivations/model.md (10), rho_aug
        for fixed views only, signal_inner = <w, mu>, loss, alignment (NaN at step 0: nothing has moved).
        """
        return self._build()

    @property
    def explanation(self) -> str:
        """The status in words, with what to change where that helps."""
        return EXPLANATIONS[self.status]


@dataclass(frozen=True)
class Result:
    """A finished run: its arms, the contrastive stage, theory beside measurement, provenance.

    experiment : as used (with the derived step sizes and scales); arms : by name, in order; pretraining : the
    stage that arms share, None without unlabelled samples, or where every arm has its own or none.
    """

    experiment: Resolved
    pretraining: PretrainingResult | None
    arms: Mapping[str, ArmResult]
    provenance: dict[str, str]
    _compare: Callable[[], dict[str, Any]] = field(repr=False, compare=False)

    @property
    def simclr(self) -> ArmResult | None:
        """The arm of this name, pre-trained and fine-tuned; None where there is none."""
        return self.arms.get("simclr")

    @property
    def direct(self) -> ArmResult:
        """The arm of this name, trained directly; None where the arms given have other names."""
        return self.arms.get("direct")  # type: ignore[return-value]

    @classmethod
    def of(cls, simulation: Simulation) -> Result:
        """Present a simulation; trajectories and predictions are computed when first asked for."""
        return cls(
            experiment=simulation.experiment,
            pretraining=_pretraining_result(simulation, simulation.pretrained),
            arms={name: _arm_result(simulation, arm) for name, arm in simulation.arms.items()},
            provenance=_provenance(),
            _compare=partial(compare, simulation),
        )

    def plan(self, arm: str) -> Plan:
        """How an arm was trained: its settings, with the derived rates."""
        return next(plan for plan in self.experiment.plans if plan.name == arm)

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.experiment.seed

    @cached_property
    def theory(self) -> dict[str, Any]:
        """Predicted beside measured (``numsim.runs.prediction.compare``)."""
        return self._compare()

    @property
    def finite(self) -> bool:
        """Whether every stage stayed finite."""
        return all(stage.status != NON_FINITE for stage in self.stages.values())

    @property
    def stages(self) -> dict[str, PretrainingResult | ArmResult]:
        """All that was trained, by name: pretraining, each arm, before it its own pre-training, if any."""
        found: dict[str, PretrainingResult | ArmResult] = {}
        if self.pretraining is not None:
            found["pretraining"] = self.pretraining
        for name, arm in self.arms.items():
            if arm.pretraining is not None:
                found[f"pretraining_{name}"] = arm.pretraining
            found[name] = arm
        return found

    @property
    def faults(self) -> tuple[str, ...]:
        """What was not finite and which setting to change: a line a stage, none if all is well."""
        n0, lines = self.experiment.pretraining.samples, []
        stage = self.pretraining
        if stage is not None and stage.status == NON_FINITE:
            rate = self.experiment.pretraining.learning_rate
            lines.append(
                f"pretraining: not finite after {stage.steps} steps, nothing to fine-tune; "
                f"reduce pretraining.learning_rate ({rate})"
            )
        for plan in self.experiment.plans:
            arm = self.arms[plan.name]
            started = (arm.pretraining or self.pretraining) if plan.pretraining is not None else None
            if started is not None and started.status == NON_FINITE:
                if arm.pretraining is not None:
                    lines.append(f"{plan.name}: pre-training not finite after {started.steps} steps")
                continue
            if arm.status != NON_FINITE and math.isfinite(arm.test_loss):
                continue
            what = "not finite" if arm.status == NON_FINITE else "test loss not finite"
            # A contrastive loss above that of filters at zero is a stage that had begun to diverge.
            if started is not None and plan.pretraining is not None and not started.loss < 1 + math.log(n0):
                change = f"reduce pretraining.learning_rate ({plan.pretraining.learning_rate})"
            elif arm.steps == 0:
                change = "reduce the initial scale (network.init_scale, network.relative_init_scale)"
            else:
                change = f"reduce finetuning.learning_rate ({plan.finetuning.learning_rate})"
            lines.append(f"{plan.name}: {what} after {arm.steps} steps; {change}")
        return tuple(lines)

    @property
    def conditions(self) -> list[Condition]:
        """The theorems' conditions; none for data, losses and rules that their statements do not cover."""
        return conditions(self.experiment)

    def summary(self) -> dict[str, Any]:
        """The run as a JSON document (schema 1), NaN as None; without ``seconds``."""
        arms = {name: _arm_document(arm) for name, arm in self.arms.items()}
        document = {
            "schema": SCHEMA,
            "config": self.experiment.as_dict(),
            "conditions": [row._asdict() for row in self.conditions],
            "simclr": arms.get("simclr"),
            "direct": arms.get("direct"),
            "arms": arms,
            "pretraining": _stage_document(self.pretraining),
            "theory": self.theory,
            "provenance": self.provenance,
        }
        plain: dict[str, Any] = plain_values(document)
        return plain

    def to_dataset(self) -> xr.Dataset:
        """Everything in one dataset: variables STAGE_name with dims STAGE_step, ..., and scalars.

        Attributes hold configuration, statuses, predictions and provenance as JSON; in the predictions NaN
        and Infinity stand as Python writes them.
        """
        from .labelled import merged

        stages = self.stages
        ends = {name: ARM_NUMBERS if name in self.arms else ("loss_end", "alignment_end") for name in stages}
        found = merged(stages, ends)
        found.attrs = {
            "schema": SCHEMA,
            "config": json.dumps(self.experiment.as_dict()),
            "status": json.dumps({name: stage.status for name, stage in stages.items()}),
            "theory": json.dumps(plain_values(self.theory, strict=False)),
            **self._clusters(),
            "provenance": json.dumps(self.provenance),
        }
        return found

    def _clusters(self) -> dict[str, str]:
        """Test loss and error by cluster, as JSON, of a mixture."""
        found = {
            name: {"loss_by_cluster": arm.loss_by_cluster, "error_by_cluster": arm.error_by_cluster}
            for name, arm in self.arms.items()
            if arm.error_by_cluster is not None
        }
        return {"by_cluster": json.dumps(found)} if found else {}

    def to_netcdf(self) -> bytes:
        """The content of the file that ``save`` writes: ``to_dataset()`` as NetCDF 3."""
        return bytes(self.to_dataset().to_netcdf(engine="scipy"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``to_netcdf()`` to a file; an existing one is replaced only when the new one is whole."""
        content = self.to_netcdf()
        write_atomically(Path(path), lambda file: file.write(content))


def _arm_result(simulation: Simulation, arm: Arm) -> ArmResult:
    test, descent = arm.test, arm.descent
    return ArmResult(
        train_loss=math.nan if descent is None else descent.loss,
        test_loss=test.loss,
        test_loss_se=test.loss_se,
        test_error=test.error,
        test_error_se=test.error_se,
        steps=0 if descent is None else descent.steps,
        status=arm.status,
        _build=partial(_arm_trajectory, simulation.instance, arm),
        filters=arm.filters,
        **_clusters(simulation, test),
        pretraining=_pretraining_result(simulation, arm.pretrained) if arm.plan.own_pretraining else None,
    )


def _by_cluster(values: Mapping[str, float] | None) -> xr.DataArray | None:
    import xarray as xr

    if values is None:
        return None
    return xr.DataArray(list(values.values()), coords={"cluster": list(values)}, dims="cluster")


def _clusters(simulation: Simulation, test: TestResult | TableTest) -> dict[str, dict[str, float]]:
    """What an arm's test says of single clusters, of a mixture."""
    mixtures = simulation.instance.mixtures
    if mixtures is None or not isinstance(test, TableTest):
        return {}
    names = mixtures.test.clusters
    return {
        "loss_by_cluster": dict(zip(names, map(float, test.loss_by_cluster), strict=True)),
        "error_by_cluster": dict(zip(names, map(float, test.error_by_cluster), strict=True)),
    }


def _arm_document(arm: ArmResult) -> dict[str, Any]:
    found = {key: getattr(arm, key) for key in (*ARM_NUMBERS, "steps", "status")}
    if arm.error_by_cluster is not None:
        found |= {"test_error_by_cluster": arm.error_by_cluster, "test_loss_by_cluster": arm.loss_by_cluster}
    own = {"pretraining": _stage_document(arm.pretraining)} if arm.pretraining is not None else {}
    return found | own


def _stage_document(stage: PretrainingResult | None) -> dict[str, Any] | None:
    if stage is None:
        return None
    return {key: getattr(stage, key) for key in ("steps", "loss", "alignment", "status")}


def _pretraining_result(simulation: Simulation, stage: Pretrained | None) -> PretrainingResult | None:
    if stage is None:
        return None
    return PretrainingResult(
        stage.descent.steps,
        stage.descent.loss,
        stage.alignment,
        stage.descent.status,
        partial(_pretraining_trajectory, simulation.instance, stage),
    )


def _arm_trajectory(instance: Instance, arm: Arm) -> xr.Dataset:
    from .trajectories import arm_trajectory

    return arm_trajectory(instance, arm)


def _pretraining_trajectory(instance: Instance, stage: Pretrained) -> xr.Dataset:
    from .trajectories import pretraining_trajectory

    return pretraining_trajectory(instance, stage)


def _provenance() -> dict[str, str]:
    return {
        **versions(),
        "physics": str(PHYSICS),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def plain_values(value: Any, *, strict: bool = True) -> Any:
    """The value with NumPy scalars as Python's, and (strict) NaN and infinities, not JSON, as None."""
    if isinstance(value, dict):
        return {key: plain_values(item, strict=strict) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(item, strict=strict) for item in value]
    if isinstance(value, np.generic):
        return plain_values(value.item(), strict=strict)
    if strict and isinstance(value, float) and not math.isfinite(value):
        return None
    return value
