"""Formulas as lines of Unicode for the terminal: σₚ²d/n₀, Σᵢ, √(…), matrices and cases on lines of their own.

A MathML tree (``numsim.mathml``) becomes a string in which marks stand for spaces, by where a line may be
broken: best between formulas side by side, then before a relation, before a sign, inside parentheses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

from rich.cells import cell_len

from .mathml import THIN, UnknownMathematics, parse, text_of
from .scripts import accented, subscript, superscript

__all__ = ["COMMA", "DEEP", "GLUE", "RELATION", "SUM", "WIDE", "inline_text", "line_of"]

WIDE, RELATION, SUM, COMMA, DEEP, GLUE = "\ue000", "\ue001", "\ue002", "\ue003", "\ue004", "\ue005"
"""Spaces, from where a line is broken first to where it is broken last."""

_RELATIONS = set("=≠<>≤≥≪≫≲≳⩽⩾≈∼≃≍≅≡≐≔∝∈∉∋⊂⊆⊃→↦←↔⇒⟹⟸⇔⟺⟶⟼∣∥⟂⊥:") | {":="}
_KINDS = {
    **dict.fromkeys(_RELATIONS, "relation"),
    **dict.fromkeys("+−±∓∪∩⊕∖", "sum"),
    **dict.fromkeys("×∘⊙⊗÷∗*", "product"),
    **dict.fromkeys("⋅·/", "tight"),
    **dict.fromkeys("∑∏∫⋃⋂∮∐", "big"),
    **dict.fromkeys("([{⟨⌊⌈", "open"),
    **dict.fromkeys(")]}⟩⌋⌉", "close"),
    **dict.fromkeys(",;.", "comma"),
    **dict.fromkeys("|‖", "bar"),
}
_SHOWN = {"∑": "Σ", "∏": "Π", "⋅": "·", "∣": "|"}
_VULGAR = {"1/2": "½", "1/3": "⅓", "2/3": "⅔", "1/4": "¼", "3/4": "¾", "1/8": "⅛"}
_DIGITS = set("0123456789") | set(_VULGAR.values())
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
    bars: list[str] = []
    for item in items:
        before = next((i for i in reversed(row) if i.kind != "space"), None)
        if item.kind == "bar":
            fence = item.text[0]
            if bars and bars[-1] == fence and before is not None and before.kind in _FACTORS | {"text"}:
                bars.pop()
                item = replace(item, kind="close")
            elif fence == "|" and before is not None and before.kind in _FACTORS and "|" not in bars:
                item = replace(item, kind="relation")
            else:
                bars.append(fence)
                item = replace(item, kind="open")
        elif item.kind == "sum" and (before is None or before.kind not in _FACTORS):
            item = replace(item, kind="sign")
        row.append(item)
    return row


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
    """The pieces of what an element shows; rows and styles are transparent."""
    if node.tag in _CONVERTERS:
        return _CONVERTERS[node.tag](node)
    if len(node) == 0:
        return [Item(node.text, "atom")] if node.text else []
    items: list[Item] = []
    for item in (item for child in node for item in _items(child)):
        if items and item.text.strip("′″‴⁗") == "":  # a prime belongs to its letter
            items[-1] = replace(items[-1], text=items[-1].text + item.text)
        else:
            items.append(item)
    return items


def _text(node: Element) -> list[Item]:
    text = re.sub(r"\s", GLUE, node.text or "")
    return [Item(text, "text")] if text else []


def _symbol(node: Element) -> list[Item]:
    text = node.text or ""
    if not text:
        return []
    if len(text) > 1 and text.replace("\u2009", "").replace("\u2006", "").replace(" ", "").isalpha():
        return [Item(re.sub(r"\s", GLUE, text), "name")]
    kind = "atom" if node.tag in ("mi", "mn") else _KINDS.get(text, "atom")
    if kind == "bar" and "form" in node.attrib:
        kind = "open" if node.get("form") == "prefix" and node.get("stretchy") == "false" else kind
        kind = "close" if node.get("form") == "postfix" else kind
    return [Item(_SHOWN.get(text, text), kind)]


def _gap(node: Element) -> list[Item]:
    if node.get("linebreak"):
        return [Item(WIDE, "wide")]
    if node.get("width") == THIN:
        return []
    width = re.match(r"([\d.]+)em", node.get("width", ""))
    size = float(width.group(1)) if width else 0.0
    if size >= 1:
        return [Item(WIDE, "wide")]
    return [Item(GLUE, "space")] if size > 0 else []


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
    items = _items(node[0]) if node.tag == "mroot" else [i for child in node for i in _items(child)]
    index = _script(node[1]) if node.tag == "mroot" else ""
    sign = {"": "√", "3": "∛", "4": "∜"}.get(index, superscript(index) + "√" if index else "√")
    line = _inner(_joined(items))
    simple = len(items) == 1 and items[0].kind in ("atom", "name") and not re.search(r"[\^⁰-ⁿ²³¹′ᵀ]", line)
    return [Item(sign + line, "root") if simple else Item(f"{sign}({line})", "group")]


def _script(node: Element) -> str:
    return _joined(_items(node), compact=True).replace(WIDE, GLUE)


def _scripts(node: Element) -> list[Item]:
    """Sub- and superscripts; limits of sums and names are written like them, labels of braces too."""
    raised = {"msup": 1, "mover": 1, "msubsup": 2, "munderover": 2}.get(node.tag)
    lowered = {"msub": 1, "munder": 1, "msubsup": 1, "munderover": 1}.get(node.tag)
    above = _script(node[raised]) if raised else ""
    below = _script(node[lowered]) if lowered else ""
    if node.tag in ("mover", "munder") and (node.get("accent") or node[1].tag == "mo"):
        return _accent(node)
    sub = subscript(below) if below else ""
    sup = superscript(above) if above else ""
    scripts = sub + sup
    base = _items(node[0])
    if not base:
        return [Item(scripts, "atom")]
    if len(base) == 1 and base[0].kind != "fraction":
        kind = "atom" if base[0].kind in ("root", "text") else base[0].kind
        text = base[0].text if base[0].kind != "root" else f"({base[0].text})"
        return [Item(text + scripts, kind)]
    if base[-1].kind in ("close", "bar") and base[0].kind in ("open", "bar", "fraction"):
        return [*base[:-1], replace(base[-1], text=base[-1].text + scripts)]
    return [Item("(", "open"), *base, Item(")" + scripts, "close")]


def _accent(node: Element) -> list[Item]:
    accent, base = text_of(node[1]), _items(node[0])
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
    if node.get("displaystyle"):  # equations below one another
        return [Item(WIDE.join(row.strip(GLUE) for row in rows), "atom")]
    return [Item(f";{GLUE}".join(row.strip(GLUE + ",") for row in rows), "atom")]


def _nothing(_: Element) -> list[Item]:
    return []


_CONVERTERS: dict[str, Callable[[Element], list[Item]]] = {
    **dict.fromkeys(("mi", "mn", "mo"), _symbol),
    **dict.fromkeys(("msub", "msup", "msubsup", "munder", "mover", "munderover"), _scripts),
    **dict.fromkeys(("msqrt", "mroot"), _root),
    "mtext": _text,
    "mspace": _gap,
    "mfrac": _fraction,
    "mtable": _table,
    "mphantom": _nothing,
}


def inline_text(latex: str) -> str:
    """A formula in one line, with GLUE, or DEEP if at all, where it should not be broken; or its source."""
    try:
        line = line_of(parse(latex)).replace(WIDE, "  ")
    except UnknownMathematics:
        return latex
    space = GLUE if cell_len(line) <= _SHORT else " "
    line = re.sub(f"^([^{RELATION}{SUM}]{{1,4}}){RELATION}", rf"\1{GLUE}", line)  # no lone x at a line's end
    return line.replace(RELATION, space).replace(SUM, space).replace(COMMA, space)
