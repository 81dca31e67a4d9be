"""E3: filters are reassembled from gamma and rho, whose recursions are written down, e3_decomposition.md."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numsim import load
from numsim.claims import Claim, Evidence, Outcome, Trials, at_least, equals
from numsim.config import Resolved
from numsim.descent.fresh_views import FreshDescent
from numsim.models.decomposition import reassemble
from numsim.models.space import pad
from numsim.runs.draw import Instance, draw
from numsim.runs.simulate import Arm, Pretrained, simulate

from .recursions import SIGN, SupervisedTwin, pretraining_twin, supervised_twin
from .roundoff import Deviations

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_EXACT = 1e-10  # two dozen steps of a few dozen operations, each amplifying by less than 2
_SMALL: dict[str, Any] = {
    "data.dim": 1e8,
    "data.snr": 0.5,
    "network.filters": 3,
    "network.relative_init_scale": 0.4,
    "pretraining.samples": 5,
    "pretraining.steps": 10,
    "pretraining.stop_at_linear_end": False,
    "finetuning.samples": 6,
    "finetuning.max_steps": 16,
    "finetuning.target_loss": 0.0,
    "evaluation.samples": 2,
}
_VARIANTS: tuple[dict[str, Any], ...] = (
    {"data.balanced": True, "pretraining.samples": 6},
    {
        "data.dim": 25,
        "data.projected": False,
        "data.sigma_p": 0.05,
        "data.flip_probability": 0.4,
        "network.q": 2.5,
        "network.output_scale": 3.0,
        "pretraining.overlap": 0.5,
        "pretraining.temperature": 0.5,
    },
    {"data.dim": 8, "network.q": 1.0, "network.bias": True, "pretraining.overlap": 1.0},
    {"data.snr": 0.0, "data.dim": 12},
)


def _unit(vectors: Floats) -> Floats:
    """v / |v|^2 along the last axis, 0 for the signal of length 0."""
    squares = np.sum(vectors**2, axis=-1, keepdims=True)
    scaled: Floats = vectors / np.where(squares == 0, 1.0, squares)
    return scaled


def _supervised(
    e: Resolved, instance: Instance, arm: Arm, taken: float, found: Deviations
) -> tuple[xr.Dataset, SupervisedTwin]:
    """One arm: gamma, rho and the filters of the result against the reference's descent and E3 (5), (6).

    taken : the share of sigma_p^2 d in |xi_i|^2.
    """
    from numsim.runs.trajectories import arm_trajectory

    data = arm_trajectory(instance, arm)
    mu, noise = instance.mu, instance.labelled.noise
    width, bias = len(mu), instance.bias is not None
    twin = supervised_twin(e, instance, arm.initial, taken)
    found.add("gamma of the supervised stage", data["gamma"].values, twin.gamma)
    found.add("rho of the supervised stage", data["rho"].values, twin.rho)
    filters = twin.filters
    for step in range(len(filters)):
        ours = reassemble(
            arm.initial[..., :width], data["gamma"].values[step], data["rho"].values[step], mu, noise
        )
        found.add("filters reassembled, supervised stage", ours, filters[step, ..., :width])
    signal = np.append(mu, np.ones(int(bias)))
    found.add("inner products with mu", data["signal_inner"].values, filters @ signal)
    patches = np.hstack([noise, np.ones((len(noise), int(bias)))])
    found.add("inner products with the noise", data["noise_inner"].values, filters @ patches.T)
    found.add("losses of the supervised stage", data["loss"].values, twin.losses)
    if e.data.projected and not bias:
        moved = data["signal_inner"].values - data["signal_inner"].values[0]
        found.add("projected noise: <w - w0, mu> = j gamma", moved, SIGN * data["gamma"].values)
    return data, twin


def _pretraining(
    e: Resolved, instance: Instance, stage: Pretrained, data: xr.Dataset, found: Deviations
) -> None:
    """The contrastive stage's gamma, rho, rho~ against the reference's, and the filters reassembled."""
    unlabelled = instance.unlabelled
    assert unlabelled is not None
    mu, noise = instance.mu, unlabelled.noise
    twin = pretraining_twin(e, instance)
    kind = "fixed" if unlabelled.augmented is not None else "fresh"
    for name in ("gamma", "rho", "loss"):
        found.add(f"{name} of pre-training, {kind} views", data[name].values, twin[name])
    moved = twin["filters"] - twin["filters"][0]
    found.add(f"inner products with mu, {kind} views", data["signal_inner"].values, twin["filters"] @ mu)
    if mu @ mu > 0:
        aligned = np.sum((moved[1:] @ mu) ** 2, axis=1) / (np.sum(moved[1:] ** 2, axis=(1, 2)) * (mu @ mu))
        found.add(f"alignment, {kind} views", data["alignment"].values[1:], aligned)
    found.add(f"last filters, {kind} views", stage.filters, twin["filters"][-1])
    if e.data.projected:
        found.add("projected noise: <w - w0, mu> = gamma", moved @ mu, data["gamma"].values)
    if unlabelled.augmented is not None:
        found.add("rho_aug of pre-training", data["rho_aug"].values, twin["rho_aug"])
        parts = data["gamma"].values[..., None] * _unit(mu) + data["rho"].values @ _unit(noise)
        whole = instance.filters + parts + data["rho_aug"].values @ _unit(unlabelled.augmented)
        found.add("filters reassembled, pre-training", whole, twin["filters"])


def _both_stages(
    seed: int, changes: dict[str, Any], taken: float, found: Deviations
) -> tuple[Instance, list[tuple[xr.Dataset, SupervisedTwin]]]:
    """One run of the whole experiment, every state of it against its twin; the instance and both arms."""
    from numsim.runs.trajectories import pretraining_trajectory

    e = load(None, {**_SMALL, **changes, "seed": seed}).resolved()
    instance = draw(e)
    simulation = simulate(e, instance)
    assert simulation.pretrained is not None
    assert simulation.simclr is not None
    data = pretraining_trajectory(instance, simulation.pretrained)
    if not taken:
        _pretraining(e, instance, simulation.pretrained, data, found)
        halves = simulation.pretrained.filters[instance.order].reshape(2, e.network.filters, -1)
        found.add("hand-over of the filters", simulation.simclr.initial[..., : halves.shape[2]], halves)
        halves = instance.filters[instance.order].reshape(2, e.network.filters, -1)
        found.add("hand-over of the filters", simulation.direct.initial[..., : halves.shape[2]], halves)
    return instance, [
        _supervised(e, instance, arm, taken, found) for arm in (simulation.simclr, simulation.direct)
    ]


def _fresh_views(seed: int, found: Deviations) -> None:
    """Views drawn anew: all axes revealed against the reference, and none revealed against fixed views."""
    from numsim.runs.trajectories import pretraining_trajectory

    changes = {**_SMALL, "seed": seed, "pretraining.views": "fresh", "finetuning.max_steps": 0}
    for own in (
        {"pretraining.overlap": 0.6, "pretraining.temperature": 0.4},
        {"data.projected": False, "data.sigma_p": 0.7},
    ):
        e = load(None, {**changes, "data.dim": 9, **own}).resolved()
        instance = draw(e)
        stage = simulate(e, instance).pretrained
        assert stage is not None
        _pretraining(e, instance, stage, pretraining_trajectory(instance, stage), found)
    e = load(None, {**changes, "pretraining.overlap": 1.0, "finetuning.max_steps": 5}).resolved()
    instance = draw(e)
    simulation = simulate(e, instance)
    fresh, arm = simulation.pretrained, simulation.simclr
    assert fresh is not None
    assert arm is not None
    wide = arm.initial.shape[2]  # the filters have taken axes of the views with them
    labelled = replace(instance.labelled, noise=pad(instance.labelled.noise, wide))
    _supervised(e, replace(instance, mu=pad(instance.mu[None], wide)[0], labelled=labelled), arm, 0.0, found)
    assert isinstance(fresh.descent, FreshDescent)
    assert instance.unlabelled is not None
    same = replace(instance, unlabelled=replace(instance.unlabelled, augmented=instance.unlabelled.noise))
    fixed = simulate(e, same).pretrained
    assert fixed is not None
    expected = pretraining_trajectory(same, fixed)
    for name in ("gamma", "rho", "loss", "signal_inner"):
        measured = pretraining_trajectory(instance, fresh)[name].values
        found.add(f"{name}, fresh views of overlap 1 and fixed ones", measured, expected[name].values)


def _smallest_increment(instance: Instance, data: xr.Dataset) -> float:
    """Of gamma, of rho where j y_i = +1 and of -rho where j y_i = -1 (observed labels), over all steps."""
    signed = data["rho"].values * (SIGN[..., None] * instance.labelled.labels)
    return float(min(np.min(np.diff(values, axis=0)) for values in (data["gamma"].values, signed)))


def _flipped(instance: Instance) -> Instance:
    """The same with every label of the class +1 flipped."""
    labelled = instance.labelled
    return replace(instance, labelled=replace(labelled, labels=-np.abs(labelled.true_labels)))


def check(trials: Trials, *, norms: float = 0.0, clean: bool = True, last: float = 0.0) -> Outcome:
    """Both stages' gamma and rho against the recursions, the filters put together again, monotony.

    ``norms`` is the share that sigma_p^2 d has in |xi_i|^2 in E3 (6); ``clean`` False flips the labels of a
    class and still expects that gamma never falls; ``last`` is a relative error of the last rho predicted.
    """
    from numsim.runs.trajectories import arm_trajectory

    found = Deviations()
    smallest: list[float] = []
    repeats = trials.pick(2, 40)
    for seed in trials.seeds(repeats, repeats):
        instance, arms = _both_stages(seed, _VARIANTS[0], norms, found)
        smallest += [_smallest_increment(instance, data) for data, _ in arms]
        if not clean:
            e = load(None, {**_SMALL, **_VARIANTS[0], "seed": seed}).resolved()
            other = _flipped(instance)
            smallest.append(_smallest_increment(other, arm_trajectory(other, simulate(e, other).direct)))
        if not (norms or last) and clean:  # the rest is not what the controls change
            for changes in _VARIANTS[1:]:
                _both_stages(seed, changes, norms, found)
            _fresh_views(seed, found)
    data, twin = arms[1]
    measured = {name: data[name].values for name in ("gamma", "rho")}
    predicted = {"gamma": twin.gamma, "rho": twin.rho}
    largest = np.unravel_index(np.argmax(np.abs(measured["rho"][-1])), measured["rho"].shape[1:])
    paths: dict[str, tuple[Any, ...]] = {"gamma": (slice(None), *largest[:2]), "rho": (slice(None), *largest)}
    series = {name: (predicted[name][path], measured[name][path]) for name, path in paths.items()}
    rho = series["rho"]
    comparisons = [
        equals("the largest rho at the last step", (1 + last) * rho[0][-1], rho[1][-1], order=_EXACT),
        *found.compared(_EXACT),
        at_least("clean labels: smallest increment of gamma and of j y_i rho", 0.0, min(smallest)),
    ]
    return Outcome(comparisons, repeats, {"step": data["step"].values, "series": series})


def figure(evidence: Evidence) -> Figure:
    """gamma and the largest rho along a run: summed by the recursion, read off the result, a control."""
    from numsim.shown.claim_figures import CONTROL, PREDICTED, measured_points, panels

    drawn, axes = panels(2)
    data = evidence.outcome.data
    for axis, name, symbol in zip(
        axes, ("gamma", "rho"), (r"$\gamma_{j,r}$", r"$\rho_{j,r,i}$"), strict=True
    ):
        predicted, measured = data["series"][name]
        axis.plot(data["step"], predicted, **PREDICTED)
        measured_points(axis, data["step"], measured)
        axis.set(xlabel="step", ylabel=symbol)
    control, _ = evidence.controls[0].outcome.data["series"]["rho"]
    inset = axes[1].inset_axes((0.6, 0.1, 0.38, 0.25))
    predicted, measured = data["series"]["rho"]
    with np.errstate(invalid="ignore", divide="ignore"):
        inset.plot(data["step"], np.abs(control / measured - 1), **CONTROL)
        inset.plot(data["step"], np.maximum(np.abs(predicted / measured - 1), 1e-17), **PREDICTED)
    inset.set(yscale="log", title="relative deviation")
    axes[0].legend()
    axes[1].plot([], [], **CONTROL)
    axes[1].legend(loc="upper left")
    return drawn


CLAIM = Claim(
    id="E3",
    title="Filters are reassembled from signal and noise coefficients",
    source="Cao et al. 2022; pre-training Zhang-Cao",
    statement=r"w_{j,r} = w_{j,r}^{0} + j \gamma_{j,r} \frac{\mu}{\lVert\mu\rVert^2} + \sum_i \rho_{j,r,i} "
    r"\frac{\xi_i}{\lVert\xi_i\rVert^2}",
    check=check,
    controls={
        "sigma_p^2 d for |xi_i|^2 in the recursion": {"norms": 1.0},
        "flipped labels, under which gamma may fall": {"clean": False},
        "the last rho off by 1e-9": {"last": 1e-9},
    },
    figure=figure,
)
