"""The commands that say what there is to run: ``presets`` and ``init``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .errors import Failure
from .files import prepare, writing
from .options import Json, typed_path

__all__ = ["init", "presets"]


def presets(as_json: Json = False) -> None:
    """List the presets: what each is, and whether it is a sweep."""
    from ..config.sources import preset_about, read_levels
    from ..config.sources import presets as known

    rows = [
        {
            "name": name,
            "about": preset_about(name),
            "sweep": any("sweep" in level for level in read_levels({"preset": name})),
        }
        for name in known()
    ]
    if as_json:
        print(json.dumps({"schema": 1, "presets": rows}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in ("preset", "what it is", "run with"):
        table.add_column(column, overflow="fold", no_wrap=column == "preset")
    for row in rows:
        table.add_row(str(row["name"]), str(row["about"]), "sweep or run" if row["sweep"] else "run")
    Console().print(table)


def init(
    out: Annotated[Path, typer.Option(parser=typed_path, metavar="FILE", help="The TOML file to write.")],
    preset: Annotated[
        str | None, typer.Argument(metavar="[PRESET]", help="What to start from; without it the headline.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented experiment file, to be edited and run."""
    from ..config.sources import preset_text
    from ..runs.files import write_atomically

    text = preset_text("headline" if preset is None else preset)
    if out.suffix != ".toml":
        raise Failure(f"--out: got {str(out)!r}, expected the name of a file that ends in .toml")
    if out.is_file() and not replace:
        raise Failure(f"{out} is there already; choose another name, or replace it (--replace)")
    prepare(out)
    with writing(out):
        write_atomically(out, lambda file: file.write(text.encode()))
    print(f"written: {out}")
