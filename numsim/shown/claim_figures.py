"""What the claims' figures share: size, and one style each for predicted, measured and control.

Predicted and measured differ by colour and by line against marker, so that a figure reads in grey. Colours
are of Okabe and Ito's palette, those that show on white as well as on black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawing import broken, columns_of, page_width

if TYPE_CHECKING:
    from ..claims import Evidence, Outcome
    from ..claims.comparison import Comparison

__all__ = ["CONTROL", "MEASURED", "PREDICTED", "deviations", "measured_points", "panels"]

PREDICTED: dict[str, Any] = {"color": "#E69F00", "linestyle": "-", "linewidth": 2.0, "label": "predicted"}
MEASURED: dict[str, Any] = {
    "color": "#0F8ACB",
    "linestyle": "none",
    "marker": "o",
    "markersize": 5,
    "label": "measured",
}
CONTROL: dict[str, Any] = {
    "color": "#CC79A7",
    "linestyle": (0, (4, 2)),
    "linewidth": 1.4,
    "label": "control",
}

_ROWS = 30
_NARROWEST = 2.5
"""Inches of a panel."""
_FARTHEST = 3.0


def panels(count: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels side by side, as wide as the page or the report's text."""
    width, columns = page_width(7.2), columns_of(count, count, _NARROWEST)
    rows = -(-count // columns)
    height = 3.6 if width == 7.2 else (0.7 + 0.7 * min(width / columns, 4.0)) * rows
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = [figure.add_subplot(rows, columns, index + 1) for index in range(count)]
    for axis in axes:
        axis.grid(True, color="0.5", alpha=0.25, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def measured_points(
    axes: Axes, x: npt.ArrayLike, y: npt.ArrayLike, error: npt.ArrayLike | None = None
) -> None:
    """Measured values in the common style, with error bars if given."""
    axes.errorbar(x, y, yerr=error, capsize=3, elinewidth=1, **MEASURED)


def deviations(evidence: Evidence) -> Figure:
    """The figure of a claim that draws none: every comparison's deviation in units of its tolerance.

    Between -1 and 1 a comparison holds; exact tests stand at log(p) / log(level). Controls are drawn where
    they were measured, at most ``_FARTHEST`` tolerances away.
    """
    found = evidence.outcome.comparisons[:_ROWS]
    figure = Figure(figsize=(page_width(7.2), 1.2 + 0.3 * max(len(found), 2)), layout="constrained")
    axes = figure.add_subplot()
    rows = {c.name: -index for index, c in enumerate(found)}
    axes.axvspan(-1, 1, **{**PREDICTED, "alpha": 0.18, "linewidth": 0, "label": "within tolerance"})
    axes.axvline(0, **PREDICTED)
    missed = [
        (rows[c.name], _deviation(c, control.outcome))
        for control in evidence.controls
        if (c := control.outcome.shown) is not None and c.name in rows
    ]
    for row, deviation in missed:
        axes.plot(deviation, row, **{**CONTROL, "linestyle": "none", "marker": "x"})
    for c in found:
        axes.plot(_deviation(c, evidence.outcome), rows[c.name], **MEASURED)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(once.values(), once.keys(), loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)
    room, size = 0.5 * figure.bbox.width, float(axes.yaxis.label.get_fontsize())
    axes.set_yticks(list(rows.values()), [broken(figure, name, room, size) for name in rows])
    axes.set(xlabel="(measured − predicted)\n/ tolerance", xlim=(-_FARTHEST - 0.3, _FARTHEST + 0.3))
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _deviation(comparison: Comparison, outcome: Outcome) -> float:
    """Signed, in tolerances, cut off at ``_FARTHEST``."""
    used = 1 - comparison.margin(outcome.level)
    if comparison.relation != "=" and comparison.error == 0 and comparison.p_value is None:
        return 0.0
    sign = -1.0 if comparison.measured < comparison.predicted else 1.0
    return sign * min(used, _FARTHEST) if used == used else _FARTHEST
