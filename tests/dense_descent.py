"""Descents in R^d from what an export holds, in weight space and NumPy: nothing of numsim but the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Gradient = Callable[[Floats, Any, Floats], Floats]

RULE: dict[str, Any] = {
    "momentum": 0.0,
    "weight_decay": 0.0,
    "batch": 0,
    "clip_norm": 0.0,
    "sam_radius": 0.0,
    "schedule": "constant",
    "label_noise": 0.0,
}


def activation(arrays: Mapping[str, Any], kind: str, z: Floats, q: float) -> tuple[Floats, Floats]:
    """sigma and sigma'."""
    if kind == "relu":
        rest = np.maximum(z, 0.0)
        return rest**q, np.where(z > 0, q * np.where(z > 0, rest, 1.0) ** (q - 1), 0.0)
    if kind == "power":
        return np.sign(z) * np.abs(z) ** q, q * np.abs(z) ** (q - 1)
    a, b = float(arrays["slope"]), float(arrays["width"])
    value = np.where(z <= 0, a * z, np.where(z <= b, a * z + (1 - a) * z**2 / (2 * b), z - (1 - a) * b / 2))
    return value, np.where(z <= 0, a, np.where(z <= b, a + (1 - a) * z / b, 1.0))


def descend(
    W: Floats,
    gradient: Gradient,
    rule: Mapping[str, Any],
    rate: float,
    steps: int,
    cap: int,
    samples: int,
    batches: Any = None,
    flips: Any = None,
) -> Floats:
    """By the rule of the file's README; gradient(W, samples, flips of all)."""
    velocity = np.zeros_like(W)
    for t in range(steps):
        chosen = np.arange(samples) if batches is None else batches[t]
        signs = np.ones(samples) if flips is None else flips[t]
        g = gradient(W, chosen, signs)
        if rule["sam_radius"] and np.linalg.norm(g) > 0:
            g = gradient(W + rule["sam_radius"] * g / np.linalg.norm(g), chosen, signs)
        if rule["clip_norm"]:
            g = g * min(1.0, rule["clip_norm"] / np.linalg.norm(g))
        velocity = rule["momentum"] * velocity + g + rule["weight_decay"] * W
        eta = rate * (1 + np.cos(np.pi * t / cap)) / 2 if rule["schedule"] == "cosine" else rate
        W = W - eta * velocity
    return W


def supervised(arrays: Mapping[str, Any], kind: str, loss: str) -> Gradient:
    """Of filters (2, m, d), with the bias, if any, as a last column."""
    x, y, q = arrays["x"], arrays["y"], float(arrays["q"])
    if "bias0" in arrays:
        x = np.concatenate([x, np.ones((*x.shape[:2], 1))], axis=2)
    sign = np.array([1.0, -1.0])[:, None, None, None]

    def gradient(W: Floats, chosen: Any, flips: Floats) -> Floats:
        X, labels = x[chosen], (y * flips)[chosen]
        value, slope = activation(arrays, kind, np.einsum("jrd,npd->jrnp", W, X), q)
        scale = float(arrays["output_scale"]) / W.shape[1]
        f = scale * (sign * value).sum(axis=(0, 1, 3))
        pull = -labels / (1 + np.exp(labels * f)) if loss == "logistic" else f - labels
        found: Floats = np.einsum("n,jrnp,npd->jrd", pull, scale * sign * slope, X) / len(X)
        return found

    return gradient


def contrastive(arrays: Mapping[str, Any], config: Mapping[str, Any], kind: str) -> Gradient:
    """NT-Xent or InfoNCE of filters (M, d), by its derivative along features."""
    stage = config["pretraining"]
    loss = stage.get("loss", "info_nce")
    unit = stage.get("normalised", loss == "nt_xent")
    tau = float(arrays["temperature"])
    network = "unlabelled" in arrays
    first = arrays["unlabelled"] if network else arrays["z"][:, None]
    second = arrays["views"] if network else arrays["z_aug"][:, None]
    q = float(arrays["pretraining_q"]) if network else 1.0

    def gradient(W: Floats, chosen: Any, flips: Floats) -> Floats:
        X = np.concatenate([first[chosen], second[chosen]])
        inner = np.einsum("rd,npd->rnp", W, X)
        value, slope = activation(arrays, kind if network else "power", inner, q)
        H = value.sum(axis=2)
        n = H.shape[1] // 2
        length = np.linalg.norm(H, axis=0) if unit else np.ones(2 * n)
        U = H / length
        S = U.T @ U / tau
        np.fill_diagonal(S, -np.inf)
        partner = (np.arange(2 * n) + n) % (2 * n)
        if loss == "info_nce":
            keep = np.zeros((2 * n, 2 * n), dtype=bool)
            keep[:n, :n] = True
            keep[np.arange(n), partner[:n]] = True
            S = np.where(keep, S, -np.inf)[:n]
        p = np.exp(S - S.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(len(p)), partner[: len(p)]] -= 1
        P = np.zeros((2 * n, 2 * n))
        P[: len(p)] = p / len(p)
        pull = U @ (P + P.T) / tau
        if unit:
            pull = (pull - U * np.sum(U * pull, axis=0)) / length
        found: Floats = np.einsum("rn,rnp,npd->rd", pull, slope, X)
        return found

    return gradient


def settings_of(config: Mapping[str, Any], stage: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a stage for an arm."""
    own = {name.partition(".")[2]: v for name, v in overrides.items() if name.startswith(f"{stage}.")}
    found: dict[str, Any] = RULE | config[stage] | own
    return found


def arms(arrays: Mapping[str, Any]) -> dict[str, Floats]:
    """The filters in which every arm of an export ends, (2, m, d), with the bias as a last column."""
    config = json.loads(str(arrays["config"]))
    network = config["network"]
    kind = network.get("activation", "relu")
    n = len(arrays["y"])
    given = config.get("arms") or {"simclr": {}, "direct": {"skip_pretraining": True}}
    found = {}
    for name, overrides in given.items():
        if f"W_{name}" not in arrays:
            continue
        W = arrays["W0"]
        if not overrides.get("skip_pretraining") and config["pretraining"]["samples"]:
            s = settings_of(config, "pretraining", {})
            cap = s["steps"]
            W = descend(
                W,
                contrastive(arrays, config, kind),
                s,
                float(arrays["pretraining_learning_rate"]),
                int(arrays["pretraining_steps"]),
                cap,
                config["pretraining"]["samples"],
                arrays.get("pretraining_batches"),
            )
        if "bias0" in arrays:
            W = np.concatenate([W, arrays["bias0"][:, None]], axis=1)
        halves = W[arrays["split"]].reshape(2, -1, W.shape[1])
        s = settings_of(config, "finetuning", overrides)
        found[name] = descend(
            halves,
            supervised(arrays, kind, s.get("loss", "logistic")),
            s,
            float(arrays.get(f"{name}_learning_rate", arrays["finetuning_learning_rate"])),
            int(arrays[f"{name}_steps"]),
            s["max_steps"],
            n,
            arrays.get(f"finetuning_batches_{name}", arrays.get("finetuning_batches"))
            if s["batch"]
            else None,
            arrays.get(f"finetuning_flips_{name}", arrays.get("finetuning_flips"))
            if s["label_noise"]
            else None,
        )
    return found
