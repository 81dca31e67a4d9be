"""Two signals: the scalar race against training, and its times against the race."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import numsim
from numsim.theory import critical_core, signal_race, spurious_plateau, spurious_times

LAW: dict[str, Any] = {"q": 3.0, "learning_rate": 0.1, "scale": 1.0}


def test_the_race_is_training_without_noise() -> None:
    rng = np.random.default_rng(4)
    W = 0.1 * rng.standard_normal((2, 5, 2))
    p, c = 0.25, 0.6
    x = np.array([[[c * y, 0.0], [0.0, a * y]] for y in (1, -1) for a in (1, 1, 1, -1)])
    y = np.repeat([1.0, -1.0], 4)
    rule: dict[str, Any] = {"learning_rate": 0.1, "momentum": 0.5}
    trained, _ = numsim.train(
        W, x, y, q=3.0, activation="power", output_scale=5.0, max_steps=400, target_loss=0.0, **rule
    )
    sign = np.array([1.0, -1.0])[:, None, None]
    first, last = ((sign * w).reshape(-1, 2).T for w in (W, trained))
    law: dict[str, Any] = {
        "coefficients": [[c, 1.0], [c, -1.0]],
        "weights": [1 - p, p],
        "q": 3.0,
        "scale": 1.0,
    }
    np.testing.assert_allclose(signal_race(first, steps=400, **law, **rule), last, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("p", "core"), [(0.1, 0.5), (0.3, 0.4), (0.02, 1.2)])
def test_times_are_those_of_the_race(p: float, core: float) -> None:
    start = 1e-3
    times = spurious_times(
        core_start=start, spurious_start=start, core=core, spurious=1.0, disagreement=p, **LAW
    )
    law: dict[str, Any] = {"coefficients": [[core, 1.0], [core, -1.0]], "weights": [1 - p, p], **LAW}
    early, late = (
        signal_race([[start], [start]], steps=round(share * times.core), **law) for share in (0.95, 1.05)
    )
    assert core**3 * early[0, 0] ** 3 < 0.05
    assert core**3 * late[0, 0] ** 3 > 0.5
    assert (times.spurious < times.core) == (late[1, 0] > 100 * start)


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_the_spurious_signal_blows_up_at_its_time(p: float) -> None:
    start = 1e-3
    times = spurious_times(
        core_start=start, spurious_start=start, core=0.3, spurious=1.0, disagreement=p, **LAW
    )
    law: dict[str, Any] = {"coefficients": [[0.3, 1.0], [0.3, -1.0]], "weights": [1 - p, p], **LAW}
    early, late = (
        signal_race([[start], [start]], steps=round(share * times.spurious), **law)[1, 0]
        for share in (0.98, 1.02)
    )
    assert early == pytest.approx(start / 0.02, rel=0.05)  # x_0/(1 - t/T) at q = 3
    assert late**3 == pytest.approx(math.log((1 - p) / p), rel=0.01)  # the plateau, R1 (4)


def test_the_critical_strength_is_where_the_time_is_up() -> None:
    starts: dict[str, Any] = {
        "core_start": 0.01,
        "spurious_start": 0.02,
        "spurious": 1.0,
        "disagreement": 0.1,
        **LAW,
    }
    strength = critical_core(5000, **starts)
    assert spurious_times(core=strength, **starts).core == pytest.approx(5000)
    assert critical_core(10_000, **starts) < strength


def test_the_plateau_is_the_entropy() -> None:
    assert spurious_plateau(0.02) == pytest.approx(0.0980392, abs=1e-7)
    assert spurious_plateau(0.0) == 0.0
    assert spurious_plateau(0.4999999) == pytest.approx(math.log(2))
