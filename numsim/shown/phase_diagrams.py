"""The figure of a sweep: a heat map a criterion (or an arm), with the measured boundary and theory's curve.

Colours are perceptually uniform (viridis); the measured boundary is a solid line with open circles in a band,
theory's curve dashed with crosses: each has two cues, and both are drawn over a dark or light halo, so that
the figure reads in grey.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..config.experiment import Experiment
from ..runs.measures import MEASURES, variables
from ..sweeps.axis_labels import UNITS, label
from ..sweeps.criteria import FittedBoundary, exponent_text, sweep_fits, swept_experiment
from ..sweeps.curves import CURVES
from .drawing import ARM_STYLES, columns_of, footer, headline, page_width
from .mixture_panels import arm_words
from .numbers import number
from .sweep_tables import counts, main_variable, means

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["diagram"]

Floats = npt.NDArray[np.float64]

_MOST_PANELS = 12
_NARROWEST = 2.4
"""Inches of a panel."""
_GROUND = "0.88"
"""Of cells that have no colour."""
_HALO = [withStroke(linewidth=3.2, foreground="white")]
_MEASURED: dict[str, Any] = {
    "color": "black",
    "linewidth": 1.6,
    "marker": "o",
    "markersize": 5,
    "zorder": 6,
    "clip_on": False,
}
_THEORY: tuple[dict[str, Any], ...] = (
    {"color": "#D55E00", "linestyle": (0, (5, 2)), "marker": "x", "markersize": 5, "linewidth": 1.8},
    {"color": "#CC79A7", "linestyle": (0, (1, 1.5)), "marker": "+", "markersize": 6, "linewidth": 2.0},
)


def arms_of(found: xr.Dataset) -> list[str]:
    """The arms of a sweep, in order."""
    return [str(arm) for arm in found["arm"].values]


_FRACTIONS = ("test_error", "alignment", "top_alignment")


class _Panel(NamedTuple):
    """What one heat map shows: a variable over two axes, at fixed values of the others."""

    variable: str
    arm: str | None
    x: str
    y: str
    at: dict[str, float]
    fit: FittedBoundary | None


def diagram(found: xr.Dataset, fitted: Sequence[FittedBoundary] | None = None) -> Figure:
    """The figure of a sweep's result: one panel a criterion and group, or a variable and arm without
    criteria.

    Heat: the mean over seeds; grey where nothing was run. Axes are logarithmic where their values are spaced
    so. One axis alone gives curves with their 95 % interval over seeds. fitted : ``sweep_fits(found)``, if at
    hand.
    """
    axes = [str(dim) for dim in found[main_variable(found)].dims if dim not in ("arm", "seed")]
    if len(axes) == 1:
        return _curves(found, axes[0])
    fitted = sweep_fits(found) if fitted is None else fitted
    panels = _panels(found, axes, fitted)[:_MOST_PANELS]
    totals = bool(found.attrs.get("totals", 0))
    columns = columns_of(len(panels) + totals, 3, _NARROWEST)
    rows = math.ceil((len(panels) + totals) / columns)
    width = page_width(5.2 * columns)
    drawn = Figure(
        figsize=(width, (0.8 + 0.7 * min(width / columns, 4.5)) * rows + 0.3), layout="constrained"
    )
    grid = drawn.subplots(rows, columns, squeeze=False)
    for place in grid.ravel()[len(panels) + totals :]:
        place.axis("off")
    if totals:
        _totals(fitted, grid.ravel()[len(panels)])
    experiment = swept_experiment(found)
    for panel, place in zip(panels, grid.ravel(), strict=False):
        mesh = _heat(found, experiment, panel, place)
        bar = drawn.colorbar(mesh, ax=place, pad=0.02)
        bar.set_label(_words(panel.variable))
        if panel.fit is not None:
            _boundary(found, experiment, panel, place)
        if np.isnan(np.ma.filled(mesh.get_array(), np.nan)).any() and (words := _blank(found, bool(fitted))):
            place.fill(math.nan, math.nan, facecolor=_GROUND, edgecolor="0.5", label=words)
    headline(drawn, _title(found, experiment))
    footer(drawn)
    return drawn


def _blank(found: xr.Dataset, refined: bool) -> str:
    """Why there are cells without a colour."""
    n = counts(found)
    reason = " yet" if found.attrs.get("incomplete") else ": the boundary did not need it" if refined else ""
    words = [f"not run{reason}"] if n["not_run"] else []
    return " or ".join([*words, *(["no finite result"] if n["failed"] or n["non_finite"] else [])])


def _words(variable: str) -> str:
    symbols = {"alignment": r"$\cos^2(W - W^0, \mu)$", "top_alignment": r"$\cos^2(v_1, \mu)$"}
    return symbols.get(variable) or next(v.words for v in variables(tuple(MEASURES)) if v.name == variable)


def _title(found: xr.Dataset, e: Experiment) -> str:
    fixed = {
        "$d$": ("data.dim", number(e.data.dim, 3)),
        "SNR": ("data.snr", number(e.snr, 3)),
        "$n_0$": ("pretraining.samples", f"{e.pretraining.samples}"),
        "$n$": ("finetuning.samples", f"{e.finetuning.samples}"),
        "$m$": ("network.filters", f"{e.network.filters}"),
        "$q$": ("network.q", f"{e.network.q:g}"),
    }
    if "data.signal_norm" in found.dims:
        del fixed["SNR"]
    settings = ", ".join(
        f"{name} = {text}" for name, (field, text) in fixed.items() if field not in found.dims
    )
    if found.attrs.get("incomplete"):
        settings += "; sweep not finished"
    title = found.attrs.get("title", "")
    settings += f"; {found.sizes['seed']} seeds a cell"
    return f"{title}\n{settings}" if title else settings


def _panels(found: xr.Dataset, axes: Sequence[str], fitted: Sequence[FittedBoundary]) -> list[_Panel]:
    panels = []
    for fit in fitted:
        c = fit.criterion
        panels.append(_Panel(c.variable, c.arm, c.against, c.along, {**c.at, **fit.group}, fit))
    if panels:
        return panels
    variable = main_variable(found)
    x, y, *others = axes
    arms: list[str | None] = [None]
    if "arm" in found[variable].dims:
        names = arms_of(found)
        arms = [arm for arm in names if np.isfinite(found[variable].sel(arm=arm).values).any()] or [names[-1]]
    places = [dict[str, float]()]
    for name in others:
        places = [{**place, name: value} for place in places for value in found[name].values.tolist()]
    return [_Panel(variable, arm, x, y, place, None) for place in places for arm in arms]


def _mean(found: xr.Dataset, panel: _Panel) -> Floats:
    """Mean over seeds (y, x), NaN where nothing was run."""
    place = {**panel.at} | ({"arm": panel.arm} if panel.arm else {})
    values = found[panel.variable].sel(place).transpose(panel.y, panel.x, "seed").values
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=-1)
    count = known.sum(axis=-1)
    mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def _shown(found: xr.Dataset, e: Experiment, name: str, values: Floats) -> Floats:
    """Values of an axis in the unit that the figure shows."""
    unit = json.loads(found.attrs.get("shown", "{}")).get(name)
    if unit is None:
        return values
    integral = np.issubdtype(found[name].dtype, np.integer)
    base = {k: v for k, v in UNITS.items() if k == unit}[unit]
    return np.array([base.of(e.replace({name: round(v) if integral else float(v)})) for v in values])


def _symbol(found: xr.Dataset, name: str) -> str:
    unit = json.loads(found.attrs.get("shown", "{}")).get(name)
    return label(name) if unit is None else UNITS[unit].symbol


def _logarithmic(values: Floats) -> bool:
    """Whether an axis is: positive values over a factor 2, unless they are evenly spaced."""
    if not np.all(values > 0) or values.max() < 2 * values.min():
        return False
    steps = np.diff(np.sort(values))
    return (
        bool(np.ptp(steps) > 1e-6 * steps.max()) if len(steps) > 1 else bool(values.max() > 5 * values.min())
    )


def _edges(values: Floats) -> Floats:
    """Borders of the cells around values, in their middles (geometric ones on a logarithmic axis).

    The axis ends at its first and last value: nothing is painted where nothing was asked for.
    """
    log = _logarithmic(values)
    v = np.log(values) if log else values
    if len(v) == 1:
        edges = np.array([v[0] - 0.5, v[0] + 0.5])
    else:
        middle = (v[1:] + v[:-1]) / 2
        edges = np.concatenate([v[:1], middle, v[-1:]])
    return np.exp(edges) if log else edges


def _heat(found: xr.Dataset, e: Experiment, panel: _Panel, axes: Axes) -> Any:
    x, y = (_shown(found, e, name, _places(found, name)) for name in (panel.x, panel.y))
    mean = _mean(found, panel)
    limits: dict[str, Any] = {}
    if panel.variable in _FRACTIONS:
        limits = {"vmin": 0.0, "vmax": 0.5 if panel.variable == "test_error" else 1.0}
    elif panel.variable.endswith("_loss"):
        limits = {"vmin": 0.0, "vmax": max(math.log(2), float(np.nanmin(mean, initial=0.0)))}
    axes.set_facecolor(_GROUND)
    across, up = np.argsort(x), np.argsort(y)
    borders = [
        _edges(values) if _numeric(found, name) else np.arange(len(values) + 1) - 0.5
        for name, values in ((panel.x, x[across]), (panel.y, y[up]))
    ]
    mesh = axes.pcolormesh(*borders, mean[up][:, across], cmap="viridis", rasterized=True, **limits)
    for values, axis in ((x, axes.xaxis), (y, axes.yaxis)):
        if _logarithmic(values):
            axis.axes.set(**{f"{axis.axis_name}scale": "log"})
            _tick(axis, float(values.max() / values.min()))
    _name_words(found, panel.x, axes.xaxis)
    _name_words(found, panel.y, axes.yaxis)
    axes.set_xlabel(_symbol(found, panel.x))
    axes.set_ylabel(_symbol(found, panel.y))
    at = ", ".join(f"{label(k)} = {v if isinstance(v, str) else number(v)}" for k, v in panel.at.items())
    name = arm_words(panel.arm or "") if panel.fit is None else panel.fit.criterion.name
    axes.set_title(f"{name}\n{at}" if at and name else name or at)
    return mesh


def _places(found: xr.Dataset, name: str) -> Floats:
    """Values of an axis; of words their places."""
    values = found[name].values
    return values.astype(float) if _numeric(found, name) else np.arange(len(values), dtype=float)


def _numeric(found: xr.Dataset, name: str) -> bool:
    return found[name].dtype.kind in "iuf"


def _name_words(found: xr.Dataset, name: str, axis: Axis) -> None:
    """Words at their places."""
    values = found[name].values
    if not _numeric(found, name):
        turned = 90 if axis is axis.axes.xaxis and len(values) > 8 else 0
        axis.set_ticks(np.arange(len(values)), [str(value) for value in values], rotation=turned)


def _tick(axis: Axis, span: float) -> None:
    """Plain numbers at 1, 2, 5 on a logarithmic axis, at powers of ten only where it spans many."""
    if span > 2000:
        axis.set_minor_formatter(NullFormatter())
        return
    axis.set_major_locator(
        LogLocator(subs=(1.0, 2.0, 3.0, 5.0) if span < 20 else (1.0, 2.0, 5.0), numticks=30)
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _boundary(found: xr.Dataset, e: Experiment, panel: _Panel, axes: Axes) -> None:
    """The measured boundary with its band, theory's curves, and the exponent."""
    fit = panel.fit
    assert fit is not None
    x = _shown(found, e, panel.x, fit.lines)
    points = found[panel.y].values.astype(float)
    low, high = (float(v) for v in axes.get_ylim())
    ends = np.array([[b.low, b.position, b.high] for b in fit.boundaries])
    ends = np.clip(np.where(np.isfinite(ends), ends, [0.0, np.nan, np.inf]), points[0], points[-1])
    measured = np.isfinite(ends[:, 1])
    order = np.argsort(x)
    order = order[measured[order]]
    if len(order):
        bottom, middle, top = (_axis_units(found, e, panel.y, ends[order, k]) for k in range(3))
        axes.fill_between(x[order], bottom, top, color="white", alpha=0.45, linewidth=0, zorder=4)
        name = "measured boundary, 95 %"
        style = {**_MEASURED, "markevery": max(1, len(order) // 25)}
        axes.plot(x[order], middle, label=name, markerfacecolor="white", path_effects=_HALO, **style)
    for style, (curve, position) in zip(_THEORY, fit.theory.items(), strict=False):
        known = np.argsort(x)
        known = known[np.isfinite(position[known])]
        if len(known):
            shown = _axis_units(found, e, panel.y, position[known])
            every = max(1, len(known) // 8)
            words = f"theory: {CURVES[curve].words}"
            style = {**style, "clip_on": bool(np.any((shown < low) | (shown > high)))}  # a cross at the end
            axes.plot(x[known], shown, label=words, markevery=every, zorder=7, path_effects=_HALO, **style)
    axes.set_ylim(low, high)
    in_other_units = {panel.x, panel.y} & set(json.loads(found.attrs.get("shown", "{}")))
    if not in_other_units and (text := exponent_text(fit)):
        law = f"{_short(panel.y)} $\\propto$ {_short(panel.x)}$^b$, $b$ = {text.replace('-', '−')}"
        axes.set_title(f"{axes.get_title()}\n{law}")


def _totals(fitted: Sequence[FittedBoundary], axes: Axes) -> None:
    """Labelled and unlabelled samples added up along each boundary; direct training uses labels alone."""
    for fit, (color, marker, _) in zip(fitted, ARM_STYLES, strict=False):
        c, x = fit.criterion, fit.lines
        fixed = {**c.at, **fit.group}
        kinds = {"finetuning.samples"} if c.arm == "direct" else {"finetuning.samples", "pretraining.samples"}
        more = sum(value for name, value in fixed.items() if name in kinds - {c.along})
        low, middle, high = np.array([[b.low, b.position, b.high] for b in fit.boundaries]).T + more
        seen = np.isfinite(middle)
        high = np.where(np.isfinite(high), high, middle)
        axes.fill_between(x[seen], low[seen], high[seen], color=color, alpha=0.2, linewidth=0)
        axes.plot(x[seen], middle[seen], color=color, marker=marker, label=c.name, linewidth=2)
        for positions in list(fit.theory.values())[:1]:
            words = f"{c.name}, theory"
            axes.plot(x, positions + more, color=color, linestyle=(0, (5, 2)), marker="x", label=words)
    axes.set(xscale="log", yscale="log", ylabel="samples of both kinds, $n_0 + n$")
    axes.set_title("samples in all")
    for axis in (axes.xaxis, axes.yaxis):
        _tick(axis, 10.0)
    axes.set_xlabel(label(fitted[0].criterion.against) if fitted else "")


def _axis_units(found: xr.Dataset, e: Experiment, name: str, values: Floats) -> Floats:
    """Values between those of an axis, in the unit shown: interpolated, since counts are whole."""
    given = found[name].values.astype(float)
    shown = _shown(found, e, name, given)
    if shown is given or np.array_equal(shown, given):
        return values
    order = np.argsort(given)
    interpolated: Floats = np.exp(np.interp(np.log(values), np.log(given[order]), np.log(shown[order])))
    return interpolated


def _short(name: str) -> str:
    """The symbol alone."""
    return (
        "SNR"
        if name == "data.snr"
        else "$" + label(name).split("$")[1].split("=")[0] + "$"
        if "$" in label(name)
        else name
    )


def _curves(found: xr.Dataset, axis: str) -> Figure:
    """One axis: mean over seeds with its 95 % interval, a curve an arm."""
    variable = main_variable(found)
    width = page_width(6.2)
    drawn = Figure(figsize=(width, 0.8 + 0.6 * width), layout="constrained")
    axes = drawn.subplots()
    x = _places(found, axis)
    arms: list[str | None] = [*arms_of(found)] if "arm" in found[variable].dims else [None]
    for arm, style in zip(arms, cycle(ARM_STYLES), strict=False):
        mean, half = (np.asarray(part) for part in means(found[variable].sel({"arm": arm} if arm else {})))
        shown = np.isfinite(mean)
        if not shown.any():
            continue
        color, marker, line = style
        axes.errorbar(
            x[shown],
            mean[shown],
            half[shown],
            color=color,
            marker=marker,
            linestyle=line,
            capsize=2,
            label=arm_words(arm or "") or "mean over seeds",
        )
    if _logarithmic(x):
        axes.set_xscale("log")
    _name_words(found, axis, axes.xaxis)
    axes.set_xlabel(label(axis))
    axes.set_ylabel(_words(variable))
    if not axes.get_legend_handles_labels()[0]:
        axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, ha="center")
    headline(drawn, f"{_title(found, swept_experiment(found))}; bars: 95 % intervals of the means")
    footer(drawn)
    return drawn
