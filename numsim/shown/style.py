"""How every picture is drawn: off-screen, in matplotlib's own style, whatever the surroundings say.

A figure is an object that draws itself, never one of pyplot's, so that no window is asked for. Settings that
a matplotlibrc, an environment or a session brings along (``text.usetex``, fonts, the box that is saved) do
not reach it: equal results are equal pictures, and none needs LaTeX.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["import_matplotlib", "own_style", "picture", "picture_kind"]


def picture_kind(path: str | os.PathLike[str]) -> str:
    """The format that a file name asks for: "png", "pdf" or "svg"; ValueError for any other."""
    kind = Path(path).suffix.lstrip(".").lower()
    if kind not in ("png", "pdf", "svg"):
        raise ValueError(f"{os.fspath(path)}: got a picture of unknown kind, expected .png, .pdf or .svg")
    return kind


def import_matplotlib() -> None:
    """Import matplotlib for a command, which must draw where its settings, or a backend, cannot be read.

    It takes its settings from the working directory before it looks anywhere else; for as long as the import
    lasts that is the folder of its own defaults. For a process without other threads.
    """
    if "matplotlib" in sys.modules or (found := find_spec("matplotlib")) is None or not found.origin:
        return
    if "MPLCONFIGDIR" in os.environ:  # of its fonts' cache
        os.environ["MPLCONFIGDIR"] = os.path.abspath(os.environ["MPLCONFIGDIR"])
    with chdir(Path(found.origin).parent / "mpl-data"):
        import matplotlib as mpl
    assert mpl


@contextmanager
def own_style(changes: Mapping[str, Any] | None = None) -> Iterator[None]:
    """matplotlib's defaults with ``changes`` on top; what was set before is set again at the end.

    Nothing warns in it: a figure of numbers that are not finite, or of a curve without points, is one too.
    """
    import matplotlib as mpl

    settings: Any = dict(changes or {})
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(settings)
            yield


def picture(draw: Callable[[], Figure], kind: str) -> bytes:
    """What ``draw`` draws, as the content of a "png", "pdf" or "svg" file; raises what ``draw`` raises."""
    with own_style():
        file = io.BytesIO()
        draw().savefig(file, format=kind, dpi=150)
        return file.getvalue()
