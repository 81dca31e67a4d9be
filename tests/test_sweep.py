"""Sweeps: cells with the bits of single runs, whoever runs them and however often they are interrupted."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numsim
import numsim.runs.measures
from numsim import cli
from numsim.config import Resolved
from numsim.runs.folders import LEDGER, RESULTS
from numsim.runs.measures import ABSENT, FAILED, NON_FINITE, NOT_RUN, STATUSES
from numsim.sweeps import batches, executors, study
from numsim.sweeps.batches import Batch, Row
from numsim.sweeps.connect import connect
from numsim.sweeps.criteria import Criterion
from numsim.sweeps.executors import Here, Processes, WorkerDied
from numsim.sweeps.grid import Grid, parse_axes
from numsim.sweeps.ledger import Ledger, LedgerError, LedgerFull
from numsim.sweeps.results import load_results, netcdf
from numsim.sweeps.runner import Runner
from numsim.sweeps.study import Study

SMALL = numsim.Experiment(
    data={"dim": 400, "snr": 0.5},
    network={"filters": 2, "relative_init_scale": 0.05},
    pretraining={"samples": 8, "steps": 20},
    finetuning={"samples": 4, "max_steps": 20},
    evaluation={"samples": 20},
)
OVER: dict[str, Any] = {"data.snr": [0.3, 0.9], "finetuning.samples": [2, 4, 6]}
SEEDS = [4, 0, 2]
RUNS = 18
NUMBERS = ("train_loss", "test_loss", "test_error", "steps")
EVERY = ("arms", "pretraining", "spectrum")

few = pytest.mark.usefixtures("here")


class OneByOne(Here):
    """This process, a run at a time."""

    seconds = 0.0


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps run in this process: others take seconds to start."""
    monkeypatch.setattr(study, "connect", lambda *_: OneByOne())


@pytest.fixture
def expected() -> bytes:
    """The file of the small sweep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "connect", lambda *_: OneByOne())
        return netcdf(numsim.sweep(SMALL, OVER, SEEDS, None))


def same_entry(found: Any, experiment: numsim.Experiment, seed: int) -> None:
    """An entry of a dataset has the bits of the run."""
    result = numsim.run(experiment, seed=seed)
    for name, arm in (("simclr", result.simclr), ("direct", result.direct)):
        entry = found.sel(arm=name)
        if arm is None:
            assert entry["status"] == ABSENT
            assert all(np.isnan(entry[v]) for v in NUMBERS)
            continue
        assert STATUSES[int(entry["status"]) + 1] == arm.status
        for v in NUMBERS:
            np.testing.assert_array_equal(entry[v].item(), getattr(arm, v))


def failures(found: Any) -> dict[str, str]:
    reasons: dict[str, str] = json.loads(found.attrs.get("failures", "{}"))
    return reasons


# ---------------------------------------------------------------- what a cell is


@few
@pytest.mark.compiled
@pytest.mark.parametrize(
    ("base", "over"),
    [
        ({}, OVER),
        ({"data.signal_norm": 3}, {"data.snr": [0.2]}),  # the axis displaces its twin
        (
            {"network.init_scale": 1e-3},
            {"network.relative_init_scale": [0.01], "pretraining.samples": [0, 6]},
        ),
        ({"finetuning.labelled": "subset", "network.bias": True}, {"network.q": [1, 2.5]}),
        ({"pretraining.views": "fresh", "seed": 9}, {"data.dim": [3, 10**12]}),
        ({}, {"network.q": {"list": [1, 3], "tied": {"finetuning.samples": [3, 5]}}}),
    ],
)
def test_an_entry_has_the_bits_of_its_run(base: dict[str, Any], over: dict[str, Any]) -> None:
    e = SMALL.replace(base)
    found = numsim.sweep(e, over, [7, 1], None)
    grid = Grid(e, parse_axes(over))
    assert found["test_loss"].dims == ("arm", *over, "seed")
    for cell in grid.cells():
        place = {name: cell[name] for name in over}
        for seed in (7, 1):
            same_entry(found.sel(place).sel(seed=seed), e.replace(cell), seed)


@few
def test_axes_are_coordinates(tmp_path: Path) -> None:
    over = {"network.q": {"list": [3, 2], "tied": {"data.dim": [10**12, 50]}}, "pretraining.samples": [6]}
    found = numsim.sweep(SMALL, over, SEEDS, tmp_path, measures=EVERY)
    assert dict(found.sizes) == {"arm": 2, "network.q": 2, "pretraining.samples": 1, "seed": 3}
    assert found["network.q"].values.tolist() == [3, 2]
    assert found["seed"].values.tolist() == SEEDS
    assert found["data.dim"].dims == ("network.q",)
    assert found["alignment"].dims == ("network.q", "pretraining.samples", "seed")
    again = load_results(tmp_path / RESULTS)
    assert again is not None
    assert again.equals(found)
    assert again["status"].attrs["flag_meanings"].split() == list(STATUSES)


@few
def test_dimensions_beyond_32_bits_can_be_kept(tmp_path: Path) -> None:
    found = numsim.sweep(SMALL, {"data.dim": [10**6, 10**15]}, 1, tmp_path)
    again = load_results(tmp_path / RESULTS)
    assert again is not None
    assert again["data.dim"].values.tolist() == found["data.dim"].values.tolist() == [10**6, 10**15]


@few
@pytest.mark.compiled
def test_the_order_of_axes_and_seeds_changes_no_bit() -> None:
    one = numsim.sweep(SMALL, OVER, SEEDS, None)
    swapped = dict(reversed(OVER.items()))
    other = numsim.sweep(SMALL.replace({"seed": 3}), swapped, sorted(SEEDS), None)
    assert other.transpose(*one["status"].dims).sel(seed=SEEDS).equals(one)
    assert numsim.sweep(SMALL, OVER, 5, None).sel(seed=SEEDS).identical(one)


# ---------------------------------------------------------------- whoever runs it


@pytest.mark.compiled
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_processes_change_no_bit(workers: int, expected: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def connected(*_: object) -> Processes:
        pool = Processes()
        pool.workers = workers
        return pool

    monkeypatch.setattr(study, "connect", connected)
    found, computed = Study(SMALL, OVER, SEEDS).run(None)
    assert computed == RUNS
    assert netcdf(found) == expected


def test_one_run_needs_no_other_process() -> None:
    assert isinstance(connect(None, 1, 1), Here)
    assert connect(None, 10**6, 2).workers == 1
    found, computed = Study(SMALL, {"data.snr": [0.3]}, [5]).run(None)
    assert computed == 1
    same_entry(found.isel({"data.snr": 0, "seed": 0}), SMALL.replace({"data.snr": 0.3}), 5)


# ---------------------------------------------------------------- interruption


def interrupt_after(runs: int) -> Callable[[int, int], None]:
    calls = 0

    def progress(finished: int, wanted: int) -> None:
        nonlocal calls
        calls += 1
        if calls > runs:
            raise KeyboardInterrupt

    return progress


@few
@pytest.mark.compiled
@pytest.mark.parametrize("after", [0, 1, 7, 17])
def test_what_was_interrupted_is_finished(after: int, expected: bytes, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        numsim.sweep(SMALL, OVER, SEEDS, tmp_path, progress=interrupt_after(after))
    part = load_results(tmp_path / RESULTS)
    assert part is not None
    assert part.attrs["incomplete"] == 1
    with Ledger(tmp_path / LEDGER) as ledger:
        kept = ledger.count()
    assert kept >= after
    assert int((part["status"] != NOT_RUN).sum()) == 2 * kept
    found, computed = Study(SMALL, OVER, SEEDS).run(tmp_path)
    assert (netcdf(found), computed) == (expected, RUNS - kept)
    found, computed = Study(SMALL, OVER, SEEDS).run(tmp_path)
    assert (netcdf(found), computed) == (expected, 0)


@few
@pytest.mark.compiled
def test_more_values_and_seeds_use_what_is_there(tmp_path: Path) -> None:
    assert Study(SMALL, {"data.snr": [0.3], "finetuning.samples": [2, 4]}, [0]).run(tmp_path)[1] == 2
    over = {"finetuning.samples": [4, 6, 2], "data.snr": [0.9, 0.3]}  # in any order
    found, computed = Study(SMALL, over, [2, 0]).run(tmp_path)
    assert computed == 12 - 2
    assert netcdf(found) == netcdf(Study(SMALL, over, [2, 0]).run(None)[0])
    assert Study(SMALL, over, [2]).run(tmp_path)[1] == 0
    more = {**over, "network.q": [3, 2]}  # an axis where there was one value
    assert Study(SMALL, more, [0, 2]).run(tmp_path)[1] == 12


OTHERS: list[tuple[Callable[[], Study], str]] = [
    (lambda: Study(SMALL.replace({"network.q": 2}), OVER, SEEDS), "network.q 3.0 there, 2.0 here"),
    (lambda: Study(SMALL.replace({"data.snr": 0.9}), {"finetuning.samples": [2, 4, 6]}, SEEDS), "data.snr"),
    (lambda: Study(SMALL, {"data.signal_norm": [3.0]}, SEEDS), "data.snr"),
    (lambda: Study(SMALL, OVER, SEEDS, measures=("spectrum",)), "sweep.measure ['arms'] there"),
]


@few
@pytest.mark.parametrize(("other", "words"), OTHERS)
@pytest.mark.parametrize("lost", ["", LEDGER, RESULTS])
def test_another_sweep_is_refused_or_replaced(
    other: Callable[[], Study], words: str, lost: str, tmp_path: Path
) -> None:
    numsim.sweep(SMALL, OVER, SEEDS, tmp_path)
    (tmp_path / "mine.txt").touch()
    if lost:
        (tmp_path / lost).unlink()
    old = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name != LEDGER}
    with pytest.raises(numsim.ConfigError, match="another experiment") as caught:
        other().run(tmp_path)
    (line,) = caught.value.faults
    assert words in line
    assert "--replace" in line
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name != LEDGER} == old
    assert (tmp_path / LEDGER).exists() == (lost != LEDGER)
    study = other()
    found, computed = study.run(tmp_path, replace=True)
    assert computed == study.runs
    assert netcdf(found) == netcdf(other().run(None)[0])
    assert sorted(p.name for p in tmp_path.iterdir()) == [LEDGER, "mine.txt"]
    assert other().run(tmp_path, replace=True)[1] == 0  # the same one goes on


@few
def test_numbers_of_another_physics_are_replaced_only_where_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for module in ("numsim.sweeps.ledger", "numsim.sweeps.grid", "numsim.runs.ensembles"):
            patch.setattr(f"{module}.PHYSICS", 1)
        numsim.sweep(SMALL, OVER, SEEDS, tmp_path)
    with pytest.raises(LedgerError, match=r"physics version 1, .*--replace"):
        numsim.sweep(SMALL, OVER, SEEDS, tmp_path)
    assert Study(SMALL, OVER, SEEDS).run(tmp_path, replace=True)[1] == RUNS
    assert os.listdir(tmp_path) == [LEDGER]


@few
def test_progress_counts_what_was_there(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    Study(SMALL, {"data.snr": [0.3]}, 3).run(tmp_path)
    Study(SMALL, {"data.snr": [0.3, 0.9]}, 3).run(tmp_path, progress=lambda *now: seen.append(now))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == ((3, 6), (6, 6))


@few
@pytest.mark.compiled
def test_a_ledger_is_gone_on_with_only_where_that_is_wanted(tmp_path: Path) -> None:
    first = numsim.sweep(SMALL, OVER, SEEDS, tmp_path / "new" / "below", resume=False)
    old = {p.name: p.read_bytes() for p in (tmp_path / "new" / "below").iterdir()}
    assert sorted(old) == [LEDGER, RESULTS]
    with pytest.raises(numsim.ConfigError, match="a folder without a ledger"):
        numsim.sweep(SMALL, OVER, SEEDS, str(tmp_path / "new" / "below"), resume=False)
    assert {p.name: p.read_bytes() for p in (tmp_path / "new" / "below").iterdir()} == old
    assert numsim.sweep(SMALL, OVER, SEEDS, str(tmp_path / "new" / "below")).identical(first)
    assert (tmp_path / "new" / "below" / RESULTS).read_bytes() == old[RESULTS]


@few
def test_a_folder_in_use(tmp_path: Path) -> None:
    with Ledger(tmp_path / LEDGER), pytest.raises(LedgerError, match="in use by another sweep"):
        numsim.sweep(SMALL, OVER, SEEDS, tmp_path)
    assert os.listdir(tmp_path) == [LEDGER]


# ---------------------------------------------------------------- what cannot be


@few
@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("", "the path of a folder"),
        ("file", "a folder; this is a file"),
        ("file/below", "a folder that can be made"),
        ("x" * 300, "a folder that can be made"),
        ("a\0b", "a folder that can be made"),
    ],
)
def test_places_that_are_none(out: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(numsim.ConfigError) as caught:
        numsim.sweep(SMALL, OVER, SEEDS, out and f"{tmp_path}/{out}")
    (line,) = caught.value.faults
    assert words in line
    assert (os.listdir(tmp_path), (tmp_path / "file").read_text()) == (["file"], "mine")


@few
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"over": {"data.snr": [0.1, math.nan], "data.dmi": [1]}, "seeds": []},
         ["sweep.over.data.snr[1]", "nearest: data.dim", "sweep.seeds"]),
        ({"seeds": [2**53 + 1]}, ["NetCDF"]),
        ({"measures": ("arm",)}, ["sweep.measure", "nearest: arms"]),
        ({"criteria": [Criterion("c", along="data.sn", against="data.snr", at_most=1)]},
         ["sweep.boundary c", "nearest: data.snr"]),
    ],
)  # fmt: skip
def test_every_fault_before_any_run(changed: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    given = {"over": OVER, "seeds": 2, **changed}
    with pytest.raises(numsim.ConfigError) as caught:
        numsim.sweep(SMALL, given.pop("over"), given.pop("seeds"), tmp_path / "out", **given)
    for word in words:
        assert word in str(caught.value)
    assert not os.listdir(tmp_path)


@few
def test_cells_that_cannot_be_are_a_status(tmp_path: Path) -> None:
    e = SMALL.replace({"finetuning.labelled": "subset", "data.balanced": True})
    over = {"pretraining.samples": [4, 8, 10**7], "finetuning.samples": [3, 4, 6]}
    found = numsim.sweep(e, over, 2, tmp_path)
    reasons = failures(found)
    status = found["status"].isel(seed=0, arm=0).transpose("pretraining.samples", "finetuning.samples")
    assert (status.values == FAILED).tolist() == [[True, False, True], [True, False, False], [True] * 3]
    for n0, n, words in ((4, 6, "at most pretraining.samples"), (8, 3, "even"), (10**7, 4, "GiB of memory")):
        for seed in (0, 1):
            reason = reasons[f"pretraining.samples = {n0}, finetuning.samples = {n}, seed {seed}"]
            assert words in reason
            assert len(reason.splitlines()) == 1
    assert len(reasons) == 12
    same_entry(found.sel({"pretraining.samples": 8, "finetuning.samples": 6, "seed": 1}),
               e.replace({"pretraining.samples": 8, "finetuning.samples": 6}), 1)  # fmt: skip
    assert load_results(tmp_path / RESULTS) is not None


@few
@pytest.mark.compiled
def test_runs_that_break_off_are_a_status_and_tried_again(
    expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        real = numsim.runs.measures.measure

        def breaks(e: Resolved, seed: int, *rest: Any, **keywords: Any) -> Any:
            if (e.finetuning.samples, seed) == (4, 2):
                raise RuntimeError("on two\n  lines")
            if (e.finetuning.samples, seed) == (6, 0):
                raise MemoryError
            return real(e, seed, *rest, **keywords)

        patch.setattr("numsim.runs.measures.measure", breaks)
        found, computed = Study(SMALL, OVER, SEEDS).run(tmp_path)
    assert computed == RUNS
    assert failures(found) == {
        **{
            f"data.snr = {s}, finetuning.samples = 4, seed 2": "RuntimeError: on two lines"
            for s in (0.3, 0.9)
        },
        **{f"data.snr = {s}, finetuning.samples = 6, seed 0": "not enough memory" for s in (0.3, 0.9)},
    }
    assert int((found["status"] == FAILED).sum()) == 2 * 4
    found, computed = Study(SMALL, OVER, SEEDS).run(tmp_path)
    assert (netcdf(found), computed) == (expected, 4)


@few
def test_what_is_not_finite_is_a_status() -> None:
    found = numsim.sweep(SMALL, {"finetuning.learning_rate": [0.01, 1e200]}, 2, None)
    bad = found["status"].sel({"finetuning.learning_rate": 1e200})
    assert (bad == NON_FINITE).all()
    assert (found["status"].sel({"finetuning.learning_rate": 0.01}) != NON_FINITE).all()
    assert not failures(found)


# ---------------------------------------------------------------- workers that die


@pytest.mark.compiled
@pytest.mark.parametrize("how", ["exit", "kill"])
def test_a_cell_that_kills_its_worker_fails_alone(
    how: str, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = tmp_path / "deaths"
    deaths.touch()
    path = str(deaths)

    def poisoned(batch: Any) -> Any:  # a closure travels to the workers as it is
        import os
        import signal

        from numsim.sweeps.batches import run_batch

        for task in batch.tasks:
            if task.cell == 1 and 0 in task.seeds:
                with open(path, "a") as log:
                    log.write("x")
                os._exit(3) if how == "exit" else os.kill(os.getpid(), signal.SIGKILL)
        return run_batch(batch)

    with monkeypatch.context() as patch:
        patch.setattr(executors, "run_batch", poisoned)
        found, computed = Study(SMALL, OVER, SEEDS).run(tmp_path)
    assert computed == RUNS
    (reason,) = failures(found).items()
    assert reason[0] == "data.snr = 0.3, finetuning.samples = 4, seed 0"
    assert "died twice" in reason[1]
    assert deaths.read_text() == "xx"
    monkeypatch.setattr(study, "connect", lambda *_: OneByOne())
    found, computed = Study(SMALL, OVER, SEEDS).run(tmp_path)
    assert (netcdf(found), computed) == (expected, 1)  # all others had the right bits


class Pool:
    """Workers that die of some runs: with all that is under way (alone), or with any of it."""

    workers, seconds = 2, 0.1

    def __init__(self, poison: set[tuple[int, int]], alone: bool, chance: random.Random) -> None:
        self.poison, self.alone, self.chance = poison, alone, chance
        self.batches: list[Batch] = []
        self.dead: set[int] = set()

    def submit(self, batch: Batch) -> int:
        self.batches.append(batch)
        return len(self.batches) - 1

    def done(self, pending: Collection[int], timeout: float) -> list[int]:
        one = self.chance.choice(list(pending))
        if not self.poison & {(t.cell, s) for t in self.batches[one].tasks for s in t.seeds}:
            return [one]
        others = [b for b in pending if b != one and (self.alone or self.chance.random() < 0.7)]
        self.dead |= {one, *others}
        return [one, *others]

    def collect(self, handle: int) -> list[Row]:
        if handle in self.dead:
            raise WorkerDied("killed")
        tasks = self.batches[handle].tasks
        return [Row(t.cell, s, 0.001, np.array([t.cell, s])) for t in tasks for s in t.seeds]

    def close(self) -> None:
        pass


@given(
    poison=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=6),
    alone=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_only_those_fail_that_kill(poison: set[tuple[int, int]], alone: bool, seed: int) -> None:
    """Whatever dies beside them, and in whatever order: never a run that was only near."""
    grid = Grid(SMALL, parse_axes({"data.snr": {"linspace": [0, 1, 10]}}))
    with Ledger(None) as ledger:
        runner = Runner(grid, ("arms",), ledger)
        runner.run(Pool(poison, alone, random.Random(seed)), range(10), (0, 1, 2))
        failed = {(c, s) for c in range(10) for s in ledger.reasons(runner.key(c))}
        kept = {(c, s) for c in range(10) for s in ledger.seeds(runner.key(c))}
        assert runner.computed == 30
        assert not runner.missing(range(10), (0, 1, 2))
    assert failed == poison
    assert kept == {(c, s) for c in range(10) for s in range(3)} - poison


# ---------------------------------------------------------------- refinement

LINES: dict[str, Any] = {"data.snr": [0.25, 0.4], "pretraining.samples": {"geomspace": [4, 400, 24]}}
NEAR = Criterion(
    "alignment",
    along="pretraining.samples",
    against="data.snr",
    variable="alignment",
    at_least=0.5,
    width=1.0,
)
LONGER = SMALL.replace({"pretraining.steps": 40})


def refining() -> Study:
    return Study(LONGER, LINES, 4, measures=("arms", "pretraining"), criteria=[NEAR])


@few
@pytest.mark.compiled
def test_refinement_leaves_cells_out_and_resumes_as_it_would_have_gone_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, computed = refining().run(None)
    left_out = (whole["status"] == NOT_RUN).all(dim=("arm", "seed"))
    assert 0 < int(left_out.sum()) < left_out.size
    assert computed == 4 * int((~left_out).sum())
    assert np.isnan(whole["test_error"].where(whole["status"] == NOT_RUN, drop=True)).all()
    monkeypatch.setattr(study, "connect", lambda *_: Here())
    every = Study(LONGER, LINES, 4, measures=("arms", "pretraining")).run(None)[0]
    run = whole["status"] != NOT_RUN
    for name in (*NUMBERS, "status", "alignment"):  # what was run has the bits it has without refinement
        assert whole[name].where(run).equals(every[name].where(run))
    monkeypatch.setattr(study, "connect", lambda *_: OneByOne())
    for after in (5, computed - 1):
        folder = tmp_path / str(after)
        folder.mkdir()
        with pytest.raises(KeyboardInterrupt):
            refining().run(folder, progress=interrupt_after(after))
        with Ledger(folder / LEDGER) as ledger:
            kept = ledger.count()
        found, more = refining().run(folder)
        assert (netcdf(found), more) == (netcdf(whole), computed - kept)


# ---------------------------------------------------------------- the command

TOML = """
[data]
dim = 400
[network]
filters = 2
relative_init_scale = 0.05
[pretraining]
samples = 8
steps = 20
[finetuning]
samples = 4
max_steps = 20
[evaluation]
samples = 20
"""
SWEEP = """
[sweep]
seeds = 3
[sweep.over]
"data.snr" = [0.3, 0.9]
"finetuning.samples" = [2, 4, 6]
"""
BOUNDARY = """
[[sweep.boundary]]
name = "b"
along = "finetuning.samples"
against = "data.snr"
arm = "direct"
at_most = 0.3
"""
FILES = ["figure.png", LEDGER, "results.csv", RESULTS, "summary.json"]


class Outcome:
    """What a command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        self.faults = err.splitlines()


Call = Callable[..., Outcome]


@pytest.fixture
def call(
    here: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Call:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.toml").write_text(TOML + SWEEP)

    def run(*arguments: str) -> Outcome:
        code = cli._main(list(arguments))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


def document(text: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def changed(old: str, new: str) -> str:
    text = SWEEP + BOUNDARY
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", ["sweep: got no such table", "seeds and over"]),
        ("[sweep]\nseeds = 2\n", ["sweep.over", "at least one axis"]),
        ("[sweep]\nover = 5\n", ["sweep.over: got 5"]),
        (changed("data.snr", "data.snnr"), ["sweep.over.data.snnr", "nearest: data.snr"]),
        (changed("[0.3, 0.9]", "[0.3, nan]"), ["sweep.over.data.snr[1]: got nan", "finite"]),
        (changed("[0.3, 0.9]", "[]"), ["sweep.over.data.snr: got []", "not empty"]),
        (changed("[0.3, 0.9]", "[0.3, 0.3]"), ["different values"]),
        (changed("[0.3, 0.9]", '["0.3"]'), ["sweep.over.data.snr[0]: got '0.3'"]),
        (changed("[0.3, 0.9]", "{ geomspace = [0, 1, 3] }"), ["positive ends"]),
        (changed('"data.snr" = [0.3, 0.9]', '"seed" = [1]'), ["seeds to be given by seeds"]),
        (changed("seeds = 3", "seeds = 0"), ["sweep.seeds"]),
        (changed("seeds = 3", "seeds = [1, 1]"), ["sweep.seeds", "repetitions"]),
        (changed("seeds = 3", 'seeds = "x"'), ["sweep.seeds", "'x'"]),
        (changed("seeds = 3", "seeds = 3\nsede = 1"), ["sweep.sede", "nearest: seeds"]),
        (changed("seeds = 3", "seeds = 3\nmeasure = 'arm'"), ["sweep.measure", "nearest: arms"]),
        (changed("seeds = 3", "seeds = 3\nmeasure = 3"), ["sweep.measure"]),
        (changed("seeds = 3", "seeds = 3\nboundary = 5").replace(BOUNDARY, ""), ["sweep.boundary: got 5"]),
        (changed('name = "b"\n', ""), ["got no name"]),
        (
            changed('along = "finetuning.samples"\n', 'along = "finetuning.sample"\n'),
            ["nearest: finetuning."],
        ),
        (changed('along = "finetuning.samples"\n', "along = 5\n"), ["along 5"]),
        (changed('along = "finetuning.samples"\n', 'along = ["x"]\n'), ["along"]),
        (changed('against = "data.snr"', 'against = "finetuning.samples"'), ["the same axis"]),
        (changed('arm = "direct"', 'arm = "indirect"'), ["'indirect'", "simclr, direct"]),
        (changed("at_most = 0.3", ""), ["at_most or at_least"]),
        (changed("at_most = 0.3", "at_most = 0.3\nat_least = 0.1"), ["got both"]),
        (changed("at_most = 0.3", 'at_most = "x"'), ["at_most 'x'"]),
        (changed("at_most = 0.3", "at_most = nan"), ["at_most nan"]),
        (changed("at_most = 0.3", "at_most = 0.3\nwidth = 0"), ["width 0"]),
        (changed("at_most = 0.3", 'at_most = 0.3\nwidth = "a"'), ["width 'a'"]),
        (changed("at_most = 0.3", "at_most = 0.3\nat = 3"), ["at 3"]),
        (changed("at_most = 0.3", 'at_most = 0.3\nat = { "data.snr" = 0.4 }'), ["one of the axis' values"]),
        (changed("at_most = 0.3", 'at_most = 0.3\ntheory = "none"'), ["theory 'none'"]),
        (changed("at_most = 0.3", "at_most = 0.3\ntheory = 5"), ["theory 5"]),
        (changed("at_most = 0.3", "at_most = 0.3\ncolour = 5"), ["nearest: "]),
        (SWEEP + '[sweep.show]\n"data.snr" = "kapa"\n', ["sweep.show", "kappa"]),
        (SWEEP + '[sweep.show]\n"data.snr" = ["kappa"]\n', ["sweep.show", "kappa"]),
    ],
)
def test_a_fault_is_one_line(table: str, words: list[str], call: Call, tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(TOML + table)
    done = call("sweep", "sweep.toml", "--out", "out")
    assert (done.code, done.out, len(done.faults)) == (cli.USAGE, "", 1), done.err
    assert done.err.startswith("numsim: ")
    for word in words:
        assert word in done.err
    assert os.listdir(tmp_path) == ["sweep.toml"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep.toml"], "--out"),
        (["--out", "out"], "FILE.toml"),
        (["nowhere", "--out", "out"], "nearest: "),
        (["headline", "--out", "out"], "no such table"),
        (["sweep.toml", "--out", "sweep.toml"], "a folder; this is a file"),
        (["sweep.toml", "--out", "sweep.toml/below"], "a folder that can be made"),
        (["sweep.toml", "--out", "x" * 300], "a folder that can be made"),
        (["sweep.toml", "--out", "taken"], "cannot write taken/results.csv: it is not a file"),
        (["sweep.toml", "--out", "out", "--set", "data.dmi=3"], "nearest: data.dim"),
    ],
)
def test_usage(arguments: list[str], words: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "taken" / "results.csv").mkdir(parents=True)
    done = call("sweep", *arguments)
    assert (done.code, done.out, len(done.faults)) == (cli.USAGE, "", 1), done.err
    assert words in done.err
    assert sorted(os.listdir(tmp_path)) == ["sweep.toml", "taken"]
    assert (tmp_path / "sweep.toml").read_text() == TOML + SWEEP


def test_all_faults_at_once(call: Call, tmp_path: Path) -> None:
    text = "[data]\nsnr = -1\n" + changed("[0.3, 0.9]", "[nan]").replace("seeds = 3", "seeds = 0")
    (tmp_path / "sweep.toml").write_text(text.replace("at_most = 0.3", "width = -1"))
    done = call("sweep", "sweep.toml", "--out", "out")
    assert done.code == cli.USAGE
    for word in ("data.snr: got -1", "sweep.over.data.snr[0]", "sweep.seeds"):
        assert word in done.err


@pytest.mark.compiled
def test_files_and_one_document(call: Call, tmp_path: Path, expected: bytes) -> None:
    (tmp_path / "sweep.toml").write_text(TOML + SWEEP.replace("seeds = 3", "seeds = [4, 0, 2]"))
    done = call("sweep", "sweep.toml", "--out", "a", "--json")
    assert (done.code, done.faults) == (0, ["written: a/results.nc, results.csv, summary.json, figure.png"])
    found = document(done.out)
    assert document((tmp_path / "a" / "summary.json").read_text()) == found
    assert (found["schema"], found["runs"], found["computed"], found["failed"]) == (1, RUNS, RUNS, 0)
    assert (found["seeds"], list(found["axes"])) == (SEEDS, list(OVER))
    assert sorted(os.listdir(tmp_path / "a")) == FILES
    assert (tmp_path / "a" / "figure.png").read_bytes().startswith(b"\x89PNG")
    for name in NUMBERS:
        kept, direct = load_results(tmp_path / "a" / RESULTS), numsim.sweep(SMALL, OVER, SEEDS, None)
        assert kept is not None
        assert kept[name].equals(direct[name])
    old = {name: (tmp_path / "a" / name).read_bytes() for name in (RESULTS, "results.csv")}

    done = call("sweep", "sweep.toml", "--out", "a", "--json")  # nothing is left to do
    assert (done.code, document(done.out)["computed"]) == (0, 0)
    done = call("sweep", "sweep.toml", "--out", "b/c")  # and another folder
    assert done.code == 0
    assert f"{RUNS} of {RUNS} runs, {RUNS} of them new" in done.out
    for folder in ("a", "b/c"):
        assert {name: (tmp_path / folder / name).read_bytes() for name in old} == old
    assert call("plot", "a").code == 0


def test_the_table_holds_the_very_numbers(call: Call, tmp_path: Path) -> None:
    assert call("sweep", "sweep.toml", "--out", "out").code == 0
    found = load_results(tmp_path / "out" / RESULTS)
    assert found is not None
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "results.csv").read_text())))
    assert len(rows) == 2 * RUNS
    for row in rows:
        place = {"data.snr": float(row["data.snr"]), "finetuning.samples": int(row["finetuning.samples"])}
        entry = found.sel({**place, "seed": int(row["seed"]), "arm": row["arm"]})
        assert row["status"] == STATUSES[int(entry["status"]) + 1]
        for name in NUMBERS:
            assert float(row[name]) == entry[name].item()


@pytest.mark.parametrize(
    ("setting", "text", "words"),
    [
        ("finetuning.labelled=subset", "pretraining.samples=4", "expected at most pretraining.samples"),
        ("finetuning.learning_rate=1e300", "data.sigma_p=1", "18 were not finite"),
    ],
)
def test_what_is_incomplete(setting: str, text: str, words: str, call: Call, tmp_path: Path) -> None:
    done = call("sweep", "sweep.toml", "--out", "out", "--json", "--set", setting, "--set", text)
    assert done.code == cli.INCOMPLETE
    assert words in done.err
    assert "Traceback" not in done.err
    found = document(done.out)
    assert found["failed"] + found["non_finite"] > 0
    assert sorted(os.listdir(tmp_path / "out")) == FILES
    assert call("plot", "out").code == 0


def test_a_ledger_that_is_none(call: Call, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LEDGER).write_text("mine")
    done = call("sweep", "sweep.toml", "--out", "out", "--json")
    assert (done.code, done.out, len(done.faults)) == (cli.USAGE, "", 1)
    assert "is not a ledger" in done.err
    assert os.listdir(tmp_path / "out") == [LEDGER]
    assert (tmp_path / "out" / LEDGER).read_text() == "mine"


def test_a_full_disk_keeps_what_was_acknowledged(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Ledger.add, iter(range(100))

    def scarce(*arguments: Any) -> None:
        if next(calls) == 5:
            raise LedgerFull(0, "cannot write out/ledger.sqlite: database or disk is full")
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "add", scarce)
        done = call("sweep", "sweep.toml", "--out", "out", "--json")
    assert (done.code, done.out, len(done.faults)) == (cli.INCOMPLETE, "", 1)
    assert "disk is full; make room: what was finished is kept" in done.err
    assert os.listdir(tmp_path / "out") == [LEDGER]
    done = call("sweep", "sweep.toml", "--out", "out", "--json")
    assert 0 < document(done.out)["computed"] < RUNS


@pytest.mark.compiled
def test_an_interrupt_keeps_the_ledger(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("sweep", "sweep.toml", "--out", "whole")
    calls = iter(range(100))

    def interrupted(batch: Batch) -> list[Row]:
        if next(calls) == 5:
            os.kill(os.getpid(), signal.SIGTERM)  # as a batch system does
        return batches.run_batch(batch)

    with monkeypatch.context() as patch:
        patch.setattr(executors, "run_batch", interrupted)
        done = call("sweep", "sweep.toml", "--out", "out", "--json")
    kept = "numsim: what was finished is kept in out; the same command goes on from there"
    assert (done.code, done.faults[1:]) == (cli.INTERRUPTED, [kept, "numsim: interrupted"])
    assert sorted(os.listdir(tmp_path / "out")) == FILES
    found = document(done.out)
    assert document((tmp_path / "out" / "summary.json").read_text()) == found
    finished = found["runs"] - found["not_run"]
    assert (found["complete"], found["computed"], 0 < finished < RUNS) == (False, finished, True)
    whole, part = load_results(tmp_path / "whole" / RESULTS), load_results(tmp_path / "out" / RESULTS)
    assert whole is not None
    assert part is not None
    run = part["status"] != NOT_RUN
    assert int(run.sum()) == 2 * finished
    assert part.where(run).equals(whole.where(run))
    assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 1 + 2 * finished
    plotted = call("plot", "out")
    assert (plotted.code, plotted.out) == (0, "written: out/figure.png\n")
    assert plotted.faults == [
        "numsim: note: out/results.nc holds a sweep that is not finished; the same sweep command goes on"
    ]
    done = call("sweep", "sweep.toml", "--out", "out", "--json")
    assert (done.code, 0 < document(done.out)["computed"] < RUNS) == (0, True)
    assert (tmp_path / "out" / RESULTS).read_bytes() == (tmp_path / "whole" / RESULTS).read_bytes()


# ---------------------------------------------------------------- the command as a process, killed

DRIVER = """
import sys
from numsim import cli
from numsim.sweeps import executors

def logging(path, pause):
    def run(batch):  # a closure travels to the workers as it is
        import os, time
        from numsim.sweeps.batches import run_batch
        with open(path, "a") as log:
            log.write("".join(f"{os.getpid()} {t.cell} {s}\\n" for t in batch.tasks for s in t.seeds))
        time.sleep(pause)
        return run_batch(batch)
    return run

executors.run_batch = logging(sys.argv[1], float(sys.argv[2]))
cli.main(sys.argv[3:])
"""
MANY = SWEEP.replace("seeds = 3", "seeds = 20").replace("[0.3, 0.9]", "{ linspace = [0.1, 0.7, 7] }").replace(
    "[2, 4, 6]", "[2, 4, 6]"
)  # fmt: skip
MANY_RUNS = 7 * 3 * 20


class Process:
    """The command in a process of its own, on two workers, that logs each run as it begins."""

    def __init__(self, folder: Path, *arguments: str, pause: float = 0.004) -> None:
        (folder / "driver.py").write_text(DRIVER)
        self.log = folder / "log"
        self.log.touch()
        path = os.pathsep.join([str(Path(numsim.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "driver.py", "log", str(pause), "sweep", "sweep.toml", "--json", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "LOKY_MAX_CPU_COUNT": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def runs(self) -> list[list[str]]:
        return [line.split() for line in self.log.read_text().splitlines()]

    def wait_for(self, runs: int) -> None:
        while len(self.runs()) < runs:
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.005)

    def end(self, how: signal.Signals | None = None) -> Outcome:
        if how is not None:
            self.process.send_signal(how)
        out, err = self.process.communicate(timeout=60)
        return Outcome(self.process.returncode, out, err)

    def workers(self) -> set[int]:
        return {int(pid) for pid, *_ in self.runs()}


def gone(pids: Collection[int], seconds: float = 10.0) -> bool:
    """Whether processes end by themselves within some seconds (one that nobody has asked for counts)."""

    def lives(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    end = time.monotonic() + seconds
    while any(map(lives, pids)):
        if time.monotonic() > end:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            return False
        time.sleep(0.05)
    return True


@functools.cache
def uninterrupted() -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "connect", lambda *_: Here())
        over = {"data.snr": {"linspace": [0.1, 0.7, 7]}, "finetuning.samples": [2, 4, 6]}
        return netcdf(numsim.sweep(SMALL.replace({"data.snr": None}), over, 20, None))


@pytest.fixture
def many(tmp_path: Path) -> tuple[Path, bytes]:
    """A folder with a sweep of some hundred runs, and the file an uninterrupted one gives."""
    (tmp_path / "sweep.toml").write_text(TOML + MANY)
    return tmp_path, uninterrupted()


def rows(path: Path) -> dict[tuple[bytes, int], tuple[Any, ...]]:
    import sqlite3

    connection = sqlite3.connect(path)
    found = connection.execute("SELECT key, seed, numbers, session, seconds FROM cells").fetchall()
    connection.close()
    return {(key, seed): tuple(rest) for key, seed, *rest in found}


@pytest.mark.compiled
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_killed_five_times_it_loses_nothing(many: tuple[Path, bytes]) -> None:
    folder, expected = many
    chance = random.Random(0)
    known: dict[tuple[bytes, int], tuple[Any, ...]] = {}
    for share in sorted(chance.uniform(0.02, 0.95) for _ in range(5)):
        begun = Process(folder, "--out", "out")
        begun.wait_for(int(share * MANY_RUNS))
        assert begun.end(signal.SIGKILL).code == -signal.SIGKILL
        assert gone(begun.workers())
        now = rows(folder / "out" / LEDGER)
        assert {place: now[place] for place in known} == known  # kept, and not computed again
        known = now
    last = Process(folder, "--out", "out")
    done = last.end()
    assert done.code == 0, done.err
    assert document(done.out)["computed"] == MANY_RUNS - len(known)
    assert (folder / "out" / RESULTS).read_bytes() == expected
    begun_runs = last.runs()
    assert len({(cell, seed) for _, cell, seed in begun_runs}) == MANY_RUNS
    assert len(begun_runs) <= 1.05 * MANY_RUNS


@pytest.mark.compiled
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(how: signal.Signals, many: tuple[Path, bytes]) -> None:
    folder, expected = many
    begun = Process(folder, "--out", "out")
    begun.wait_for(MANY_RUNS // 3)
    done = begun.end(how)
    assert done.code == cli.INTERRUPTED
    kept = "numsim: what was finished is kept in out; the same command goes on from there"
    assert done.faults == [
        "written: out/results.nc, results.csv, summary.json, figure.png",
        kept,
        "numsim: interrupted",
    ]
    assert not document(done.out)["complete"]
    assert gone(begun.workers(), 2.0)
    assert sorted(os.listdir(folder / "out")) == FILES
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "connect", lambda *_: Here())
        assert cli._main(["sweep", str(folder / "sweep.toml"), "--out", str(folder / "out"), "--json"]) == 0
    assert (
        document((folder / "out" / "summary.json").read_text())["computed"] <= MANY_RUNS - MANY_RUNS // 3 + 4
    )
    assert (folder / "out" / RESULTS).read_bytes() == expected


@pytest.mark.compiled
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_in_long_runs_end_with_a_sweep_that_was_killed(many: tuple[Path, bytes]) -> None:
    folder, _ = many
    endless = ("--set", "finetuning.max_steps=2e9", "--set", "finetuning.target_loss=0")
    begun = Process(folder, "--out", "out", *endless)
    begun.wait_for(2)
    time.sleep(1)  # into the kernels
    begun.end(signal.SIGKILL)
    assert gone(begun.workers())
