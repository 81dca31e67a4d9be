"""The terminal's tables: every number stands in its own column."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from test_result import VARIANTS, result_of

from numsim.runs.result import Result
from numsim.shown.run_tables import show_run
from numsim.theory import conditions

Row = dict[str, str]


def _shown(result: Result) -> tuple[list[list[Row]], list[str]]:
    """The printed tables, each a list of rows by column title, and the lines outside them."""
    file = io.StringIO()
    show_run(result, 1.5, Console(file=file, width=300))
    tables: list[list[Row]] = []
    others, titles = [], list[str]()
    for line in file.getvalue().splitlines():
        cells = [cell.strip() for cell in line.strip("┃│").replace("┃", "│").split("│")]
        if line.startswith("┃"):
            titles = cells
            tables.append([])
        elif line.startswith("│"):
            tables[-1].append(dict(zip(titles, cells, strict=True)))
        elif line[:1] not in "┏┡└":
            others.append(line)
    return tables, others


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.4g}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_numbers_stand_in_their_columns(variant: str) -> None:
    result = result_of(variant)
    tables, others = _shown(result)
    arms = {name: arm for name in ("simclr", "direct") if (arm := getattr(result, name)) is not None}
    assert [row["arm"] for row in tables[0]] == list(arms)
    for row, arm in zip(tables[0], arms.values(), strict=True):
        assert row["train loss"] == _number(arm.train_loss)
        assert row["test loss"] == _number(arm.test_loss)
        error = f"{_number(arm.test_error)} ± {arm.test_error_se:.1g}"
        if arm.test_error_se == 0:
            bound = -math.log(0.05) / result.experiment.evaluation.samples
            error = _number(arm.test_error) if arm.test_error else f"0 (below {bound:.1g} at 95 %)"
        assert row["test error"] == ("–" if arm.status == "non_finite" else error)
        assert (row["steps"], row["status"]) == (str(arm.steps), arm.status)
    stage: dict[str, Any] | None = result.theory["pretraining"]
    if stage is not None:
        keys = ["top_eigenvalue", "alignment", "eigenvector_ratio", "growth_per_step", "steps", "ratio"]
        keys.append("initial_overlap")
        assert len(tables[1]) == len(keys)
        for row, key in zip(tables[1], keys, strict=True):
            for column in ("predicted", "measured"):
                assert row[column] == _number(stage[key][column])
    races = result.theory["race"] or {}
    expected = {f"{name}, {label}": race for name, arm in races.items() for label, race in arm.items()}
    if expected:
        titles = {"t signal": "signal_time", "t noise": "noise_time", "t noise / t signal": "ratio"}
        for row, (name, race) in zip(tables[-2], expected.items(), strict=True):
            assert row["arm, class"] == name
            assert [row[title] for title in titles] == [_number(race[key]) for key in titles.values()]
            assert (row["predicted"], row["measured"]) == (race["predicted"], race["measured"])
    for row, condition in zip(tables[-1], conditions(result.experiment), strict=True):
        assert row["condition"] == f"{condition.name} [{condition.source}]"
        assert row["required"] == f"{condition.relation} {_number(condition.required)}"
        assert row["actual"] == _number(condition.actual)
        assert row["met"] == ("yes" if condition.met else f"no (×{condition.ratio:.2g})")
    assert others[-1] == "done in 1.50 s"


@pytest.mark.parametrize(
    ("error", "loss", "flips", "remark"),
    [
        (0.0, 0.01, 0.0, ""),
        (0.2, 0.5, 0.0, ""),
        (0.5, 0.69315, 0.0, ", not to be told from chance"),
        (0.0, 0.69315, 0.0, ", but test loss log 2: the outputs vanish on fresh data"),
        (0.3, 0.8, 0.3, ", as good as the flipped labels allow"),
        (0.499, 0.8, 0.3, ", not to be told from chance"),
        (0.496, 0.8, 0.3, ", 0.004 below chance (8 standard errors)"),
        (0.52, 0.8, 0.0, ", 0.02 above chance (40 standard errors)"),
    ],
)
def test_the_last_sentence_compares_with_what_is_possible(
    error: float, loss: float, flips: float, remark: str
) -> None:
    result = result_of("plain")
    experiment = result.experiment.replace({"data.flip_probability": flips}).resolved()
    numbers: dict[str, Any] = {
        "train_loss": 0.0123,
        "test_error": error,
        "test_error_se": 5e-4,
        "test_loss": loss,
    }
    direct = replace(result.direct, status="target_loss", **numbers)
    _, others = _shown(replace(result, arms={**result.arms, "direct": direct}, experiment=experiment))
    assert f"direct on 4 labels: training loss 0.012, test error {error:.3g}{remark}." in others


def test_the_last_sentence_says_that_the_target_was_missed() -> None:
    result = result_of("plain")
    arm = replace(result.direct, status="max_steps", train_loss=0.5, steps=40, test_error=0.2)
    for target, reached in ((0.01, " after all 40 steps (target 0.01)"), (0.0, "")):
        experiment = result.experiment.replace({"finetuning.target_loss": target}).resolved()
        _, others = _shown(replace(result, arms={**result.arms, "direct": arm}, experiment=experiment))
        assert f"direct on 4 labels: training loss 0.5{reached}, test error 0.2." in others
