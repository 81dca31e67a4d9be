"""What is not given: the value of every argument that closed forms, losses and descents may do without."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest

import numsim
from numsim import theory
from numsim.descent.evaluation import evaluate
from numsim.descent.network import forward
from numsim.descent.power_matrix import top_eigenpairs

# The plain case: noise off mu, no overlap, no feedback, no flips, one filter's mean energy, unit scales.
FORMS: dict[str, dict[str, Any]] = {
    "after_clock": {"pull": 0.0},
    "augmentation_worth": {"projected": True},
    "balance_probability": {"share": 0.25, "positive": 0.5},
    "balance_rate": {"share": 0.25},
    "balance_samples": {"share": 0.25},
    "coefficient_growth": {"initial_overlap": 1.0},
    "collective_descent": {"overlap": 0.0, "fresh": False, "untouched": 0.0, "pairs": 0.0},
    "collective_scale": {"overlap": 0.0, "temperature": 1.0, "share": 0.05},
    "critical_strength": {"probability": 0.5},
    "cross_term_bound": {"sigma_p": 1.0},
    "cross_term_quantile": {"projected": True},
    "cross_term_tail": {"projected": True},
    "eigenvector_ratio": {"aspect": 0.0, "overlap": 0.0, "projected": True},
    "elapsed_clock": {"pull": 0.0},
    "end_to_end_boundary": {"growth": 0.1, "threshold": 0.3},
    "expected_maximum": {"absolute": False},
    "finite_edge": {"overlap": 0.0},
    "flipped_loss": {"flip_probability": 0.0},
    "fresh_handover_ratio": {"initial_overlap": 1.0},
    "fresh_view_spectrum": {"overlap": 0.0},
    "handover_ratio": {"initial_overlap": 1.0},
    "initial_perturbation": {"energy": 1.0},
    "inverse_active": {"kicked": False, "share": 0.5},
    "late_perturbation": {"overlap": 0.0},
    "linear_end_ratio": {"growth": 0.1, "threshold": 0.3},
    "linear_modes": {"overlap": 0.0},
    "linear_stage_steps": {"initial_overlap": 1.0, "threshold": 1.0},
    "lowest_eigenvalue": {"aspect": 0.0, "overlap": 0.0},
    "mean_signal_loss": {"balanced": False},
    "memorisation_speed": {"output_scale": 1.0},
    "memorised_alignment": {"overlap": 0.0, "fresh": False},
    "noise_norm_dimension": {"projected": True},
    "noise_norm_failure": {"samples": 1, "projected": True},
    "noise_norm_interval": {"sigma_p": 1.0},
    "noise_overlap_bound": {"init_scale": 1.0, "noise_norm": 1.0},
    "conditions": {"theorem": None},
    "fresh_kept_spectrum": {"overlap": 0.0, "kept": 1.0},
    "kept_for_overlap": {"kappa": 0.0},
    "kept_spectrum": {"aspect": 0.0, "overlap": 0.0, "kept": 1.0},
    "label_noise_growth": {"class_share": 0.5, "output_scale": 1.0},
    "label_noise_pull_expansion": {"order": 2},
    "memorisation_gain": {"output_scale": 1.0},
    "momentum_race": {"momentum": 0.0, "output_scale": 1.0, "loss": 0.01, "max_steps": 100_000},
    "noise_output_tail": {"odd": False},
    "outcome_ratio": {"flipped": ()},
    "xor_signal": {"share": 0.5, "other": 0.5},
    "signal_race": {"momentum": 0.0},
    "patch_signal": {"copies": False},
    "patch_test_error": {"patches": 2, "copies": False, "flip_probability": 0.0, "initial": 0.0},
    "sam_shift": {"patches": 2, "copies": False},
    "overlap_missed": {"dim": math.inf, "projected": True},
    "race": {"output_scale": 1.0},
    "relu_mean_error": {"initial": 0.0, "balanced": True},
    "relu_test_error": {"flip_probability": 0.0, "other": 1.0, "initial": 0.0},
    "saturation": {"growth": 0.0},
    "signal_loss": {"similarity": math.inf},
    "signal_overlap_bound": {"init_scale": 1.0, "signal_norm": 1.0},
    "spectrum": {"aspect": 0.0, "overlap": 0.0, "projected": True},
    "steps_to_reach": {"feedback": 0.0},
}

ACTIVATION: dict[str, Any] = {"slope": 0.1, "width": 1.0}
RULE: dict[str, Any] = {
    "momentum": 0.0,
    "weight_decay": 0.0,
    "batch": 0,
    "clip_norm": 0.0,
    "sam_radius": 0.0,
    "schedule": "constant",
    "rng": None,
}
ENCODER: dict[str, Any] = {"encoder": "linear", "q": 3.0, "activation": "relu", **ACTIVATION}
CONTRAST: dict[str, Any] = {"temperature": None, "stop_at_linear_end": None, "normalised": None}
DESCENT: dict[str, Any] = {"record": None, "progress": None, "threads": 1}
FUNCTIONS: list[tuple[Callable[..., object], dict[str, Any]]] = [
    (numsim.info_nce, {"temperature": 1.0, "normalised": False}),
    (numsim.nt_xent, {"temperature": 0.5, "normalised": True}),
    (numsim.power_matrix, {"temperature": 1.0}),
    (top_eigenpairs, {"count": 1}),
    (numsim.pretrain, {"loss": "info_nce", **CONTRAST, **ENCODER, **RULE, **DESCENT}),
    (numsim.logistic_loss, {"output_scale": 1.0, "activation": "relu", **ACTIVATION}),
    (forward, {"output_scale": 1.0, "kind": "relu", **ACTIVATION}),
    (evaluate, {"bias": None, "output_scale": 1.0, "projected": True, "flip_probability": 0.0}),
    (
        numsim.train,
        {
            "output_scale": 1.0,
            "target_loss": 0.01,
            "loss": "logistic",
            "activation": "relu",
            "label_noise": 0.0,
            **ACTIVATION,
            **RULE,
            **DESCENT,
        },
    ),
]


def defaults(function: Callable[..., object]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def test_closed_forms() -> None:
    functions = {name: getattr(theory, name) for name in theory.__all__}
    found = {name: defaults(f) for name, f in functions.items() if inspect.isfunction(f)}
    assert {name: values for name, values in found.items() if values} == FORMS


@pytest.mark.parametrize(("function", "values"), FUNCTIONS)
def test_losses_and_descents(function: Callable[..., object], values: dict[str, Any]) -> None:
    assert defaults(function) == values
