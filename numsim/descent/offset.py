"""InfoNCE on data far from the origin: what moves all samples together is taken out before it costs digits.

z_i = m + a_i and z~_i = m + a~_i with any m near the mean. Row i of the softmax compares the products of
F(z_i) with z~_i and with the z_i': taking <F(z_i), F(m)> from all of them changes nothing. With p = W m,
alpha = W a^T, alpha~ = W a~^T and beta = p^T alpha, beta~ = p^T alpha~, the exponents may be

    tau S_ii' = <alpha_i, alpha_i'> + beta_i + beta_i',                                                  (1)
    tau S_i+  = <alpha_i, alpha~_i> + beta_i + beta~_i,

symmetric again, in which |m|^2 does not occur. The weights of a row add up to 0, so that with the
coefficients C, C~ on z and z~ that alpha alone gives, and with what a filter of constant output 1 gets,
u_i = sum_i' p_i'i on z_i and u~_i = p_i+ - 1 on z~_i,

    n0 tau dL/dW = [C | C~] [a; a~] + p ([u | u~] [a; a~])^T + (sum_i C_i + C~_i) m^T.                   (2)

Proof: P = alpha + p 1^T in (2) of contrastive.py; the sum of u and u~ is 0. Without this, what is left is
R^2 eps of the gradient, where R = |m| / rms |a_i| : 6 digits at R = 1e5, none at 1e8.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ._kernels import descent, similarity, softmax

__all__ = ["Shifted", "ShiftedDescent", "info_nce_gradient", "power_matrix", "shifted"]

Floats = npt.NDArray[np.float64]


class Shifted(NamedTuple):
    """Samples as m (D,) and what they differ from it by: views (2 n0, D) = [a; a~]."""

    m: Floats
    views: Floats


@np.errstate(over="ignore", invalid="ignore")
def shifted(z: Floats, z_aug: Floats, ratio: float) -> Shifted | None:
    """The samples (n0, D) in two parts, if |mean z| is more than ``ratio`` times rms |z_i - mean z|."""
    total = z.sum(axis=0)
    # n |mean z|^2 is this share of sum |z_i|^2. Where both are beyond float64 there is nothing to compare.
    # (Not by BLAS: its threads, where nobody holds them, wait for one another longer than this takes.)
    squares = np.einsum("ij,ij->", z, z)
    if not np.einsum("i,i->", total, total) > len(z) * ratio**2 / (1 + ratio**2) * squares:
        return None
    m = total / len(z)
    return Shifted(m, np.concatenate([z - m, z_aug - m]))  # exact where m is within a factor 2 of z


def power_matrix(data: Shifted, scale: float) -> Floats:
    """A of contrastive.py, scale = eta / (n0^2 tau), with t = sum_i z~_i - z_i:

    A = A(a, a~) + scale (n0 - 1) (m t^T + t m^T).

    The sum t is rounded once: where views differ by little, it is small beside its terms.
    """
    a, a_aug = np.split(data.views, 2)
    n = len(a)
    t = np.array([math.fsum(column) for column in (a_aug - a).T])
    cross, total, moved = a.T @ a_aug, a.sum(axis=0), np.outer(data.m, t)
    centred = (n - 1) * (cross + cross.T) + 2.0 * (a.T @ a) - 2.0 * np.outer(total, total)
    A: Floats = scale * (centred + (n - 1) * (moved + moved.T))
    return A


_SPLIT = 2.0**27 + 1.0


def _exact_products(W: Floats, m: Floats) -> Floats:
    """W m (M,), each rounded once: filters across the offset leave only round-off of a plain sum.

    Products in two parts whose sum is exact (Dekker 1971), added without error.
    """
    halves = [(x, x * _SPLIT - (x * _SPLIT - x)) for x in (W, m)]
    (w, w_high), (v, v_high) = halves
    w_low, v_low, product = w - w_high, v - v_high, w * v
    rest = ((w_high * v_high - product) + w_high * v_low + w_low * v_high) + w_low * v_low
    return np.array([math.fsum(row) for row in np.concatenate([product, rest], axis=1)])


def _increments(
    W: Floats, p: Floats, data: Shifted, temperature: float, buffers: similarity.ContrastiveBuffers
) -> tuple[float, float, Floats, Floats]:
    """Loss, a bound on the exponents (1), [C | C~] with [u | u~] below it (M + 1, 2 n0), and alpha, likewise.

    The last row of alpha, outputs 1, adds 1 / temperature to every exponent, which changes no weight.
    """
    alpha = np.ones((len(W) + 1, len(data.views)))
    np.matmul(W, data.views.T, out=alpha[:-1])
    buffers = buffers._replace(bias=p @ alpha[:-1] / temperature)
    bound = similarity.set_exponents(alpha, temperature, buffers)
    loss = softmax.info_nce_increments(alpha, temperature, 1.0, buffers)
    return float(loss), float(bound), buffers.increments, alpha


def _direction(increments: Floats, p: Floats, data: Shifted) -> Floats:
    """The right-hand side of (2), (M, D)."""
    pulled = increments @ data.views
    found: Floats = pulled[:-1] + np.outer(p, pulled[-1]) + np.outer(increments[:-1].sum(axis=1), data.m)
    return found


def info_nce_gradient(
    W: Floats, data: Shifted, temperature: float, buffers: similarity.ContrastiveBuffers
) -> tuple[float, Floats]:
    """Loss and gradient of InfoNCE; buffers : for M + 1 filters."""
    p = _exact_products(W, data.m)
    loss, _, increments, _ = _increments(W, p, data, temperature, buffers)
    return loss, _direction(increments, p, data) / (len(data.views) // 2 * temperature)


class ShiftedDescent:
    """The loop of ``_kernels/contrastive.pretrain`` on shifted samples, in coordinates W (M, D).

    Products with the Gram matrix would bring |m|^2 back. buffers : for M + 1 filters; plain : for M.
    """

    def __init__(
        self,
        W: Floats,
        data: Shifted,
        temperature: float,
        learning_rate: float,
        buffers: similarity.ContrastiveBuffers,
        plain: similarity.ContrastiveBuffers,
    ) -> None:
        """Start from the filters W."""
        self.W, self._start, self._data, self._temperature = W, W, data, temperature
        self._rate = learning_rate / (len(data.views) // 2 * temperature)
        self._buffers, self._plain = buffers, plain

    def __call__(self, state: descent.State, limits: descent.Limits, recorder: descent.Recorder) -> int:
        """Go on until a limit, from the start at step 0; returns a status code."""
        if state.clock[0] == 0:
            self.W = self._start.copy()
        while True:
            p = self.W @ self._data.m
            loss, bound, increments, alpha = _increments(
                self.W, p, self._data, self._temperature, self._buffers
            )
            np.add(alpha[:-1], p[:, None], out=state.inner)
            state.loss[0] = loss
            if not (loss < similarity.MEANINGLESS and bound < similarity.MEANINGLESS):
                return descent.NON_FINITE
            if state.clock[0] % recorder.cursor[1] == 0:
                descent.record(recorder, int(state.clock[0]), int(state.clock[0]), loss, 1.0, state)
            if self._ended(state.inner, limits.threshold):
                return descent.LINEAR_END
            if state.clock[0] >= limits.max_steps:
                return descent.MAX_STEPS
            state.coefficients[:] -= self._rate * (increments[:-1] + np.outer(p, increments[-1]))
            self.W -= self._rate * _direction(increments, p, self._data)
            state.clock[0] += 1
            if limits.pause <= state.clock[0] < limits.max_steps:
                return descent.PAUSED

    def _ended(self, inner: Floats, ceiling: float) -> bool:
        if not ceiling > 0.0:
            return False
        bound = similarity.set_exponents(inner, self._temperature, self._plain)
        return bound > ceiling and (
            similarity.largest_similarity(inner, self._temperature, self._plain) > ceiling
        )
