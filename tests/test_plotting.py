"""Figures: every kind of run can be drawn, without a warning and without empty promises."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from test_result import VARIANTS, result_of

from numsim.plotting import figure, picture_kind, save_figure
from numsim.result import load_result


def _rendered(drawn: Figure) -> bytes:
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=50)
    return file.getvalue()


def _predictions(drawn: Figure) -> list[Line2D]:
    return [line for axes in drawn.axes for line in axes.lines if same_color(line.get_color(), "black")]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_run_can_be_drawn(variant: str) -> None:
    result = result_of(variant)
    drawn = figure(result)
    assert _rendered(drawn)
    columns = 1 if result.pretraining is None else 3
    assert len(drawn.axes) == 3 * columns
    assert all(line.is_dashed() for line in _predictions(drawn))
    for axes in drawn.axes:
        labels = axes.get_legend_handles_labels()[1]
        assert len(labels) == len(set(labels))


@pytest.mark.parametrize("variant", ["plain", "direct only", "training explodes", "no steps"])
def test_a_loaded_result_is_drawn_the_same(variant: str, tmp_path: Path) -> None:
    result = result_of(variant)
    result.save(tmp_path / "result.nc")
    assert _rendered(figure(load_result(tmp_path / "result.nc"))) == _rendered(figure(result))


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
    with pytest.raises(ValueError, match=r"expected \.png, \.pdf or \.svg"):
        save_figure(result_of("plain"), tmp_path / name)
    assert not list(tmp_path.iterdir())
