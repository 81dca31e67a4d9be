"""Notes, formulas and checks belong together: the ties between derivations/ and numsim.theory, both ways."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numsim import theory
from numsim.claims import Claim, Trials
from numsim.claims.registry import builtin

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "derivations"
CLAIMS = builtin()
SECTIONS = ["Statement", "Derivation", "The paper's statement and ours", "Check", "Control"]
EQUATION = re.compile(r"\\tag\{(\d+)\}")
CITATION = re.compile(r"\b([CEPSKXLMAR]\d+) \((\d+)\)")

each = pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))


def note(claim: Claim) -> str:
    assert claim.note is not None
    return claim.note.read_text(encoding="utf-8")


def module(claim: Claim) -> Any:
    return sys.modules[claim.check.__module__]


def test_the_theory_is_complete() -> None:
    expected = [*["C1", "C2", "C3"], *["E1", "E2", "E3", "E4", "E5"], *["P1", "P2", "P3", "P4", "P5", "P6"]]
    expected += ["P9", "S1", "S2", "S3", "S4", "S5", "S6"]
    assert list(CLAIMS) == [*expected, "K1", "K2", "X1", "L1", "M1", "A1", "R1"]


@each
def test_a_pair_of_note_and_check(claim: Claim) -> None:
    assert claim.note is not None
    stems = {path.stem for path in FOLDER.rglob("*.*") if path.name.startswith(f"{claim.id.lower()}_")}
    assert stems == {claim.note.stem}
    assert Path(module(claim).__file__).stem == claim.note.stem
    assert claim.figure is not None
    assert claim.statement
    assert claim.source


@each
def test_a_note_is_whole(claim: Claim) -> None:
    text = note(claim)
    assert text.startswith(f"# {claim.id} · ")
    for word in ("**Source.**", "**Theory.**", "**Verdict.**"):
        assert word in text
    sections = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert [s for s in sections if s in SECTIONS] == SECTIONS
    numbers = sorted(int(n) for n in EQUATION.findall(text))
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers
    assert "@@" not in text
    assert re.search(r"\d", text[text.index("## Control") :])  # how small a perturbation is detected


def cited() -> list[Any]:
    files = [*(ROOT / "numsim").rglob("*.py"), *FOLDER.rglob("*.py"), *FOLDER.rglob("*.md")]
    return [pytest.param(path, id=path.name) for path in sorted(files) if CITATION.search(path.read_text())]


@pytest.mark.parametrize("path", cited())
def test_every_equation_cited_exists(path: Path) -> None:
    for claim, number in CITATION.findall(path.read_text(encoding="utf-8")):
        assert number in EQUATION.findall(note(CLAIMS[claim])), f"{claim} ({number})"


def cites(name: str) -> set[str]:
    """Ids of the claims whose equations the function or its module cites."""
    function = getattr(theory, name)
    text = (inspect.getdoc(function) or "") + (inspect.getdoc(inspect.getmodule(function)) or "")
    return {found for found, _ in CITATION.findall(text)}


@each
def test_formula_note_and_check_are_tied_by_id(claim: Claim) -> None:
    """A claim's functions exist, its note names them, and they cite equations, at least one its own."""
    for name in claim.theory:
        assert name in theory.__all__
        assert f"`{name}`" in note(claim)
        assert cites(name), name
    assert not claim.theory or any(claim.id in cites(name) for name in claim.theory)


def test_every_closed_form_belongs_to_a_claim() -> None:
    functions = {name for name in theory.__all__ if inspect.isfunction(getattr(theory, name))}
    assert functions == {name for claim in CLAIMS.values() for name in claim.theory}


class Few(Trials):
    """A handful of the draws: enough to call everything. Verdicts are asked for in test_verify."""

    def seeds(self, quick: int, full: int) -> Iterator[int]:
        """At most eight."""
        return super().seeds(min(quick, 8), full)


@pytest.mark.compiled
@each
def test_a_check_calls_its_theory(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    called = set()

    def recorder(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            called.add(name)
            return function(*arguments, **keywords)

        return call

    # A check may share modules with others, and what they have computed once.
    for name, loaded in list(sys.modules.items()):
        if not name.startswith("numsim.derivations."):
            continue
        for attribute, value in list(vars(loaded).items()):
            if attribute in claim.theory and value is getattr(theory, attribute):
                monkeypatch.setattr(loaded, attribute, recorder(attribute, value))
            elif hasattr(value, "cache_clear"):
                value.cache_clear()
    with np.errstate(all="ignore"):  # as examine does
        assert claim.check(Few(claim.id)).comparisons
    assert called == set(claim.theory)


@each
def test_controls_are_keywords_of_the_check(claim: Claim) -> None:
    parameters = dict(inspect.signature(claim.check).parameters)
    if "faults" in parameters:  # passed on, each with its default
        parameters |= inspect.signature(module(claim).Wrong).parameters
    for keywords in claim.controls.values():
        assert set(keywords) <= set(parameters)
        assert all(keywords[name] != parameters[name].default for name in keywords)


def test_the_index_lists_every_claim() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for claim in CLAIMS.values():
        assert claim.note is not None
        (row,) = [line for line in text.splitlines() if line.startswith(f"| [{claim.id}]")]
        assert f"({claim.note.relative_to(FOLDER).as_posix()})" in row


def test_links_between_notes_lead_somewhere() -> None:
    for path in FOLDER.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.stem)
def test_derivations_draw_figures_only_when_asked(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", "") or "", *(alias.name for alias in node.names)]
            assert not any(name.startswith("matplotlib") for name in names)
