"""LaTeX formulas as MathML trees: what the report serialises and the terminal reads.

One parser for both, latex2mathml's. Its trees are mended where they are not what a browser, or a reader of
the tree, should get: fences that have become identifiers, scripts with too many children, letters of one name
in separate elements, environments it does not know. A macro that it does not know either is refused, so that
the caller can show the source.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from xml.etree.ElementTree import Element

__all__ = ["THIN", "UnknownMathematics", "parse", "serialise", "split_tag", "text_of"]

_FENCES = {r"\lvert": ("\ue010", "|", "prefix"), r"\rvert": ("\ue011", "|", "postfix")}
_FENCES |= {r"\lVert": ("\ue012", "‖", "prefix"), r"\rVert": ("\ue013", "‖", "postfix")}
_MARKS = {mark: (text, form) for mark, text, form in _FENCES.values()}
_OPENING, _CLOSING = "([{⟨⌊⌈", ")]}⟩⌋⌉"
_ENVIRONMENTS = {"aligned": "split", "alignedat": "split", "gathered": "matrix", "equation": "matrix"}
_SYMBOLS = {"~": "∼", "―": "¯", "-": "−", "⧵": "∖"}
_ACCENTS = {"^", "∼", "¯", "˙", "¨", "→", "ˇ", "˘", "`", "´", "˚", "⃛"}
_ORDINARY = set("∞∅⊤⊥′″‴°#%♯…")
"""What stands in a formula like a letter, without an operator's space around it."""
_PRIMES = set("′″‴⁗")
_CHILDREN = {
    "msub": 2,
    "msup": 2,
    "munder": 2,
    "mover": 2,
    "mfrac": 2,
    "mroot": 2,
    "msubsup": 3,
    "munderover": 3,
}
_OPERANDS = {
    "mi",
    "mn",
    "msub",
    "msup",
    "msubsup",
    "mfrac",
    "msqrt",
    "mroot",
    "mover",
    "munderover",
    "munder",
}
THIN = "0.16em"
"""The space that is set here around names; a width that no command gives."""


class UnknownMathematics(ValueError):
    """A formula that is not understood: show its source."""


def split_tag(latex: str) -> tuple[str, str]:
    r"""A formula without its \tag{n}, and n, or "" where it has none."""
    found = re.search(r"\\tag\*?\{([^{}]*)\}", latex)
    if found is None:
        return latex.strip(), ""
    return (latex[: found.start()] + latex[found.end() :]).strip(), found.group(1)


@lru_cache(maxsize=4096)
def parse(latex: str, *, display: bool = False) -> Element:
    """The formula as a MathML tree, <math> with plain text (no entities) in its leaves; not to be changed.

    Raises UnknownMathematics for what latex2mathml does not know.
    """
    from latex2mathml.converter import Converter

    try:
        tree = Converter(display="block" if display else "inline").convert_to_element(_prepared(latex))
    except Exception as error:
        raise UnknownMathematics(f"{latex}: {type(error).__name__}") from error
    math = _mended(tree)
    math.attrib.pop("xmlns", None)
    return math


def _prepared(latex: str) -> str:
    """Rewritten into what the parser understands; fences of either side marked by a character each."""
    for macro, (mark, _, _) in _FENCES.items():
        pattern = re.escape(macro) + r"(?![a-zA-Z])"
        latex = re.sub(r"(\\[bB]igg?[lrm]?)\s*" + pattern, r"\1|" if "v" in macro else r"\1\\|", latex)
        latex = re.sub(r"(?<!\\left)(?<!\\right)(?<!\\middle)" + pattern, mark, latex)
    latex = re.sub(
        r"\\(begin|end)\{(\w+)\*?\}",
        lambda found: rf"\{found[1]}{{{_ENVIRONMENTS.get(found[2], found[2])}}}",
        latex,
    )
    latex = re.sub(r"\\(?:mathrm|operatorname)\{([a-zA-Z])\}", r"\\operatorname{\1}", latex)
    latex = re.sub(r"(?<=\d)\{,\}(?=\d)", r"\\text{,}", latex)
    latex = re.sub(r"\\not\s*(=|\\in\b)", lambda found: r"\ne " if found[1] == "=" else r"\notin ", latex)
    return re.sub(r"\\(?:notag|nonumber|label\{[^{}]*\})", "", latex)


def _mended(element: Element) -> Element:
    """A copy in which every element is what MathML says it should be."""
    if len(element) == 0 and element.tag in ("mi", "mn", "mo", "mtext"):
        return _leaf(element.tag, html.unescape(element.text or ""), dict(element.attrib))
    new = Element(element.tag, _attributes(element))
    children = [_mended(child) for child in element]
    wanted = _CHILDREN.get(element.tag)
    if wanted is None:
        new.extend(_row(children))
    elif len(children) < wanted:
        raise UnknownMathematics(f"<{element.tag}> with {len(children)} children")
    else:
        surplus = len(children) - wanted + 1  # the base of a script, left without a row of its own
        base = children[0] if surplus == 1 else _grouped(children[:surplus])
        new.extend([base, *children[surplus:]])
    if new.tag == "mover" and text_of(new[1]) in _ACCENTS:
        new.set("accent", "true")
        new[1].set("stretchy", "true" if len(text_of(new[0])) > 1 or text_of(new[1]) == "→" else "false")
    if new.tag == "mrow" and len(new) == 1 and not new.attrib:
        return new[0]
    if new.tag in ("msup", "msubsup") and set(text_of(new[-1])) <= _PRIMES:
        return _primed(new)
    return new


def _primed(element: Element) -> Element:
    """A prime beside its letter: fonts raise it by themselves, raised once more it is lost."""
    base = _grouped([element[0], _element("mo", text_of(element[-1]), dict(_SPACELESS))])
    if element.tag == "msup":
        return base
    lowered = Element("msub")
    lowered.extend([base, element[1]])
    return lowered


def _attributes(element: Element) -> dict[str, str]:
    """Attributes, alignment in the words that browsers know."""
    attributes = dict(element.attrib)
    side = attributes.pop("columnalign", "")
    if side:
        attributes["style"] = f"text-align: {side}"
    for name in ("columnspacing", "rowspacing", "columnlines"):
        attributes.pop(name, None)
    if element.tag == "mtable" and "displaystyle" in attributes:
        attributes["class"] = "aligned"
    return attributes


def _grouped(children: Iterable[Element]) -> Element:
    row = Element("mrow")
    row.extend(children)
    return row


def _leaf(tag: str, text: str, attributes: dict[str, str]) -> Element:
    if text.startswith("\\") and len(text) > 1:
        raise UnknownMathematics(text)
    if text in _MARKS:
        text, form = _MARKS[text]
        return _element("mo", text, {"form": form, "stretchy": "false"})
    text = _styled(text, attributes)
    if tag != "mtext":
        text = _SYMBOLS.get(text, text)
    if tag == "mo" and text and (text in _ORDINARY or text.isalpha()):
        upright = {"mathvariant": "normal"} if len(text) == 1 and text.isalpha() else {}
        limits = {"movablelimits": "true"} if len(text) > 1 else {}
        return _element("mi", text, upright) if not limits else _element("mo", text, {**limits, **_SPACELESS})
    if tag == "mi" and len(text) == 1 and not (text.isalnum() or text in _ORDINARY):
        if text in _OPENING + _CLOSING:
            return _element("mo", text, {"form": _form(text), "stretchy": "false"})
        return _element("mo", text, {"stretchy": "false"} if text in "|‖" else {})
    if tag == "mo" and text == "/":
        attributes |= _SPACELESS
    if tag == "mo" and text in tuple(_CLOSING) and attributes.get("stretchy") == "true":
        attributes["form"] = "postfix"
    return _element(tag, text, attributes)


_SPACELESS = {"lspace": "0", "rspace": "0"}


def _form(fence: str) -> str:
    return "prefix" if fence in _OPENING else "postfix"


def _element(tag: str, text: str, attributes: dict[str, str]) -> Element:
    element = Element(tag, attributes)
    element.text = text
    return element


def _styled(text: str, attributes: dict[str, str]) -> str:
    """Characters of the alphabet that ``mathvariant`` names: browsers know no variant but normal."""
    variant = attributes.get("mathvariant", "normal")
    if variant == "normal":
        return text
    del attributes["mathvariant"]
    style = {"script": "SCRIPT", "fraktur": "FRAKTUR", "monospace": "MONOSPACE"}.get(
        variant, variant.upper().replace("-", " ").replace("DOUBLE STRUCK", "DOUBLE-STRUCK")
    )
    return "".join(_in_alphabet(character, style) for character in text)


def _in_alphabet(character: str, style: str) -> str:
    name = unicodedata.name(character, "")
    words = name.replace("LATIN ", "").replace("GREEK ", "").replace("LETTER ", "")
    try:
        return unicodedata.lookup(f"MATHEMATICAL {style} {words}")
    except KeyError:
        return character


def _row(children: list[Element]) -> list[Element]:
    """Children of a row: the letters of a name in one element, a thin space around names, := in one piece."""
    if len(children) > 1 and all(
        c.tag in ("mi", "mn") and c.get("mathvariant") == "normal" for c in children
    ):
        return [_element("mi", "".join(c.text or "" for c in children), {})]
    children = [c for c in children if not (c.tag == "mi" and not c.text)]
    row: list[Element] = []
    bars = 0
    for child in children:
        before = row[-1] if row else None
        if before is not None and (before.text, child.text) == (":", "="):
            row[-1] = _element("mo", ":=", {})
            continue
        if child.tag == "mo" and (child.text or "") in tuple("+−±∓") and _awaits(before):
            child.set("form", "prefix")
        if (
            child.tag == "mo"
            and child.text == "|"
            and "form" not in child.attrib
            and "minsize" not in child.attrib
        ):
            closes = bars % 2 == 1 and before is not None and before.tag != "mo"
            child.set("form", "postfix" if closes else "prefix")
            bars += 1
        if before is not None and (
            (_is_name(child) and (before.tag in _OPERANDS or _closes(before)))
            or (_is_name(before) and (child.tag in _OPERANDS or _opens(child) in ("‖", "|", "⟨")))
        ):
            row.append(Element("mspace", {"width": THIN}))
        row.append(child)
    return row


def _is_name(element: Element) -> bool:
    """A function's name, with scripts or without."""
    if element.tag in ("msub", "msup", "msubsup", "munder", "mover", "munderover"):
        return _is_name(element[0])
    return element.tag in ("mi", "mo") and len(element.text or "") > 1 and (element.text or "").isalpha()


def _opens(element: Element) -> str:
    """The opening fence that an element begins with, or ""."""
    if element.tag == "mrow" and len(element):
        return _opens(element[0])
    return (element.text or "") if element.tag == "mo" and element.get("form") == "prefix" else ""


def _closes(element: Element) -> bool:
    if element.tag in ("mrow", "msub", "msup", "msubsup") and len(element):
        return _closes(element[-1] if element.tag == "mrow" else element[0])
    return element.tag == "mo" and (element.text or "") in tuple(_CLOSING + "‖|") and _opens(element) == ""


def _awaits(before: Element | None) -> bool:
    """Whether a sign after this element belongs to what follows."""
    return before is None or (
        before.tag == "mo" and not _closes(before) and (before.text or "") not in tuple("!′″‴")
    )


def text_of(element: Element) -> str:
    """All characters of an element."""
    return "".join(element.itertext())


def serialise(element: Element) -> str:
    """The tree as MathML for an HTML page."""
    attributes = "".join(f' {name}="{html.escape(value)}"' for name, value in element.attrib.items())
    inside = html.escape(element.text or "", quote=False) + "".join(serialise(child) for child in element)
    return f"<{element.tag}{attributes}>{inside}</{element.tag}>"
