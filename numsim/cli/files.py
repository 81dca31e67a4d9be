"""Results and their figures into files: asked for before the work, kept whatever becomes of the figure."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .errors import INCOMPLETE, Failure, sentence

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from ..runs.result import Result
    from ..shown.style import Look

__all__ = ["figure_of", "keep", "prepare", "prepare_latex", "write_figure", "write_latex", "writing"]


def prepare(path: Path, make_folder: bool = False) -> None:
    """Make sure that a file can be written, before any work is done for it."""
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.is_dir():
            raise NotADirectoryError(0, f"{path.parent} is not a folder")
        if path.exists() and not path.is_file():  # never put a file in the place of a folder or a device
            raise FileExistsError(0, "it is not a file")
        probe = path.with_name(f".{path.name}.{os.getpid():08x}")
        probe.touch()
        probe.unlink()
    except FileExistsError as error:
        reason = error.strerror if path.parent.is_dir() else f"{path.parent} is a file, not a folder"
        raise Failure(f"cannot write {path}: {reason}; choose another place") from error
    except (OSError, ValueError) as error:
        raise Failure(f"cannot write {path}: {sentence(error)}; choose another place") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses while a file, or the files of a folder, are written is a failure."""
    try:
        yield
    except OSError as error:
        raise Failure(f"cannot write {path}: {sentence(error)}", code=INCOMPLETE) from error


def keep(
    folder: Path,
    writers: dict[str, Callable[[BinaryIO], object]],
    draw: Callable[[], Figure],
    look: Look | None = None,
) -> list[str]:
    """Write results into a folder, all or none, then their figure; returns what is wrong with that."""
    from ..runs.files import write_together
    from ..runs.folders import FIGURE

    written = list(writers)
    with writing(folder):
        write_together({folder / name: write for name, write in writers.items()})
    try:
        with suppress(OSError):
            (folder / FIGURE).unlink()  # of other numbers
        if not (faults := write_figure(folder / FIGURE, draw, look)):
            written.append(FIGURE)
    finally:
        print(f"written: {folder}/{', '.join(written)}", file=sys.stderr)
    return faults


def write_figure(path: Path, draw: Callable[[], Figure], look: Look | None = None) -> list[str]:
    """Draw a picture and write it; returns the line that it costs if it cannot be: results are not lost."""
    from ..runs.files import write_atomically
    from ..shown.style import SCREEN, import_matplotlib, picture, picture_kind

    try:
        import_matplotlib()
        content = picture(draw, picture_kind(path), look or SCREEN)
    except Exception as error:  # matplotlib's own installation and settings may raise anything
        return [f"cannot draw {path}: {type(error).__name__}: {sentence(error)}"]
    try:
        write_atomically(path, lambda file: file.write(content))
    except OSError as error:
        return [f"cannot write {path}: {sentence(error)}"]
    return []


def prepare_latex(path: Path | None) -> None:
    """Make sure that tables can be written there, in the place of nothing else than tables."""
    if path is not None:
        prepare(path)
        if (fault := _other_than_tables(path)) is not None:
            raise Failure(f"{fault}; choose another place")


def write_latex(path: Path | None, text: Callable[[], str]) -> list[str]:
    """Write tables where they are asked for; returns the line that it costs if it cannot be."""
    from ..runs.files import write_atomically

    if path is None:
        return []
    if (fault := _other_than_tables(path)) is not None:  # of this very command
        return [fault]
    try:
        write_atomically(path, lambda file: file.write(text().encode()))
    except OSError as error:
        return [f"cannot write {path}: {sentence(error)}"]
    print(f"written: {path}", file=sys.stderr)
    return []


def _other_than_tables(path: Path) -> str | None:
    from ..shown.latex import MARK

    if not path.exists() or path.read_bytes()[: len(MARK)] in (b"", MARK.encode()):
        return None
    return f"cannot write {path}: it is a file of another kind"


def figure_of(saved: Result | xr.Dataset) -> Figure:
    """The figure of a run, or of a sweep."""
    from ..runs.result import Result

    if isinstance(saved, Result):
        from ..shown.run_figure import figure

        return figure(saved)
    from ..shown.phase_diagrams import diagram

    return diagram(saved)
