"""E5: losses in limits: filters near zero, representations of signal alone, e5_loss_limits.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numsim import info_nce, load, logistic_loss, power_matrix
from numsim.claims import Claim, Evidence, Outcome, Trials, equals, slope
from numsim.descent import reference
from numsim.descent.evaluation import evaluate
from numsim.descent.pretraining import pretrain
from numsim.models.signal_noise import draw_labels
from numsim.runs.draw import draw
from numsim.theory import (
    flipped_loss,
    mean_signal_loss,
    signal_loss,
    signal_loss_expansion,
    signal_loss_slope,
    small_filter_loss,
    zero_filter_loss,
)

from .roundoff import EPS, Deviations

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_EXACT = 1e-12
_QUOTIENT = 1e-8  # h^2 L'''/6 + eps L/h at h = 1e-5
_SAMPLES = 12
_SIMILARITIES = (0.0, 1e-3, 0.5, 1.0, 3.0, 40.0, 299.0, 301.0, 1e4)
_BATCH = 20


def _labels(positive: int, negative: int) -> Floats:
    return np.repeat([1.0, -1.0], [positive, negative])


def _signal_only(labels: Floats, similarity: float, temperature: float, rng: np.random.Generator) -> float:
    """InfoNCE of filters along mu on samples with noise off mu, max |s| = similarity tau."""
    mu = np.array([1.7, 0, 0, 0])
    weights = rng.standard_normal(3)
    weights *= np.sqrt(similarity * temperature / np.sum(weights**2)) / 1.7
    noise, views = (rng.standard_normal((len(labels), 4)) * [0, 1, 1, 1] for _ in range(2))
    z = labels[:, None] * mu
    loss, _ = info_nce(weights[:, None] * np.eye(4)[0], z + noise, z + views, temperature=temperature)
    return loss


def _near_zero(rng: np.random.Generator, shift: float, found: Deviations) -> None:
    """L(0) = log n0, and how the loss leaves it."""
    for n in (1, 2, 5, 20, 100):
        z, z_aug = rng.standard_normal((2, n, 4))
        loss, gradient = info_nce(np.zeros((3, 4)), z, z_aug, temperature=0.5)
        found.add("zero filters: log n0", loss, zero_filter_loss(n + shift), 1.0)
        found.add("zero filters: gradient", gradient, np.zeros((3, 4)), 1.0)
    z, z_aug = rng.standard_normal((2, 7, 5))
    W = 1e-3 * rng.standard_normal((3, 5))
    A = power_matrix(z, z_aug, learning_rate=0.7, temperature=0.5)
    s, s_plus = reference.similarities(W, z, z_aug)
    largest = max(np.max(np.abs(s)), np.max(np.abs(s_plus))) / 0.5
    expected = small_filter_loss(7 + shift, float(np.sum((W @ A) * W)), 0.7)
    loss, _ = info_nce(W, z, z_aug, temperature=0.5)
    remainder = float(largest**2 / 2) + 8 * EPS
    found.add("small filters: error in units of the remainder (2)", loss, expected, remainder)
    for q in (1.0, 3.0):
        loss, _ = logistic_loss(np.zeros((2, 2, 5)), rng.standard_normal((4, 2, 5)), _labels(2, 2), q=q)
        found.add("zero filters: log 2", loss, flipped_loss(0.0))


def _signal_alone(rng: np.random.Generator, found: Deviations, more: float) -> None:
    """Closed form at any similarity, any counts of labels, whatever the noise."""
    for positive, negative in ((6, 6), (1, 9), (4, 3), (8, 0), (0, 1)):
        for similarity in _SIMILARITIES:
            loss = _signal_only(rng.permutation(_labels(positive, negative)), similarity, 0.8, rng)
            expected = signal_loss(positive, negative, similarity)
            off = signal_loss(positive, negative, similarity + more) if more else expected
            found.add("signal alone", loss, off, 1.0 + similarity)  # eps |s| of an exponent
            between = signal_loss(positive, negative, similarity + 2e-5) - expected
            middle = signal_loss_slope(positive, negative, similarity + 1e-5)
            found.add("quotient of differences of the loss of signal alone", between / 2e-5, middle, 1.0)
        found.add("signal alone, the limit", loss, signal_loss(positive, negative), 1.0 + similarity)


def _one_dimension(seed: int, found: Deviations) -> None:
    """In R^1 noise off mu is zero: descent is a recursion of one number, E5 (6)."""
    settings: dict[str, Any] = {"data.dim": 1, "data.snr": 1.3, "network.filters": 2, "seed": seed}
    e = load(None, {**settings, "pretraining.samples": 9, "network.relative_init_scale": 0.1}).resolved()
    instance = draw(e)
    assert instance.unlabelled is not None
    labels = instance.unlabelled.labels
    counts = int(np.sum(labels > 0)), int(np.sum(labels < 0))
    z, z_aug = instance.unlabelled.sums(instance.mu)
    rate, temperature, square = 0.12, 0.6, float(instance.mu @ instance.mu)
    similarity = float(np.sum((instance.filters @ instance.mu) ** 2)) / temperature
    expected = []
    for _ in range(41):
        expected.append(signal_loss(*counts, similarity))
        step = 1 - 2 * rate * square / temperature * signal_loss_slope(*counts, similarity)
        similarity *= step**2
    _, run = pretrain(
        instance.filters,
        z,
        z_aug,
        learning_rate=rate,
        temperature=temperature,
        max_steps=40,
        stop_at_linear_end=False,
    )
    found.add("descent in one dimension", run.recorded_losses, expected)


def _logistic(rng: np.random.Generator, found: Deviations) -> None:
    """A network of signal alone: training and test loss, with flipped labels and without."""
    mu = np.array([1.5, 0, 0])
    for scale in (0.0, 0.6, 4.0):
        W = scale * np.array([[[1.0, 0, 0]] * 2, [[-1.0, 0, 0]] * 2])  # more filters than dimensions
        margin = 2.0 * (1.5 * scale) ** 3
        noise = rng.standard_normal((6, 3)) * [0, 1, 1]
        x = np.stack([_labels(3, 3)[:, None] * mu, noise], axis=1)
        loss, _ = logistic_loss(W, x, _labels(3, 3), q=3, output_scale=2.0)
        found.add("logistic loss of signal alone", loss, flipped_loss(margin))
        for p in (0.0, 0.2):
            test = evaluate(
                W,
                np.eye(3)[0],
                signal_norm=1.5,
                sigma_p=1.0,
                q=3.0,
                output_scale=2.0,
                flip_probability=p,
                samples=10,
                rng=rng,
            )
            found.add("test loss of signal alone", test.loss, flipped_loss(margin, p))
            found.add("test error of signal alone", test.error, p if scale else 0.5, 1.0)


def check(
    trials: Trials, *, shift: float = 0, expansion: str = "mean", mean: float = 0.0, similarity: float = 0.0
) -> Outcome:
    """Losses of numsim against the closed forms. ``shift`` is added to n0 in log n0; ``expansion`` "median"
    takes log(n0/2) for the mean over random labels, ``mean`` is added to that mean where it is drawn;
    ``similarity`` is added to the similarity of signal alone in (3).
    """
    rng, found = trials.rng, Deviations()
    for seed in trials.seeds(5, 50):
        _near_zero(rng, shift, found)
        _signal_alone(rng, found, similarity)
        _one_dimension(seed, found)
        _logistic(rng, found)
    # All labellings of n0 samples, and a sample of them.
    from scipy.stats import binom

    n = _SAMPLES
    chance = binom.pmf(np.arange(n + 1), n, 0.5)
    every = sum(c * _signal_only(_labels(k, n - k), 50.0, 1.0, rng) for k, c in enumerate(chance))
    predicted = mean_signal_loss(n) if expansion == "mean" else mean_signal_loss(n, balanced=True)
    draws = [
        np.mean([_signal_only(draw_labels(n, False, rng), 50.0, 1.0, rng) for _ in range(_BATCH)])
        for _ in trials.seeds(60, 1000)
    ]
    balanced = _signal_only(draw_labels(n, True, rng), 50.0, 1.0, rng)
    ladder = np.array([40, 80, 160, 320])
    rest = [abs(mean_signal_loss(int(k)) - signal_loss_expansion(int(k))) for k in ladder]
    comparisons = [
        equals("mean loss of signal alone, random labels", predicted + mean, draws),
        equals("mean over all labellings", predicted, every, order=_EXACT),
        equals(
            "loss of signal alone, balanced labels",
            mean_signal_loss(n, balanced=True),
            balanced,
            order=_EXACT,
        ),
        *found.compared(_EXACT, small=1.0, quotient=_QUOTIENT),
        slope("order of the expansion's error", -3.0, ladder, rest, absolute=0.08),
    ]
    return Outcome(
        comparisons, len(draws) * _BATCH, {"mean": np.mean(draws), "spread": comparisons[0].spread}
    )


def figure(evidence: Evidence) -> Figure:
    """Loss of a representation of signal alone against its similarity, for three label counts, measured."""
    from numsim.shown.claim_figures import CONTROL, PREDICTED, measured_points, panels

    drawn, (left, right) = panels(2)
    rng = np.random.default_rng(0)
    s = np.linspace(0, 3, 80)
    for counts in ((6, 6), (9, 3), (11, 1)):
        left.plot(s, [signal_loss(*counts, x) for x in s], **{**PREDICTED, "label": None})
        measured_points(left, s[::8], [_signal_only(_labels(*counts), x, 1.0, rng) for x in s[::8]])
        left.annotate(f"{counts[0]} + {counts[1]}", (s[-1], signal_loss(*counts)), ha="right", va="bottom")
    left.set(xlabel=r"similarity $s = \max|s_{ii'}|/\tau$", ylabel="InfoNCE loss")
    n = np.arange(4, 41)
    excess = [mean_signal_loss(int(k)) - np.log(k / 2) for k in n]
    right.plot(n, excess, **PREDICTED)
    right.plot(n, 0 * n, **{**CONTROL, "label": r"control: $\log(n_0/2)$"})
    found = evidence.outcome.data
    error = 2 * found["spread"]
    measured_points(right, [_SAMPLES], [found["mean"] - np.log(_SAMPLES / 2)], [error])
    right.set(xlabel="samples $n_0$", ylabel=r"mean loss $- \log(n_0/2)$")
    right.legend()
    return drawn


CLAIM = Claim(
    id="E5",
    title="Losses of filters near zero and of signal alone",
    source="by insertion; the mean over labels is numsim's (new)",
    statement=r"L(0) = \log n_0 , \qquad L(s \to \infty) = \sum_{\pm} \frac{n_\pm}{n_0} \log n_\pm , \qquad "
    r"\mathbb{E} L = \log\frac{n_0}{2} + \frac{1}{2n_0} + O(n_0^{-2})",
    check=check,
    controls={
        "log(n0 + 1) for log n0": {"shift": 1},
        "log(n0/2) for the mean over random labels": {"expansion": "median"},
        "the mean over random labels off by half of 1/(2 n0)": {"mean": 1 / (4 * _SAMPLES)},
        "the similarity of signal alone off by 1e-10": {"similarity": 1e-10},
    },
    theory=(
        "flipped_loss",
        "mean_signal_loss",
        "signal_loss",
        "signal_loss_expansion",
        "signal_loss_slope",
        "small_filter_loss",
        "zero_filter_loss",
    ),
    figure=figure,
)
