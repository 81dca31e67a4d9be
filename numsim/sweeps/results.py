"""Saved results: the dataset of a sweep as a file, and whichever result a file holds."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ..runs.result import Result
from ..runs.saved import load_result

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["load_results", "load_saved", "netcdf"]


def netcdf(found: xr.Dataset) -> bytes:
    """The dataset as the bytes of a NetCDF 3 file: equal datasets, equal bytes."""
    return bytes(found.to_netcdf(engine="scipy", format="NETCDF3_64BIT"))


def load_results(path: str | os.PathLike[str]) -> xr.Dataset | None:
    """The dataset of a sweep's results.nc; None for any other file, OSError for one that cannot be read."""
    import xarray as xr

    content = Path(path).read_bytes()
    if not content.startswith(b"CDF"):
        return None
    try:
        with xr.open_dataset(BytesIO(content), engine="scipy") as opened:
            found = opened.load()
    except Exception:  # a damaged file may raise anything while it is taken apart
        return None
    return found if {"criteria", "experiment", "physics"} <= set(found.attrs) else None


def load_saved(path: str | os.PathLike[str]) -> Result | xr.Dataset:
    """The saved result of a run, or the dataset of a sweep.

    Raises ValueError for a file that is neither, OSError for one that cannot be read.
    """
    found = load_results(path)
    return load_result(path) if found is None else found
