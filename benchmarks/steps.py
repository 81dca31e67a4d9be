"""Works (a) and (b): a step of either stage, kernel against kernel, in the same compressed coordinates.

Both sides take T steps from the same filters, T so large that what comes before the first step (numsim's
Gram matrix, included in its time) is spread thin; seconds a step is the whole divided by T.
"""

from __future__ import annotations

from functools import partial

from .alternatives import Run
from .harness import Case, Sides
from .instances import (
    LIBRARIES,
    SLOW,
    Floats,
    Own,
    alternative,
    distance,
    experiment,
    own_pretraining,
    own_training,
    patches,
    tolerance,
)


def pretraining(
    *,
    library: str,
    samples: int,
    filters: int,
    steps: tuple[int, int],
    linear: bool,
    as_written: bool,
    cores: int,
    seed: int,
) -> Sides:
    """Pre-training in the experiment's coordinates, 1 + 2m + 2 n0 + n wide.

    as_written : the alternative as the paper or a script has it, instead of its fastest form; linear : all
    steps lie in the linear stage; else most of them far beyond it, where exponents are of order one and more.
    """
    import numsim

    e = experiment(samples=samples, filters=filters)
    instance = numsim.draw(e, seed)
    z, z_aug = instance.unlabelled.sums(instance.mu)  # type: ignore[union-attr]
    rate = e.pretraining.learning_rate * (SLOW if linear else 1.0)
    own = own_pretraining(z, z_aug, rate, cores)
    stage = "pretraining_as_written" if as_written else "pretraining"
    other = alternative(library, stage)(instance.filters, z, z_aug, learning_rate=rate)
    return sides(own, other, instance.filters, steps)


def training(
    *,
    library: str,
    samples: int,
    filters: int,
    labelled: int,
    own_coordinates: bool,
    steps: tuple[int, int],
    cores: int,
    seed: int,
) -> Sides:
    """Supervised training from the initial filters.

    own_coordinates : the 2m + n + 1 that this stage spans, instead of the whole experiment's.
    """
    import numsim
    from numsim.descent.network import split_filters

    e = experiment(samples=samples, filters=filters, labelled=labelled)
    instance = numsim.draw(e, seed)
    x, y = patches(instance), instance.labelled.labels
    start = split_filters(instance.filters, instance.order)
    if own_coordinates:
        flat, narrow = numsim.compress(start.reshape(2 * filters, -1), x.reshape(2 * labelled, -1))
        start, x = flat.reshape(2, filters, -1), narrow.reshape(labelled, 2, -1)
    rate, q = e.finetuning.learning_rate, e.network.q
    own = own_training(x, y, q, rate, cores)
    other = alternative(library, "training")(start, x, y, q=q, learning_rate=rate)
    return sides(own, other, start, steps)


def sides(own: Own, other: Run, start: Floats, steps: tuple[int, int]) -> Sides:
    """Compare after the alternative's number of steps; both are warm then."""
    few = steps[1]
    expected = own(start, few)
    return Sides(
        partial(own, start, steps[0]),
        partial(other, few),
        steps,
        distance(other(few), expected, start),
        tolerance(own, few, start, expected),
    )


def pretraining_cases(smoke: bool) -> list[Case]:
    """Sizes of the headline and ten times as many samples, the latter on two cores too."""
    small = {"JAX": (500, 500), "PyTorch": (500, 200), "NumPy": (500, 200)}
    large = {"JAX": (100, 20), "PyTorch": (100, 20), "NumPy": (100, 20)}
    scripts = {"JAX": (500, 500), "PyTorch": (500, 200)}
    plan = [
        (100, 10, True, False, 1, small),
        (100, 10, True, True, 1, scripts),
        (100, 10, False, False, 1, {"JAX": (500, 500)}),
        (1000, 32, True, False, 1, large),
        (1000, 32, True, False, 2, {"JAX": (100, 20)}),
    ]
    if smoke:
        few = dict.fromkeys(LIBRARIES, (5, 5))
        plan = [(8, 2, linear, False, 1, few) for linear in (True, False)]
        plan += [(8, 2, True, True, 1, {"JAX": (5, 5), "PyTorch": (5, 5)})]
    return [
        Case(
            work="pretraining",
            setting=f"n0 = {samples}, m = {filters}" + ("" if linear else ", beyond the linear stage"),
            target=f"{__name__}:pretraining",
            arguments={
                "library": library,
                "samples": samples,
                "filters": filters,
                "steps": taken,
                "linear": linear,
                "as_written": as_written,
            },
            alternative=library + (", as written" if as_written else ""),
            needs=LIBRARIES[library],
            cores=cores,
            facts={"samples": samples, "filters": filters},
        )
        for samples, filters, linear, as_written, cores, steps in plan
        for library, taken in steps.items()
    ]


def training_cases(smoke: bool) -> list[Case]:
    """The same sizes, in the experiment's coordinates and in the stage's own."""
    steps = {"JAX": (2000, 2000), "PyTorch": (2000, 500), "NumPy": (2000, 1000)}
    plan = [(100, 10, 20, own, 1, steps) for own in (False, True)]
    plan += [(1000, 32, 20, False, 1, steps)]
    if smoke:
        few = dict.fromkeys(LIBRARIES, (5, 5))
        plan = [(8, 2, 4, own, 1, few) for own in (False, True)]
    return [
        Case(
            work="training",
            setting=f"n = {labelled}, m = {filters}, "
            f"width {2 * filters + labelled + 1 + (0 if own else 2 * samples)}",
            target=f"{__name__}:training",
            arguments={
                "library": library,
                "samples": samples,
                "filters": filters,
                "labelled": labelled,
                "own_coordinates": own,
                "steps": taken[library],
            },
            alternative=library,
            needs=LIBRARIES[library],
            cores=cores,
            facts={"samples": samples, "filters": filters, "labelled": labelled},
        )
        for samples, filters, labelled, own, cores, taken in plan
        for library in LIBRARIES
    ]
