"""Pre-training, fine-tuning and direct training of one experiment, as S5 looks at them."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim.config import Experiment, Resolved
from numsim.descent.evaluation import evaluate
from numsim.models.streams import generator
from numsim.runs.draw import draw
from numsim.runs.simulate import simulate
from numsim.theory import after_clock, elapsed_clock, linear_end_ratio, outcome_ratio, success_probability

from .direct_training import Trained, outcome_ratios, trained_arm

__all__ = [
    "LARGE",
    "Both",
    "Finetuned",
    "Long",
    "both",
    "finetuned",
    "law",
    "long",
    "predicted_ratio",
    "ruled_ratio",
    "tossed",
    "two_stage",
]

Floats = npt.NDArray[np.float64]

LARGE = 1.0
"""A signal is learned when an activation on it is of at least this size."""


class Both(NamedTuple):
    """Both arms of one run.

    ratio : R at the hand-over; mixed : largest relative deviation of an arm's start from what it is due.
    """

    simclr: Trained
    direct: Trained
    ratio: float
    mixed: float


@lru_cache(maxsize=4096)  # a check and its controls look at the same runs
def both(experiment: Resolved, seed: int) -> Both:
    """Pre-training, fine-tuning and direct training, with starts from the instance, not from the arms."""
    e = experiment.model_copy(update={"seed": seed})
    instance = draw(e)
    run = simulate(e, instance)
    assert run.pretrained is not None
    assert run.simclr is not None
    W, m = run.pretrained.filters, e.network.filters
    mixed = 0.0
    for arm, filters in ((run.simclr, W), (run.direct, instance.filters)):
        due = np.stack([filters[instance.order[:m]], filters[instance.order[m:]]])
        mixed = max(mixed, float(np.abs(arm.initial - due).max() / np.abs(due).max()))
    return Both(
        trained_arm(e, instance, W, run.simclr),
        trained_arm(e, instance, instance.filters, run.direct),
        signal_ratio(W, e),
        mixed,
    )


class Finetuned(NamedTuple):
    """R at the hand-over; by class S2 (7) there, and with the largest b_0 of all; whether both learned."""

    ratio: float
    outcomes: tuple[float, ...]
    first: tuple[float, ...]
    learned: bool


@lru_cache(maxsize=8192)
def finetuned(experiment: Experiment, seed: int, steps: int | None) -> Finetuned:
    """One pre-training, and fine-tuning for at most so many steps (None: no fine-tuning)."""
    settings: dict[str, object] = {"finetuning.max_steps": steps or 0}
    e = experiment.replace(settings).resolved().model_copy(update={"seed": seed})
    instance = draw(e)
    run = simulate(e, instance)
    assert run.pretrained is not None
    assert run.simclr is not None
    arm = trained_arm(e, instance, run.pretrained.filters, run.simclr)
    learned = arm.reached and bool(arm.gamma.max(axis=1).min() >= LARGE)
    ratio, q = signal_ratio(run.pretrained.filters, e), e.network.q
    first = tuple(
        outcome_ratio(
            float(arm.signal(side).max()),
            np.full(len(arm.members(side)), arm.noise(side).max()),
            snr=e.snr,
            q=q,
        )
        for side in range(2)
    )
    return Finetuned(ratio, tuple(outcome_ratios(arm)), first, learned)


@lru_cache(maxsize=4096)
def tossed(seed: int, labels: int) -> float:
    """Test error after pre-training and fine-tuning on so few random labels, R = 8.6."""
    changes = {"data.balanced": False, "finetuning.samples": labels, "finetuning.learning_rate": None}
    e = two_stage(4.0, n0=16, n=2, scale=0.01, dim=1e10, eps=0.05).replace(changes).resolved()
    e = e.model_copy(update={"seed": seed})
    run = simulate(e, draw(e))
    assert run.simclr is not None
    return run.simclr.test.error


def signal_ratio(W: Floats, e: Resolved) -> float:
    """Root-mean-square <w, mu> over root-mean-square sd of <w, xi_new>."""
    along = W[:, 0]
    return (
        e.signal_norm
        * float(np.linalg.norm(along))
        / (e.data.sigma_p * math.sqrt(float(np.sum(W**2)) - float(along @ along)))
    )


def two_stage(
    kappa: float,
    *,
    n0: int,
    n: int,
    scale: float,
    dim: float | None = None,
    q: float = 3.0,
    eps: float = 0.01,
) -> Resolved:
    """n0 SNR^2 = kappa at d = n0^4 if not given, 16 filters a sign, balanced labels."""
    return Experiment(
        data={"dim": dim or n0**4, "snr": math.sqrt(kappa / n0), "balanced": True},
        network={"filters": 16, "q": q, "relative_init_scale": scale},
        pretraining={"samples": n0, "steps": 10_000},
        finetuning={"samples": n, "target_loss": eps, "max_steps": 100_000},
        evaluation={"samples": 100},
    ).resolved()


def predicted_ratio(e: Resolved, threshold: float) -> float:
    """S5 (8) for this experiment."""
    return linear_end_ratio(
        e.kappa,
        samples=e.pretraining.samples,
        dim=e.data.dim,
        filters=e.network.filters,
        relative_init_scale=e.relative_init_scale,
        threshold=threshold,
    )


def ruled_ratio(e: Resolved) -> float:
    """S5 (5) for this experiment: the top direction alone ends the linear stage."""
    share = 2 * e.kappa / (1 + 2 * e.kappa)
    return share * math.sqrt(0.3 / (2 * e.network.filters)) / e.relative_init_scale


def law(e: Resolved, strength: float) -> float:
    """S2 (9) for this experiment's labelled samples, in balanced classes."""
    half = e.finetuning.samples // 2
    return success_probability(strength, [half, half], filters=e.network.filters, q=e.network.q)


class Long(NamedTuple):
    """Fine-tuning to a small loss: largest rise of the test loss, largest noise activation and its limit."""

    rise: float
    largest: float
    limit: float
    loss: float


@lru_cache(maxsize=1024)
def long(seed: int, target: float) -> Long:
    """Fine-tune the headline to the training loss ``target``."""
    e = two_stage(4.0, n0=50, n=12, scale=0.005, eps=target).model_copy(update={"seed": seed})
    instance = draw(e)
    run = simulate(e, instance)
    assert run.pretrained is not None
    assert run.simclr is not None
    assert run.simclr.descent is not None
    arm = trained_arm(e, instance, run.pretrained.filters, run.simclr)
    descent, vectors = run.simclr.descent, run.simclr.dictionary.vectors
    direction = np.zeros(vectors.shape[1])
    direction[0] = 1.0
    losses = []
    for coefficients in descent.recorded_coefficients[:: max(1, len(descent.recorded_steps) // 8)]:
        W = run.simclr.initial + (coefficients @ vectors).reshape(run.simclr.initial.shape)
        data: dict[str, Any] = {"signal_norm": e.signal_norm, "sigma_p": 1.0, "q": e.network.q, "samples": 50}
        losses.append(evaluate(W, direction, rng=generator(seed, "evaluation"), **data).loss)
    losses.append(arm.test.loss)
    largest = limit = 0.0
    for side in range(2):
        if arm.signal(side).max() <= 0:  # learns nothing: its noise has no limit
            limit = math.inf
            continue
        q, start = e.network.q, arm.noise(side)
        end, pull = float(arm.signal(side, "end").max()), arm.rate * start.shape[1] * e.signal_norm**2
        run_so_far = float(elapsed_clock(arm.signal(side).max(), end, q, pull))
        clock = (run_so_far + end ** (2 - q)) / (start.shape[1] * e.snr**2)  # all it can ever run
        limit = max(limit, float(after_clock(start, clock, q).max()))
        largest = max(largest, float(arm.noise(side, "end").max()))
    return Long(float(np.max(np.diff(losses))), largest, limit, arm.test.loss / arm.loss)
