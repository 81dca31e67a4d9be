"""The ledger: exact bits, one writer, all or nothing, and no file harmed that is no sound ledger of ours."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import numsim
from numsim.runs.measures import PHYSICS
from numsim.sweeps.ledger import Entry, Ledger, LedgerError, LedgerFull

KEY, OTHER = b"k" * 16, b"o" * 16
TEXTS = {KEY: "{}", OTHER: "{}"}
SPECIAL = np.frombuffer(
    np.array(
        [
            0x7FF8000000000000,  # NaN
            0x7FF80000DEADBEEF,  # with a payload
            0xFFF8000000000001,  # with a sign
            0x7FF0000000000001,  # signalling
            0x7FF0000000000000,
            0xFFF0000000000000,
            0x8000000000000000,  # -0.0
            0x0000000000000001,  # denormal
            0x7FEFFFFFFFFFFFFF,
        ],
        dtype="<u8",
    ).tobytes(),
    dtype="<f8",
)

Floats = npt.NDArray[np.float64]


def entry(seed: int, numbers: Floats | None = SPECIAL, key: bytes = KEY, reason: str = "") -> Entry:
    return Entry(key, seed, 0.25, numbers, reason)


def bits(numbers: Floats) -> bytes:
    return numbers.astype("<f8").tobytes()


def filled(path: Path, cells: int = 30, seeds: int = 10) -> bytes:
    """A sound ledger of several pages, closed; its bytes."""
    with Ledger(path) as ledger:
        for cell in range(cells):
            key = bytes([cell]) * 16
            ledger.add([entry(seed, key=key) for seed in range(seeds)], {key: "x" * 200})
    return path.read_bytes()


def refused(path: Path, *words: str) -> None:
    """Opening says so in one line, and leaves the folder as it was."""
    before = {p: p.read_bytes() for p in path.parent.iterdir() if p.is_file()}
    with pytest.raises(LedgerError) as caught:
        Ledger(path)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    for word in (str(path), "choose another folder", *words):
        assert word in text
    assert {p: p.read_bytes() for p in path.parent.iterdir() if p.is_file()} == before


# ---------------------------------------------------------------- what comes back


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(patterns=st.lists(st.integers(0, 2**64 - 1), max_size=12), seed=st.integers(0, 2**63 - 1))
def test_every_bit_comes_back(patterns: list[int], seed: int, tmp_path: Path) -> None:
    numbers = np.frombuffer(np.array(patterns, dtype="<u8").tobytes(), dtype="<f8")
    path = tmp_path / "ledger.sqlite"
    path.unlink(missing_ok=True)
    with Ledger(path) as ledger:
        ledger.add([entry(seed, numbers)], TEXTS)
        assert bits(ledger.numbers(KEY)[seed]) == bits(numbers)
    with Ledger(path) as ledger:
        assert bits(ledger.numbers(KEY)[seed]) == bits(numbers)


@pytest.mark.parametrize("name", [None, "ledger.sqlite", "é ?mode=ro#%20.sqlite"])
def test_special_numbers_come_back(name: str | None, tmp_path: Path) -> None:
    with Ledger(tmp_path / name if name else None) as ledger:
        ledger.add([entry(3), entry(2**63 - 1, -SPECIAL)], TEXTS)
        found = ledger.numbers(KEY)
        assert {seed: bits(v) for seed, v in found.items()} == {3: bits(SPECIAL), 2**63 - 1: bits(-SPECIAL)}
        found[3][0] = 1.0  # a copy of one's own
        assert (ledger.seeds(KEY), ledger.seeds(OTHER), ledger.count()) == ({3, 2**63 - 1}, set(), 2)
        assert ledger.numbers(OTHER) == ledger.reasons(OTHER) == {}
    assert os.listdir(tmp_path) == ([name] if name else [])


def test_reopened_it_goes_on_in_another_session(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    for session in (1, 2, 3):
        with Ledger(path) as ledger:
            assert ledger.session == session
            assert ledger.seeds(KEY) == set(range(1, session))
            ledger.add([entry(session)], TEXTS)
    assert os.listdir(tmp_path) == ["ledger.sqlite"]  # nothing of the log is left


def test_numbers_replace_a_failure_but_no_failure_hides_numbers(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.add([entry(0, None, reason="why"), entry(1, None, reason="because")], TEXTS)
        assert (ledger.seeds(KEY), ledger.reasons(KEY)) == (set(), {0: "why", 1: "because"})
        ledger.add([entry(0), entry(1, None, reason="another time")], TEXTS)
        assert (ledger.seeds(KEY), ledger.reasons(KEY)) == ({0}, {1: "another time"})


# ---------------------------------------------------------------- all or nothing


@pytest.mark.parametrize(
    "bad",
    [
        entry(2, key=b"unknown"),  # no text
        entry(2**64),  # no integer of SQLite's
        Entry(KEY, 2, 0.0, "numbers"),  # type: ignore[arg-type]
    ],
)
def test_an_error_keeps_nothing_of_its_call(bad: Entry, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.add([entry(0)], TEXTS)
        with pytest.raises((KeyError, OverflowError, AttributeError)):
            ledger.add([entry(1), bad], TEXTS)
        assert ledger.seeds(KEY) == {0}
        ledger.add([entry(5)], TEXTS)  # and it can be used on
    with Ledger(path) as ledger:
        assert ledger.seeds(KEY) == {0, 5}


def _killed_while_adding(path: Path, ready: str) -> None:
    ledger = Ledger(path)
    for seed in range(10**6):
        ledger.add([entry(seed)], TEXTS)
        with open(ready, "a") as log:
            log.write(f"{seed}\n")


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path, log = tmp_path / "ledger.sqlite", tmp_path / "log"
    process = multiprocessing.get_context("fork").Process(target=_killed_while_adding, args=(path, str(log)))
    process.start()
    while not log.exists() or log.stat().st_size < 500:
        assert process.is_alive()
    process.kill()
    process.join()
    acknowledged = [int(line) for line in log.read_text().split("\n")[:-1]]
    with Ledger(path) as ledger:
        known = ledger.seeds(KEY)
        assert set(acknowledged) <= known <= {*acknowledged, len(acknowledged)}
        assert all(bits(v) == bits(SPECIAL) for v in ledger.numbers(KEY).values())


# ---------------------------------------------------------------- one at a time


def test_a_second_opener_is_told_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    code = (
        "import sys, pathlib\nfrom numsim.sweeps.ledger import Ledger, LedgerError\n"
        "try:\n    Ledger(pathlib.Path(sys.argv[1]))\nexcept LedgerError as error:\n    print(error)"
    )
    expected = f"{path} is in use by another sweep; wait for it, or choose another folder"
    with Ledger(path) as ledger:
        ledger.add([entry(0)], TEXTS)
        with pytest.raises(LedgerError) as caught:  # in this process
            Ledger(path)
        assert str(caught.value) == expected
        done = subprocess.run(  # and in another
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=True, env=environment()
        )
        assert (done.stdout, done.stderr) == (f"{expected}\n", "")
        ledger.add([entry(1)], TEXTS)
        assert ledger.seeds(KEY) == {0, 1}
    with Ledger(path) as ledger:
        assert (ledger.seeds(KEY), ledger.session) == ({0, 1}, 2)


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(numsim.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


# ---------------------------------------------------------------- files that are none


@pytest.mark.parametrize(
    "content", [b"data.snr,seed\n" * 200, b"SQLite format 3\0" + b"junk" * 400, bytes(5000)]
)
def test_a_file_of_another_kind(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)
    refused(path, "is not a ledger, or is damaged", "nothing was changed")


@pytest.mark.parametrize("application", [0, 1234])
def test_a_file_of_another_program(application: int, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id = {application}")
    connection.execute("CREATE TABLE cells (x)")
    connection.commit()
    connection.close()
    refused(path, "is an SQLite file of another program")


def altered(path: Path, statement: str) -> None:
    filled(path, 1, 1)
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()


def test_another_physics_version(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    altered(path, "UPDATE meta SET value = '77'")
    refused(path, "physics version 77", f"computes version {PHYSICS}", "the numsim that began it")


@pytest.mark.parametrize("statement", ["DELETE FROM meta", "DROP TABLE meta"])
def test_a_ledger_without_its_version(statement: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    altered(path, statement)
    refused(path)


def test_a_truncated_ledger(tmp_path: Path) -> None:
    """Cut anywhere: refused as it is, never read as something else; only nothing at all is a beginning."""
    path = tmp_path / "ledger.sqlite"
    whole = filled(path)
    page = 4096
    lengths = {*range(1, 120, 7), *range(120, len(whole), 1511), *range(page, len(whole), page)}
    lengths |= {len(whole) - cut for cut in (1, 2, 8, 20, 60, 100, 500)}
    lengths.discard(1)  # SQLite takes a file of one byte for an empty one
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        refused(path, "is not a ledger, or is damaged", "nothing was changed")
    path.write_bytes(whole)
    with Ledger(path) as ledger:
        assert ledger.count() == 300


def test_a_file_without_content_is_a_beginning(tmp_path: Path) -> None:
    """A kill right after the start leaves one."""
    path = tmp_path / "ledger.sqlite"
    path.touch()
    with Ledger(path) as ledger:
        ledger.add([entry(0)], TEXTS)
    with Ledger(path) as ledger:
        assert ledger.seeds(KEY) == {0}


def test_a_log_that_was_cut_keeps_what_came_before(tmp_path: Path) -> None:
    """The last transactions are in the log until the ledger is closed: any part of it is a sound ledger."""
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        for seed in range(20):
            ledger.add([entry(seed)], TEXTS)
        subprocess.run(["cp", "-r", tmp_path, f"{tmp_path}.copy"], check=True)  # a read of ours would unlock
    copy = Path(f"{tmp_path}.copy")
    main, log = (copy / "ledger.sqlite").read_bytes(), (copy / "ledger.sqlite-wal").read_bytes()
    counts = []
    for length in [0, 20, 31, *range(32, len(log), 5003), len(log)]:
        other = tmp_path / "other"
        shutil.rmtree(other, ignore_errors=True)
        other.mkdir()
        (other / "ledger.sqlite").write_bytes(main)
        (other / "ledger.sqlite-wal").write_bytes(log[:length])
        with Ledger(other / "ledger.sqlite") as ledger:
            known = ledger.seeds(KEY)
            assert known == set(range(len(known)))
            assert all(bits(v) == bits(SPECIAL) for v in ledger.numbers(KEY).values())
            counts.append(len(known))
    assert counts == sorted(counts)
    assert counts[-1] == 20


# ---------------------------------------------------------------- places that are none


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").mkdir()
    refused(tmp_path / "ledger.sqlite", "cannot open")
    with pytest.raises(LedgerError, match="cannot open"):
        Ledger(tmp_path / "missing" / "ledger.sqlite")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(path: Path) -> list[int]:
    """Add until the disk is full; the seeds acknowledged."""
    kept: list[int] = []
    with Ledger(path) as ledger:

        def add() -> None:
            while len(kept) < 10**5:
                ledger.add([entry(len(kept), np.arange(500.0))], TEXTS)
                kept.append(len(kept))

        with pytest.raises(LedgerFull) as caught:
            add()
        assert str(path) in (caught.value.strerror or "")
        assert len((caught.value.strerror or "").splitlines()) == 1
    return kept


def test_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "ledger.sqlite"
    kept = fill(path)
    assert kept
    for name in (path.name, f"{path.name}-wal"):  # to a place with room
        if (small_disk / name).exists():
            shutil.copy(small_disk / name, small_disk.parent / name)
    with Ledger(small_disk.parent / path.name) as ledger:
        assert ledger.seeds(KEY) == set(kept)
        assert all(bits(v) == bits(np.arange(500.0)) for v in ledger.numbers(KEY).values())
    filler = small_disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4096"], capture_output=True, check=False)
    with pytest.raises((LedgerFull, LedgerError)):
        Ledger(small_disk / "new.sqlite")
    filler.unlink()
    with Ledger(path) as ledger:  # room again
        assert ledger.seeds(KEY) == set(kept)


def test_a_place_that_cannot_be_written(small_disk: Path) -> None:
    path = small_disk / "ledger.sqlite"
    filled(path, 2, 2)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused(path)
    with pytest.raises(LedgerError, match="choose another folder"):
        Ledger(small_disk / "new.sqlite")
    assert os.listdir(small_disk) == [path.name]


def _limited(path: Path) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    fill(path)


def test_a_file_that_must_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    process = multiprocessing.get_context("fork").Process(target=_limited, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    with Ledger(path) as ledger:
        known = ledger.seeds(KEY)
        assert known == set(range(len(known))) != set()
        assert all(bits(v) == bits(np.arange(500.0)) for v in ledger.numbers(KEY).values())
