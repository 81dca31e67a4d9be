"""numsim.theory against simulation: spectra of drawn instances, growth, hand-over, races, default steps."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tolerances
from scipy.integrate import quad

from numsim import draw, power_matrix, pretrain
from numsim.config import Experiment
from numsim.descent.blas import blas_threads
from numsim.descent.fresh_views import FreshViews, pretrain_fresh_views
from numsim.descent.network import split_filters
from numsim.descent.power_matrix import top_eigenpairs
from numsim.descent.supervised import train_dictionary
from numsim.models.decomposition import pretraining_coefficients
from numsim.models.signal_noise import signal_noise_dictionary
from numsim.models.streams import generator
from numsim.runs.draw import Instance
from numsim.runs.prediction import compare
from numsim.runs.simulate import simulate
from numsim.theory import (
    coefficient_growth,
    fresh_view_spectrum,
    handover_ratio,
    power_unit,
    race,
    saturation,
    spectrum,
)

Floats = npt.NDArray[np.float64]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with blas_threads(1):
        yield


def contrastive(
    n0: int, dim: int, kappa: float, seed: int, *, overlap: float = 0.0, balanced: bool = True
) -> tuple[Instance, float]:
    """An instance with n0 SNR^2 = kappa, and the step size eta at which u = 1 (tau = 1)."""
    e = Experiment(
        data={"dim": dim, "snr": math.sqrt(kappa / n0), "balanced": balanced},
        network={"filters": 1},
        pretraining={"samples": n0, "overlap": overlap},
        finetuning={"samples": 2},
    )
    unit = power_unit(learning_rate=1.0, temperature=1.0, sigma_p=1.0, dim=dim, samples=n0)
    return draw(e, seed), 1 / unit


def views(instance: Instance) -> tuple[Floats, Floats]:
    assert instance.unlabelled is not None
    return instance.unlabelled.sums(instance.mu)


# ---------------------------------------------------------------- spectrum (P2, P6)


def test_spectrum_at_a_finite_aspect() -> None:
    """P2 at n0 = 300, d = 3000, kappa = 1/2: means over 50 draws with random labels."""
    n0, dim, kappa, draws = 300, 3000, 0.5, 50
    found = []
    for seed in range(draws):
        instance, rate = contrastive(n0, dim, kappa, seed, balanced=False)
        values, vectors = top_eigenpairs(*views(instance), learning_rate=rate, temperature=1.0, count=2)
        found.append((values[0], values[1], (vectors[:, 0] @ instance.direction) ** 2))
    top, second, alignment = np.mean(found, axis=0)
    errors = tolerances.monte_carlo(1.0, draws) * np.std(found, axis=0)
    limit = spectrum(kappa, n0 / dim)
    assert abs(top - limit.top) <= errors[0] + tolerances.FINITE_SIZE / n0 * limit.top
    assert abs(second - limit.edge) <= errors[1] + tolerances.edge_size(n0) * limit.edge
    assert abs(alignment - limit.alignment) <= errors[2] + tolerances.FINITE_SIZE / n0
    assert 2.04 <= top <= 2.09
    assert 1.64 <= second <= 1.69
    assert 0.41 <= alignment <= 0.45


@pytest.mark.parametrize("n0", [50, 100, 250])
@pytest.mark.parametrize("kappa", [0.25, 1.0, 4.0, 10.0])
def test_top_eigenpair_in_high_dimension(n0: int, kappa: float) -> None:
    """P2 at d = n0^4: |<v1,mu>| / |mean y <v1,xi>| = 2 kappa in every draw, balanced labels."""
    for seed in range(3):
        instance, rate = contrastive(n0, n0**4, kappa, seed)
        values, vectors = top_eigenpairs(*views(instance), learning_rate=rate, temperature=1.0)
        top, unlabelled = vectors[:, 0], instance.unlabelled
        assert unlabelled is not None
        noise = abs(np.mean(unlabelled.labels * (unlabelled.noise @ top)))
        ratio = abs(top @ instance.mu) / noise
        assert ratio == pytest.approx(2 * kappa, rel=1 / n0 + tolerances.REMAINDER)
        limit = spectrum(kappa)
        assert values[0] == pytest.approx(limit.top, rel=tolerances.finite_size(n0))
        aligned = (top @ instance.direction) ** 2
        assert aligned == pytest.approx(limit.alignment, rel=tolerances.finite_size(n0))


@pytest.mark.parametrize("seed", range(3))
def test_whole_spectrum_in_high_dimension(seed: int) -> None:
    """P2: lambda_1, the bulk edge u and the all-ones mode's -(1 + sqrt 2) u."""
    n0, kappa = 200, 1.0
    instance, rate = contrastive(n0, n0**4, kappa, seed)
    values = np.linalg.eigvalsh(power_matrix(*views(instance), learning_rate=rate))
    assert values[0] == pytest.approx(-(1 + math.sqrt(2)), rel=tolerances.finite_size(n0))
    assert values[-1] == pytest.approx(1 + 2 * kappa, rel=tolerances.finite_size(n0))
    assert values[-2] == pytest.approx(1.0, rel=tolerances.finite_size(n0))
    assert values[1] >= -1 - tolerances.finite_size(n0)


@pytest.mark.parametrize("overlap", [0.3, 0.7, 1.0])
def test_spectrum_with_overlap(overlap: float) -> None:
    """P6: lambda_1 = u (2 kappa + 1 + a), edge u (1 + a), cos^2 = 2 kappa / (2 kappa + 1 + a)."""
    n0, kappa = 100, 4.0
    limit = spectrum(kappa, 0.0, overlap)
    for seed in range(3):
        instance, rate = contrastive(n0, n0**4, kappa, seed, overlap=overlap)
        values, vectors = top_eigenpairs(*views(instance), learning_rate=rate, temperature=1.0, count=2)
        aligned = (vectors[:, 0] @ instance.direction) ** 2
        assert values == pytest.approx([limit.top, limit.edge], rel=tolerances.finite_size(n0))
        assert aligned == pytest.approx(limit.alignment, rel=tolerances.finite_size(n0))


@pytest.mark.compiled
@pytest.mark.parametrize(("kappa", "overlap"), [(4.0, 0.0), (1.0, 0.0), (2.0, 0.5), (1.0, 1.0)])
def test_growth_with_fresh_views(kappa: float, overlap: float) -> None:
    """Growth of <w, mu> per step over steps 40 to 60, from filters so small that the stage stays linear."""
    n0, dim = 100, 10**8
    e = Experiment(
        data={"dim": dim, "snr": math.sqrt(kappa / n0), "balanced": True},
        network={"filters": 5, "relative_init_scale": 1e-6},
        pretraining={"samples": n0, "overlap": overlap, "views": "fresh"},
        finetuning={"samples": 2},
    ).resolved()
    rate = e.pretraining.learning_rate
    assert rate is not None
    unit = power_unit(learning_rate=rate, temperature=1.0, sigma_p=1.0, dim=dim, samples=n0)
    expected = unit * fresh_view_spectrum(kappa, overlap).top
    instance = draw(e)
    unlabelled = instance.unlabelled
    assert unlabelled is not None

    def along_signal(steps: int) -> float:
        filters, _ = pretrain_fresh_views(
            instance.filters,
            instance.mu,
            unlabelled.labels,
            unlabelled.noise,
            FreshViews(dim, sigma_p=1.0, projected=True, overlap=overlap, rng=generator(0, "views")),
            learning_rate=rate,
            temperature=1.0,
            max_steps=steps,
            stop_at_linear_end=False,
        )
        return float(np.linalg.norm(filters[:, 0]))

    growth = (along_signal(60) / along_signal(40)) ** (1 / 20) - 1
    assert growth == pytest.approx(expected, rel=tolerances.finite_size(n0))


# ---------------------------------------------------------------- hand-over (P3)


def linear_stage(kappa: float, overlap: float) -> tuple[Instance, float, dict[str, Any]]:
    """An instance at n0 = 100, d = n0^5, sigma_p = 1, a step size with u = 0.05, and its closed forms."""
    n0, dim = 100, 10**10
    instance, rate = contrastive(n0, dim, kappa, 0, overlap=overlap)
    limit, unit = spectrum(kappa, 0.0, overlap), 0.05
    law = {"growth": limit.top * unit, "alignment": limit.alignment, "unit": unit, "overlap": overlap}
    norm = float(np.linalg.norm(instance.mu))
    return instance, unit * rate, {**law, "samples": n0, "signal_norm": norm}


@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kappa", [0.1, 1.0, 4.0])
def test_ratio_of_the_linear_stage(kappa: float, overlap: float) -> None:
    """<w, mu> and |w| of (I + A)^T w^0 on average over w^0 ~ N(0, I): a diagonal entry and the trace."""
    instance, rate, law = linear_stage(kappa, overlap)
    dim = 10**10
    values, vectors = np.linalg.eigh(power_matrix(*views(instance), learning_rate=rate))
    signal = instance.direction @ vectors
    for steps in (0, 10, 60, 120, 180, 400):
        grown = (1 + values) ** (2 * steps)
        along = float(signal**2 @ grown)
        across = float(np.sum(grown)) + dim - len(values) - along
        expected = law["signal_norm"] * math.sqrt(along / across)
        ratio = handover_ratio(steps=steps, dim=dim, sigma_p=1.0, **law)
        assert ratio == pytest.approx(expected, rel=tolerances.LINEAR_STAGE)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kappa", [0.1, 1.0, 4.0])
def test_coefficients_of_the_linear_stage(kappa: float, overlap: float) -> None:
    """gamma and rho are linear in w^0: their mean squares are sums over filters along the axes."""
    instance, rate, law = linear_stage(kappa, overlap)
    unlabelled = instance.unlabelled
    assert unlabelled is not None
    assert unlabelled.augmented is not None
    scale = 1e-14  # so small that 40 steps stay linear
    axes = scale * np.eye(len(instance.mu))
    _, run = pretrain(
        axes, *views(instance), learning_rate=rate, max_steps=40, stop_at_linear_end=False, record=41
    )
    gamma, rho, rho_aug = pretraining_coefficients(
        run.recorded_coefficients,
        unlabelled.dictionary(instance.mu),
        instance.mu,
        unlabelled.noise,
        unlabelled.augmented,
    )
    expected = coefficient_growth(run.recorded_steps, noise_norm=1e5, init_scale=scale, **law)
    assert np.sqrt(np.sum(gamma**2, axis=1)) == pytest.approx(expected[0], rel=tolerances.LINEAR_STAGE)
    # The closed form is rho's; rho~ on the views is equal to it but for another O(1/n0).
    for coefficients, orders in ((rho, 1), (rho_aug, 2)):
        size = np.sqrt(np.sum(coefficients**2, axis=(1, 2)) / len(unlabelled.labels))
        assert size == pytest.approx(expected[1], rel=orders * tolerances.LINEAR_STAGE)


def hand_overs(**parts: Any) -> list[dict[str, dict[str, float]]]:
    tables = []
    for seed in range(10):
        e = Experiment(seed=seed, data={"balanced": True}, finetuning={"max_steps": 0}, **parts).resolved()
        tables.append(compare(simulate(e, draw(e)))["pretraining"])
    return tables


def relative_errors(tables: list[dict[str, dict[str, float]]], quantity: str) -> Floats:
    return np.array([table[quantity]["measured"] / table[quantity]["predicted"] - 1 for table in tables])


@pytest.mark.compiled
@pytest.mark.parametrize("changes", [{}, {"samples": 200}, {"overlap": 0.5}], ids=str)
def test_hand_over_of_the_headline(changes: dict[str, Any]) -> None:
    """Prediction and measurement of one run, the softmax's saturation at the linear end included."""
    tables = hand_overs(pretraining=changes)
    ratios = relative_errors(tables, "ratio")
    assert abs(np.mean(ratios)) <= tolerances.HAND_OVER
    assert np.max(np.abs(ratios)) <= 2 * tolerances.HAND_OVER
    for quantity in ("top_eigenvalue", "alignment", "eigenvector_ratio", "growth_per_step"):
        assert np.max(np.abs(relative_errors(tables, quantity))) <= tolerances.REMAINDER
    growth = [table["growth_per_step"] for table in tables]  # so near 1 that its excess says more
    excess = np.array([(row["measured"] - 1) / (row["predicted"] - 1) - 1 for row in growth])
    assert np.max(np.abs(excess)) <= tolerances.REMAINDER
    late = np.array([table["steps"]["measured"] - table["steps"]["predicted"] for table in tables])
    assert np.all((late >= -1) & (late <= 1 + 1))  # up to one step more to pass the end


def test_saturation_is_the_integral_of_what_the_softmax_takes() -> None:
    """S(s) = int_0^s tanh x / (2x (1 - tanh x)) dx by quadrature, its small-s limit s/2, refusals."""
    for end in (1e-12, 1e-3, 0.3, 1.0, 3.0):
        expected, _ = quad(lambda x: math.tanh(x) / (2 * x * (1 - math.tanh(x))), 0, end)
        assert saturation(end) == pytest.approx(expected, rel=tolerances.SOLVED)
    assert saturation(0.0) == 0.0
    for bad in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite number >= 0"):
            saturation(bad)


@pytest.mark.compiled
def test_hand_over_from_smaller_filters() -> None:
    """The smaller the filters, the nearer the ratio is to its limit, where saturation changes nothing."""
    tables = hand_overs(network={"relative_init_scale": 1e-5})
    assert np.max(np.abs(relative_errors(tables, "ratio"))) <= tolerances.HAND_OVER


# ---------------------------------------------------------------- race (S1)


@pytest.mark.compiled
@pytest.mark.parametrize(("q", "scale"), [(2.5, 1e-4), (3.0, 1e-3), (4.0, 0.01)])
@pytest.mark.parametrize(("snr", "kind"), [(0.02, "noise"), (2.0, "signal")])
@pytest.mark.parametrize("seed", range(3))
def test_blow_up_times(q: float, scale: float, snr: float, kind: str, seed: int) -> None:
    """The first activation to blow up reaches 0.3 m^(1/q), f of order 0.3^q, when S1 says."""
    n, m = 20, 10
    e = Experiment(
        seed=seed,
        data={"dim": 10**8, "snr": snr, "balanced": True},
        network={"filters": m, "q": q, "relative_init_scale": scale},
        pretraining={"samples": 0},
        finetuning={"samples": n},
    ).resolved()
    rate = e.finetuning.learning_rate
    assert rate is not None
    instance = draw(e)
    dictionary = signal_noise_dictionary(instance.mu, instance.labelled)
    W = split_filters(instance.filters, instance.order)
    inner = W @ dictionary.vectors.T
    times: dict[tuple[str, int, int], float] = {}
    for side, label in enumerate((1.0, -1.0)):
        for entry in (2 + np.flatnonzero(dictionary.labels == label)).tolist():
            predicted = race(
                signal_start=inner[side, :, side].max(),
                noise_start=inner[side, :, entry].max(),
                class_samples=n // 2,
                samples=n,
                filters=m,
                q=q,
                signal_norm=e.signal_norm,
                noise_norm=e.noise_norm,
                learning_rate=rate,
            )
            times["noise", side, entry] = predicted.noise_time
            times["signal", side, side] = predicted.signal_time
    first = min(times, key=times.__getitem__)
    assert first[0] == kind
    _, side, entry = first
    _, run = train_dictionary(
        W,
        dictionary,
        q=q,
        output_scale=1.0,
        learning_rate=rate,
        max_steps=int(2 * times[first]),
        target_loss=0.0,
        record=2000,
    )
    moved = run.recorded_coefficients.reshape(-1, 2, m, n + 2)[:, side] @ dictionary.gram()[:, entry]
    activation = (inner[side, :, entry] + moved).max(axis=1)
    step = run.recorded_steps[np.argmax(activation >= 0.3 * m ** (1 / q))]
    assert step == pytest.approx(times[first], rel=tolerances.BLOW_UP)


@pytest.mark.compiled
def test_race_winners() -> None:
    """S1: outcomes outside ratio [0.7, 1.4], in random experiments around n SNR^q = 1."""
    rng = np.random.default_rng(5)
    right = []
    for seed in range(100):
        q, n, m = (rng.choice(values) for values in ([3.0, 4.0], [10, 20, 40], [5, 10, 20]))
        e = Experiment(
            seed=seed,
            data={"snr": n ** (-1 / q) * math.exp(rng.uniform(-1, 1)), "balanced": True},
            network={"filters": m, "q": q},
            pretraining={"samples": 0},
            finetuning={"samples": n, "target_loss": 0.1},
            evaluation={"samples": 2},
        ).resolved()
        outcome = compare(simulate(e, draw(e)))["race"]["direct"]
        assert set(outcome) == {"+1", "-1"}
        right += [
            row["predicted"] == row["measured"] for row in outcome.values() if not 0.7 <= row["ratio"] <= 1.4
        ]
    assert len(right) > 100
    assert np.mean(right) >= tolerances.RACES_RIGHT


# ---------------------------------------------------------------- default step sizes


@pytest.mark.compiled
@pytest.mark.parametrize("q", [1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
def test_loss_decreases_at_the_default_step_size(q: float) -> None:
    """Clean or flipped labels, initial margins not below -1: at every step; for q < 2 but for kinks."""
    rng = np.random.default_rng(int(10 * q))
    tried = 0
    for seed in range(40):
        n, m = (int(rng.choice(values)) for values in ([1, 2, 3, 5, 20, 50], [1, 2, 10, 50]))
        bias, scale = bool(rng.integers(2)), float(rng.choice([0.1, 1.0, 5.0, m]))
        e = Experiment(
            seed=seed,
            data={
                "dim": int(10 ** rng.uniform(2, 8)),
                "snr": float(10 ** rng.uniform(-2, 0.7)),
                "projected": bool(rng.integers(2)),
                "flip_probability": float(rng.choice([0.0, 0.3])),
            },
            network={
                "filters": m,
                "q": q,
                "relative_init_scale": float(10 ** rng.uniform(-3, -0.5)),
                "output_scale": scale,
                "bias": bias,
            },
            pretraining={"samples": 0},
            finetuning={"samples": n},
        ).resolved()
        instance, rate = draw(e), e.finetuning.learning_rate
        assert rate is not None
        dictionary, filters = signal_noise_dictionary(instance.mu, instance.labelled), instance.filters
        if instance.bias is not None:
            dictionary = dictionary.with_bias()
            filters = np.hstack([filters, instance.bias[:, None]])
        _, run = train_dictionary(
            split_filters(filters, instance.order),
            dictionary,
            q=q,
            output_scale=scale,
            learning_rate=rate,
            max_steps=2000,
            target_loss=0.0,
            record=2001,
        )
        losses = run.recorded_losses
        if losses[0] > math.log1p(math.e):  # filters so large that samples start beyond f = -1
            continue
        tried += 1
        allowed = tolerances.KINK if q < 2 else tolerances.CLOSED_FORM
        assert run.status == "max_steps"
        assert np.all(np.diff(losses) <= allowed * losses[:-1])
        assert losses[-1] <= losses[0]
    assert tried >= 35
