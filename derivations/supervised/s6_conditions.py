"""S6: the theorems' conditions, where each is used and where it breaks, s6_conditions.md."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from numsim.claims import Claim, Comparison, Evidence, Outcome, Trials, equals
from numsim.config import Experiment
from numsim.descent.pretraining import pretrain
from numsim.theory import conditions, spectrum
from numsim.theory.defaults import pretraining_learning_rate
from numsim.theory.powers import power

from .broken_conditions import cross_talk, rescaled_run, top_pair, views
from .condition_table import BASE, SETTING, Exponents, log_differences, required_exponents, row_key, table
from .default_settings import EXACT, scales, stability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]


def _exponents(q: float, n_more: float, m_floor: float) -> list[Comparison]:
    """The largest departure of any exponent, of required values and of ratios, row by row."""
    expected = required_exponents(q, n_more=n_more, m_floor=m_floor)
    required, ratio = log_differences(q, "required"), log_differences(q, "ratio")
    snr_power = {"n SNR^q": q, "n |mu|^4": 4.0}
    found = []
    for name, powers in expected.items():
        off = [abs(required[name][s] - powers.get(s, 0.0)) for s in BASE]
        of_ratio: Exponents = {}
        if name in SETTING:
            setting, sign = SETTING[name]
            of_ratio = {s: -sign * power for s, power in powers.items()}
            of_ratio[setting] = of_ratio.get(setting, 0.0) + sign
        elif name in snr_power:
            k = snr_power[name]
            of_ratio = {
                "data.signal_norm": k,
                "data.sigma_p": -k,
                "finetuning.samples": 1,
                "data.dim": -k / 2,
            }
            if name == "n |mu|^4":
                of_ratio["data.dim"] += 1
        off += [abs(ratio[name][s] - of_ratio.get(s, 0.0)) for s in BASE]
        found.append(equals(f"exponents of {name} at q = {q:g}", 0.0, max(off), absolute=EXACT))
    return found


def _values(n_more: float, largest: bool) -> list[Comparison]:
    """Prefactors are 1, B is the longer length's, the sigma0 interval closes at the d row, S6 (9)."""
    off = []
    for q in (1.0, 2.5, 3.0, 6.0):
        at = table(network__q=q)
        for name, powers in required_exponents(q, n_more=n_more).items():
            expected = sum(power * math.log2(BASE[setting]) for setting, power in powers.items())
            off.append(abs(math.log2(at[name].required) - expected))
    loud, noise, signal = table(data__signal_norm=4096.0, network__q=3.0), 1024.0, 4096.0
    B = (max if largest else min)(1 / noise, 1 / signal)
    n, m = BASE["finetuning.samples"], BASE["network.filters"]
    expected_loud = {
        "n0": 1.0,
        "eta (supervised)": B**2,
        "sigma0 from": n / 1024.0 * B,
        "sigma0 to": B / (m**2 * n),
        "d (m, n)": m**4 * n**4,
    }
    strong = [abs(math.log2(loud[name].required / value)) for name, value in expected_loud.items()]
    # What the measured rows hold against their required values; the others' exponents include their own.
    own = log_differences(3.0, "ratio")
    off += [
        abs(own[name][SETTING[name][0]] - SETTING[name][1]) for name in ("linear stage", "eta (contrastive)")
    ]
    comparisons = [
        equals("prefactors of the required values (log2)", 0.0, max(off), absolute=EXACT),
        equals("required values where |mu| > sigma_p sqrt(d) (log2)", 0.0, max(strong), absolute=EXACT),
    ]
    for q in (2.5, 3.0, 6.0):
        at = table(network__q=q)
        width = math.log2(at["sigma0 to"].required / at["sigma0 from"].required)
        width -= math.log2(at["d (m, n)"].ratio) / 2
        spare = max(1.0, 2 / (q - 2)) - 2 / (q - 2)
        expected_width = spare * math.log2(BASE["network.filters"])
        comparisons.append(
            equals(
                f"width of the sigma0 interval at the d row, q = {q:g} (log2)",
                expected_width,
                width,
                absolute=EXACT,
            )
        )
    return [*comparisons, _consistent()]


def _consistent() -> Comparison:
    """Rows whose ratio, relation or verdict do not fit together; the headline's d = n0^4 is met exactly."""
    wrong = 0
    for q in (1.0, 3.0):
        for row in table(network__q=q).values():
            expected = row.actual / row.required if row.relation == ">=" else row.required / row.actual
            wrong += not math.isclose(row.ratio, expected, rel_tol=EXACT) or row.met != (row.ratio >= 1)
    exact = next(row for row in conditions(Experiment()) if row.name.startswith("dimension d >= n0"))
    wrong += not (exact.met and exact.ratio == 1)
    wrong += not math.isclose(conditions(Experiment())[0].ratio, 4.0, rel_tol=EXACT)  # 100 samples, SNR = 0.2
    wrong += power(10.0, 400.0) != math.inf or power(2.0, 3.0) != 8.0
    return equals("rows that contradict themselves", 0.0, float(wrong))


def _invariance(seed: int, same_step: bool) -> list[Comparison]:
    """S6 (10): lengths doubled, sigma_0 halved and step sizes quartered change nothing, bit for bit."""
    one, scales = rescaled_run(seed, 1.0, False)
    two, doubled = rescaled_run(seed, 2.0, same_step)
    change = np.abs(two - one) / np.maximum(np.abs(one), np.finfo(np.float64).tiny)
    powers = [math.log2(b / a) for a, b in zip(scales, doubled, strict=True)]
    return [
        equals("change of losses and errors under rescaling", 0.0, float(np.max(change)), absolute=EXACT),
        equals(
            "powers of the default scales",
            0.0,
            max(abs(a - b) for a, b in zip(powers, (-2, -2, -1), strict=True)),
            absolute=EXACT,
        ),
    ]


def _pretraining(seeds: list[int], slack: float, growing: float, default: float) -> list[Comparison]:
    """Growth at the contrastive step's limit and at the default, alignment at n0 = SNR^-2 and below it."""
    n0, dim = 50, 1e8
    found = []
    for kappa in (1.0, 0.5):
        e = Experiment(
            data={"dim": dim, "sigma_p": 2.0, "snr": math.sqrt(kappa / n0)},
            pretraining={"samples": n0, "temperature": 0.5},
        )
        rows = {row_key(row.name): row for row in conditions(e)}
        tops = np.array([top_pair(n0, dim, kappa, 0.0, seed) for seed in seeds])
        growth = rows["eta (contrastive)"].required * tops[:, 0]
        share = spectrum(slack * rows["n0"].ratio).alignment
        found += [
            equals(
                f"lambda_1 at the greatest contrastive step, kappa = {kappa:g}", growing, growth, order=1 / n0
            ),
            equals(f"alignment at n0 SNR^2 = {kappa:g}", share, tops[:, 1], order=1 / n0),
        ]
    for d, kappa, overlap in ((dim, 2.0, 0.0), (100.0, 2.0, 0.0), (dim, 1.0, 0.5)):
        rate = pretraining_learning_rate(
            signal_norm=2.0 * math.sqrt(kappa * d / n0),
            sigma_p=2.0,
            dim=int(d),
            samples=n0,
            temperature=0.5,
            overlap=overlap,
        )
        growth = rate * np.array([top_pair(n0, d, kappa, overlap, seed)[0] for seed in seeds])
        found.append(
            equals(f"default growth per step, d = {d:g}, overlap {overlap:g}", default, growth, order=2 / n0)
        )
    return found


def _linear_stage(seeds: list[int], similar: float) -> list[Comparison]:
    """E s_ii = tau at the greatest initial scale; three times that scale has no linear stage, a tenth has."""
    n0, dim, m = 10, 1e6, 20
    e = Experiment(
        data={"dim": dim, "sigma_p": 2.0, "snr": 0.5},
        network={"filters": m},
        pretraining={"samples": n0, "temperature": 0.5},
    ).resolved()
    scale = {row_key(row.name): row for row in conditions(e)}["linear stage"].required
    similarity, early, late = [], 0, 0
    for seed in seeds:
        mu, z, z_aug = views(n0, dim, n0 / 4, 0.0, seed)
        rng = np.random.default_rng(seed + 1)
        W = scale * rng.standard_normal((2 * m, len(mu)))
        similarity.append(float(np.mean(np.sum((W @ z.T) ** 2, axis=0))) / 0.5)
        for factor in (3.0, 0.1):
            _, run = pretrain(
                factor * W, z, z_aug, learning_rate=1e-9, temperature=0.5, max_steps=1, record=2
            )
            early += factor > 1 and run.steps > 0
            late += factor < 1 and run.steps < 1
    return [
        equals("s_ii / tau at the greatest initial scale", similar, similarity),
        equals("runs with a linear stage at 3 times that scale", 0.0, float(early)),
        equals("runs without one at a tenth of it", 0.0, float(late)),
    ]


def check(
    trials: Trials,
    *,
    n_more: float = 0.0,
    m_floor: float = 2.0,
    largest: bool = False,
    same_step: bool = False,
    slack: float = 1.0,
    growing: float = 1.0,
    default: float = 0.1,
    similar: float = 1.0,
    talking: float = 1.0,
) -> Outcome:
    """Every row against S6 (1) to (10): exponents, prefactors, consistency, invariance, and where it breaks.

    n_more : added to the exponent of n in the d row; m_floor : least exponent of m there; largest : B with
    max for min; same_step : a step size that does not follow the rescaling; slack : on n0 SNR^2 in the
    alignment; growing, default : lambda_1 at the greatest contrastive step and at the default; similar :
    s_ii / tau at the greatest initial scale; talking : factor on the cross-talk squared.
    """
    seeds = list(trials.seeds(20, 200))
    comparisons = _pretraining(seeds, slack, growing, default)
    for q in (2.5, 3.0, 6.0, 1.0):
        comparisons += _exponents(q, n_more, m_floor)
    comparisons += [*_values(n_more, largest), *_invariance(seeds[0], same_step)]
    comparisons += [
        *_linear_stage(seeds, similar),
        *stability(seeds[: trials.pick(4, 40)], seeds),
        *scales(seeds[:8]),
    ]
    for n, dim in ((20, 400), (20, 160_000)):
        talk = [cross_talk(n, dim, seed) for seed in seeds]
        comparisons.append(
            equals(f"cross-talk^2 in units of n/d, d = {dim}", talking * (1 - 1 / n), talk, order=2 * n / dim)
        )
    data = {"kappa": np.array([1.0, 0.5]), "alignment": np.array([c.measured for c in comparisons[1:4:2]])}
    return Outcome(comparisons, 8 * len(seeds), data)


def figure(evidence: Evidence) -> Figure:
    """Alignment around the condition on n0, and the interval for sigma0 that opens at the condition on d."""
    from numsim.shown.claim_figures import CONTROL, MEASURED, PREDICTED, measured_points, panels

    drawn, (left, right) = panels(2)
    kappa = np.geomspace(0.1, 10.0, 50)
    left.plot(kappa, [spectrum(k).alignment for k in kappa], **PREDICTED)
    left.plot(kappa, [spectrum(0.9 * k).alignment for k in kappa], **CONTROL)
    measured_points(left, evidence.outcome.data["kappa"], evidence.outcome.data["alignment"])
    left.axvline(1.0, color="0.5", linewidth=1.0)
    left.set(
        xscale="log", xlabel=r"$n_0\,\mathrm{SNR}^2$ (condition: at least 1)", ylabel=r"$\cos^2(v_1, \mu)$"
    )
    left.legend()
    dims = [int(2.0**k) for k in range(16, 45, 2)]
    rows = [table(network__q=3.0, data__dim=d) for d in dims]
    noise = np.sqrt(dims)
    for name, style in (("sigma0 from", PREDICTED), ("sigma0 to", MEASURED)):
        words = {"label": "at least" if name == "sigma0 from" else "at most", "linestyle": "-", "marker": ""}
        right.plot(
            dims, [row[name].required * s for row, s in zip(rows, noise, strict=True)], **{**style, **words}
        )
    right.axvline(rows[0]["d (m, n)"].required, color="0.5", linewidth=1.0)
    right.set(
        xscale="log",
        yscale="log",
        xlabel="$d$ (condition: right of the line)",
        ylabel=r"$\sigma_0 \sigma_p \sqrt{d}$",
    )
    right.legend()
    return drawn


CLAIM = Claim(
    id="S6",
    title="The theorems' conditions: what each is for, and where it breaks",
    source="Zhang-Cao 4.1; Cao et al. 4.2",
    statement=(
        r"d = \tilde\Omega\left(m^{\max(2, 4/(q-2))} n^{\max(4, (2q-2)/(q-2))}\right), \quad "
        r"n_0 = \tilde\Omega\left(\max(\mathrm{SNR}^{-2}, 1)\right)"
    ),
    check=check,
    controls={
        "the exponent of n in the condition on d one higher": {"n_more": 1.0},
        "the exponent of m there without its floor of 2": {"m_floor": 0.0},
        "B the inverse of the shorter length": {"largest": True},
        "a step size that does not follow the units": {"same_step": True},
        "n0 SNR^2 smaller by a tenth": {"slack": 0.9},
        "growth at the contrastive row's limit 1.25": {"growing": 1.25},
        "default growth 0.12 a step": {"default": 0.12},
        "similarity at the initial scale's limit 1.5": {"similar": 1.5},
        "cross-talk larger by half": {"talking": 2.25},
    },
    theory=("conditions",),
    figure=figure,
)
