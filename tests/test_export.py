"""The dense export: anyone's own code, following its readme, ends in the same filters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tolerances import RESPONSE_FACTOR, monte_carlo, perturbed, roundoff, trajectory

import numsim
from numsim.runs.export import _frame, dense_arrays, write_dense

Floats = npt.NDArray[np.float64]
Arrays = dict[str, Any]

_SMALL: dict[str, object] = {
    "data.dim": 300,
    "data.snr": 0.5,
    "network.filters": 2,
    "pretraining.samples": 6,
    "pretraining.steps": 25,
    "finetuning.samples": 4,
    "finetuning.max_steps": 40,
    "evaluation.samples": 50,
}
_VARIANTS: dict[str, dict[str, object]] = {
    "plain": {},
    "bias": {"network.bias": True},
    "flips": {"data.flip_probability": 0.45, "seed": 1},
    "unprojected": {"data.projected": False},
    "output scale": {"network.output_scale": 3.5},
    "relu": {"network.q": 1, "network.bias": True},
    "overlap": {"pretraining.overlap": 0.5, "pretraining.temperature": 0.3},
    "subset": {"finetuning.labelled": "subset", "data.balanced": True},
    "small d": {"data.dim": 3, "data.projected": False},
    "direct only": {"pretraining.samples": 0},
    "no steps": {"pretraining.steps": 0, "finetuning.max_steps": 0},
}


def _written(path: Path, overrides: dict[str, object]) -> Arrays:
    write_dense(numsim.load(None, overrides), path)
    with np.load(path) as file:  # without pickles
        return {name: file[name] for name in file.files}


def _pretrained(a: Arrays, W: Floats) -> Floats:
    """The readme's contrastive stage, in R^d."""
    z, view, tau = a["z"], a["z_aug"], float(a["temperature"])
    n = len(z)
    for _ in range(int(a["pretraining_steps"])):
        P, V = z @ W.T, view @ W.T
        s = P @ P.T
        np.fill_diagonal(s, np.sum(P * V, axis=1))
        p = np.exp((s - s.max(axis=1, keepdims=True)) / tau)
        p /= p.sum(axis=1, keepdims=True)
        pull = np.diag(p) - 1.0
        np.fill_diagonal(p, 0.0)
        of_P = (p + p.T) @ P + pull[:, None] * V
        gradient = (of_P.T @ z + (pull[:, None] * P).T @ view) / (n * tau)
        W = W - float(a["pretraining_learning_rate"]) * gradient
    return W


def _trained(a: Arrays, W: Floats, steps: int) -> tuple[Floats, Floats]:
    """The readme's supervised stage, in R^d: filters (2, m, d) and biases (2, m)."""
    x, y, q, m = a["x"], a["y"], float(a["q"]), W.shape[1]
    b = a["bias0"][a["split"]].reshape(2, m) if "bias0" in a else np.zeros((2, m))
    signs = np.array([1.0, -1.0])[:, None, None, None]
    scale, rate = float(a["output_scale"]) / m, float(a["finetuning_learning_rate"])
    for _ in range(steps):
        t = np.einsum("jmd,npd->jmnp", W, x) + b[:, :, None, None]
        positive = np.where(t > 0, t, 0.0)
        f = scale * np.sum(signs * positive**q, axis=(0, 1, 3))
        of_f = -y / (1 + np.exp(y * f)) / len(y)
        of_t = signs * scale * q * np.where(t > 0, positive ** (q - 1), 0.0) * of_f[:, None]
        W = W - rate * np.einsum("jmnp,npd->jmd", of_t, x)
        if "bias0" in a:
            b = b - rate * of_t.sum(axis=(2, 3))
    return W, b


def _retrained(a: Arrays, W0: Floats) -> list[Floats]:
    """Final filters (and biases) of pre-training and of both arms, from initial filters (2m, d)."""
    ends: list[Floats] = []
    starts = {"direct": W0}
    if "z" in a:
        starts["simclr"] = _pretrained(a, W0)
        ends.append(starts["simclr"])
    for name, W in sorted(starts.items()):
        halves = W[a["split"]].reshape(2, len(W) // 2, -1)
        ends += _trained(a, halves, int(a[f"{name}_steps"]))
    return ends


def _expected(a: Arrays) -> list[Floats]:
    ends = [a["W_pretrained"]] if "z" in a else []
    for name in ("direct", "simclr") if "z" in a else ("direct",):
        W = a[f"W_{name}"]
        ends += [W, a.get(f"bias_{name}", np.zeros(W.shape[:2]))]
    return ends


def _check(a: Arrays) -> None:
    ends = _retrained(a, a["W0"])
    allowed = trajectory(ends, [_retrained(a, W) for W in perturbed(a["W0"])])
    for expected, got, most in zip(_expected(a), ends, allowed, strict=True):
        assert expected.shape == got.shape
        assert float(np.max(np.abs(expected - got))) <= most


@pytest.mark.parametrize("name", _VARIANTS)
def test_own_code_ends_in_the_same_filters(name: str, tmp_path: Path) -> None:
    a = _written(tmp_path / "dense.npz", _SMALL | _VARIANTS[name])
    _check(a)
    assert ("W_pretrained" in str(a["readme"])) == ("z" in a)
    assert numsim.Experiment(**json.loads(str(a["config"]))).data.dim == a["mu"].size


@pytest.mark.compiled
@pytest.mark.parametrize("extra", [{}, {"network.bias": True, "data.flip_probability": 0.1}])
def test_own_code_ends_in_the_same_filters_at_full_length(extra: dict[str, object], tmp_path: Path) -> None:
    a = _written(tmp_path / "dense.npz", {"data.dim": 2000, "finetuning.max_steps": 400, **extra})
    assert a["z"].shape == (100, 2000)
    _check(a)


def test_one_step_agrees_with_automatic_differentiation(tmp_path: Path) -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    one: dict[str, object] = {
        "pretraining.steps": 1,
        "pretraining.stop_at_linear_end": False,
        "finetuning.max_steps": 1,
    }
    one |= {"network.relative_init_scale": 0.3}
    a = _written(tmp_path / "dense.npz", _SMALL | one)

    def contrastive(W: Any) -> Any:
        P, V = a["z"] @ W.T, a["z_aug"] @ W.T
        s = (P @ P.T) / a["temperature"]
        positive = jnp.sum(P * V, axis=1) / a["temperature"]
        s = jnp.where(jnp.eye(len(P), dtype=bool), positive[:, None], s)
        return jnp.mean(jax.scipy.special.logsumexp(s, axis=1) - positive)

    def logistic(W: Any) -> Any:
        t = jnp.einsum("jmd,npd->jnmp", W, a["x"])
        F = a["output_scale"] * jnp.mean(jnp.sum(jnp.maximum(t, 0.0) ** a["q"], axis=3), axis=2)
        return jnp.mean(jnp.logaddexp(0.0, -a["y"] * (F[0] - F[1])))

    def step(loss: Any, W: Floats, rate: str) -> Floats:
        return np.asarray(W - a[rate] * jax.grad(loss)(W))

    pretrained = step(contrastive, a["W0"], "pretraining_learning_rate")
    arms = {"simclr": pretrained, "direct": a["W0"]}
    ends = [pretrained]
    for name in sorted(arms):
        halves = arms[name][a["split"]].reshape(a["W_direct"].shape)
        ends.append(step(logistic, halves, "finetuning_learning_rate"))
    for expected, got in zip([a["W_pretrained"], a["W_direct"], a["W_simclr"]], ends, strict=True):
        size = float(np.max(np.abs(got)))
        assert float(np.max(np.abs(expected - got))) <= RESPONSE_FACTOR * roundoff(got.shape[-1], size)


@pytest.mark.parametrize("dim", [1, 3, 300])
def test_embedding_keeps_inner_products(dim: int) -> None:
    e = numsim.load(None, _SMALL | {"data.dim": dim})
    a, instance = dense_arrays(e), numsim.draw(e)
    assert instance.unlabelled is not None
    z, view = instance.unlabelled.sums(instance.mu)
    own = np.concatenate([instance.mu[None], instance.filters, z, view, instance.labelled.noise])
    dense = np.concatenate([a["mu"][None], a["W0"], a["z"], a["z_aug"], a["x"][:, 1]])
    assert dense.shape[1] == dim
    lengths = np.linalg.norm(own, axis=1)
    error = np.abs(dense @ dense.T - own @ own.T)
    assert np.all(error <= roundoff(len(own) + dim) * np.outer(lengths, lengths))
    assert np.array_equal(a["x"][:, 0], a["true_y"][:, None] * a["mu"])


@pytest.mark.parametrize("dim", [1, 3])
def test_frames_are_uniformly_distributed(dim: int) -> None:
    """Of Haar's measure: no entry has a preferred sign, none a preferred size."""
    draws, rng = 4000, np.random.default_rng(0)
    frames = np.array([_frame(dim, dim, rng) for _ in range(draws)])
    error = monte_carlo(1.0, draws)
    assert frames.mean(axis=0) == pytest.approx(np.zeros((dim, dim)), abs=error)
    assert (frames**2).mean(axis=0) == pytest.approx(np.full((dim, dim), 1 / dim), abs=error)


@pytest.mark.compiled
def test_largest_dimension(tmp_path: Path) -> None:
    a = _written(tmp_path / "dense.npz", _SMALL | {"data.dim": 1e5})
    assert a["W0"].shape == (4, 100_000)


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        ({"data.dim": 100_001}, "data.dim"),
        ({"pretraining.views": "fresh"}, "pretraining.views"),
    ],
)
def test_refusals(overrides: dict[str, object], word: str, tmp_path: Path) -> None:
    with pytest.raises(numsim.ConfigError, match=word):
        write_dense(numsim.load(None, _SMALL | overrides), tmp_path / "dense.npz")
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    e = numsim.load(None, _SMALL | {"pretraining.learning_rate": 1e300})
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"reduce pretraining\.learning_rate"),
    ):
        write_dense(e, tmp_path / "dense.npz")
    assert not list(tmp_path.iterdir())


def test_the_name_is_taken_as_it_is(tmp_path: Path) -> None:
    _written(tmp_path / "dense", _SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["dense"]
