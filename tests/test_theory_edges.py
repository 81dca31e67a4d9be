"""Every closed form at the edges of its arguments: a number, a documented limit, or one clear sentence."""

from __future__ import annotations

import inspect
import itertools
import math
import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tolerances
from scipy.stats import norm

from numsim import theory
from numsim.theory.powers import log_quotient, power

DENORMAL, TINY, HUGE, NEXT_TO_ONE = 5e-324, 2.3e-308, 1e308, 1 - 2**-53
POSITIVE = [DENORMAL, TINY, 1e-150, 1e-3, 1.0, 50.0, 1e150, HUGE]
FROM_ZERO = [0.0, *POSITIVE]
TO_INFINITY = [*FROM_ZERO, math.inf]
COUNTS = [1, 2, 3, 1000]
POWERS = [2.0000001, 2.5, 3.0, 8.0, 50.0]
KAPPAS = [0.0, DENORMAL, 1e-150, 1e-3, 1.0, 1e8, 1e150, 1e154, HUGE]
ASPECTS = [0.0, DENORMAL, 1e-150, 1e-10, 0.3, 1.0, 50.0, 1e8, 1e150, HUGE]
OVERLAPS = [0.0, 1e-300, 0.3, NEXT_TO_ONE, 1.0]
PROBABILITIES = [DENORMAL, 1e-300, 1e-9, 0.5, 1 - 1e-9, NEXT_TO_ONE]
MARGINS = [
    -math.inf,
    -HUGE,
    -800.0,
    -708.0,
    -1.0,
    -0.0,
    0.0,
    1e-300,
    1.0,
    36.0,
    708.0,
    744.0,
    800.0,
    HUGE,
    math.inf,
]
DIMS = [1, 2, 3, 1000, 1e15]
CLASSES = [(), (0, 3), (1,), (2, 2), (30,)]
SPEEDS = [[], [0.0], [1.0], [0.0, 1.0], [1e-300, HUGE], [DENORMAL, 1.0]]

GAINS = [0.0, DENORMAL, 1e-150, 1e-3, 0.5, NEXT_TO_ONE, 1.0]
FLIPS = [0.0, DENORMAL, 1e-9, 1e-3, 0.2, 0.4999999, 0.5]
MOMENTA = [0.0, 0.5, NEXT_TO_ONE, 1.0]
EDGES: dict[str, dict[str, list[Any]]] = {
    "fresh_kept_spectrum": {"kappa": KAPPAS, "overlap": OVERLAPS, "kept": OVERLAPS},
    "kept_for_overlap": {"overlap": OVERLAPS, "kappa": [*KAPPAS, math.inf]},
    "kept_spectrum": {"kappa": KAPPAS, "aspect": ASPECTS, "overlap": OVERLAPS, "kept": OVERLAPS},
    "label_noise_growth": {
        "learning_rate": [0.0, DENORMAL, 1e-3, HUGE],
        "samples": [1, 1000],
        "filters": [1, 1000],
        "noise_norm": [0.0, DENORMAL, 1.0, HUGE],
        "signal_norm": [0.0, 1.0, HUGE],
        "flip_probability": [0.0, 0.1, 0.5],
        "class_share": [0.0, 1.0],
    },
    "label_noise_pull": {"gain": GAINS, "flip_probability": FLIPS},
    "label_noise_pull_expansion": {"gain": GAINS, "flip_probability": FLIPS, "order": [1, 2]},
    "memorisation_gain": {
        "learning_rate": FROM_ZERO,
        "samples": COUNTS,
        "filters": COUNTS,
        "noise_norm": FROM_ZERO,
        "output_scale": POSITIVE,
    },
    "xor_share": {
        "own": [-1.0, *FROM_ZERO],
        "mirror": [-1.0, 1.0, HUGE],
        "opposed": [-1.0, 0.0, 1.0],
        "opposed_mirror": [0.0, 1.0],
        "cosine": [-1.0, 0.0, 0.5, 1.0, 1.5],
    },
    "xor_side": {
        "own": [-1.0, 0.0, 1.0, HUGE],
        "mirror": [0.0, 1.0],
        "opposed": [-1.0, 0.0, 3.0],
        "opposed_mirror": [0.0, 1.0],
        "cosine": [0.0, 0.5, 1.0, 1.5],
        "first": [1, -1],
        "second": [1, -1],
    },
    "xor_signal": {
        "own": [-HUGE, -1.0, *FROM_ZERO],
        "opposed": [-1.0, *FROM_ZERO],
        "cosine": [-1.0, 0.0, 0.5, 1.0, 1.5],
        "share": [0.0, 0.5, 1.0],
        "other": [0.0, 0.5],
    },
    "patch_signal": {"signal": FROM_ZERO, "patches": [1, 2, 5], "copies": [False, True]},
    "patch_test_error": {
        "signal": FROM_ZERO,
        "inverse": [1.0, 2.0, 1e150],
        "filters": [1, 40],
        "patches": [2, 5],
        "copies": [False, True],
        "flip_probability": [0.0, 0.1],
        "initial": [0.0, 1e150],
    },
    "sam_share": {"shift": [*TO_INFINITY], "init": FROM_ZERO},
    "sam_shift": {
        "radius": FROM_ZERO,
        "noise_norm": FROM_ZERO,
        "filters": COUNTS,
        "batch": COUNTS,
        "patches": [1, 2, 5],
        "copies": [False, True],
    },
    "signal_margin": {
        "steps": [0.0, 1.0, 1e8, HUGE],
        "rate": [0.0, DENORMAL, 0.1, HUGE],
        "flipped": [0.0, DENORMAL, 1e-9, 0.1, 0.4999999, 0.5],
    },
    "spurious_plateau": {"disagreement": FLIPS},
    "spurious_times": {
        "core_start": FROM_ZERO,
        "spurious_start": FROM_ZERO,
        "core": [0.0, 0.2, HUGE],
        "spurious": [0.0, 1.0],
        "disagreement": FLIPS,
        "q": [2.0000001, 3.0, 50.0],
        "learning_rate": [0.0, 0.1, HUGE],
        "scale": [0.0, 1.0],
    },
    "critical_core": {
        "steps": [0.0, 1.0, HUGE],
        "core_start": FROM_ZERO,
        "spurious_start": FROM_ZERO,
        "spurious": [0.0, 1.0],
        "disagreement": FLIPS,
        "q": [2.0000001, 3.0, 50.0],
        "learning_rate": [0.0, 0.1, HUGE],
        "scale": [0.0, 1.0],
    },
    "signal_race": {
        "starts": [[[0.0], [0.1]], [[-1.0], [1.0]], [[1e100], [0.0]]],
        "coefficients": [[[0.2, 1.0], [0.2, -1.0]], [[0.0, 0.0], [0.0, 0.0]]],
        "weights": [[0.98, 0.02], [1.0, 0.0]],
        "q": [2.5, 3.0],
        "learning_rate": [0.0, 0.1],
        "scale": [0.0, 1.0],
        "steps": [0, 5],
        "momentum": [0.0, 0.9, 1.0],
    },
    "inertia": {"start": [-1.0, *FROM_ZERO], "pull": FROM_ZERO, "momentum": MOMENTA, "q": POWERS},
    "momentum_steps": {
        "level": [1e-3, 1.0, 2.0, HUGE, math.inf],
        "start": [0.0, DENORMAL, 1e-3, 1.0, HUGE],
        "pull": [0.0, DENORMAL, 1e-9, 1.0, HUGE],
        "momentum": MOMENTA,
        "q": [2.5, 3.0, 50.0],
    },
    "crossing_inertia": {"q": [2.0, 2.1, 3.0, 50.0, math.inf]},
    "cluster_clock": {
        "signal_start": [0.0, DENORMAL, 1e-3, 1.0, 1e150, HUGE],
        "of": [0, 1],
        "strengths": [(1.0, 0.0), (1.0, 0.3), (0.0, 0.0), (1e150, 1e-150)],
        "counts": [(10, 1), (0, 3), (0, 0)],
        "snr": [0.0, 1e-150, 1.0],
        "q": POWERS,
        "scale": [0.0, DENORMAL, 0.1, HUGE],
    },
    "momentum_race": {
        "signal_starts": [[-1.0], [0.0], [1.0, 0.1], [1e150]],
        "noise_starts": [[[0.0]], [[0.1], [1.0]]],
        "strengths": [0.0, 0.3],
        "filters": [1, 1000],
        "q": [2.5, 8.0],
        "signal_norm": [0.0, 1.0, HUGE],
        "noise_norm": [0.0, 1.0],
        "learning_rate": [0.0, 0.1, HUGE],
        "momentum": [0.0, NEXT_TO_ONE],
        "output_scale": [1.0],
        "loss": [0.5, 0.01],
        "max_steps": [0, 20],
    },
    "stationary_mean": {"function": [np.ones_like, np.log], "gain": GAINS, "flip_probability": FLIPS},
    "after_clock": {
        "start": [-HUGE, -1.0, *FROM_ZERO],
        "clock": [-math.inf, -HUGE, -1.0, *TO_INFINITY],
        "q": POWERS,
        "pull": [0.0, 1e-3, 1.0],
    },
    "along_test_error": {"filters_ratio": FROM_ZERO, "level": FROM_ZERO},
    "balance_probability": {
        "samples": COUNTS,
        "share": [0, 1e-300, 0.25, 0.5],
        "positive": [0, 1e-300, 0.5, 1],
    },
    "balance_rate": {"share": [0, DENORMAL, 0.25, 0.5]},
    "balance_samples": {"delta": [1e-300, 1e-9, 0.5, 1 - 1e-9], "share": [0, 1e-300, 0.25]},
    "balance_samples_bound": {"delta": PROBABILITIES},
    "bounded_noise_probability": {"strength": FROM_ZERO, "counts": CLASSES, "filters": COUNTS, "q": POWERS},
    "coefficient_balance": {
        "active": [[1.0], [1e-300], [0.0], [0.5, 1.0]],
        "margins": [[0.0], [1.0], [HUGE], [1e-300]],
        "agreement": [[1.0], [-1.0], 0.8],
    },
    "coefficient_growth": {
        "steps": [0, 1, (0, 1000), 1e9],
        "growth": [DENORMAL, 1e-9, 0.1, 1e3],
        "alignment": [0.0, 0.5, 1.0],
        "unit": [0.0, 0.1, 10.0],
        "overlap": OVERLAPS,
        "samples": [2, 100],
        "signal_norm": [0.0, 1.0, 1e150],
        "noise_norm": [1e-150, 1.0, 1e150],
        "init_scale": [0.0, 1e-150, 1.0],
        "initial_overlap": [0.0, 1.0],
    },
    "augmentation_worth": {"aspect": ASPECTS, "projected": [True, False]},
    "collective_scale": {
        "kappa": [0.1, 4.0],
        "samples": [2, 100],
        "overlap": [0.0, 0.99, 1.0],
        "filters": [1, 10],
        "temperature": [0.5, 1.0],
        "share": [0.05],
    },
    "collective_descent": {
        "steps": [0, 1, 100],
        "kappa": KAPPAS,
        "samples": [2, 100],
        "unit": [1e-3, 0.1, 10.0],
        "energy": [1e-150, 0.01, 10.0],
        "overlap": OVERLAPS,
        "fresh": [True, False],
        "untouched": [0.0, 1.0],
    },
    "critical_ratio": {"class_samples": [0, 1, 1000, 1e-300], "snr": FROM_ZERO, "q": POWERS},
    "critical_strength": {
        "counts": CLASSES,
        "filters": [1, 2, 16],
        "q": [2.0000001, 3.0, 8.0],
        "probability": [1e-9, 0.5, 1 - 1e-9],
    },
    "cross_term_bound": {"dim": DIMS, "samples": COUNTS, "delta": PROBABILITIES, "sigma_p": FROM_ZERO},
    "cross_term_quantile": {
        "dim": DIMS,
        "samples": COUNTS,
        "failure": PROBABILITIES,
        "projected": [True, False],
    },
    "cross_term_tail": {"value": TO_INFINITY, "dim": DIMS, "projected": [True, False]},
    "delayed_signal_time": {
        "signal_time": TO_INFINITY,
        "noise_times": [[], [0.0], [math.inf], [0.0, math.inf], [HUGE, HUGE], [1.0, 2.0], [DENORMAL]],
    },
    "derivative_bound": {"speed": SPEEDS},
    "derivative_ratio": {"steps": FROM_ZERO, "speed": SPEEDS},
    "eigenvector_ratio": {
        "kappa": KAPPAS,
        "aspect": ASPECTS,
        "overlap": OVERLAPS,
        "projected": [True, False],
    },
    "elapsed_clock": {"start": FROM_ZERO, "end": TO_INFINITY, "q": POWERS, "pull": [0.0, 1e-3, 1.0]},
    "end_to_end_boundary": {
        "counts": [(), (0, 3), (1,), (6, 6)],
        "samples": [2, 40],
        "dim": [1, 1e15],
        "filters": [1, 16],
        "q": [2.0000001, 3.0],
        "relative_init_scale": [1e-150, 1e-3, 1e150],
    },
    "expected_maximum": {"count": [0, 1, 2, 3, 10**6, 10**15, 10**300], "absolute": [True, False]},
    "filters_needed": {"samples": COUNTS, "delta": PROBABILITIES},
    "finetuning_strength": {"snr": FROM_ZERO, "ratio": TO_INFINITY, "q": POWERS},
    "finite_edge": {"samples": COUNTS, "aspect": ASPECTS, "overlap": OVERLAPS},
    "flipped_loss": {"margin": MARGINS, "flip_probability": [0.0, 0.1, 0.5, 1.0]},
    "fresh_handover_ratio": {
        "growth": [1e-150, 1e-9, 0.1, 1e3],
        "alignment": [0.0, 0.5, 1.0],
        "steps": [0, 1, 1e9],
        "unit": [0.0, 0.1],
        "overlap": OVERLAPS,
        "samples": [2, 100],
        "dim": DIMS,
        "signal_norm": [0.0, 1e-150, 1.0, 1e150],
        "sigma_p": [1e-3, 1.0],
        "initial_overlap": [0.0, 1.0],
    },
    "fresh_view_spectrum": {"kappa": KAPPAS, "overlap": OVERLAPS},
    "handover_ratio": {
        "growth": [1e-150, 1e-9, 0.1, 1e3],
        "alignment": [0.0, 0.5, 1.0],
        "steps": [0, 1, 1e9],
        "unit": [0.0, 0.1, 10.0],
        "overlap": OVERLAPS,
        "samples": [2, 100],
        "dim": DIMS,
        "signal_norm": [0.0, 1e-150, 1.0, 1e150],
        "sigma_p": [1e-3, 1.0],
        "initial_overlap": [0.0, 1.0],
    },
    "imbalanced_spectrum": {"kappa": KAPPAS, "imbalance": [0.0, 1e-300, -0.5, NEXT_TO_ONE]},
    "initial_perturbation": {"kappa": KAPPAS, "filters_per_sample": POSITIVE, "energy": FROM_ZERO},
    "initialisation_probability": {"filters": [*COUNTS, 10**6], "samples": COUNTS, "delta": PROBABILITIES},
    "inverse_active": {"filters": [*COUNTS, 10**4], "kicked": [True, False]},
    "late_perturbation": {"kappa": KAPPAS, "samples": [2, 4, 100], "overlap": OVERLAPS},
    "learned_test_loss": {"margins": MARGINS},
    "linear_end_ratio": {
        "kappa": KAPPAS,
        "samples": [2, 4, 100, 10**6],
        "dim": DIMS,
        "filters": [1, 1000],
        "relative_init_scale": [1e-150, 1e-3, 1.0, 1e150],
        "growth": [1e-9, 0.1, 1.0, 1e3],
    },
    "linear_modes": {"kappa": KAPPAS, "samples": [2, 4, 100], "overlap": OVERLAPS},
    "linear_stage_steps": {
        "growth": FROM_ZERO,
        "learning_rate": FROM_ZERO,
        "temperature": POSITIVE,
        "filters": COUNTS,
        "init_scale": FROM_ZERO,
        "initial_overlap": [0.0, 1e-300, 1.0],
        "threshold": [0.3, 1.0],
    },
    "loss_bound": {"train_loss": FROM_ZERO, "samples": [0, *COUNTS]},
    "lowest_eigenvalue": {"aspect": ASPECTS, "overlap": OVERLAPS},
    "maximum_quantile": {"count": [1, 2, 10**15], "failure": PROBABILITIES},
    "mean_signal_loss": {"samples": COUNTS, "balanced": [True, False]},
    "memorisation_speed": {
        "active": [0.0, 0.5, 1.0, DENORMAL],
        "samples": COUNTS,
        "filters": COUNTS,
        "learning_rate": [1e-300, 1.0],
        "noise_norm": [0.0, 1e-150, 1e150],
    },
    "memorisation_steps": {
        "target_loss": [DENORMAL, 1e-300, 1e-9, 0.01, 0.69, math.log(2) - 1e-15],
        "speed": SPEEDS,
    },
    "memorised_alignment": {"kappa": KAPPAS, "overlap": OVERLAPS, "fresh": [True, False]},
    "memorised_loss": {"steps": FROM_ZERO, "speed": SPEEDS},
    "memorised_margin": {"steps": TO_INFINITY, "speed": FROM_ZERO},
    "memorised_test_loss": {
        "signals": FROM_ZERO,
        "noise_size": FROM_ZERO,
        "filters": COUNTS,
        "q": [1.0, *POWERS],
    },
    "noise_norm_dimension": {
        "samples": [*COUNTS, 10**15],
        "delta": PROBABILITIES,
        "projected": [True, False],
    },
    "noise_norm_dimension_bound": {"samples": COUNTS, "delta": PROBABILITIES},
    "noise_norm_failure": {"dim": DIMS, "samples": COUNTS, "projected": [True, False]},
    "noise_norm_interval": {"dim": DIMS, "sigma_p": FROM_ZERO},
    "noise_output_tail": {"values": MARGINS, "filters": COUNTS, "q": [1.0, *POWERS], "odd": [False, True]},
    "noise_overlap_bound": {
        "filters": COUNTS,
        "samples": COUNTS,
        "delta": PROBABILITIES,
        "init_scale": FROM_ZERO,
        "noise_norm": FROM_ZERO,
    },
    "noise_power_mean": {
        "noise_starts": [[], [0.0], [0.0, 1.0], [DENORMAL], [HUGE], [1e-150] * 3, [1.0]],
        "q": POWERS,
    },
    "noisy_test_error": {
        "signals": FROM_ZERO,
        "noise_size": FROM_ZERO,
        "filters": COUNTS,
        "q": [1.0, *POWERS],
    },
    "outcome_ratio": {
        "signal_start": [-1.0, *FROM_ZERO],
        "noise_starts": [[], [0.0, 1.0], [-1.0], [1e-300], [HUGE], [1.0, 1.0], [DENORMAL]],
        "snr": FROM_ZERO,
        "q": POWERS,
    },
    "overlap_missed": {
        "level": MARGINS,
        "filters": COUNTS,
        "dim": [*DIMS, math.inf],
        "projected": [True, False],
    },
    "power_unit": {
        "learning_rate": FROM_ZERO,
        "temperature": POSITIVE,
        "sigma_p": FROM_ZERO,
        "dim": DIMS,
        "samples": COUNTS,
    },
    "race": {
        "signal_start": [-1.0, *FROM_ZERO],
        "noise_start": [-1.0, *FROM_ZERO],
        "class_samples": [-2.0, 0, 1, 10],
        "samples": [1, 10],
        "filters": [1, 100],
        "q": POWERS,
        "signal_norm": [0.0, 1e-150, 1.0, 1e150],
        "noise_norm": [0.0, 1.0, 1e150],
        "learning_rate": [1e-300, 1.0, 1e300],
    },
    "relu_mean_error": {
        "signal": [0.0, 1.0, 1e3],
        "samples": [1, 2, 20],
        "inverse": [1.0, 2.0],
        "filters": [1, 100],
        "flip_probability": [0.0, 0.1],
        "initial": [0.0, 1.0],
        "balanced": [True, False],
    },
    "relu_signal": {
        "majority": [-5.0, 0.0, 1.0, 10.0],
        "own": [0, 1, 1000],
        "snr": FROM_ZERO,
        "dim": DIMS,
        "inverse": [1.0, 2.0],
    },
    "relu_test_error": {
        "signal": MARGINS,
        "inverse": [1.0, 2.0, 1e3],
        "filters": [1, 2, 100],
        "flip_probability": [0.0, 0.5],
        "other": [0.0, 1.0, 10.0],
        "initial": [0.0, 1e-300, 1.0, 1e150],
    },
    "saturation": {"end": TO_INFINITY, "growth": [0.0, 0.1, 10.0]},
    "signal_loss": {"positive": [0, 1, 50, 10**6], "negative": [0, 1, 50], "similarity": TO_INFINITY},
    "signal_loss_expansion": {"samples": COUNTS},
    "signal_loss_slope": {"positive": [0, 1, 50], "negative": [0, 1, 50], "similarity": TO_INFINITY},
    "signal_overlap_bound": {
        "filters": COUNTS,
        "delta": PROBABILITIES,
        "init_scale": FROM_ZERO,
        "signal_norm": FROM_ZERO,
    },
    "small_filter_loss": {"samples": COUNTS, "form": [0.0, 1e-300, 1.0, HUGE], "learning_rate": FROM_ZERO},
    "softmax_response": {
        "similarity": [np.zeros((2, 2)), np.full((2, 2), HUGE)],
        "positive": [np.zeros(2)],
        "temperature": FROM_ZERO,
    },
    "spectrum": {"kappa": KAPPAS, "aspect": ASPECTS, "overlap": OVERLAPS, "projected": [True, False]},
    "split_probability": {"filters": [*COUNTS, 10**6]},
    "steps_to_reach": {
        "level": FROM_ZERO,
        "start": FROM_ZERO,
        "blow_up": TO_INFINITY,
        "q": POWERS,
        "feedback": [0.0, 1.0],
    },
    "success_probability": {
        "strength": FROM_ZERO,
        "counts": CLASSES,
        "filters": [1, 2, 16],
        "q": [2.0000001, 3.0, 8.0],
    },
    "time_to_loss": {
        "starts": [
            ([0.1], [0.1]),
            ([0.1, -1.0], [0.2]),
            ([0.0], [0.1]),
            ([-1.0], [0.1]),
            ([DENORMAL], [0.1]),
            ([3.0], [0.1]),
            ([HUGE], [HUGE]),
        ],
        "pulls": [(1e-3, 1e-3), (0.0, 1e-3), (1e-300, 1e300)],
        "shares": [(0.5, 0.5)],
        "loss": [DENORMAL, 1e-9, 0.01, 0.34, 0.5, 1.0],
        "q": POWERS,
        "scale": [1e-150, 0.1, 1.0, 1e150],
    },
    "zero_filter_loss": {"samples": [*COUNTS, 10**15]},
}

MOST = 300
"""Combinations tried of one form, always the same ones."""

FOREIGN = ("math domain", "f(a) and f(b)", "zero-size", "solver cannot", "empty sequence")
"""What libraries say of bad arguments: no sentence of ours."""

UNDEFINED = {"eigenvector_ratio"}
"""NaN is documented: below the threshold."""

PROBABILITY = {
    name for name in EDGES if name.endswith(("_probability", "_error", "_tail", "_missed", "_failure"))
}


def numbers(result: Any) -> Iterator[float]:
    if isinstance(result, tuple):
        for part in result:
            yield from numbers(part)
    else:
        yield from np.ravel(np.asarray(result, dtype=np.float64)).tolist()


def test_no_form_is_forgotten() -> None:
    forms = {name for name in theory.__all__ if inspect.isfunction(getattr(theory, name))}
    assert forms - {"conditions"} == set(EDGES)  # the conditions have their own edges, test_theory.py


@pytest.mark.parametrize("name", EDGES)
def test_numbers_limits_or_one_sentence(name: str) -> None:
    form, edges = getattr(theory, name), EDGES[name]
    combinations = list(itertools.product(*edges.values()))
    if len(combinations) > MOST:
        combinations = random.Random(0).sample(combinations, MOST)
    for values in combinations:
        arguments = dict(zip(edges, values, strict=True))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                found = list(numbers(form(**arguments)))
            except ValueError as error:
                assert not any(words in str(error) for words in FOREIGN), arguments  # noqa: PT017
                continue
        assert name in UNDEFINED or not any(map(math.isnan, found)), arguments
        if name in PROBABILITY:
            assert all(0 <= value <= 1 for value in found), arguments


# ---------------------------------------------------------------- limits that are documented


def test_powers_and_quotients_end_at_infinity() -> None:
    assert power(0.0, -1.0) == power(10.0, 400.0) == math.inf
    assert power(0.0, 0.5) == 0
    assert log_quotient(4.0, DENORMAL) == pytest.approx(math.log(4) + 1074 * math.log(2))
    with pytest.raises(ValueError, match=r"math domain error|expected"):
        power(-1.0, 0.5)


def test_undefined_says_where() -> None:
    with pytest.raises(
        ValueError, match=r"coefficient_balance is undefined, or beyond float64, at active = .*margins"
    ):
        theory.coefficient_balance([1.0], margins=[0.0], agreement=[1.0])


def test_starts_of_nothing() -> None:
    """No activation, no noise, no sample, no signal, no overlap."""
    assert theory.outcome_ratio(0.0, [1.0], snr=1.0, q=3.0) == 0
    assert theory.outcome_ratio(1.0, [], snr=1.0, q=3.0) == 0
    assert theory.outcome_ratio(1.0, [0.0], snr=1.0, q=3.0) == math.inf
    assert theory.outcome_ratio(1e-200, [1e-200, 2e-200], snr=1.0, q=8.0) == pytest.approx(1 + 2**-6)
    assert theory.noise_power_mean([0.0, 1.0], 3.0) == 0
    assert theory.noise_power_mean([1e-150, 1e-150], 8.0) == pytest.approx(1e-150)
    assert theory.critical_ratio(0, 1.0, 3.0) == theory.critical_ratio(5, 0.0, 3.0) == math.inf
    rest: dict[str, Any] = {"growth": 0.1, "learning_rate": 1.0, "temperature": 1.0, "filters": 2}
    assert theory.linear_stage_steps(init_scale=1.0, initial_overlap=0.0, **rest) == math.inf
    assert theory.linear_stage_steps(init_scale=0.0, **rest) == math.inf
    assert theory.linear_stage_steps(init_scale=1e100, **rest) == 0
    assert theory.memorisation_steps(0.4, [0.0, 1.0]) > theory.memorisation_steps(0.4, [1.0, 1.0])
    assert theory.memorisation_steps(0.3, [0.0, 1.0]) == math.inf  # half of log 2 stays
    assert theory.noisy_test_error([1.0, -1.0], 0.0, 4, 3.0) == 0.5
    assert theory.noisy_test_error([1.0, 1.0], 0.0, 4, 3.0) == 0


def test_a_signal_of_any_strength_is_aligned() -> None:
    for kappa in (1e150, HUGE):
        for aspect in (0.0, 0.3):
            assert theory.spectrum(kappa, aspect).alignment == 1
        assert theory.fresh_view_spectrum(kappa).alignment == 1
        assert theory.eigenvector_ratio(kappa) > 1e100


def test_margins_without_an_end() -> None:
    assert theory.flipped_loss(math.inf) == 0
    assert theory.flipped_loss(math.inf, 0.1) == math.inf
    assert theory.flipped_loss(708.0) == theory.learned_test_loss([708.0]) == math.exp(-708)
    assert theory.flipped_loss(744.0) == math.exp(-744) > 0


def test_rare_quantiles() -> None:
    """Phi^-1 of what is no normal number."""
    assert theory.maximum_quantile(1, 1e-310) == pytest.approx(-norm.ppf(0.5e-300), rel=0.05)
    assert theory.maximum_quantile(1, 1e-310) > theory.maximum_quantile(1, 1e-299)


@pytest.mark.parametrize("q", [2.5, 3.0, 5.0, 8.0, 20.0])
@pytest.mark.parametrize(("count", "m"), [(3, 1), (3, 3), (10, 16)])
def test_success_at_any_power(q: float, count: int, m: int) -> None:
    """S2 (9) by drawing, in logarithms: clocks of large q spread over hundreds of decades."""
    rng, draws = np.random.default_rng(0), 20_000
    noise, signal = (
        rng.standard_normal((draws, count, m)).max(axis=2),
        rng.standard_normal((draws, m)).max(axis=1),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        clocks = np.logaddexp.reduce(np.where(noise > 0, (2 - q) * np.log(noise), np.inf), axis=1)
        own = np.where(signal > 0, (2 - q) * np.log(signal), np.inf)
    both = np.isfinite(own) & np.isfinite(clocks)
    apart = own[both] - clocks[both]
    strength = math.exp(float(np.quantile(apart, 0.4)))
    won = np.mean((signal > 0) & (own < math.log(strength) + clocks))
    found = theory.success_probability(strength, [count], filters=m, q=q)
    assert found == pytest.approx(float(won), abs=tolerances.monte_carlo(0.5, draws))


@pytest.mark.parametrize(("m", "q"), [(1, 1.0), (2, 2.0), (5, 3.0), (10, 4.0)])
def test_far_outputs_of_noise_are_rare(m: int, q: float) -> None:
    """Where sin(t x) is not resolved any more one filter alone is that large."""
    for deviations in (13.0, 30.0, 1e3, 1e9):
        spread = math.sqrt(2 * m * (math.prod(range(1, int(2 * q), 2)) / 2))  # of order of the deviation
        x = deviations * spread
        expected = m * norm.sf(x ** (1 / q))
        assert theory.noise_output_tail(x, m, q) == pytest.approx(expected, abs=tolerances.CLOSED_FORM)
        assert theory.noise_output_tail(-x, m, q) == pytest.approx(1 - expected, abs=tolerances.CLOSED_FORM)
