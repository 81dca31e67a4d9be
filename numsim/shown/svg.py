"""A matplotlib figure as SVG inside a page: readable on light and dark ground, with ids of its own."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, fromstring

from .style import forget, own_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inline_svg"]

_STYLE: dict[str, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.facecolor": "none",
    "legend.framealpha": 0.0,
    "legend.edgecolor": "none",
    "svg.fonttype": "path",
    "font.size": 10.0,
}
_DARKEST_SHOWN = 0x70
"""Greys darker than this take the colour of the page's text."""
_DROPPED = {"metadata", "style", "title"}


def inline_svg(draw: Callable[[], Figure], prefix: str, label: str) -> str:
    """What ``draw`` draws, as an <svg> element.

    prefix : of all ids in it, which no other figure of the page may have; label : what it shows, in a
    sentence, for those who do not see it. Raises what ``draw`` raises.
    """
    from .drawing import finish

    with own_style({**_STYLE, "svg.hashsalt": prefix}):
        figure = draw()
        finish(figure)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        forget(figure)
    root = fromstring(file.getvalue())
    lines = {"fill": "currentColor", "stroke-linejoin": "round", "stroke-linecap": "butt"}
    root.attrib = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": label, **lines}
    return _written(root, re.sub(r"\W+", "-", prefix))


def _written(element: Element, prefix: str) -> str:
    """The element as HTML has it: no namespaces, ids and references to them with the prefix."""
    tag = element.tag.rpartition("}")[2]
    if tag in _DROPPED:
        return ""
    attributes = "".join(
        f' {name.rpartition("}")[2]}="{html.escape(_value(name.rpartition("}")[2], value, prefix))}"'
        for name, value in element.attrib.items()
    )
    text = html.escape((element.text or "").strip(), quote=False)
    return f"<{tag}{attributes}>{text}{''.join(_written(child, prefix) for child in element)}</{tag}>"


def _value(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href":
        return value.replace("#", f"#{prefix}-", 1)
    value = value.replace("url(#", f"url(#{prefix}-")
    return (
        re.sub(r"#([0-9a-f]{6})\b", _on_any_ground, value) if name in ("style", "fill", "stroke") else value
    )


def _on_any_ground(found: re.Match[str]) -> str:
    """A dark grey as the colour of the text; any other colour as it is."""
    red, green, blue = bytes.fromhex(found.group(1))
    return "currentColor" if red == green == blue < _DARKEST_SHOWN else found.group()
