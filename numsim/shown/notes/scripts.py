"""Sub- and superscripts and accents in Unicode, where Unicode has them."""

from __future__ import annotations

import re

__all__ = ["SUB", "SUPER", "accented", "subscript", "superscript"]

SUPER = dict(
    zip(
        "0123456789+−=()abcdefghijklmnoprstuvwxyzABDEGHIJKLMNOPRTUVWβγδθφχ⊤′″‴*∗",
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁⱽᵂᵝᵞᵟᶿᵠᵡᵀ′″‴**",
        strict=True,
    )
)
SUB = dict(
    zip(
        "0123456789+−=()aehijklmnoprstuvxβγρφχ′",
        "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ′",
        strict=True,
    )
)
_ACCENTS = {
    **dict.fromkeys("ˆ̂", ("\u0302", "hat")),
    **dict.fromkeys("˜~", ("\u0303", "tilde")),
    **dict.fromkeys("¯̲", ("\u0304", "bar")),
    **dict.fromkeys("⃗→", ("\u20d7", "vec")),
    **{"˙": ("\u0307", "dot"), "¨": ("\u0308", "ddot"), "ˇ": ("\u030c", "check"), "˘": ("\u0306", "breve")},
    **{"`": ("\u0300", "grave"), "´": ("\u0301", "acute"), "˚": ("\u030a", "ring")},
}
"""The combining character of an accent, and what it is called where it stands on several letters."""


def superscript(text: str) -> str:
    """xⁿ where all characters can be raised, else ^q or ^(…)."""
    if all(character in SUPER for character in text):
        return "".join(SUPER[character] for character in text)
    bracketed = text.startswith("(") and text.find(")") == len(text) - 1
    if len(text) == 1 or bracketed or re.fullmatch(r"[\d.]+", text):
        return f"^{text}"
    return f"^({text})"


def subscript(text: str) -> str:
    """xᵢ where all characters can be lowered, with commas between (xᵢ,ⱼ); else _S, _new or _{…}."""
    parts = text.split(",")
    if all(all(character in SUB for character in part) for part in parts):
        return ",".join("".join(SUB[character] for character in part) for part in parts)
    word = re.fullmatch(r"[^\W\d_₀-₉ₐ-ₜᵢᵣᵤᵥᵦᵧᵨᵩᵪⱼ]+", text) is not None
    return f"_{text}" if len(text) == 1 or word else f"_{{{text}}}"


def accented(text: str, accent: str, *, below: bool = False) -> str:
    """x̂, x̃, x̄ by a combining character on the first letter, if only scripts follow; else hat(…)."""
    mark, name = _ACCENTS.get(accent, ("", accent))
    if name == "bar" and below:
        return "".join(character + "\u0332" for character in text)
    if mark and text and not re.search(r"[^\W\d_]", _without_scripts(text[1:])):
        return text[0] + mark + text[1:]
    if name == "bar":
        return "".join(character + "\u0305" for character in text)
    return f"{name}({text})"


def _without_scripts(text: str) -> str:
    lowered = set(SUB.values()) | set(SUPER.values())
    return "".join(character for character in text if character not in lowered)
