"""Results: what they hold, what a file keeps of them, and the same bits in any company."""

from __future__ import annotations

import json
import math
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import xarray as xr

import numsim
from numsim.descent.blas import blas_threads
from numsim.runs.files import write_atomically, write_together
from numsim.runs.result import ArmResult, Result
from numsim.runs.saved import load_result

SMALL: dict[str, object] = {
    "network.filters": 2,
    "pretraining.samples": 6,
    "pretraining.steps": 25,
    "finetuning.samples": 4,
    "finetuning.max_steps": 40,
    "evaluation.samples": 50,
}
VARIANTS: dict[str, dict[str, object]] = {
    "plain": {},
    "one dimension": {"data.dim": 1},
    "two dimensions": {"data.dim": 2, "data.projected": False},
    "largest dimension": {"data.dim": 1e15},
    "no signal": {"data.signal_norm": 0},
    "one label": {"finetuning.samples": 1},
    "one filter": {"network.filters": 1},
    "relu": {"network.q": 1},
    "q 1.5": {"network.q": 1.5},
    "quadratic": {"network.q": 2},
    "steep": {"network.q": 20},
    "faint": {"data.sigma_p": 1e-50},
    "loud": {"data.sigma_p": 1e50},
    "no steps": {"pretraining.steps": 0, "finetuning.max_steps": 0},
    "no target": {"finetuning.target_loss": 0},
    "target behind": {"finetuning.target_loss": 1e300},
    "direct only": {"pretraining.samples": 0},
    "fresh views": {"pretraining.views": "fresh", "pretraining.overlap": 0.5},
    "equal views": {"pretraining.overlap": 1},
    "flips": {"data.flip_probability": 0.4, "network.bias": True},
    "subset": {"finetuning.labelled": "subset", "data.balanced": True},
    "output scale": {"network.output_scale": 7.0, "network.relative_init_scale": 0.3},
    "memorising": {"pretraining.stop_at_linear_end": False, "pretraining.learning_rate": 1e-8},
    "pre-training explodes": {"pretraining.learning_rate": 1e300},
    "pre-training diverges": {"pretraining.learning_rate": 1e2, "finetuning.learning_rate": 1e100},
    "training explodes": {"finetuning.learning_rate": 1e300},
}


@cache
def result_of(variant: str) -> Result:
    with np.errstate(all="ignore"):  # of what explodes
        return numsim.run(numsim.load(None, SMALL | VARIANTS[variant]))


def _equal(one: object, other: object) -> bool:
    """Equal in value and type, NaN to NaN, all the way down."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and one == other


def _same(one: Result, other: Result) -> None:
    assert _equal(one.theory, other.theory)
    assert one.to_dataset().identical(other.to_dataset())
    assert one.summary() == other.summary()
    for name in ("pretraining", "simclr", "direct"):
        mine, yours = getattr(one, name), getattr(other, name)
        assert (mine is None) == (yours is None)
        if mine is not None:
            assert mine.trajectory.identical(yours.trajectory)
            assert (mine.steps, mine.status) == (yours.steps, yours.status)
            assert mine.explanation == yours.explanation
    assert one.experiment == other.experiment
    assert one.faults == other.faults


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_file_keeps_everything(variant: str, tmp_path: Path) -> None:
    result = result_of(variant)
    path = tmp_path / "ergebnis µ é.nc"
    result.save(path)
    loaded = load_result(path)
    _same(result, loaded)
    assert loaded.direct.trajectory["gamma"].dtype.isnative
    loaded.save(path)  # over itself
    _same(result, load_result(os.fspath(path)))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_predictions_that_are_not_finite_are_kept(tmp_path: Path) -> None:
    """NaN and infinities as they are; files that have null for them are NaN there."""
    result, path = result_of("no steps"), tmp_path / "result.nc"
    assert math.isnan(result.theory["pretraining"]["growth_per_step"]["measured"])
    result.theory["pretraining"]["ratio"]["measured"] = math.inf
    result.save(path)
    assert _equal(load_result(path).theory, result.theory)
    text = json.dumps(result.theory).replace("NaN", "null")
    _attribute("theory", text)(path)
    assert _equal(load_result(path).theory, result.theory)


@pytest.mark.parametrize("seed", [2**31, 2**53 + 1, 2**63 - 1])
def test_large_seeds_are_saved(seed: int, tmp_path: Path) -> None:
    result = numsim.run(numsim.load(None, SMALL), seed=seed)
    result.save(tmp_path / "result.nc")
    assert load_result(tmp_path / "result.nc").seed == seed


@pytest.mark.parametrize("variant", VARIANTS)
def test_fields_and_dimensions(variant: str) -> None:
    result = result_of(variant)
    e = result.experiment
    m, n, n0 = e.network.filters, e.finetuning.samples, e.pretraining.samples
    for arm in (result.simclr, result.direct):
        if arm is None:
            assert n0 == 0
            continue
        path = arm.trajectory
        assert path["gamma"].dims == ("step", "sign", "filter")
        assert path["rho"].dims == path["noise_inner"].dims == ("step", "sign", "filter", "sample")
        assert path["loss"].dims == ("step",)
        assert (path.sizes["sign"], path.sizes["filter"], path.sizes["sample"]) == (2, m, n)
        if arm.status != "non_finite":
            assert path["step"].values[[0, -1]].tolist() == [0, arm.steps]
            assert float(path["loss"][-1]) == arm.train_loss
            assert np.isfinite(path["rho"]).all()
    if result.pretraining is not None:
        path = result.pretraining.trajectory
        assert path["gamma"].dims == ("step", "filter")
        assert path["rho"].dims == ("step", "filter", "unlabelled")
        assert ("rho_aug" in path) == (e.pretraining.views == "fixed")
        assert path["loss"].dims == path["alignment"].dims == ("step",)
        assert (path.sizes["filter"], path.sizes["unlabelled"]) == (2 * m, n0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_summary_is_plain_json(variant: str) -> None:
    summary = result_of(variant).summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["schema"] == 1
    keys = {"schema", "config", "conditions", "simclr", "direct", "pretraining", "theory"}
    assert keys <= set(summary)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pickling(variant: str) -> None:
    _same(result_of(variant), pickle.loads(pickle.dumps(result_of(variant))))


@pytest.mark.parametrize(
    ("variant", "faults"),
    [
        ("pre-training explodes", ["pretraining: .*reduce pretraining.learning_rate"]),
        ("pre-training diverges", ["simclr: not finite.*reduce pretraining.learning_rate"]),
        ("plain", []),
    ],
)
def test_faults_name_the_setting(variant: str, faults: list[str]) -> None:
    lines = result_of(variant).faults
    assert len(lines) == len(faults)
    for line, pattern in zip(lines, faults, strict=True):
        with pytest.raises(ValueError, match=pattern):
            raise ValueError(line)


def test_an_explosion_is_said_to_be_one() -> None:
    result = result_of("training explodes")
    assert all("finetuning.learning_rate" in line for line in result.faults)
    assert {line.split(":")[0] for line in result.faults} == {"simclr", "direct"}


@pytest.mark.parametrize(
    ("above", "stage"), [(-1.0, "finetuning"), (0.9, "finetuning"), (2.0, "pretraining")]
)
@pytest.mark.parametrize("status", ["max_steps", "non_finite"])
def test_the_stage_to_blame_is_the_one_that_diverged(above: float, stage: str, status: str) -> None:
    """A contrastive loss well above log n0, that of filters at zero, is a stage that had begun to diverge."""
    result = result_of("plain")
    assert result.pretraining is not None
    assert result.simclr is not None
    loss = math.log(result.experiment.pretraining.samples) + above
    faulty = replace(
        result,
        pretraining=replace(result.pretraining, loss=loss),
        arms={**result.arms, "simclr": replace(result.simclr, status=status, test_loss=math.inf, steps=7)},
    )
    (line,) = faulty.faults
    what = "not finite" if status == "non_finite" else "test loss not finite"
    assert line.startswith(f"simclr: {what} after 7 steps; reduce {stage}.learning_rate")


def _attribute(name: str, value: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        dataset = xr.load_dataset(path, engine="scipy")
        dataset.attrs[name] = value
        path.write_bytes(bytes(dataset.to_netcdf(engine="scipy")))

    return damage


_DAMAGE: dict[str, Callable[[Path], object]] = {
    "it is empty": lambda path: path.write_bytes(b""),
    "not a NetCDF 3 file": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)),
    "it has schema 2": _attribute("schema", 2),
    "it has schema None": lambda path: path.write_bytes(bytes(xr.Dataset().to_netcdf(engine="scipy"))),
    "it has the statuses": _attribute("status", '{"direct": "happy"}'),
    "not a result saved by numsim": _attribute("config", "[]"),
    "it has no arms": _attribute("status", "{}"),
}


@pytest.mark.parametrize("reason", _DAMAGE)
def test_damaged_files_are_refused(reason: str, tmp_path: Path) -> None:
    path = tmp_path / "result.nc"
    result_of("plain").save(path)
    _DAMAGE[reason](path)
    with pytest.raises(ValueError, match=reason) as caught:
        load_result(path)
    assert "\n" not in str(caught.value)


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.nc"
    content = result_of("plain").to_netcdf()
    for length in {*range(1, 200, 13), *range(200, len(content) - 4, len(content) // 40)}:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="is not a result saved by numsim"):
            load_result(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_result(tmp_path / "nothing.nc")


def test_an_interrupted_write_leaves_the_old_files(tmp_path: Path) -> None:
    def interrupted(file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    old = {tmp_path / "a": b"old a", tmp_path / "b": b"old b"}
    for path, content in old.items():
        path.write_bytes(content)
    with pytest.raises(KeyboardInterrupt):
        write_together({tmp_path / "a": lambda file: file.write(b"new"), tmp_path / "b": interrupted})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_atomically(tmp_path / "link", lambda file: file.write(b"new"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_same_bits_in_any_company() -> None:
    e = numsim.load(None, SMALL)
    seeds = range(8)
    alone = {seed: numsim.run(e, seed).to_netcdf() for seed in seeds}
    order = np.random.default_rng(0).permutation(np.repeat(seeds, 2)).tolist()
    done = threading.Event()

    def disturb() -> None:
        matrix = np.ones((300, 300))
        while not done.is_set():
            matrix @ matrix

    with ThreadPoolExecutor(1) as other, ThreadPoolExecutor(4) as pool:
        noise = other.submit(disturb)
        try:
            together = list(pool.map(lambda seed: numsim.run(e, seed).to_netcdf(), order))
        finally:
            done.set()
        noise.result()
    assert all(content == alone[seed] for seed, content in zip(order, together, strict=True))


def _blas() -> list[int]:
    from threadpoolctl import threadpool_info

    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_blas_threads_are_held_and_restored() -> None:
    with blas_threads(1):
        pass  # loads the libraries
    before = _blas()
    with blas_threads(1), blas_threads(1):
        assert set(_blas()) <= {1}
    assert _blas() == before
    with pytest.raises(ZeroDivisionError), blas_threads(2):
        raise ZeroDivisionError
    assert _blas() == before


def test_a_thread_that_holds_blas_keeps_its_number() -> None:
    with blas_threads(1):
        with blas_threads(2):
            assert set(_blas()) <= {1}
        assert set(_blas()) <= {1}
    with pytest.raises(ValueError, match=r"^threads is 0, expected a whole number >= 1$"), blas_threads(0):
        pass


def test_any_thread_holds_blas_and_the_last_restores_it() -> None:
    """Numbers mixed at random from four threads: each sees its own, and the end is as the start."""
    with blas_threads(1):
        pass  # the main thread was first to set it
    before = _blas()

    def hold(seed: int) -> list[tuple[int, set[int]]]:
        wanted = np.random.default_rng(seed).choice([1, 2], size=20)
        seen = []
        for number in wanted.tolist():
            with blas_threads(number):
                seen.append((number, set(_blas())))
        return seen

    with ThreadPoolExecutor(4) as pool:
        seen = [pair for pairs in pool.map(hold, range(8)) for pair in pairs]
    assert all(found == {number} for number, found in seen)
    assert _blas() == before


@pytest.mark.parametrize("threads", [1, 2])
def test_stages_hold_blas_themselves(threads: int) -> None:
    before = _blas()
    seen: set[int] = set()
    common: dict[str, Any] = {"learning_rate": 0.1, "max_steps": 2, "threads": threads}
    common["progress"] = lambda *_: seen.update(_blas())
    z = np.eye(3)
    numsim.pretrain(z, z, z, **common)
    numsim.train(np.ones((2, 1, 3)), z[:, None], np.ones(3), q=3, **common)
    assert seen == {threads}
    assert _blas() == before


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_has_the_threads_it_asks_for(threads: int) -> None:
    seen: set[int] = set()
    e = numsim.load(None, SMALL | {"threads": threads})
    numsim.run(e, report=lambda *_: seen.update(_blas()))
    assert seen <= {threads}


def test_runs_of_other_thread_numbers_wait() -> None:
    e = numsim.load(None, SMALL)
    before = _blas()
    with ThreadPoolExecutor(4) as pool:
        runs = pool.map(lambda threads: numsim.run(e.replace({"threads": threads})), [1, 2, 1, 2, 2, 1])
        results: list[Result] = list(runs)
    assert [result.experiment.threads for result in results] == [1, 2, 1, 2, 2, 1]
    _same(results[0], results[2])
    _same(results[1], results[4])
    assert _blas() == before


def test_arm_results_compare_by_what_they_found() -> None:
    first, second = (numsim.run(numsim.load(None, SMALL)).direct for _ in range(2))
    assert isinstance(first, ArmResult)
    assert first == second
