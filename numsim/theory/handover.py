"""The end of the linear stage: how many steps, and how strong the signal then is (P3).

In the linear stage (I + A)^t acts on every filter. With (lambda_1, v_1) the top eigenpair in growth per
step and y_i <v_1, z_i> = y_i <v_1, z~_i> = X for all i (d >> n0), the quadratic form of A is P3 (6), (7),

    v_1^T A v_1 = (2 eta / tau) X^2 = lambda_1,   |s_ii'| = X^2 (1 + lambda_1)^(2t) sum_r <w_r^0, v_1>^2.

By the end the softmax has noticed: with all |s_ii'| = s tau, of sign y_i y_i', the weight of a row's opposite
class is 1/(1 + e^(2s)) and the pull on v_1 falls from 1 to 1 - tanh s, P3 (9).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .linearisation import linear_modes
from .powers import closed_form, power

__all__ = [
    "coefficient_growth",
    "fresh_handover_ratio",
    "handover_ratio",
    "linear_stage_steps",
    "saturation",
]

Floats = npt.NDArray[np.float64]


@closed_form
def linear_stage_steps(
    *,
    growth: float,
    learning_rate: float,
    temperature: float,
    filters: int,
    init_scale: float,
    initial_overlap: float = 1.0,
    threshold: float = 1.0,
) -> float:
    """Steps T until max |s_ii'| = threshold tau without saturation: P3 (8).

    T = log(threshold 2 eta / (lambda_1 2m sigma_0^2 o)) / (2 log(1 + lambda_1)).
    With threshold = 1, o = 1 and d >> n0 this is the T of P3's statement,
    log(sqrt(tau/2m) sqrt(2 kappa/(1 + 2 kappa)) / (sigma_0 |mu|)) / log(1 + lambda_1).

    Parameters
    ----------
    growth : lambda_1 per step, > 0; learning_rate, temperature : eta and tau; filters : m per sign;
        init_scale : sigma_0; threshold : of max |s_ii'| / tau.
    initial_overlap : o = sum_r <w_r^0, v_1>^2 / (2 m sigma_0^2), 1 on average.

    inf where no filter sees v_1 (sigma_0 or o is 0), 0 where the threshold is reached at the start.
    """
    if not growth > 0:
        raise ValueError(f"growth is {growth}, expected lambda_1 > 0")
    energy = growth * 2 * filters * init_scale**2 * initial_overlap
    if energy == 0:
        return math.inf
    room = threshold * 2 * learning_rate / energy
    return math.log(room) / (2 * math.log1p(growth)) if room > 1 else 0.0


@closed_form
def saturation(end: float, growth: float = 0.0) -> float:
    """Logarithm by which growth up to max |s_ii'| / tau = ``end`` falls short of linear: P3 (10), (12).

    S(s) = int_0^s tanh x / (2x (1 - tanh x)) dx = (Ei(2s) - log(2s) - gamma_Euler) / 4, S(0.3) = 0.176, in
    the limit of small steps; with steps of growth lambda_1, S - (lambda_1 / 2) (S + s + log cosh s), off by
    O(lambda_1^2). The stage lasts so much / log(1 + lambda_1) steps longer.

    end : s; growth : lambda_1. For balanced labels, d >> n0, and views as similar as samples of a class,
    which is off by (3/4) u (1 - a) s^2 / (3 lambda_1 + u (1 - a)).
    """
    if not 0 <= end < math.inf:
        raise ValueError(f"end is {end}, expected a finite number >= 0 (max |s| / temperature)")
    from scipy.special import expi

    flow = end / 2 if end < 1e-8 else float(expi(2 * end) - math.log(2 * end) - np.euler_gamma) / 4
    log_cosh = end + math.log1p(math.exp(-2 * end)) - math.log(2)
    return flow - growth / 2 * (flow + end + log_cosh)


@closed_form
def handover_ratio(
    *,
    growth: float,
    alignment: float,
    steps: float,
    unit: float,
    overlap: float,
    samples: int,
    dim: int,
    signal_norm: float,
    sigma_p: float,
    initial_overlap: float = 1.0,
) -> float:
    """Root-mean-square ratio R_T = <w, mu> / sd<w, xi_new>, xi_new fresh noise, after T steps: P3 (13).

    A filter is (1 + lambda_1)^T <w^0, v_1> v_1, plus the other modes k of ``linear_modes`` (n_k of them,
    alignment c_k) grown by 1 + u lambda_k, plus d - 2 n0 directions never touched. With c = cos^2,
    g = o (1 + lambda_1)^(2T) and g_k = (1 + u lambda_k)^(2T), in units of sigma_0^2:
        <w, mu/|mu|>^2 = c g + sum_k c_k g_k + 1 - c - sum_k c_k,
        |w|^2 = g + sum_k n_k g_k + d - 2 n0,
        R_T = |mu| <w, mu/|mu|> / (sigma_p sqrt(|w|^2 - <w, mu/|mu|>^2)).
    The limit T -> infinity is sqrt(2 n0) SNR^2 sqrt(d) at a = 0: P3 (14).

    growth : lambda_1; alignment : cos^2; steps : T; unit : u; overlap : a; samples : n0; dim : d;
    signal_norm : |mu|; sigma_p : noise level; initial_overlap : o, as for ``linear_stage_steps``.
    Exact for d -> infinity and balanced labels if growth and alignment are (corrections of order n0/d).
    """
    kappa = samples * (signal_norm / sigma_p) ** 2 / dim
    grown = initial_overlap * power(1 + growth, 2 * steps)
    along, across, rest = alignment * grown, (1 - alignment) * grown, 1 - alignment
    for mode in linear_modes(kappa, samples, overlap)[1:]:
        kept = power(abs(1 + unit * mode.eigenvalue), 2 * steps)
        along += mode.alignment * kept
        across += (mode.multiplicity - mode.alignment) * kept
        rest -= mode.alignment
    along += rest
    across += max(dim - 2 * samples, 0) - rest
    if not math.isfinite(along):
        return signal_norm / sigma_p * math.sqrt(alignment / (1 - alignment))
    if not (across > 0 and along >= 0):
        raise ValueError(
            f"dim is {dim}, expected d >> n0 = {samples}, and an alignment of this kappa's spectrum"
        )
    return signal_norm / sigma_p * math.sqrt(along / across)


@closed_form
def fresh_handover_ratio(
    *,
    growth: float,
    alignment: float,
    steps: float,
    unit: float,
    overlap: float,
    samples: int,
    dim: int,
    signal_norm: float,
    sigma_p: float,
    initial_overlap: float = 1.0,
) -> float:
    """The same for views drawn anew at every step: P3 (18).

    growth and alignment are those of the mean of A (``fresh_view_spectrum``, times u). The parts of the views
    that are new, sqrt(1 - a^2) xi', kick the filters at every step, along v_1 and, as A is symmetric, as
    strongly out of it, into directions never seen again. With kappa = n0 SNR^2, c = cos^2 and
        nu = u^2 (1 - 1/n0)^2 (1 - a^2) (sqrt(kappa c) + sqrt(1 - c))^2 / ((1 + lambda_1)^2 - 1),
        g = o (1 + lambda_1)^(2T) + nu ((1 + lambda_1)^(2T) - 1),   e = nu o ((1 + lambda_1)^(2T) - 1),
    <w, mu/|mu|>^2 = c g + 1 - c and the rest of |w|^2 is (1 - c) g + c + e + d - 2, in units of sigma_0^2.

    growth : lambda_1; alignment : cos^2; steps : T; unit : u; overlap : a; samples : n0; dim : d;
    signal_norm : |mu|; sigma_p : noise level; initial_overlap : o, as for ``linear_stage_steps``.
    Limit d >> n0; corrections of order nu^2, and those of the law given.
    """
    kappa = samples * (signal_norm / sigma_p) ** 2 / dim
    pull = (math.sqrt(kappa * alignment) + math.sqrt(1 - alignment)) ** 2
    seen = unit * (1 - 1 / samples)
    kick = seen**2 * (1 - overlap**2) * pull / (growth * (2 + growth))
    factor = power(1 + growth, 2 * steps)
    if not math.isfinite(factor):
        loss = initial_overlap * kick / (initial_overlap + kick)
        return signal_norm / sigma_p * math.sqrt(alignment / (1 - alignment + loss))
    grown = initial_overlap * factor + kick * (factor - 1)
    along = alignment * grown + 1 - alignment
    across = (1 - alignment) * grown + alignment + kick * initial_overlap * (factor - 1) + max(dim - 2, 0)
    return signal_norm / sigma_p * math.sqrt(along / across)


@closed_form
def coefficient_growth(
    steps: npt.ArrayLike,
    *,
    growth: float,
    alignment: float,
    unit: float,
    overlap: float,
    samples: int,
    signal_norm: float,
    noise_norm: float,
    init_scale: float,
    initial_overlap: float = 1.0,
) -> tuple[Floats, Floats]:
    """Root-mean-square gamma_r (over filters) and rho_ri (over filters, samples) after t steps: P3 (16).

    With E(x) = (1 + x)^t - 1, o the filters' initial overlap with v_1, and the modes k of ``linear_modes``
    (n_k of them, b_k their ``own``; the first has eigenvalue lambda_1 and the weight o),
        gamma^2 = sigma_0^2 |mu|^2 cos^2 o E(lambda_1)^2,
        rho^2 = sigma_0^2 sigma_p^2 d (1/n0) sum_k n_k b_k E(u lambda_k)^2.
    rho is the coefficient on xi_i, beside rho~ on xi~_i, which is equal up to O(1/n0).

    steps : (T,); growth : lambda_1; alignment : cos^2; unit : u; overlap : a; samples : n0;
    signal_norm : |mu|; noise_norm : sigma_p sqrt(d); init_scale : sigma_0; initial_overlap : o.
    Valid for d >> n0, balanced labels and fixed views, linear stage.
    """
    t = np.asarray(steps, dtype=np.float64)
    top, *others = linear_modes(samples * (signal_norm / noise_norm) ** 2, samples, overlap)
    with np.errstate(over="ignore"):
        grown = (1 + growth) ** t - 1
        squares = initial_overlap * top.own * grown**2
        for mode in others:
            squares = squares + mode.multiplicity * mode.own * ((1 + unit * mode.eigenvalue) ** t - 1) ** 2
    gamma = init_scale * signal_norm * math.sqrt(alignment * initial_overlap) * grown
    return gamma, init_scale * noise_norm * np.sqrt(squares / samples)
