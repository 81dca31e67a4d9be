"""Tables from rows: for the terminal, and as Markdown into README.md.

``python -m benchmarks.tables FILE.json ...`` rewrites README.md between its two markers, and the figures.
Several files are works that ran one after the other; of one that is in two of them the later counts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .harness import OK, Row

HEADINGS = (
    "work",
    "setting",
    "alternative",
    "cores",
    "unit",
    "numsim",
    "alternative's",
    "ratio [95 %]",
    "difference",
    "memory",
)
README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


def seconds(value: float | None) -> str:
    """A time with three digits and its unit."""
    if value is None:
        return "–"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def size(value: float | None) -> str:
    """Bytes as MB or GB."""
    if value is None:
        return ""
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def number(value: float) -> str:
    """Three digits, without an exponent up to a million."""
    return f"{value:.3g}" if value < 1000 else f"{float(f'{value:.3g}'):,.0f}"


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of HEADINGS; words stand where there are no numbers."""
    first = (row.work, row.setting, row.alternative or "–", str(row.cores), row.unit)
    if row.status != OK:
        return (*first, f"{row.status}: {row.words}", "", "", "", "")
    if row.words:
        return (*first, row.words, "", "", "", "")
    ratio = "–"
    if row.ratio is not None and row.ratio_low is not None and row.ratio_high is not None:
        ratio = f"{number(row.ratio)} [{number(row.ratio_low)}, {number(row.ratio_high)}]"
    found = "" if row.difference is None else f"{row.difference:.1g} (≤ {row.tolerance:.1g})"
    return (*first, seconds(row.numsim), seconds(row.other), ratio, found, size(row.facts.get("memory")))


def terminal(rows: Sequence[Row]) -> None:
    """Print the table, as wide as it needs to be."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for position, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if position in (3, 6, 7, 8, 9) else "left")
    for row in rows:
        table.add_row(*map(Text, cells(row)))  # brackets are not markup
    console = Console()
    Console(width=max(console.width, 190)).print(table, highlight=False)


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table a work, with what the machine and the libraries were."""
    parts = []
    for work in dict.fromkeys(row.work for row in rows):
        lines = ["| " + " | ".join(HEADINGS[1:]) + " |", "|" + "---|" * len(HEADINGS[1:])]
        lines += [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)[1:]) + " |"
            for row in rows
            if row.work == work
        ]
        parts.append(f"### {work}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def description(document: Mapping[str, Any]) -> str:
    """A sentence on the machine, one on the versions, one on the protocol."""
    m = document["machine"]
    libraries = ", ".join(f"{name} {v}" for name, v in document["versions"].items())
    protocol = document["protocol"]
    return (
        f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, {m['system']}, Python {m['python']}; "
        f"{libraries}. "
        f"{protocol['processes']} processes a case, {protocol['seconds']:g} s of timing in each."
    )


def rows_of(document: Mapping[str, Any]) -> list[Row]:
    """The rows of a JSON document that ``python -m benchmarks --json`` wrote."""
    return [Row(**row) for row in document["rows"]]


def between_markers(text: str, inside: str) -> str:
    """The text with what stands between the two markers replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected the lines {BEGIN} and {END}")
    return f"{before}{begin}\n\n{inside}\n\n{end}{after}"


def merged(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One document of several: the works of all, the rest from the last."""
    works: dict[str, list[Any]] = {}
    for document in documents:
        found: dict[str, list[Any]] = {}
        for row in document["rows"]:
            found.setdefault(row["work"], []).append(row)
        works.update(found)
    return {**documents[-1], "rows": [row for rows in works.values() for row in rows]}


def main(paths: Sequence[str]) -> None:
    """Rewrite the tables of README.md and the figures from JSON documents."""
    from .figures import draw

    document = merged([json.loads(Path(path).read_text()) for path in paths])
    rows = rows_of(document)
    README.write_text(between_markers(README.read_text(), f"{description(document)}\n\n{markdown(rows)}"))
    draw(rows, README.parent / "figures")


if __name__ == "__main__":
    main(sys.argv[1:])
