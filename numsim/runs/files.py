"""Writing files so that an interruption, or a full disk, never leaves a broken one in a good one's place."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["write_atomically", "write_together"]


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside its final place and move it there: an interrupted write leaves the old one."""
    write_together({path: write})


def write_together(writers: Mapping[Path, Callable[[BinaryIO], object]]) -> None:
    """Write several files, and move them to their places only when all are whole."""
    ready: dict[Path, Path] = {}
    try:
        for path, write in writers.items():
            target = Path(os.path.realpath(path))
            temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
            ready[temporary] = target
            with open(temporary, "xb") as file:  # not tempfile: its files are for their owner only
                write(file)
        for temporary, target in ready.items():
            os.replace(temporary, target)
    finally:
        for temporary in ready:
            with suppress(OSError):
                temporary.unlink()
