"""Works of the laboratory: a step by every rule and on every loss, against JAX, and against a plain step.

As in steps.py: both sides take T steps from the same filters in the same coordinates, on one core.
"""

from __future__ import annotations

import resource
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from .harness import Case, Sides
from .instances import SLOW, Floats, experiment, own_pretraining, own_training, patches
from .steps import sides

RULES: dict[str, dict[str, Any]] = {
    "gradient descent": {},
    "momentum": {"momentum": 0.9},
    "weight decay": {"weight_decay": 1e-3},
    "clipping": {"clip_norm": 1e-4},
    "SAM": {"sam_radius": 1e-3},
    "label noise": {"label_noise": 0.1},
    "cosine": {"schedule": "cosine"},
    "minibatch": {"batch": 32},
}
SAME = {"momentum": {"momentum": 1e-30}, "SAM": {"sam_radius": 1e-30}, "clipping": {"clip_norm": 1e300}}
"""Rules that move as gradient descent does, and take as long as any: what a plain step is compared with."""

SUPERVISED = {"squared": ("squared", "relu"), "power": ("logistic", "power"), "leaky": ("logistic", "leaky")}
CONTRASTIVE: dict[str, dict[str, Any]] = {
    "InfoNCE, normalised": {"loss": "info_nce", "normalised": True},
    "NT-Xent": {"loss": "nt_xent"},
    "spectral": {"loss": "spectral"},
    "InfoNCE, network": {"loss": "info_nce", "encoder": "network", "q": 3.0},
}
_SEED = 7


def _instance(labelled: int, filters: int, seed: int) -> tuple[Any, Floats, Floats, Floats]:
    """Experiment, filters (2, m, D), patches (n, 2, D) and labels, in coordinates that these span."""
    import numsim
    from numsim.descent.network import split_filters

    e = experiment(samples=0, filters=filters, labelled=labelled)
    instance = numsim.draw(e, seed)
    start = split_filters(instance.filters, instance.order)
    return e, start, patches(instance), instance.labelled.labels


def rule(
    *, name: str, labelled: int, filters: int, against: str, steps: tuple[int, int], cores: int, seed: int
) -> Sides:
    """Supervised training by a rule, against JAX, or against numsim's own plain step."""
    from numsim.descent.rules import epoch_batches, label_flips

    e, start, x, y = _instance(labelled, filters, seed)
    q, rate, settings = e.network.q, e.finetuning.learning_rate, RULES[name] if against else SAME[name]
    own, few = own_training(x, y, q, rate, cores, _SEED, **settings), steps[1]
    if not against:
        return sides(own, partial(own_training(x, y, q, rate, cores), start), start, steps)
    from .alternatives.jax_laboratory import prepare, supervised

    batch_rng, flip_rng = np.random.default_rng(_SEED).spawn(2)
    batches = flips = None
    if "batch" in settings:
        batches = epoch_batches(batch_rng, labelled, int(settings["batch"]), few)
    if "label_noise" in settings:
        flips = label_flips(flip_rng, labelled, settings["label_noise"], few)
    other = prepare(
        supervised("logistic", q, "relu"),
        start,
        x,
        y,
        learning_rate=rate,
        rule={k: v for k, v in settings.items() if k not in ("batch", "label_noise", "schedule")},
        batches=batches,
        flips=flips,
        horizon=few if "schedule" in settings else 0,
    )
    return sides(own, other, start, steps)


def supervised_loss(
    *, name: str, labelled: int, filters: int, steps: tuple[int, int], cores: int, seed: int
) -> Sides:
    """Gradient descent on another supervised loss, or with another activation."""
    from .alternatives.jax_laboratory import prepare, supervised

    loss, kind = SUPERVISED[name]
    e, start, x, y = _instance(labelled, filters, seed)
    q, rate = e.network.q, e.finetuning.learning_rate

    own = own_training(x, y, q, rate, cores, loss=loss, activation=kind)
    other = prepare(supervised(loss, q, kind), start, x, y, learning_rate=rate, rule={})
    return sides(own, other, start, steps)


def contrastive_loss(
    *, name: str, samples: int, filters: int, steps: tuple[int, int], cores: int, seed: int
) -> Sides:
    """Pre-training on another contrastive loss, in the experiment's coordinates."""
    import numsim

    from .alternatives.jax_laboratory import contrastive, prepare

    settings = CONTRASTIVE[name]
    network = settings.get("encoder") == "network"
    e = experiment(samples=samples, filters=filters)
    instance = numsim.draw(e, seed)
    z, z_aug = instance.unlabelled.sums(instance.mu)  # type: ignore[union-attr]
    start, loss = instance.filters, str(settings["loss"])
    normalised = settings.get("normalised", loss == "nt_xent")
    if network:  # the patches y mu and xi, or xi~
        signal = instance.unlabelled.labels[:, None] * instance.mu  # type: ignore[union-attr]
        z, z_aug = (np.stack([signal, rows - signal], axis=1) for rows in (z, z_aug))
        start = start / e.network.relative_init_scale  # activations of order one
    temperature = 0.5 if loss == "nt_xent" else 1.0
    rate = e.pretraining.learning_rate * SLOW
    if network:
        rate = 1e-3 / e.noise_norm**2
    if normalised:  # gradients are of order 1/|W|
        rate *= 2 * filters * e.network.init_scale**2 * float(np.mean(np.sum(z**2, axis=-1)))

    own = own_pretraining(z, z_aug, rate, cores, **settings)
    value = contrastive(loss, normalised, temperature, network, settings.get("q", 1.0))
    other = prepare(value, start, z, z_aug, learning_rate=rate, rule={})
    return sides(own, other, start, steps)


def own_arrays(
    *,
    loss: str,
    samples: int,
    width: int,
    batch: int,
    filters: int,
    steps: tuple[int, int],
    cores: int,
    seed: int,
) -> Sides:
    """Pre-training in batches on arrays of one's own; facts: peak memory in units of the arrays."""
    import numsim  # noqa: F401
    from numsim.descent.rules import epoch_batches

    imported = _peak()
    rng = np.random.default_rng(seed)
    z, z_aug = rng.random((samples, width)), rng.random((samples, width))
    start = 1e-4 * rng.standard_normal((filters, width))
    rate, few = (1e-6 if loss == "info_nce" else 1e-9), steps[1]

    own = own_pretraining(z, z_aug, rate, cores, _SEED, loss=loss, batch=batch)
    own(start, few)
    share = (_peak() - imported) / (z.nbytes + z_aug.nbytes)
    from .alternatives.jax_laboratory import contrastive, prepare

    normalised = loss == "nt_xent"
    value = contrastive(loss, normalised, 0.5 if normalised else 1.0, False, 1.0)
    batches = epoch_batches(np.random.default_rng(_SEED), samples, batch, few)
    other = prepare(value, start, z, z_aug, learning_rate=rate, rule={}, batches=batches)
    return replace(sides(own, other, start, steps), facts={"peak memory / arrays": share})


def _peak() -> float:
    """Bytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def rule_cases(smoke: bool) -> list[Case]:
    """Every rule at n = 20, batches at n = 1024; three of them against a plain step."""
    few = (5, 5) if smoke else (4000, 4000)
    many = (4, 4) if smoke else (1600, 1600)
    sizes = {name: (1024, many) if name == "minibatch" else (20, few) for name in RULES}
    if not smoke:
        sizes["clipping"] = (20, (1000, 1000))  # directions of clipped gradients amplify round-off
    plan = [(name, *sizes[name], "JAX") for name in RULES] + [(name, 20, few, "") for name in SAME]
    return [
        Case(
            work="rules",
            setting=f"{name}, n = {labelled}, m = 10" + (", B = 32" if name == "minibatch" else ""),
            target=f"{__name__}:rule",
            arguments={"name": name, "labelled": labelled, "filters": 10, "against": against, "steps": steps},
            alternative=against or "numsim, a plain step",
            needs="jax" if against else "",
        )
        for name, labelled, steps, against in plan
    ]


def loss_cases(smoke: bool) -> list[Case]:
    """Every loss and activation that steps.py has not."""
    found = [
        Case(
            work="losses",
            setting=f"{name}, n = 20, m = 10",
            target=f"{__name__}:supervised_loss",
            arguments={
                "name": name,
                "labelled": 20,
                "filters": 10,
                "steps": (5, 5) if smoke else (4000, 4000),
            },
            alternative="JAX",
            needs="jax",
        )
        for name in SUPERVISED
    ]
    plan = [(8, 2, (4, 4))] if smoke else [(100, 10, (400, 400)), (1000, 32, (20, 10))]
    return found + [
        Case(
            work="losses",
            setting=f"{name}, n0 = {samples}, m = {filters}",
            target=f"{__name__}:contrastive_loss",
            arguments={"name": name, "samples": samples, "filters": filters, "steps": steps},
            alternative="JAX, as written",
            needs="jax",
        )
        for samples, filters, steps in plan
        for name in CONTRASTIVE
    ]


def array_cases(smoke: bool) -> list[Case]:
    """Images of 28 by 28, 60,000 of them, in batches of 250."""
    sizes = {"samples": 60_000, "width": 784, "batch": 250, "filters": 64, "steps": (480, 240)}
    if smoke:
        sizes = {"samples": 40, "width": 6, "batch": 10, "filters": 4, "steps": (6, 6)}
    return [
        Case(
            work="arrays",
            setting=f"{loss}, n0 = {sizes['samples']}, width {sizes['width']}, B = {sizes['batch']}, M = "
            f"{sizes['filters']}",
            target=f"{__name__}:own_arrays",
            arguments={"loss": loss, **sizes},
            alternative="JAX, as written",
            needs="jax",
            processes=1,
        )
        for loss in ("info_nce", "nt_xent")
    ]
