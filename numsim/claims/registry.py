"""Where claims are found: the package's own in ``numsim.derivations``, users' in files of their own."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

from .claim import Claim
from .user_errors import place

__all__ = ["builtin", "find", "load_claims"]

_GROUPS = "CEPSKXLMAR"
"""Concentration, exact identities, pre-training, supervised training, ReLU with flips, XOR, label noise,
momentum, sharpness, spurious features."""
_CLAIM = re.compile(r"[a-z]\d+_")


@cache
def builtin() -> dict[str, Claim]:
    """The package's claims by id, in the order of derivations/README.md."""
    package = importlib.import_module("numsim.derivations")
    modules = [info.name for info in pkgutil.walk_packages(package.__path__, "numsim.derivations.")]
    claims = [
        _claims(importlib.import_module(name)) for name in modules if _CLAIM.match(name.rpartition(".")[2])
    ]
    ordered = sorted(
        (c for found in claims for c in found), key=lambda c: (_GROUPS.find(c.id[0]), int(c.id[1:]))
    )
    return {claim.id: claim for claim in ordered}


def load_claims(path: Path) -> list[Claim]:
    """The claims of a Python file, with the Markdown file of the same name beside it as their note.

    Raises ValueError where there is no such file, it cannot be imported, or it holds no ``Claim``.
    """
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; give a claim's id (numsim verify lists them) or a Python file"
        )
    if name := _own(path):
        return _claims(importlib.import_module(name))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path}: not a Python file; a claim is a module with a numsim Claim in it")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)  # a claim may import its neighbours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sentence = f"{type(error).__name__}: {' '.join(str(error).split())}"
        where = f" ({line})" if (line := place(error, str(path))) else ""
        raise ValueError(f"{path}: cannot be imported: {sentence}{where}") from error
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:  # also when it is checked, in another process: behind all others then
            sys.path.append(folder)
    found = _claims(module)
    if not found:
        raise ValueError(f"{path}: holds no Claim; define one, e.g. CLAIM = numsim.Claim(id=..., ...)")
    return found


def _own(path: Path) -> str:
    """The name of a module of the package's own derivations, whose imports are relative; "" for any other."""
    package = importlib.import_module("numsim.derivations")
    for folder in map(Path, package.__path__):
        with suppress(ValueError):  # it is not in this folder
            inside = path.resolve().relative_to(folder.resolve()).with_suffix("")
            return ".".join((package.__name__, *inside.parts))
    return ""


def _claims(module: ModuleType) -> list[Claim]:
    note = Path(str(module.__file__)).with_suffix(".md")
    return [
        replace(value, note=note) if value.note is None and note.is_file() else value
        for value in vars(module).values()
        if isinstance(value, Claim)
    ]


def find(names: Sequence[str | Path | Claim] | None) -> list[Claim]:
    """Claims by id (in any case), by path of a module, or as they are; None or nothing: all of the package's.

    Raises ValueError, one line a fault, for what is not found and for an id that is there twice.
    """
    if not names:
        return list(builtin().values())
    found: list[Claim] = []
    faults: list[str] = []
    for name in names:
        try:
            found += _find(name)
        except ValueError as error:
            faults.append(str(error))
    found = list({id(claim): claim for claim in found}.values())
    ids = [claim.id for claim in found]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    faults += [f"two claims have the id {name}: give each its own" for name in twice]
    if faults:
        raise ValueError("\n".join(faults))
    return found


def _find(name: str | Path | Claim) -> list[Claim]:
    if isinstance(name, Claim):
        return [name]
    if isinstance(name, Path) or name.endswith(".py"):
        return load_claims(Path(name))
    claims = builtin()
    if name.upper() in claims:
        return [claims[name.upper()]]
    near = difflib.get_close_matches(name.upper(), claims, n=1, cutoff=0.0)
    raise ValueError(
        f"no claim is called {name!r}; nearest: {', '.join(near)} (or give a path ending in .py)"
    )
