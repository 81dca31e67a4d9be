"""Draws, rules and the test law together: means over seeds against a simulation in R^d.

``python tests/test_in_law.py 80`` prints the table of so many seeds a cell.
"""

from __future__ import annotations

import copy
import sys
from typing import Any

import dense_law
import numpy as np
import pytest
from scipy import stats

import numsim

FALSE_ALARMS = 1e-4
"""Chance that any of all comparisons fails although the laws are the same."""
QUICK = 40
"""Seeds a cell in the suite."""
TESTS = 200


def xor(cosine: float, **training: Any) -> dict[str, Any]:
    return {
        "data": {
            "dim": 120,
            "signals": {"u": {"norm": 4.0}, "v": {"norm": 4.0}},
            "cosines": {"u v": cosine},
            "noise": {"xi": 1.0},
            "flip_probability": 0.1,
            "clusters": [
                {"label": y, "patches": [{s: j}, {"xi": 1}]}
                for s, y in (("u", 1), ("v", -1))
                for j in (1, -1)
            ],
        },
        "network": {"filters": 6, "q": 1.0, "relative_init_scale": 0.05},
        "finetuning": {"samples": 32, "max_steps": 120, **training},
    }


def patched(norm: float, **training: Any) -> dict[str, Any]:
    return {
        "data": {
            "dim": 150,
            "signals": {"mu": {"norm": norm}},
            "noise": {"xi": 1.0, "zeta": 1.0},
            "clusters": [{"label": j, "patches": [{"mu": j}, {"xi": 1}, {"zeta": 1}]} for j in (1, -1)],
        },
        "network": {"filters": 6, "q": 1.0, "relative_init_scale": 0.05},
        "finetuning": {"samples": 24, "max_steps": 90, **training},
    }


def margins(**training: Any) -> dict[str, Any]:
    clusters = [
        {"label": j, "weight": w, "patches": [{"mu": j * s}, {"xi": 1}]}
        for s, w in ((1, 4), (0.4, 1))
        for j in (1, -1)
    ]
    return {
        "data": {"dim": 150, "signals": {"mu": {"norm": 7.0}}, "noise": {"xi": 1.0}, "clusters": clusters},
        "network": {"filters": 6, "q": 3.0, "relative_init_scale": 0.5, "activation": "power"},
        "finetuning": {"samples": 30, "max_steps": 150, **training},
    }


SPURIOUS: dict[str, Any] = {
    "data": {
        "dim": 100,
        "signals": {"core": {"norm": 4.5}, "spurious": {"norm": 5.0}},
        "noise": {"xi": 0.5},
        "clusters": [
            {"label": j, "weight": w, "patches": [{"core": j}, {"spurious": a * j}, {"xi": 1}]}
            for a, w in ((1, 9), (-1, 1))
            for j in (1, -1)
        ],
    },
    "network": {"filters": 5, "q": 3.0, "relative_init_scale": 0.5, "activation": "power"},
    "finetuning": {"samples": 40, "max_steps": 120},
}
CELLS: dict[str, dict[str, Any]] = {
    "XOR, orthogonal": xor(0.0),
    "XOR, acute": xor(0.6),
    "XOR, label noise": xor(0.0, label_noise=0.2),
    "patches, SGD": patched(2.0, batch=6),
    "patches, SAM": patched(1.2, batch=6, sam_radius=0.3),
    "margins": margins(),
    "margins, momentum": margins(momentum=0.9),
    "spurious": SPURIOUS,
}
WRONG: dict[str, tuple[str, tuple[str, ...], Any]] = {
    "half the radius": ("patches, SAM", ("finetuning", "sam_radius"), 0.1),
    "no momentum": ("margins, momentum", ("finetuning", "momentum"), 0.0),
    "orthogonal signals": ("XOR, acute", ("data", "cosines", "u v"), 0.0),
    "no label noise": ("XOR, label noise", ("finetuning", "label_noise"), 0.0),
}
"""A cell, and what the simulation in R^d has otherwise."""


def measured(given: dict[str, Any], seeds: int) -> tuple[dict[str, Any], float, float]:
    """numsim's numbers by name, and the step size and initial scale that both sides take."""
    settings = copy.deepcopy(given) | {"pretraining": {"samples": 0}, "evaluation": {"samples": TESTS}}
    settings["finetuning"]["target_loss"] = 0
    e = numsim.Experiment(**settings).resolved()
    many = numsim.run_many(e, seeds).sel(arm="direct")
    found = {f"error {k}": many["test_error_by_cluster"].values[:, k] for k in range(many.sizes["cluster"])}
    found |= {"test error": many["test_error"].values, "training loss": many["train_loss"].values}
    return found, e.finetuning.learning_rate, e.network.init_scale


def compared(given: dict[str, Any], seeds: int, other: dict[str, Any] | None = None) -> dict[str, Any]:
    """Means, standard errors and p-value (Welch) by quantity; other : what the simulation has instead."""
    own, rate, scale = measured(given, seeds)
    rows = [dense_law.simulate(other or given, rate, scale, seed, TESTS) for seed in range(seeds)]
    found = {}
    for name, values in own.items():
        theirs = np.array([row[name] for row in rows])
        constant = np.ptp(values) == np.ptp(theirs) == 0 and values[0] == theirs[0]
        p = 1.0 if constant else stats.ttest_ind(values, theirs, equal_var=False).pvalue
        found[name] = (values.mean(), stats.sem(values), theirs.mean(), stats.sem(theirs), p)
    return found


def worst(found: dict[str, Any]) -> float:
    """The smallest p-value, times all comparisons that there are."""
    comparisons = sum(len(given["data"]["clusters"]) + 2 for given in CELLS.values())
    return float(min(row[4] for row in found.values())) * comparisons


@pytest.mark.compiled
@pytest.mark.parametrize("cell", CELLS)
def test_means_agree_with_a_simulation_in_all_dimensions(cell: str) -> None:
    found = compared(CELLS[cell], QUICK)
    assert worst(found) > FALSE_ALARMS, found
    error, spread = found["test error"][2:4]
    assert 0.002 < error < 0.49  # it says something
    assert spread < 0.05


@pytest.mark.compiled
@pytest.mark.parametrize("wrong", WRONG)
def test_another_law_is_told_apart(wrong: str) -> None:
    cell, place, value = WRONG[wrong]
    other = copy.deepcopy(CELLS[cell])
    part = other
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    assert worst(compared(CELLS[cell], QUICK, other)) < FALSE_ALARMS


if __name__ == "__main__":
    for cell, given in CELLS.items():
        for quantity, (mean, se, theirs, their_se, p) in compared(given, int(sys.argv[1])).items():
            print(
                f"{cell:20s} {quantity:14s} {mean:.4f} ± {se:.4f}  {theirs:.4f} ± {their_se:.4f}  p = {p:.2g}"
            )
