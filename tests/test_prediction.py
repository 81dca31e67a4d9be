"""What a run measured beside what theory predicts, recomputed in weight space from the run's filters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances

import numsim
from numsim.runs.draw import draw
from numsim.runs.prediction import compare
from numsim.runs.simulate import Arm, Simulation, simulate
from numsim.theory import race

Floats = npt.NDArray[np.float64]

SMALL: dict[str, Any] = {
    "data.dim": 1e6,
    "data.sigma_p": 2.0,
    "network.filters": 3,
    "network.output_scale": 5.0,
    "pretraining.samples": 20,
    "pretraining.steps": 30,
    "finetuning.samples": 12,
    "evaluation.samples": 2,
}


def simulation_of(**changes: Any) -> Simulation:
    e = numsim.load(None, SMALL | changes).resolved()
    return simulate(e, draw(e))


# ---------------------------------------------------------------- race


def activations(simulation: Simulation, arm: Arm, W: Floats, side: int) -> tuple[float, float]:
    """max_r <w_jr, j mu> and the median over the class's samples of max_r <w_jr, xi_i>; j = +1 is side 0."""
    j = 1.0 - 2.0 * side
    instance = simulation.instance
    members = instance.labelled.labels == j
    signal = j * (W[side, :, : len(instance.mu)] @ instance.mu)
    noise = W[side, :, : instance.labelled.noise.shape[1]] @ instance.labelled.noise[members].T
    return float(signal.max()), float(np.median(noise.max(axis=0)))


@pytest.mark.parametrize("flips", [0.0, 0.3])
@pytest.mark.parametrize("q", [2.5, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_races_are_those_of_the_filters(flips: float, q: float, seed: int) -> None:
    changes = {"data.flip_probability": flips, "network.q": q, "data.snr": 0.5, "seed": seed}
    simulation = simulation_of(**changes, **{"finetuning.max_steps": 50})
    e, labelled = simulation.experiment, simulation.instance.labelled
    rows = compare(simulation)["race"]
    assert simulation.simclr is not None
    for name, arm in (("simclr", simulation.simclr), ("direct", simulation.direct)):
        assert set(rows[name]) == {f"{j:+.0f}" for j in labelled.labels}
        for side, sign in enumerate(("+1", "-1")):
            row = rows[name].get(sign)
            if row is None:
                continue
            members = labelled.labels == float(sign)
            of_class = labelled.true_labels == float(sign)
            kept = int(np.sum(of_class & members))
            start = activations(simulation, arm, arm.initial, side)
            expected = race(
                signal_start=start[0],
                noise_start=start[1],
                class_samples=kept - (int(of_class.sum()) - kept),
                samples=len(members),
                filters=e.network.filters,
                q=q,
                signal_norm=e.signal_norm,
                noise_norm=2.0 * 1e3,
                learning_rate=e.finetuning.learning_rate,
                output_scale=5.0,
            )
            assert row["samples"] == members.sum()
            assert row["predicted"] == expected.winner
            got = [row[key] for key in ("signal_start", "noise_start", "signal_time", "noise_time", "ratio")]
            assert got == pytest.approx([*start, *expected], rel=tolerances.SOLVED)


@pytest.mark.compiled
@pytest.mark.parametrize("snr", [0.02, 2.0])
def test_nobody_has_won_before_an_output_of_order_one(snr: float) -> None:
    """The measured winner is the larger activation a, undecided while (s/m) a^q <= 1/10."""
    found = set()
    for steps in (0, *np.unique(np.geomspace(10, 1e4, 25).astype(int)).tolist()):
        changes = {"data.snr": snr, "finetuning.max_steps": steps, "pretraining.samples": 0}
        simulation = simulation_of(**changes, **{"data.balanced": True, "finetuning.target_loss": 0})
        arm = simulation.direct
        for side, sign in enumerate(("+1", "-1")):
            signal, noise = activations(simulation, arm, arm.filters, side)
            winner = "signal" if signal > noise else "noise"
            decided = 5.0 / 3 * max(signal, noise) ** 3 > 0.1
            measured = compare(simulation)["race"]["direct"][sign]["measured"]
            assert measured == (winner if decided else "undecided")
            found.add(measured)
    assert found == {"undecided", "noise" if snr < 1 else "signal"}


# ---------------------------------------------------------------- pre-training


@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize("steps", [0, 30])
def test_the_ratio_is_that_of_fresh_noise(projected: bool, steps: int) -> None:
    changes = {"data.dim": 50, "data.snr": 1.0, "data.projected": projected, "pretraining.steps": steps}
    simulation = simulation_of(**changes, **{"finetuning.max_steps": 0})
    assert simulation.pretrained is not None
    mu, filters, samples = simulation.instance.mu, simulation.pretrained.filters, 40_000
    xi = 2.0 * np.random.default_rng(0).standard_normal((samples, len(mu)))
    if projected:
        xi -= np.outer(xi @ mu, mu) / (mu @ mu)
    expected = np.linalg.norm(filters @ mu) / (np.linalg.norm(filters @ xi.T) / math.sqrt(samples))
    measured = compare(simulation)["pretraining"]["ratio"]["measured"]
    # xi^2 has a relative standard deviation of sqrt(2), its root half of that.
    assert measured == pytest.approx(expected, rel=tolerances.monte_carlo(math.sqrt(2) / 2, samples))


def tables(**changes: Any) -> list[dict[str, dict[str, float]]]:
    only = {
        "data.balanced": True,
        "finetuning.max_steps": 0,
        "network.output_scale": 1.0,
        "data.sigma_p": 1.0,
    }
    settings = {"pretraining.samples": 100, "pretraining.steps": 2000, **only, **changes}
    return [compare(simulation_of(**settings, seed=seed))["pretraining"] for seed in range(10)]


@pytest.mark.compiled
@pytest.mark.parametrize(("dim", "kappa"), [(200, 1.5), (100, 2.0)])
def test_the_spectrum_at_a_finite_aspect_is_predicted(dim: int, kappa: float) -> None:
    """Not that of d >> n0, whose alignment 2 kappa/(1 + 2 kappa) is larger by a multiple of the scatter."""
    n0 = 200
    found = tables(
        **{
            "pretraining.samples": n0,
            "data.dim": dim,
            "data.snr": math.sqrt(kappa / n0),
            "pretraining.steps": 0,
        }
    )
    for quantity in ("top_eigenvalue", "alignment"):
        predicted = found[0][quantity]["predicted"]
        measured = [table[quantity]["measured"] for table in found]
        error = tolerances.monte_carlo(float(np.std(measured)), len(measured))
        assert abs(np.mean(measured) - predicted) <= error + tolerances.FINITE_SIZE / n0 * predicted
    assert np.mean([table["alignment"]["measured"] for table in found]) + error < 2 * kappa / (1 + 2 * kappa)


@pytest.mark.compiled
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_growth_with_fresh_views_is_predicted(overlap: float) -> None:
    """lambda_1 of the mean of A, not of one A; the saturation at the end costs a few percent of it."""
    for table in tables(**{"pretraining.views": "fresh", "pretraining.overlap": overlap, "data.dim": 1e8}):
        growth = table["growth_per_step"]
        assert growth["measured"] - 1 == pytest.approx(growth["predicted"] - 1, rel=tolerances.HAND_OVER)


@pytest.mark.compiled
def test_predictions_are_left_out_where_they_do_not_apply() -> None:
    """Cut short, beyond the linear stage, a top direction inside the bulk, d not above 2 n0."""
    short, *_ = tables(**{"pretraining.steps": 20})
    assert np.isnan(short["steps"]["measured"])
    assert short["ratio"]["measured"] == pytest.approx(short["ratio"]["predicted"], rel=tolerances.HAND_OVER)
    long, *_ = tables(**{"pretraining.steps": 200, "pretraining.stop_at_linear_end": False})
    assert np.isnan([long["ratio"]["predicted"], long["growth_per_step"]["predicted"]]).all()
    assert long["steps"]["predicted"] > 0
    for changes in ({"data.snr": 0.01}, {"data.dim": 150}):
        table, *_ = tables(**changes)
        assert np.isnan([table["steps"]["predicted"], table["ratio"]["predicted"]]).all()
        assert table["steps"]["measured"] > 0
