"""Supervised training on a mixture in R^d, drawn, trained and tested there: NumPy, nothing of numsim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dense_descent
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def signals_of(data: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Floats]:
    """Vectors of R^d with the table's lengths and cosines, in a random frame."""
    names = list(data["signals"])
    cosines = np.eye(len(names))
    for pair, value in data.get("cosines", {}).items():
        a, b = (names.index(name) for name in pair.split())
        cosines[a, b] = cosines[b, a] = value
    values, vectors = np.linalg.eigh(cosines)
    frame = np.linalg.qr(rng.standard_normal((data["dim"], len(names))))[0]
    rows = (vectors * np.sqrt(np.maximum(values, 0))) @ frame.T
    return {name: data["signals"][name]["norm"] * row for name, row in zip(names, rows, strict=True)}


def noise_of(
    data: Mapping[str, Any], signals: Mapping[str, Floats], count: int, rng: Any
) -> dict[str, Floats]:
    """Independent Gaussian vectors (count, d) a kind, orthogonal to all signals."""
    basis = np.linalg.svd(np.array(list(signals.values())), full_matrices=False)[2]
    found = {}
    for name, scale in data["noise"].items():
        rows = scale * rng.standard_normal((count, data["dim"]))
        found[name] = rows - rows @ basis.T @ basis
    return found


def patches_of(
    cluster: Mapping[str, Any], signals: Mapping[str, Floats], noise: Mapping[str, Floats]
) -> Floats:
    """(count, P, d) of one cluster, with these noises (count, d)."""
    count = len(next(iter(noise.values())))
    return np.stack(
        [
            sum(
                (
                    weight * (noise[name] if name in noise else np.tile(signals[name], (count, 1)))
                    for name, weight in patch.items()
                ),
                np.zeros((count, len(next(iter(signals.values()))))),
            )
            for patch in cluster["patches"]
        ],
        axis=1,
    )


def simulate(given: Mapping[str, Any], rate: float, scale: float, seed: int, tests: int) -> dict[str, float]:
    """Training loss, test error, and error by cluster of one draw; rate, scale : eta and sigma_0."""
    rng = np.random.default_rng([seed, 77])
    data, network, training = given["data"], given["network"], given["finetuning"]
    kind, q, m = network.get("activation", "relu"), network["q"], network["filters"]
    clusters, n = data["clusters"], training["samples"]
    weights = np.array([cluster.get("weight", 1.0) for cluster in clusters])
    signals = signals_of(data, rng)
    noise = noise_of(data, signals, n, rng)
    drawn = rng.choice(len(clusters), size=n, p=weights / weights.sum())
    x = np.concatenate(
        [
            patches_of(clusters[c], signals, {name: rows[i : i + 1] for name, rows in noise.items()})
            for i, c in enumerate(drawn)
        ]
    )
    p = data.get("flip_probability", 0.0)
    y = np.array([clusters[c]["label"] for c in drawn]) * np.where(rng.random(n) < p, -1.0, 1.0)
    arrays = {"x": x, "y": y, "q": q, "output_scale": 1.0}
    steps, rule = training["max_steps"], dense_descent.RULE | training
    batches = flips = None
    if rule["batch"]:
        epochs = -(-steps * rule["batch"] // n)
        batches = np.concatenate([rng.permutation(n) for _ in range(epochs)]).reshape(-1, rule["batch"])
    if rule["label_noise"]:
        flips = np.where(rng.random((steps, n)) < rule["label_noise"], -1.0, 1.0)
    W = scale * rng.standard_normal((2, m, data["dim"]))
    gradient = dense_descent.supervised(arrays, kind, "logistic")
    W = dense_descent.descend(W, gradient, rule, rate, steps, steps, n, batches, flips)

    def outputs(rows: Floats) -> Floats:
        value, _ = dense_descent.activation({}, kind, np.einsum("jrd,npd->jrnp", W, rows), q)
        found: Floats = np.array([1.0, -1.0]) @ value.sum(axis=(1, 3)) / m
        return found

    fresh = noise_of(data, signals, tests, rng)
    errors = []
    for cluster in clusters:
        margin = cluster["label"] * outputs(patches_of(cluster, signals, fresh))
        clean = float(np.mean(np.where(margin == 0, 0.5, margin < 0)))
        errors.append(p + (1 - 2 * p) * clean)
    found = {f"error {k}": error for k, error in enumerate(errors)}
    found["test error"] = float(np.dot(errors, weights / weights.sum()))
    found["training loss"] = float(np.mean(np.logaddexp(0.0, -y * outputs(x))))
    return found
