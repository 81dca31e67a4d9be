"""New views at every step as a form of the loop: against steps in R^d, its law of motion, its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dense_descent
import numpy as np
import numpy.typing as npt
import pytest

import numsim
from numsim.descent.fresh_views import FreshDescent, FreshViews, pretrain_fresh_table, pretrain_fresh_views
from numsim.descent.pretraining import Contrast, activation_of
from numsim.descent.rules import Rule, epoch_batches
from numsim.models.mixture import FreshTable, Mixture

Floats = npt.NDArray[np.float64]

N, DIM, M, STEPS = 6, 9, 4, 7
RATE = {"info_nce": 0.1, "nt_xent": 0.1, "spectral": 0.002}
TABLE: dict[str, Any] = {
    "dim": DIM,
    "signals": {"u": {"norm": 2.0}, "v": {"norm": 1.5}},
    "cosines": {"u v": 0.5},
    "noise": {"xi": 0.3, "zeta": 0.2},
    "clusters": [
        {"label": 1, "patches": [{"u": 1}, {"xi": 1, "v": 0.3}]},
        {"label": -1, "patches": [{"v": -1, "zeta": 1}, {"xi": -1}]},
    ],
}
CASES: dict[str, tuple[dict[str, Any], Rule]] = {
    "NT-Xent, momentum, decay": ({"loss": "nt_xent"}, Rule(momentum=0.7, weight_decay=0.05)),
    "spectral, cosine": ({"loss": "spectral"}, Rule(schedule="cosine")),
    "InfoNCE, batches, clipped": ({}, Rule(batch=3, clip_norm=0.05)),
    "InfoNCE, SAM": ({}, Rule(sam_radius=0.05)),
    "normalised": ({"normalised": True}, Rule()),
    "network": ({"encoder": "network"}, Rule(momentum=0.5)),
    "network, batches": ({"encoder": "network", "loss": "nt_xent"}, Rule(batch=2)),
}


def table(kept: float = 0.6, overlap: float = 0.4) -> FreshTable:
    """Samples of a mixture in all of R^d, so that views are dense draws."""
    mixture: Mixture = numsim.load({"data": TABLE}).mixtures.data
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((2 * N, DIM)) * np.repeat(mixture.scales, N)[:, None]
    noise[:, : mixture.rank] = 0.0
    clusters = np.arange(N, dtype=np.int64) % 2
    return FreshTable(
        mixture,
        mixture.vectors,
        clusters,
        noise,
        overlap,
        kept,
        np.random.default_rng(2),
        np.random.default_rng(3),
    )


def contrast_of(settings: dict[str, Any]) -> Contrast:
    loss = settings.get("loss", "info_nce")
    unit = settings.get("normalised", loss == "nt_xent")
    return Contrast(loss, 0.5 if loss == "nt_xent" else 1.0, unit, "encoder" in settings, False)


def spectral(z: Floats, z_aug: Floats) -> dense_descent.Gradient:
    """Of -(2/n) sum h.h~ + sum over i != k of (h_i.h_k)^2/(n (n - 1)), h = W z."""

    def gradient(W: Floats, chosen: Any, flips: Any) -> Floats:
        h, h_aug, n = z @ W.T, z_aug @ W.T, len(z)
        S = h @ h.T
        np.fill_diagonal(S, 0.0)
        pull = 4 / (n * (n - 1)) * S @ h - 2 / n * h_aug
        found: Floats = pull.T @ z - 2 / n * h.T @ z_aug
        return found

    return gradient


def dense_steps(settings: dict[str, Any], rule: Rule, W: Floats) -> Floats:
    """The same descent in R^d: the table's own draws, everything else written anew."""
    drawn, contrast = table(), contrast_of(settings)
    mixture, velocity = drawn.mixture, np.zeros_like(W)
    views, kept = np.random.default_rng(2), np.random.default_rng(3)
    order = epoch_batches(np.random.default_rng(4), N, rule.batch, STEPS) if rule.batch else None
    signals = np.zeros((2, DIM))
    signals[:, : mixture.rank] = mixture.vectors
    for t in range(STEPS):
        chosen = np.arange(N) if order is None else order[t]
        fresh = [scale * views.standard_normal((len(chosen), DIM)) for scale in mixture.scales]
        coins = np.where(kept.random(len(chosen)) < 0.6, 1.0, 0.0)
        patches: list[list[Floats]] = [[], []]
        for i, c in enumerate(drawn.clusters[chosen]):
            own = [drawn.noise[v * N + chosen[i]] for v in range(2)]
            for side in range(2):
                noise = own
                if side:
                    for v in range(2):
                        fresh[v][i, : mixture.rank] = 0.0
                    noise = [0.4 * own[v] + np.sqrt(1 - 0.16) * fresh[v][i] for v in range(2)]
                weight = coins[i] if side else 1.0
                sample = [
                    weight * mixture.on_signals[c, p] @ signals
                    + sum(mixture.on_noises[c, p, v] * noise[v] for v in range(2))
                    for p in range(2)
                ]
                patches[side].append(np.array(sample))
        x, x_aug = (np.array(side) for side in patches)
        arrays: dict[str, Any] = {"temperature": contrast.temperature, "pretraining_q": 1.5}
        arrays |= (
            {"unlabelled": x, "views": x_aug}
            if contrast.network
            else {"z": x.sum(axis=1), "z_aug": x_aug.sum(axis=1)}
        )
        config = {"pretraining": {"samples": len(chosen), **settings}}
        gradient = dense_descent.contrastive(arrays, config, "relu")
        if contrast.loss == "spectral":
            gradient = spectral(arrays["z"], arrays["z_aug"])
        everyone = np.arange(len(chosen))
        g = gradient(W, everyone, W[0])
        if rule.sam_radius:
            g = gradient(W + rule.sam_radius * g / np.linalg.norm(g), everyone, W[0])
        if rule.clip_norm:
            g = g * min(1.0, rule.clip_norm / float(np.linalg.norm(g)))
        velocity = rule.momentum * velocity + g + rule.weight_decay * W
        eta = RATE[contrast.loss] * (
            0.5 * (1 + np.cos(np.pi * t / STEPS)) if rule.schedule == "cosine" else 1.0
        )
        W = W - eta * velocity
    return W


def run(settings: dict[str, Any], rule: Rule, W: Floats, drawn: FreshTable) -> tuple[Floats, FreshDescent]:
    return pretrain_fresh_table(
        W,
        drawn,
        contrast_of(settings),
        rule,
        activation_of(1.5, "relu", 0.1, 1.0) if "encoder" in settings else None,
        learning_rate=RATE[contrast_of(settings).loss],
        batch_rng=np.random.default_rng(4),
        max_steps=STEPS,
    )


@pytest.mark.parametrize("case", CASES)
def test_steps_in_all_dimensions_end_in_the_same_filters(case: str) -> None:
    settings, rule = CASES[case]
    W = 0.5 * np.random.default_rng(0).standard_normal((M, DIM))
    found, _ = run(settings, rule, W, table())
    np.testing.assert_allclose(found[:, :DIM], dense_steps(settings, rule, W), atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_signals_move_by_gamma(case: str) -> None:
    """<w, mu_s> = c <w^0, mu_s> + sum_t gamma_t <mu_t, mu_s>/|mu_t|^2: all noise is orthogonal to signals."""
    settings, rule = CASES[case]
    W = 0.5 * np.random.default_rng(0).standard_normal((M, DIM))
    drawn = table()
    _, descent = run(settings, rule, W, drawn)
    mixture = drawn.mixture
    assert descent.recorded_initial is not None
    start = W[:, : mixture.rank] @ mixture.vectors.T
    moved = descent.recorded_gamma @ (mixture.gram / mixture.norms[:, None] ** 2)
    expected = descent.recorded_initial[:, None, None] * start + moved
    np.testing.assert_allclose(descent.recorded_signal, expected, atol=1e-12)
    assert descent.recorded_rho.shape == (len(descent.recorded_steps), M, N, 2)
    assert list(descent.recorded_steps) == list(range(0, STEPS + 1, N // rule.batch if rule.batch else 1)) + (
        [STEPS] if rule.batch and STEPS % (N // rule.batch) else []
    )


@pytest.mark.parametrize("case", CASES)
def test_coefficients_recompose_the_filters(case: str) -> None:
    """Views without noise move nothing else: w = c w^0 + sum gamma mu/|mu|^2 + sum rho xi/|xi|^2."""
    settings, rule = CASES[case]
    W = 0.5 * np.random.default_rng(0).standard_normal((M, DIM))
    drawn = table(kept=1.0, overlap=0.0)
    drawn = replace(drawn, mixture=replace(drawn.mixture, scales=np.zeros(2)))
    found, descent = run(settings, rule, W, drawn)
    mixture, noise = drawn.mixture, drawn.noise.reshape(2, N, DIM)
    assert descent.recorded_initial is not None
    along = descent.recorded_gamma[-1] / mixture.norms**2 @ mixture.vectors
    across = np.einsum("riv,vid->rd", descent.recorded_rho[-1] / np.sum(noise**2, axis=2).T, noise)
    expected = descent.recorded_initial[-1] * W + across
    expected[:, : mixture.rank] += along
    np.testing.assert_allclose(found[:, :DIM], expected, atol=1e-12)
    assert np.max(np.abs(descent.recorded_rho[-1])) > 1e-4


def test_the_plain_steps_are_these_too() -> None:
    """InfoNCE of signal-noise data has steps of its own: the same numbers but for round-off."""
    e = numsim.load(
        {"data": {"dim": 400, "snr": 0.5}, "pretraining": {"samples": N, "views": "fresh"}}
    ).resolved()
    instance = numsim.draw(e)
    assert instance.unlabelled is not None
    settings: dict[str, Any] = {"learning_rate": 0.01, "max_steps": 20}
    W, own = pretrain_fresh_views(
        instance.filters,
        instance.mu,
        instance.unlabelled.labels,
        instance.unlabelled.noise,
        FreshViews(400, 1.0, True, 0.3, np.random.default_rng(7)),
        temperature=1.0,
        stop_at_linear_end=True,
        **settings,
    )
    clusters = (instance.unlabelled.labels < 0).astype(np.int64)
    drawn = FreshTable(
        e.mixtures.data,
        instance.mu[None, :1],
        clusters,
        instance.unlabelled.noise,
        0.3,
        1.0,
        np.random.default_rng(7),
        np.random.default_rng(8),
    )
    plain = Contrast("info_nce", 1.0, False, False, True)
    other, found = pretrain_fresh_table(
        instance.filters, drawn, plain, Rule(), None, batch_rng=None, threshold=0.3, **settings
    )
    assert (found.status, found.steps) == (own.status, own.steps)
    np.testing.assert_allclose(found.recorded_gamma, own.recorded_gamma, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(found.recorded_rho, own.recorded_rho, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.recorded_losses, own.recorded_losses, rtol=1e-12)
    np.testing.assert_allclose(other @ other.T, W @ W.T, rtol=1e-9)


def test_arms_of_fresh_views() -> None:
    """From the experiment to trajectories: a mixture, arms of all kinds, one of them diverging."""
    given = {
        "data": TABLE | {"dim": 60},
        "network": {"filters": 3, "q": 2.0, "relative_init_scale": 0.1},
        "pretraining": {"samples": 8, "views": "fresh", "steps": 6, "signal_kept": 0.8},
        "finetuning": {"samples": 4, "max_steps": 5, "target_loss": 0},
        "arms": {
            "plain": {},
            "nt": {"pretraining.loss": "nt_xent", "pretraining.momentum": 0.5},
            "batches": {"pretraining.batch": 4, "pretraining.weight_decay": 0.01},
            "far": {"pretraining.learning_rate": 1e9},
        },
    }
    result = numsim.run(given)
    assert result.pretraining is not None
    path = result.pretraining.trajectory
    assert path["gamma"].dims == ("step", "filter", "signal")
    assert path["rho"].dims == ("step", "filter", "unlabelled", "noise")
    nt, batches, far = (result.arms[name].pretraining for name in ("nt", "batches", "far"))
    assert nt is not None
    assert batches is not None
    assert far is not None
    assert "rho_aug" not in nt.trajectory
    assert batches.trajectory["initial"].values[-1] < 1
    assert far.status == "non_finite"
    assert result.arms["far"].status == "non_finite"
    assert result.arms["nt"].status == "max_steps"
    again = numsim.run(given)
    assert again.arms["nt"].test_loss == result.arms["nt"].test_loss
