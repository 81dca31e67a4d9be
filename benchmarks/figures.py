"""The figures of README.md, from rows: work (c) against d, and work (e)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .harness import OK, Row
from .scaling import SERIES, series

# Okabe and Ito's colours, told apart by the colour-blind, with a marker each for print in grey.
STYLES: dict[str, dict[str, Any]] = {
    "numsim": {"color": "#0072B2", "marker": "o", "linewidth": 2.2},
    "JAX": {"color": "#D55E00", "marker": "s"},
    "PyTorch": {"color": "#009E73", "marker": "^"},
    "NumPy": {"color": "#CC79A7", "marker": "D"},
}
TIME = "time per step [s]"


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write the figures whose rows are there, as PNG and SVG; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {"dimension": dimension(rows), "scaling": scaling(rows)}
    written = []
    for name, figure in found.items():
        if figure is None:
            continue
        for kind in ("png", "svg"):
            path = folder / f"{name}.{kind}"
            # Without dates and random identifiers: equal numbers are equal files.
            metadata = {"Date": None} if kind == "svg" else None
            figure.savefig(path, dpi=150, metadata=metadata)
            written.append(path)
    return written


def _axes(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update({"svg.hashsalt": "numsim", "font.size": 9, "axes.titlesize": 9.5})
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xscale="log", yscale="log")
        axis.grid(True, which="major", color="0.9", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _interval(axis: Any, x: Any, rows: Sequence[Row], own: bool, **style: Any) -> None:
    """Medians with their spread over pairs (the middle 90 %) as bars."""
    values = [_all(row, own) for row in rows]
    middle = np.array([np.median(v) for v in values])
    ends = np.array([np.quantile(v, [0.05, 0.95]) for v in values]).T
    bars = np.abs(ends - middle)
    axis.errorbar(x, middle, yerr=bars, markersize=4.5, capsize=2, elinewidth=0.8, **style)


def _all(row: Row, own: bool) -> Any:
    if row.pairs:
        return np.array([pair[0 if own else 1] for process in row.pairs for pair in process])
    return np.concatenate([np.array(process) for process in row.times])


def dimension(rows: Sequence[Row]) -> Any:
    """Seconds a step against d, one panel a stage; None without rows of work (c)."""
    every = [row for row in rows if row.work == "dimension" and row.status == OK]
    if not every:
        return None
    figure, axes = _axes(1, 2, 7.6, 3.4)
    for axis, stage, title in zip(
        axes[0], (1.0, 0.0), ("contrastive pre-training", "supervised"), strict=True
    ):
        rows_here = [row for row in every if row.facts["pretraining"] == stage]
        for library in list(STYLES)[1:]:
            points = sorted((r for r in rows_here if r.alternative == library), key=lambda r: r.facts["dim"])
            if points:
                x = [row.facts["dim"] for row in points]
                _interval(axis, x, points, False, label=f"{library}, in $\\mathbb{{R}}^d$", **STYLES[library])
        dims = sorted({row.facts["dim"] for row in rows_here})
        own = [
            Row("", "", "", 1, "", OK, pairs=[p for r in rows_here if r.facts["dim"] == d for p in r.pairs])
            for d in dims
        ]
        _interval(axis, dims, own, True, label="numsim", **STYLES["numsim"])
        axis.set(xlabel="dimension $d$", ylabel=TIME, title=title)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def scaling(rows: Sequence[Row]) -> Any:
    """Time and memory of a run against d, seconds a step against n0, n, m; None without rows of work (e)."""
    runs = [r for r in rows if r.work == "scaling" and r.status == OK and "dim" in r.facts]
    if not runs:
        return None
    figure, axes = _axes(2, 3, 10.2, 6.0)
    runs.sort(key=lambda row: row.facts["dim"])
    _flat(axes[0, 0], axes[1, 0], runs)
    places = (axes[0, 1], axes[0, 2], axes[1, 1], axes[1, 2])
    names = {"n0": "unlabelled samples $n_0$", "n": "labelled samples $n$", "m": "filters per sign $m$"}
    for axis, ((stage, letter), (fact, operations)) in zip(places, SERIES.items(), strict=True):
        points = series(rows, stage, letter)
        if not points:
            continue
        _steps(axis, points, fact, stage, operations)
        count = points[0].facts["samples" if stage == "pre-training" else "labelled"]
        fixed = f"$m$ = {points[0].facts['filters']:.0f}"
        if letter == "m":
            fixed = f"{'$n_0$' if stage == 'pre-training' else '$n$'} = {count:.0f}"
        axis.set(xlabel=names[letter], ylabel=TIME, title=f"{stage}, {fixed}")
    return figure


def _flat(time: Any, memory: Any, runs: Sequence[Row]) -> None:
    """Time of a run relative to the one it took turns with, at d = 1e5, and its peak memory."""
    x = [row.facts["dim"] for row in runs]
    relative = [np.array([own / other for process in row.pairs for own, other in process]) for row in runs]
    middle = np.array([np.median(values) for values in relative])
    ends = np.array(
        [
            [1.0 / row.ratio_high, 1.0 / row.ratio_low] if row.ratio_low and row.ratio_high else [m, m]
            for row, m in zip(runs, middle, strict=True)
        ]
    ).T
    bars = np.abs(ends - middle)
    time.set(yscale="linear", ylim=(0.0, 1.6), xlabel="dimension $d$", ylabel="time / time at $d = 10^5$")
    time.errorbar(x, middle, yerr=bars, markersize=4.5, capsize=2, elinewidth=0.8, **STYLES["numsim"])
    typical = float(np.median([row.numsim for row in runs if row.numsim] or [np.nan]))
    time.set_title(f"a run, both arms ({1e3 * typical:.0f} ms)")
    held = [row.facts["memory"] / 1e6 for row in runs]
    memory.plot(x, held, markersize=4.5, **STYLES["numsim"])
    memory.set(yscale="linear", ylim=(0.0, 1.6 * max(held)), xlabel="dimension $d$")
    memory.set(ylabel="peak memory [MB]", title="the same run, process and libraries included")


def _steps(axis: Any, points: Sequence[Row], fact: str, stage: str, operations: Any) -> None:
    """Measured points, and the flop count through the last of them."""
    from matplotlib.ticker import FixedLocator, NullLocator

    x = np.array([row.facts[fact] for row in points])
    size = "samples" if stage == "pre-training" else "labelled"
    counted = np.array([operations(row.facts[size], row.facts["filters"]) for row in points])
    _interval(axis, x, points, True, label="measured", **STYLES["numsim"])
    last = points[-1].numsim or np.nan
    rate = counted[-1] / last / 1e9
    axis.plot(
        x,
        counted / counted[-1] * last,
        color="black",
        linestyle=(0, (4, 2)),
        linewidth=1.1,
        label=f"flop count at {rate:.0f} Gflop/s",
    )
    axis.xaxis.set_major_locator(FixedLocator(x.tolist()))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter("{x:.0f}")
    axis.legend(frameon=False, loc="upper left")
