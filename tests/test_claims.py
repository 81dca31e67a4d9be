"""Claims, controls and evidence: verdicts from comparisons, errors, order, parallel runs, users' files."""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import numsim
from numsim.claims import (
    Claim,
    Outcome,
    Trials,
    at_least,
    equals,
    examine,
    smallest_detected,
    verify_each,
)
from numsim.claims.registry import builtin, find, load_claims


def check(trials: Trials, *, factor: float = 1.0) -> Outcome:
    """The mean of Gaussian draws is 3."""
    draws = trials.rng.normal(3.0, 0.1, 40)
    return Outcome([equals("mean", 3.0 * factor, draws)], 40)


def claim(name: str = "X1", **changes: object) -> Claim:
    values = {"title": "A mean", "source": "a test", "check": check, "controls": {"off": {"factor": 1.1}}}
    return Claim(id=name, **{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("controls", [{}, {"nothing changed": {}}])
def test_a_claim_needs_a_control(controls: dict[str, dict[str, object]]) -> None:
    with pytest.raises(ValueError, match="claim X1 has no control: give controls="):
        claim(controls=controls)


def test_evidence() -> None:
    found = examine(claim(), seed=5)
    assert (found.id, found.title, found.source) == ("X1", "A mean", "a test")
    assert (found.verdict, found.control, found.good) == ("holds", "fails", True)
    assert (found.predicted, found.trials) == (3.0, 40)
    assert found.measured != 3.0
    assert 0 < found.margin < 1
    assert found.seconds > 0


def test_a_control_that_passes_is_reported() -> None:
    found = examine(claim(controls={"off": {"factor": 1.1}, "hardly": {"factor": 1.0001}}))
    assert (found.verdict, found.control, found.good) == ("holds", "holds", False)


def test_a_check_that_raises_fails_and_a_control_that_raises_does_not() -> None:
    def broken(trials: Trials, *, where: str = "claim") -> Outcome:
        raise ZeroDivisionError(f"in the {where}\nof all places")

    found = examine(claim(check=broken, controls={"off": {"where": "control"}}))
    assert found.verdict == "fails"
    line = f"({os.path.relpath(__file__)}, line {broken.__code__.co_firstlineno + 1})"
    assert found.outcome.error == f"the check raised ZeroDivisionError: in the claim of all places {line}"
    assert found.control == "inconclusive"
    assert (
        found.controls[0].outcome.reason
        == f"the check raised ZeroDivisionError: in the control of all places {line}"
    )
    assert math.isnan(found.predicted)
    assert math.isnan(found.margin)


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        ([equals("", 1.0, 1.0)], "a check must return an Outcome, got list"),
        (None, "a check must return an Outcome, got NoneType"),
        (Outcome(equals("", 1.0, 1.0)), "an Outcome takes a list of comparisons"),  # type: ignore[arg-type]
        (Outcome([1.0]), "an Outcome takes a list of comparisons"),  # type: ignore[list-item]
    ],
)
def test_a_check_that_returns_no_comparisons_fails_in_a_sentence(returned: Any, sentence: str) -> None:
    found = examine(claim(check=lambda trials, **_: returned))
    assert (found.verdict, found.control) == ("fails", "inconclusive")
    assert sentence in found.outcome.error


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([], "inconclusive"),
        ([1.0, 1.0], "holds"),
        ([1.0, 0.5], "fails"),
    ],
)
def test_an_outcome_is_its_worst_comparison(values: list[float], verdict: str) -> None:
    outcome = Outcome([at_least(str(v), 0.9, v) for v in values])
    assert outcome.verdict == verdict
    if verdict == "fails":
        assert outcome.shown is not None
        assert outcome.shown.name == "0.5"
        assert outcome.margin < 0


def test_inconclusive_beats_holds_and_fails_beats_both() -> None:
    good, bad = equals("", 1.0, 1.0), equals("", 1.0, 2.0)
    vague = equals("", 1.0, [-9.0, 10.0])
    assert Outcome([good, vague]).verdict == "inconclusive"
    assert Outcome([good, vague, bad]).verdict == "fails"
    assert Outcome([good], reason="too little time").verdict == "inconclusive"


def test_random_comparisons_share_the_level() -> None:
    exact, noisy = equals("", 1.0, 1.0), equals("", 1.0, [1.0, 1.1, 0.9])
    assert Outcome([exact]).level == Outcome([exact, exact, noisy]).level == 2 * Outcome([noisy, noisy]).level


def test_draws_depend_on_claim_and_seed_only() -> None:
    def seeds(name: str, seed: int) -> list[int]:
        return list(Trials(name, seed).seeds(quick=3, full=9))

    assert seeds("X1", 0) == seeds("X1", 0)
    assert len({tuple(seeds(name, seed)) for name in ("X1", "X2") for seed in (0, 1)}) == 4
    assert len(list(Trials("X1", 0, "full").seeds(quick=3, full=9))) == 9
    trials = Trials("X1", 0)
    assert list(trials.seeds(2, 2)) != list(trials.seeds(2, 2))
    assert all(0 <= seed < 2**63 for seed in seeds("X1", 0))


@pytest.mark.parametrize(
    ("seed", "effort", "words"), [(-1, "quick", "seed is -1"), (0, "some", "effort is 'some'")]
)
def test_settings_out_of_range(seed: int, effort: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        numsim.verify([claim()], seed, effort)
    with pytest.raises(ValueError, match=words):
        Trials("X1", seed, effort)
    with pytest.raises(ValueError, match=words):
        next(verify_each([claim()], seed, effort))


def test_verify_keeps_the_order_and_changes_no_bit_in_company() -> None:
    claims = [claim(f"X{k}") for k in range(6)]
    together = numsim.verify(claims, seed=2)
    assert [e.id for e in together] == [c.id for c in claims]
    assert [e.measured for e in together] == [examine(c, seed=2).measured for c in claims]
    assert len({e.measured for e in together}) == len(claims)


def _waits(trials: Trials, *, factor: float = 1.0) -> Outcome:
    time.sleep(3600)
    raise AssertionError


def test_leaving_the_loop_ends_what_runs() -> None:
    running = verify_each([claim("X1"), claim("X2", check=_waits)])
    assert next(running).id == "X1"
    assert isinstance(running, Generator)
    running.close()
    assert not multiprocessing.active_children()


def _dies(trials: Trials, *, factor: float = 1.0) -> Outcome:
    os._exit(1)


def test_a_process_that_dies_is_inconclusive() -> None:
    (found,) = [e for e in numsim.verify([claim("X1", check=_dies), claim("X2")]) if e.id == "X1"]
    assert (found.verdict, found.good) == ("inconclusive", False)
    assert found.outcome.reason.startswith("its process was lost: ")


def test_what_cannot_be_sent_is_inconclusive() -> None:
    lock = threading.Lock()
    found = numsim.verify([claim("X1", controls={"off": {"factor": lock}}), claim("X2")])
    assert [e.verdict for e in found] == ["inconclusive", "holds"]


def test_smallest_detected() -> None:
    values = [1.0001, 1.1, 2.0]
    assert smallest_detected(claim(), "factor", values) == 1.1
    assert smallest_detected(claim(), "factor", values[:1]) is None


# ---------------------------------------------------------------- where claims are found

_OWN = """
import numpy as np
from numsim import Claim
from numsim.claims import Outcome, equals


def check(trials, *, factor=1.0):
    return Outcome([equals("three", 3 * factor, 3.0, order=0.01)])


CLAIM = Claim(id="M1", title="Three", source="here", check=check, controls={"four": {"factor": 4 / 3}})
"""


def test_a_claim_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "my_claim.py"
    path.write_text(_OWN)
    (own,) = load_claims(path)
    assert (own.id, own.note) == ("M1", None)
    path.with_suffix(".md").write_text("# M1\n")
    (own,) = load_claims(path)
    assert own.note == path.with_suffix(".md")
    (found,) = numsim.verify([str(path)])
    assert found.good


_RAISING = """
import functools
import json
from numsim import Claim

def helper(text):
    return json.loads(text)  # line 7

def check(trials, *, factor=1.0):  # line 9
    if factor == 2:
        return None
    if factor == 3:
        assert trials is None  # line 13
    return helper("x")

class Called:
    def __call__(self, trials, *, factor=1.0):
        return check(trials, factor=factor)

CLAIM = Claim(id="M1", title="Three", source="here", check=CHECK, controls={
    "nothing": {"factor": 2}, "asserts": {"factor": 3}, "misspelt": {"facto": 3}})
"""


@pytest.mark.parametrize(
    "wrapped", ["check", "functools.partial(check)", "functools.cache(check)", "Called()"]
)
def test_a_check_that_raises_names_the_line(wrapped: str, tmp_path: Path) -> None:
    """The innermost line of the user's own file, not of the library that raised, nor of ours."""
    path = tmp_path / "my_claim.py"
    path.write_text(_RAISING.replace("CHECK", wrapped))
    (found,) = numsim.verify([path])
    assert found.verdict == "fails"
    start = 17 if wrapped == "Called()" else 9
    reasons = [found.outcome.error, *(c.outcome.reason for c in found.controls)]
    lines = (7, start, 13, start)
    kinds = ("JSONDecodeError: Expecting value", "TypeError: a check must", "AssertionError", "TypeError: ")
    for reason, line, kind in zip(reasons, lines, kinds, strict=True):
        assert reason.startswith(f"the check raised {kind}")
        assert reason.endswith(f"({path}, line {line})")
        assert "\n" not in reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file"),
        ("x = 1\n", "holds no Claim"),
        ("import nowhere_at_all\n", "cannot be imported: ModuleNotFoundError"),
        (
            "def f():\n    return 1 / 0\nf()\n",
            r"ZeroDivisionError: division by zero \(.*my_claim.py, line 2\)",
        ),
        ("x = (\n", "cannot be imported: SyntaxError"),
        (_OWN.replace('{"four": {"factor": 4 / 3}}', "{}"), "claim M1 has no control"),
        ("raise SystemExit(3)\n", "cannot be imported: SystemExit"),
    ],
)
def test_a_file_without_a_claim(text: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "my_claim.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        find([path])
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_ids_in_any_case_and_the_nearest_name() -> None:
    name = next(iter(builtin()))
    assert [c.id for c in find([name.lower(), name])] == [name]
    assert [c.id for c in find(None)] == list(builtin())
    with pytest.raises(ValueError, match="no claim is called 'c11'; nearest: C1 "):
        find(["c11"])


def test_all_faults_at_once() -> None:
    with pytest.raises(ValueError, match=r"nothing.*\n.*nowhere\.py") as error:
        find(["nothing", "nowhere.py", claim("X1"), claim("X1", title="Another")])
    assert str(error.value).splitlines()[-1] == "two claims have the id X1: give each its own"
