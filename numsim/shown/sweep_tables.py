"""A finished sweep for the terminal, for machines and for spreadsheets: tables, summary, CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from rich.console import Console
from rich.table import Table

from ..runs.measures import FAILED, NON_FINITE, NOT_RUN, STATUSES
from ..runs.result import plain_values
from ..runs.versions import versions
from ..sweeps.criteria import FittedBoundary, exponent_text

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "counts",
    "fit_table",
    "main_variable",
    "means",
    "means_table",
    "show_sweep",
    "summary",
    "write_csv",
]


def counts(found: xr.Dataset) -> dict[str, int]:
    """How many cells and seeds there are, were left out by refinement, were not finite, and failed."""
    empty = None
    for values in found.drop_dims("cluster", errors="ignore").data_vars.values():
        unknown = values.isnull()
        unknown = unknown.all("arm") if "arm" in unknown.dims else unknown
        empty = unknown if empty is None else empty & unknown
    assert empty is not None
    failed = len(json.loads(found.attrs.get("failures", "{}")))
    result = {"runs": empty.size, "not_run": int(empty.sum()) - failed, "non_finite": 0, "failed": failed}
    if "status" in found:
        status = found["status"].values
        result["not_run"] = int((status == NOT_RUN).all(axis=0).sum())
        result["non_finite"] = int((status == NON_FINITE).any(axis=0).sum())
        result["failed"] = int((status == FAILED).all(axis=0).sum())
    return result


def summary(
    found: xr.Dataset, fitted: Sequence[FittedBoundary], *, computed: int, seconds: float
) -> dict[str, Any]:
    """What ``sweep --json`` prints, and summary.json holds; NaN and infinities as null."""
    axes = {str(k): v.values.tolist() for k, v in found.coords.items() if k not in ("arm", "seed", "cluster")}
    document = {
        "schema": 1,
        "experiment": json.loads(found.attrs["experiment"]),
        "axes": axes,
        "seeds": found["seed"].values.tolist(),
        **counts(found),
        "complete": not found.attrs.get("incomplete"),
        "computed": computed,
        "failures": json.loads(found.attrs.get("failures", "{}")),
        "boundaries": [fit.as_dict() for fit in fitted],
        "physics": int(found.attrs["physics"]),
        "versions": {name: found.attrs[name] for name in versions()},
        "seconds": seconds,
    }
    plain: dict[str, Any] = plain_values(document)
    return plain


def write_csv(found: xr.Dataset, file: BinaryIO) -> None:
    """A row a cell, seed and arm that was run; numbers with all their digits, the status in words."""
    frame = _without_clusters(found).to_dataframe()
    if "status" in frame:
        frame = frame[frame["status"] != NOT_RUN]
        frame["status"] = [STATUSES[int(code) + 1] for code in frame["status"]]
    names = [name for name in frame.index.names if name != "arm"]
    order = [*names, *(["arm"] if "arm" in frame.index.names else [])]
    frame = frame.reset_index().set_index(order).sort_index(kind="stable")
    frame.to_csv(file, lineterminator="\n", float_format=lambda value: repr(float(value)))


def _without_clusters(found: xr.Dataset) -> xr.Dataset:
    """Numbers of clusters as variables of their own, test_error[NAME]."""
    plain = found.drop_dims("cluster", errors="ignore")
    for name, values in found.data_vars.items():
        if "cluster" in values.dims:
            short = str(name).removesuffix("_by_cluster")
            for cluster in found["cluster"].values:
                plain[f"{short}[{cluster}]"] = values.sel(cluster=cluster, drop=True)
    return plain


def show_sweep(
    found: xr.Dataset,
    fitted: Sequence[FittedBoundary],
    *,
    computed: int,
    seconds: float,
    console: Console | None = None,
) -> None:
    """Print what a sweep came to: its boundaries, and how many runs it took."""
    console = console or Console()
    for fit in fitted:
        console.print(fit_table(fit))
        if text := exponent_text(fit):
            c = fit.criterion
            console.print(f"{c.along} ~ ({c.against})^b with b = {text}", highlight=False)
    n = counts(found)
    text = f"{n['runs'] - n['not_run']} of {n['runs']} runs, {computed} of them new"
    for key in ("non_finite", "failed"):
        if n[key]:
            text += f", {n[key]} {key.replace('_', ' ')}"
    if found.attrs.get("incomplete"):
        text = f"incomplete: {text}"
    console.print(f"{text}; {seconds:.1f} s", highlight=False)


def fit_table(fit: FittedBoundary) -> Table:
    """The boundary of a criterion: measured with its interval, and theory's, a row a line."""
    c = fit.criterion
    title = c.name + "".join(f", {name} = {value:g}" for name, value in fit.group.items())
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in (c.against, c.along, "95 % interval", *(f"theory: {name}" for name in fit.theory)):
        table.add_column(column, justify="right")
    for k, (line, b) in enumerate(zip(fit.lines, fit.boundaries, strict=True)):
        position = b.reason if math.isnan(b.position) else f"{b.position:.4g}"
        theory = [f"{positions[k]:.4g}" for positions in fit.theory.values()]
        table.add_row(f"{line:.4g}", position, f"{b.low:.4g} to {b.high:.4g}", *theory)
    return table


def main_variable(found: xr.Dataset) -> str:
    """What is drawn and tabled of a sweep without criteria."""
    for name in ("test_error", "top_alignment", "alignment"):
        if name in found:
            return name
    raise ValueError("the sweep measured nothing that can be drawn")


def means(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean over seeds and half of its 95 % interval; NaN where nothing was run, 0 for a single seed."""
    values = values.where(np.isfinite(values))
    known = values.count("seed")
    spread = values.std("seed", ddof=1).where(known > 1, 0.0)
    return values.mean("seed"), 1.96 * spread / np.sqrt(known)


def means_table(found: xr.Dataset) -> Table:
    """The mean over seeds of every cell that was run, an arm a column."""
    variable = main_variable(found)
    axes = [str(dim) for dim in found[variable].dims if dim not in ("arm", "seed")]
    title = f"{variable.replace('_', ' ')}, mean over {found.sizes['seed']} seeds and its 95 % interval"
    table = Table(title=title, title_justify="left", title_style="bold")
    mean, half = means(found[variable])
    arms = [""]
    if "arm" in mean.dims:
        arms = [str(arm) for arm in mean["arm"].values if np.isfinite(mean.sel(arm=arm)).any()]
    for column in (*axes, *(arm or variable.replace("_", " ") for arm in arms)):
        table.add_column(column, justify="right")
    for place in product(*(found[axis].values.tolist() for axis in axes)):
        at: dict[str, Any] = dict(zip(axes, place, strict=True))
        cells = [{**at, "arm": arm} if arm else at for arm in arms]
        if any(np.isfinite(mean.sel(cell)) for cell in cells):
            shown = (_with_half(mean.sel(cell).item(), half.sel(cell).item()) for cell in cells)
            words = (value if isinstance(value, str) else f"{value:.4g}" for value in place)
            table.add_row(*words, *shown)
    return table


def _with_half(mean: float, half: float) -> str:
    return "–" if math.isnan(mean) else f"{mean:.4g} ± {half:.1g}"
