"""The figure of a run: coefficients of both arms and the losses, with theory's predictions drawn in.

Signal and noise differ by colour (blue and vermilion of Okabe and Ito), marker and line width, predictions
by dashes, so that the figure reads in grey and for the colour-blind.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..config.arms import Plan
from ..config.experiment import Resolved
from ..descent.driver import NON_FINITE
from ..runs.files import write_atomically
from ..runs.prediction import predicted_spectrum, predicted_unit
from ..runs.result import ArmResult, Result
from ..theory import coefficient_growth
from .drawing import columns_of, footer, headline, page_width
from .mixture_panels import draw_clusters, draw_coefficients, has_extra, symbol
from .numbers import number
from .style import SCREEN, Look, picture, picture_kind

__all__ = ["figure", "save_figure"]

Floats = npt.NDArray[np.float64]

_SIGNAL: dict[str, Any] = {"color": "#0072B2", "marker": "o", "linewidth": 2.2, "markersize": 4}
_NOISE: dict[str, Any] = {"color": "#D55E00", "marker": "s", "linewidth": 1.3, "markersize": 4}
_PREDICTED: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.1, "zorder": 5}
_SMALLEST, _LARGEST = 1e-100, 1e200  # what is drawn: the margins of a logarithmic axis must not overflow
_BEYOND = 30.0  # a prediction is drawn to this multiple of what was measured
_ORDER_ONE = 2.0
_THEORY = "theory, to leading order"
_MOST_COLUMNS = 4
_NARROWEST = 1.6
"""Inches of a column."""
_LOSSES = {"info_nce": "InfoNCE loss", "nt_xent": "NT-Xent loss", "spectral": "spectral loss"}
_TITLES = {"simclr": "Fine-tuning after pre-training", "direct": "Direct training"}


def save_figure(result: Result, path: str | os.PathLike[str], look: Look = SCREEN) -> None:
    """Draw ``figure(result)`` to a .png, .pdf, .svg or .pgf file (replaced only when whole)."""
    content = picture(lambda: figure(result), picture_kind(path), look)
    write_atomically(Path(path), lambda file: file.write(content))


def figure(result: Result) -> Figure:
    """The figure of a run: a column a stage; coefficients above, loss below, what is what at the foot.

    Pre-training: root-mean-square gamma_r and rho_ri with the linear stage's prediction (P2, P3).
    Supervised: per class j the largest j <w, mu> and the median over samples of the largest <w, xi_i>,
    with the leading-order race (S1) a_0 (1 - t/t*)^(-1/(q-2)) up to its blow-up. Logarithmic axes leave out
    what is not positive; predictions end where they leave the range of what was measured.
    """
    present = result.arms
    stages = len(present) + (result.pretraining is not None)
    extra = has_extra(result)
    columns = stages + extra
    drawn, grid = _grid(columns)
    with np.errstate(over="ignore", invalid="ignore"):  # of a run that was not finite
        if result.pretraining is not None:
            _draw_pretraining(result, grid[0, 0], grid[1, 0])
        for column, (name, arm) in enumerate(present.items(), start=stages - len(present)):
            race = (result.theory["race"] or {}).get(name)
            _draw_arm(result.experiment, result.plan(name), arm, race, grid[0, column], grid[1, column])
            finite = arm.status != NON_FINITE and np.isfinite(arm.test_loss)
            outcome = f"test error {number(arm.test_error, 3)}" if finite else "not finite"
            grid[0, column].set_title(f"{_TITLES.get(name, name)}\n{outcome}")
    if extra:
        draw_clusters(result, grid[0, -1], grid[1, -1])
    across = columns_of(columns, _MOST_COLUMNS, _NARROWEST)
    ticks = max(3, min(5, int(1.6 * drawn.get_figwidth() / across)))
    for top, bottom in grid.T:
        bottom.set_xlabel("step")
        for axes in (top, bottom):
            if extra and (not axes.axison or axes is grid[0, -1]):
                continue
            axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))
            _tidy(axes)
    headline(drawn, _headline(result))
    meanings = {symbol(name)[1:-1]: "signal" for name in _signals(result.experiment)}
    if result.experiment.data.own:
        meanings[r"\rho"] = "coefficients of the filters on patches"
    footer(drawn, meanings)
    return drawn


def _grid(columns: int) -> tuple[Figure, npt.NDArray[np.object_]]:
    """A figure, and its axes (2, columns): wrapped where one line of columns would be too small to read."""
    across = columns_of(columns, _MOST_COLUMNS, _NARROWEST)
    lines = -(-columns // across)
    width = page_width((4.6 if across <= 3 else 3.6) * across)
    height = (1.0 + 1.1 * width / across) * lines
    drawn = Figure(figsize=(width, height), layout="constrained")
    places = drawn.subplots(2 * lines, across, squeeze=False, height_ratios=[1.6, 1] * lines)
    grid = places.reshape(lines, 2, across).swapaxes(0, 1).reshape(2, -1)
    for place in grid[:, columns:].ravel():
        place.remove()
    return drawn, grid[:, :columns]


def _signals(e: Resolved) -> Sequence[str]:
    return e.mixtures.data.signals if e.table else ()


def _headline(result: Result) -> str:
    """The experiment in a line."""
    e = result.experiment
    if e.data.own:
        sizes = f"$n_0$ = {e.pretraining.samples}, $n$ = {e.finetuning.samples}, $m$ = {e.network.filters}"
        words = "digits" if e.data.source else "own arrays"
        return f"{words}, $d$ = {e.data.dim}, {sizes}, seed {e.seed}"
    sizes = f"$n_0$ = {e.pretraining.samples}, $n$ = {e.finetuning.samples}, $m$ = {e.network.filters}"
    if not e.table:
        strength, sizes = f"SNR = {number(e.snr, 3)}", f"{sizes}, $q$ = {e.network.q:g}"
    else:
        lengths = zip(_signals(e), e.mixtures.data.norms, strict=True)
        strength = ", ".join(rf"$\Vert${symbol(name)}$\Vert$ = {number(norm, 3)}" for name, norm in lengths)
    return f"$d$ = {number(e.data.dim, 3)}, {strength}, {sizes}, seed {e.seed}"


def _tidy(axes: Axes) -> None:
    """Make sense of axes with no step on them, or one."""
    steps = {step for line in axes.lines for step in np.atleast_1d(np.asarray(line.get_xdata()))}
    if not steps:
        axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, ha="center")
        axes.set(xticks=[], yticks=[])
    elif len(steps) == 1:
        axes.set_xlim(min(steps) - 1, max(steps) + 1)


def _curve(axes: Axes, steps: Floats, values: Floats, label: str, style: dict[str, Any]) -> float:
    """Draw what a logarithmic axis can show of a curve; returns its largest value (0: nothing)."""
    shown = np.isfinite(values) & (values > _SMALLEST) & (values < _LARGEST)
    if not shown.any():
        return 0.0
    every = max(1, len(steps) // 12)
    axes.plot(steps, np.where(shown, values, np.nan), markevery=every, label=label, **style)
    return float(values[shown].max())


def _prediction(axes: Axes, steps: Floats, values: Floats, ceiling: float) -> None:
    """Draw a prediction up to ``ceiling``, labelled once."""
    shown = np.isfinite(values) & (values > _SMALLEST) & (values < ceiling)
    if shown.any():
        label = "_" if _THEORY in axes.get_legend_handles_labels()[1] else _THEORY
        axes.plot(steps[shown], values[shown], label=label, **_PREDICTED)


def _draw_pretraining(result: Result, top: Axes, bottom: Axes) -> None:
    stage, e = result.pretraining, result.experiment
    assert stage is not None
    path = stage.trajectory
    steps = path["step"].values
    if e.table or e.data.own:
        _draw_table_stage(result, top, bottom)
        return
    gamma = np.sqrt(np.mean(path["gamma"].values ** 2, axis=1))
    rho = np.sqrt(np.mean(path["rho"].values ** 2, axis=(1, 2)))
    highest = max(
        _curve(top, steps, gamma, r"$\gamma$ (signal), rms", _SIGNAL),
        _curve(top, steps, rho, r"$\rho$ (noise), rms", _NOISE),
    )
    if e.pretraining.views == "fixed" and result.theory["pretraining"] is not None:
        for values in _predicted_growth(e, result.theory["pretraining"], steps):
            _prediction(top, steps, values, _BEYOND * highest)
    if highest > 0:
        top.set_yscale("log")
    top.set_ylabel("coefficient")
    outcome = (
        f"$\\cos^2(W - W^0, \\mu)$ = {number(stage.alignment, 3)}"
        if np.isfinite(stage.alignment)
        else "no alignment"
    )
    top.set_title(f"Pre-training\n{'not finite' if stage.status == NON_FINITE else outcome}")
    loss = path["loss"].values
    _draw_loss(bottom, steps, loss)
    bottom.set_ylabel(_LOSSES[e.pretraining.loss])
    n0 = e.pretraining.samples
    if not e.pretraining.has_linear_stage:
        return
    if np.any(loss > _BEYOND * np.log(n0)):  # it exploded
        bottom.set_yscale("log")
        return
    for level, text in ((np.log(n0), r"$\log n_0$"), (np.log(n0 / 2), r"$\log (n_0/2)$")):
        _level(bottom, level, text)
    bottom.margins(y=0.4)


def _draw_loss(axes: Axes, steps: Floats, loss: Floats) -> None:
    marker = "o" if len(steps) == 1 else ""
    axes.plot(steps, np.where(loss < _LARGEST, loss, np.nan), color="0.15", linewidth=1.8, marker=marker)


def _level(axes: Axes, level: float, text: str) -> None:
    axes.axhline(level, color="0.5", linewidth=0.9, linestyle=":")
    axes.annotate(text, (0.02, level), xycoords=("axes fraction", "data"), va="bottom", fontsize="small")


def _predicted_growth(e: Resolved, measured: dict[str, Any], steps: Floats) -> tuple[Floats, Floats]:
    limit = predicted_spectrum(e)
    unit = predicted_unit(e)
    return coefficient_growth(
        steps,
        growth=unit * limit.top,
        alignment=limit.alignment,
        unit=unit,
        overlap=e.pretraining.overlap,
        samples=e.pretraining.samples,
        signal_norm=e.signal_norm,
        noise_norm=e.noise_norm,
        init_scale=e.init_scale,
        initial_overlap=measured["initial_overlap"]["measured"],
    )


def _draw_arm(
    e: Resolved, plan: Plan, arm: ArmResult, race: dict[str, dict[str, Any]] | None, top: Axes, bottom: Axes
) -> None:
    path = arm.trajectory
    steps = path["step"].values
    if e.table or e.data.own:
        draw_coefficients(top, path, _table_names(e))
        _draw_training_loss(plan, path, bottom)
        return
    signal, noise, labels = path["signal_inner"].values, path["noise_inner"].values, path["label"].values
    for index, sign in enumerate((1, -1)):
        members = labels == sign
        fill = {"fillstyle": "full" if sign == 1 else "none"}
        own = f"$j = {sign:+d}$"
        strongest = (sign * signal[:, index]).max(axis=1)
        memorised = _median_of_largest(noise[:, index][:, :, members])
        _curve(top, steps, strongest, rf"$\max_r\, j\langle w_{{jr}}, \mu\rangle$, {own}", _SIGNAL | fill)
        _curve(
            top,
            steps,
            memorised,
            rf"median$_i\,\max_r \langle w_{{jr}}, \xi_i\rangle$, {own}",
            _NOISE | fill,
        )
        if race is not None and f"{sign:+d}" in race:
            _draw_race(e, race[f"{sign:+d}"], steps, top)
    if top.lines:
        top.set_yscale("log")
    top.set_ylabel("inner product")
    _draw_training_loss(plan, path, bottom)


def _table_names(e: Resolved) -> tuple[str, str]:
    if e.data.own:
        return "", "patches"
    data = e.mixtures.data
    return data.signals[0], data.noises[0]


def _draw_table_stage(result: Result, top: Axes, bottom: Axes) -> None:
    """The contrastive stage of a mixture."""
    stage, e = result.pretraining, result.experiment
    assert stage is not None
    draw_coefficients(top, stage.trajectory, _table_names(e))
    words = "not finite" if stage.status == NON_FINITE else f"{stage.steps} steps"
    top.set_title(f"Pre-training\n{words}")
    _draw_loss(bottom, stage.trajectory["step"].values, stage.trajectory["loss"].values)
    bottom.set_ylabel(_LOSSES[e.pretraining.loss])


def _draw_training_loss(plan: Plan, path: Any, bottom: Axes) -> None:
    loss, steps = path["loss"].values, path["step"].values
    _draw_loss(bottom, steps, np.where(loss > 0, loss, np.nan))
    bottom.set_yscale("log")
    bottom.set_ylabel("training loss")
    target = plan.finetuning.target_loss
    if len(loss) and _SMALLEST < target < _BEYOND * np.nanmax(loss):
        _level(bottom, target, "target")


def _draw_race(e: Resolved, row: dict[str, Any], steps: Floats, axes: Axes) -> None:
    for kind in ("signal", "noise"):
        start, blow_up = row[f"{kind}_start"], row[f"{kind}_time"]
        if blow_up is None or not np.isfinite(blow_up) or start <= 0 or len(steps) < 2:
            continue
        t = np.linspace(0, min(blow_up, float(steps[-1])), 400)
        t = t[t < blow_up * (1 - 1e-6)]
        curve = start * (1 - t / blow_up) ** (-1 / (e.network.q - 2))
        # Beyond activations of order one |l'| = 1/2 no longer holds.
        _prediction(axes, t, curve, _ORDER_ONE)


def _median_of_largest(inner: Floats) -> Floats:
    """Median over samples of the largest over filters; inner (step, filter, sample)."""
    if inner.shape[2] == 0:
        return np.full(len(inner), np.nan)
    median: Floats = np.median(inner.max(axis=1), axis=1)
    return median
