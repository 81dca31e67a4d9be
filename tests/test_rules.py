"""Rules and supervised losses: the naive twin step by step, laws, edges, a loss of one's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances

import numsim
from numsim.descent import forms, losses, reference
from numsim.descent.rules import Rule, epoch_batches, label_flips
from numsim.descent.supervised import loss_gradient

Floats = npt.NDArray[np.float64]

HINGE = f"{Path(__file__).with_name('hinge.py')}:HINGE"
NETWORKS: dict[str, dict[str, Any]] = {
    "relu": {"q": 2.0},
    "relu, q = 1": {"q": 1.0},
    "power": {"q": 3.0, "activation": "power"},
    "power, q = 1.5": {"q": 1.5, "activation": "power"},
    "leaky": {"q": 1.0, "activation": "leaky", "width": 0.4, "slope": 0.2},
}
RULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum": {"momentum": 0.8},
    "decay": {"weight_decay": 0.1},
    "momentum and decay": {"momentum": 0.5, "weight_decay": 0.2},
    "batches": {"batch": 4},
    "batches that see every patch": {"batch": 8},
    "clipping": {"clip_norm": 0.01},
    "sam": {"sam_radius": 0.3},
    "label noise": {"label_noise": 0.3},
    "cosine": {"schedule": "cosine", "momentum": 0.3},
    "all": {
        "momentum": 0.6,
        "weight_decay": 0.05,
        "batch": 2,
        "clip_norm": 0.2,
        "sam_radius": 0.1,
        "schedule": "cosine",
        "label_noise": 0.2,
    },
}
STEPS, RATE = 12, 0.4


def data(seed: int = 0, samples: int = 8, width: int = 6) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    W = 0.3 * rng.standard_normal((2, 3, width))
    y = np.where(rng.random(samples) < 0.5, 1.0, -1.0)
    return W, rng.standard_normal((samples, 2, width)), y


def twin(
    W: Floats, x: Floats, y: Floats, rule: Rule, network: dict[str, Any], loss: str, seed: int
) -> Floats:
    """The descent in weight space: one step of reference.rule_step after the other."""
    batch_rng, flip_rng = np.random.default_rng(seed).spawn(2)
    n = len(y)
    batches = epoch_batches(batch_rng, n, rule.batch, STEPS) if rule.batch else None
    flips = label_flips(flip_rng, n, rule.label_noise, STEPS) if rule.label_noise else np.ones((STEPS, n))
    settings = losses.Settings(
        network["q"],
        W.shape[1],
        1.0,
        network.get("activation", "relu"),
        network.get("slope", 0.1),
        network.get("width", 1.0),
    )
    velocity = np.zeros_like(W)
    for t in range(STEPS):
        chosen = np.arange(n) if batches is None else batches[t]

        def gradient(V: Floats, chosen: Any = chosen, signs: Floats = flips[t]) -> Floats:
            return loss_gradient(losses.LOSSES[loss], settings, V, x[chosen], (y * signs)[chosen])[1]

        rate = RATE * (1 + math.cos(math.pi * t / STEPS)) / 2 if rule.schedule == "cosine" else RATE
        W, velocity = reference.rule_step(W, velocity, gradient, rate, rule)
    return W


def trained(W: Floats, x: Floats, y: Floats, seed: int = 7, **settings: Any) -> tuple[Floats, Any]:
    given = {"learning_rate": RATE, "max_steps": STEPS, "target_loss": 0.0, "q": 2.0}
    return numsim.train(W, x, y, rng=np.random.default_rng(seed), **(given | settings))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_gradients_are_derivatives_of_the_naive_loss(network: str, loss: str) -> None:
    W, x, y = data()
    own = NETWORKS[network]
    named = {("kind" if k == "activation" else k): v for k, v in own.items()}
    full: dict[str, Any] = {"activation": "relu", "slope": 0.1, "width": 1.0} | own
    settings = losses.Settings(full["q"], W.shape[1], 1.0, full["activation"], full["slope"], full["width"])
    value, grad = loss_gradient(losses.LOSSES[loss], settings, W, x, y)
    assert value == pytest.approx(float(reference.supervised_loss(W, x, y, loss, **named)), rel=1e-13)
    h = tolerances.COMPLEX_STEP
    for place in np.ndindex(W.shape):
        moved = W.astype(complex)
        moved[place] += 1j * h
        slope = reference.supervised_loss(moved, x, y, loss, **named).imag / h
        assert abs(grad[place] - slope) < tolerances.roundoff(64)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("form", ["Gram", "coordinates"])
def test_descents_are_the_naive_one(rule: str, loss: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_in_gram_form", lambda *sizes: form == "Gram")
    W, x, y = data()
    network = NETWORKS["leaky" if rule == "all" else "relu"]
    expected = twin(W, x, y, Rule(**RULES[rule]), network, loss, seed=7)
    found, run = trained(W, x, y, loss=loss, **(network | RULES[rule]))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert run.steps == STEPS
    moved = run.initial * W.reshape(6, -1) + run.coefficients @ _dictionary(x)
    np.testing.assert_allclose(moved, expected.reshape(6, -1), rtol=0, atol=1e-12)
    assert run.recorded_initial[-1] == run.initial
    assert (run.initial == 1.0) == (RULES[rule].get("weight_decay", 0.0) == 0.0)


def _dictionary(x: Floats) -> Floats:
    return x.reshape(-1, x.shape[2])


def test_batches_cut_an_epochs_permutation() -> None:
    rows = epoch_batches(np.random.default_rng(0), 12, 4, 7)
    assert rows.shape == (7, 4)
    for epoch in (rows[:3], rows[3:6]):
        assert sorted(epoch.ravel()) == list(range(12))
    assert not np.array_equal(rows[:3], rows[3:6])


def test_flips_come_at_their_rate() -> None:
    flips = label_flips(np.random.default_rng(0), 50, 0.2, 400)
    share = np.mean(flips < 0)
    assert abs(share - 0.2) < tolerances.STANDARD_ERRORS * math.sqrt(0.16 / flips.size)


def test_pauses_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    W, x, y = data()
    expected, _ = trained(W, x, y, **RULES["all"])
    monkeypatch.setattr(forms, "_DRAWN", 20)
    found, _ = trained(W, x, y, **RULES["all"])
    assert np.array_equal(found, expected)


def test_rules_at_nothing_are_gradient_descent() -> None:
    W, x, y = data()
    expected, _ = trained(W, x, y)
    for rule in ({"clip_norm": 1e9}, {"sam_radius": 1e-12}, {"batch": len(y)}):
        found, _ = trained(W, x, y, **rule)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


def test_decay_alone_shrinks_the_initial_filters() -> None:
    W, x, y = data()
    _, run = trained(W, 0.0 * x, y, weight_decay=0.3)
    assert run.initial == pytest.approx((1 - RATE * 0.3) ** STEPS, rel=1e-12)


def test_no_gradient_no_perturbation() -> None:
    W, x, y = data()
    found, run = trained(-np.abs(W), np.abs(x), y, sam_radius=0.1, clip_norm=0.1)
    assert np.array_equal(found, -np.abs(W))
    assert run.loss == pytest.approx(math.log(2))


def test_recorded_losses_are_of_all_samples_with_their_labels() -> None:
    W, x, y = data()
    found, run = trained(W, x, y, batch=4, label_noise=0.3, record=100)
    assert list(run.recorded_steps) == [0, 2, 4, 6, 8, 10, 12]
    value, _ = numsim.logistic_loss(found, x, y, q=2.0)
    assert run.recorded_losses[-1] == pytest.approx(value, rel=1e-12)
    assert run.loss == run.recorded_losses[-1]


def test_targets_are_of_all_samples() -> None:
    W, x, y = data()
    _, run = trained(W, x, y, batch=2, max_steps=4000, target_loss=0.3)
    assert run.status == "target_loss"
    assert run.steps % 4 == 0
    assert run.loss <= 0.3


@pytest.mark.compiled
def test_many_samples_in_few_dimensions() -> None:
    rng = np.random.default_rng(0)
    W, x = 0.1 * rng.standard_normal((2, 2, 5)), rng.standard_normal((20_000, 1, 5))
    y = np.where(x[:, 0, 0] > 0, 1.0, -1.0)
    found, run = numsim.train(W, x, y, q=1.0, learning_rate=0.5, max_steps=20, target_loss=0)
    assert run.loss < 0.6
    value, _ = numsim.logistic_loss(found, x, y, q=1.0)
    assert run.loss == pytest.approx(value, rel=1e-9)


def test_a_loss_of_ones_own() -> None:
    W, x, y = data()
    found, run = trained(W, x, y, loss=HINGE, batch=4, momentum=0.5)
    rule, rng = Rule(batch=4, momentum=0.5), np.random.default_rng(7).spawn(2)[0]
    batches, velocity, V = epoch_batches(rng, 8, 4, STEPS), np.zeros_like(W), W
    sign = np.array([1.0, -1.0])[:, None, None, None]
    for t in range(STEPS):

        def gradient(U: Floats, chosen: Any = batches[t]) -> Floats:
            inner = np.maximum(np.einsum("jrd,npd->jrnp", U, x[chosen]), 0.0)
            f = (sign * inner**2).sum(axis=(0, 1, 3)) / 3
            pull = np.where(y[chosen] * f < 1, -y[chosen], 0.0) / len(chosen)
            grad: Floats = np.einsum("n,jrnp,npd->jrd", pull, sign * 2 * inner / 3, x[chosen])
            return grad

        V, velocity = reference.rule_step(V, velocity, gradient, RATE, rule)
    np.testing.assert_allclose(found, V, rtol=0, atol=1e-12)
    assert run.status == "max_steps"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("X = 1", "nothing of that name"),
        ("LOSS = 3", "got int"),
        ("import nothing_at_all", "ModuleNotFoundError"),
        ("LOSS = (1, 2)", "got tuple"),
    ],
)
def test_files_without_a_loss_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(ValueError, match=words):
        losses.loss_named(f"{tmp_path / 'own.py'}:LOSS")


@pytest.mark.compiled
def test_a_loss_that_is_not_compiled_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("LOSS = (lambda s, x: x, lambda R, task, out: 0.0)")
    with pytest.raises(ValueError, match="not compiled"):
        losses.loss_named(f"{tmp_path / 'own.py'}:LOSS")


def test_a_loss_that_is_not_a_number_is_a_status(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from typing import NamedTuple\nimport numpy as np\nfrom numsim.losses import kernel\n"
        "class T(NamedTuple):\n    q: float\n"
        "@kernel\ndef f(R, task, out):\n    out[:] = 0.0\n    return np.nan\n"
        "LOSS = (lambda settings, samples: T(settings.q), f)\n"
    )
    W, x, y = data()
    found, run = trained(W, x, y, loss=f"{tmp_path / 'own.py'}:LOSS")
    assert run.status == "non_finite"
    assert np.isnan(found).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch": 3}, "batch is 3"),
        ({"momentum": 1.0}, "momentum is"),
        ({"weight_decay": -1}, "weight_decay is"),
        ({"label_noise": 0.5}, "label_noise is"),
        ({"schedule": "linear"}, "schedule is"),
        ({"sam_radius": math.nan}, "sam_radius is"),
        ({"activation": "gelu"}, "activation is"),
        ({"loss": "nothing"}, "loss is"),
        ({"batch": 4, "rng": None}, "rng is None"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], words: str) -> None:
    W, x, y = data()
    given: dict[str, Any] = {"q": 2.0, "learning_rate": 0.1, "max_steps": 3, "rng": np.random.default_rng(0)}
    with pytest.raises(ValueError, match=words):
        numsim.train(W, x, y, **(given | settings))


@pytest.mark.compiled
@pytest.mark.parametrize("activation", ["relu", "power", "leaky"])
@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("q", [1.0, 3.0])
@pytest.mark.parametrize("rule", [{}, {"momentum": 0.9}, {"batch": 5}], ids=str)
@pytest.mark.parametrize("snr", [0.05, 1.0])
def test_derived_rates_descend(
    activation: str, loss: str, q: float, rule: dict[str, Any], snr: float
) -> None:
    for scale in (1e-2, 1.0):
        result = numsim.run(
            {
                "data": {"dim": 2000, "snr": snr, "flip_probability": 0.1},
                "network": {"filters": 5, "q": q, "activation": activation, "relative_init_scale": scale},
                "pretraining": {"samples": 0},
                "finetuning": {"samples": 20, "loss": loss, "max_steps": 200, "target_loss": 0, **rule},
            }
        )
        losses = result.direct.trajectory["loss"].values
        assert losses[-1] <= losses[0]
        assert losses.max() <= 1.5 * losses[0]
