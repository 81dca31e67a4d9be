"""Descent on a contrastive loss with one fixed view a sample, by any rule; alignment with the signal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..models.checks import finite, positive, real_array
from ..models.dictionary import PatchDictionary, dense_dictionary
from ._kernels import descent
from ._kernels import loop as loop_kernels
from ._kernels import pretraining as kernels
from ._kernels.supervised import Activation
from .blas import blas_threads
from .blocks import axes_of, contrastive_buffers, gram_of
from .contrastive import LINEAR_END, VERY_FAR
from .driver import NON_FINITE, Descent, Progress, descend
from .forms import GRAM_BYTES, Loop
from .network import ACTIVATIONS
from .nt_xent import CONTRASTIVE, contrastive_task
from .offset import ShiftedDescent, shifted
from .rules import Rule
from .supervised import checked_settings as checked_network
from .views import checked_filters, checked_views

__all__ = ["alignment", "pretrain"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def pretrain(
    W: npt.ArrayLike,
    z: npt.ArrayLike,
    z_aug: npt.ArrayLike,
    *,
    learning_rate: float,
    temperature: float | None = None,
    max_steps: int,
    stop_at_linear_end: bool | None = None,
    loss: str = "info_nce",
    normalised: bool | None = None,
    encoder: str = "linear",
    q: float = 3.0,
    activation: str = "relu",
    slope: float = 0.1,
    width: float = 1.0,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    batch: int = 0,
    clip_norm: float = 0.0,
    sam_radius: float = 0.0,
    schedule: str = "constant",
    rng: np.random.Generator | None = None,
    record: int | None = None,
    progress: Progress | None = None,
    threads: int = 1,
) -> tuple[Floats, Descent]:
    """Gradient descent on a contrastive loss with one fixed view per sample.

    In Gram form, with R = [P | P~] (M, 2 n0) and the Gram matrix G of [z; z~]:
    R <- R - (eta/(n0 tau)) [C | C~] G, which is (2) multiplied by [z; z~]^T. The descent's coefficients are
    those of w_r - w_r^0 on z and z~.

    Parameters
    ----------
    W : (M, D); z, z_aug : (n0, D), or with encoder "network" patches (n0, P, D); learning_rate : eta.
    temperature : tau; 0.5 for NT-Xent and 1 for InfoNCE when not given; the spectral loss has none.
    max_steps : the most steps to take.
    stop_at_linear_end : stop at the first step with max |s_ii'| / temperature > 0.3, i' != i. Of unnormalised
        InfoNCE with the linear encoder, where it is the default; elsewhere there is no such stage.
    loss : "info_nce", "nt_xent" or "spectral" (nt_xent.py); normalised : default true for NT-Xent alone.
    encoder : "linear", features <w_r, z>, or "network", sum_p sigma(<w_r, x_p>) with the ``activation``
        "relu", "power" or "leaky" of power q, ``slope`` and ``width`` (network.py).
    momentum, weight_decay, batch, clip_norm, sam_radius, schedule : the rule, rules.py. Negatives are of the
        batch; the loss is then the mean over an epoch's batches, each at the iterate that met it.
    rng : of batches.
    record : states kept at most, evenly spaced (None: up to 200); progress : called as progress(step, loss).
    threads : BLAS threads to hold to; more than one makes the products of a large step big enough to share.

    Returns
    -------
    W : (M, D) last filters (NaN if not finite).
    descent : status "linear_end", "max_steps" or "non_finite" (similarities / temperature have passed 2^52,
        where float64 has no digit of their differences left, or a feature that is normalised is 0), and the
        recorded states, whose coefficients are of w - c w^0 on z and z~, or on the distinct patches.

    Samples far from the origin (|mean z| above 32 times rms |z_i - mean z|) take another form of the same
    steps, in which an offset costs what rounding the filters does, |W| |mean z| eps (offset.py).

    Raises
    ------
    ValueError : as ``info_nce``, and for a step size that is not positive.
    """
    settings = checked_settings(loss, temperature, normalised, encoder, stop_at_linear_end)
    rule = Rule(momentum, weight_decay, batch, clip_norm, sam_radius, schedule)
    if settings.network:
        samples, views = real_array("z", z), real_array("z_aug", z_aug)
        dictionary = view_dictionary(samples, views)
        W = checked_filters(W, samples.shape[2])
    else:
        samples, views = checked_views(z, z_aug)
        W = checked_filters(W, samples.shape[1])
    learning_rate = positive("learning_rate", learning_rate)
    limits: dict[str, Any] = {
        "max_steps": max_steps,
        "threshold": LINEAR_END if settings.stops else 0.0,
        "record": record,
        "progress": progress,
    }
    large = not settings.network and 8.0 * (2 * len(samples)) ** 2 > GRAM_BYTES
    if large or not (settings.plain and rule.plain):
        if not settings.network:
            dictionary = sums_dictionary(samples, views)
        sigma = activation_of(q, activation, slope, width) if settings.network else None
        with blas_threads(threads):
            return pretrain_dictionary(
                W, dictionary, settings, rule, sigma, learning_rate, rng, threads=threads, **limits
            )
    temperature = settings.temperature
    with blas_threads(threads):
        data = shifted(samples, views, VERY_FAR)
        if data is not None:
            buffers, plain = (contrastive_buffers(len(W) + more, len(samples), threads) for more in (1, 0))
            moving = ShiftedDescent(W, data, temperature, learning_rate, buffers, plain)
            start = W @ data.views.T + (W @ data.m)[:, None]
            run = descend(moving, start, **limits)
            return np.full_like(W, np.nan) if run.status == NON_FINITE else moving.W, run
        gram = gram_of(samples, views, len(W), threads)
        buffers = contrastive_buffers(len(W), len(samples), threads)
        axes = axes_of(W)
        inner = np.concatenate([W[:, :axes] @ part[:, :axes].T for part in (samples, views)], axis=1)

        def loop(state: descent.State, limits: descent.Limits, recorder: descent.Recorder) -> int:
            return kernels.pretrain(state, gram, temperature, learning_rate, limits, recorder, buffers)

        run = descend(loop, inner, **limits)
        return run.filters(W, samples, views), run


def activation_of(q: float, activation: str, slope: float, width: float) -> Activation:
    """An activation as kernels take it, or a ValueError."""
    settings = checked_network(1, q, 1.0, activation, slope, width)
    return Activation(ACTIVATIONS.index(activation), settings.q, settings.slope, settings.width)


class Contrast(NamedTuple):
    """What is descended on: loss, temperature (1 for the spectral one), normalised, the encoder, its end."""

    loss: str
    temperature: float
    normalised: bool
    network: bool
    stops: bool

    @property
    def plain(self) -> bool:
        """Whether it is unnormalised InfoNCE of the linear encoder, which has kernels of its own."""
        return self.loss == "info_nce" and not (self.normalised or self.network)


def checked_settings(
    loss: str, temperature: float | None, normalised: bool | None, encoder: str, stops: bool | None
) -> Contrast:
    """What is descended on, with what follows from the loss filled in, or a ValueError."""
    for name, value, known in (("loss", loss, CONTRASTIVE), ("encoder", encoder, ("linear", "network"))):
        if value not in known:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(known)}")
    if loss == "spectral" and temperature is not None:
        raise ValueError(
            f"temperature is {temperature!r}, expected none: the spectral loss has no temperature"
        )
    if temperature is None:
        temperature = 0.5 if loss == "nt_xent" else 1.0
    unit = loss == "nt_xent" if normalised is None else bool(normalised)
    plain = loss == "info_nce" and not unit and encoder == "linear"
    if stops and not plain:
        raise ValueError(
            "stop_at_linear_end is True, expected False: only unnormalised InfoNCE with the linear encoder "
            "has a linear stage"
        )
    return Contrast(
        loss,
        positive("temperature", temperature),
        unit,
        encoder == "network",
        plain if stops is None else stops,
    )


def sums_dictionary(z: Floats, z_aug: Floats) -> PatchDictionary:
    """Samples and views, an entry each: sample i has the entries i and n0 + i."""
    n = len(z)
    pairs = np.stack([np.arange(n), np.arange(n, 2 * n)], axis=1)
    return PatchDictionary(z, pairs, np.ones(n), more=z_aug)


def view_dictionary(patches: Floats, views: Floats) -> PatchDictionary:
    """The distinct patches of samples and views (n0, P, D): sample i has its own P and then its view's."""
    if patches.ndim != 3 or patches.shape != views.shape or not patches.size:
        raise ValueError(
            f"z has shape {patches.shape} and z_aug {views.shape}, expected the same (n0, P, D) for both: "
            'with encoder "network" features are of patches'
        )
    finite("z", patches)
    finite("z_aug", views)
    both = dense_dictionary(np.concatenate([patches, views]), np.ones(2 * len(patches)))
    n = len(patches)
    return PatchDictionary(
        both.vectors, np.concatenate([both.patches[:n], both.patches[n:]], axis=1), np.ones(n)
    )


def pretrain_dictionary(
    W: Floats,
    dictionary: PatchDictionary,
    settings: Contrast,
    rule: Rule,
    activation: Activation | None,
    learning_rate: float,
    rng: np.random.Generator | None,
    *,
    max_steps: int,
    threshold: float = 0.0,
    record: int | None = None,
    progress: Progress | None = None,
    threads: int = 1,
) -> tuple[Floats, Descent]:
    """Descent by any rule on a dictionary whose samples have 2P entries each, their own and their view's."""
    least = 2 if len(dictionary.patches) > 1 else 1
    rule = rule.checked(len(dictionary.patches), least=least)

    def task(labels: Floats, patches: Integers, entries: int) -> Any:
        return contrastive_task(
            settings.loss,
            len(W),
            entries,
            patches,
            temperature=settings.temperature,
            normalised=settings.normalised,
            activation=activation,
            threads=threads,
        )

    loop = Loop(
        (loop_kernels.descend, loop_kernels.descend_on_all),
        task,
        W,
        dictionary,
        rule,
        learning_rate=learning_rate,
        max_steps=max_steps,
        batch_rng=rng,
        flip_rng=None,
        averaged=True,
    )
    run = descend(
        loop,
        loop.start(),
        entries=dictionary.entries,
        max_steps=max_steps,
        threshold=threshold,
        record=record,
        progress=progress,
        epoch=loop.epoch,
        span=loop.span,
    )
    run = replace(run, initial=loop.initial)
    return loop.last(run), run


def alignment(moved: Floats, mu: Floats) -> float:
    """cos^2(W - W^0, mu) = sum_r <w_r - w_r^0, mu>^2 / (|mu|^2 sum_r |w_r - w_r^0|^2); NaN where 0/0.

    moved : (M, D); mu : (at most D,).
    """
    largest, norm = float(np.max(np.abs(moved))), float(np.linalg.norm(mu))
    if not (np.isfinite(largest) and largest > 0 and norm > 0):
        return float("nan")
    scaled = moved / largest
    return float(np.sum((scaled[:, : len(mu)] @ (mu / norm)) ** 2) / np.sum(scaled**2))
