"""Ensembles: entries with the bits of single runs, in any order and company; statuses; what is measured."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tolerances
from loky import get_reusable_executor

import numsim
from numsim.runs import ensembles as ensemble
from numsim.runs import measures, replicates
from numsim.runs.measures import (
    ABSENT,
    FAILED,
    MEASURES,
    NON_FINITE,
    STATUSES,
    blank,
    measure,
    measure_many,
    size,
)
from numsim.runs.replicates import portion_size

SMALL = numsim.Experiment(
    data={"dim": 400, "snr": 0.5},
    network={"filters": 3, "relative_init_scale": 0.05},
    pretraining={"samples": 8, "steps": 60},
    finetuning={"samples": 4, "max_steps": 300, "target_loss": 0.1},
    evaluation={"samples": 60},
)
NUMBERS = ("train_loss", "test_loss", "test_error", "steps")
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fresh views": {"pretraining.views": "fresh"},
    "relu, bias, flips": {"network.q": 1, "network.bias": True, "data.flip_probability": 0.2},
    "subset, balanced": {"finetuning.labelled": "subset", "data.balanced": True},
    "no pre-training": {"pretraining.samples": 0},
    "few dimensions": {"data.dim": 5, "data.projected": False},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_an_entry_has_the_bits_of_its_run(name: str) -> None:
    e = SMALL.replace(VARIANTS[name])
    found = numsim.run_many(e, [5, 0, 11])
    assert found.sizes == {"arm": 2, "seed": 3}
    for seed in (5, 0, 11):
        result = numsim.run(e, seed=seed)
        for name, arm in (("simclr", result.simclr), ("direct", result.direct)):
            entry = found.sel(arm=name, seed=seed)
            if arm is None:
                assert entry["status"] == ABSENT
                assert all(np.isnan(entry[v]) for v in NUMBERS)
                continue
            assert STATUSES[int(entry["status"]) + 1] == arm.status
            for v in NUMBERS:
                np.testing.assert_array_equal(entry[v].item(), getattr(arm, v))


SHORT = SMALL.replace({"pretraining.samples": 0, "finetuning.max_steps": 40})
SHORT_VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "relu, bias, flips": {"network.q": 1, "network.bias": True, "data.flip_probability": 0.2},
    "balanced, target": {"data.balanced": True, "finetuning.target_loss": 0.69},
    "few dimensions": {"data.dim": 5, "data.projected": False, "network.bias": True},
    "one sample": {"finetuning.samples": 1, "network.filters": 1, "evaluation.samples": 2},
    "no steps": {"finetuning.max_steps": 0},
    "not finite": {"finetuning.learning_rate": 1e200},
    "huge filters": {"network.init_scale": 1e98, "network.q": 5},
}


@pytest.mark.parametrize("name", SHORT_VARIANTS)
def test_runs_that_are_done_together_have_the_bits_of_runs_alone(name: str) -> None:
    e = SHORT.replace(SHORT_VARIANTS[name]).resolved()
    assert portion_size(e) > 7
    seeds = [5, 0, 11, 3, 2**40, 8, 9]
    with np.errstate(all="ignore"):
        together = measure_many(e, seeds)
        alone = [measure(e, seed) for seed in seeds]
    np.testing.assert_array_equal(together, alone)


def test_short_runs_are_done_together_long_ones_and_contrastive_ones_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[int] = []
    original = replicates.supervised_runs

    def watched(e: Any, seeds: Any) -> Any:
        done.append(len(seeds))
        return original(e, seeds)

    monkeypatch.setattr(measures, "supervised_runs", watched)
    numsim.run_many(SHORT, 40, workers=2)
    assert sorted(done) == [8, 32]
    numsim.run_many(SHORT.replace({"finetuning.max_steps": 10**6}), 3)
    numsim.run_many(SMALL, 3)
    numsim.run_many(SHORT, 1)
    assert len(done) == 2
    assert portion_size(SHORT.replace({"evaluation.samples": 10**9}).resolved()) == 1


def test_a_run_that_breaks_off_takes_none_of_its_company_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(e: Any, seeds: Any) -> Any:
        raise MemoryError

    expected = numsim.run_many(SHORT, 4)
    monkeypatch.setattr(measures, "supervised_runs", scarce)
    assert numsim.run_many(SHORT, 4).identical(expected)


def test_workers_and_order_change_no_bit() -> None:
    one = numsim.run_many(SMALL, range(7), workers=1)
    for workers in (2, 4):
        many = numsim.run_many(SMALL, [3, 6, 1, 0, 5, 2, 4], workers=workers)
        assert many.sortby("seed").identical(one)
    assert numsim.run_many(SMALL, 7).identical(one)  # a number of seeds
    assert numsim.run_many(SMALL.replace({"seed": 99}), 7).identical(one)  # its own seed is not used


def test_many_short_runs_are_done_by_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    one = numsim.run_many(SMALL, 9, workers=1)
    handed: list[int] = []
    original = ensemble._in_processes

    def watched(e: Any, seeds: Any, workers: int, batch: int) -> Any:
        handed.append(len(seeds))
        return original(e, seeds, workers, batch)

    monkeypatch.setattr(ensemble, "_in_processes", watched)
    monkeypatch.setattr(ensemble, "_SHORT", 1e9)  # seconds: every run is short ...
    monkeypatch.setattr(ensemble, "_last_use", -math.inf)
    assert numsim.run_many(SMALL, 9, workers=2).identical(one)
    assert handed == []  # ... but there are too few
    with monkeypatch.context() as patch:
        patch.setattr(ensemble, "_START", 0.0)
        assert numsim.run_many(SMALL, 9, workers=2).identical(one)
        assert handed == [7]  # the first two tell how long they take
    assert numsim.run_many(SMALL, 9, workers=2).identical(one)
    assert handed == [7, 7]  # processes that have started are used for fewer
    assert ensemble._last_use > 0
    os.kill(next(iter(get_reusable_executor(reuse=True)._processes)), signal.SIGKILL)
    for _ in range(3):  # before and after the pool notices
        assert numsim.run_many(SMALL, 9, workers=2).identical(one)
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def test_status_follows_the_cf_conventions(tmp_path: Any) -> None:
    import xarray as xr

    found = numsim.run_many(SMALL.replace({"pretraining.samples": 0}), 3)
    status = found["status"]
    meanings = dict(
        zip(status.attrs["flag_values"].tolist(), status.attrs["flag_meanings"].split(), strict=True)
    )
    assert meanings == dict(enumerate(STATUSES, start=-1))
    assert meanings[ABSENT] == "absent"
    found.to_netcdf(tmp_path / "many.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "many.nc", engine="scipy") as again:
        assert again["status"].dtype == np.int8
        assert again.load().equals(found)


@pytest.mark.parametrize("seeds", [[3, 2**31 - 1], [3, 2**31], [2**53, 5, 2**40]])
def test_large_seeds_are_saved(seeds: list[int], tmp_path: Any) -> None:
    import xarray as xr

    found = numsim.run_many(SHORT, seeds)
    assert found["seed"].dtype == np.int64
    found.to_netcdf(tmp_path / "many.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "many.nc", engine="scipy") as again:
        assert [int(seed) for seed in again["seed"]] == seeds
        assert again.load().equals(found)
        assert again.sel(seed=seeds[-1])["steps"].equals(found.sel(seed=seeds[-1])["steps"])


def test_seeds_that_no_file_holds_are_not_saved_as_others(tmp_path: Any) -> None:
    found = numsim.run_many(SHORT, [2**53 + 1, 1])
    with pytest.raises(ValueError, match="could not safely cast"):
        found.to_netcdf(tmp_path / "many.nc", engine="scipy")


def test_a_run_that_is_not_finite_is_a_status() -> None:
    found = numsim.run_many(SMALL.replace({"finetuning.learning_rate": 1e200}), 2)
    assert (found["status"] == NON_FINITE).all()
    found = numsim.run_many(SMALL.replace({"pretraining.learning_rate": 1e200}), 2)
    assert (found["status"].sel(arm="simclr") == NON_FINITE).all()
    assert (found["status"].sel(arm="direct") != NON_FINITE).all()


def test_a_run_without_memory_is_a_status_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(e: Any, seed: int, *rest: Any, **keywords: Any) -> Any:
        if seed == 1:
            raise MemoryError
        return measure(e, seed, *rest, **keywords)

    monkeypatch.setattr(measures, "measure", scarce)
    found = numsim.run_many(SMALL, 3)
    assert (found["status"].sel(seed=1) == FAILED).all()
    assert np.isnan(found["test_loss"].sel(seed=1)).all()
    assert np.isfinite(found["test_loss"].sel(seed=[0, 2])).all()


@pytest.mark.compiled  # a loop between two pauses takes a minute interpreted
def test_ctrl_c_stops_runs_that_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interrupted caller's runs are told at their next pause, and nothing is left running."""
    endless = SMALL.replace({"finetuning.max_steps": 2**31 - 1, "finetuning.target_loss": 0})

    class Interrupted(ThreadPoolExecutor):
        def map(self, *arguments: Any, **keywords: Any) -> Any:
            super().map(*arguments, **keywords)
            time.sleep(0.2)  # runs are under way
            raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        numsim.run_many(endless, 4, workers=2)
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name and t.is_alive()]


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (0, "a number of seeds >= 1"),
        ([], "nothing"),
        ([1, 1], "repetitions"),
        ([-1], "integers from 0"),
        ([0.5], "integers from 0"),
        ([True], "integers from 0"),
        ("12", "a list of seeds"),
        (True, "a list of seeds"),
        (None, "a list of seeds"),
        (math.nan, "a list of seeds"),
    ],
)
def test_seeds_that_are_none(seeds: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        numsim.run_many(SMALL, seeds)


@pytest.mark.parametrize("workers", [0, -1, True])
def test_workers_that_are_none(workers: Any) -> None:
    with pytest.raises(ValueError, match="workers is"):
        numsim.run_many(SMALL, 2, workers=workers)


def test_settings_that_cannot_be_run_are_an_error() -> None:
    with pytest.raises(numsim.ConfigError, match="GiB of memory"):
        numsim.run_many(SMALL.replace({"pretraining.samples": 10**7}), 2)


# ---------------------------------------------------------------- measures


def test_measures_are_those_of_the_run() -> None:
    e = SMALL.resolved()
    every = tuple(MEASURES)
    numbers = measure(e, 4, every)
    assert numbers.shape == (size(every),)
    result = numsim.run(SMALL, seed=4)
    assert result.pretraining is not None
    steps, loss, aligned, top, top_aligned = numbers[10:]
    assert (steps, loss, aligned) == (
        result.pretraining.steps,
        result.pretraining.loss,
        result.pretraining.alignment,
    )
    theory = result.theory["pretraining"]
    assert top_aligned == pytest.approx(theory["alignment"]["measured"], rel=tolerances.SOLVED)
    unit = e.pretraining.learning_rate * e.noise_norm**2 / 8
    assert top * unit == pytest.approx(theory["top_eigenvalue"]["measured"], rel=tolerances.SOLVED)
    for k, name in enumerate(every):  # alone they are the same
        start = size(every[:k])
        np.testing.assert_array_equal(measure(e, 4, (name,)), numbers[start : start + size((name,))])


def test_what_stands_for_no_numbers() -> None:
    for status in (FAILED, ABSENT):
        values = blank(("spectrum", "arms"), status)
        assert values.shape == (size(("spectrum", "arms")),)
        np.testing.assert_array_equal(values[-2:], [status, status])
        assert np.isnan(values[:-2]).all()


def test_without_pretraining_there_is_nothing_to_measure_of_it() -> None:
    e = SMALL.replace({"pretraining.samples": 0}).resolved()
    assert np.isnan(measure(e, 0, ("pretraining", "spectrum"))).all()
    fresh = SMALL.replace({"pretraining.views": "fresh"}).resolved()  # A is another one every step
    assert np.isnan(measure(fresh, 0, ("spectrum",))).all()


# Numbers of PHYSICS = 3. Where a change moves them beyond round-off, raise PHYSICS, which ledgers keep.
_PHYSICS_3 = """
0.0967768024 0.173789562 0.09780559728 0.6931336837 0 0.425 68 300
  0 1 29 1.925912838 0.6361520004 4.15305491 0.7387710768;
0.09503731264 0.173804363 0.0950441911 0.6931060913 0 0.3083333333 73 300
  0 1 35 1.973671684 0.8358916737 nan nan;
0.09467625205 0.09731156439 0.5727974138 0.612100261 0.235 0.385 17 22
  0 0 29 1.925912838 0.6361520004 4.15305491 0.7387710768;
0.09863916057 0.07736431574 0.1917907845 0.6931410521 0 0.425 77 282
  0 0 29 1.855581715 0.7221533656 4.911350803 0.8144450101;
nan 0.09519926292 nan 0.6931440023 nan 0.4333333333 nan 195
  -1 0 nan nan nan nan nan;
0.09965638287 0.09897136472 2.047777781 1.183444214 0.1083333333 0.3833333333 265 252
  0 0 15 1.873523505 0.8239444082 5.892130851 0.8038744428;
"""


def test_the_numbers_of_this_physics_version() -> None:
    from numsim.runs.measures import PHYSICS

    assert PHYSICS == 3
    expected = [np.array(row.split(), dtype=float) for row in _PHYSICS_3.split(";")]
    found = [measure(SMALL.replace(variant).resolved(), 3, tuple(MEASURES)) for variant in VARIANTS.values()]
    for name, numbers, old in zip(VARIANTS, found, expected, strict=False):
        np.testing.assert_allclose(numbers, old, rtol=tolerances.OTHER_MACHINE, err_msg=name)
