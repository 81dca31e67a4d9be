"""Formulas as lines of Unicode for the terminal: σₚ²d/n₀, Σᵢ, √(…), matrices and cases on lines of their own.

A MathML tree becomes a string in which marks stand for spaces, by where a line may be broken: best between
formulas side by side, then before a relation, before a sign, inside parentheses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

from rich.cells import cell_len

from .mathml import UnknownMathematics, tree
from .scripts import accented, subscript, superscript

__all__ = ["COMMA", "DEEP", "GLUE", "RELATION", "SUM", "WIDE", "inline_text", "line_of"]

WIDE, RELATION, SUM, COMMA, DEEP, GLUE = "\ue000", "\ue001", "\ue002", "\ue003", "\ue004", "\ue005"
"""Spaces, from where a line is broken first to where it is broken last."""

_KINDS = {
    **dict.fromkeys("=≠<>≤≥≪≫≲≳⩽⩾≈∼≃≍≅≡≐≔∝∈∉∋⊂⊆⊃→↦←↔⇒⟹⟸⇔⟺⟶⟼∣∥⟂⊥:", "relation"),
    **dict.fromkeys("+−±∓∪∩⊕∖", "sum"),
    **dict.fromkeys("×∘⊙⊗÷∗*", "product"),
    **dict.fromkeys("⋅·/", "tight"),
    **dict.fromkeys("∑∏∫⋃⋂∮∐", "big"),
    **dict.fromkeys("([{⟨⌊⌈", "open"),
    **dict.fromkeys(")]}⟩⌋⌉", "close"),
    **dict.fromkeys(",;.", "comma"),
    **dict.fromkeys("|‖", "bar"),
}
_SHOWN = {"∑": "Σ", "∏": "Π", "⋅": "·", "∣": "|", "∗": "*"}
_VULGAR = {"1/2": "½", "1/3": "⅓", "2/3": "⅔", "1/4": "¼", "3/4": "¾", "1/8": "⅛"}
_DIGITS = set("0123456789") | set(_VULGAR.values())
_AROUND_NAMES = "0.1667em"
r"""The space that the parser sets around names, where the rules below set their own; \, is 0.16666667em."""
_SHORT = 20
"""Formulas of at most as many cells stay in one piece in running text."""
_OPERANDS = {"atom", "name", "big", "fraction", "root", "group", "open"}
_FACTORS = {"atom", "name", "fraction", "ratio", "root", "group", "close"}


@dataclass(frozen=True)
class Item:
    """A piece of a row.

    kind : atom, name (of a function), big (sum), fraction, ratio (a fraction in brackets), root, group (in
    brackets of its own); open, close, bar (either); sum, sign (of what follows), product, tight (a sign
    without space), relation, comma; text; space, wide.
    closed : a fraction that ends with a bracket around its denominator.
    """

    text: str
    kind: str
    closed: bool = False


# ---------------------------------------------------------------- a row of pieces


def line_of(node: Element) -> str:
    """The formula in one line, with marks for its spaces."""
    return _joined(_items(node))


def _joined(items: Sequence[Item], *, compact: bool = False) -> str:
    """The pieces side by side with the spaces that a typesetter would set; compact: none (in scripts)."""
    line, depth = "", 0
    row = _with_fences(items)
    for index, item in enumerate(row):
        before = row[index - 1] if index else None
        if item.kind == "close":
            depth = max(0, depth - 1)
        if item.kind == "fraction" and _needs_brackets(row, index):
            item = Item(f"({item.text})", "open")
            row[index] = Item(item.text, "ratio")
        line += _space(before, item, depth, compact) + item.text
        depth += row[index].kind == "open"
    return line


def _with_fences(items: Sequence[Item]) -> list[Item]:
    """Bars turned into opening, closing and dividing ones, signs before operands into parts of them."""
    row: list[Item] = []
    fences: list[int] = []
    for item in items:
        before = next((i for i in reversed(row) if i.kind != "space"), None)
        after_factor = before is not None and before.kind in _FACTORS
        if item.kind == "bar":
            opened = bool(fences) and row[fences[-1]].text == item.text[0]
            closes = opened and (after_factor or (before is not None and before.kind == "text"))
            item = replace(item, kind="close" if closes else "open")
        elif item.kind == "sum" and not after_factor:
            item = replace(item, kind="sign")
        if item.kind == "close":
            _close(row, fences, item.text[0])
        elif item.kind == "open":
            fences.append(len(row))
        row.append(item)
    _close(row, fences, "")
    return row


def _close(row: list[Item], fences: list[int], fence: str) -> None:
    """Take what a fence closes, "" all, off the list of open ones; bars left open divide: P(A | B)."""
    while fences:
        index = fences.pop()
        if row[index].text[0] in "|‖" and row[index].text[0] != fence:
            row[index] = replace(row[index], kind="relation" if index + 1 < len(row) else "close")
        elif fence:
            return


def _needs_brackets(row: Sequence[Item], index: int) -> bool:
    """Whether a fraction would run into its neighbours: (a/b)c, but 1/(nm) Σ, 2a/b."""
    before = next((item for item in reversed(row[:index]) if item.kind != "space"), None)
    after = next((item for item in row[index + 1 :] if item.kind != "space"), None)
    if before is not None and (before.kind in ("name", "fraction", "ratio", "root") or before.text == "/"):
        return True
    follows = after is not None and after.kind in _OPERANDS
    return follows and not row[index].closed


def _space(before: Item | None, item: Item, depth: int, compact: bool) -> str:
    """The mark between two neighbours."""
    if before is None or item.kind in ("space", "wide") or before.kind in ("space", "wide"):
        return ""
    if before.kind == "name" and item.kind in _OPERANDS - {"open"}:  # in scripts too: log n
        return GLUE
    if compact:
        return GLUE if item.kind == "name" and before.kind in _FACTORS else ""
    if item.kind in ("relation", "sum"):
        if item.text == "=" and before.text in (":", "+"):
            return ""
        outside = RELATION if item.kind == "relation" else SUM
        return (outside, DEEP)[depth] if depth < 2 else GLUE
    if before.kind in ("relation", "sum", "product") or item.kind == "product":
        return GLUE
    if before.kind == "comma":
        return GLUE if depth else COMMA
    if item.kind in _OPERANDS and before.kind in _FACTORS | {"big"}:
        return _between_factors(before, item)
    both_letters = before.text[-1:].isalnum() and item.text[:1].isalnum()
    return GLUE if "text" in (before.kind, item.kind) and both_letters else ""


def _between_factors(before: Item, item: Item) -> str:
    """The mark of a product without a sign."""
    if before.kind == "big":
        return GLUE
    if before.kind == "name":
        return "" if item.text[0] in "([{" else GLUE
    if item.kind in ("name", "big"):
        return "" if before.kind == "open" else GLUE
    if item.kind == "fraction":
        return "·" if item.text[0] in _DIGITS | {"("} else GLUE
    if before.text[-1] in _DIGITS and item.text[0] in _DIGITS:
        return "·"
    if before.kind in ("root", "fraction"):
        return GLUE
    lowered = re.search(r"_(?:[^\W_]+|\{[^}]*\})$", before.text)
    raised = re.search(r"\^(?:[^\W_]+|\([^)]*\))$", before.text)
    letters = item.text[0].isalnum() or item.text[0] == "√"
    return GLUE if (letters and lowered) or ((letters or item.text[0] == "(") and raised) else ""


# ---------------------------------------------------------------- elements


def _items(node: Element) -> list[Item]:
    """The pieces of what an element shows. Raises UnknownMathematics for one that has no rule here."""
    if node.tag not in _CONVERTERS:
        raise UnknownMathematics(f"<{node.tag}>")
    return [item for item in _CONVERTERS[node.tag](node) if item.text]


def _row(node: Element) -> list[Item]:
    return [item for child in node for item in _items(child)]


def _text(node: Element) -> list[Item]:
    text = re.sub(r"\s", GLUE, "".join(node.itertext()))
    return [Item(text, "text")]


def _symbol(node: Element) -> list[Item]:
    text = re.sub(r"\s", GLUE, (node.text or "").rstrip("\ufe00"))
    if not text or "\u2061" <= text <= "\u2064":  # operators that are not seen
        return []
    if node.tag == "mo":
        kind = {"prefix": "open", "postfix": "close"}.get(node.get("form", ""), "bar")
        return [Item(_SHOWN.get(text, text), kind if text in "|‖" else _KINDS.get(text, "atom"))]
    name = len(text) > 1 and text.replace(GLUE, "").isalpha()
    return [Item(text, "name" if name else _KINDS.get(text, "atom"))]


def _gap(node: Element) -> list[Item]:
    width = re.match(r"([\d.]+)r?em", node.get("width", ""))
    if width is None or width[0] == _AROUND_NAMES:
        return []
    return [Item(WIDE, "wide") if float(width[1]) >= 1 else Item(GLUE, "space")]


def _fraction(node: Element) -> list[Item]:
    top, bottom = (_items(child) for child in node)
    if node.get("linethickness") == "0":
        return [Item(f"{_joined(top)}{GLUE}choose{GLUE}{_joined(bottom)}", "atom")]
    derivative = len(bottom) == 2 and bottom[0].text == "d" and top[:1] and top[0].text[0] == "d"
    below = _inner(_joined(bottom)) if derivative else _bracketed(bottom, below=True)
    text = f"{_bracketed(top, below=False)}/{below}"
    if text in _VULGAR:
        return [Item(_VULGAR[text], "atom")]
    return [Item(text, "fraction", closed=below[0] == "(" and below[-1] == ")")]


def _bracketed(items: Sequence[Item], *, below: bool) -> str:
    """Numerator or denominator, in parentheses if it needs them."""
    line = _inner(_joined(items))
    row = [item for item in _with_fences(items) if item.kind != "space"]
    depth, factors, loose = 0, 0, False
    for index, item in enumerate(row):
        depth -= item.kind == "close"
        if depth == 0:
            factors += item.kind in _FACTORS | {"text"} and item.text != "∂"
            loose |= item.kind in {"sum", "relation", "comma", "fraction", "big", "product", "wide"}
            loose |= item.text == "/" or (item.kind in {"tight", "sign"} and below)
            after = row[index + 1] if index + 1 < len(row) else None
            if item.kind == "name" and after is not None and after.kind in _OPERANDS:
                loose |= after.text[0] not in "(["
                factors -= after.text[0] in "(["
        depth += item.kind == "open"
    return f"({line})" if loose or (below and factors > 1) or not line else line


def _inner(line: str) -> str:
    """The same between parentheses: its spaces are no longer where a line is best broken."""
    line = line.replace(WIDE, GLUE * 2).replace(DEEP, GLUE).replace(COMMA, GLUE)
    return line.replace(RELATION, DEEP).replace(SUM, DEEP)


def _root(node: Element) -> list[Item]:
    items, index = _items(node[0]), _script(node[1]) if len(node) > 1 else ""
    sign = {"3": "∛", "4": "∜"}.get(index, superscript(index) + "√")
    line = _inner(_joined(items))
    simple = len(items) == 1 and items[0].kind in ("atom", "name") and not re.search(r"[\^⁰-ⁿ²³¹′ᵀ]", line)
    return [Item(sign + line, "root") if simple else Item(f"{sign}({line})", "group")]


def _script(node: Element) -> str:
    return _joined(_items(node), compact=True).replace(WIDE, GLUE).strip(GLUE)


def _scripts(node: Element) -> list[Item]:
    """Sub- and superscripts; limits of sums and names are written like them, labels of braces too."""
    if "accent" in node.attrib or "accentunder" in node.attrib:
        return _accent(node)
    below = _script(node[1]) if re.match("msub|munder", node.tag) else ""
    above = _script(node[-1]) if re.search("sup|over", node.tag) else ""
    raised_further = above.lstrip("′″‴")  # primes stand beside their letter
    scripts = above.removesuffix(raised_further) + subscript(below) + superscript(raised_further)
    base = _items(node[0])
    if not base or not scripts:
        return [*base, Item(scripts, "atom")] if scripts else base
    if len(base) == 1 and base[0].kind != "fraction":
        kind = "atom" if base[0].kind in ("root", "text") else base[0].kind
        text = base[0].text if base[0].kind != "root" else f"({base[0].text})"
        return [Item(text + scripts, kind)]
    if base[-1].kind == "bar" or (base[-1].kind == "close" and base[0].kind in ("open", "fraction")):
        return [*base[:-1], replace(base[-1], text=base[-1].text + scripts)]
    return [Item("(", "open"), *base, Item(")" + scripts, "close")]


def _accent(node: Element) -> list[Item]:
    accent, base = node[1].text or "", _items(node[0])
    line = _joined(base)
    if accent in "⏟⏞":
        return [Item("[", "open"), *base, Item("]", "close")]
    kind = base[0].kind if len(base) == 1 else "atom"
    if kind == "relation":
        return [Item(line + superscript(accent), kind)]
    return [Item(accented(_inner(line), accent, below=node.tag == "munder"), kind)]


def _table(node: Element) -> list[Item]:
    """In a line: rows divided by semicolons."""
    rows = [GLUE.join(_inner(line_of(cell)) for cell in row) for row in node]
    if node.get("displaystyle") == "true":  # equations below one another
        return [Item(WIDE.join(row.strip(GLUE) for row in rows), "atom")]
    return [Item(f";{GLUE}".join(row.strip(GLUE + ",") for row in rows), "atom")]


_CONVERTERS: dict[str, Callable[[Element], list[Item]]] = {
    **dict.fromkeys(("math", "mrow", "mpadded", "mtd"), _row),
    **dict.fromkeys(("mi", "mn", "mo"), _symbol),
    **dict.fromkeys(("msub", "msup", "msubsup", "munder", "mover", "munderover"), _scripts),
    **dict.fromkeys(("msqrt", "mroot"), _root),
    "mtext": _text,
    "mspace": _gap,
    "mfrac": _fraction,
    "mtable": _table,
    "mphantom": lambda _: [],
}


def inline_text(latex: str) -> str:
    """A formula in one line, with GLUE, or DEEP if at all, where it should not be broken; or its source."""
    try:
        line = line_of(tree(latex)).replace(WIDE, "  ")
    except UnknownMathematics:
        return latex
    space = GLUE if cell_len(line) <= _SHORT else " "
    line = re.sub(f"^([^{RELATION}{SUM}]{{1,4}}){RELATION}", rf"\1{GLUE}", line)  # no lone x at a line's end
    return line.replace(RELATION, space).replace(SUM, space).replace(COMMA, space)
