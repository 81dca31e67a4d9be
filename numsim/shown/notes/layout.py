"""Display formulas in lines that fit a terminal: tables in two dimensions, long lines broken to be read."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from rich.cells import cell_len

from .mathml import UnknownMathematics, tree
from .mathtext import COMMA, DEEP, GLUE, RELATION, SUM, WIDE, line_of

__all__ = ["display_lines"]

_SPACES = {WIDE: "    ", RELATION: " ", SUM: " ", COMMA: " ", DEEP: " ", GLUE: " "}
_FACTOR = "\ue006"
"""Stands for the table that a line is followed by."""
_ALIGNED_AT_MOST = 20
"""Continued lines start below the first relation if it stands no further right than this."""


def display_lines(latex: str, width: int) -> list[str]:
    """A formula in lines of at most ``width`` cells where that is possible; the source if not understood."""
    try:
        return _laid_out(_unwrapped(list(tree(latex))), width)
    except UnknownMathematics:
        return latex.splitlines()


def _laid_out(row: list[Element], width: int) -> list[str]:
    """A row in lines: as a table, as a block with tables in it, in pieces one below another, or broken."""
    if len(row) == 1 and row[0].tag == "mtable" and row[0].get("displaystyle") == "true":
        return _aligned(row[0], width)
    if any(child.tag == "mtable" for child in row):
        block = _side_by_side(row)
        if max(map(cell_len, block)) <= width:
            return block
        pieces = _between_gaps(row)
        if len(pieces) > 1:
            return _stacked([_laid_out(piece, width) for piece in pieces], width)
    return broken(_marked(row), width)


def _stacked(blocks: list[list[str]], width: int) -> list[str]:
    """Blocks side by side as far as they fit, the rest below."""
    lines: list[str] = []
    row = blocks[0]
    for block in blocks[1:]:
        wider = _beside([row, block], _SPACES[WIDE])
        if max(map(cell_len, wider)) <= width:
            row = wider
        else:
            lines, row = lines + row, block
    return lines + row


def _between_gaps(row: list[Element]) -> list[list[Element]]:
    """The formulas that wide gaps divide."""
    pieces: list[list[Element]] = [[]]
    for element in row:
        if element.tag == "mspace" and line_of(element) == WIDE:
            pieces.append([])
        else:
            pieces[-1].append(element)
    return [piece for piece in pieces if piece]


def _unwrapped(row: list[Element]) -> list[Element]:
    """The pieces of a formula at its top level: rows and styles taken apart."""
    pieces: list[Element] = []
    for element in row:
        if element.tag in ("mrow", "mpadded"):
            pieces += _unwrapped(list(element))
        elif element.tag == "msup" and element[0].tag == "mrow" and element[0].find("mtable") is not None:
            raised = Element("msup")
            raised.extend([element[0][-1], element[1]])
            pieces += [*_unwrapped(list(element[0])[:-1]), raised]
        else:
            pieces.append(element)
    return pieces


# ---------------------------------------------------------------- tables


def _aligned(table: Element, width: int) -> list[str]:
    """Equations below one another at their relations."""
    rows = [[line_of(cell) for cell in row if "width: 50%" not in cell.get("style", "")] for row in table]
    if all(len(row) == 1 for row in rows):  # gathered
        return [line for (cell,) in rows for line in broken(cell, width)]
    left = max(cell_len(plain(row[0])) for row in rows)
    lines = []
    for row in rows:
        head = " " * (left - cell_len(plain(row[0]))) if left <= _ALIGNED_AT_MOST else ""
        tail = WIDE.join(RELATION.join(pair).strip(RELATION) for pair in _pairs(row[1:]))
        joint = RELATION if plain(row[0]) else GLUE
        start = left + 1 if left <= _ALIGNED_AT_MOST else 2
        lines += broken(head + row[0] + (joint + tail if tail else ""), width, start)
    return lines


def _pairs(cells: list[str]) -> list[list[str]]:
    """The right side of the first equation, then left and right sides of those beside it."""
    return [cells[:1], *(cells[start : start + 2] for start in range(1, len(cells), 2))] if cells else []


def _side_by_side(row: list[Element]) -> list[str]:
    """Tables and what stands between them, as a block of lines centred on one another."""
    blocks: list[list[str]] = []
    between: list[Element] = []
    index = 0
    while index < len(row):
        element = row[index]
        if element.tag != "mtable":
            between.append(element)
            index += 1
            continue
        left = between.pop() if between and _is_fence(between[-1]) else None
        right = row[index + 1] if index + 1 < len(row) and _is_fence(row[index + 1]) else None
        blocks += [_single(between, _FACTOR), _fenced(_cells(element), left, right)]
        between = []
        index += 1 if right is None else 2
    blocks.append(_single(between))
    return _beside([block for block in blocks if block != [""]])


def _marked(elements: list[Element]) -> str:
    """The line of several elements."""
    row = Element("mrow")
    row.extend(elements)
    return line_of(row)


def _single(elements: list[Element], factor: str = "") -> list[str]:
    """A line, as it is before another factor if there is one."""
    if not elements or not factor:
        return [plain(_marked(elements))]
    follower = Element("mi")
    follower.text = factor
    return [plain(_marked([*elements, follower])).replace(factor, "").rstrip()]


def _is_fence(element: Element) -> bool:
    return plain(line_of(element))[:1] in tuple("([{|‖)]}")


def _cells(table: Element) -> list[str]:
    """Rows of a table as lines, columns aligned as the table says."""
    rows = [[plain(line_of(cell)) for cell in row] for row in table]
    columns = max(map(len, rows))
    rows = [row + [""] * (columns - len(row)) for row in rows]
    widths = [max(cell_len(row[k]) for row in rows) for k in range(columns)]
    left = any(cell.get("style", "").startswith("text-align: left") for row in table for cell in row)

    def padded(text: str, width: int) -> str:
        space = width - cell_len(text)
        before = 0 if left else space // 2
        return " " * before + text + " " * (space - before)

    return ["  ".join(padded(text, widths[k]) for k, text in enumerate(row)).rstrip() for row in rows]


_TALL = {"(": "⎛⎜⎝", ")": "⎞⎟⎠", "[": "⎡⎢⎣", "]": "⎤⎥⎦", "{": "⎧⎪⎩", "}": "⎫⎪⎭", "|": "│││", "‖": "‖‖‖"}


def _fenced(lines: list[str], left: Element | None, right: Element | None) -> list[str]:
    """Lines between fences as tall as they are."""
    width = max(map(cell_len, lines))
    marks = [plain(line_of(fence)) if fence is not None else "" for fence in (left, right)]
    opening, closing = (_tall(mark[:1], len(lines)) for mark in marks)
    scripts = [marks[1][1:] if k == 0 else "" for k in range(len(lines))]
    padded = [text + " " * (width - cell_len(text)) if marks[1] else text for text in lines]
    gap = " " if marks[0][:1] == "{" else ""
    return [a + gap + text + b + c for a, text, b, c in zip(opening, padded, closing, scripts, strict=True)]


def _tall(fence: str, height: int) -> list[str]:
    if height == 1 or fence not in _TALL:
        return [fence] * height
    top, middle, bottom = tuple(_TALL[fence])
    pieces = [top] + [middle] * (height - 2) + [bottom]
    if fence in "{}" and height > 2:
        pieces[height // 2] = "⎨" if fence == "{" else "⎬"
    return pieces


def _beside(blocks: list[list[str]], gap: str = " ") -> list[str]:
    """Blocks side by side, their middle lines on one line."""
    above = max((len(block) - 1) // 2 for block in blocks)
    height = above + max(len(block) - (len(block) - 1) // 2 for block in blocks)
    lines = [""] * height
    for block in blocks:
        start = above - (len(block) - 1) // 2
        width = max(map(cell_len, lines))
        joint = gap if width and not lines[above].endswith(" ") and block[0][:1] not in (",", ".") else ""
        for k, text in enumerate(block):
            lines[start + k] = lines[start + k].ljust(
                width - cell_len(lines[start + k]) + len(lines[start + k])
            )
            lines[start + k] += joint + text
    return [line.rstrip() for line in lines]


# ---------------------------------------------------------------- lines


def plain(line: str) -> str:
    """The line with spaces for their marks."""
    for mark, space in _SPACES.items():
        line = line.replace(mark, space)
    return line


def broken(line: str, width: int, start: int | None = None) -> list[str]:
    """The line broken where it reads best; continued below the first relation, or at ``start``."""
    if cell_len(plain(line)) <= width:
        return [plain(line).rstrip()]
    if start is None:
        first = cell_len(plain(line.split(RELATION)[0])) + 1 if RELATION in line else 2
        start = first if first <= min(_ALIGNED_AT_MOST, width // 3) else 2
    lines = [""]
    _fill(lines, line, width, start, tuple(_SPACES))
    return [text.rstrip() for text in lines]


def _fill(lines: list[str], piece: str, width: int, start: int, marks: tuple[str, ...]) -> None:
    """Append a piece to the last of ``lines``, broken at the first of ``marks`` if it does not fit."""
    if not marks:
        lines[-1] += piece
        return
    mark, *rest = marks
    indent = start + 2 * (mark in (SUM, DEEP, GLUE) and start > 2)
    for index, part in enumerate(piece.split(mark)):
        space = _SPACES[mark] if index else ""
        if cell_len(lines[-1] + space + plain(part)) <= width:
            lines[-1] += space + plain(part)
            continue
        whole = cell_len(plain(part)) <= width - indent
        if index and (whole or cell_len(lines[-1]) > width // 2):
            lines.append(" " * indent)
        else:
            lines[-1] += space
        if cell_len(lines[-1] + plain(part)) <= width:
            lines[-1] += plain(part)
        else:
            _fill(lines, part, width, start, tuple(rest))
