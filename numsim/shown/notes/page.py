r"""Notes as parts of an HTML page: formulas are MathML, numbered equations can be linked to.

``P2 (7)``, or ``(7)`` in the note itself, leads to equation 7 of that claim's note if it is on the page.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from .mathml import UnknownMathematics, mathml
from .source import numbers, parser, split_tag

__all__ = ["formula_html", "inline_html", "to_html"]

_CITATION = re.compile(r"\b([A-Z]\d+) \((\d+)\)|\((\d+)\)")
_HEADING_SHIFT = 2


def to_html(
    markdown: str, *, prefix: str = "", equations: Mapping[str, Collection[str]] | None = None
) -> str:
    """The note as HTML, headings two levels lower, formulas in MathML with their numbers at the right.

    prefix : of the ids of equations (p2-7), and the note's own claim in lower case. equations : which numbers
    the notes on the same page have, by claim in lower case; citations of them, and links to the notes
    themselves, become links inside the page.
    """
    known = {prefix: numbers(markdown), **(equations or {})}
    reader = parser()
    tokens = reader.parse(markdown)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + _HEADING_SHIFT)}"
        elif token.type == "th_open":
            token.attrSet("scope", "col")
        elif token.type == "inline":
            token.children = list(_linked(token.children or [], prefix, known))
    return _rendered(reader, tokens, prefix)


def inline_html(markdown: str) -> str:
    """A line with formulas as HTML."""
    reader = parser()
    return _rendered(reader, reader.parseInline(markdown), "")


def formula_html(latex: str, *, display: bool = False, prefix: str = "") -> str:
    r"""A formula as MathML, or its source where it is not understood; its \tag as a number at the right."""
    latex, tag = split_tag(latex)
    try:
        inside = mathml(latex, display=display)
    except UnknownMathematics:
        inside = f'<code class="latex">{html.escape(latex)}</code>'
    if not display:
        return inside
    anchor = f' id="{prefix}-{html.escape(tag)}"' if tag and prefix else ""
    number = f'<span class="number">({html.escape(tag)})</span>' if tag else ""
    return f'<div class="equation"{anchor}><div class="formula">{inside}</div>{number}</div>\n'


def _rendered(reader: MarkdownIt, tokens: Sequence[Token], prefix: str) -> str:
    def inline(_: Any, row: Sequence[Token], index: int, *__: Any) -> str:
        return formula_html(row[index].content)

    def block(_: Any, row: Sequence[Token], index: int, *__: Any) -> str:
        return formula_html(row[index].content, display=True, prefix=prefix)

    def table(*_: Any) -> str:
        return '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>\n'

    reader.add_render_rule("math_inline", inline)
    for name in ("math_block", "math_inline_double"):
        reader.add_render_rule(name, block)
    reader.add_render_rule("table_open", table)
    reader.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return str(reader.renderer.render(tokens, reader.options, {}))


def _linked(children: Sequence[Token], prefix: str, known: Mapping[str, Collection[str]]) -> Iterator[Token]:
    """Inline tokens in which citations are links, and links to other notes lead to places on the page."""
    open_links: list[bool] = []
    for token in children:
        if token.type == "link_open":
            target = str(token.attrGet("href") or "")
            local = re.match(r"(?:\./)?([a-z]\d+)_\w*\.md", target)
            if local and local.group(1) in known:
                token.attrSet("href", f"#{local.group(1)}")
            open_links.append(bool(re.match(r"https?:|#", str(token.attrGet("href")))))
            if open_links[-1]:
                yield token
        elif token.type == "link_close":
            if open_links.pop():
                yield token
        elif token.type == "text" and not open_links:
            yield from _cited(token.content, prefix, known)
        else:
            yield token


def _cited(text: str, prefix: str, known: Mapping[str, Collection[str]]) -> Iterator[Token]:
    end = 0
    for found in _CITATION.finditer(text):
        claim = (found.group(1) or prefix).lower()
        number = found.group(2) or found.group(3)
        if number not in known.get(claim, ()):
            continue
        yield _token(text[end : found.start()])
        yield Token("link_open", "a", 1, attrs={"href": f"#{claim}-{number}"})
        yield _token(found.group())
        yield Token("link_close", "a", -1)
        end = found.end()
    yield _token(text[end:])


def _token(text: str) -> Token:
    return Token("text", "", 0, content=text)
