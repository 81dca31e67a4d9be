"""A descent in R^d by somebody else's code, from an export, ends in the same filters."""

from __future__ import annotations

from typing import Any

import dense_descent
import numpy as np
import pytest
import tolerances

from numsim.config import Experiment
from numsim.runs.export import dense_arrays

TWO_SIGNALS: dict[str, Any] = {
    "dim": 60,
    "signals": {"u": {"norm": 6.0}, "v": {"norm": 4.0}},
    "cosines": {"u v": 0.5},
    "noise": {"xi": 1.0, "zeta": 0.5},
    "clusters": [
        {"label": 1, "weight": 2, "patches": [{"u": 1}, {"xi": 1, "v": 0.3}, {"zeta": 1}]},
        {"label": -1, "flip_probability": 0.2, "patches": [{"u": -1, "zeta": 1}, {"xi": -1}, {"v": 1}]},
        {"label": -1, "patches": [{"v": -1}, {"xi": 1}, {"xi": 1}]},
    ],
}
ARMS: dict[str, Any] = {
    "gd": {},
    "momentum": {"finetuning": {"momentum": 0.8, "weight_decay": 0.05}},
    "sam": {"finetuning": {"sam_radius": 0.05, "clip_norm": 0.02, "batch": 4}},
    "noise": {"finetuning.label_noise": 0.2, "finetuning.schedule": "cosine"},
    "squared": {"finetuning.loss": "squared", "finetuning.batch": 4},
}
NETWORK: dict[str, Any] = {"filters": 3, "q": 2.0, "relative_init_scale": 0.3}
TRAINING: dict[str, Any] = {"samples": 12, "max_steps": 40, "target_loss": 0}
CASES: dict[str, dict[str, Any]] = {
    "two signals, five arms": {
        "data": TWO_SIGNALS,
        "network": {**NETWORK, "bias": True},
        "pretraining": {"samples": 0},
        "finetuning": TRAINING,
        "arms": ARMS,
    },
    "NT-Xent, leaky": {
        "data": TWO_SIGNALS,
        "network": {**NETWORK, "activation": "leaky", "width": 0.5},
        "pretraining": {
            "samples": 12,
            "loss": "nt_xent",
            "steps": 25,
            "batch": 4,
            "momentum": 0.5,
            "weight_decay": 0.01,
            "learning_rate": 0.05,
            "overlap": 0.3,
        },
        "finetuning": TRAINING,
    },
    "encoder network": {
        "data": {"dim": 50, "snr": 0.8},
        "network": {**NETWORK, "activation": "power"},
        "pretraining": {
            "samples": 10,
            "encoder": "network",
            "q": 1.5,
            "steps": 25,
            "learning_rate": 0.02,
            "sam_radius": 0.02,
        },
        "finetuning": {**TRAINING, "labelled": "fresh"},
    },
    "normalised InfoNCE, arms of their own": {
        "data": {"dim": 50, "snr": 0.8},
        "network": NETWORK,
        "pretraining": {"samples": 10, "normalised": True, "steps": 25, "learning_rate": 0.05},
        "finetuning": {**TRAINING, "momentum": 0.5},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_exports_end_in_the_same_filters(case: str) -> None:
    arrays = dense_arrays(Experiment(**CASES[case]))
    found = dense_descent.arms(arrays)
    assert len(found) == len(CASES[case].get("arms", "ab"))
    for name, W in found.items():
        expected = arrays[f"W_{name}"]
        if "bias0" in arrays:
            expected = np.concatenate([expected, arrays[f"bias_{name}"][..., None]], axis=2)
        atol = tolerances.TRAJECTORY_FLOOR * float(np.max(np.abs(expected)))
        np.testing.assert_allclose(W, expected, rtol=0, atol=atol, err_msg=name)
        start = arrays["W0"][arrays["split"]]
        assert not np.allclose(W[..., :20].reshape(len(start), -1), start[:, :20])
