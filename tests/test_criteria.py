"""Boundaries of sweeps: success from results, theory's positions, sweep files, and every preset's checks."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
import xarray as xr

import numsim
from numsim.config.sources import presets
from numsim.runs.ensembles import dataset
from numsim.runs.measures import FAILED, NON_FINITE, NOT_RUN, blank, size
from numsim.sweeps.criteria import Criterion, choose, sweep_fits
from numsim.sweeps.curves import CURVES
from numsim.sweeps.grid import Grid, parse_axes
from numsim.sweeps.study import Study
from numsim.sweeps.sweepfile import load_sweep
from numsim.theory import (
    critical_strength,
    end_to_end_boundary,
    memorised_alignment,
    spectrum,
    success_probability,
)

SNRS = [0.2, 0.4, 0.8]
COUNTS = [4, 8, 16, 32, 64, 128, 256, 512]
OVER: dict[str, Any] = {"data.snr": SNRS, "finetuning.samples": COUNTS}
LEARNS = Criterion("learns", "finetuning.samples", "data.snr", arm="direct", at_most=0.1)
ROOT = Path(__file__).parent.parent


def result(error: Any, criteria: list[Criterion], seeds: int = 6, **base: Any) -> xr.Dataset:
    """A sweep's result over SNR and n with test errors error(snr, n, seed) of direct training."""
    study = Study(numsim.Experiment(**base), OVER, seeds, criteria=criteria)
    numbers = np.zeros((study.grid.size, seeds, size(("arms",))))
    for cell in range(study.grid.size):
        at = study.grid.overrides(cell)
        for seed in range(seeds):
            numbers[cell, seed, 5] = error(at["data.snr"], at["finetuning.samples"], seed)
    return study._dataset((numbers, {}))


def test_success_is_what_the_criterion_says() -> None:
    found = result(lambda snr, n, seed: 0.1 if n * snr**3 >= 2 else 0.11, [LEARNS])
    success = LEARNS.success(found, {})
    expected = np.array([[[float(n * snr**3 >= 2)] * 6 for n in COUNTS] for snr in SNRS])
    np.testing.assert_array_equal(success, expected)
    above = Criterion("fails", "finetuning.samples", "data.snr", arm="direct", at_least=0.11)
    np.testing.assert_array_equal(above.success(found, {}), 1 - expected)


def test_what_was_not_run_is_unknown_and_what_broke_off_is_no_success() -> None:
    study = Study(numsim.Experiment(), OVER, 3, criteria=[LEARNS])
    numbers = np.zeros((study.grid.size, 3, size(("arms",))))
    for seed, status in enumerate((NOT_RUN, FAILED, NON_FINITE)):
        numbers[0, seed] = blank(("arms",), status)
    success = LEARNS.success(study._dataset((numbers, {})), {})
    np.testing.assert_array_equal(success[0, 0], [np.nan, 0.0, 0.0])
    assert (success[1:] == 1).all()


def test_a_power_law_is_found() -> None:
    """n* = 2 SNR^-3, sharp: the exponent is -3 to the grid's resolution."""
    (fit,) = sweep_fits(result(lambda snr, n, seed: float(n * snr**3 < 2), [LEARNS]))
    assert fit.exponent.slope == pytest.approx(-3, abs=math.log(2) / math.log(4))
    for line, b in zip(fit.lines, fit.boundaries, strict=True):
        assert b.low <= 2 * line**-3 <= b.high
    assert fit.exponent.low <= -3 <= fit.exponent.high


def test_groups_are_the_values_of_axes_that_are_not_named() -> None:
    over = {**OVER, "network.filters": [4, 8]}
    study = Study(numsim.Experiment(), over, 2, criteria=[LEARNS])
    numbers = np.zeros((study.grid.size, 2, size(("arms",))))
    found = study._dataset((numbers, {}))
    assert [fit.group for fit in sweep_fits(found)] == [{"network.filters": 4}, {"network.filters": 8}]
    fixed = Criterion(**{**LEARNS.as_dict(), "at": {"network.filters": 8}})
    assert list(fixed.groups(found)) == [{}]


def test_refinement_asks_for_cells_by_their_number() -> None:
    criterion = Criterion(**{**LEARNS.as_dict(), "width": 0.1})
    study = Study(numsim.Experiment(), OVER, 4, criteria=[criterion])
    empty = np.empty((study.grid.size, 4, size(("arms",))))
    empty[:] = blank(("arms",), NOT_RUN)
    chosen = choose(criterion, study.grid, study._dataset((empty, {})))
    assert {study.grid.overrides(cell)["data.snr"] for cell in chosen} == set(SNRS)
    for cell in chosen:  # what has been run is not asked for again
        empty[cell] = 0.0
    assert not chosen & choose(criterion, study.grid, study._dataset((empty, {})))


# ---------------------------------------------------------------- theory's curves


def test_direct_curve_is_the_law_of_the_note() -> None:
    """With balanced labels the boundary is where n SNR^q is the critical strength of two classes of n/2."""
    e = numsim.Experiment(data={"balanced": True}, network={"filters": 16}, finetuning={"samples": 40})
    strength = critical_strength([20, 20], filters=16, q=3.0)
    at = e.replace({"data.snr": strength ** (1 / 3)}).resolved()
    assert CURVES["direct"].predict(at) == pytest.approx(0.5, abs=tolerances.SOLVED)
    random = e.replace({"data.balanced": False, "finetuning.samples": 4, "data.snr": 0.6}).resolved()
    chances = [success_probability(0.6**3, [k, 4 - k], filters=16, q=3.0) for k in range(5)]
    splits = [math.comb(4, k) / 16 * chance for k, chance in enumerate(chances)]
    assert CURVES["direct"].predict(random) == pytest.approx(sum(splits), rel=tolerances.SOLVED)


def test_finetuned_curve_is_the_end_to_end_boundary() -> None:
    kappa = end_to_end_boundary([6, 6], samples=40, dim=10**8, filters=16, q=3.0, relative_init_scale=1e-2)
    e = numsim.Experiment(
        data={"snr": math.sqrt(kappa / 40), "balanced": True},
        network={"filters": 16, "relative_init_scale": 1e-2},
        pretraining={"samples": 40},
        finetuning={"samples": 12},
    )
    assert CURVES["finetuned"].predict(e.resolved()) == pytest.approx(0.5, abs=tolerances.SOLVED)
    # What counts is the scale over sqrt(tau).
    warm = e.replace({"pretraining.temperature": 100, "network.relative_init_scale": 0.1})
    assert CURVES["finetuned"].predict(warm.resolved()) == pytest.approx(0.5, abs=tolerances.SOLVED)


def test_spectrum_and_transition_curves() -> None:
    e = numsim.Experiment(data={"dim": 1000, "snr": 0.1}, pretraining={"samples": 100})
    limit = spectrum(e.kappa, 0.1)
    assert CURVES["spectrum"].predict(e.resolved()) == limit.alignment
    at = e.replace({"data.snr": math.sqrt(limit.threshold / 100)})
    assert CURVES["transition"].predict(at.resolved()) == pytest.approx(0.5, rel=tolerances.SOLVED)


def test_alignment_curve_goes_from_the_top_eigenvector_to_what_memorisation_leaves() -> None:
    e = numsim.Experiment(pretraining={"stop_at_linear_end": False, "steps": 1})
    start, end = (
        CURVES["alignment"].predict(e.replace({"pretraining.steps": t}).resolved()) for t in (1, 600)
    )
    kappa = e.kappa
    finite = 2 / e.pretraining.samples  # balanced classes against the limit of many samples
    assert start == pytest.approx(2 * kappa / (1 + 2 * kappa), rel=finite)
    assert end == pytest.approx(memorised_alignment(kappa), rel=finite)


def test_relu_curve_falls_from_a_coin_toss_to_the_flips() -> None:
    e = load_sweep("kou-heatmap").grid.experiment.replace({"data.dim": 600})
    signals = [0.0, 1.0, 2.0, 4.0, 40.0]
    errors = [CURVES["relu"].predict(e.replace({"data.signal_norm": s}).resolved()) for s in signals]
    assert errors[0] == pytest.approx(0.5, abs=tolerances.SOLVED)
    assert errors[-1] == pytest.approx(0.1, abs=tolerances.SOLVED)
    assert np.all(np.diff(errors) < 0)


def test_curves_say_nothing_where_theory_says_nothing() -> None:
    relu = numsim.Experiment(network={"q": 1}, pretraining={"samples": 0}).resolved()
    for name in ("direct", "finetuned", "spectrum", "transition", "alignment"):
        assert math.isnan(CURVES[name].predict(relu))


def test_theory_beside_the_measured_boundary() -> None:
    criterion = Criterion(**{**LEARNS.as_dict(), "theory": "direct"})
    (fit,) = sweep_fits(result(lambda snr, n, seed: float(n * snr**3 < 2), [criterion]))
    positions = fit.theory["direct"]
    assert np.all(np.diff(positions) < 0)
    document = fit.as_dict()
    # The lines that the measured exponent is fitted on.
    used = [k for k, b in enumerate(fit.boundaries) if not b.reason]
    slope = np.polyfit(np.log(fit.lines[used]), np.log(positions[used]), 1)[0]
    assert document["predicted_exponent"]["direct"] == pytest.approx(slope, rel=tolerances.SOLVED)
    assert [row["predicted"]["direct"] for row in document["boundary"]] == positions.tolist()


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"along": "data.snrr"}, "got along 'data.snrr', expected an axis of the sweep; nearest: data.snr"),
        ({"along": "data.snr"}, "the same axis along and against"),
        ({"variable": "test_eror"}, "nearest: test_error"),
        ({"arm": "both"}, "expected one of simclr, direct"),
        ({"arm": None}, "expected one of simclr, direct"),
        ({"at_least": 0.5}, "got both"),
        ({"at_most": None}, "got neither"),
        ({"at": {"finetuning.samples": 5}}, "expected one of the axis' values"),
        ({"theory": "drect"}, "got theory 'drect'"),
        ({"width": 0.0}, "a number above 0"),
    ],
)
def test_a_criterion_that_does_not_fit_the_sweep(change: dict[str, Any], words: str) -> None:
    criterion = Criterion(**{**LEARNS.as_dict(), **change})
    with pytest.raises(numsim.ConfigError, match=re.escape(words)):
        Study(numsim.Experiment(), OVER, 2, criteria=[criterion])


def test_an_axis_that_falls_cannot_be_gone_along() -> None:
    with pytest.raises(numsim.ConfigError, match="an axis finetuning\\.samples that falls"):
        Study(numsim.Experiment(), {**OVER, "finetuning.samples": [8, 4]}, 2, criteria=[LEARNS])


def test_every_preset_can_be_loaded() -> None:
    for name in presets():
        if name != "headline":
            study = load_sweep(name)
            assert study.criteria or len(study.grid.axes) == 1  # a curve has no boundary
            assert study.title


def test_the_sweep_of_the_readme(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = [
        block.split("```")[0] for block in text.split("```toml\n")[1:] if "[[sweep.boundary]]" in block
    ]
    (tmp_path / "own.toml").write_text(example)
    study = load_sweep(tmp_path / "own.toml")
    assert study.seeds == list(range(12))
    assert study.criteria[0].width is not None


def test_a_file_that_builds_on_a_preset(tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text('preset = "overlap"\n[sweep]\nseeds = [3, 5]\n')
    study = load_sweep(tmp_path / "more.toml", {"network.filters": 3})
    assert study.seeds == [3, 5]
    assert study.grid.experiment.network.filters == 3
    assert study.grid.shape == load_sweep("overlap").grid.shape


def test_settings_tied_to_an_axis() -> None:
    over = {"network.q": {"list": [3, 4], "tied": {"network.relative_init_scale": [0.01, 0.1]}}}
    grid = Grid(numsim.Experiment(), parse_axes(over))
    assert grid.overrides(1) == {"network.q": 4.0, "network.relative_init_scale": 0.1}
    study = Study(numsim.Experiment(), over, 1)
    found = study._dataset((np.zeros((2, 1, size(("arms",)))), {}))
    assert found["network.relative_init_scale"].values.tolist() == [0.01, 0.1]
    for wrong in ({"network.relative_init_scale": [0.1]}, {"network.q": [1, 2]}, {"data.snrr": [1, 2]}, 3):
        with pytest.raises(numsim.ConfigError):
            parse_axes({"network.q": {"list": [3, 4], "tied": wrong}})


def test_dataset_has_no_times_or_hosts() -> None:
    numbers = np.zeros((2, size(("arms",))))
    found = dataset(numbers, ("arms",), {"seed": [0, 1]}, experiment=numsim.Experiment())
    assert set(found.attrs) == {"experiment", "physics", "numsim", "numpy", "scipy", "numba"}
