"""Tables of a run for the terminal: both arms, measured beside predicted, the race, the conditions."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table

from ..config.experiment import Resolved
from ..descent.driver import NON_FINITE
from ..runs.result import ArmResult, Result

__all__ = ["ARMS", "headline", "run_tables", "show_run"]

ARMS = {"simclr": "pre-trained + fine-tuned", "direct": "direct"}
_TOLD_APART = 3.0
"""Standard errors from which on a test error is said to differ from chance."""
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
    console.print(headline(result.experiment), highlight=False)
    for table in run_tables(result):
        console.print(table)
    if not result.conditions:
        console.print(_NOT_COVERED, highlight=False)
    for sentence in _sentences(result):
        console.print(sentence, highlight=False)
    console.print(f"done in {seconds:.2f} s", style="dim", highlight=False)


def run_tables(result: Result) -> list[Table]:
    """The arms, what theory predicts of pre-training and of the race, clusters, conditions."""
    theory = result.theory
    return [
        _arms(result),
        *([] if theory["pretraining"] is None else [_pretraining(theory["pretraining"])]),
        *([_race(theory["race"])] if theory["race"] else []),
        *_by_cluster(result),
        *([_conditions(result)] if result.conditions else []),
    ]


def headline(e: Resolved) -> str:
    """The experiment in a line."""
    sizes = f"n₀ = {e.pretraining.samples}, n = {e.finetuning.samples}, m = {e.network.filters}"
    if e.data.own:
        from_where = "digits" if e.data.source else "own arrays"
        return f"{from_where}, d = {e.data.dim}, {sizes}, q = {e.network.q:g}, seed = {e.seed}"
    if not e.table:
        kappa = f"κ = n₀·SNR² = {e.kappa:.3g}"
        return (
            f"d = {e.data.dim:.3g}, SNR = {e.snr:.3g}, {sizes}, q = {e.network.q:g}, {kappa}, seed = {e.seed}"
        )
    data = e.mixtures.data
    signals = zip(data.signals, data.norms, strict=True)
    lengths = ", ".join(f"|{name}| = {norm:.3g}" for name, norm in signals)
    clusters = f"{len(data.clusters)} clusters"
    return f"d = {e.data.dim:.3g}, {lengths}, {clusters}, {sizes}, seed = {e.seed}"


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    return table


_NOT_COVERED = "Conditions: none; those that are tabulated are of gradient descent on signal-noise data."


def _by_cluster(result: Result) -> list[Table]:
    """Test error of every cluster, an arm a column."""
    first = next(iter(result.arms.values()))
    if first.error_by_cluster is None:
        return []
    table = _table("Test error by cluster (label flips included)", "cluster", *map(_title, result.arms))
    for cluster in first.error_by_cluster:
        errors = [(arm.error_by_cluster or {}).get(cluster) for arm in result.arms.values()]
        table.add_row(cluster, *map(_number, errors))
    return [table]


def _title(name: str) -> str:
    return ARMS.get(name, name)


def _arms(result: Result) -> Table:
    title = "Both arms" if tuple(result.arms) == tuple(ARMS) else "Arms"
    table = _table(
        f"{title} (± standard error)", "arm", "train loss", "test loss", "test error", "steps", "status"
    )
    samples = result.experiment.evaluation.samples
    for name, arm in result.arms.items():
        error = test_error(arm, samples) if arm.status != NON_FINITE else "–"
        table.add_row(
            name, _number(arm.train_loss), _number(arm.test_loss), error, str(arm.steps), arm.status
        )
    return table


def test_error(arm: ArmResult, samples: int) -> str:
    """The test error with its standard error; where no sample was misread, a bound at 95 %."""
    error, spread = arm.test_error, arm.test_error_se
    if spread > 0:
        return f"{_number(error)} ± {spread:.1g}"
    if error == 0:
        return f"0 (below {-math.log(0.05) / samples:.1g} at 95 %)"
    return _number(error)


test_error.__test__ = False  # type: ignore[attr-defined]


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
    theorem = result.experiment.theorem
    title = f"Conditions{f' of {theorem}' if theorem else ''} (constants and logarithms taken as 1)"
    table = _table(title, "condition", "required", "actual", "met")
    for row in result.conditions:
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
    p = e.data.flip_probability
    sentences = []
    for name, arm in result.arms.items():
        target = result.plan(name).finetuning.target_loss
        title = _title(name)
        if arm.status == NON_FINITE:
            sentences.append(f"{title}: {arm.explanation}.")
            continue
        reached = f"training loss {arm.train_loss:.2g}"
        if arm.status == "max_steps" and target > 0:
            reached += f" after all {arm.steps} steps (target {target:g})"
        sentences.append(
            f"{title} on {e.finetuning.samples} labels: {reached}, test error {arm.test_error:.3g}"
            f"{_remark(arm, p)}."
        )
    return sentences


def _remark(arm: ArmResult, p: float) -> str:
    """What a test error near what a coin or the labels give is worth."""
    chance = 0.5
    share = (arm.test_error - p) / (chance - p)  # 0: as good as the labels, 1: a coin
    if share > 0.9:
        away = (arm.test_error - chance) / arm.test_error_se if arm.test_error_se > 0 else 0.0
        if abs(away) < _TOLD_APART:
            return ", not to be told from chance"
        side = "below" if away < 0 else "above"
        return f", {abs(arm.test_error - chance):.1g} {side} chance ({abs(away):.0f} standard errors)"
    if share >= 0.02:
        return ""
    remark = ""
    if p > 0:
        excess = arm.test_error - p
        same = excess <= _TOLD_APART * arm.test_error_se or arm.test_error_se == 0
        allowed = "what the flipped labels allow"
        remark = ", as good as the flipped labels allow" if same else f", {excess:.1g} above {allowed}"
    if p == 0 and arm.test_loss > 0.99 * math.log(2):
        remark += ", but test loss log 2: the outputs vanish on fresh data"
    return remark
