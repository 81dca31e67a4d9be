"""The cells of a sweep: axes, their faults all at once, and keys equal exactly where settings are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
from hypothesis import given
from hypothesis import strategies as st

import numsim
from numsim.config.errors import ConfigError
from numsim.runs.measures import PHYSICS
from numsim.shown.phase_diagrams import diagram
from numsim.shown.sweep_tables import means_table
from numsim.sweeps.grid import Axis, Grid, parse_axes
from numsim.sweeps.results import load_results

E = numsim.Experiment(data={"snr": 0.5}, pretraining={"samples": 8}, finetuning={"samples": 4})


def values(name: str, given: Any) -> tuple[int | float, ...]:
    (axis,) = parse_axes({name: given})
    assert axis.name == name
    return axis.values


def faults(over: Any) -> list[str]:
    with pytest.raises(numsim.ConfigError) as caught:
        parse_axes(over)
    assert all(len(line.splitlines()) == 1 for line in caught.value.faults)
    return list(caught.value.faults)


def keys(experiment: numsim.Experiment, over: Any, measures: tuple[str, ...] = ("arms",)) -> list[bytes]:
    grid = Grid(experiment, parse_axes(over))
    return [grid.key(cell, measures) for cell in range(grid.size)]


# ---------------------------------------------------------------- axes


@pytest.mark.parametrize("given", [[0.3, 0.1], (0.3, 0.1), np.array([0.3, 0.1]), {"list": [0.3, 0.1]}])
def test_values_are_those_given_in_their_order(given: Any) -> None:
    assert values("data.snr", given) == (0.3, 0.1)


def test_values_have_the_type_of_their_setting() -> None:
    for listed in ([4, 1e3], np.array([4, 1000]), np.array([4.0, 1000.0]), [np.int32(4), np.float64(1000)]):
        found = values("finetuning.samples", listed)
        assert found == (4, 1000)
        assert {type(x) for x in found} == {int}
    assert {type(x) for x in values("data.snr", [0, np.int64(1), np.float32(2)])} == {float}
    assert values("data.dim", [1e15]) == (10**15,)


def test_linspace_and_geomspace() -> None:
    assert values("data.snr", {"linspace": [0.5, 0.1, 5]}) == tuple(np.linspace(0.5, 0.1, 5).tolist())
    found = values("data.snr", {"geomspace": [0.05, 0.8, 16]})
    assert (found[0], found[-1], len(found)) == (0.05, 0.8, 16)
    ratios = np.diff(np.log(found))
    assert np.ptp(ratios) < tolerances.CLOSED_FORM


def test_spaced_counts_are_rounded_and_met_once() -> None:
    assert values("finetuning.samples", {"linspace": [1, 4, 10]}) == (1, 2, 3, 4)
    assert values("finetuning.samples", {"geomspace": [1, 100, 5]}) == (1, 3, 10, 32, 100)
    assert values("data.dim", {"geomspace": [1, 1e15, 4]}) == (1, 10**5, 10**10, 10**15)


@given(
    first=st.floats(1e-3, 1e3), last=st.floats(1e-3, 1e3), count=st.integers(2, 40),
    kind=st.sampled_from(["linspace", "geomspace"]),
)  # fmt: skip
def test_ends_are_met_exactly(first: float, last: float, count: int, kind: str) -> None:
    try:
        found = values("data.snr", {kind: [first, last, count]})
    except numsim.ConfigError as error:
        assert "expected different values" in str(error)  # noqa: PT017 - ends so near that values coincide
        assert abs(first - last) < tolerances.roundoff(count, max(first, last))
        return
    assert (found[0], found[-1], len(found)) == (first, last, count)


def test_tied_settings_move_with_their_axis() -> None:
    over = {"network.q": {"list": [3, 4], "tied": {"network.init_scale": [0.1, 0.2]}}, "data.snr": [1, 2, 3]}
    grid = Grid(E, parse_axes(over))
    assert grid.shape == (2, 3)
    cells = list(grid.cells())
    assert cells[0] == {"network.q": 3.0, "network.init_scale": 0.1, "data.snr": 1.0}
    assert cells[5] == {"network.q": 4.0, "network.init_scale": 0.2, "data.snr": 3.0}


def test_cells_are_all_combinations_the_last_axis_fastest() -> None:
    grid = Grid(E, parse_axes({"data.snr": [0.1, 0.2], "finetuning.samples": [2, 4, 6]}))
    assert (grid.shape, grid.size) == ((2, 3), 6)
    pairs = [tuple(cell.values()) for cell in grid.cells()]
    assert pairs == [(s, n) for s in (0.1, 0.2) for n in (2, 4, 6)]
    assert grid.axis("finetuning.samples") == Axis("finetuning.samples", (2, 4, 6))


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("over", [{}, None, [], 5, "data.snr"])
def test_there_must_be_an_axis(over: Any) -> None:
    (line,) = faults(over)
    assert "at least one axis" in line


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("data.snnr", [0.1], "nearest: data.snr"),
        ("snr", [0.1], "nearest: data.snr"),
        (7, [0.1], "the name of a number"),
        ("data", [0.1], "the name of a number"),
        ("data.balanced", [True, False], "the name of a number"),
        ("data.projected", [True], "the name of a number"),
        ("seed", [1, 2], "seeds to be given by seeds"),
        ("data.snr", [], "not empty"),
        ("data.snr", {}, "geomspace"),
        ("data.snr", "0.1", "a list of numbers"),
        ("data.snr", 0.1, "a list of numbers"),
        ("data.snr", None, "a list of numbers"),
        ("data.snr", {0.1, 0.2}, "a list of numbers"),
        ("data.snr", np.array(0.1), "a list of numbers"),
        ("data.snr", np.array([]), "not empty"),
        ("data.snr", np.array([[0.1, 0.2]]), "[0]: got [0.1, 0.2], expected a finite number"),
        ("data.snr", [0.1, math.nan], "over.data.snr[1]: got nan, expected a finite number"),
        ("data.snr", [math.inf], "got inf"),
        ("data.snr", [0.1, "0.2"], "got '0.2'"),
        ("data.snr", [True], "got True"),
        ("data.snr", [None], "got None"),
        ("data.snr", [10**400], "expected a finite number"),
        ("data.snr", [-0.1], "at least 0"),
        ("data.snr", [0.1, 0.2, 0.1], "different values"),
        ("data.snr", [0.0, -0.0], "different values"),
        ("finetuning.samples", [2, 2.5], "an integer from 1"),
        ("pretraining.samples", [0, 1], "needs a negative"),
        ("data.snr", {"linspace": [0, 1]}, "two numbers and a count"),
        ("data.snr", {"linspace": [0, 1, 1]}, "a count >= 2"),
        ("data.snr", {"linspace": [0, 1, 2.5]}, "a count >= 2"),
        ("data.snr", {"linspace": [0, 1, 1e9]}, "a count >= 2"),
        ("data.snr", {"linspace": [0, math.nan, 3]}, "two numbers"),
        ("data.snr", {"linspace": [0, "1", 3]}, "two numbers"),
        ("data.snr", {"linspace": "abc"}, "{linspace = "),
        ("data.snr", {"linspace": 5}, "{linspace = "),
        ("data.snr", {"linspace": [0, 1, 3], "geomspace": [1, 2, 3]}, "{linspace = "),
        ("data.snr", {"logspace": [0, 1, 3]}, "{linspace = "),
        ("data.snr", {"linspace": [0.2, 0.2, 3]}, "different values"),
        ("data.snr", {"geomspace": [0, 1, 3]}, "positive ends"),
        ("data.snr", {"list": []}, "not empty"),
        ("data.snr", {"list": [1], "tied": [3]}, "a table of settings"),
        ("data.snr", {"list": [1, 2], "tied": {"network.q": [3]}}, "as many values as the axis has"),
        ("data.snr", {"list": [1], "tied": {"network.p": [3]}}, "nearest: network."),
        ("data.snr", {"list": [1], "tied": {"data.snr": [1]}}, "data.snr twice"),
        ("data.snr", {"list": [1], "tied": {"data.signal_norm": [1]}}, "one of the two"),
    ],
)  # fmt: skip
def test_a_fault_of_an_axis(name: Any, given: Any, words: str) -> None:
    assert any(words in line for line in faults({name: given}))


def test_twins_cannot_both_be_axes() -> None:
    (line,) = faults({"data.snr": [0.1], "data.signal_norm": [3]})
    assert line == "over: got both data.snr and data.signal_norm, expected one of the two"


def test_every_fault_at_once() -> None:
    found = faults(
        {"data.snr": [0.1, math.nan, -1], "data.dmi": [3], "finetuning.samples": [], "network.q": [3, 3]}
    )
    assert [line.split(":")[0] for line in found] == [
        "over.data.snr[1]",
        "over.data.snr[2]",
        "over.data.dmi",
        "over.finetuning.samples",
        "over.network.q",
    ]


def test_too_many_cells() -> None:
    (line,) = faults(
        {"data.snr": {"linspace": [0, 1, 10**4]}, "finetuning.samples": {"linspace": [1, 1e6, 1001]}}
    )
    assert "10010000 cells" in line
    assert "a part at a time" in line


# ---------------------------------------------------------------- keys


def test_all_cells_have_different_keys() -> None:
    over = {"data.snr": {"linspace": [0, 1, 21]}, "finetuning.samples": {"linspace": [1, 20, 20]}}
    found = keys(E, over)
    assert len(set(found)) == len(found) == 420
    assert {len(key) for key in found} == {16}


def test_a_key_is_that_of_the_settings_wherever_they_come_from() -> None:
    one = keys(E, {"data.snr": [0.5, 0.7], "finetuning.samples": [4, 6]})
    swapped = keys(E, {"finetuning.samples": [4, 6], "data.snr": [0.5, 0.7]})
    assert [one[0], one[2], one[1], one[3]] == swapped
    assert keys(E, {"data.snr": [0.5, 0.7]}) == [one[0], one[2]]  # samples = 4 from the experiment
    assert keys(E.replace({"data.snr": 0.7}), {"finetuning.samples": [6, 4]}) == [one[3], one[2]]
    assert keys(E.replace({"seed": 5}), {"data.snr": [0.5]}) == one[:1]  # its seed is not used
    assert keys(E, {"data.snr": np.array([0.5])}) == keys(E, {"data.snr": [np.float64(0.5)]}) == one[:1]
    assert keys(E, {"finetuning.samples": [4.0]}) == one[:1]
    tied = {"data.snr": {"list": [0.7], "tied": {"finetuning.samples": [6]}}}
    assert keys(E, tied) == one[3:]


@given(x=st.floats(0, 1e9), y=st.floats(0, 1e9))
def test_keys_differ_exactly_where_settings_do(x: float, y: float) -> None:
    assert (keys(E, {"data.snr": [x]}) == keys(E, {"data.snr": [y]})) == (x == y and str(x) == str(y))


@pytest.mark.parametrize(
    "other",
    [
        {"data.snr": math.nextafter(0.5, 1)},
        {"data.dim": 10**8 + 1},
        {"data.sigma_p": 1 + tolerances.EPS},
        {"data.projected": False},
        {"data.balanced": True},
        {"data.flip_probability": 5e-324},
        {"network.filters": 11},
        {"network.q": 3.5},
        {"network.init_scale": 1e-3},
        {"network.relative_init_scale": 1e-3},
        {"network.output_scale": 2},
        {"network.bias": True},
        {"pretraining.samples": 10},
        {"pretraining.temperature": 2},
        {"pretraining.learning_rate": 1e-9},
        {"pretraining.steps": 7},
        {"pretraining.views": "fresh"},
        {"pretraining.overlap": 0.5},
        {"pretraining.stop_at_linear_end": False},
        {"finetuning.samples": 5},
        {"finetuning.labelled": "subset"},
        {"finetuning.learning_rate": 1e-9},
        {"finetuning.max_steps": 3},
        {"finetuning.target_loss": 0},
        {"evaluation.samples": 7},
        {"threads": 2},
    ],
)
def test_any_other_setting_is_another_key(other: dict[str, Any]) -> None:
    axis = "network.q" if "network.q" not in other else "network.output_scale"
    over = {axis: [3.0] if axis == "network.q" else [1.0]}
    assert keys(E.replace(other), over) != keys(E, over)


def test_what_is_measured_is_part_of_the_key() -> None:
    over = {"data.snr": [0.5]}
    different = {keys(E, over, m)[0] for m in (("arms",), ("spectrum",), ("arms", "spectrum"))}
    assert len(different) == 3


def test_so_is_the_physics_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(E, {"data.snr": [0.5]})
    monkeypatch.setattr("numsim.sweeps.grid.PHYSICS", PHYSICS + 1)
    assert keys(E, {"data.snr": [0.5]}) != before


@pytest.mark.parametrize(
    ("given", "axis"),
    [
        ("data.snr", "data.signal_norm"),
        ("data.signal_norm", "data.snr"),
        ("network.init_scale", "network.relative_init_scale"),
        ("network.relative_init_scale", "network.init_scale"),
    ],
)
def test_an_axis_displaces_its_twin(given: str, axis: str) -> None:
    base = numsim.Experiment().replace({given: 0.3})
    assert keys(base, {axis: [0.2]}) == keys(numsim.Experiment().replace({axis: 0.2}), {axis: [0.2]})
    cell = base.replace(Grid(base, parse_axes({axis: [0.2]})).overrides(0))
    part, name = given.split(".")
    assert getattr(getattr(cell, part), name) is None


def test_axes_of_words_and_classes(tmp_path: Path) -> None:
    """Words keep their order, ledgers and files know them, figures and tables name them."""
    over = {"pretraining.loss": ["spectral", "info_nce"], "data.snr": [0.1, 0.3]}
    stage: dict[str, Any] = {"samples": 6, "steps": 3}
    small: dict[str, Any] = {"data.dim": 100, "pretraining": stage, "finetuning": {"max_steps": 3}}
    found = numsim.sweep(small, over, 2, tmp_path / "out")
    assert list(found["pretraining.loss"].values) == ["spectral", "info_nce"]
    at = {"pretraining.loss": "spectral", "data.snr": 0.3, "seed": 1, "arm": "simclr"}
    alone = numsim.run({**small, "pretraining": {**stage, "loss": "spectral"}, "data.snr": 0.3}, 1)
    assert float(found["test_loss"].sel(at)) == alone.arms["simclr"].test_loss
    assert numsim.sweep(small, over, 2, tmp_path / "out").identical(found)
    saved = load_results(tmp_path / "out" / "results.nc")
    assert saved is not None
    assert list(saved["pretraining.loss"].values) == ["spectral", "info_nce"]
    diagram(saved).canvas.draw()
    diagram(numsim.sweep(small, {"pretraining.views": ["fresh", "fixed"]}, 1, None)).canvas.draw()
    table = means_table(saved)
    assert "spectral" in list(table.columns[0].cells)
    pairs = parse_axes({"data.classes": [[3, 7], (0, 1)]})[0]
    assert pairs.values == ("3 7", "0 1")


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"pretraining.loss": ["simclr"]}, "got 'simclr', expected 'info_nce'"),
        ({"pretraining.loss": {"linspace": [0, 1, 3]}}, "expected a list"),
        ({"data.classes": [[3, 3]]}, "two different digits"),
        ({"pretraining.los": ["a"]}, "nearest: pretraining.loss"),
    ],
)
def test_axes_that_are_no_words(over: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_axes(over)
    assert len(caught.value.faults) == 1
    assert words in caught.value.faults[0]
