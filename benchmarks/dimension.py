"""Work (c): the two-stage experiment in R^d, as the alternatives have to run it, against numsim's run of it.

Data and filters are the very ones numsim drew, placed along a random frame of R^d (``numsim.runs.export``),
so that trajectories can be compared. numsim's own time is that of its run, whose cost does not depend on d.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from .harness import Case, Sides
from .instances import (
    LIBRARIES,
    alternative,
    distance,
    experiment,
    own_pretraining,
    own_training,
    patches,
    tolerance,
)


def stage(
    *,
    library: str,
    stage: str,
    dim: int,
    samples: int,
    filters: int,
    steps: tuple[int, int],
    cores: int,
    seed: int,
) -> Sides:
    """One stage in R^d. The alternative starts training from numsim's pre-trained filters (the hand-over)."""
    import numsim
    from numsim.descent.network import split_filters
    from numsim.runs.export import dense_arrays

    few = min(steps)
    length: dict[str, Any] = {
        "pretraining.steps": few,
        "pretraining.stop_at_linear_end": False,
        "finetuning.max_steps": few,
        "finetuning.target_loss": 0.0,
    }
    e = experiment(samples=samples, filters=filters, dim=dim, seed=seed, **length)
    dense = dense_arrays(e)
    instance = numsim.draw(e)
    z, z_aug = instance.unlabelled.sums(instance.mu)  # type: ignore[union-attr]
    rate, q = e.pretraining.learning_rate, e.network.q
    own, start = own_pretraining(z, z_aug, rate, cores), instance.filters
    prepare = alternative(library, stage)
    if stage == "pretraining":
        dense_start, expected = dense["W0"], dense["W_pretrained"]
        run = prepare(dense_start, dense["z"], dense["z_aug"], learning_rate=rate)
    else:
        start = split_filters(own(start, few), instance.order)
        rate = e.finetuning.learning_rate
        own = own_training(patches(instance), instance.labelled.labels, q, rate, cores)
        dense_start, expected = split_filters(dense["W_pretrained"], dense["split"]), dense["W_simclr"]
        run = prepare(dense_start, dense["x"], dense["y"], q=q, learning_rate=rate)
    allowed = tolerance(own, few, start, own(start, few))
    found = distance(run(few), expected, dense_start)
    return Sides(partial(own, start, steps[0]), partial(run, steps[1]), steps, found, allowed)


def cases(smoke: bool) -> list[Case]:
    """Both stages at three dimensions; fewer steps where one takes long."""
    own = {"pretraining": 500, "training": 2000}
    taken = {10**3: 100, 10**4: 20, 10**5: 5}
    samples, filters = (6, 2) if smoke else (100, 10)
    if smoke:
        own, taken = {"pretraining": 3, "training": 3}, {50: 3}
    return [
        Case(
            work="dimension",
            setting=f"{'pre-training' if stage == 'pretraining' else 'training'}, d = {dim:.0e}".replace(
                "e+0", "e"
            ),
            target=f"{__name__}:stage",
            arguments={
                "library": library,
                "stage": stage,
                "dim": dim,
                "samples": samples,
                "filters": filters,
                "steps": (own[stage], steps),
            },
            alternative=library,
            needs=LIBRARIES[library],
            facts={"dim": dim, "pretraining": float(stage == "pretraining")},
        )
        for stage in ("pretraining", "training")
        for dim, steps in taken.items()
        for library in LIBRARIES
        if library == "JAX" or dim < 10**5  # the fastest alternative tells enough
    ]
