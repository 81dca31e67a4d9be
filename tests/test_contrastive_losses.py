"""NT-Xent, the spectral loss and normalised InfoNCE: the naive twin, laws, and descents by every rule."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances

import numsim
from numsim.descent import forms, reference
from numsim.descent.nt_xent import CONTRASTIVE
from numsim.descent.rules import Rule, epoch_batches

Floats = npt.NDArray[np.float64]
SIZES = [(5, 4, 7), (2, 1, 3), (1, 3, 4), (20, 6, 9)]


def views(n: int, filters: int, width: int, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((filters, width)),
        rng.standard_normal((n, width)),
        rng.standard_normal((n, width)),
    )


def unit_info_nce(W: Any, z: Floats, z_aug: Floats, temperature: float) -> Any:
    h, v = ([W @ x / np.sqrt(np.sum((W @ x) ** 2)) for x in part] for part in (z, z_aug))
    total = 0.0
    for i, u in enumerate(h):
        own = np.sum(u * v[i]) / temperature
        rest = sum(np.exp(np.sum(u * h[k]) / temperature - own) for k in range(len(h)) if k != i)
        total = total + np.log(1 + rest)
    return total / len(h)


def assert_derivative(loss: Any, W: Floats, value: float, grad: Floats) -> None:
    assert value == pytest.approx(float(loss(W)), rel=1e-12, abs=1e-13)
    size = max(1.0, float(np.max(np.abs(grad))))
    for place in np.ndindex(W.shape):
        moved = W.astype(complex)
        moved[place] += 1j * tolerances.COMPLEX_STEP
        slope = loss(moved).imag / tolerances.COMPLEX_STEP
        assert abs(grad[place] - slope) < 1e-11 * size


@pytest.mark.parametrize("sizes", SIZES[:3])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
@pytest.mark.parametrize("normalised", [True, False])
def test_nt_xent_is_the_naive_one(sizes: tuple[int, int, int], temperature: float, normalised: bool) -> None:
    W, z, z_aug = views(*sizes)
    W = W if normalised else 0.3 * W  # e^s of the twin in range
    found = numsim.nt_xent(W, z, z_aug, temperature=temperature, normalised=normalised)
    assert_derivative(lambda V: reference.nt_xent_loss(V, z, z_aug, temperature, normalised), W, *found)


@pytest.mark.parametrize("sizes", SIZES[:2])
def test_normalised_info_nce_is_the_naive_one(sizes: tuple[int, int, int]) -> None:
    W, z, z_aug = views(*sizes)
    found = numsim.info_nce(W, z, z_aug, temperature=0.3, normalised=True)
    assert_derivative(lambda V: unit_info_nce(V, z, z_aug, 0.3), W, *found)


@pytest.mark.parametrize("sizes", SIZES[:2])
def test_the_spectral_loss_is_the_naive_one(sizes: tuple[int, int, int]) -> None:
    W, z, z_aug = views(*sizes)
    found = numsim.spectral_loss(W, z, z_aug)
    assert_derivative(lambda V: reference.spectral_loss(V, z, z_aug), W, *found)


def test_autodiff_agrees() -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    jax.config.update("jax_enable_x64", True)
    W, z, z_aug = views(20, 6, 9)

    def loss(V: Any) -> Any:
        H = V @ jnp.concatenate([z, z_aug]).T
        U = H / jnp.linalg.norm(H, axis=0)
        S = U.T @ U / 0.2 - 1e30 * jnp.eye(40)
        partner = (jnp.arange(40) + 20) % 40
        return jnp.mean(jax.nn.logsumexp(S, axis=1) - S[jnp.arange(40), partner])

    value, grad = numsim.nt_xent(W, z, z_aug, temperature=0.2)
    assert value == pytest.approx(float(loss(W)), rel=1e-12)
    np.testing.assert_allclose(grad, jax.grad(loss)(W), rtol=0, atol=1e-11)


@pytest.mark.parametrize("temperature", [0.5, 1e-3])
@pytest.mark.parametrize("scale", [1e-120, 1.0, 1e120])
def test_laws_of_normalised_nt_xent(temperature: float, scale: float) -> None:
    W, z, z_aug = views(20, 6, 9)
    value, grad = numsim.nt_xent(scale * W, z, z_aug, temperature=temperature)
    assert np.isfinite(grad).all()
    size = float(np.max(np.abs(grad * scale))) * W.size
    assert abs(np.sum(W * (grad * scale))) < 1e-11 * size
    assert value == pytest.approx(numsim.nt_xent(W, z, z_aug, temperature=temperature)[0], rel=1e-11)
    assert value == pytest.approx(numsim.nt_xent(scale * W, z_aug, z, temperature=temperature)[0], rel=1e-12)


def test_equal_features() -> None:
    W, z = views(7, 3, 4)[0], np.ones((7, 4))
    assert numsim.nt_xent(W, z, z)[0] == pytest.approx(math.log(13), abs=1e-11)
    assert numsim.info_nce(W, z, z, normalised=True)[0] == pytest.approx(math.log(7), abs=1e-11)
    assert numsim.spectral_loss(0 * W, z, z)[0] == 0.0


@pytest.mark.compiled  # interpreted, NumPy warns of what overflows
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda W, z, v: numsim.nt_xent(0 * W, z, v), "feature W z"),
        (lambda W, z, v: numsim.nt_xent(W, z, v, temperature=0), "temperature is"),
        (lambda W, z, v: numsim.nt_xent(W, z, v[:1]), "z has shape"),
        (lambda W, z, v: numsim.spectral_loss(W, z[:1], v[:1]), "at least 2"),
        (lambda W, z, v: numsim.spectral_loss(1e200 * W, z, v), "exceed"),
        (lambda W, z, v: numsim.info_nce(0 * W, z, v, normalised=True), "feature W z"),
    ],
)
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(*views(5, 4, 7))


RULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum and decay": {"momentum": 0.8, "weight_decay": 0.05},
    "batches": {"batch": 4},
    "all": {"batch": 4, "sam_radius": 0.1, "clip_norm": 0.1, "momentum": 0.5, "schedule": "cosine"},
}
LOSSES: dict[str, tuple[dict[str, Any], float]] = {
    "nt_xent": ({"loss": "nt_xent"}, 0.05),
    "unnormalised": ({"loss": "nt_xent", "normalised": False}, 0.01),
    "info_nce": ({"loss": "info_nce", "stop_at_linear_end": False}, 0.02),
    "unit info_nce": ({"loss": "info_nce", "normalised": True}, 0.05),
    "spectral": ({"loss": "spectral"}, 2e-4),
}
STEPS = 8


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("form", ["Gram", "coordinates"])
def test_descents_are_the_naive_one(rule: str, loss: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_in_gram_form", lambda *sizes: form == "Gram")
    W, z, z_aug = views(12, 4, 9, seed=1)
    z_aug = z + 0.3 * z_aug
    settings, rate = LOSSES[loss]
    found, run = numsim.pretrain(
        W,
        z,
        z_aug,
        learning_rate=rate,
        max_steps=STEPS,
        rng=np.random.default_rng(7),
        **(settings | RULES[rule]),
    )
    used = Rule(**RULES[rule])
    batches = epoch_batches(np.random.default_rng(7), 12, used.batch, STEPS) if used.batch else None
    V, velocity = W, np.zeros_like(W)
    functions: dict[str, Any] = {
        "nt_xent": lambda U, a, b: numsim.nt_xent(U, a, b, normalised=settings.get("normalised", True)),
        "info_nce": lambda U, a, b: numsim.info_nce(U, a, b, normalised=settings.get("normalised", False)),
        "spectral": numsim.spectral_loss,
    }
    function, values = functions[settings["loss"]], []
    for t in range(STEPS):
        chosen = np.arange(12) if batches is None else batches[t]
        values.append(function(V, z[chosen], z_aug[chosen])[0])
        eta = rate * (1 + math.cos(math.pi * t / STEPS)) / 2 if used.schedule == "cosine" else rate
        V, velocity = reference.rule_step(
            V, velocity, lambda U, c=chosen: function(U, z[c], z_aug[c])[1], eta, used
        )
    np.testing.assert_allclose(found, V, rtol=0, atol=1e-11)
    if used.batch:  # the mean over an epoch's batches, each at the iterate that met it
        assert run.loss == pytest.approx(np.mean(values[6:]), rel=1e-11)
        assert run.recorded_losses[1] == pytest.approx(np.mean(values[:3]), rel=1e-11)
    else:
        assert run.loss == pytest.approx(function(V, z, z_aug)[0], rel=1e-11)


@pytest.mark.parametrize("activation", ["relu", "power", "leaky"])
def test_features_of_a_network(activation: str) -> None:
    """Gradient steps on sum_p sigma(<w, x_p>), against differences of the loss of the features."""
    rng = np.random.default_rng(3)
    W, x, v = rng.standard_normal((4, 5)), rng.standard_normal((6, 2, 5)), rng.standard_normal((6, 2, 5))

    def loss(U: Any) -> Any:
        H = np.array(
            [
                [sum(reference.activate(w @ p + 0.0, activation, 2.0, 0.1, 0.7) for p in sample) for w in U]
                for sample in np.concatenate([x, v])
            ]
        )
        return reference.nt_xent_loss(np.eye(4), H[:6], H[6:], 0.5, True)

    rate = 1e-3
    found, run = numsim.pretrain(
        W, x, v, learning_rate=rate, max_steps=1, loss="nt_xent", encoder="network", q=2.0,
        activation=activation, width=0.7,
    )  # fmt: skip
    assert run.recorded_losses[0] == pytest.approx(float(loss(W)), rel=1e-12)
    for place in np.ndindex(W.shape):
        moved = W.astype(complex)
        moved[place] += 1j * tolerances.COMPLEX_STEP
        slope = loss(moved).imag / tolerances.COMPLEX_STEP
        assert (W - found)[place] / rate == pytest.approx(slope, abs=1e-10)


@pytest.mark.compiled  # interpreted, NumPy warns of the division
def test_a_vanishing_feature_is_a_status() -> None:
    W, z, z_aug = views(6, 3, 4)
    z[2] = 0.0
    _, run = numsim.pretrain(W, z, z_aug, learning_rate=0.1, max_steps=5, loss="nt_xent")
    assert run.status == "non_finite"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": "simclr"}, "loss is"),
        ({"encoder": "deep"}, "encoder is"),
        ({"loss": "spectral", "temperature": 1.0}, "no temperature"),
        ({"loss": "nt_xent", "stop_at_linear_end": True}, "linear stage"),
        ({"batch": 4}, "divisor of at least 2"),
        ({"batch": 3}, "rng is None"),
        ({"loss": "nt_xent", "encoder": "network"}, "expected the same"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], words: str) -> None:
    W, z, z_aug = views(6, 3, 4)
    with pytest.raises(ValueError, match=words):
        numsim.pretrain(W, z, z_aug, learning_rate=0.1, max_steps=5, **settings)


@pytest.mark.compiled
@pytest.mark.parametrize("scale", [1e-3, 1.0])
@pytest.mark.parametrize("snr", [0.02, 2.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("loss", "normalised"), [(n, u) for n in CONTRASTIVE for u in (False, True)])
def test_derived_rates_descend(
    loss: str, normalised: bool, momentum: float, snr: float, scale: float
) -> None:
    stage = {"samples": 20, "steps": 60, "loss": loss, "normalised": normalised, "momentum": momentum}
    given = {"data": {"dim": 5000, "snr": snr}, "network": {"filters": 5, "relative_init_scale": scale}}
    result = numsim.run(given | {"pretraining": stage, "finetuning": {"samples": 4, "max_steps": 1}})
    assert result.pretraining is not None
    losses = result.pretraining.trajectory["loss"].values
    assert result.pretraining.status != "non_finite"
    assert losses[-1] <= losses[0]  # at large scales the linear stage ends where it starts
    assert losses.max() <= losses[0] + 0.05 * abs(losses[0])
