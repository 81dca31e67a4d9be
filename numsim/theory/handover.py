"""The end of the linear stage: how many steps, and how strong the signal then is (P3).

In the linear stage (I + A)^t acts on every filter. With (lambda_1, v_1) the top eigenpair in growth per
step and y_i <v_1, z_i> = y_i <v_1, z~_i> = X for all i (d >> n0), the quadratic form of A gives

    v_1^T A v_1 = (2 eta / tau) X^2 = lambda_1,   X^2 = tau lambda_1 / (2 eta),                      (1)
    |s_ii'| = X^2 (1 + lambda_1)^(2t) sum_r <w_r^0, v_1>^2.                                          (2)

Saturation. By then the softmax has noticed: with all |s_ii'| = s tau, of sign y_i y_i', the weight of a row's
opposite class is 1/(1 + e^(2s)) and the pull on v_1 falls from 1 to 1 - tanh s. So ds/dt = 2 lambda_1 s
(1 - tanh s), and the stage to s lasts 1/lambda_1 times

    S(s) = int_0^s tanh x / (2x (1 - tanh x)) dx = (1/4) int_0^(2s) (e^x - 1)/x dx
         = (Ei(2s) - log(2s) - gamma_Euler) / 4                                                      (3)

longer than (2) says; at a given time the growth is short by the factor e^(-S). S(0.3) = 0.175.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .powers import power

__all__ = ["coefficient_growth", "handover_ratio", "linear_stage_steps", "saturation"]

Floats = npt.NDArray[np.float64]


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
    """Steps T until max |s_ii'| = threshold tau: (2) solved for t, with (1).

    T = log(threshold 2 eta / (lambda_1 2m sigma_0^2 o)) / (2 log(1 + lambda_1)).
    With threshold = 1, o = 1 and d >> n0 this is the T of theory.md P3,
    log(sqrt(tau/2m) sqrt(2 kappa/(1 + 2 kappa)) / (sigma_0 |mu|)) / log(1 + lambda_1).

    Parameters
    ----------
    growth : lambda_1 per step, > 0; learning_rate, temperature : eta and tau; filters : m per sign;
        init_scale : sigma_0; threshold : of max |s_ii'| / tau.
    initial_overlap : o = sum_r <w_r^0, v_1>^2 / (2 m sigma_0^2), 1 on average.
    """
    if not growth > 0:
        raise ValueError(f"growth is {growth}, expected lambda_1 > 0")
    room = threshold * 2 * learning_rate / (growth * 2 * filters * init_scale**2 * initial_overlap)
    return max(0.0, math.log(room) / (2 * math.log1p(growth)))


def saturation(end: float) -> float:
    """S(s) of (3): logarithm by which the growth up to max |s_ii'| / tau = ``end`` falls short of linear.

    For balanced labels and d >> n0.
    """
    if not 0 <= end < math.inf:
        raise ValueError(f"end is {end}, expected a finite number >= 0 (max |s| / temperature)")
    from scipy.special import expi

    if end < 1e-8:
        return end / 2
    return float(expi(2 * end) - math.log(2 * end) - np.euler_gamma) / 4


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
    """Root-mean-square signal-to-fresh-noise ratio R_T = <w, mu> / sd<w, xi_new> after T linear steps.

    A filter is (1 + lambda_1)^T <w^0, v_1> v_1, the noise span grown by 1 + u (1 + a) (n0 - 1 directions)
    and 1 - u (1 - a) (n0 directions), mu's rest in a direction of eigenvalue 0, and d - 2 n0 - 1 directions
    never touched. With g = o (1 + lambda_1)^(2T), in units of sigma_0^2:
        <w, mu/|mu|>^2 = cos^2 g + 1 - cos^2,
        |w|^2 = g + 1 + (n0 - 1)(1 + u (1 + a))^(2T) + n0 (1 - u (1 - a))^(2T) + d - 2 n0 - 1,
        R_T = |mu| <w, mu/|mu|> / (sigma_p sqrt(|w|^2 - <w, mu/|mu|>^2)).
    The limit T -> infinity is sqrt(2 n0) SNR^2 sqrt(d) at a = 0.

    growth : lambda_1; alignment : cos^2; steps : T; unit : u; overlap : a; samples : n0; dim : d;
    signal_norm : |mu|; sigma_p : noise level; initial_overlap : o, as for ``linear_stage_steps``.
    Valid for d >> n0 (corrections of order n0/d) and small unit; source: theory.md P3.
    """
    grown = initial_overlap * power(1 + growth, 2 * steps)
    along = alignment * grown + 1 - alignment
    bulk = (samples - 1) * power(1 + unit * (1 + overlap), 2 * steps)
    shrunk = samples * power(abs(1 - unit * (1 - overlap)), 2 * steps)
    across = (1 - alignment) * grown + alignment + bulk + shrunk + max(dim - 2 * samples - 1, 0)
    if not math.isfinite(along):
        return signal_norm / sigma_p * math.sqrt(alignment / (1 - alignment))
    return signal_norm / sigma_p * math.sqrt(along / across)


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
    """Root-mean-square gamma_r (over filters) and rho_ri (over filters and samples) after t linear steps.

    v_1 is proportional to sum_i y_i (z_i + z~_i), with coefficient 1/sqrt(2 lambda_1/u) on the normalised sum
    of y_i xi_i; per sample the eigenvectors (xi_i +- xi~_i)/sqrt(2 (1 +- a)) have eigenvalues u (a +- 1).
    With E(x) = (1 + x)^t - 1, in units of sigma_0 and with o the filters' initial overlap with v_1:
        gamma^2 = |mu|^2 cos^2 o E(lambda_1)^2,
        rho^2 = sigma_p^2 d [o u / (2 n0 lambda_1) E(lambda_1)^2
                             + E(u (a + 1))^2 / (2 (1 + a)) + E(u (a - 1))^2 / (2 (1 - a))],
    the last term 0 at a = 1. rho is the coefficient on xi_i, beside rho~ on xi~_i.
    steps : (T,); growth : lambda_1; alignment : cos^2; unit : u; overlap : a; samples : n0;
    signal_norm : |mu|; noise_norm : sigma_p sqrt(d); init_scale : sigma_0; initial_overlap : o.

    Valid for d >> n0 and fixed views; source: theory.md P2, P3.
    """
    t = np.asarray(steps, dtype=np.float64)
    with np.errstate(over="ignore"):
        top = (1 + growth) ** t - 1
        plus = (1 + unit * (overlap + 1)) ** t - 1
        minus = (1 + unit * (overlap - 1)) ** t - 1
    aligned = initial_overlap * unit / (2 * samples * growth) * top**2
    bulk = plus**2 / (2 * (1 + overlap))
    if overlap < 1:
        bulk = bulk + minus**2 / (2 * (1 - overlap))
    gamma = init_scale * signal_norm * math.sqrt(alignment * initial_overlap) * top
    return gamma, init_scale * noise_norm * np.sqrt(aligned + bulk)
