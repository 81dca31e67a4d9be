"""E4: the dimension-free simulation is the full one, on given data and in law, e4_dimension_free.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numsim import compress, load
from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, equals, same_law
from numsim.config import Resolved
from numsim.descent import reference
from numsim.descent.driver import Descent
from numsim.descent.fresh_views import FreshViews, pretrain_fresh_views
from numsim.models.space import pad
from numsim.runs.draw import draw
from numsim.runs.simulate import Simulation, simulate

from .dense_twin import compressed, dense_draw, dense_run, disturbed, test_laws, trajectory_tolerance
from .roundoff import Deviations
from .sampling_laws import instance_laws, space_laws

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_EXACT = 1e-11
_SMALL: dict[str, Any] = {
    "data.dim": 40,
    "data.snr": 0.5,
    "network.filters": 2,
    "network.relative_init_scale": 0.1,
    "pretraining.samples": 5,
    "pretraining.steps": 9,
    "finetuning.samples": 4,
    "finetuning.max_steps": 14,
    "evaluation.samples": 100,
}
_VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"data.dim": 7, "network.relative_init_scale": 0.3},
    {"data.projected": False, "data.flip_probability": 0.4, "data.sigma_p": 2.0},
    {"network.bias": True, "network.q": 1.0},
    {"pretraining.overlap": 0.6, "pretraining.temperature": 0.2, "network.output_scale": 3.0},
    {"finetuning.labelled": "subset", "network.q": 2.0},
    {"network.q": 4.0, "network.relative_init_scale": 0.5, "pretraining.stop_at_linear_end": False},
    {"finetuning.target_loss": 0.6, "network.relative_init_scale": 0.6},
)


def _experiment(*changes: dict[str, Any]) -> Resolved:
    settings = dict(_SMALL)
    for change in changes:
        settings |= change
    return load(None, settings).resolved()


def _trajectories(
    e: Resolved, rng: np.random.Generator, stretched: float = 0.0
) -> Iterator[tuple[float, Floats, Floats]]:
    """Both arms of a dense draw, compressed and in R^d.

    For every stage the largest deviation in units of the tolerance E4 (11), and deviations and tolerances.
    stretched : the compressed filters are longer by this share.
    """
    dense = dense_draw(e, rng)
    instance = compressed(dense)
    instance = replace(instance, filters=(1 + stretched) * instance.filters)
    simulation = simulate(e, instance)
    runs = dense_run(e, dense, dense.drawn.W)
    others = [dense_run(e, dense, W) for W in disturbed(dense.drawn.W, rng)]
    assert simulation.pretrained is not None
    assert simulation.simclr is not None
    drawn = dense.drawn
    both = np.concatenate([drawn.z, drawn.z_aug])
    vectors = np.concatenate([drawn.mu[None], -drawn.mu[None], drawn.labelled_noise])
    if dense.bias is not None:
        vectors = np.hstack([vectors, np.ones((len(vectors), 1))])
    descents = (
        (simulation.pretrained.descent, both),
        (simulation.simclr.descent, vectors),
        (simulation.direct.descent, vectors),
    )
    for stage, (descent, basis) in enumerate(descents):
        assert isinstance(descent, Descent)
        run = runs[stage]
        steps = len(run.filters) - 1
        if (descent.status, descent.steps) != (run.status, steps):
            yield np.inf, np.zeros(1), np.ones(1)
            continue
        start = run.filters[0].reshape(-1, basis.shape[1])
        states = (start + descent.recorded_coefficients @ basis).reshape(-1, *run.filters[0].shape)
        allowed = trajectory_tolerance(run.filters, [other[stage].filters for other in others])
        errors = np.max(np.abs(states - np.array(run.filters)), axis=tuple(range(1, states.ndim)))
        values = [np.array(loss) for loss in run.losses]
        allowed_losses = trajectory_tolerance(
            values, [[np.array(x) for x in other[stage].losses] for other in others]
        )
        ratios = np.concatenate(
            [errors / allowed, np.abs(descent.recorded_losses - run.losses) / allowed_losses]
        )
        yield float(np.max(ratios)), errors, np.array(allowed)


def _compression(rng: np.random.Generator, found: Deviations) -> None:
    """Inner products of compressed vectors, also where they are linearly dependent or span all of R^d."""
    for dim, counts in ((50, (1, 4, 6)), (6, (2, 5, 3)), (30, (3, 3)), (9, (4,))):
        arrays = [rng.standard_normal((count, dim)) for count in counts]
        arrays[-1][0] = 2.0 * arrays[0][-1]
        small = compress(*arrays)
        before, after = np.concatenate(arrays), np.concatenate(small)
        found.add("compression: inner products", after @ after.T, before @ before.T)


def _fresh_view_laws(trials: Trials) -> list[Comparison]:
    """Two steps with views drawn anew, vectors spanning 5 of 8 dimensions: in R^8 and with axes to come."""
    settings: dict[str, Any] = {
        "learning_rate": 0.3,
        "temperature": 1.0,
        "max_steps": 2,
        "stop_at_linear_end": False,
    }
    mu = np.eye(8)[0]
    W = np.array([[0.5, 0.4, 0, 0, 0, 0, 0, 0], [-0.3, 0.2, 0.6, 0, 0, 0, 0, 0]])
    noise = np.array([[0, 0.5, 0.4, 1.5, 0, 0, 0, 0], [0, 0.2, -0.6, 0.3, 1.4, 0, 0, 0]])
    labels = np.array([1.0, -1.0])
    law: dict[str, Any] = {"sigma_p": 1.0, "projected": True, "overlap": 0.3}
    ours, theirs = [], []
    for seed in trials.seeds(400, 4000):
        fresh = FreshViews(dim=8, rng=np.random.default_rng(seed), **law)
        filters, descent = pretrain_fresh_views(W[:, :5], mu[:5], labels, noise[:, :5], fresh, **settings)
        ours.append(_features(pad(filters, 8), descent.loss))
        other = np.random.default_rng([seed, 1])
        run = reference.pretrain_fresh_views(W, mu, labels, noise, rng=other, **law, **settings)
        theirs.append(_features(run.filters[-1], run.losses[-1]))
    names = ("along mu", "in known directions", "in new directions", "across", "loss")
    return [
        same_law(f"fresh views, {name}", [row[k] for row in ours], [row[k] for row in theirs])
        for k, name in enumerate(names)
    ]


def _features(W: Floats, loss: float) -> tuple[float, ...]:
    """Numbers of two filters (2, 8), none of which depends on the choice of axes 5, 6 and 7."""
    return W[0, 0], W[1, 3], float(np.sum(W[0, 5:] ** 2)), float(W[0, 5:] @ W[1, 5:]), loss


def _observables(simulation: Simulation) -> dict[str, float]:
    """Numbers of a run that depend on everything in it, and not on the coordinates."""
    pretrained, simclr, direct = simulation.pretrained, simulation.simclr, simulation.direct
    assert pretrained is not None
    assert simclr is not None
    assert simclr.descent is not None
    assert direct.descent is not None
    c, mu = simclr.descent.coefficients, simulation.instance.mu
    return {
        "InfoNCE loss": pretrained.descent.loss,
        "alignment": pretrained.alignment,
        "signal after pre-training": float(np.max(pretrained.filters[:, : len(mu)] @ mu)),
        "training loss, fine-tuned": simclr.descent.loss,
        "signal coefficient, fine-tuned": float(np.max(c[:, 0] - c[:, 1])),
        "noise coefficient, fine-tuned": float(np.median(np.max(np.abs(c[:, 2:]), axis=0))),
        "test loss, fine-tuned": simclr.test.loss,
        "test error, fine-tuned": simclr.test.error,
        "training loss, direct": direct.descent.loss,
        "test loss, direct": direct.test.loss,
    }


def _whole_runs(trials: Trials) -> list[Comparison]:
    """The two-stage experiment on what ``draw`` draws and on vectors of R^d of independent entries."""
    settings = {"data.dim": 16, "network.relative_init_scale": 0.3, "data.flip_probability": 0.2}
    e = _experiment(settings, {"pretraining.stop_at_linear_end": False})
    ours, dense = [], []
    for seed in trials.seeds(100, 1500):
        at = e.model_copy(update={"seed": seed})
        ours.append(_observables(simulate(at, draw(at))))
        dense.append(_observables(simulate(at, compressed(dense_draw(e, trials.rng)))))
    return [
        same_law(f"whole runs: {name}", [r[name] for r in ours], [r[name] for r in dense]) for name in ours[0]
    ]


def check(trials: Trials, *, freedom: str = "left", louder: float = 1.0, stretched: float = 0.0) -> Outcome:
    """Trajectories on compressed data against R^d, the law of what is drawn, whole runs in law, test errors.

    ``freedom`` "all" draws chi_d where chi_(d - axes revealed) is due; ``louder`` multiplies the noise,
    ``stretched`` is the share by which the compressed filters are longer.
    """
    laws, squares = space_laws(trials, louder=louder, freedom=freedom)
    data: dict[str, Any] = {"squares": squares}
    if freedom != "left" or louder != 1.0:  # the rest does not look at the sampler under test
        return Outcome(laws, len(squares), data)
    found = Deviations()
    worst = 0.0
    variants = _VARIANTS[:1] if stretched else _VARIANTS
    for _ in trials.seeds(1, 20):
        for changes in variants:
            for ratio, errors, allowed in _trajectories(_experiment(changes), trials.rng, stretched):
                worst = float(np.maximum(worst, ratio))
                data["errors"], data["allowed"] = errors, allowed
        if stretched:  # nothing else looks at it
            continue
        _compression(trials.rng, found)
    trajectories = equals("deviation of trajectories, in units of the tolerance", 0.0, worst, absolute=1.0)
    if stretched:
        return Outcome([trajectories], len(squares), data)
    bias = {"network.bias": True, "network.relative_init_scale": 1.0}
    drawn = {"data.dim": 12, "data.flip_probability": 0.3, "pretraining.samples": 3, "finetuning.samples": 3}
    loud = {"data.sigma_p": 1.3, "pretraining.overlap": 0.4}
    comparisons = [
        trajectories,
        *found.compared(_EXACT),
        *laws,
        *instance_laws(trials, _experiment(bias, drawn)),
        *instance_laws(trials, _experiment(bias, drawn, loud, {"data.dim": 30, "data.projected": False})),
        *_fresh_view_laws(trials),
        *_whole_runs(trials),
        *test_laws(trials, _experiment),
    ]
    return Outcome(comparisons, len(squares), data)


def figure(evidence: Evidence) -> Figure:
    """Deviation of a trajectory from that in R^d, step by step; law of |xi|^2, chi^2 and a control."""
    from scipy.stats import chi2

    from numsim.shown.claim_figures import CONTROL, MEASURED, PREDICTED, panels

    drawn, (left, right) = panels(2)
    data = evidence.outcome.data
    steps = np.arange(len(data["errors"]))
    left.semilogy(steps, data["allowed"], **{**PREDICTED, "label": "allowed for rounding"})
    left.semilogy(steps, np.maximum(data["errors"], 1e-18), **MEASURED)
    left.set(xlabel="step", ylabel=r"largest $|w - w_{\mathrm{dense}}|$")
    x = np.linspace(0, 18, 200)
    right.plot(x, chi2.cdf(x, 5), **PREDICTED)
    for squares, style in (
        (data["squares"], MEASURED),
        (evidence.controls[0].outcome.data["squares"], CONTROL),
    ):
        ordered = np.sort(squares)[:: max(1, len(squares) // (30 if style is MEASURED else 300))]
        right.plot(ordered, (np.arange(len(ordered)) + 0.5) / len(ordered), **style)
    right.set(
        xlabel=r"$|\xi|^2 / \sigma_p^2$ in $\mathbb{R}^6$", ylabel="distribution function", xlim=(0, 18)
    )
    left.legend()
    right.legend()
    return drawn


CLAIM = Claim(
    id="E4",
    title="Dimension-free simulation is the full one, exactly and in law",
    source="numsim (new); the sampling is Bartlett's decomposition of the Wishart matrix",
    statement=r"x = s \left( g_1, \dots, g_r, \chi_{d-r}, 0, \dots \right) \text{ has the inner products of }"
    r" x \sim N(0, s^2 I_d)",
    check=check,
    controls={
        "chi_d for every new axis": {"freedom": "all"},
        "noise 5 % louder": {"louder": 1.05},
        "compressed filters longer by 1e-8": {"stretched": 1e-8},
    },
    figure=figure,
)
