"""Results: what a run found, its labelled trajectories, and its file (NetCDF)."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config.experiment import Experiment, Resolved
from ..descent.driver import EXPLANATIONS, NON_FINITE, STATUSES
from ..theory import conditions
from .draw import Instance
from .files import write_atomically
from .measures import PHYSICS
from .prediction import compare
from .simulate import Arm, Pretrained, Simulation
from .versions import versions

if TYPE_CHECKING:  # half a second, which a run that nobody plots or saves need not spend
    import xarray as xr

__all__ = ["ArmResult", "PretrainingResult", "Result", "load_result", "plain_values"]

SCHEMA = 1
_ARM_NUMBERS = ("train_loss", "test_loss", "test_loss_se", "test_error", "test_error_se")
_NEVER_STARTED = "not finite from the start: reduce the step size of the stage before, or the initial scale"


@dataclass(frozen=True)
class ArmResult:
    """One arm after supervised training.

    train_loss : of the last iterate; test_loss, test_error : on fresh data, with the Monte-Carlo standard
    errors test_loss_se, test_error_se; steps; status : "target_loss", "max_steps" or "non_finite".
    """

    train_loss: float
    test_loss: float
    test_loss_se: float
    test_error: float
    test_error_se: float
    steps: int
    status: str
    _build: Callable[[], xr.Dataset] = field(repr=False, compare=False)

    @cached_property
    def trajectory(self) -> xr.Dataset:
        """States along the way, counted from the hand-over.

        Dims step, sign (+1, -1), filter, sample. gamma (step, sign, filter) and rho (..., sample) of
        derivations/model.md (10); signal_inner = <w, mu>, noise_inner = <w, xi_i> (with the bias, if any);
        loss (step).
        """
        return self._build()

    @property
    def explanation(self) -> str:
        """The status in words, with what to change where that helps."""
        return _NEVER_STARTED if self.status == NON_FINITE and self.steps == 0 else EXPLANATIONS[self.status]


@dataclass(frozen=True)
class PretrainingResult:
    """The contrastive stage.

    steps; loss : InfoNCE of the last iterate; alignment : cos^2(W - W^0, mu); status : "linear_end",
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
    """A finished run: both arms, the contrastive stage, theory beside measurement, provenance.

    experiment : as used (with the derived step sizes and scales); simclr and pretraining are None without
    unlabelled samples.
    """

    experiment: Resolved
    pretraining: PretrainingResult | None
    simclr: ArmResult | None
    direct: ArmResult
    provenance: dict[str, str]
    _compare: Callable[[], dict[str, Any]] = field(repr=False, compare=False)

    @classmethod
    def of(cls, simulation: Simulation) -> Result:
        """Present a simulation; trajectories and predictions are computed when first asked for."""
        return cls(
            experiment=simulation.experiment,
            pretraining=_pretraining_result(simulation),
            simclr=None if simulation.simclr is None else _arm_result(simulation, simulation.simclr),
            direct=_arm_result(simulation, simulation.direct),
            provenance=_provenance(),
            _compare=partial(compare, simulation),
        )

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
        stages = (self.pretraining, self.simclr, self.direct)
        return all(stage is None or stage.status != NON_FINITE for stage in stages)

    @property
    def faults(self) -> tuple[str, ...]:
        """What was not finite and which setting to change: a line a stage, none if all is well."""
        e, stage = self.experiment, self.pretraining
        lines = []
        rates = {"pretraining": e.pretraining.learning_rate, "finetuning": e.finetuning.learning_rate}
        advice = {name: f"reduce {name}.learning_rate ({rate})" for name, rate in rates.items()}
        if stage is not None and stage.status == NON_FINITE:
            lines.append(
                f"pretraining: not finite after {stage.steps} steps, nothing to fine-tune; "
                f"{advice['pretraining']}"
            )
        # A contrastive loss above that of filters at zero is a stage that had begun to diverge.
        diverged = stage is not None and not stage.loss < 1 + math.log(e.pretraining.samples)
        for name in ("simclr", "direct"):
            arm: ArmResult | None = getattr(self, name)
            if arm is None or (name == "simclr" and lines):
                continue
            if arm.status != NON_FINITE and math.isfinite(arm.test_loss):
                continue
            what = "not finite" if arm.status == NON_FINITE else "test loss not finite"
            change = advice["pretraining" if name == "simclr" and diverged else "finetuning"]
            if arm.steps == 0 and not (name == "simclr" and diverged):
                change = "reduce the initial scale (network.init_scale, network.relative_init_scale)"
            lines.append(f"{name}: {what} after {arm.steps} steps; {change}")
        return tuple(lines)

    def summary(self) -> dict[str, Any]:
        """The run as a JSON document (schema 1), NaN as None; without ``seconds``."""
        arms = {
            name: None if arm is None else {key: getattr(arm, key) for key in (*_ARM_NUMBERS, *_ENDS)}
            for name, arm in (("simclr", self.simclr), ("direct", self.direct))
        }
        stage = self.pretraining
        document = {
            "schema": SCHEMA,
            "config": self.experiment.as_dict(),
            "conditions": [row._asdict() for row in conditions(self.experiment)],
            **arms,
            "pretraining": None
            if stage is None
            else {key: getattr(stage, key) for key in ("steps", "loss", "alignment", "status")},
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
        import xarray as xr

        parts = []
        statuses = {}
        for name in ("pretraining", "simclr", "direct"):
            stage = getattr(self, name)
            if stage is None:
                continue
            statuses[name] = stage.status
            own_dims = ("step",) if isinstance(stage, ArmResult) else ("step", "filter")
            dataset = stage.trajectory.drop_attrs()
            dataset = dataset.rename({dim: f"{name}_{dim}" for dim in own_dims})
            scalars = _ARM_NUMBERS if isinstance(stage, ArmResult) else ("loss_end", "alignment_end")
            values = {key: getattr(stage, key.removesuffix("_end")) for key in scalars}
            dataset = dataset.rename({key: f"{name}_{key}" for key in dataset.data_vars})
            dataset = dataset.assign({f"{name}_{key}": value for key, value in values.items()})
            dataset[f"{name}_steps"] = np.int32(stage.steps)
            parts.append(dataset)
        merged: xr.Dataset = xr.merge(parts, join="exact", compat="equals", combine_attrs="drop")
        merged.attrs = {
            "schema": SCHEMA,
            "config": json.dumps(self.experiment.as_dict()),
            "status": json.dumps(statuses),
            "theory": json.dumps(plain_values(self.theory, strict=False)),
            "provenance": json.dumps(self.provenance),
        }
        return merged

    def to_netcdf(self) -> bytes:
        """The content of the file that ``save`` writes: ``to_dataset()`` as NetCDF 3."""
        return bytes(self.to_dataset().to_netcdf(engine="scipy"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``to_netcdf()`` to a file; an existing one is replaced only when the new one is whole."""
        content = self.to_netcdf()
        write_atomically(Path(path), lambda file: file.write(content))


_ENDS = ("steps", "status")


def load_result(path: str | os.PathLike[str]) -> Result:
    """The result that ``Result.save`` wrote to ``path``; its ``to_dataset()`` is identical.

    Raises ValueError for a file that is not a saved result, OSError for one that cannot be read.
    """
    content = Path(path).read_bytes()
    try:
        return _loaded(content)
    except Exception as error:  # a damaged file may raise anything while it is taken apart
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{os.fspath(path)} is not a result saved by numsim: {reason}") from error


def _loaded(content: bytes) -> Result:
    import xarray as xr

    if not content.startswith(b"CDF"):
        raise ValueError("it is not a NetCDF 3 file" if content else "it is empty")
    with xr.open_dataset(BytesIO(content), engine="scipy") as opened:
        dataset = opened.load().drop_encoding()
    if dataset.attrs.get("schema") != SCHEMA:
        raise ValueError(f"it has schema {dataset.attrs.get('schema')}, this version reads {SCHEMA}")
    statuses = json.loads(dataset.attrs["status"])
    if not set(statuses.values()) <= set(STATUSES):
        raise ValueError(f"it has the statuses {statuses}, expected some of {STATUSES}")
    parts = json.loads(dataset.attrs["theory"])  # a part that the run does not have is None
    theory = {name: None if part is None else _without_null(part) for name, part in parts.items()}
    stages = {name: _loaded_stage(dataset, name, status) for name, status in statuses.items()}
    return Result(
        Experiment(**json.loads(dataset.attrs["config"])).resolved(),
        stages.get("pretraining"),
        stages.get("simclr"),
        stages["direct"],
        json.loads(dataset.attrs["provenance"]),
        partial(_restored, theory),
    )


def _restored(theory: dict[str, Any]) -> dict[str, Any]:
    return theory


def _without_null(value: Any) -> Any:
    """NaN for None: so numbers that are not finite were kept once."""
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items()}
    return math.nan if value is None else value


def _loaded_stage(dataset: xr.Dataset, name: str, status: str) -> Any:
    prefix = f"{name}_"
    names = [key for key in dataset.data_vars if str(key).startswith(prefix)]
    part = dataset[names]
    values = {str(key).removeprefix(prefix): part[key].item() for key in names if part[key].ndim == 0}
    series = part.drop_vars([key for key in names if part[key].ndim == 0])
    used = {dim for key in series.data_vars for dim in series[key].dims}
    series = series.drop_vars([key for key in series.coords if not set(series[key].dims) <= used])
    renamed = {
        key: str(key).removeprefix(prefix) for key in (*series.variables,) if str(key).startswith(prefix)
    }
    trajectory = series.rename(renamed).drop_attrs()
    build = partial(_given, trajectory)
    if name == "pretraining":
        return PretrainingResult(values["steps"], values["loss_end"], values["alignment_end"], status, build)
    numbers = {key: values[key] for key in _ARM_NUMBERS}
    return ArmResult(**numbers, steps=values["steps"], status=status, _build=build)


def _given(dataset: xr.Dataset) -> xr.Dataset:
    return dataset


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
    )


def _pretraining_result(simulation: Simulation) -> PretrainingResult | None:
    stage = simulation.pretrained
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
