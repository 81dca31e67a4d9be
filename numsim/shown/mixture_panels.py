"""What the figure of a run shows beyond its stages: coefficients of a mixture, errors by cluster and along
steps.

Signals differ by colour and marker, noises by dashes, arms by colour and marker: the figure reads in grey.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes

from ..runs.result import Result
from .drawing import ARM_STYLES

__all__ = ["arm_words", "draw_clusters", "draw_coefficients", "has_extra", "symbol"]

Floats = npt.NDArray[np.float64]

_COLORS = ("#0072B2", "#009E73", "#56B4E9", "#CC79A7", "#E69F00")
_MARKERS = ("o", "^", "D", "v", "P")
_DASHES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_ARM_WORDS = {"simclr": "pre-trained, fine-tuned", "direct": "direct training"}
_GREEK = "alpha beta gamma delta zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi chi psi omega"


def arm_words(name: str) -> str:
    """An arm in words: the two of the paper, or as its file names it."""
    return _ARM_WORDS.get(name, name)


def symbol(name: str) -> str:
    """A vector's name in the experiment's file as a formula: u, mu or +xi2; others as they are."""
    found = re.fullmatch(r"([+-]?)([A-Za-z]+?)_?(\d*)", name)
    if found is None or (len(found[2]) > 1 and found[2] not in _GREEK.split()):
        return name.replace("$", r"\$")
    letter = rf"\{found[2]}" if len(found[2]) > 1 else found[2]
    return f"${found[1]}{letter}{f'_{{{found[3]}}}' if found[3] else ''}$"


def _kinds(path: xr.Dataset, dim: str, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and selections along a dim that is there where it has more than one entry."""
    if dim not in path.dims:
        return [(name, {})]
    return [(str(value), {dim: value}) for value in path[dim].values]


def _rms(values: xr.DataArray) -> Floats:
    others = [dim for dim in values.dims if dim != "step"]
    squares: xr.DataArray = (values**2).mean(others)
    return np.asarray(np.sqrt(squares.values))


def draw_coefficients(axes: Axes, path: xr.Dataset, names: tuple[str, str] = ("mu", "xi")) -> None:
    """Root-mean-square gamma of every signal and rho of every noise, over filters and samples.

    Own arrays have rho of their patches alone.
    """
    steps = path["step"].values
    every = max(1, len(steps) // 12)
    signals = _kinds(path, "signal", names[0]) if "gamma" in path else []
    for k, (name, at) in enumerate(signals):
        style: dict[str, Any] = {
            "color": _COLORS[k % len(_COLORS)],
            "marker": _MARKERS[k % len(_MARKERS)],
            "markersize": 4,
        }
        curve = _positive(_rms(path["gamma"].sel(at)))
        # Signals that grow alike lie on each other: the later ones are thinner, their markers between.
        style |= {"linewidth": max(1.2, 3.2 - k), "markevery": (min(k * every // 3, len(steps) - 1), every)}
        axes.plot(steps, curve, label=rf"$\gamma$ of {symbol(name)}, rms", **style)
    for k, (name, at) in enumerate(_kinds(path, "noise", names[1])):
        curve = _positive(_rms(path["rho"].sel(at)))
        dashed: dict[str, Any] = {
            "color": "#D55E00",
            "linestyle": _DASHES[k % len(_DASHES)],
            "marker": "s",
            "markersize": 4,
        }
        axes.plot(
            steps, curve, linewidth=1.3, markevery=every, label=rf"$\rho$ of {symbol(name)}, rms", **dashed
        )
    if any(np.isfinite(np.asarray(line.get_ydata(), dtype=float)).any() for line in axes.lines):
        axes.set_yscale("log")
    axes.set_ylabel("coefficient")


def _positive(values: Floats) -> Floats:
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def has_extra(result: Result) -> bool:
    """Whether there are errors by cluster, or along the steps."""
    return any(arm.error_by_cluster or "test_error" in arm.trajectory for arm in result.arms.values())


def draw_clusters(result: Result, top: Axes, bottom: Axes) -> None:
    """Above the test error of every cluster, below the test error against steps; arms differ in colour."""
    clusters: list[str] = []
    for k, (name, arm) in enumerate(result.arms.items()):
        color, marker, dashes = ARM_STYLES[k % len(ARM_STYLES)]
        words = arm_words(name)
        if arm.error_by_cluster:
            clusters = list(arm.error_by_cluster)
            places = np.arange(len(clusters)) + 0.12 * (k - (len(result.arms) - 1) / 2)
            values = list(arm.error_by_cluster.values())
            top.plot(values, places, color=color, marker=marker, linestyle="none", label=words)
        if "test_error" in arm.trajectory:
            path = arm.trajectory
            x, y = path["evaluation_step"].values, path["test_error"].values
            bottom.plot(x, y, color=color, marker=marker, linestyle=dashes, markersize=4, label=words)
    if clusters:
        top.set_yticks(np.arange(len(clusters)), [symbol(name) for name in clusters])
        top.set_ylim(len(clusters) - 0.5, -0.5)
        top.set_xlim(-0.02, max(0.52, top.get_xlim()[1]))
        top.set_xlabel("test error (label flips included)")
        top.axvline(0.5, color="0.5", linewidth=0.9, linestyle=":", label="chance")
    top.set_title("Test error by cluster" if clusters else "Test error along the way")
    if not clusters:
        top.axis("off")
    if not bottom.lines:
        bottom.axis("off")
        return
    bottom.set_ylabel("test error")
    bottom.set_ylim(bottom=-0.02)
