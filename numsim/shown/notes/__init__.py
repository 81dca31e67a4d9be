r"""Derivation notes, Markdown with $...$ and $$...\tag{n}$$, for a terminal and for an HTML page.

The same tokens of a note feed both, and one parser reads its formulas: for the page they are MathML, for a
terminal Unicode, fitted to its width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from .page import formula_html, inline_html, to_html
from .source import numbers, title, without_title
from .terminal import Note

if TYPE_CHECKING:
    from ...claims import Claim

__all__ = ["Note", "explain", "formula_html", "inline_html", "numbers", "title", "to_html", "without_title"]


def explain(claim: Claim, console: Console) -> None:
    """Print a claim's id, title and source, and its note.

    Raises OSError or UnicodeDecodeError where the note cannot be read; nothing but the head without a note.
    """
    note = "" if claim.note is None else claim.note.read_text(encoding="utf-8")
    if title(note).upper().startswith(claim.id.upper()):
        note = without_title(note)
    console.print(Note(f"# {claim.id} · {claim.title}"))
    console.print(Text(claim.source, "dim"))
    console.print()
    console.print(Note(note))
