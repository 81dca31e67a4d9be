"""What the figures share: the page, the palette, letters of panels, one legend, and what symbols mean.

Colours are of Okabe and Ito's palette; whatever differs by colour differs by marker or dashes too, so that a
figure reads in grey.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from string import ascii_lowercase
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation

from .numbers import number

__all__ = [
    "ARM_STYLES",
    "broken",
    "columns_of",
    "finish",
    "footer",
    "headline",
    "page_of",
    "page_width",
    "tidy",
]

ARM_STYLES: tuple[tuple[str, str, Any], ...] = (
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#009E73", "^", "-."),
    ("#CC79A7", "D", ":"),
    ("#E69F00", "v", (0, (5, 1, 1, 1))),
    ("#56B4E9", "P", (0, (1, 1))),
)
"""Colour, marker and dashes of an arm."""

_WORDS = {
    r"\mu": "signal",
    r"\xi": "noise",
    r"\xi_i": "noise of sample $i$",
    "w_{jr}": "filter $r$ of output sign $j$",
    "w_{j,r}": "filter $r$ of output sign $j$",
    "w": "a filter",
    "W": "all filters",
    "W^0": "the initial ones",
    r"\gamma": "coefficients of the filters on a signal",
    r"\rho": "on the noises",
    r"\gamma_{j,r}": "coefficient of filter $r$ of output sign $j$ on the signal",
    r"\rho_{j,r,i}": "on the noise of sample $i$",
    "v_1": "top eigenvector of the power matrix",
    "d": "dimension",
    r"\sigma_p": "noise level",
    r"\sigma_0": "initial scale of the filters",
    "n_0": "unlabelled samples",
    "n": "labelled samples",
    "m": "filters per sign",
    "q": "power of the activation",
    r"\kappa": r"$n_0\mathrm{SNR}^2$",
    r"\kappa_*": "its transition",
    "c": "$n_0/d$",
    "u": "unit of eigenvalues",
    r"\lambda_1": "top eigenvalue of the power matrix",
    "A": "power matrix",
    r"\Xi": "deviation of a step from it",
    "s_{ii'}": "similarity of samples $i$ and $i'$",
    "n_j": "labelled samples of class $j$",
    "a_0": "initial activation on the signal",
    "b_0": "on the noise",
    "R_t": "signal to fresh noise after $t$ steps",
    "R_T": "that at the end of the linear stage",
    r"\ell": "loss of a sample",
    r"\tau": "temperature",
    r"\eta": "step size",
    r"\varepsilon": "training loss at which it stops",
    r"\delta": "failure probability allowed",
    "p": "probability of a label flip",
}
"""What a symbol of a figure means."""
_PLAIN_WORDS = {
    "SNR": r"$\Vert\mu\Vert/(\sigma_p\sqrt{d})$",
    "rms": "root mean square over filters and samples",
}
_SYMBOL = re.compile(r"(?:\\[A-Za-z]+|[A-Za-z])(?:_(?:\{[^}]*\}|\w|\*))?(?:\^0)?")
_SHORT_AXIS = 50.0
"""Ratio of the ends below which matplotlib labels more than the powers of ten."""
_FINE = 0.65
"""Lines and markers of a paper, relative to those of a screen."""

_page: ContextVar[float | None] = ContextVar("page", default=None)


@contextmanager
def page_of(width: float | None) -> Iterator[None]:
    """Figures drawn here are of this width in inches; None: of their own."""
    before = _page.set(width)
    if width is not None:
        mpl.rcParams["figure.figsize"] = (width, 0.6 * width)
    try:
        yield
    finally:
        _page.reset(before)


def page_width(own: float) -> float:
    """The width of a figure in inches: that of the page, or its own."""
    return _page.get() or own


def columns_of(panels: int, most: int, narrowest: float) -> int:
    """How many panels stand side by side: at most ``most``, none narrower than ``narrowest`` inches."""
    fit = most if (width := _page.get()) is None else min(most, max(1, int(width / narrowest)))
    rows = -(-panels // fit)
    return -(-panels // rows)


def headline(figure: Figure, text: str) -> None:
    """A title over all panels, in lines that fit the page."""
    size = mpl.rcParams["figure.titlesize"]
    figure.suptitle(broken(figure, text, 0.97 * figure.bbox.width, size), fontsize=size)


def footer(figure: Figure, meanings: Mapping[str, str] | None = None) -> None:
    """One legend for all panels, and what the figure's symbols mean; the figure grows by their height.

    meanings : of symbols that only this figure has.
    """
    entries = dict[str, Any]()
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    names = sorted(entries, key=lambda name: name.startswith("theory"))
    room, size = 0.95 * figure.bbox.width, mpl.rcParams["legend.fontsize"]
    note = broken(figure, _meanings(figure, {**_WORDS, **(meanings or {})}), room, size)
    for columns in range(min(len(entries), 4) or 1, 0, -1):
        legend = figure.legend(
            [entries[name] for name in names],
            names,
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            borderpad=0.0,
            title=note,
            title_fontsize=size,
        )
        box = legend.get_window_extent()
        if box.width <= 0.98 * figure.bbox.width or columns == 1:
            break
        legend.remove()
    legend.get_children()[0].get_children().reverse()  # the title of the legend comes last
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def _meanings(figure: Figure, words: Mapping[str, str]) -> str:
    """The symbols in the texts of a figure with their meanings."""
    texts = [text.get_text() for text in figure.findobj(Text)]
    texts += [name for axes in figure.axes for name in axes.get_legend_handles_labels()[1]]
    plain = [f"{name}: {what}" for name, what in _PLAIN_WORDS.items() if name in " ".join(texts)]
    maths = [part for text in [*texts, *plain] for part in text.split("$")[1::2]]
    found = {symbol for part in maths for symbol in _SYMBOL.findall(part)}
    return "; ".join([*(f"${name}$: {what}" for name, what in words.items() if name in found), *plain])


def broken(figure: Figure, text: str, width: float, size: float) -> str:
    """The text in lines at most ``width`` pixels long; formulas have no spaces where a line may end."""
    if not isinstance(figure.canvas, FigureCanvasAgg):
        FigureCanvasAgg(figure)
    probe = figure.text(0, 0, "", fontsize=size)
    lines = []
    for line in text.split("\n"):
        lines.append("")
        for word in line.split(" "):
            probe.set_text(f"{lines[-1]} {word}" if lines[-1] else word)
            whole = bool(lines[-1]) and lines[-1].count("$") % 2 == 0
            if whole and probe.get_window_extent().width > width:
                lines.append(word)
            else:
                lines[-1] = probe.get_text()
    probe.remove()
    return "\n".join(lines)


def finish(
    figure: Figure,
    *,
    width: float | None = None,
    points: float | None = None,
    gather: bool = False,
    raster: bool = True,
) -> None:
    """What is done to every figure, whoever drew it, before it is written.

    width : in inches; points : of all text, with lines as fine; gather : legends of panels into one below;
    raster : whether heat may be an image.
    """
    if width is not None and (own := figure.get_figwidth()) != width:
        figure.set_size_inches(width, figure.get_figheight() * width / own)
    constrained = isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine)
    if gather and constrained and not figure.legends:
        _gather(figure)
    if points is not None:
        for text in figure.findobj(Text):
            text.set_fontsize(points)
        for line in figure.findobj(Line2D):
            line.set(linewidth=_FINE * line.get_linewidth(), markersize=_FINE * line.get_markersize())
        for lines in figure.findobj(LineCollection):
            lines.set_linewidth([_FINE * width for width in np.atleast_1d(lines.get_linewidth())])
    if not raster:
        for mesh in figure.findobj(QuadMesh):
            mesh.set_rasterized(False)
    tidy(figure)
    _letter(figure)


def _gather(figure: Figure) -> None:
    """Legends inside the panels, which cover curves where these are small, as one below."""
    for axes in figure.axes:
        if (legend := axes.get_legend()) is not None:
            legend.remove()
    footer(figure)


def _letter(figure: Figure) -> None:
    """(a), (b), ... before the titles of the panels, where there are several."""
    places = {axes.get_subplotspec() or axes: axes for axes in reversed(figure.axes) if axes.axison}
    shown = [axes for axes in figure.axes if axes in places.values() and axes.get_label() != "<colorbar>"]
    if len(shown) < 2:
        return
    for axes, letter in zip(shown, ascii_lowercase, strict=False):
        if not (title := axes.get_title()):
            axes.set_title(f"({letter})", loc="left", fontsize=axes.title.get_fontsize())
            continue
        place = axes.get_subplotspec()
        across = 1 if place is None else place.get_gridspec().ncols
        room = 0.85 * figure.bbox.width / across
        axes.set_title(broken(figure, f"({letter}) {title}", room, float(axes.title.get_fontsize())))


def tidy(figure: Figure) -> None:
    """Short logarithmic axes labelled 0.2, 0.5, 1 in place of powers of ten that run into one another."""
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            low, high = sorted(map(abs, limits))
            default = type(axis.get_minor_formatter()) is LogFormatterSciNotation
            if axis.get_scale() == "log" and default and high < _SHORT_AXIS * low:
                axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 6)))
                axis.set_minor_formatter(FuncFormatter(_two_or_five))


def _two_or_five(value: float, _: object) -> str:
    return number(value, 6) if f"{value:e}"[:8] in ("2.000000", "5.000000") else ""
