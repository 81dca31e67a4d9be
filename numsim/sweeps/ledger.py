"""The durable record of a sweep: every finished cell in one SQLite file that survives any interruption.

A cell and seed, named by the hash of its settings (``Grid.key``), has its numbers as the bytes of float64, so
that NaN and -0.0 come back as they were. What ``add`` has returned from survives the process (write-ahead
log, one transaction a call). One process at a time: the file is locked while it is open.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..runs.measures import PHYSICS
from ..runs.versions import versions

__all__ = ["Entry", "Ledger", "LedgerError", "LedgerFull"]

Floats = npt.NDArray[np.float64]

_APPLICATION = 0x6E756D73  # "nums"
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sessions (id INTEGER PRIMARY KEY, started TEXT NOT NULL, machine TEXT NOT NULL);
CREATE TABLE settings (key BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE cells (
    key BLOB NOT NULL, seed INTEGER NOT NULL, numbers BLOB NOT NULL, session INTEGER NOT NULL,
    seconds REAL NOT NULL, PRIMARY KEY (key, seed)
) WITHOUT ROWID;
CREATE TABLE failures (
    key BLOB NOT NULL, seed INTEGER NOT NULL, reason TEXT NOT NULL, session INTEGER NOT NULL,
    PRIMARY KEY (key, seed)
) WITHOUT ROWID;
"""


class LedgerError(ValueError):
    """A file that is no ledger of ours, is damaged, in use, or of another version: nothing was written."""


class LedgerFull(OSError):
    """The ledger could not be written any more; what was acknowledged before is kept."""


class Entry(NamedTuple):
    """What became of one cell and seed: its numbers, or the reason why there are none."""

    key: bytes
    seed: int
    seconds: float
    numbers: Floats | None
    reason: str = ""


class Ledger:
    """Open, or create, the ledger at ``path`` (None: in memory) and lock it.

    replace : empty one whose numbers are of another physics version, instead of refusing it.
    Raises LedgerError. Close it, or use it as a context.
    """

    def __init__(self, path: Path | None, *, replace: bool = False) -> None:
        """Check everything about the file before anything is written to it."""
        self.path = path
        self._replace = replace
        # Bytes of a file without a log, which may hold what the file lacks (opening makes one).
        whole = path is not None and path.is_file() and not Path(f"{path}-wal").exists()
        self._alone = path.stat().st_size if path is not None and whole else 0
        self._connection = self._open(path)
        try:
            with self._explained():
                self._claim()
        except BaseException:
            self._connection.close()
            raise

    def _open(self, path: Path | None) -> sqlite3.Connection:
        if path is not None and path.exists() and not os.access(path, os.W_OK):
            raise LedgerError(f"cannot open {path}: it must not be written; choose another folder")
        try:
            return sqlite3.connect(
                path or ":memory:", timeout=0.0, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise LedgerError(f"cannot open {path}: {error}; choose another folder") from error

    def _claim(self) -> None:
        run = self._connection.execute
        run(
            "PRAGMA locking_mode = EXCLUSIVE"
        )  # before the first access: the lock then needs no shared memory
        (application,) = run("PRAGMA application_id").fetchone()
        (tables,) = run("SELECT count(*) FROM sqlite_master").fetchone()
        if application != _APPLICATION and (application or tables):
            raise LedgerError(f"{self.path} is an SQLite file of another program; choose another folder")
        current = not tables or self._check()
        run("PRAGMA journal_mode = WAL")
        # Enough for a process that is killed; a power cut may cost the last seconds, never the file.
        run("PRAGMA synchronous = NORMAL")
        run("BEGIN IMMEDIATE")
        if not tables:
            run(f"PRAGMA application_id = {_APPLICATION}")
            for statement in _SCHEMA.split(";\n"):
                run(statement)
            run("INSERT INTO meta VALUES ('physics', ?)", (str(PHYSICS),))
        elif not current:
            self._empty()
            run("INSERT OR REPLACE INTO meta VALUES ('physics', ?)", (str(PHYSICS),))
        machine = {
            "host": platform.node(),
            "processor": _processor(),
            "python": platform.python_version(),
            **versions(),
        }
        started = datetime.now(UTC).isoformat(timespec="seconds")
        run("INSERT INTO sessions (started, machine) VALUES (?, ?)", (started, json.dumps(machine)))
        (self.session,) = run("SELECT max(id) FROM sessions").fetchone()
        run("COMMIT")

    def _check(self) -> bool:
        """Whether the numbers are of this physics version; LedgerError where they are not to be replaced."""
        run = self._connection.execute
        (found,) = run("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        (page,) = run("PRAGMA page_size").fetchone()
        if self._alone % page:  # SQLite reads what is missing of the last page as zeros
            raise sqlite3.DatabaseError("its end is cut off")
        (physics,) = run("SELECT value FROM meta WHERE name = 'physics'").fetchone() or ("unknown",)
        if physics != str(PHYSICS) and not self._replace:
            raise LedgerError(
                f"{self.path} holds numbers of physics version {physics}, this numsim computes version "
                f"{PHYSICS}: choose another folder, or the numsim that began it, or replace them (--replace)"
            )
        return bool(physics == str(PHYSICS))

    def _empty(self) -> None:
        for table in ("cells", "failures", "settings"):
            self._connection.execute(f"DELETE FROM {table}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of the database in one sentence."""
        try:
            yield
        except sqlite3.Error as error:
            text = " ".join(str(error).split())
            if "locked" in text:
                raise LedgerError(
                    f"{self.path} is in use by another sweep; wait for it, or choose another folder"
                ) from error
            if "full" in text or "I/O" in text:
                raise LedgerFull(0, f"cannot write {self.path}: {text}") from error
            if isinstance(error, sqlite3.OperationalError):
                raise LedgerError(f"cannot use {self.path}: {text}; choose another folder") from error
            raise LedgerError(
                f"{self.path} is not a ledger, or is damaged ({text}); nothing was changed; "
                "choose another folder"
            ) from error

    def seeds(self, key: bytes) -> set[int]:
        """The seeds that a cell has numbers for."""
        with self._explained():
            rows = self._connection.execute("SELECT seed FROM cells WHERE key = ?", (key,)).fetchall()
        return {seed for (seed,) in rows}

    def numbers(self, key: bytes) -> dict[int, Floats]:
        """A cell's numbers by seed."""
        with self._explained():
            rows = self._connection.execute(
                "SELECT seed, numbers FROM cells WHERE key = ?", (key,)
            ).fetchall()
        return {seed: np.frombuffer(numbers, dtype="<f8").astype(np.float64) for seed, numbers in rows}

    def reasons(self, key: bytes) -> dict[int, str]:
        """Why a cell has no numbers, by seed."""
        with self._explained():
            rows = self._connection.execute(
                "SELECT seed, reason FROM failures WHERE key = ?", (key,)
            ).fetchall()
        return dict(rows)

    def add(self, entries: Sequence[Entry], texts: dict[bytes, str]) -> None:
        """Keep entries, all or none; texts : the settings behind their keys. Numbers replace a failure."""
        run, run_all = self._connection.execute, self._connection.executemany
        session = self.session
        settings = [(key, texts[key]) for key in dict.fromkeys(e.key for e in entries)]
        failures = [(e.key, e.seed, e.reason, session) for e in entries if e.numbers is None]
        cells = [
            (e.key, e.seed, e.numbers.astype("<f8").tobytes(), session, e.seconds)
            for e in entries
            if e.numbers is not None
        ]
        with self._explained():
            run("BEGIN IMMEDIATE")
            try:
                run_all("INSERT OR IGNORE INTO settings VALUES (?, ?)", settings)
                run_all("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", failures)
                run_all("DELETE FROM failures WHERE key = ? AND seed = ?", (row[:2] for row in cells))
                run_all("INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?)", cells)
                run("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    run("ROLLBACK")
                raise

    def texts(self) -> list[str]:
        """The settings behind all keys (``Grid.canonical``)."""
        with self._explained():
            return [text for (text,) in self._connection.execute("SELECT text FROM settings ORDER BY key")]

    @property
    def owner(self) -> str:
        """The sweep that last claimed the file, in words of its own; "" if none did."""
        with self._explained():
            row = self._connection.execute("SELECT value FROM meta WHERE name = 'sweep'").fetchone()
        return str(row[0]) if row else ""

    @owner.setter
    def owner(self, text: str) -> None:
        with self._explained():
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('sweep', ?)", (text,))

    def clear(self) -> None:
        """Forget every number and failure; what the sessions were is kept."""
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            self._empty()
            self._connection.execute("COMMIT")

    def count(self) -> int:
        """How many cells and seeds have numbers."""
        with self._explained():
            return int(self._connection.execute("SELECT count(*) FROM cells").fetchone()[0])

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def __enter__(self) -> Ledger:
        """The ledger itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the file."""
        self.close()


def _processor() -> str:
    """The model of the CPU: the bits of a matrix product depend on it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or os.name
