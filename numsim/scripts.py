"""Sub- and superscripts and accents in Unicode, where Unicode has them."""

from __future__ import annotations

import re

__all__ = ["accented", "subscript", "superscript"]

_SUPER = dict(
    zip(
        "0123456789+−=()abcdefghijklmnoprstuvwxyzABDEGHIJKLMNOPRTUVWβγδθφχ⊤′″‴*∗",
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁⱽᵂᵝᵞᵟᶿᵠᵡᵀ′″‴**",
        strict=True,
    )
)
_SUB = dict(
    zip(
        "0123456789+−=()aehijklmnoprstuvxβγρφχ′",
        "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ′",
        strict=True,
    )
)
_COMBINING = {
    "^": "\u0302",
    "∼": "\u0303",
    "¯": "\u0304",
    "˙": "\u0307",
    "¨": "\u0308",
    "→": "\u20d7",
    "ˇ": "\u030c",
    "˘": "\u0306",
    "`": "\u0300",
    "´": "\u0301",
    "˚": "\u030a",
}
_WORDS = {"^": "hat", "∼": "tilde", "¯": "bar", "˙": "dot", "¨": "ddot", "→": "vec"}


def superscript(text: str) -> str:
    """xⁿ where all characters can be raised, else ^q or ^(…)."""
    if text and all(character in _SUPER for character in text):
        return "".join(_SUPER[character] for character in text)
    bracketed = text.startswith("(") and text.find(")") == len(text) - 1
    if len(text) == 1 or bracketed or re.fullmatch(r"[\d.]+", text):
        return f"^{text}"
    return f"^({text})"


def subscript(text: str) -> str:
    """xᵢ where all characters can be lowered, with commas between (xᵢ,ⱼ); else _S, _new or _{…}."""
    parts = text.split(",")
    if all(part and all(character in _SUB for character in part) for part in parts):
        return ",".join("".join(_SUB[character] for character in part) for part in parts)
    word = re.fullmatch(r"[^\W\d_₀-₉ₐ-ₜᵢᵣᵤᵥᵦᵧᵨᵩᵪⱼ]+", text) is not None
    return f"_{text}" if len(text) == 1 or word else f"_{{{text}}}"


def accented(text: str, accent: str, *, below: bool = False) -> str:
    """x̂, x̃, x̄ by a combining character on the first letter, if only scripts follow; else hat(…)."""
    if below and accent in ("¯", "_"):
        return "".join(character + "\u0332" for character in text)
    mark = _COMBINING.get(accent)
    if mark is not None and text and not re.search(r"[^\W\d_]", _without_scripts(text[1:])):
        return text[0] + mark + text[1:]
    if accent == "¯":
        return "".join(character + "\u0305" for character in text)
    return f"{_WORDS.get(accent, accent)}({text})"


def _without_scripts(text: str) -> str:
    lowered = set(_SUB.values()) | set(_SUPER.values())
    return "".join(character for character in text if character not in lowered)
