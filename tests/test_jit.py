"""Compiled kernels: a cache that cannot be used costs a warning, never a crash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
import tolerances

import numsim
from numsim import _jit

_PACKAGE = Path(numsim.__file__).parent


@pytest.fixture(autouse=True)
def _never_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_jit, "_warned", False)


def _square(x: float) -> float:
    return x * x


def test_kernel_computes() -> None:
    assert _jit.kernel(_square)(3.0) == _square(3.0)


def test_no_place_for_a_cache_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    original = numba.njit

    def njit(**options: Any) -> Any:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function '_square': no locator available")
        return original(**options)

    monkeypatch.setattr(numba, "njit", njit)
    with pytest.warns(RuntimeWarning, match="cannot be cached.*NUMBA_CACHE_DIR"):
        compiled = _jit.kernel(_square)
    assert compiled(3.0) == _square(3.0)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), EOFError(), ValueError("damaged")])
def test_failing_cache_is_one_warning(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise error

    cache = SimpleNamespace(save_overload=fail, load_overload=fail, cache_path="/the/cache")
    monkeypatch.setattr(numba, "njit", lambda **_: lambda function: SimpleNamespace(_cache=cache))
    _jit.kernel(_square)
    with pytest.warns(RuntimeWarning, match="/the/cache"):
        assert cache.load_overload("signature") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.save_overload("signature", "code") is None


def test_a_listener_hears_of_kernels_that_are_not_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    stored: dict[str, str] = {}
    cache = SimpleNamespace(save_overload=stored.__setitem__, load_overload=stored.get, cache_path="")
    monkeypatch.setattr(numba, "njit", lambda **_: lambda function: SimpleNamespace(_cache=cache))
    _jit.kernel(_square)
    heard: list[str] = []
    with _jit.compilation_told_to(heard.append):
        assert cache.load_overload("signature") is None
        cache.save_overload("signature", "code")
        assert cache.load_overload("signature") == "code"
        assert heard == ["_square"]
    assert cache.load_overload("another") is None
    assert heard == ["_square"]


def _run(folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(cache)}
    environment |= {"HOME": str(cache), "XDG_CACHE_HOME": str(cache)}  # where Numba looks last
    settings = ["data.dim=100", "pretraining.samples=0", "finetuning.samples=2", "finetuning.max_steps=3"]
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    command = [sys.executable, "-m", "numsim", "run", "--json", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.compiled
def test_run_where_nothing_can_be_cached(tmp_path: Path) -> None:
    shutil.copytree(_PACKAGE, tmp_path / "numsim", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "numsim" / "_kernels" / "__pycache__").touch()  # a file where the folder would be
    (tmp_path / "file").touch()
    done = _run(tmp_path, tmp_path / "file")
    assert done.returncode == 0
    assert done.stdout.startswith('{"schema": 1')
    assert done.stderr.startswith("numsim: warning: compiled kernels cannot be cached")
    assert done.stderr.count("\n") == 1


@pytest.mark.compiled
def test_run_with_a_damaged_cache(tmp_path: Path) -> None:
    shutil.copytree(_PACKAGE, tmp_path / "numsim", ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / "cache"
    cache.mkdir()
    first = _run(tmp_path, cache)
    for index in cache.rglob("*.nbi"):
        index.write_bytes(index.read_bytes()[:40])
    second = _run(tmp_path, cache)
    assert (first.returncode, first.stderr, second.returncode) == (0, "", 0)
    assert second.stderr.count("numsim: warning:") == 1


@pytest.mark.compiled
def test_an_edit_of_what_a_kernel_calls_in_another_file_is_noticed(tmp_path: Path) -> None:
    shutil.copytree(_PACKAGE, tmp_path / "numsim", ignore=shutil.ignore_patterns("__pycache__"))
    callee = tmp_path / "numsim" / "_kernels" / "exponential.py"
    loss = "import numsim; print(numsim.logistic_loss([[[1.0]], [[1.0]]], [[[1.0]]], [1.0], q=1)[0])"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run() -> float:
        command = [sys.executable, "-c", loss]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    assert run() == pytest.approx(np.log(2.0))
    text = callee.read_text()
    line = "power = shifted - _ROUND"
    assert text.count(line) == 1
    callee.write_text(text.replace(line, "power = 1.0"))
    assert run() == pytest.approx(np.log(1.5))


@_jit.kernel
def _product(alpha: float, left: Any, right: Any, beta: float, out: Any) -> None:
    _jit.multiply(alpha, left, right, beta, out)


@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("n", [1, 4])
def test_products_of_slices_and_transposes(m: int, k: int, n: int) -> None:
    rng = np.random.default_rng(m + 10 * k + 100 * n)

    def shapes(rows: int, columns: int) -> list[Any]:
        """Rows of an array of their own, rows of a wider one, and columns of both."""
        wide = rng.standard_normal((rows + 2, columns + 3))
        tall = rng.standard_normal((columns + 2, rows + 3))
        return [wide[:rows, :columns].copy(), wide[1 : rows + 1, 2 : columns + 2], tall[1:-1, 1:-2].T]

    for left in shapes(m, k):
        for right in shapes(k, n):
            for out in shapes(m, n)[:2]:
                for alpha, beta in ((1.0, 0.0), (-0.5, 1.0), (2.0, -3.0)):
                    expected = alpha * (left @ right) + beta * out
                    _product(alpha, left, right, beta, out)
                    np.testing.assert_allclose(out, expected, rtol=0, atol=tolerances.roundoff(k, 100.0))


def test_a_product_overwrites_whatever_was_there_and_nothing_beside_it() -> None:
    around = np.full((4, 5), np.nan)
    _product(1.0, np.ones((2, 3)), np.ones((3, 2)), 0.0, around[1:3, 2:4])
    np.testing.assert_array_equal(around[1:3, 2:4], np.full((2, 2), 3.0))
    assert np.isnan(around).sum() == around.size - 4
