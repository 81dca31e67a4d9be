"""What S6 measures: rescaled runs, spectra at the conditions' limits, curvatures, and losses that rise."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from numsim.config import Experiment
from numsim.descent.network import split_filters
from numsim.descent.power_matrix import top_eigenpairs
from numsim.descent.supervised import train_dictionary
from numsim.models.dictionary import PatchDictionary
from numsim.models.signal_noise import draw_unlabelled, signal_noise_dictionary
from numsim.models.space import Space, pad
from numsim.runs.draw import draw
from numsim.runs.simulate import simulate
from numsim.theory.defaults import supervised_learning_rate

__all__ = [
    "contraction",
    "cross_talk",
    "curvature",
    "largest_rise",
    "rescaled_run",
    "sharpest",
    "top_pair",
    "views",
]

Floats = npt.NDArray[np.float64]


@lru_cache(maxsize=64)
def rescaled_run(seed: int, factor: float, same_step: bool) -> tuple[Floats, tuple[float, float, float]]:
    """Losses, errors and steps of both arms at sigma_p = ``factor``, and the three derived settings."""
    parts: dict[str, Any] = {
        "data": {"dim": 10**5, "snr": 0.7, "sigma_p": factor},
        "network": {"filters": 4},
        "pretraining": {"samples": 16},
        "finetuning": {"samples": 8, "max_steps": 1500, "target_loss": 0.0},
        "evaluation": {"samples": 200},
    }
    e = Experiment(**parts).resolved()
    rates = e.pretraining.learning_rate, e.finetuning.learning_rate
    if same_step:
        e = e.replace({"finetuning.learning_rate": rates[1] * factor**2}).resolved()
    done = simulate(e, draw(e, seed))
    arms = (done.simclr, done.direct)
    found = [
        (a.descent.loss, a.test.error, a.test.loss) for a in arms if a is not None and a.descent is not None
    ]
    return np.array(found), (*rates, e.init_scale)


def views(n0: int, dim: float, kappa: float, overlap: float, seed: int) -> tuple[Floats, Floats, Floats]:
    """mu, z, z~ at sigma_p = 2 with exactly balanced labels and n0 SNR^2 = kappa."""
    rng = np.random.default_rng(seed)
    space = Space(int(dim))
    unlabelled = draw_unlabelled(
        space,
        n0,
        sigma_p=2.0,
        projected=True,
        balanced=True,
        overlap=overlap,
        fixed_views=True,
        label_rng=rng,
        noise_rng=rng,
        view_rng=rng,
    )
    assert unlabelled.augmented is not None
    mu = space.signal(2.0 * math.sqrt(kappa * dim / n0))
    noise = pad(unlabelled.noise, space.revealed)
    signal = unlabelled.labels[:, None] * mu
    return mu, signal + noise, signal + unlabelled.augmented


@lru_cache(maxsize=2048)
def top_pair(n0: int, dim: float, kappa: float, overlap: float, seed: int) -> tuple[float, float]:
    """lambda_1 / eta at tau = 1/2 and cos^2(v_1, mu)."""
    _, z, z_aug = views(n0, dim, kappa, overlap, seed)
    values, vectors = top_eigenpairs(z, z_aug, learning_rate=1e-6, temperature=0.5)
    return float(values[0]) / 1e-6, float(vectors[0, 0] ** 2)


def curvature(q: float, f: Floats | float) -> Floats:
    """d^2/dz^2 log(1 + e^(-f)) along f = z^q, by second differences."""
    z = np.asarray(np.abs(f)) ** (1 / q)
    h, sign = 1e-3 * z, np.sign(f)

    def loss(at: Floats) -> Floats:
        value: Floats = np.logaddexp(0.0, -sign * at**q)
        return value

    second: Floats = (loss(z + h) - 2 * loss(z) + loss(z - h)) / h**2
    return second


def sharpest(q: float, flips: bool) -> float:
    """The greatest curvature of a sample on the right side of its label, or up to f = -1 on the wrong one."""
    f = np.geomspace(1e-2, 60.0, 4000)
    if flips and q >= 2:
        f = np.concatenate([f, -f[f <= 1], [-1.0]])
    return float(np.max(curvature(q, f)))


def contraction(q: float, p: float) -> tuple[float, float]:
    """What one default step takes off a distance from the optimum f = log((1 - p)/p) of flipped samples.

    n samples of signal alone, the same true label, a share p of them flipped; the filters of sign +1 that the
    default assumes to share the output. Predicted from the curvature there, and measured.
    """
    n, m, norm = 20, 5, 3.0
    k = m if q < 2 else 1
    rate = supervised_learning_rate(
        signal_norm=norm,
        sigma_p=1e-9,
        dim=100,
        samples=n,
        filters=m,
        q=q,
        output_scale=1.0,
        bias=False,
        flips=True,
    )
    optimum = math.log((1 - p) / p)
    z = (optimum * m / k) ** (1 / q)
    inner = np.full((2, m), -1.0)
    inner[0, :k] = z * (1 + 1e-5)
    labels = np.where(np.arange(n) < p * n, -1.0, 1.0)
    dictionary = PatchDictionary(np.array([[norm]]), np.zeros((n, 1), dtype=np.int64), labels)
    W, _ = train_dictionary(
        inner[..., None] / norm,
        dictionary,
        q=q,
        output_scale=1.0,
        learning_rate=rate,
        max_steps=1,
        target_loss=0.0,
        record=2,
    )
    left = (float(W[0, 0, 0]) * norm - z) / (1e-5 * z)
    there = (1 - p) * float(curvature(q, optimum)) + p * float(curvature(q, -optimum))
    return 0.5 * there / sharpest(q, True), 1 - left


@lru_cache(maxsize=512)
def largest_rise(q: float, flips: float, factor: float, seed: int) -> float:
    """Greatest relative rise of the training loss in one step, at ``factor`` times the default step size."""
    e = Experiment(
        data={"dim": 10**6, "snr": 1.0, "flip_probability": flips, "balanced": True},
        network={"q": q, "filters": 4, "relative_init_scale": 0.03},
        pretraining={"samples": 0},
        finetuning={"samples": 40},
    ).resolved()
    instance, rate = draw(e, seed), e.finetuning.learning_rate
    assert rate is not None
    _, run = train_dictionary(
        split_filters(instance.filters, instance.order),
        signal_noise_dictionary(instance.mu, instance.labelled),
        q=q,
        output_scale=1.0,
        learning_rate=factor * rate,
        max_steps=400,
        target_loss=0.0,
        record=401,
    )
    losses = run.recorded_losses
    return float(np.max(np.diff(losses) / losses[:-1])) if len(losses) > 1 else math.inf


@lru_cache(maxsize=1024)
def cross_talk(n: int, dim: int, seed: int) -> float:
    """(d/n) sum over k of <xi_i, xi_k>^2 / |xi_i|^4, averaged over i."""
    xi = Space(dim).draw(n, 1.0, np.random.default_rng(seed), projected=True)
    gram = xi @ xi.T
    squares = np.diag(gram)
    rest = np.sum((gram / squares[:, None]) ** 2, axis=1) - 1
    return float(np.mean(rest)) * dim / n
