"""What runs where: a checkout without an install, and worker processes beside a user's files."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

import numsim
from numsim.claims.registry import builtin, load_claims
from numsim.runs import workers
from numsim.sweeps.batches import Batch
from numsim.sweeps.executors import Processes, WorkerDied

ROOT = Path(numsim.__file__).parents[1]
_IGNORED = shutil.ignore_patterns("__pycache__")


def _python(*arguments: str, cwd: Path, path: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(path)} if path else {}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_checkout_finds_its_derivations_without_an_install(elsewhere: bool, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for name in ("numsim", "derivations"):
        shutil.copytree(ROOT / name, clone / name, ignore=_IGNORED)
    chapter = clone / "derivations" / "chapter"
    chapter.mkdir()
    (chapter / "__init__.py").touch()
    (chapter / "helper.py").write_text("from .. import __name__ as above\n")
    code = (
        "import numsim.derivations\n"
        "from numsim.derivations.chapter.helper import above\n"
        "from numsim.claims.registry import builtin\n"
        "print(numsim.derivations.__file__, above, *sorted(builtin()))\n"
    )
    where = {"cwd": tmp_path, "path": clone} if elsewhere else {"cwd": clone, "path": None}
    done = _python("-c", code, **where)
    expected = [str(clone / "derivations" / "__init__.py"), "numsim.derivations", *sorted(builtin())]
    assert (done.stdout.split(), done.stderr) == (expected, "")


_SWEEP = """
data.dim = 400
network.filters = 2
pretraining = { samples = 8, steps = 20 }
finetuning = { samples = 4, max_steps = 20 }
evaluation.samples = 20
[sweep]
seeds = 2
[sweep.over]
"data.snr" = [0.3, 0.9]
"""


@pytest.mark.compiled
@pytest.mark.parametrize("more", [(), ("--scheduler", "local")], ids=["processes", "dask"])
def test_workers_do_not_import_from_the_current_folder(more: tuple[str, ...], tmp_path: Path) -> None:
    if more and importlib.util.find_spec("distributed") is None:
        pytest.skip("needs dask.distributed")
    for name in ("random", "tempfile", "socket", "selectors", "numpy", "loky"):
        text = f"print('{name} of the current folder'); raise ImportError('{name} of the current folder')\n"
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "mine.toml").write_text(_SWEEP)
    done = _python("-m", "numsim", "sweep", "mine.toml", "--out", "out", *more, cwd=tmp_path, path=ROOT)
    assert "of the current folder" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_the_environment_is_as_it_was_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with workers.safe_path():
        with workers.safe_path():
            pass
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert "PYTHONSAFEPATH" not in os.environ


def test_a_pool_that_has_just_broken_gives_a_future_that_says_so() -> None:
    class Broken(Executor):
        def submit(self, *_: Any, **__: Any) -> Future[Any]:
            raise BrokenProcessPool("a process died")

    with pytest.raises(BrokenProcessPool, match="a process died"):
        workers.submit(Broken(), print).result()


def test_a_batch_for_a_pool_that_has_just_broken_is_run_again() -> None:
    """A worker may die between the look at what is under way and the next batch."""
    executor = Processes()
    executor.workers = 1
    empty = Batch(numsim.Experiment(), (), ())
    try:
        assert executor.collect(executor.submit(empty)) == []
        os.kill(next(iter(executor._pool._processes)), signal.SIGKILL)
        end = time.monotonic() + 60
        while executor._pool._flags.broken is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        with pytest.raises(WorkerDied):
            executor.collect(executor.submit(empty))
        assert executor.collect(executor.submit(empty)) == []
    finally:
        executor.close()


def test_neighbours_of_a_claim_are_found_when_it_is_checked(tmp_path: Path) -> None:
    (tmp_path / "my_neighbour.py").write_text("NUMBER = 3.0\n")
    for k in (1, 2):  # two: in processes of their own
        (tmp_path / f"claim{k}.py").write_text(
            "import my_neighbour\n"
            "from numsim import Claim\n"
            "from numsim.claims import Outcome, equals\n"
            "def check(trials, *, factor=1.0):\n"
            "    from my_neighbour import NUMBER\n"
            "    return Outcome([equals('three', 3 * factor, my_neighbour.NUMBER, order=0.01)])\n"
            f"CLAIM = Claim(id='M{k}', title='Three', source='here', check=check,\n"
            "    controls={'four': {'factor': 4 / 3}})\n"
        )
    before = list(sys.path)
    try:
        claims = [claim for k in (1, 2) for claim in load_claims(tmp_path / f"claim{k}.py")]
        assert sys.path == [*before, str(tmp_path)]
        assert [evidence.good for evidence in numsim.verify(claims)] == [True, True]
    finally:
        sys.path[:] = before
