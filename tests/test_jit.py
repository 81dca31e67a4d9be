"""Compiled kernels: a cache that cannot be used costs a warning, never a crash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import tolerances

import numsim
from numsim.descent import _jit

_PACKAGE = Path(numsim.__file__).parent


@pytest.fixture(autouse=True)
def _never_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_jit, "_warned", False)


def _square(x: float) -> float:
    return x * x


def test_kernel_computes() -> None:
    assert _jit.kernel(_square)(3.0) == _square(3.0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder for compiled kernels."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    _jit._folder.cache_clear()
    yield tmp_path / "cache" / "numsim" / "kernels"
    _jit._folder.cache_clear()


def _square_compiled() -> list[str]:
    """Call a kernel as a process does for the first time; returns what had to be compiled."""
    compiled: list[str] = []
    with _jit.compilation_told_to(compiled.append):
        assert _jit.kernel(_square)(3.0) == _square(3.0)
    return compiled


@pytest.mark.compiled
def test_a_kernel_is_compiled_once_for_each_signature(cache: Path) -> None:
    assert _square_compiled() == ["_square"]
    assert _square_compiled() == []
    assert _jit.kernel(_square)(3) == 9  # a whole number is another signature
    (folder,) = cache.iterdir()
    assert len([path.name for path in folder.iterdir()]) == 2
    assert _square_compiled() == []


@pytest.mark.compiled
def test_code_for_another_cpu_is_not_loaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _square_compiled()
    codegen = _jit.kernel(_square).targetctx.codegen()  # type: ignore[attr-defined]
    triple, _, features = codegen.magic_tuple()
    monkeypatch.setattr(type(codegen), "magic_tuple", lambda _: (triple, "another", features))
    assert _square_compiled() == ["_square"]
    monkeypatch.undo()
    assert len(list(cache.glob("*/*.nbc"))) == 2


@pytest.mark.compiled
@pytest.mark.parametrize("size", [0, 40, 1000])
def test_a_damaged_file_is_replaced(size: int, cache: Path) -> None:
    _square_compiled()
    (entry,) = cache.glob("*/*.nbc")
    entry.write_bytes(entry.read_bytes()[:size])
    assert _square_compiled() == ["_square"]
    assert _square_compiled() == []


@pytest.mark.compiled
@pytest.mark.parametrize("method", ["_load_data", "_save_data"])
def test_a_failing_disk_is_one_warning(method: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_jit._Entries, method, fail)
    with pytest.warns(RuntimeWarning, match=f"cannot be cached in {cache}.*No space left.*NUMBA_CACHE_DIR"):
        assert _square_compiled() == ["_square"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _square_compiled() == ["_square"]


@pytest.mark.compiled
def test_without_a_home_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/.cache")  # what is left of it where nobody knows the home
    _jit._folder.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"cannot be cached \(the user has no home\)"):
        compiled = _jit.kernel(_square)
    _jit._folder.cache_clear()
    assert compiled(3.0) == _square(3.0)
    assert not Path("~").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="conventions of other platforms")
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_CACHE_HOME": "/x"}, "/x/numsim"),
        ({"HOME": "/h"}, "/h/.cache/numsim"),
        ({"HOME": "/h", "NUMBA_CACHE_DIR": "/n"}, "/n/numsim"),
    ],
)
def test_the_cache_is_where_the_platform_has_it(environment: dict[str, str], expected: str) -> None:
    kept = {k: v for k, v in os.environ.items() if k not in ("XDG_CACHE_HOME", "HOME", "NUMBA_CACHE_DIR")}
    code = "from numsim.descent import _jit; print(_jit._folder().parent)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, cwd=_PACKAGE.parent, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == f"{expected}/kernels"


def test_versions_used_last_are_kept(cache: Path) -> None:
    for age in range(30):
        folder = cache / f"{age:02}"
        folder.mkdir(parents=True)
        (folder / "kernel.nbc").touch()
        os.utime(folder, (time.time() - age * _jit._DAY,) * 2)
    new = _jit._folder()
    names = sorted(path.name for path in cache.iterdir() if path != new)
    assert new.is_dir()
    assert names == [f"{age:02}" for age in range(_jit._VERSIONS - 1)]


def test_a_version_in_use_counts_as_used(cache: Path) -> None:
    folder = _jit._folder()
    os.utime(folder, (0.0, 0.0))
    _jit._folder.cache_clear()
    assert time.time() - _jit._folder().stat().st_mtime < _jit._DAY


def test_settings_that_change_the_code_are_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _jit._version()
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", 1)
    _jit._version.cache_clear()
    assert _jit._version() != before
    monkeypatch.undo()
    _jit._version.cache_clear()
    assert _jit._version() == before


def test_what_was_once_cached_in_the_package_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without __init__.py is what pip left of a package, and hides a checkout."""
    installed, left_behind = tmp_path / "here" / "numsim", tmp_path / "site" / "numsim"
    for package in (installed, left_behind):
        (package / "_kernels" / "__pycache__").mkdir(parents=True)
        for name in ("readout.f-1.py311.nbi", "readout.f-1.py311.1.nbc"):
            (package / "_kernels" / "__pycache__" / name).touch()
    (installed / "__init__.py").touch()
    monkeypatch.setattr(_jit, "_PACKAGE", installed)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(left_behind.parent))
    _jit._clear_package()
    assert not left_behind.exists()
    assert list(installed.iterdir()) == [installed / "__init__.py"]
    (left_behind / "mine").mkdir(parents=True)  # anything else is nobody's to remove
    with suppress(OSError):
        _jit._clear_package()
    assert (left_behind / "mine").is_dir()


_SETTINGS = ["data.dim=100", "pretraining.samples=0", "finetuning.samples=2", "finetuning.max_steps=3"]
_RUN = ["run", "--json", *(argument for setting in _SETTINGS for argument in ("--set", setting))]


def _environment(folder: Path, cache: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(cache)}


def _run(folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "numsim", *_RUN], env=_environment(folder, cache), cwd=folder,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.suffix not in (".pyc", "")}


@pytest.mark.compiled
def test_nothing_is_written_into_the_package(tmp_path: Path) -> None:
    shutil.copytree(_PACKAGE, tmp_path / "numsim", ignore=shutil.ignore_patterns("__pycache__"))
    before = _files(tmp_path / "numsim")
    done = _run(tmp_path, tmp_path / "cache")
    assert (done.returncode, done.stderr) == (0, "")
    assert _files(tmp_path / "numsim") == before
    assert any(path.suffix == ".nbc" for path in _files(tmp_path / "cache"))


@pytest.mark.compiled
def test_run_where_nothing_can_be_cached(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = _run(_PACKAGE.parent, tmp_path / "file")
    assert done.returncode == 0
    assert done.stdout.startswith('{"schema": 1')
    assert done.stderr.startswith("numsim: warning: compiled kernels cannot be cached")
    assert done.stderr.count("\n") == 1


@pytest.mark.compiled
def test_processes_that_compile_at_once(tmp_path: Path) -> None:
    """Each of them finds code for its own signatures afterwards, and no unfinished file is left."""
    (tmp_path / "own.py").write_text(
        "import sys\n"
        "from numsim.descent import _jit\n"
        "@_jit.kernel\n"
        "def double(x):\n"
        "    return 2 * x\n"
        "@_jit.kernel\n"
        "def fourfold(x):\n"
        "    return double(double(x))\n"
        "for value in sys.argv[1:]:\n"
        "    missing = []\n"
        "    with _jit.compilation_told_to(missing.append):\n"
        "        print(fourfold(eval(value)), *missing)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(_PACKAGE.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def start(*values: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(tmp_path / "own.py"), *values]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    started = {value: start(value) for value in ("3", "3.0", "3j", "True")}
    said = {value: process.communicate()[0].split()[0] for value, process in started.items()}
    assert said == {"3": "12", "3.0": "12.0", "3j": "12j", "True": "4"}
    assert start(*said).communicate()[0].splitlines() == list(said.values())
    files = {path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert files == {".nbc"}


@pytest.mark.compiled
def test_an_edit_of_what_a_kernel_calls_in_another_file_is_noticed(tmp_path: Path) -> None:
    shutil.copytree(_PACKAGE, tmp_path / "numsim", ignore=shutil.ignore_patterns("__pycache__"))
    callee = tmp_path / "numsim" / "descent" / "_kernels" / "exponential.py"
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
