"""P2: the spectrum of the power matrix and its phase transition, p2_spectrum.md."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim import power_matrix
from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, equals
from numsim.descent.power_matrix import top_eigenpairs
from numsim.theory import (
    Spectrum,
    eigenvector_ratio,
    finite_edge,
    imbalanced_spectrum,
    lowest_eigenvalue,
    spectrum,
)

from ..identities.roundoff import Deviations
from .measured_spectra import HIGH, resolvent_traces, samples, tops, whole
from .spectrum_equations import equations, matrices
from .spectrum_ladder import SIZES, curve, spectrum_ladder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_KAPPAS = (1.0, 0.25, 4.0)
_ASPECTS = (0.1, 0.5, 1.0, 2.0)
_EXCESS = (0.3, 0.5, 0.8, 1.1, 1.2, 1.3, 1.5, 2.0, 2.5, 5.0)  # kappa in units of kappa*
_BELOW, _ABOVE = 1, 8  # the two of them that are compared at finite size
_DRAWS = 40  # at each size of the ladder
_SOLVED = 1e-8  # the numerical roots lose digits at small c, where z* -> 1, and near kappa*


class Wrong(NamedTuple):
    """What a control gets wrong: factors of kappa and c, the 1 in 1 + 2 kappa, hypotheses of the draws.

    one : the 1 of cos^2 = 2 kappa/(1 + 2 kappa); bulk : that of lambda_1 = 1 + 2 kappa; top : a factor of
    lambda_1; lowest : of lambda_min.
    """

    signal: float = 1.0
    aspect: float = 1.0
    one: float = 1.0
    bulk: float = 1.0
    projected: bool = True
    negatives: bool = True
    top: float = 1.0
    lowest: float = 1.0

    def spectrum(self, kappa: float, c: float = 0.0) -> Spectrum:
        """The closed form with these faults."""
        law = spectrum(self.signal * kappa, self.aspect * c)
        rest = self.one * (1 - law.alignment)
        alignment = law.alignment / (law.alignment + rest) if law.alignment else 0.0
        top = self.top * law.top - (1 - self.bulk) if law.top > law.edge else law.top
        return Spectrum(top, law.edge, alignment, law.threshold)


def _high_dimension(trials: Trials, wrong: Wrong) -> Iterator[Comparison]:
    """d >> n0 and balanced labels, where corrections are known: P2 (17), (19), (21)."""
    count = trials.pick(40, 80)
    seeds = list(trials.seeds(20, 40))
    for kappa in _KAPPAS:
        found = [whole(seed, count, HIGH, kappa, negatives=wrong.negatives) for seed in seeds]
        law, at = wrong.spectrum(kappa), f"d >> n0, kappa = {kappa:g}"
        second_order = {"order": 1 / count**2}
        yield equals(f"lambda_1/u, {at}", law.top, [f.top for f in found], **second_order)
        yield equals(f"cos^2, {at}", law.alignment, [f.alignment for f in found], **second_order)
        yield equals(f"edge/u, {at}", law.edge, [f.second for f in found], **second_order)
        share = (1 + (2 * kappa + 1) / (2 * kappa + 2) / count) / eigenvector_ratio(wrong.signal * kappa)
        yield equals(f"noise share of v1, {at}", share, [f.noise_share for f in found], **second_order)
        lowest = wrong.lowest * lowest_eigenvalue() * (1 - 1 / count)
        yield equals(f"lambda_min/u, {at}", lowest, [f.lowest for f in found], **second_order)


def _imbalance(trials: Trials, wrong: Wrong) -> Iterator[Comparison]:
    """Labels of mean 0.3: P2 (20)."""
    (seed,) = trials.seeds(1, 1)
    found = tops(seed, 200, 200 / HIGH, _KAPPAS, imbalance=0.3)
    for kappa, (top, _, alignment) in zip(_KAPPAS, found, strict=True):
        law, at = imbalanced_spectrum(wrong.signal * kappa, 0.3), f"mean label 0.3, kappa = {kappa:g}"
        yield equals(f"lambda_1/u, {at}", law.top, top, order=0.3**2 / 200)
        yield equals(f"cos^2, {at}", law.alignment, alignment, order=0.3**2 / 200)


def _low_dimension(trials: Trials, wrong: Wrong) -> Iterator[Comparison]:
    """n0 = 2 d: the eigenvector's noise, noise that is not projected, the resolvent; P2 (5), (15), (18)."""
    count, dim, kappa = 200, 100, 2.5
    seeds = list(trials.seeds(120, 400))
    for projected in (True, False):
        drawn = projected and wrong.projected
        found = [whole(seed, count, dim, kappa, projected=drawn) for seed in seeds]
        law = spectrum(wrong.signal * kappa, wrong.aspect * count / dim, projected=projected)
        ratio = eigenvector_ratio(wrong.signal * kappa, wrong.aspect * count / dim, projected=projected)
        at = "n0 = 2d" + ("" if projected else ", noise not projected")
        yield equals(f"lambda_1/u, {at}", law.top, [f.top for f in found], order=1 / dim)
        yield equals(f"cos^2, {at}", law.alignment, [f.alignment for f in found], order=2 / dim)
        yield equals(f"noise share of v1, {at}", 1 / ratio, [f.noise_share for f in found], order=4 / dim)
    value = spectrum(kappa, wrong.aspect * count / dim).top
    z = 1 / (1 + eigenvector_ratio(kappa, wrong.aspect * count / dim))
    traces = np.array([resolvent_traces(seed, count, dim, value) for seed in seeds[:40]])
    for name, expected, draws in zip(
        ("", ", P", ", Q"), (z, z / (1 - z), z / (1 + z)), traces.T, strict=True
    ):
        yield equals(f"trace of the resolvent{name}", expected, draws, order=2 / dim)


def _aspects(trials: Trials, wrong: Wrong) -> tuple[list[Comparison], dict[str, Floats]]:
    """Both sides of the transition at finite aspect and size: P2 (8), (12), (14)."""
    count = 150
    seeds = list(trials.seeds(60, 60))
    comparisons, curves = [], {"size": np.array(count)}
    for c in _ASPECTS:
        order, at_edge = 2 / count, 4 / min(count, count / c)
        kappas = tuple(spectrum(0.0, c).threshold * f for f in _EXCESS)
        draws = np.array([tops(seed, count, c, kappas) for seed in seeds])
        below, above = draws[:, _BELOW].T, draws[:, _ABOVE].T
        law, edge = wrong.spectrum(kappas[_ABOVE], c), finite_edge(count, wrong.aspect * c)
        comparisons += [
            equals(f"lambda_1/u above kappa*, c = {c:g}", law.top, above[0], order=order),
            equals(f"cos^2 above kappa*, c = {c:g}", law.alignment, above[2], absolute=order),
            equals(f"edge/u above kappa*, c = {c:g}", edge, above[1], order=at_edge),
            equals(f"lambda_1/u below kappa*, c = {c:g}", edge, below[0], order=at_edge),
        ]
        curves[f"{c:g}"] = curve(kappas, draws)
    return comparisons, curves


def _ladder(trials: Trials, wrong: Wrong) -> tuple[list[Comparison], dict[str, Floats]]:
    """Means over draws with random labels at three sizes, extrapolated to infinite size."""
    comparisons, curves = spectrum_ladder(list(trials.seeds(0, _DRAWS)), wrong.spectrum)
    return comparisons, {"size": np.array(0), **{f"{c:g}": curves[f"{c:g}"] for c in _ASPECTS}}


def _single_draws(rng: np.random.Generator, found: Deviations) -> None:
    """One drawn A in its parts, its cos^2 as the slope of its top eigenvalue: P2 (2), (3), (13)."""
    drawn = samples(20, 50, rng, balanced=False)
    n, mu = len(drawn.labels), np.eye(1, 41)[0] * 0.3
    kappa = n * 0.3**2
    noise, views, y = drawn.noise, drawn.augmented, drawn.labels / np.sqrt(n)
    assert views is not None
    e, ones = np.eye(1, 41)[0], np.full(n, n**-0.5)
    Z, V = np.sqrt(kappa) * np.outer(y, e) + noise, np.sqrt(kappa) * np.outer(y, e) + views
    parts = (1 - 1 / n) * (Z.T @ V + V.T @ Z) + 2 / n * Z.T @ Z - 2 * np.outer(ones @ Z, ones @ Z)
    A = power_matrix(*drawn.sums(mu), learning_rate=n)
    found.add("decomposition of A", A, parts)
    plus, minus = (noise + views) / np.sqrt(2), (noise - views) / np.sqrt(2)
    found.add("difference of squares", noise.T @ views + views.T @ noise, plus.T @ plus - minus.T @ minus)
    h = 1e-5
    up, down = (
        top_eigenpairs(*drawn.sums(mu * math.exp(s / 2)), learning_rate=n, temperature=1.0)[0][0]
        for s in (h, -h)
    )
    _, vectors = top_eigenpairs(*drawn.sums(mu), learning_rate=n, temperature=1.0)
    found.add("cos^2 is the slope, one draw", vectors[0, 0] ** 2, math.log(up / down) / (2 * h))


def check(trials: Trials, **faults: Any) -> Outcome:
    """Spectrum and alignment of drawn power matrices against ``spectrum`` and its companions, P2 (6) to (21).

    faults : what a control gets wrong, see ``Wrong``; with none of them also the equations.
    """
    wrong = Wrong(**faults)
    comparisons = [
        *_high_dimension(trials, wrong),
        *_imbalance(trials, wrong),
        *_low_dimension(trials, wrong),
    ]
    measure = trials.pick(_aspects, _ladder)
    more, curves = measure(trials, wrong)
    comparisons += more
    found = Deviations()
    if wrong == Wrong():
        equations(found)
        matrices(found)
        _single_draws(trials.rng, found)
    comparisons += found.compared(_SOLVED)
    return Outcome(comparisons, trials.pick(20 + 1 + 120 + 60, 40 + 1 + 400 + _DRAWS * len(SIZES)), curves)


def figure(evidence: Evidence) -> Figure:
    """lambda_1/u and cos^2 against kappa/kappa* at four aspects: P2 (12), (14), measured means, the control.

    Dotted: the edge at the size of the draws, P2 (8), where they are not extrapolated.
    """
    from numsim.shown.claim_figures import CONTROL, MEASURED, PREDICTED, panels

    drawn, axes = panels(2)
    excess = np.geomspace(0.25, 6.0, 300)
    data = dict(evidence.outcome.data)
    size = int(data.pop("size"))
    for name, means in data.items():
        c = float(name)
        threshold, edge = spectrum(0.0, c).threshold, spectrum(0.0, c).edge
        laws = [spectrum(x * threshold, c) for x in excess]
        shown = means[means[:, 0] <= excess[-1] * threshold]
        lines = (np.array([law.top for law in laws]), 1), (np.array([law.alignment for law in laws]), 3)
        for axis, (values, column) in zip(axes, lines, strict=True):
            once = {} if c == _ASPECTS[-1] else {"label": None}
            axis.plot(excess, values, **{**PREDICTED, **once})
            x, y, error = shown[:, 0] / threshold, shown[:, column], shown[:, column + 1]
            axis.errorbar(x, y, yerr=2 * error, capsize=3, elinewidth=1, **{**MEASURED, **once})
            end = (excess[-1], values[-1])
            lift = (
                {0.5: -9, 1.0: -3, 2.0: 3}.get(c, -3) if column == 3 else -3
            )  # where curves meet labels would
            axis.annotate(f"c = {name}", end, xytext=(4, lift), textcoords="offset points", fontsize=8)
        if size:
            axes[0].plot([excess[0], 1.0], [finite_edge(size, c)] * 2, ":", color="0.5")
        axes[0].annotate("edge", (excess[0], edge), xytext=(0, 3), textcoords="offset points", fontsize=8)
        if c == _ASPECTS[-1]:
            kappa = excess * threshold
            axes[1].plot(excess, 2 * kappa / (1 + 2 * kappa), **{**CONTROL, "label": "control: c = 0"})
    axes[0].set(ylabel=r"$\lambda_1 / u$", yscale="log")
    axes[0].set_yticks([2, 5, 10], ["2", "5", "10"])
    axes[0].yaxis.minorticks_off()
    axes[1].set(ylabel=r"$\cos^2(v_1, \mu)$")
    for axis in axes:
        axis.axvline(1.0, color="0.5", linewidth=0.8)
        axis.set(xscale="log", xlabel=r"$\kappa / \kappa_*(c)$", xlim=(0.22, 10))
        axis.set_xticks([0.3, 1, 3], ["0.3", "1", "3"])
        axis.xaxis.minorticks_off()
    axes[1].legend(loc="lower right", fontsize=8)
    return drawn


CLAIM = Claim(
    id="P2",
    title="The power matrix's spectrum, alignment and phase transition",
    source="Zhang-Cao, Lemma 5.2; sharp form and transition new here",
    statement=r"\lambda_1 = u \, (1 + 2\kappa), \quad \cos^2(v_1, \mu) = \frac{2\kappa}{1 + 2\kappa}"
    r"\quad (d \gg n_0), \qquad \lambda_1 = \frac{2 \kappa u}{1 - z} \text{ above } \kappa_*(n_0/d)",
    check=check,
    controls={
        "A without its negative pairs": {"negatives": False},
        "alignment without the 1 in 1 + 2 kappa": {"one": 0.0},
        "alignment with kappa for 2 kappa": {"one": 2.0},
        "the paper's lambda_1, without the 1 in 1 + 2 kappa": {"bulk": 0.0},
        "lambda_1 too large by 0.2 %": {"top": 1.002},
        "lambda_min too large by 0.2 %": {"lowest": 1.002},
        "kappa off by 0.2 %": {"signal": 1.002},
        "c off by 20 %": {"aspect": 1.2},
        "noise not projected off mu": {"projected": False},
    },
    theory=(
        "spectrum",
        "eigenvector_ratio",
        "finite_edge",
        "imbalanced_spectrum",
        "lowest_eigenvalue",
        "power_unit",
    ),
    figure=figure,
)
