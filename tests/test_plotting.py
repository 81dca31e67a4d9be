"""Figures: every kind of run can be drawn, without a warning, and what is drawn is what was found."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from test_result import VARIANTS, result_of

import numsim
from numsim.runs.result import Result
from numsim.runs.saved import load_result
from numsim.shown.run_figure import figure, save_figure
from numsim.shown.style import picture_kind

Floats = npt.NDArray[np.float64]


def _rendered(drawn: Figure) -> bytes:
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=50)
    return file.getvalue()


def _lines(axes: Axes, predicted: bool) -> list[Line2D]:
    return [line for line in axes.lines if same_color(line.get_color(), "black") == predicted]


def _predictions(drawn: Figure) -> list[Line2D]:
    return [line for axes in drawn.axes for line in _lines(axes, predicted=True)]


def _points(line: Line2D) -> tuple[Floats, Floats]:
    return np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_run_can_be_drawn(variant: str) -> None:
    result = result_of(variant)
    drawn = figure(result)
    assert _rendered(drawn)
    columns = 1 if result.pretraining is None else 3
    assert len(drawn.axes) == 2 * columns
    assert all(line.is_dashed() for line in _predictions(drawn))
    for axes in drawn.axes:
        labels = axes.get_legend_handles_labels()[1]
        assert len(labels) == len(set(labels))


@pytest.mark.parametrize("variant", ["plain", "direct only", "training explodes", "no steps"])
def test_a_loaded_result_is_drawn_the_same(variant: str, tmp_path: Path) -> None:
    result = result_of(variant)
    result.save(tmp_path / "result.nc")
    assert _rendered(figure(load_result(tmp_path / "result.nc"))) == _rendered(figure(result))


@cache
def _calm(snr: float, overlap: float = 0.0) -> Result:
    """Small filters at n0 = 100 and settings away from 1: a long linear stage and races of some length."""
    settings: dict[str, object] = {
        "data.dim": 1e8,
        "data.snr": snr,
        "data.sigma_p": 2.0,
        "data.balanced": True,
        "network.q": 4.0,
        "network.relative_init_scale": 1e-4,
        "pretraining.temperature": 3.0,
        "pretraining.overlap": overlap,
        "evaluation.samples": 50,
        "finetuning.max_steps": 5000,
        "finetuning.target_loss": 0.1,
    }
    return numsim.run(numsim.load(None, settings))


@pytest.mark.compiled
@pytest.mark.parametrize("snr", [0.1, 0.3])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
def test_coefficients_and_their_prediction(snr: float, overlap: float) -> None:
    """Root mean squares as measured; on them the prediction, until the softmax saturates near the end."""
    result = _calm(snr, overlap)
    assert result.pretraining is not None
    path = result.pretraining.trajectory
    axes = figure(result).axes[0]
    measured, predicted = _lines(axes, predicted=False), _lines(axes, predicted=True)
    for line, name in zip(measured, ("gamma", "rho"), strict=True):
        values = path[name].values.reshape(len(path["step"]), -1)
        steps, drawn = _points(line)
        assert np.array_equal(steps, path["step"])
        expected = np.linalg.norm(values, axis=1) / np.sqrt(values.shape[1])
        assert drawn[1:] == pytest.approx(expected[1:], rel=tolerances.CLOSED_FORM)
    for line, law in zip(measured, predicted, strict=True):
        at, values = _points(law)
        linear = (at > 0) & (at < 0.8 * result.pretraining.steps)
        drawn = np.interp(at[linear], *_points(line))
        assert linear.sum() > len(path["step"]) / 2
        assert values[linear] == pytest.approx(drawn, rel=tolerances.HAND_OVER)


def test_fresh_views_have_no_predicted_coefficients() -> None:
    assert not _lines(figure(result_of("fresh views")).axes[0], predicted=True)


@pytest.mark.compiled
@pytest.mark.parametrize("snr", [0.1, 0.3])
def test_races_start_where_the_curves_do_and_keep_up_with_the_winner(snr: float) -> None:
    result = _calm(snr)
    for name, axes in zip(("simclr", "direct"), figure(result).axes[1:3], strict=True):
        curves = _lines(axes, predicted=False), _lines(axes, predicted=True)
        labels = [str(line.get_label()) for line in curves[0]]
        assert ["mu" in label for label in labels] == [True, False, True, False]
        assert ["+1" in label for label in labels] == [True, True, False, False]
        path = getattr(result, name).trajectory
        for k, (line, law) in enumerate(zip(*curves, strict=True)):
            steps, drawn = _points(line)
            assert np.array_equal(steps, path["step"])
            at, values = _points(law)
            assert values[0] == pytest.approx(drawn[0], rel=tolerances.SOLVED)
            sign = ("+1", "-1")[k // 2]
            row = result.theory["race"][name][sign]
            blow_up = min(row["signal_time"], row["noise_time"])
            if blow_up == row[("signal_time", "noise_time")[k % 2]] < steps[-1]:
                half = 0.5 * blow_up
                assert np.interp(half, at, values) == pytest.approx(
                    drawn[0] * 2 ** (1 / (4 - 2)), rel=tolerances.REMAINDER
                )
                assert np.interp(half, at, values) == pytest.approx(
                    np.interp(half, steps, drawn), rel=tolerances.BLOW_UP
                )


@pytest.mark.compiled
def test_the_memorised_noise_is_the_median_sample() -> None:
    result = _calm(0.1)
    axes = figure(result).axes[2]
    path = result.direct.trajectory
    for index, sign in enumerate((1, -1)):
        _, drawn = _points(_lines(axes, predicted=False)[2 * index + 1])
        inner = path["noise_inner"].values[:, index]
        largest = [inner[:, :, i].max(axis=1) for i in np.flatnonzero(path["label"] == sign)]
        assert drawn == pytest.approx(np.median(largest, axis=0), rel=tolerances.CLOSED_FORM)


@pytest.mark.compiled
def test_the_contrastive_loss_starts_at_its_upper_level() -> None:
    """log n0 for filters at zero (E5); the level of a pure signal is log 2 below."""
    result = _calm(0.3)
    loss, upper, lower = figure(result).axes[3].lines
    levels = [float(_points(line)[1][0]) for line in (upper, lower)]
    assert _points(loss)[1][0] == pytest.approx(levels[0], rel=tolerances.LINEARISED)
    assert levels[0] - levels[1] == pytest.approx(np.log(2), rel=tolerances.CLOSED_FORM)


def test_the_title_has_the_test_error() -> None:
    result = result_of("plain")
    titles = [axes.get_title().splitlines() for axes in figure(result).axes[1:3]]
    for arm, (_, outcome) in zip((result.simclr, result.direct), titles, strict=True):
        assert arm is not None
        assert outcome == f"test error {arm.test_error:.3g}"


def test_no_race_is_drawn_where_none_is_run() -> None:
    titles = {axes.get_title(): axes for axes in figure(result_of("relu")).axes}
    direct = next(axes for title, axes in titles.items() if title.startswith("Direct"))
    assert not any(same_color(line.get_color(), "black") for line in direct.lines)


def test_what_was_not_finite_is_said_to_be() -> None:
    titles = [axes.get_title() for axes in figure(result_of("pre-training explodes")).axes]
    assert sum("not finite" in title for title in titles) == 2
    assert not any("nan" in title for title in titles)


@pytest.mark.parametrize("name", ["a.png", "a.PDF", "a.svg"])
def test_formats(name: str, tmp_path: Path) -> None:
    save_figure(result_of("plain"), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[picture_kind(name)]
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["a", "a.jpg", "png", ".png", "a.png.txt"])
def test_unknown_formats_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected \.png, \.pdf, \.svg or \.pgf"):
        save_figure(result_of("plain"), tmp_path / name)
    assert not list(tmp_path.iterdir())


_XOR: dict[str, object] = {
    "data.dim": 50,
    "data.signals": {"u": {"norm": 4.0}, "v": {"norm": 4.0}},
    "data.clusters": [
        {"label": label, "patches": [{name: sign}, {"xi": 1}]}
        for name, label in (("u", 1), ("v", -1))
        for sign in (1, -1)
    ],
    "network.filters": 2,
    "pretraining.samples": 0,
    "finetuning.samples": 4,
    "finetuning.max_steps": 3,
    "evaluation.samples": 10,
    "evaluation.every": 1,
}


@pytest.mark.parametrize(("arms", "across"), [(1, 2), (3, 4), (6, 4)])
def test_many_arms_are_wrapped(arms: int, across: int) -> None:
    """A panel an arm and one of all of them, never more than four beside each other."""
    rates: dict[str, object] = {
        f"arms.a{k}": {"finetuning.learning_rate": 0.1 * (k + 1)} for k in range(arms)
    }
    drawn = figure(numsim.run(numsim.load(None, _XOR | rates)))
    assert _rendered(drawn)
    assert len(drawn.axes) == 2 * (arms + 1)
    titles = [title for axes in drawn.axes if (title := axes.get_title())]
    assert [title.splitlines()[0] for title in titles] == [*(f"a{k}" for k in range(arms)), titles[-1]]
    positions = {round(axes.get_position().x0, 2) for axes in drawn.axes if axes.get_title()}
    assert len(positions) == across
