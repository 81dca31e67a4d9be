"""The figure, the tables and the files of a sweep."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

import numsim
from numsim.runs.measures import FAILED, NOT_RUN, blank, size
from numsim.shown.phase_diagrams import diagram
from numsim.shown.sweep_tables import counts, show_sweep, summary, write_csv
from numsim.sweeps.criteria import Criterion, sweep_fits
from numsim.sweeps.results import load_saved, netcdf
from numsim.sweeps.study import Study

SNRS, COUNTS = [0.2, 0.4, 0.8], [4, 16, 64, 256]
LEARNS = Criterion(
    "labels needed", "finetuning.samples", "data.snr", arm="direct", at_most=0.1, theory="direct"
)


def swept(over: dict[str, Any] | None = None, measures: tuple[str, ...] = ("arms",), **keywords: Any) -> Any:
    over = {"data.snr": SNRS, "finetuning.samples": COUNTS} if over is None else over
    study = Study(numsim.Experiment(), over, 3, measures=measures, **keywords)
    numbers = np.zeros((study.grid.size, 3, size(measures)))
    for cell in range(study.grid.size):
        at = study.grid.overrides(cell)
        strength = at.get("finetuning.samples", 20) * at.get("data.snr", 0.4) ** 3
        numbers[cell, :, 5 if "arms" in measures else -1] = 0.5 * (strength < 2)
    return study, numbers


def test_a_panel_a_criterion_with_boundary_theory_and_exponent() -> None:
    study, numbers = swept(criteria=[LEARNS], title="What is needed")
    drawn = diagram(study._dataset((numbers, {})))
    panel = drawn.axes[0]
    title, law = panel.get_title().splitlines()
    assert title == "labels needed"
    labels = panel.get_legend_handles_labels()[1]
    assert labels == ["measured boundary, 95 %", "theory: half of all runs learn"]
    assert panel.get_xscale() == panel.get_yscale() == "log"
    assert "SNR" in panel.get_xlabel()
    assert "$n$" in panel.get_ylabel()
    assert "$b$ = −" in law
    assert "theory" in law
    assert drawn.get_suptitle().startswith("What is needed")


def test_heat_is_the_mean_over_seeds_and_blank_where_nothing_was_run() -> None:
    study, numbers = swept()
    numbers[0] = blank(("arms",), NOT_RUN)
    numbers[5, 0, 5] = 0.3  # one of three seeds
    found = study._dataset((numbers, {}))
    direct = next(axes for axes in diagram(found).axes if axes.get_title() == "direct training")
    (mesh,) = direct.collections
    array: Any = mesh.get_array()
    values = array.reshape(4, 3)  # n up, SNR across; cells are numbered with n fastest
    assert np.ma.is_masked(values[0, 0]) or math.isnan(values[0, 0])
    assert values[1, 1] == pytest.approx((0.3 + 2 * numbers[5, 1, 5]) / 3)


def test_one_axis_gives_curves() -> None:
    study, numbers = swept({"data.snr": SNRS})
    (axes,) = diagram(study._dataset((numbers, {}))).axes
    assert axes.get_legend_handles_labels()[1] == ["pre-trained, fine-tuned", "direct training"]
    numbers[:] = blank(("arms",), NOT_RUN)
    (axes,) = diagram(study._dataset((numbers, {}))).axes
    assert [text.get_text() for text in axes.texts] == ["nothing to show"]


def test_three_axes_give_a_panel_a_value() -> None:
    over = {"data.snr": SNRS, "finetuning.samples": COUNTS, "network.q": [3, 4]}
    study, numbers = swept(over)
    titles = [axes.get_title() for axes in diagram(study._dataset((numbers, {}))).axes]
    assert [t for t in titles if t] == [
        f"{arm}\n$q$ = {q}" for q in (3, 4) for arm in ("pre-trained, fine-tuned", "direct training")
    ]


def test_other_units_and_other_measures() -> None:
    over = {"data.dim": [100, 200, 400], "data.snr": [0.1, 0.2, 0.4]}
    criterion = Criterion(
        "seen", "data.snr", "data.dim", variable="top_alignment", at_least=0.5, theory="spectrum"
    )
    shown = {"data.dim": "aspect", "data.snr": "kappa"}
    study, numbers = swept(over, ("spectrum",), criteria=[criterion], shown=shown)
    numbers[..., -1] = np.tile([0.0, 0.4, 0.9], 3)[:, None]
    axes = diagram(study._dataset((numbers, {}))).axes[0]
    assert axes.get_xlim() == pytest.approx((100 / 400, 1), rel=1e-6)  # n0/d, n0 = 100
    assert "kappa" in axes.get_ylabel()
    line = next(line for line in axes.lines if line.get_label() == "measured boundary, 95 %")
    assert np.all((np.asarray(line.get_ydata()) > 4) & (np.asarray(line.get_ydata()) < 16))


def test_totals_add_up_both_kinds_of_samples() -> None:
    over = {"data.snr": SNRS, "pretraining.samples": [2, 8], "finetuning.samples": COUNTS}
    direct = Criterion(**{**LEARNS.as_dict(), "at": {"pretraining.samples": 8}})
    study, numbers = swept(over, criteria=[direct], totals=True)
    found = study._dataset((numbers, {}))
    axes = next(axes for axes in diagram(found).axes if axes.get_title() == "samples in all")
    (fit,) = sweep_fits(found)
    measured = np.asarray(axes.lines[0].get_ydata(), dtype=float)
    np.testing.assert_allclose(measured, [b.position for b in fit.boundaries if not b.reason])  # labels alone


def test_files_of_a_sweep(tmp_path: Path) -> None:
    study, numbers = swept(criteria=[LEARNS])
    numbers[1, 0] = blank(("arms",), FAILED)
    numbers[2] = blank(("arms",), NOT_RUN)
    found = study._dataset(
        (numbers, {"data.snr = 0.2, finetuning.samples = 16, seed 0": "not enough memory"})
    )
    assert counts(found) == {"runs": 36, "not_run": 3, "non_finite": 0, "failed": 1}
    document = summary(found, sweep_fits(found), computed=33, seconds=1.5)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["schema"] == 1
    assert document["boundaries"][0]["name"] == "labels needed"
    file = io.BytesIO()
    write_csv(found, file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue().decode())))
    assert len(rows) == 2 * (36 - 3)
    first = rows[0]
    assert (first["data.snr"], first["finetuning.samples"], first["seed"]) == ("0.2", "4", "0")
    assert {row["status"] for row in rows} == {"target_loss", "failed"}
    (tmp_path / "results.nc").write_bytes(netcdf(found))
    saved = load_saved(tmp_path / "results.nc")
    assert isinstance(saved, xr.Dataset)
    assert diagram(saved).axes[0].get_title().startswith("labels needed\n")
    console = Console(file=io.StringIO(), width=100)
    show_sweep(found, sweep_fits(found), computed=33, seconds=1.5, console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "33 of 36 runs, 33 of them new, 1 failed" in text
    assert "labels needed" in text


def test_a_sweep_without_arms_counts_what_is_missing() -> None:
    study, numbers = swept(measures=("spectrum",))
    numbers[0] = np.nan
    numbers[1, 0] = np.nan
    found = study._dataset((numbers, {"a cell": "why"}))
    assert counts(found) == {"runs": 36, "not_run": 3, "non_finite": 0, "failed": 1}


@pytest.mark.parametrize("content", [b"", b"CDF", b"CDF\x01damaged", b"nothing of the kind"])
def test_files_that_are_no_result(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "results.nc").write_bytes(content)
    with pytest.raises(ValueError, match="is not a result saved by numsim"):
        load_saved(tmp_path / "results.nc")
