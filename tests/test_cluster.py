"""Sweeps on a Dask cluster: the same bits as here, whatever dies on the way."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import numsim
from numsim import cli
from numsim.runs.folders import LEDGER, RESULTS
from numsim.sweeps import study
from numsim.sweeps.executors import Here
from numsim.sweeps.ledger import Ledger
from numsim.sweeps.results import netcdf
from numsim.sweeps.study import Study

pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.compiled,
    # Dask leaves sockets and subprocesses to the garbage collector, which pytest then complains of.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Sending large graph"),
]

SMALL = numsim.Experiment(
    data={"dim": 400, "snr": 0.5},
    network={"filters": 2, "relative_init_scale": 0.05},
    pretraining={"samples": 8, "steps": 20},
    finetuning={"samples": 4, "max_steps": 20},
    evaluation={"samples": 20},
)
OVER: dict[str, Any] = {"data.snr": {"linspace": [0.1, 0.9, 10]}, "finetuning.samples": [2, 4, 6]}
SEEDS = 4
RUNS = 120
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
[sweep]
seeds = 4
[sweep.over]
"data.snr" = { linspace = [0.1, 0.9, 10] }
"finetuning.samples" = [2, 4, 6]
"""


@pytest.fixture(scope="module")
def expected() -> bytes:
    """The numbers of the small sweep, run here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "connect", lambda *_: Here())
        return netcdf(numsim.sweep(SMALL, OVER, SEEDS, None))


class Machines:
    """A scheduler and workers as processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = os.pathsep.join([str(Path(numsim.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        self.environment = {**os.environ, "PYTHONPATH": path, "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "60s"}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.address = self.said("scheduler0", r"Scheduler at:\s*(tcp://\S+)")

    def start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"{kind}{len(self.processes)}"
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments],
                stdout=file, stderr=subprocess.STDOUT, env=self.environment, cwd=self.folder,
                start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def worker(self) -> subprocess.Popen[bytes]:
        """One with a nanny, which starts it again when it dies."""
        return self.start(
            "worker", self.address, "--nthreads", "1", "--no-dashboard", "--local-directory", str(self.folder)
        )

    def said(self, name: str, pattern: str) -> str:
        end = time.monotonic() + 60
        while not (found := re.search(pattern, (self.folder / name).read_text())):
            assert time.monotonic() < end, (self.folder / name).read_text()
            time.sleep(0.05)
        return found.group(1)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """With the nanny and all it started: a machine that is switched off."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                self.kill(process)


@pytest.fixture
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    started = Machines(tmp_path_factory.mktemp("dask"))
    yield started
    started.close()


def slow(monkeypatch: pytest.MonkeyPatch, log: Path, seconds: float, poison: int | None = None) -> None:
    """Batches that say when they begin and take their time; a cell may kill its worker."""
    path = str(log)

    def run(batch: Any) -> Any:  # a closure travels to the workers as it is
        import os
        import signal
        import time

        from numsim.sweeps.batches import run_batch

        with open(path, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(seconds * batch.runs)
        if any(task.cell == poison and 1 in task.seeds for task in batch.tasks):
            os.kill(os.getpid(), signal.SIGKILL)
        return run_batch(batch)

    monkeypatch.setattr("numsim.sweeps.cluster.run_batch", run)


def when(log: Path, batches: int, act: Callable[[], object]) -> threading.Thread:
    """Act once so many batches have begun."""

    def watch() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if log.exists() and len(log.read_text().splitlines()) >= batches:
                act()
                return
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_cluster_of_this_machine_changes_no_bit(expected: bytes, tmp_path: Path) -> None:
    found = numsim.sweep(SMALL, OVER, SEEDS, tmp_path, scheduler="local")
    assert netcdf(found) == expected
    assert (tmp_path / RESULTS).read_bytes() == expected


def test_a_machine_that_dies_costs_nothing_but_time(
    machines: Machines, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = machines.worker(), machines.worker()
    slow(monkeypatch, tmp_path / "log", 0.02)
    killer = when(tmp_path / "log", 10, lambda: machines.kill(first))
    found, computed = Study(SMALL, OVER, SEEDS).run(tmp_path, machines.address)
    killer.join()
    assert first.poll() is not None
    assert (netcdf(found), computed) == (expected, RUNS)


def test_a_lost_scheduler_is_incomplete_and_gone_on_with(
    machines: Machines,
    expected: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard: list[logging.LogRecord] = []
    monkeypatch.setattr(logging.Logger, "callHandlers", lambda _, record: heard.append(record))
    machines.worker()
    (tmp_path / "sweep.toml").write_text(TOML)
    arguments = ["sweep", str(tmp_path / "sweep.toml"), "--out", str(tmp_path / "out"), "--json"]
    slow(monkeypatch, tmp_path / "log", 0.02)
    killer = when(tmp_path / "log", 8, lambda: machines.kill(machines.scheduler))
    code = cli._main([*arguments, "--scheduler", machines.address])
    killer.join()
    said = capsys.readouterr()
    *written, line = said.err.splitlines()
    assert [text.partition(":")[0] for text in written] == ["written"]
    assert not heard  # a page of traceback
    assert not logging.getLogger("distributed.client").filters  # of other clients it is heard again
    assert (code, json.loads(said.out)["complete"]) == (cli.INCOMPLETE, False)
    assert "the Dask scheduler was lost" in line
    assert f"what was finished is kept in {tmp_path / 'out'}" in line
    with Ledger(tmp_path / "out" / LEDGER) as ledger:
        kept = ledger.count()
    assert 0 < kept < RUNS
    monkeypatch.setattr(study, "connect", lambda *_: Here())
    assert cli._main(arguments) == 0
    found, computed = Study(SMALL, OVER, SEEDS).run(tmp_path / "out")
    assert (netcdf(found), computed) == (expected, 0)


def test_a_cell_that_kills_its_worker_fails_alone(
    machines: Machines, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.worker(), machines.worker()
    with monkeypatch.context() as patch:
        slow(patch, tmp_path / "log", 0.0, poison=7)
        found, computed = Study(SMALL, OVER, SEEDS).run(tmp_path, machines.address)
    assert computed == RUNS
    (reason,) = json.loads(found.attrs["failures"]).items()
    assert reason[0].endswith("finetuning.samples = 4, seed 1")
    assert "died twice" in reason[1]
    assert machines.address.rpartition(":")[0] not in reason[1]  # a result names no hosts
    monkeypatch.setattr(study, "connect", lambda *_: Here())
    found, computed = Study(SMALL, OVER, SEEDS).run(tmp_path)
    assert (netcdf(found), computed) == (expected, 1)


def test_nobody_works_there(machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numsim.sweeps.cluster._CONNECT", 1.0)
    start = time.monotonic()
    with pytest.raises(numsim.ConfigError, match="without workers, expected at least one") as caught:
        numsim.sweep(SMALL, OVER, SEEDS, tmp_path / "out", scheduler=machines.address)
    assert len(caught.value.faults) == 1
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:9", "127.0.0.1:9", "http://127.0.0.1:9", "", "nonsense"]
)
def test_nobody_answers(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numsim.sweeps.cluster._CONNECT", 1.0)
    start = time.monotonic()
    with pytest.raises(numsim.ConfigError, match="the address of a running Dask scheduler") as caught:
        numsim.sweep(SMALL, OVER, SEEDS, tmp_path / "out", scheduler=address)
    (line,) = caught.value.faults
    assert len(line.splitlines()) == 1
    assert time.monotonic() - start < 10


def test_it_needs_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numsim.sweeps.cluster", None)
    with pytest.raises(numsim.ConfigError, match=r"pip install 'numsim\[dask\]'"):
        numsim.sweep(SMALL, OVER, SEEDS, None, scheduler="tcp://127.0.0.1:9")
