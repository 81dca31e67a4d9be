"""Tables of a run for the terminal: both arms, measured beside predicted, the race, the conditions."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table

from ..descent.driver import NON_FINITE
from ..runs.result import ArmResult, Result
from ..theory import conditions

__all__ = ["show_run"]

_ARMS = {"simclr": "pre-trained + fine-tuned", "direct": "direct"}
_QUANTITIES = {
    "top_eigenvalue": "top eigenvalue of A (per step)",
    "alignment": "alignment cos²(v₁, μ)",
    "eigenvector_ratio": "|⟨v₁,μ⟩| / |mean yᵢ⟨v₁,ξᵢ⟩|",
    "growth_per_step": "growth per step of ⟨w,v₁⟩",
    "steps": "steps to the linear end",
    "ratio": "⟨w,μ⟩ / sd⟨w,ξ_new⟩ at hand-over",
    "initial_overlap": "initial overlap of filters with v₁",
}


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.4g}"


def show_run(result: Result, seconds: float, console: Console | None = None) -> None:
    """Print the tables of a run, ending with a sentence an arm that says what happened."""
    console = console or Console()
    e = result.experiment
    console.print(
        f"d = {e.data.dim:.3g}, SNR = {e.snr:.3g}, n₀ = {e.pretraining.samples}, n = {e.finetuning.samples}, "
        f"m = {e.network.filters}, q = {e.network.q:g}, κ = n₀·SNR² = {e.kappa:.3g}, seed = {e.seed}",
        highlight=False,
    )
    console.print(_arms(result))
    if result.theory["pretraining"] is not None:
        console.print(_pretraining(result.theory["pretraining"]))
    if result.theory["race"]:
        console.print(_race(result.theory["race"]))
    console.print(_conditions(result))
    for sentence in _sentences(result):
        console.print(sentence, highlight=False)
    console.print(f"done in {seconds:.2f} s", style="dim", highlight=False)


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _arms(result: Result) -> Table:
    table = _table("Both arms", "arm", "train loss", "test loss", "test error", "steps", "status")
    for name in _ARMS:
        arm: ArmResult | None = getattr(result, name)
        if arm is not None:
            error = (
                f"{_number(arm.test_error)} ± {arm.test_error_se:.1g}" if arm.status != NON_FINITE else "–"
            )
            table.add_row(
                name, _number(arm.train_loss), _number(arm.test_loss), error, str(arm.steps), arm.status
            )
    return table


def _pretraining(rows: dict[str, dict[str, float]]) -> Table:
    table = _table("Pre-training (given the filters' initial overlap)", "quantity", "predicted", "measured")
    for key, title in _QUANTITIES.items():
        table.add_row(title, _number(rows[key]["predicted"]), _number(rows[key]["measured"]))
    return table


def _race(arms: dict[str, dict[str, dict[str, Any]]]) -> Table:
    table = _table(
        "Who wins the race (blow-up times in steps, predicted)",
        "arm, class",
        "t signal",
        "t noise",
        "t noise / t signal",
        "predicted",
        "measured",
    )
    for name, classes in arms.items():
        for label, row in classes.items():
            times = (_number(row[key]) for key in ("signal_time", "noise_time", "ratio"))
            table.add_row(f"{name}, {label}", *times, row["predicted"], row["measured"])
    return table


def _conditions(result: Result) -> Table:
    table = _table(
        "Conditions (constants and logarithms taken as 1)", "condition", "required", "actual", "met"
    )
    for row in conditions(result.experiment):
        met = "yes" if row.met else f"no (×{row.ratio:.2g})"
        table.add_row(
            f"{row.name} [{row.source}]".replace("[", r"\["),
            f"{row.relation} {_number(row.required)}",
            _number(row.actual),
            met,
        )
    return table


def _sentences(result: Result) -> list[str]:
    """One sentence an arm: where training ended, and how the test error compares with what is possible."""
    e = result.experiment
    chance, p, target = 0.5, e.data.flip_probability, e.finetuning.target_loss
    sentences = []
    for name, title in _ARMS.items():
        arm: ArmResult | None = getattr(result, name)
        if arm is None:
            continue
        if arm.status == NON_FINITE:
            sentences.append(f"{title}: {arm.explanation}.")
            continue
        reached = f"training loss {arm.train_loss:.2g}"
        if arm.status == "max_steps" and target > 0:
            reached += f" after all {arm.steps} steps (target {target:g})"
        share = (arm.test_error - p) / (chance - p)  # 0: as good as the labels, 1: a coin
        remark = ""
        if share > 0.9:
            remark = ", no better than chance"
        elif share < 0.02:
            remark = ", as good as the flipped labels allow" if p > 0 else ""
            if p == 0 and arm.test_loss > 0.99 * math.log(2):
                remark += ", but test loss log 2: the outputs vanish on fresh data"
        sentences.append(
            f"{title} on {e.finetuning.samples} labels: {reached}, test error {arm.test_error:.3g}{remark}."
        )
    return sentences
