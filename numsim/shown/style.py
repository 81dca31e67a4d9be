"""How every picture is drawn: off-screen, in matplotlib's own style, whatever the surroundings say.

A figure is an object that draws itself, never one of pyplot's, so that no window is asked for. Settings that
a matplotlibrc, an environment or a session brings along (``text.usetex``, fonts, the box that is saved) do
not reach it: equal results are equal pictures, and none needs LaTeX.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SCREEN", "Look", "forget", "import_matplotlib", "own_style", "picture", "picture_kind"]


@dataclass(frozen=True)
class Look:
    """How a picture looks: for a screen, or for a paper, with all text of 8 pt; width in inches, if given."""

    paper: bool = False
    width: float | None = None


SCREEN = Look()
_COLUMN = 5.5
"""Inches: the width of a picture for a paper unless another is given."""

_FILES: dict[str, Any] = {
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
    "ps.fonttype": 42,
    "svg.fonttype": "none",  # text as text
    "svg.hashsalt": "numsim",
    "legend.fontsize": 8.0,
    "axes.titlesize": 10.0,
    "figure.titlesize": 11.0,
}
_POINTS = 8.0
_SIZES = ("axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
_PAPER: dict[str, Any] = {
    **dict.fromkeys(("font.size", *_SIZES, "legend.title_fontsize", "figure.titlesize"), _POINTS),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 2.5),
    **dict.fromkeys(("xtick.minor.size", "ytick.minor.size"), 1.5),
    "axes.labelpad": 2.0,
}
_NO_DATE = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""Equal pictures are equal files."""
_TEX = ("pdflatex", "lualatex", "xelatex")


def picture_kind(path: str | os.PathLike[str]) -> str:
    """The format that a file name asks for: "png", "pdf", "svg" or "pgf"; ValueError for any other.

    For .pgf matplotlib asks TeX how wide a text is: ValueError where there is none.
    """
    kind = Path(path).suffix.lstrip(".").lower()
    if kind not in ("png", "pdf", "svg", "pgf"):
        raise ValueError(
            f"{os.fspath(path)}: got a picture of unknown kind, expected .png, .pdf, .svg or .pgf"
        )
    if kind == "pgf" and not any(map(shutil.which, _TEX)):
        raise ValueError(
            f"{os.fspath(path)}: a .pgf needs a TeX ({', '.join(_TEX)}), install one or write .pdf"
        )
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


def picture(draw: Callable[[], Figure], kind: str, look: Look = SCREEN) -> bytes:
    """What ``draw`` draws, as the content of a "png", "pdf", "svg" or "pgf" file; raises what it raises."""
    changes = {**_FILES, **(_PAPER if look.paper else {})}
    width = look.width or (_COLUMN if look.paper else None)
    if kind == "pgf":
        changes |= {"pgf.texsystem": next(filter(shutil.which, _TEX)), "pgf.rcfonts": False}
    with own_style(changes):
        from .drawing import finish, page_of

        with page_of(width):
            drawn = draw()
            points = _POINTS if look.paper else None
            finish(drawn, width=width, points=points, gather=True, raster=kind != "pgf")
        file = io.BytesIO()
        dpi = 300 if look.paper else 150
        drawn.savefig(file, format=kind, dpi=dpi, metadata=_NO_DATE.get(kind))
        forget(drawn)
        return file.getvalue()


def forget(figure: Figure) -> None:
    """Close a figure of pyplot's, which lives until then."""
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(figure)
