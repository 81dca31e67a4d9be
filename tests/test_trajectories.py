"""Recorded states: they begin and end in the filters of the run, under the right names and labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances

import numsim
from numsim.descent.pretraining import alignment
from numsim.models.decomposition import reassemble
from numsim.models.space import pad
from numsim.runs.draw import draw
from numsim.runs.result import Result
from numsim.runs.simulate import Simulation, simulate
from numsim.runs.trajectories import arm_trajectory, pretraining_trajectory

Floats = npt.NDArray[np.float64]

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "flips": {"data.flip_probability": 0.4, "seed": 2},
    "bias": {"network.bias": True},
    "overlap": {"pretraining.overlap": 0.5},
    "fresh views": {"pretraining.views": "fresh"},
    "unprojected": {"data.projected": False, "data.dim": 30},
}
NO_SIGNAL = {"data.snr": 0.0, "data.dim": 12}


def simulation_of(changes: dict[str, Any]) -> Simulation:
    settings = {
        "network.filters": 3,
        "network.relative_init_scale": 0.05,
        "pretraining.samples": 8,
        "pretraining.steps": 25,
        "finetuning.samples": 6,
        "finetuning.max_steps": 40,
        "evaluation.samples": 50,
    }
    e = numsim.load(None, settings | changes).resolved()
    return simulate(e, draw(e))


def close(value: Any, expected: Floats) -> None:
    floor = tolerances.TRAJECTORY_FLOOR * float(np.max(np.abs(expected)))
    np.testing.assert_allclose(value, expected, rtol=0, atol=floor)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["simclr", "direct"])
def test_an_arm_ends_in_its_filters(variant: str, name: str) -> None:
    simulation = simulation_of(VARIANTS[variant])
    instance, arm = simulation.instance, getattr(simulation, name)
    path = arm_trajectory(instance, arm)
    width = arm.filters.shape[2] - (instance.bias is not None)
    mu = np.pad(instance.mu, (0, width - len(instance.mu)))
    noise = pad(instance.labelled.noise, width)
    for row, filters in ((0, arm.initial), (-1, arm.filters)):
        bias = filters[..., width] if instance.bias is not None else np.zeros(filters.shape[:2])
        close(path["signal_inner"][row], filters[..., :width] @ mu + bias)
        close(path["noise_inner"][row], filters[..., :width] @ noise.T + bias[..., None])
        gamma, rho = path["gamma"].values[row], path["rho"].values[row]
        start = arm.initial[..., :width]
        close(reassemble(start, gamma, rho, mu, noise), filters[..., :width])
    assert path["sign"].values.tolist() == [1, -1]
    assert np.array_equal(path["label"], instance.labelled.labels)
    assert np.array_equal(path["true_label"], instance.labelled.true_labels)
    assert simulation.pretrained is not None
    given = instance.filters if name == "direct" else simulation.pretrained.filters
    assert np.array_equal(pad(given, width)[path["pretraining_index"].values], arm.initial[..., :width])


@pytest.mark.parametrize("variant", VARIANTS)
def test_pretraining_ends_in_its_filters(variant: str) -> None:
    simulation = simulation_of(VARIANTS[variant])
    instance, stage, unlabelled = simulation.instance, simulation.pretrained, simulation.instance.unlabelled
    assert stage is not None
    assert unlabelled is not None
    path = pretraining_trajectory(instance, stage)
    end = stage.filters[:, : len(instance.mu)]
    close(path["signal_inner"][0], instance.filters @ instance.mu)
    close(path["signal_inner"][-1], end @ instance.mu)
    assert np.isnan(path["alignment"][0])
    moved = stage.filters - pad(instance.filters, stage.filters.shape[1])
    for value in (stage.alignment, float(path["alignment"][-1])):
        assert value == pytest.approx(alignment(moved, instance.mu), rel=tolerances.TRAJECTORY_FLOOR)
    close(instance.direction * simulation.experiment.signal_norm, instance.mu)
    assert np.array_equal(path["latent_label"], unlabelled.labels)
    gamma, rho = path["gamma"].values[-1], path["rho"].values[-1]
    if simulation.experiment.data.projected:
        close(gamma, moved[:, : len(instance.mu)] @ instance.mu)
    if unlabelled.augmented is not None:
        coefficients = np.concatenate([gamma[:, None], rho, path["rho_aug"].values[-1]], axis=1)
        vectors = np.concatenate([instance.mu[None], unlabelled.noise, unlabelled.augmented])
        unit = vectors / np.sum(vectors**2, axis=1, keepdims=True)
        close(instance.filters + coefficients @ unit, end)
        assert stage.filters.shape[1] == len(instance.mu)
    else:  # the filters have an axis each for what the views' new noise left on them
        assert stage.filters.shape[1] == len(instance.mu) + len(instance.filters)
        # the views' new noise is orthogonal to xi_i, up to 1/sqrt(d)
        inner = moved[:, : unlabelled.noise.shape[1]] @ unlabelled.noise.T
        error = tolerances.monte_carlo(float(np.max(np.abs(rho))), simulation.experiment.data.dim)
        np.testing.assert_allclose(rho, inner, rtol=0, atol=error * len(unlabelled.labels))


def test_without_a_signal_nothing_is_aligned_with_it() -> None:
    simulation = simulation_of(NO_SIGNAL)
    assert simulation.pretrained is not None
    path = pretraining_trajectory(simulation.instance, simulation.pretrained)
    assert np.isnan(path["alignment"]).all()
    assert np.isnan(simulation.pretrained.alignment)
    assert not path["gamma"].any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_results_hold_what_was_simulated(variant: str) -> None:
    simulation = simulation_of(VARIANTS[variant])
    result = Result.of(simulation)
    assert simulation.simclr is not None
    assert simulation.pretrained is not None
    assert result.pretraining is not None
    for shown, arm in ((result.simclr, simulation.simclr), (result.direct, simulation.direct)):
        assert shown is not None
        assert arm.descent is not None
        assert (shown.test_loss, shown.test_loss_se) == (arm.test.loss, arm.test.loss_se)
        assert (shown.test_error, shown.test_error_se) == (arm.test.error, arm.test.error_se)
        assert (shown.train_loss, shown.steps) == (arm.descent.loss, arm.descent.steps)
        assert shown.status == arm.descent.status
    stage, descent = result.pretraining, simulation.pretrained.descent
    assert (stage.steps, stage.loss, stage.status) == (descent.steps, descent.loss, descent.status)
    assert stage.alignment == simulation.pretrained.alignment
