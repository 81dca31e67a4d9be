"""A result from its file (NetCDF)."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.experiment import Experiment
from ..descent.driver import STATUSES
from .labelled import SERIES
from .result import ARM_NUMBERS, SCHEMA, ArmResult, PretrainingResult, Result

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["load_result"]


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
    owners = {str(key): _owner(str(key), statuses) for key in dataset.variables}
    stages = {
        name: _loaded_stage(dataset, name, status, [key for key in owners if owners[key] == name])
        for name, status in statuses.items()
    }
    experiment = Experiment(**json.loads(dataset.attrs["config"])).resolved()
    clusters = json.loads(dataset.attrs.get("by_cluster", "{}"))
    arms = {
        name: replace(stages[name], pretraining=stages.get(f"pretraining_{name}"), **clusters.get(name, {}))
        for name in experiment.arm_names
        if name in stages
    }
    if not arms:
        raise ValueError("it has no arms")
    return Result(
        experiment,
        stages.get("pretraining"),
        arms,
        json.loads(dataset.attrs["provenance"]),
        partial(_restored, theory),
    )


def _owner(variable: str, stages: Iterable[str]) -> str:
    """The stage whose variable it is: that with the longest name in front, "" for none."""
    return max((name for name in stages if variable.startswith(f"{name}_")), key=len, default="")


def _restored(theory: dict[str, Any]) -> dict[str, Any]:
    return theory


def _without_null(value: Any) -> Any:
    """NaN for None: so numbers that are not finite were kept once."""
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items()}
    return math.nan if value is None else value


def _loaded_stage(dataset: xr.Dataset, name: str, status: str, owned: list[str]) -> Any:
    prefix = f"{name}_"
    names = [key for key in dataset.data_vars if str(key) in owned]
    part = dataset[names]
    values = {str(key).removeprefix(prefix): part[key].item() for key in names if part[key].ndim == 0}
    series = part.drop_vars([key for key in names if part[key].ndim == 0])
    used = {dim for key in series.data_vars for dim in series[key].dims}
    series = series.drop_vars([key for key in series.coords if not set(series[key].dims) <= used])
    renamed = {key: str(key).removeprefix(prefix) for key in (*series.variables,) if str(key) in owned}
    trajectory = series.rename(renamed).drop_attrs()
    along = {saved: key for key, saved in SERIES.items() if saved in trajectory}
    trajectory = trajectory.rename(along)
    build = partial(_given, trajectory)
    if name == "pretraining" or name.startswith("pretraining_"):
        return PretrainingResult(values["steps"], values["loss_end"], values["alignment_end"], status, build)
    numbers = {key: values[key] for key in ARM_NUMBERS}
    return ArmResult(**numbers, steps=values["steps"], status=status, _build=build)


def _given(dataset: xr.Dataset) -> xr.Dataset:
    return dataset
