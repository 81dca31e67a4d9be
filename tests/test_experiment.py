"""The two-stage experiment against the same experiment in R^d, exactly and in law; its promises."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
from scipy import stats
from scipy.stats import ks_2samp

import numsim
from derivations.identities.dense_twin import compressed, dense_draw, dense_run
from numsim import Experiment
from numsim.config import Resolved
from numsim.descent import driver as dynamics
from numsim.descent import reference
from numsim.descent.evaluation import evaluate
from numsim.descent.fresh_views import FreshDescent
from numsim.descent.pretraining import alignment
from numsim.models.signal_noise import Labelled
from numsim.models.space import pad
from numsim.models.streams import STREAMS, generator
from numsim.runs.draw import Instance, draw
from numsim.runs.simulate import Arm, Pretrained, Simulation, simulate

Floats = npt.NDArray[np.float64]


def small(**changes: Any) -> Resolved:
    """An experiment that the loops of the reference can follow."""
    settings = {
        "data.dim": 40,
        "data.snr": 0.5,
        "network.filters": 2,
        "network.relative_init_scale": 0.05,
        "pretraining.samples": 6,
        "pretraining.steps": 25,
        "finetuning.samples": 5,
        "finetuning.max_steps": 40,
        "evaluation.samples": 200,
    }
    return numsim.load(None, {**settings, **changes}).resolved()


OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "fewer dimensions than vectors": {"data.dim": 7},
    "unprojected noise": {"data.projected": False},
    "flips": {"data.flip_probability": 0.4, "finetuning.samples": 8},
    "bias": {"network.bias": True},
    "relu": {"network.q": 1.0, "finetuning.max_steps": 15},
    "q = 2": {"network.q": 2.0},
    "q = 1.5": {"network.q": 1.5, "finetuning.max_steps": 15},
    "q = 4, past the race": {"network.q": 4.0, "network.relative_init_scale": 0.4},
    "overlap": {"pretraining.overlap": 0.6},
    "no augmentation": {"pretraining.overlap": 1.0},
    "past the linear stage": {
        "pretraining.stop_at_linear_end": False,
        "network.relative_init_scale": 0.2,
        "pretraining.steps": 40,
    },
    "temperature and scale": {"pretraining.temperature": 0.2, "network.output_scale": 3.0},
    "to the target loss": {"finetuning.target_loss": 0.6, "network.relative_init_scale": 0.5},
}


@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS.keys())
def test_the_whole_trajectory_is_that_of_the_dense_experiment(changes: dict[str, Any]) -> None:
    e = small(**changes)
    dense = dense_draw(e, np.random.default_rng(11))
    drawn = dense.drawn
    simulation = simulate(e, compressed(dense))
    runs = dense_run(e, dense, drawn.W)
    disturbed = [dense_run(e, dense, W) for W in tolerances.perturbed(drawn.W)]

    assert simulation.pretrained is not None
    assert simulation.simclr is not None
    both = np.concatenate([drawn.z, drawn.z_aug])
    vectors = np.concatenate([drawn.mu[None], -drawn.mu[None], drawn.labelled_noise])
    if dense.bias is not None:
        vectors = np.concatenate([vectors, np.ones((len(vectors), 1))], axis=1)
    stages = (
        (simulation.pretrained.descent, both),
        (simulation.simclr.descent, vectors),
        (simulation.direct.descent, vectors),
    )
    for stage, ((descent, basis), run) in enumerate(zip(stages, runs, strict=True)):
        assert isinstance(descent, dynamics.Descent)
        assert descent.status == run.status
        assert descent.steps == len(run.filters) - 1 == descent.recorded_steps[-1]
        start = run.filters[0].reshape(-1, basis.shape[1])
        bounds = tolerances.trajectory(run.filters, [other[stage].filters for other in disturbed])
        losses = tolerances.trajectory(
            [np.array(loss) for loss in run.losses],
            [[np.array(loss) for loss in other[stage].losses] for other in disturbed],
        )
        for step, loss, coefficients in zip(
            descent.recorded_steps, descent.recorded_losses, descent.recorded_coefficients, strict=True
        ):
            filters = (start + coefficients @ basis).reshape(run.filters[step].shape)
            assert np.max(np.abs(filters - run.filters[step])) <= bounds[step]
            assert abs(loss - run.losses[step]) <= losses[step]


@pytest.mark.parametrize(
    "changes",
    [
        {"data.flip_probability": 0.2},
        {"data.projected": False, "data.dim": 10, "data.snr": 1.0},
        {"data.sigma_p": 2.0},
        {"network.output_scale": 4.0},
        {"network.bias": True},
    ],
    ids=str,
)
def test_the_test_error_is_that_of_samples_in_r_d(changes: dict[str, Any]) -> None:
    samples = 4000
    settings = {
        "network.relative_init_scale": 0.6,
        "finetuning.max_steps": 400,
        "evaluation.samples": samples,
    }
    e = small(**{**settings, **changes})
    dense = dense_draw(e, np.random.default_rng(3))
    drawn = dense.drawn
    simulation = simulate(e, compressed(dense))
    direct = dense_run(e, dense, drawn.W).direct
    xi = reference.draw_noise(
        np.random.default_rng(5), samples // 2, drawn.mu, e.data.sigma_p, e.data.projected
    )
    x = np.stack([np.concatenate([xi * 0 + drawn.mu, xi * 0 - drawn.mu]), np.concatenate([xi, xi])], axis=1)
    if dense.bias is not None:
        x = np.concatenate([x, np.ones((*x.shape[:2], 1))], axis=2)
    y = np.repeat([1.0, -1.0], len(xi))
    margins = y * reference.outputs(direct.filters[-1], x, e.network.q, e.network.output_scale)
    loss, error = reference.evaluate(margins, e.data.flip_probability)
    test = simulation.direct.test
    factor = np.sqrt(1 + samples / len(xi))  # the reference has its own Monte-Carlo error
    assert abs(test.loss - loss) <= tolerances.STANDARD_ERRORS * factor * test.loss_se
    assert abs(test.error - error) <= tolerances.STANDARD_ERRORS * factor * test.error_se


@pytest.mark.parametrize("samples", [2, 300])
@pytest.mark.parametrize("variant", [{}, {"network.bias": True}, {"pretraining.views": "fresh"}], ids=str)
def test_both_arms_meet_the_same_test_samples(samples: int, variant: dict[str, Any]) -> None:
    changes = {"network.output_scale": 2.0, "data.flip_probability": 0.1, "data.projected": False, **variant}
    e = small(**changes, **{"evaluation.samples": samples, "seed": 5, "network.relative_init_scale": 0.5})
    simulation = simulate(e, draw(e))
    assert simulation.simclr is not None
    for arm in (simulation.simclr, simulation.direct):
        filters = arm.filters[..., :-1] if e.network.bias else arm.filters
        assert arm.test == evaluate(
            filters,
            pad(simulation.instance.direction[None], filters.shape[2])[0],
            arm.filters[..., -1] if e.network.bias else None,
            signal_norm=e.signal_norm,
            sigma_p=1.0,
            q=3.0,
            output_scale=2.0,
            projected=False,
            flip_probability=0.1,
            samples=samples,
            rng=generator(5, "evaluation"),
        )


def observables(simulation: Simulation) -> dict[str, float]:
    """Numbers of a run that depend on everything in it, none of them on coordinates."""
    pretrained, simclr = simulation.pretrained, simulation.simclr
    assert pretrained is not None
    assert simclr is not None
    mu = simulation.instance.mu
    found = {
        "pretraining loss": pretrained.descent.loss,
        "alignment": pretrained.alignment,
        "signal after pre-training": float(np.max(pretrained.filters[:, : len(mu)] @ mu)),
    }
    for name, arm in (("simclr", simclr), ("direct", simulation.direct)):
        descent = arm.descent
        assert descent is not None
        c = descent.coefficients
        found |= {
            f"{name} train loss": descent.loss,
            f"{name} test loss": arm.test.loss,
            f"{name} test error": arm.test.error,
            f"{name} signal coefficient": float(np.max(c[:, 0] - c[:, 1])),
            f"{name} noise coefficient": float(np.median(np.max(np.abs(c[:, 2:]), axis=0))),
            f"{name} largest inner product": float(np.max(descent.inner)),
        }
    return found


def fresh_dense(e: Resolved, seed: int) -> Simulation:
    """The experiment with fresh views, every vector dense in R^d (mu along the first axis)."""
    rng = np.random.default_rng(seed)
    drawn = reference.draw(
        rng,
        dim=e.data.dim,
        filters=e.network.filters,
        unlabelled=e.pretraining.samples,
        labelled=e.finetuning.samples,
        signal_norm=e.signal_norm,
        sigma_p=e.data.sigma_p,
        init_scale=e.init_scale,
        projected=e.data.projected,
        first_axis=True,
    )
    run = reference.pretrain_fresh_views(
        drawn.W,
        drawn.mu,
        drawn.labels,
        drawn.noise,
        sigma_p=e.data.sigma_p,
        projected=e.data.projected,
        overlap=e.pretraining.overlap,
        learning_rate=e.pretraining.learning_rate,
        temperature=e.pretraining.temperature,
        max_steps=e.pretraining.steps,
        stop_at_linear_end=e.pretraining.stop_at_linear_end,
        rng=np.random.default_rng([seed, 1]),
    )
    order = rng.permutation(len(drawn.W))
    # Fine-tuning sees the dense filters: compress them together with what it uses.
    mu, noise, start, end = numsim.compress(drawn.mu[None], drawn.labelled_noise, drawn.W, run.filters[-1])
    labelled = Labelled(drawn.true_labels, drawn.observed, noise)
    arms = []
    for filters in (end, start):
        given = Instance(mu[0], mu[0] / np.linalg.norm(mu[0]), filters, None, None, labelled, order)
        arms.append(simulate(e.replace({"seed": seed}), given).direct)
    given = Instance(mu[0], given.direction, start, None, None, labelled, order)
    pretrained = Pretrained(
        end,
        FreshDescent(
            run.status,
            len(run.filters) - 1,
            run.losses[-1],
            *[np.zeros(0)] * 6,  # type: ignore[arg-type]
        ),
        alignment(end - start, mu[0]),
    )
    return Simulation(e, given, pretrained, dict(zip(("simclr", "direct"), arms, strict=True)))


LAWS: dict[str, dict[str, Any]] = {
    "d = 60": {"data.dim": 60},
    "axes run out": {"data.dim": 9},
    "unprojected": {"data.dim": 25, "data.projected": False, "data.flip_probability": 0.2},
    "overlap": {"data.dim": 25, "pretraining.overlap": 0.7},
    "d = 2": {"data.dim": 2},
}


@pytest.mark.compiled
@pytest.mark.parametrize("changes", LAWS.values(), ids=LAWS.keys())
def test_equal_in_law_to_dense_sampling(changes: dict[str, Any]) -> None:
    e = small(**{"network.relative_init_scale": 0.3, "pretraining.steps": 12, **changes})
    ours, dense = [], []
    for seed in range(tolerances.LAW_SEEDS):
        at = e.replace({"seed": seed}).resolved()
        ours.append(observables(simulate(at, draw(at))))
        at = e.replace({"seed": seed + tolerances.LAW_SEEDS}).resolved()
        other = dense_draw(at, np.random.default_rng(seed))
        dense.append(observables(simulate(at, compressed(other))))
    check_laws(ours, dense)


@pytest.mark.compiled
@pytest.mark.parametrize(
    "changes",
    [
        {"data.dim": 40},
        {"data.dim": 8},
        {"data.dim": 14, "pretraining.overlap": 0.5, "data.projected": False},
    ],
    ids=["d = 40", "axes run out", "overlap, unprojected"],
)
def test_fresh_views_are_equal_in_law_to_dense_sampling(changes: dict[str, Any]) -> None:
    settings = {
        "network.relative_init_scale": 0.3,
        "pretraining.samples": 4,
        "pretraining.steps": 8,
        "pretraining.views": "fresh",
    }
    e = small(**{**settings, **changes})
    ours, dense = [], []
    for seed in range(tolerances.LAW_SEEDS):
        at = e.replace({"seed": seed}).resolved()
        ours.append(observables(simulate(at, draw(at))))
        dense.append(observables(fresh_dense(e, seed + tolerances.LAW_SEEDS)))
    check_laws(ours, dense)


def check_laws(ours: list[dict[str, float]], dense: list[dict[str, float]]) -> None:
    """Two-sample Kolmogorov-Smirnov tests, Bonferroni over the observables."""
    level = tolerances.LAW_LEVEL / len(ours[0])
    rejected = {
        name: ks_2samp([row[name] for row in ours], [row[name] for row in dense]).pvalue for name in ours[0]
    }
    assert min(rejected.values()) > level, rejected


@pytest.mark.compiled
def test_the_law_test_notices_a_wrong_law() -> None:
    """Control: the same test with the noise 10 % too large must fail."""
    e = small(**{"network.relative_init_scale": 0.3, "pretraining.steps": 12})
    scales = {"data.snr": e.snr / 1.1, "network.init_scale": e.init_scale}
    louder = e.replace({"data.sigma_p": 1.1, **scales}).resolved()
    ours = [observables(simulate(e, draw(e.replace({"seed": s})))) for s in range(tolerances.LAW_SEEDS)]
    dense = [
        observables(simulate(e, compressed(dense_draw(louder, np.random.default_rng(s)))))
        for s in range(tolerances.LAW_SEEDS)
    ]
    with pytest.raises(AssertionError):
        check_laws(ours, dense)


@pytest.mark.compiled
def test_headline_over_twenty_seeds() -> None:
    """Twenty labels suffice after pre-training; direct training memorises them, at d = n0^4."""
    e = Experiment()
    assert e.data.dim == e.pretraining.samples**4
    good = 0
    for seed in range(20):
        result = numsim.run(e, seed=seed)
        assert result.simclr is not None
        memorised = result.direct.test_error >= 0.3 and result.direct.status == "target_loss"
        good += result.simclr.test_error <= 0.01 and memorised
    assert good >= 19


@pytest.mark.parametrize("dim", [1e4, 1e8, 1e15])
def test_width_does_not_depend_on_the_dimension(dim: float) -> None:
    e = small(**{"data.dim": dim})
    assert draw(e).filters.shape[1] == 1 + 2 * 2 + 2 * 6 + 5


def test_runs_are_equal_bit_for_bit_and_seeds_differ() -> None:
    e = small()
    first, again, other = (numsim.run(e, seed=s).to_dataset() for s in (1, 1, 2))
    assert first.identical(again)
    assert not np.array_equal(first["direct_gamma"], other["direct_gamma"])


def test_streams_are_independent_of_other_sizes() -> None:
    """Another number of labelled samples leaves filters and unlabelled noise as they are."""
    a, b = (draw(small(**{"finetuning.samples": n})) for n in (3, 5))
    assert a.unlabelled is not None
    assert b.unlabelled is not None
    width = 1 + 4 + 12
    np.testing.assert_array_equal(a.filters[:, :width], b.filters[:, :width])
    np.testing.assert_array_equal(a.unlabelled.noise[:, :width], b.unlabelled.noise[:, :width])


@pytest.mark.parametrize("views", ["fixed", "fresh"])
def test_every_stream_of_the_seed_is_used_once(views: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the test samples, which both arms share."""
    used: list[tuple[int, str]] = []

    def recorded(seed: int, stream: str) -> np.random.Generator:
        used.append((seed, stream))
        return generator(seed, stream)

    for module in ("draw", "simulate"):
        monkeypatch.setattr(f"numsim.runs.{module}.generator", recorded)
    e = small(**{"pretraining.views": views, "network.bias": True, "data.flip_probability": 0.3})
    numsim.run(e, seed=17)
    streams = [stream for seed, stream in used if seed == 17]
    assert len(streams) == len(used)
    drawn = [stream for stream in streams if stream != "evaluation"]
    if views == "fresh":  # the draw gets the stream, too, but takes nothing from it
        drawn.remove("views")
    assert len(set(drawn)) == len(drawn)
    assert streams.count("evaluation") == 2


def test_streams_and_seeds_differ() -> None:
    names = ["filters", "labels", "noise", "views", "labelled", "labelled noise", "flips", "split", "bias"]
    firsts = {generator(seed, name).random() for seed in range(20) for name in [*names, "evaluation"]}
    assert len(firsts) == 20 * (len(names) + 1)


def test_streams_and_seeds_are_independent() -> None:
    """First numbers of all streams over consecutive seeds, which is how ensembles use them."""
    names = sorted(STREAMS)
    firsts = np.array([[generator(seed, name).random() for name in names] for seed in range(1000)])
    level = tolerances.SIGNIFICANCE / len(names) ** 2  # of all comparisons together
    for k, name in enumerate(names):
        assert stats.kstest(firsts[:, k], "uniform").pvalue >= level, name
        assert stats.pearsonr(firsts[:-1, k], firsts[1:, k]).pvalue >= level, name
        for other in range(k):
            assert stats.pearsonr(firsts[:, k], firsts[:, other]).pvalue >= level, (name, names[other])
    pairs = np.histogram2d(firsts[:, :-1].ravel(), firsts[:, 1:].ravel(), bins=8, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(pairs.ravel()).pvalue >= tolerances.SIGNIFICANCE


def test_a_seed_given_is_the_seed_of_the_experiment() -> None:
    e = small(**{"network.bias": True, "data.flip_probability": 0.3, "finetuning.samples": 30})
    given, own = draw(e, 17), draw(e.replace({"seed": 17}))
    assert given.unlabelled is not None
    assert own.unlabelled is not None
    for one, other in (
        (given.filters, own.filters),
        (given.bias, own.bias),
        (given.order, own.order),
        (given.unlabelled.sums(given.mu), own.unlabelled.sums(own.mu)),
        (given.labelled.noise, own.labelled.noise),
        (given.labelled.true_labels, own.labelled.true_labels),
        (given.labelled.labels, own.labelled.labels),
    ):
        np.testing.assert_array_equal(one, other)


def test_the_split_is_random() -> None:
    """Every filter comes to every place equally often."""
    draws = 400
    counts = np.zeros((4, 4))
    for seed in range(draws):
        counts[np.arange(4), draw(small(seed=seed)).order] += 1
    assert counts / draws == pytest.approx(np.full((4, 4), 0.25), abs=tolerances.monte_carlo(0.5, draws))


def test_biases_start_like_the_filters_coordinates() -> None:
    filters = 2000
    instance = draw(small(**{"network.bias": True, "network.filters": filters, "data.dim": 1e8}))
    assert instance.bias is not None
    scale = small(**{"data.dim": 1e8}).init_scale
    error = tolerances.monte_carlo(1.0, 2 * filters)
    assert np.std(instance.bias) / scale == pytest.approx(1.0, abs=error)
    assert abs(np.mean(instance.bias)) <= error * scale


@pytest.mark.parametrize("labelled", ["fresh", "subset"])
@pytest.mark.parametrize("balanced", [False, True])
def test_labelled_samples_are_new_or_a_subset(labelled: str, balanced: bool) -> None:
    for seed in range(10):
        settings = {"finetuning.labelled": labelled, "data.balanced": balanced, "finetuning.samples": 4}
        instance = draw(small(**settings, seed=seed))
        assert instance.unlabelled is not None
        known = {noise.tobytes() for noise in instance.unlabelled.noise}
        shared = [noise.tobytes() in known for noise in instance.labelled.noise]
        assert shared == [labelled == "subset"] * 4
        if balanced:
            assert np.sum(instance.labelled.true_labels) == np.sum(instance.unlabelled.labels) == 0


@pytest.mark.parametrize("views", ["fixed", "fresh"])
@pytest.mark.parametrize("projected", [True, False])
def test_units_of_length_change_nothing(views: str, projected: bool) -> None:
    """sigma_p and |mu| times 4, filters by 4, step sizes by 16: every activation stays what it was."""
    changes = {"pretraining.views": views, "data.projected": projected, "network.relative_init_scale": 0.5}
    metres, feet = (
        simulate(e, draw(e)) for e in (small(**changes, **{"data.sigma_p": unit}) for unit in (1.0, 4.0))
    )
    for one, other in ((metres.simclr, feet.simclr), (metres.direct, feet.direct)):
        assert one is not None
        assert other is not None
        assert other.test == pytest.approx(one.test, rel=tolerances.SOLVED)
        np.testing.assert_allclose(4 * other.filters, one.filters, rtol=0, atol=tolerances.TRAJECTORY_FLOOR)
    assert metres.pretrained is not None
    assert feet.pretrained is not None
    assert feet.pretrained.descent.loss == pytest.approx(
        metres.pretrained.descent.loss, rel=tolerances.SOLVED
    )


@pytest.mark.parametrize("views", ["fixed", "fresh"])
def test_the_temperature_is_the_unit_of_similarities(views: str) -> None:
    """tau times 4, filters by 2, step size by 4: the same softmax, so the same losses and the same end."""
    found = []
    for unit in (1.0, 2.0):
        changes = {"pretraining.temperature": unit**2, "network.relative_init_scale": 0.05 * unit}
        e = small(**changes, **{"pretraining.views": views, "pretraining.steps": 400})
        stage = simulate(e, draw(e)).pretrained
        assert stage is not None
        found.append((stage.descent, stage.filters / unit))
    (one, W), (other, V) = found
    assert (one.status, one.steps) == (other.status, other.steps) == ("linear_end", one.steps)
    np.testing.assert_allclose(other.recorded_losses, one.recorded_losses, rtol=tolerances.SOLVED)
    np.testing.assert_allclose(V, W, rtol=0, atol=tolerances.TRAJECTORY_FLOOR)


@pytest.mark.parametrize("views", ["fixed", "fresh"])
@pytest.mark.parametrize("steps", [150, 450])
def test_recorded_states_are_evenly_spaced(views: str, steps: int) -> None:
    changes = {"pretraining.steps": steps, "pretraining.stop_at_linear_end": False}
    e = small(**changes, **{"pretraining.views": views, "network.relative_init_scale": 1e-12})
    stage = simulate(e, draw(e)).pretrained
    assert stage is not None
    recorded = stage.descent.recorded_steps
    assert (recorded[0], recorded[-1]) == (0, steps)
    assert len(recorded) <= 200 + 1
    assert len(recorded) > min(steps, 200) / 2
    gaps = np.diff(recorded[:-1])
    assert np.all(gaps == gaps[0])


@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_the_first_fresh_views_are_the_fixed_ones_once_all_axes_are_revealed(
    projected: bool, overlap: float
) -> None:
    """Both are dense sampling there, from the same stream; every setting of the views is the same, too."""
    changes = {
        "data.projected": projected,
        "pretraining.overlap": overlap,
        "data.dim": 5,
        "data.sigma_p": 2.0,
    }
    settings = {**changes, "pretraining.steps": 1, "pretraining.stop_at_linear_end": False}
    fixed, fresh = (
        simulate(e, draw(e)).pretrained
        for e in (small(**settings, **{"pretraining.views": views}) for views in ("fixed", "fresh"))
    )
    assert fixed is not None
    assert fresh is not None
    assert fixed.descent.steps == fresh.descent.steps == 1
    np.testing.assert_allclose(fresh.filters, fixed.filters, rtol=tolerances.CLOSED_FORM)


def test_without_pretraining_there_is_one_arm_and_it_is_the_direct_one() -> None:
    with_stage, without = small(), small(**{"pretraining.samples": 0})
    result = numsim.run(without)
    assert result.simclr is None
    assert result.pretraining is None
    assert result.theory["pretraining"] is None
    assert numsim.run(with_stage).simclr is not None


def test_both_arms_share_data_split_and_initial_filters() -> None:
    e = small(**{"pretraining.steps": 0})
    simulation = simulate(e, draw(e))
    assert simulation.simclr is not None
    np.testing.assert_array_equal(simulation.simclr.initial, simulation.direct.initial)
    assert simulation.simclr.test == simulation.direct.test


def test_the_linear_end_is_the_first_step_past_the_threshold() -> None:
    e = small(**{"pretraining.steps": 400, "network.relative_init_scale": 0.02})
    simulation = simulate(e, draw(e))
    assert simulation.pretrained is not None
    assert simulation.instance.unlabelled is not None
    descent = simulation.pretrained.descent
    assert isinstance(descent, dynamics.Descent)
    assert descent.status == "linear_end"
    z, _ = simulation.instance.unlabelled.sums(simulation.instance.mu)
    largest = []
    for coefficients in descent.recorded_coefficients:
        both = np.concatenate(simulation.instance.unlabelled.sums(simulation.instance.mu))
        inner = (simulation.instance.filters + coefficients @ both) @ z.T
        s = inner.T @ inner
        largest.append(np.max(np.abs(s - np.diag(np.diag(s)))))
    assert descent.recorded_steps[-1] == descent.steps
    assert largest[-1] > 0.3
    assert max(largest[:-1]) <= 0.3


@pytest.mark.parametrize("steps", [0, 1, 6, 7, 8, 30, 64])
@pytest.mark.parametrize("rows", [2, 3, 8])
def test_states_kept_do_not_depend_on_what_could_end_the_stage(steps: int, rows: int) -> None:
    """With a linear end that could come the stride doubles on the way; without one it is known beforehand."""
    z = np.eye(3)
    common: dict[str, Any] = {"learning_rate": 1e-3, "max_steps": steps, "record": rows}
    _, open_ended = numsim.pretrain(0.1 * z, z, z, **common)
    _, known = numsim.pretrain(0.1 * z, z, z, **common, stop_at_linear_end=False)
    assert open_ended.status == known.status == "max_steps"
    assert known.recorded_steps.tolist() == open_ended.recorded_steps.tolist()
    for name in ("recorded_losses", "recorded_coefficients", "coefficients", "inner"):
        np.testing.assert_array_equal(getattr(known, name), getattr(open_ended, name))


@pytest.mark.compiled  # interpreted kernels warn of the overflow that compiled ones report as a status
def test_a_descent_that_diverges_early_keeps_the_states_before() -> None:
    common: dict[str, Any] = {"learning_rate": 10.0, "stop_at_linear_end": False}
    z = [[2.0], [1.0]]
    _, full = numsim.pretrain([[1.0]], z, [[1.0], [1.0]], max_steps=2000, record=2001, **common)
    _, run = numsim.pretrain([[1.0]], z, [[1.0], [1.0]], max_steps=2000, record=8, **common)
    assert run.status == full.status == "non_finite"
    assert 8 < run.steps == full.steps < 1000
    assert len(run.recorded_steps) >= 4
    np.testing.assert_array_equal(run.recorded_coefficients, full.recorded_coefficients[run.recorded_steps])


@pytest.mark.parametrize(("s", "status"), [(0.3, "max_steps"), (np.nextafter(0.3, 1), "linear_end")])
def test_the_linear_stage_includes_its_threshold(s: float, status: str) -> None:
    _, descent = numsim.pretrain([[1.0]], [[s], [1.0]], [[1.0], [1.0]], learning_rate=1.0, max_steps=0)
    assert descent.status == status


def test_user_data_trains_through_the_same_dictionary() -> None:
    """numsim.train on the dense patches of a run gives the run's filters."""
    e = small()
    dense = dense_draw(e, np.random.default_rng(5))
    drawn = dense.drawn
    arm: Arm = simulate(e, compressed(dense)).direct
    W0 = drawn.W[dense.order].reshape(2, 2, -1)
    W, descent = numsim.train(
        W0,
        drawn.x,
        drawn.observed,
        q=e.network.q,
        learning_rate=e.finetuning.learning_rate,
        max_steps=e.finetuning.max_steps,
    )
    assert arm.descent is not None
    assert descent.steps == arm.descent.steps
    patches = drawn.x.reshape(-1, e.data.dim)
    ours = np.einsum("jrd,kd->jrk", W, patches)
    inside = (
        arm.filters.reshape(4, -1)
        @ numsim.compress(drawn.mu[None], drawn.W, drawn.noise, drawn.views, drawn.labelled_noise)[4].T
    )
    np.testing.assert_allclose(ours.reshape(4, -1)[:, 1::2], inside, rtol=0, atol=tolerances.TRAJECTORY_FLOOR)


@pytest.mark.compiled  # interpreted kernels warn of the overflow that compiled ones report as a status
def test_a_run_that_diverges_says_so() -> None:
    result = numsim.run(small(**{"finetuning.learning_rate": 1e200, "network.relative_init_scale": 0.5}))
    assert result.direct.status == "non_finite"
    assert "learning_rate" in result.direct.explanation
    assert np.isnan(result.direct.test_error)
    assert not result.finite
    result = numsim.run(small(**{"pretraining.learning_rate": 1e80, "pretraining.stop_at_linear_end": False}))
    assert result.pretraining is not None
    assert result.simclr is not None
    assert result.pretraining.status == result.simclr.status == "non_finite"
    assert result.direct.status != "non_finite"


@pytest.mark.parametrize(
    "changes",
    [
        {"pretraining.samples": 2_000_000, "data.dim": 1e12},
        {"pretraining.samples": 2_000_000, "data.dim": 2},  # the similarities alone
        {"finetuning.samples": 2_000_000, "data.dim": 2},  # the Gram matrix alone
    ],
    ids=str,
)
def test_what_cannot_fit_in_memory_is_refused_before_it_is_drawn(changes: dict[str, Any]) -> None:
    e = small(**changes)
    with pytest.raises(numsim.ConfigError, match="GiB"):
        draw(e)
