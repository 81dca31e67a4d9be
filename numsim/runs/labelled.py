"""Trajectories and numbers of a run's stages as one labelled dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["SERIES", "merged"]

SERIES = {"test_loss": "test_loss_along", "test_error": "test_error_along"}
"""Along the way, beside the numbers of the end, which have these names."""


def merged(stages: Mapping[str, Any], scalars: Mapping[str, Sequence[str]]) -> xr.Dataset:
    """Trajectories and numbers of all stages as one dataset: variables STAGE_name with dims STAGE_step, ...

    stages : results by name, with a ``trajectory``; scalars : the names of their numbers ("loss_end" is the
    attribute ``loss``, beside the series of that name).
    """
    import xarray as xr

    parts = []
    for name, stage in stages.items():
        dataset = stage.trajectory.drop_attrs()
        own_dims = [dim for dim in ("step", "evaluation_step") if dim in dataset.dims]
        if "unlabelled" in dataset.dims:  # of all filters, before the split
            own_dims.append("filter")
        dataset = dataset.rename({dim: f"{name}_{dim}" for dim in own_dims})
        values = {key: getattr(stage, key.removesuffix("_end")) for key in scalars[name]}
        dataset = dataset.rename({key: f"{name}_{SERIES.get(str(key), key)}" for key in dataset.data_vars})
        dataset = dataset.assign({f"{name}_{key}": value for key, value in values.items()})
        dataset[f"{name}_steps"] = np.int32(stage.steps)
        parts.append(dataset)
    together: xr.Dataset = xr.merge(parts, join="exact", compat="equals", combine_attrs="drop")
    return together
