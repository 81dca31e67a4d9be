"""The terminal's tables for a paper: LaTeX with booktabs, for any engine, with no Unicode left in it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from rich.table import Column, Table
from rich.text import Text

from .notes.scripts import SUB, SUPER

__all__ = ["MARK", "escaped", "tables_in_latex"]

MARK = "% Tables of numsim; needs \\usepackage{booktabs}.\n"

_TEXT = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: f"{{{character}}}" for character in "[*"},  # which mean something after the end of a row
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    '"': "''",
    "–": "--",
    "…": r"\dots{}",
    "\n": r"\newline ",
    "\u00a0": "~",
}
_MATHS = {
    **{character: character for character in "<>|"},
    **{"<=": r"\le", ">=": r"\ge", "≤": r"\le", "≥": r"\ge", "×": r"\times", "±": r"\pm", "·": r"\cdot"},
    **{"−": "-", "√": r"\surd", "⟨": r"\langle", "⟩": r"\rangle", "∞": r"\infty", "inf": r"\infty"},
    **{"‖": r"\Vert", "≈": r"\approx", "→": r"\to", "∝": r"\propto", "∂": r"\partial"},
    **{name: f"\\{name}" for name in ("eta", "gamma", "kappa", "mu", "rho", "tau", "xi")},
    **{"sigma_p": r"\sigma_p", "sigma0": r"\sigma_0", "n0": "n_0"},
}
_SCRIPTS = {
    **{small: ("_", plain) for plain, small in SUB.items()},
    **{small: ("^", plain) for plain, small in SUPER.items() if not small.isascii()},
}
_LETTERS = {"lamda": "lambda", "omicron": "o"}
_NAMES = "|".join(re.escape(name) for name in sorted(_MATHS, key=len, reverse=True) if len(name) > 1)
_PIECE = re.compile(
    r"(?<![\w.])(?P<sign>[+-]?)(?P<mantissa>\d+(?:\.\d+)?)e(?P<exponent>[+-]?\d+)\b"
    rf"|(?<!\w)(?P<name>{_NAMES})(?![a-z0-9])"
    r"|\^(?P<power>-?\d+(?:/\d+)?|[a-z]|(?:max)?\((?:[^()]|\([^()]*\))*\))(?![\w(])"
    rf"|(?P<scripts>[{re.escape(''.join(_SCRIPTS))}]+)"
    r"|(?<![\w)])(?P<minus>-)(?=\d)"
    r"|(?P<one>.|\n)"
)


def escaped(text: str) -> str:
    """A text as LaTeX: 1e+08 as a power of ten, σₚ and SNR^-2 as formulas, special characters escaped."""
    return re.sub(r"(?<!\\)\$\$", " ", _PIECE.sub(_piece, text))  # formulas side by side are one


def _piece(found: re.Match[str]) -> str:
    if found["mantissa"]:
        factor = "" if found["mantissa"] == "1" else f"{found['mantissa']} \\times "
        return f"${found['sign'].lstrip('+')}{factor}10^{{{int(found['exponent'])}}}$"
    if found["power"]:
        return f"$^{{{found['power'].replace('max', chr(92) + 'max')}}}$"
    if found["scripts"]:
        runs = re.findall(
            r"(?:\^.)+|(?:_.)+", "".join("".join(_SCRIPTS[small]) for small in found["scripts"])
        )
        return "".join(f"${run[0]}{{{_letters(run[1::2])}}}$" for run in runs)
    if found["minus"]:
        return "$-$"
    piece = found["name"] or found["one"]
    if (formula := _MATHS.get(piece) or _greek(piece)) is not None:
        return f"${formula}$"
    return _TEXT.get(piece, piece)


def _letters(text: str) -> str:
    """Letters of a formula."""
    return "".join(_greek(character) or character for character in text)


def _greek(character: str) -> str | None:
    """The command of a Greek letter."""
    kind, _, name = (
        unicodedata.name(character, "").partition(" LETTER ") if len(character) == 1 else ("", "", "")
    )
    if kind not in ("GREEK SMALL", "GREEK CAPITAL") or " " in name:
        return None
    word = _LETTERS.get(name.lower(), name.lower())
    return f"\\{word.capitalize() if kind == 'GREEK CAPITAL' else word}"


def tables_in_latex(tables: Sequence[Table], about: str = "", names: Mapping[str, str] | None = None) -> str:
    """The tables, each with its title and ``about`` as caption; names : LaTeX of some cells and headers."""
    return "\n".join([MARK, *(_table(table, about, names or {}) for table in tables)])


def _table(table: Table, about: str, names: Mapping[str, str]) -> str:
    heads = [_cell(column.header, names) for column in table.columns]
    columns = [[_cell(cell, names) for cell in column.cells] for column in table.columns]
    kinds = "".join(_kind(*pair) for pair in zip(table.columns, columns, strict=True))
    rows = [f"    {' & '.join(row)} \\\\" for row in zip(*columns, strict=True)]
    caption = "; ".join(filter(None, (_cell(table.title or "", names), escaped(about))))
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{caption}}}",
            rf"  \begin{{tabular}}{{{kinds}}}",
            r"    \toprule",
            f"    {' & '.join(heads)} \\\\",
            r"    \midrule",
            *rows,
            r"    \bottomrule",
            r"  \end{tabular}",
            "\\end{table}\n",
        ]
    )


def _kind(column: Column, cells: Sequence[str]) -> str:
    if any(_TEXT["\n"] in cell for cell in cells):
        return r"p{0.4\linewidth}"
    return "r" if column.justify == "right" else "l"


def _cell(cell: object, names: Mapping[str, str]) -> str:
    text = cell.plain if isinstance(cell, Text) else Text.from_markup(str(cell)).plain
    return names.get(text) or escaped(text)
