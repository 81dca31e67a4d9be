"""A parsed Markdown note as a rich renderable: paragraphs, headings, lists, tables, formulas.

Formulas are never broken inside a pair of parentheses if that can be helped, displayed ones stand on lines of
their own with their numbers at the right, and structure is visible without colours too (in a pipe).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from .layout import display_lines
from .mathml import split_tag
from .mathtext import DEEP, GLUE, inline_text

__all__ = ["Document"]

_INDENT = 4
_STYLES = {"strong": "bold", "em": "italic", "s": "strike", "link": "underline", "code_inline": "cyan"}
_RULES = {"h1": "═", "h2": "─"}


class Paragraph:
    """Text that is wrapped at spaces, but not inside short formulas."""

    def __init__(self, text: Text) -> None:
        """Of text in which GLUE stands for a space inside a formula."""
        self.text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines of the width given."""
        text = self.text.copy()
        words = [_released(word, options.max_width) for word in text.plain.split(" ")]
        text.plain = " ".join(words)
        for line in text.wrap(console, options.max_width, overflow="fold"):
            line.plain = line.plain.replace(GLUE, " ").replace(DEEP, " ").rstrip()
            yield line


def _released(word: str, width: int) -> str:
    """A word whose formula is too long for one piece: it may be broken at some, or all, of its spaces."""
    if cell_len(word) > 2 * width // 3:
        word = word.replace(DEEP, " ")
    return word.replace(GLUE, " ") if max(map(cell_len, word.split(" "))) > width else word


class Equation:
    """A displayed formula, indented, its number at the right end of the last line."""

    def __init__(self, latex: str) -> None:
        """Of a formula in LaTeX with or without a tag."""
        self.latex, tag = split_tag(latex)
        self.number = f"({tag})" if tag else ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines of the width given."""
        indent = _INDENT if options.max_width >= 40 else 2
        room = options.max_width - indent
        lines = display_lines(self.latex, room - (len(self.number) + 2 if self.number else 0))
        for line in lines[:-1]:
            yield Text(" " * indent + line, overflow="fold")
        last = lines[-1] if lines else ""
        space = room - cell_len(last) - len(self.number) if self.number else 0
        yield Text(
            " " * indent + last + " " * max(space, 1) * bool(self.number) + self.number, overflow="fold"
        )


class Indented:
    """Anything, moved to the right, behind a mark if there is one."""

    def __init__(self, inside: RenderableType, by: int, mark: str = "") -> None:
        """Of what is inside, ``by`` cells to the right."""
        self.inside, self.by, self.mark = inside, by, mark

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines of the width given, without spaces at their ends."""
        width = max(options.max_width - self.by, 10)
        lines = console.render_lines(self.inside, options.update_width(width), pad=False)
        for index, line in enumerate(lines):
            mark = self.mark if index == 0 else ""
            text = "".join(segment.text for segment in line)
            yield Segment(mark.ljust(self.by) if text.strip() else mark)
            yield from Segment.adjust_line_length(line, cell_len(text.rstrip()), pad=False)
            yield Segment.line()


class _Spaced:
    """Blocks with blank lines between them."""

    def __init__(self, nodes: Sequence[SyntaxTreeNode]) -> None:
        self.nodes = nodes

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for index, block in enumerate(_blocks(self.nodes)):
            if index:
                yield Text("")
            yield block


class Document(_Spaced):
    """All blocks of a note, a blank line between them."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        """Of the tokens of a whole document."""
        super().__init__(SyntaxTreeNode(tokens).children)


def _blocks(nodes: Sequence[SyntaxTreeNode]) -> Iterator[RenderableType]:
    for node in nodes:
        if node.type == "heading":
            yield _heading(node)
        elif node.type == "paragraph":
            yield from _paragraph(node)
        elif node.type == "math_block":
            yield Equation(node.content)
        elif node.type in ("bullet_list", "ordered_list"):
            yield _list(node)
        elif node.type == "table":
            yield _table(node)
        elif node.type in ("fence", "code_block"):
            yield Indented(Text(node.content.rstrip("\n"), "cyan"), _INDENT)
        elif node.type == "blockquote":
            yield Indented(_Spaced(node.children), 2)
        elif node.type == "hr":
            yield Text("─" * 20)
        else:
            yield Text(node.content)


def _heading(node: SyntaxTreeNode) -> RenderableType:
    text = _inline(node)
    text.stylize("bold")
    rule = _RULES.get(node.tag)
    if rule is None:
        return Paragraph(text)
    return Group(Paragraph(text), _Rule(rule, cell_len(text.plain)))


class _Rule:
    def __init__(self, character: str, length: int) -> None:
        self.character, self.length = character, length

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.character * min(self.length, options.max_width), "dim")


def _paragraph(node: SyntaxTreeNode) -> Iterator[RenderableType]:
    """Text and, where $$ stands inside a paragraph, displayed formulas in between."""
    text = Text()
    for child in node.children[0].children if node.children else ():
        if child.type == "math_inline_double":
            if text.plain.strip():
                yield Paragraph(text)
            yield Equation(child.content)
            text = Text()
        else:
            _append(text, child, "")
    if text.plain.strip():
        yield Paragraph(text)


def _inline(node: SyntaxTreeNode) -> Text:
    text = Text()
    for child in node.children:
        _append(text, child, "")
    return text


def _append(text: Text, node: SyntaxTreeNode, style: str) -> None:
    """Append inline content in a style, and what it contains in its own as well."""
    style = f"{style} {_STYLES.get(node.type, '')}".strip()
    if node.type in ("softbreak", "hardbreak"):
        text.append(" " if node.type == "softbreak" else "\n")
    elif node.type in ("math_inline", "math_inline_double"):
        text.append(inline_text(split_tag(node.content)[0]), style)
    elif not node.children:
        text.append(node.content, style)
    for child in node.children:
        _append(text, child, style)
    if node.type == "link":
        target = str(node.attrs.get("href", ""))
        if target.startswith("http") and target not in text.plain:
            text.append(f" ({target})")


def _list(node: SyntaxTreeNode) -> RenderableType:
    start = int(node.attrs.get("start", 1))
    items = []
    for number, item in enumerate(node.children, start):
        mark = " • " if node.type == "bullet_list" else f"{number:>2}. "
        items.append(Indented(_Spaced(item.children), len(mark), mark))
    return Group(*items)


def _table(node: SyntaxTreeNode) -> RenderableType:
    rows = [list(row.children) for part in node.children for row in part.children]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for cell in rows[0]:
        right = "right" in str(cell.attrs.get("style", ""))
        table.add_column(_cell(cell), justify="right" if right else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*(_cell(cell) for cell in row))
    return Indented(table, 1)


def _cell(node: SyntaxTreeNode) -> Text:
    text = _inline(node)
    text.plain = text.plain.replace(GLUE, " ").replace(DEEP, " ")
    return text
