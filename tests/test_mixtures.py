"""Mixtures: draws exact in law, recomposition, the test law by brute force, arms on one draw, faults."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances

import numsim
from numsim.config.errors import ConfigError
from numsim.descent.evaluation import evaluate, evaluate_table
from numsim.descent.network import forward
from numsim.models.mixture import Mixture
from numsim.runs.draw import draw
from numsim.runs.simulate import simulate
from numsim.runs.trajectories import arm_trajectory

Floats = npt.NDArray[np.float64]

XOR: dict[str, Any] = {
    "data": {
        "dim": 50,
        "signals": {"u": {"norm": 5.0}, "v": {"norm": 4.0}},
        "cosines": {"u v": 0.6},
        "flip_probability": 0.1,
        "clusters": [
            {"name": "+u", "label": 1, "weight": 2, "patches": [{"u": 1}, {"xi": 1}]},
            {"name": "-u", "label": 1, "patches": [{"u": -1}, {"xi": 1}], "flip_probability": 0.3},
            {"name": "v", "label": -1, "patches": [{"v": 1, "xi": 0.5}, {"xi": -1}]},
        ],
    },
    "network": {"q": 1.0, "filters": 3},
    "pretraining": {"samples": 0},
    "finetuning": {"samples": 16, "max_steps": 30, "target_loss": 0},
    "evaluation": {"samples": 200},
}
ARMS: dict[str, Any] = {"gd": {}, "sam": {"finetuning": {"sam_radius": 0.1}}, "sgd": {"finetuning.batch": 4}}


def changed(**parts: Any) -> dict[str, Any]:
    found = copy.deepcopy(XOR)
    for part, settings in parts.items():
        found[part] = {**found.get(part, {}), **settings} if isinstance(settings, dict) else settings
    return found


def mixture() -> Mixture:
    return numsim.load(XOR).mixtures.data


def test_signals_have_their_lengths_and_cosines() -> None:
    rows = mixture().vectors
    np.testing.assert_allclose(rows @ rows.T, [[25, 12], [12, 16]], rtol=1e-13)
    assert mixture().rank == 2
    equal = numsim.load(XOR, {"data.cosines": {"u v": 1.0}}).mixtures.data
    assert equal.rank == 1
    np.testing.assert_allclose(equal.vectors, [[5], [4]])


@pytest.mark.parametrize("projected", [True, False])
def test_noise_has_the_law_of_dense_noise(projected: bool) -> None:
    """Second moments of the noise's coordinates, along the signals and beyond, over many seeds."""
    e = numsim.load(XOR, {"data.projected": projected, "data.dim": 12, "finetuning.samples": 4}).resolved()
    lengths, along = [], []
    for seed in range(400):
        instance = draw(e, seed)
        lengths.append(np.sum(instance.labelled.noise**2, axis=1))
        assert instance.signals is not None
        along.append(instance.labelled.noise @ instance.signals.T)
    spans = 10 if projected else 12
    error = math.sqrt(2 * spans / (4 * 400))
    assert abs(np.mean(lengths) - spans) < tolerances.STANDARD_ERRORS * error
    moments = np.einsum("sni,snj->ij", along, along) / (4 * 400)
    expected = np.zeros((2, 2)) if projected else np.array([[25.0, 12.0], [12.0, 16.0]])
    assert np.max(np.abs(moments - expected)) < tolerances.STANDARD_ERRORS * 25 * math.sqrt(2 / 1600) + 1e-12


def test_clusters_come_at_their_weights_and_flips() -> None:
    e = numsim.load(XOR, {"finetuning.samples": 2000, "data.dim": 3000}).resolved()
    labelled = draw(e, 0).labelled
    assert labelled.clusters is not None
    shares = np.bincount(labelled.clusters, minlength=3) / 2000
    assert np.max(np.abs(shares - [0.5, 0.25, 0.25])) < tolerances.STANDARD_ERRORS * 0.5 / math.sqrt(2000)
    flipped = labelled.labels != labelled.true_labels
    for cluster, rate in enumerate((0.1, 0.3, 0.1)):
        found = np.mean(flipped[labelled.clusters == cluster])
        assert abs(found - rate) < tolerances.STANDARD_ERRORS * math.sqrt(rate / 500)


def test_balanced_clusters_are_in_proportion() -> None:
    e = numsim.load(XOR, {"data.balanced": True}).resolved()
    clusters = draw(e, 3).labelled.clusters
    assert clusters is not None
    assert list(np.bincount(clusters)) == [8, 4, 4]


@pytest.mark.parametrize("bias", [False, True])
def test_coefficients_give_the_filters_back(bias: bool) -> None:
    """w = c w^0 + j sum_s gamma_s mu_s/|mu_s|^2 + sum rho xi/|xi|^2, signals at an angle, weight decay."""
    e = numsim.load(
        changed(
            data={"noise": {"xi": 1.0, "zeta": 0.3}},
            network={"bias": bias},
            finetuning={"weight_decay": 0.05, "momentum": 0.5},
        ),
        {"data.clusters.0.patches": [{"u": 1, "zeta": 2}, {"xi": 1}]},
    ).resolved()
    instance = draw(e, 1)
    arm = simulate(e, instance, 1).direct
    path = arm_trajectory(instance, arm)
    assert path["gamma"].dims == ("step", "sign", "filter", "signal")
    assert path["rho"].dims == ("step", "sign", "filter", "sample", "noise")
    mu, xi = instance.signals, instance.labelled.noise.reshape(2, 16, -1)
    assert mu is not None
    gamma, rho, c = (path[name].values[-1] for name in ("gamma", "rho", "initial"))
    sign = np.array([1.0, -1.0])[:, None, None]
    W = c * arm.initial[..., : mu.shape[1]]
    W = W + sign * (gamma @ (mu / np.sum(mu**2, axis=1)[:, None]))
    W = W + np.einsum("jriv,vid->jrd", rho, xi / np.sum(xi**2, axis=2)[:, :, None])
    np.testing.assert_allclose(W, arm.filters[..., : mu.shape[1]], rtol=0, atol=1e-13)
    b = arm.filters[..., -1:] if bias else 0.0
    np.testing.assert_allclose(
        path["signal_inner"].values[-1], arm.filters[..., : mu.shape[1]] @ mu.T + b, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("activation", ["relu", "power", "leaky"])
@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_the_test_law_is_that_of_samples_in_full(activation: str, loss: str) -> None:
    table, rng = mixture(), np.random.default_rng(0)
    W = rng.standard_normal((2, 3, 50)) / 7
    mu = np.zeros((2, 50))
    mu[:, :2] = table.vectors
    samples = 4000
    network: dict[str, Any] = {"q": 2.0, "slope": 0.1, "width": 1.0}
    found = evaluate_table(
        W, mu, None, table, activation=activation, loss=loss, samples=samples, rng=rng, **network
    )
    xi = rng.standard_normal((samples, 50))
    xi[:, :2] = 0.0
    for c in range(3):
        x = np.einsum("ps,sd->pd", table.on_signals[c], mu) + table.on_noises[c, :, 0][:, None] * xi[:, None]
        f = forward(W, x, kind=activation, **network)
        y, p = table.labels[c], table.flips[c]
        losses = [np.log1p(np.exp(-s * f)) if loss == "logistic" else (f - s) ** 2 / 2 for s in (y, -y)]
        values = (1 - p) * losses[0] + p * losses[1]
        errors = p + (1 - 2 * p) * (y * f < 0)
        for exact, draws in ((found.loss_by_cluster[c], values), (found.error_by_cluster[c], errors)):
            spread = math.sqrt(2) * np.std(draws) / math.sqrt(samples)
            assert abs(exact - draws.mean()) < tolerances.STANDARD_ERRORS * spread + 1e-12
    assert found.error == pytest.approx(table.weights @ found.error_by_cluster, abs=1e-12)
    assert found.loss == pytest.approx(table.weights @ found.loss_by_cluster, rel=1e-12)


def test_signal_noise_data_as_a_table_have_their_test_law() -> None:
    e = numsim.load({"data": {"dim": 50, "snr": 0.4, "flip_probability": 0.1}}).resolved()
    table = e.mixtures.test
    assert table.is_signal_noise
    W = np.random.default_rng(1).standard_normal((2, 3, 50)) / 7
    direction = np.eye(50)[0]
    common: dict[str, Any] = {"q": 3.0, "samples": 4000}
    first = evaluate(
        W, direction, signal_norm=e.signal_norm, sigma_p=1.0, flip_probability=0.1,
        rng=np.random.default_rng(2), **common,
    )  # fmt: skip
    mu = e.signal_norm * direction[None]
    second = evaluate_table(W, mu, None, table, rng=np.random.default_rng(2), **common)
    assert second.error == pytest.approx(first.error, abs=1e-12)
    assert second.loss == pytest.approx(first.loss, rel=1e-12)
    assert second.error_se == pytest.approx(first.error_se, rel=1e-9)


def test_a_table_of_signal_noise_data_is_signal_noise_data() -> None:
    """Written out as a table the experiment is the same, draw for draw."""
    plain: dict[str, Any] = {
        "data": {"dim": 1000, "snr": 0.3},
        "pretraining": {"samples": 10, "steps": 20},
        "finetuning": {"samples": 6, "max_steps": 50},
        "evaluation": {"samples": 100},
    }
    clusters = [{"label": y, "patches": [{"mu": y}, {"xi": 1}]} for y in (1, -1)]
    table = copy.deepcopy(plain)
    table["data"] |= {"signals": {"mu": {}}, "clusters": clusters}
    a, b = numsim.run(plain, 4), numsim.run(table, 4)
    assert a.experiment.finetuning.learning_rate == pytest.approx(b.experiment.finetuning.learning_rate)
    assert a.experiment.pretraining.learning_rate == pytest.approx(b.experiment.pretraining.learning_rate)
    for name, arm in a.arms.items():
        assert b.arms[name].steps == arm.steps
        assert b.arms[name].train_loss == pytest.approx(arm.train_loss, rel=1e-9)
        assert b.arms[name].test_error == pytest.approx(arm.test_error, abs=1e-12)
        np.testing.assert_allclose(
            b.arms[name].trajectory["gamma"].values, arm.trajectory["gamma"].values, rtol=1e-7, atol=1e-12
        )
    assert a.pretraining is not None
    assert b.pretraining is not None
    np.testing.assert_allclose(
        b.pretraining.trajectory["rho"].values, a.pretraining.trajectory["rho"].values, rtol=1e-9, atol=1e-16
    )
    assert b.theory["race"] is None
    assert b.conditions == []


def test_views_may_lose_their_signals() -> None:
    e = numsim.load({"data": {"dim": 500, "snr": 0.5}, "pretraining": {"samples": 400, "signal_kept": 0.7}})
    instance = draw(e.resolved(), 0)
    z, z_aug = instance.sums()
    along = np.abs(z_aug @ instance.direction)
    share = np.mean(along > 0.5 * e.signal_norm)
    assert abs(share - 0.7) < tolerances.STANDARD_ERRORS * math.sqrt(0.21 / 400)
    assert (np.abs(z @ instance.direction) > 0.5 * e.signal_norm).all()


# ---------------------------------------------------------------- arms


def test_arms_share_one_draw_and_are_what_each_is_alone() -> None:
    together = numsim.run(changed(arms=ARMS), 2)
    assert list(together.arms) == list(ARMS)
    assert together.simclr is None
    for name, overrides in ARMS.items():
        alone = numsim.run(changed(arms={"alone": overrides}), 2).arms["alone"]
        assert (alone.train_loss, alone.test_error) == (
            together.arms[name].train_loss,
            together.arms[name].test_error,
        )
        assert np.array_equal(np.asarray(alone.filters), np.asarray(together.arms[name].filters))


def test_results_with_arms_and_clusters_are_saved_whole(tmp_path: Path) -> None:
    result = numsim.run(changed(arms=ARMS, evaluation={"samples": 50, "every": 10}), 2)
    result.save(tmp_path / "r.nc")
    loaded = numsim.load_result(tmp_path / "r.nc")
    assert loaded.to_dataset().identical(result.to_dataset())
    assert loaded.summary() == result.summary()
    document = json.loads(json.dumps(result.summary()))
    assert list(document["arms"]) == list(ARMS)
    assert document["simclr"] is None
    assert list(document["arms"]["sam"]["test_error_by_cluster"]) == ["+u", "-u", "v"]
    path = loaded.arms["sgd"].trajectory
    assert list(path["evaluation_step"].values) == [0, 10, 20, 30]
    assert path["test_error"].values[-1] == pytest.approx(loaded.arms["sgd"].test_error, abs=1e-12)
    by_cluster = result.arms["gd"].test_error_by_cluster
    assert by_cluster is not None
    assert by_cluster.dims == ("cluster",)


def test_ensembles_and_sweeps_have_the_arms() -> None:
    experiment = numsim.load(changed(arms=ARMS))
    found = numsim.run_many(experiment, [2, 5])
    assert list(found["arm"].values) == list(ARMS)
    alone = numsim.run(experiment, 5)
    assert float(found["test_error"].sel(arm="sam", seed=5)) == alone.arms["sam"].test_error
    by_cluster = alone.arms["sgd"].test_error_by_cluster
    assert by_cluster is not None
    kept = found["test_error_by_cluster"].sel(arm="sgd", seed=5)
    np.testing.assert_array_equal(kept.values, by_cluster.values)
    assert list(kept["cluster"].values) == ["+u", "-u", "v"]
    over = {"data.signals.u.norm": [2.0, 5.0], "arms.sam.finetuning.sam_radius": [0.1, 0.2]}
    swept = numsim.sweep(experiment, over, [5], None)
    cell = swept["test_error"].sel(
        {"arm": "sam", "data.signals.u.norm": 5.0, "arms.sam.finetuning.sam_radius": 0.1, "seed": 5}
    )
    assert float(cell) == alone.arms["sam"].test_error
    assert swept["test_error_by_cluster"].dims == ("arm", *over, "seed", "cluster")


def test_an_arm_may_have_a_pretraining_of_its_own() -> None:
    experiment: dict[str, Any] = {
        "data": {"dim": 1000},
        "pretraining": {"samples": 10, "steps": 20},
        "finetuning": {"samples": 4, "max_steps": 10},
        "arms": {
            "info": {},
            "nt": {"pretraining": {"loss": "nt_xent", "batch": 5}},
            "direct": {"skip_pretraining": True},
        },
    }
    result = numsim.run(experiment, 0)
    assert result.arms["info"].pretraining is None
    own = result.arms["nt"].pretraining
    assert own is not None
    assert own.status == "max_steps"
    plans = {plan.name: plan for plan in result.experiment.plans}
    assert plans["nt"].pretraining is not None
    assert plans["nt"].pretraining.temperature == 0.5
    assert plans["direct"].pretraining is None
    assert "pretraining" in result.summary()["arms"]["nt"]
    assert set(result.stages) == {"pretraining", "info", "pretraining_nt", "nt", "direct"}


def test_momentum_takes_smaller_steps() -> None:
    plans = numsim.load(changed(arms={"gd": {}, "m": {"finetuning.momentum": 0.9}})).resolved().plans
    assert plans[1].finetuning.learning_rate == pytest.approx(0.1 * plans[0].finetuning.learning_rate)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown name": (
        {"data.clusters.0.patches": [{"w": 1}, {"xi": 1}]},
        "data.clusters.0.patches.0: got 'w'",
    ),
    "impossible cosines": ({"data.cosines": {"u v": 1.5}}, "from -1 to 1"),
    "unequal patches": ({"data.clusters.1.patches": [{"u": 1}]}, "clusters of 1, 2 patches"),
    "negative weight": ({"data.clusters.1.weight": -1}, "data.clusters.1.weight: got -1"),
    "no weight": ({f"data.clusters.{k}.weight": 0 for k in range(3)}, "all 0"),
    "label": ({"data.clusters.1.label": 2}, "data.clusters.1.label: got 2"),
    "name of both": ({"data.noise": {"u": 1}}, "data.noise.u"),
    "dimension": ({"data.dim": 1}, "data.dim: got 1"),
    "odd counts": ({"data.balanced": True, "finetuning.samples": 18}, "nearest: 16"),
    "batch": ({"finetuning.batch": 5}, "finetuning.batch: got 5"),
    "draw in an arm": ({"arms": {"a": {"finetuning.samples": 4}}}, "changes no draw"),
    "views in an arm": ({"arms": {"a": {"pretraining.signal_kept": 0.5}}}, "changes no draw"),
    "clusters in an arm": ({"arms": {"a": {"finetuning.clusters": []}}}, "changes no draw"),
    "rate in an arm": (
        {"pretraining": {"samples": 4}, "arms": {"a": {"pretraining.encoder": "network"}}},
        "arms.a.pretraining.learning_rate: got none",
    ),
    "no such cluster": ({"data.clusters.9.weight": 2}, "data.clusters.9: got {'weight': 2}"),
    "range in an arm": ({"arms": {"a": {"finetuning.momentum": 1}}}, "arms.a.finetuning.momentum: got 1"),
    "label noise before": ({"pretraining.label_noise": 0.1}, "pretraining.label_noise"),
    "adam": ({"finetuning.optimizer": "adam"}, "rotation-equivariant"),
    "no such loss": ({"finetuning.loss": "missing.py:LOSS", "finetuning.learning_rate": 1}, "no such file"),
    "linear end": ({"pretraining": {"loss": "nt_xent", "stop_at_linear_end": True}}, "linear stage"),
    "temperature": ({"pretraining": {"loss": "spectral", "temperature": 1}}, "no temperature"),
    "subset": ({"finetuning": {"labelled": "subset", "clusters": [], "samples": 0}}, "finetuning"),
    "cluster": ({"data.clusters": [3]}, "data.clusters.0: got 3"),
    "beyond the floats": ({"data.noise": {"xi": 10**400}}, "data.noise.xi: got"),
    "signals": ({"data.signals": {"u": 3}}, "data.signals.u: got 3"),
    "pair": ({"data.cosines": {"u w": 0.1}}, "pair of different signals"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_in_tables_and_arms(fault: str) -> None:
    overrides, words = FAULTS[fault]
    with pytest.raises(ConfigError) as caught:
        numsim.load(XOR, overrides).resolved()
    assert any(words in line for line in caught.value.faults)
    assert all("\n" not in line for line in caught.value.faults)


def test_a_place_that_is_none_is_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        numsim.load(XOR, {"data.clusters.9.weight": 2})
    assert len(caught.value.faults) == 1


def test_equal_signals_span_one_dimension() -> None:
    line = changed(data={"dim": 1, "projected": False, "cosines": {"u v": 1.0}})
    numsim.load(line).resolved()


def test_the_spectral_loss_is_read_back_without_a_temperature(tmp_path: Path) -> None:
    e = numsim.load(XOR, {"pretraining": {"samples": 4, "loss": "spectral", "steps": 2}})
    result = numsim.run(e.replace({"finetuning.max_steps": 2}))
    again = numsim.Experiment(**json.loads(json.dumps(result.experiment.as_dict()))).resolved()
    assert again == result.experiment
    result.save(tmp_path / "result.nc")
    assert numsim.load_result(tmp_path / "result.nc").experiment == result.experiment


def test_three_signals_without_cosines_that_vectors_have() -> None:
    table = changed(
        data={"signals": {s: {"norm": 1.0} for s in "uvw"}, "cosines": {"u v": 0.9, "v w": 0.9, "u w": -0.9}}
    )
    with pytest.raises(ConfigError, match="cosines that vectors can have"):
        numsim.load(table)


def test_levels_of_tables() -> None:
    e = numsim.load(XOR, {"data.signals.u.snr": 1.0, "data.clusters.2.weight": 4})
    assert e.mixtures.data.norms[0] == pytest.approx(math.sqrt(50))
    np.testing.assert_allclose(e.mixtures.data.weights, np.array([2, 1, 4]) / 7)
    again = numsim.Experiment(**json.loads(json.dumps(e.as_dict())))
    assert again.as_dict() == e.as_dict()
    assert numsim.Experiment(**copy.deepcopy(XOR)) == numsim.load(XOR)
    assert hash(numsim.load(XOR)) == hash(numsim.load(XOR))
    other = numsim.load(XOR, {"evaluation.clusters": [{"label": 1, "patches": [{"u": 1}, {"xi": 3}]}]})
    assert other.mixtures.test.on_noises[0, 1, 0] == 3
    assert len(other.mixtures.labelled.clusters) == 3
