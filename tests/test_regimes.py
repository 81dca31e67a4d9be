"""Assumptions of theorems beyond the first paper: what they ask of published experiments, and from where."""

from __future__ import annotations

import math
from typing import Any

import pytest

import numsim
from numsim.config.errors import ConfigError
from numsim.theory import conditions
from numsim.theory.regimes import THEOREMS

PUBLISHED: dict[str, Any] = {
    "data": {"dim": 2000, "signal_norm": 2.0, "sigma_p": 0.5},
    "network": {"filters": 20, "q": 2.0, "relative_init_scale": 1e-3},
    "pretraining": {"samples": 0},
    "finetuning": {"samples": 200, "learning_rate": 0.5, "label_noise": 0.1, "max_steps": 2000},
    "theorem": "L1",
}
"""The setting of label-noise gradient descent as published; its initial scale is not stated."""


def test_the_published_label_noise_lies_outside_its_theorem() -> None:
    rows = {row.name: row for row in conditions(PUBLISHED)}
    assert rows["dimension d >= n^2"].ratio == pytest.approx(2000 / 40_000)
    assert rows["dimension d >= n |mu|^2 / sigma_p^2"].ratio == pytest.approx(2000 / 3200)
    snr = rows["signal SNR <= n^-1/2"]
    assert snr.actual == pytest.approx(2 / (0.5 * math.sqrt(2000)))
    assert 200 * snr.actual**2 == pytest.approx(1.6)
    assert not snr.met
    assert rows["step eta <= 1 / (sigma_p^2 d)"].ratio == pytest.approx(1 / (0.25 * 2000 * 0.5))
    noise = rows["label noise p >= log(d) / sqrt(m n)"]
    assert noise.required == pytest.approx(math.log(2000) / math.sqrt(4000))
    assert noise.actual == 0.1


def test_bounds_of_the_initial_scale_cross_where_the_dimension_is_small() -> None:
    """n sigma_p^-1 d^-3/4 <= sigma_p^-1 d^-1/2 asks d >= n^4, and against |mu|: d >= (n |mu|/sigma_p)^8."""
    for dim, inside in ((200**4 / 4, False), (200**4 * 4, True)):
        rows = [r for r in conditions(PUBLISHED | {"data": {**PUBLISHED["data"], "dim": dim}})]
        low, _, high = (row.required for row in rows if row.name.startswith("initial scale"))
        assert (low <= high) == inside


@pytest.mark.parametrize("theorem", THEOREMS)
def test_every_row_says_from_where_it_is(theorem: str) -> None:
    rows = conditions("xor", theorem=theorem)
    assert rows
    for row in rows:
        assert row.source.endswith(("read", "restated by others", "not checked against the paper"))
        assert row.met == (row.ratio >= 1)


def test_which_theorem() -> None:
    assert conditions("xor") == conditions("xor", theorem="X1") != []
    assert conditions("headline", theorem="S6") == conditions("headline")
    assert conditions("xor", theorem="S6") == []
    with pytest.raises(ValueError, match="expected one of S6, L1"):
        conditions("xor", theorem="Z9")
    with pytest.raises(ConfigError, match="theorem: got 'Z9'"):
        numsim.load("xor", {"theorem": "Z9"})


def test_the_largest_of_several_arms_counts() -> None:
    arms = {"gd": {}, "sam": {"finetuning.sam_radius": 2.0}, "noise": {"finetuning.label_noise": 0.2}}
    rows = {row.name: row for row in conditions({"preset": "xor", "arms": arms}, theorem="A1")}
    assert rows["SAM's radius r >= m sqrt(B) / (P sigma_p sqrt(d)) (of this order)"].actual == 2.0
