"""A note for the terminal by rich's Markdown, with formulas in Unicode.

Formulas are never broken inside a pair of parentheses if that can be helped, displayed ones stand on lines of
their own with their numbers at the right, and structure is visible without colours too (in a pipe).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import dropwhile
from typing import ClassVar

from markdown_it.token import Token
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import (
    CodeBlock,
    Heading,
    ListItem,
    Markdown,
    MarkdownContext,
    MarkdownElement,
    Paragraph,
    TableDataElement,
    TableElement,
)
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text, TextType
from rich.theme import Theme

from .layout import display_lines
from .mathtext import DEEP, GLUE, inline_text
from .source import parser, split_tag

__all__ = ["Note"]

_INDENT, _CELL = 4, 20
_RULES = {"h1": "═", "h2": "─"}
_THEME = Theme(
    {
        **dict.fromkeys((f"markdown.h{level}" for level in range(1, 7)), "bold"),
        **dict.fromkeys(("markdown.code", "markdown.code_block"), "cyan"),
        **dict.fromkeys(("markdown.block_quote", "markdown.table.border"), "dim"),
        "markdown.table.header": "bold",
    }
)


class _Paragraph(Paragraph):
    """Text that is wrapped at spaces, but not inside short formulas."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        words = [_released(word, options.max_width) for word in self.text.plain.split(" ")]
        self.text.plain = " ".join(words)
        yield from self.text.wrap(console, options.max_width, overflow="fold")


def _released(word: str, width: int) -> str:
    """A word whose formula is too long for one piece: it may be broken at some, or all, of its spaces."""
    if cell_len(word) > 2 * width // 3:
        word = word.replace(DEEP, " ")
    return word.replace(GLUE, " ") if max(map(cell_len, word.split(" "))) > width else word


class _Heading(Heading):
    """A heading at the left, a line under those of the first two levels."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text
        if self.tag in _RULES:
            yield Text(_RULES[self.tag] * min(cell_len(self.text.plain), options.max_width), "dim")


class _Equation(MarkdownElement):
    """A displayed formula, indented, its number at the right end of the last line."""

    def __init__(self, latex: str) -> None:
        self.latex, tag = split_tag(latex)
        self.number = f"({tag})" if tag else ""

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _Equation:
        return cls(token.content)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        indent = _INDENT if options.max_width >= 40 else 2
        room = options.max_width - indent
        *lines, last = display_lines(self.latex, room - (len(self.number) + 2 if self.number else 0))
        if self.number:
            last += " " * max(room - cell_len(last) - len(self.number), 1) + self.number
        for line in (*lines, last):
            yield Text(" " * indent + line, overflow="fold")


class _Code(CodeBlock):
    """Indented, in one colour."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Padding(Text(str(self.text).rstrip("\n"), self.style), (0, 0, 0, _INDENT), expand=False)


class _Table(TableElement):
    """A table without a frame, whose cells are folded where they are too narrow, never cut."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in super().__rich_console__(console, options):
            assert isinstance(table, Table)
            table.show_edge = False
            for column in table.columns:
                column.overflow = "fold"
            yield table


class _Cell(TableDataElement):
    """A cell of a table; short formulas in it are not broken."""

    def on_text(self, context: MarkdownContext, text: TextType) -> None:
        super().on_text(context, " ".join(_released(word, _CELL) for word in str(text).split(" ")))


class _Item(ListItem):
    """An item of a list, a blank line between its blocks, a point after its number."""

    blocks = 0

    def on_child_close(self, context: MarkdownContext, child: MarkdownElement) -> bool:
        if self.blocks:
            self.elements.append(Text(""))
        self.blocks += 1
        return super().on_child_close(context, child)

    def render_number(
        self, console: Console, options: ConsoleOptions, number: int, last_number: int
    ) -> RenderResult:
        for index, part in enumerate(super().render_number(console, options, number, last_number)):
            if index == 0 and isinstance(part, Segment):
                part = Segment(f"{number}. ".rjust(len(part.text)), part.style)
            yield part


class _Blocks(Markdown):
    """The blocks of a note, a blank line between them."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "paragraph_open": _Paragraph,
        "heading_open": _Heading,
        "math_block": _Equation,
        "list_item_open": _Item,
        "table_open": _Table,
        **dict.fromkeys(("td_open", "th_open"), _Cell),
        **dict.fromkeys(("fence", "code_block"), _Code),
    }


class Note:
    """A note, to be printed by rich; it takes the width that it is given."""

    def __init__(self, markdown: str) -> None:
        """Of a whole document."""
        self._blocks = _Blocks("")
        self._blocks.parsed = _without_empty_paragraphs(_readable(parser().parse(markdown)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines without spaces at their ends; rich begins a note that begins with a list by a blank one."""
        with console.use_theme(_THEME):
            lines = console.render_lines(self._blocks, options, pad=False)
        for line in dropwhile(lambda line: not "".join(s.text for s in line).strip(), lines):
            length = cell_len("".join(segment.text for segment in line).rstrip(f" {GLUE}{DEEP}"))
            for text, style, _ in Segment.adjust_line_length(line, length, pad=False):
                yield Segment(text.replace(GLUE, " ").replace(DEEP, " "), style)
            yield Segment.line()


def _readable(tokens: Iterable[Token], *, paragraph: bool = False) -> Iterator[Token]:
    """Tokens that rich knows: formulas in a line are text, links too, with their address if it is of use.

    paragraph : whether they stand in one, which a formula in $$ ends.
    """
    target = ""
    for token in tokens:
        paragraph = token.type == "paragraph_open" or (paragraph and token.type != "paragraph_close")
        if token.type == "inline":
            yield from _readable(token.children or [], paragraph=paragraph)
        elif token.type == "math_inline_double" and paragraph:
            yield Token("paragraph_close", "p", -1)
            yield Token("math_block", "", 0, content=token.content)
            yield Token("paragraph_open", "p", 1)
        elif token.type in ("math_inline", "math_inline_double"):
            yield _text(inline_text(split_tag(token.content)[0]))
        elif token.type == "link_open":
            target = str(token.attrGet("href"))
        elif token.type == "link_close":
            yield _text(f" ({target})" if target.startswith("http") else "")
        else:
            yield token


def _without_empty_paragraphs(tokens: Iterable[Token]) -> list[Token]:
    """The tokens without paragraphs that hold nothing, and without space at their edges."""
    kept: list[Token] = []
    for token in tokens:
        if token.type == "paragraph_close" and kept[-1].type == "softbreak":
            kept.pop()
        begins = bool(kept) and kept[-1].type == "paragraph_open"
        if begins and token.type == "paragraph_close":
            kept.pop()
        elif not (begins and token.type == "softbreak"):
            token.content = token.content.lstrip() if begins else token.content
            kept.append(token)
    return kept


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)
