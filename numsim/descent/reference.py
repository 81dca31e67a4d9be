"""The naive twin of every kernel: filters in R^d, loops over samples, derivations/model.md's formulas.

Nothing here is fast and nothing of numsim is imported: read it to see what is computed, and compare with
it to see whether the fast code computes the same. Symbols and sections are those of derivations/model.md.

Shapes: M = 2m filters, n0 unlabelled and n labelled samples, P patches a sample, d the dimension.
Losses accept complex filters (the imaginary part is a complex step): activations look at the real part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "Drawn",
    "Trajectory",
    "draw",
    "evaluate",
    "info_nce",
    "info_nce_loss",
    "info_nce_matrix",
    "logistic_gradient",
    "logistic_loss",
    "margins",
    "outputs",
    "power_matrix",
    "pretrain",
    "pretrain_fresh_views",
    "pretraining_coefficients",
    "similarities",
    "softmax_row",
    "supervised_coefficients",
    "train",
]

Array = npt.NDArray[Any]

LINEAR_END = 0.3


class Trajectory(NamedTuple):
    """Filters and losses of a descent at steps 0, 1, ..., T, and why it stopped after step T."""

    filters: list[Array]
    losses: list[float]
    status: str


# --- InfoNCE: sections 1 and 2 -------------------------------------------------------------------


def similarities(W: Array, z: Array, z_aug: Array) -> tuple[Array, Array]:
    """s_ii' = <F(z_i), F(z_i')> (n0, n0) and s_i+ = <F(z_i), F(z~_i)> (n0,), with F(z)_r = <w_r, z>.

    W : (M, d); z, z_aug : (n0, d). Section 1.
    """
    F = np.einsum("rd,id->ir", W, z)
    F_aug = np.einsum("rd,id->ir", W, z_aug)
    return np.einsum("ir,kr->ik", F, F), np.einsum("ir,ir->i", F, F_aug)


def softmax_row(i: int, s: Array, s_plus: Array, temperature: float) -> tuple[Any, Array, Any]:
    """Weights p_i+, p_ii' (n0,) with p_ii = 0, and log p_i+, of row i: softmax of s_i+ and s_ii', i' != i.

    All are e^(s/tau) / (e^(s_i+/tau) + sum_{i' != i} e^(s_ii'/tau)), with the largest exponent taken out.
    """
    negatives = [k for k in range(len(s_plus)) if k != i]
    top = max([s_plus[i].real] + [s[i, k].real for k in negatives])
    positive = np.exp((s_plus[i] - top) / temperature)
    shares = {k: np.exp((s[i, k] - top) / temperature) for k in negatives}
    total = positive + sum(shares.values())
    p = np.zeros_like(s[i])
    for k in negatives:
        p[k] = shares[k] / total
    return positive / total, p, (s_plus[i] - top) / temperature - np.log(total)


def info_nce_loss(W: Array, z: Array, z_aug: Array, temperature: float = 1.0) -> Any:
    """L = -(1/n0) sum_i log p_i+. Section 1."""
    s, s_plus = similarities(W, z, z_aug)
    return -sum(softmax_row(i, s, s_plus, temperature)[2] for i in range(len(z))) / len(z)


def info_nce_matrix(W: Array, z: Array, z_aug: Array, temperature: float = 1.0) -> Array:
    """H(W) (d, d), the map with dL/dw_r = H(W) w_r for every filter. Section 2.

    H = (1/(n0 tau)) sum_i [ (p_i+ - 1)(z_i z~_i^T + z~_i z_i^T)
                             + sum_{i' != i} p_ii' (z_i z_i'^T + z_i' z_i^T) ].
    """
    n = len(z)
    s, s_plus = similarities(W, z, z_aug)
    H = np.zeros((z.shape[1], z.shape[1]))
    for i in range(n):
        p_plus, p, _ = softmax_row(i, s, s_plus, temperature)
        H += (p_plus - 1.0) * (np.outer(z[i], z_aug[i]) + np.outer(z_aug[i], z[i]))
        for k in range(n):
            if k != i:
                H += p[k] * (np.outer(z[i], z[k]) + np.outer(z[k], z[i]))
    return H / (n * temperature)


def info_nce(W: Array, z: Array, z_aug: Array, temperature: float = 1.0) -> tuple[float, Array]:
    """InfoNCE loss and its gradient (M, d). Sections 1 and 2."""
    H = info_nce_matrix(W, z, z_aug, temperature)
    return float(info_nce_loss(W, z, z_aug, temperature)), np.einsum("de,re->rd", H, W)


def power_matrix(z: Array, z_aug: Array, learning_rate: float, temperature: float = 1.0) -> Array:
    """A = (eta/(n0^2 tau)) sum_i sum_{i' != i} (z_i z~_i^T + z~_i z_i^T - z_i z_i'^T - z_i' z_i^T), P1."""
    n = len(z)
    A = np.zeros((z.shape[1], z.shape[1]))
    for i in range(n):
        for k in range(n):
            if k != i:
                A += np.outer(z[i], z_aug[i]) + np.outer(z_aug[i], z[i])
                A -= np.outer(z[i], z[k]) + np.outer(z[k], z[i])
    return learning_rate / (n**2 * temperature) * A


def pretrain(
    W: Array,
    z: Array,
    z_aug: Array,
    *,
    learning_rate: float,
    temperature: float = 1.0,
    max_steps: int,
    stop_at_linear_end: bool = True,
) -> Trajectory:
    """Gradient descent w_r <- w_r - eta dL/dw_r on InfoNCE with one fixed view a sample.

    W : (M, d). Ends at the first step with max_{i' != i} |s_ii'| / tau > 0.3 ("linear_end"), or after
    max_steps ("max_steps").
    """
    return _contrastive_descent(
        W, lambda: (z, z_aug), learning_rate, temperature, max_steps, stop_at_linear_end
    )


def pretrain_fresh_views(
    W: Array,
    mu: Array,
    labels: Array,
    noise: Array,
    *,
    sigma_p: float,
    projected: bool,
    overlap: float,
    learning_rate: float,
    temperature: float,
    max_steps: int,
    stop_at_linear_end: bool,
    rng: np.random.Generator,
) -> Trajectory:
    """The same with new views z~_i = y_i mu + a xi_i + sqrt(1 - a^2) xi'_i, xi' fresh at every step.

    W : (M, d); mu : (d,); labels : (n0,); noise : (n0, d). Section 1, P6.
    """

    def views() -> tuple[Array, Array]:
        fresh = draw_noise(rng, noise.shape[0], mu, sigma_p, projected)
        mixed = overlap * noise + np.sqrt(1.0 - overlap**2) * fresh
        return labels[:, None] * mu + noise, labels[:, None] * mu + mixed

    return _contrastive_descent(W, views, learning_rate, temperature, max_steps, stop_at_linear_end)


def _contrastive_descent(
    W: Array,
    views: Callable[[], tuple[Array, Array]],
    learning_rate: float,
    temperature: float,
    max_steps: int,
    stop_at_linear_end: bool,
) -> Trajectory:
    filters: list[Array] = [W]
    losses: list[float] = []
    while True:
        z, z_aug = views()
        loss, gradient = info_nce(W, z, z_aug, temperature)
        losses.append(loss)
        if stop_at_linear_end and _largest_negative(W, z) / temperature > LINEAR_END:
            return Trajectory(filters, losses, "linear_end")
        if len(filters) > max_steps:
            return Trajectory(filters, losses, "max_steps")
        W = W - learning_rate * gradient
        filters.append(W)


def _largest_negative(W: Array, z: Array) -> float:
    """max over i' != i of |s_ii'|, 0 for one sample."""
    s, _ = similarities(W, z, z)
    return max((abs(s[i, k]) for i in range(len(z)) for k in range(len(z)) if k != i), default=0.0)


# --- The two-layer CNN: sections 1 and 2 ---------------------------------------------------------


def activation(z: Any, q: float) -> Any:
    """sigma(z) = max(0, z)^q of a number."""
    return z**q if z.real > 0 else 0.0 * z


def slope(z: float, q: float) -> float:
    """sigma'(z) = q max(0, z)^(q-1) of a number, 0 at 0 also for q = 1."""
    return q * z ** (q - 1.0) if z > 0 else 0.0


def softplus(t: Any) -> Any:
    """log(1 + e^t) of a number without overflow; the logistic loss l(z) = log(1 + e^-z) is softplus(-z)."""
    return t + np.log1p(np.exp(-t)) if t.real > 0 else np.log1p(np.exp(t))


def outputs(W: Array, x: Array, q: float, output_scale: float = 1.0) -> Array:
    """f (n,), f_i = (output_scale/m) sum_j j sum_r sum_p sigma(<w_jr, x_i^(p)>).

    W : (2, m, d), index 0 is j = +1; x : (n, P, d). Section 1.
    """
    f = np.zeros(len(x), dtype=W.dtype)
    for i in range(len(x)):
        for j, sign in enumerate((1.0, -1.0)):
            for w in W[j]:
                for patch in x[i]:
                    f[i] += sign * activation(w @ patch, q)
    f *= output_scale / W.shape[1]
    return f


def logistic_loss(W: Array, x: Array, y: Array, q: float, output_scale: float = 1.0) -> Any:
    """L = (1/n) sum_i l(y_i f_i), l(z) = log(1 + e^-z); y (n,) the observed labels. Section 1."""
    f = outputs(W, x, q, output_scale)
    return sum(softplus(-y[i] * f[i]) for i in range(len(x))) / len(x)


def logistic_gradient(W: Array, x: Array, y: Array, q: float, output_scale: float = 1.0) -> Array:
    """dL/dw_jr = (output_scale/(n m)) sum_i l'_i y_i j sum_p sigma'(<w_jr, x_i^(p)>) x_i^(p), (2, m, d).

    l'_i = -1/(1 + e^(y_i f_i)) = -e^(-softplus(y_i f_i)). Section 2.
    """
    f = outputs(W, x, q, output_scale)
    gradient = np.zeros(W.shape)
    for i in range(len(x)):
        derivative = -np.exp(-softplus(y[i] * f[i]))
        for j, sign in enumerate((1.0, -1.0)):
            for r in range(W.shape[1]):
                for patch in x[i]:
                    gradient[j, r] += derivative * y[i] * sign * slope(W[j, r] @ patch, q) * patch
    gradient *= output_scale / (len(x) * W.shape[1])
    return gradient


def train(
    W: Array,
    x: Array,
    y: Array,
    *,
    q: float,
    learning_rate: float,
    max_steps: int,
    target_loss: float = 0.01,
    output_scale: float = 1.0,
) -> Trajectory:
    """Full-batch gradient descent on the logistic loss, W : (2, m, d).

    Ends at the first step with loss at most target_loss ("target_loss"; 0: never), or after max_steps.
    """
    filters: list[Array] = [W]
    losses: list[float] = []
    while True:
        losses.append(float(logistic_loss(W, x, y, q, output_scale)))
        if target_loss > 0 and losses[-1] <= target_loss:
            return Trajectory(filters, losses, "target_loss")
        if len(filters) > max_steps:
            return Trajectory(filters, losses, "max_steps")
        W = W - learning_rate * logistic_gradient(W, x, y, q, output_scale)
        filters.append(W)


# --- Signal-noise decomposition: section 3 -------------------------------------------------------


def supervised_coefficients(
    W: Array,
    mu: Array,
    noise: Array,
    true_labels: Array,
    labels: Array,
    *,
    q: float,
    learning_rate: float,
    output_scale: float = 1.0,
) -> tuple[Array, Array]:
    """What one step from W (2, m, d) adds to gamma (2, m) and rho (2, m, n): the recursions of section 3.

    gamma_jr += -(eta/(n m)) sum_i l'_i sigma'(<w_jr, y_i mu>) |mu|^2 (observed y_i)(true y_i)
    rho_jri  += -(eta/(n m)) l'_i sigma'(<w_jr, xi_i>) |xi_i|^2 j (observed y_i), with output_scale on both.
    """
    n, m = len(noise), W.shape[1]
    patches = np.stack([true_labels[:, None] * mu, noise], axis=1)
    f = outputs(W, patches, q, output_scale)
    gamma, rho = np.zeros((2, m)), np.zeros((2, m, n))
    for i in range(n):
        step = learning_rate * output_scale / (n * m) * np.exp(-softplus(labels[i] * f[i]))
        for j, sign in enumerate((1.0, -1.0)):
            for r in range(m):
                on_signal = slope(W[j, r] @ (true_labels[i] * mu), q)
                gamma[j, r] += step * on_signal * (mu @ mu) * labels[i] * true_labels[i]
                on_noise = slope(W[j, r] @ noise[i], q)
                rho[j, r, i] += step * on_noise * (noise[i] @ noise[i]) * sign * labels[i]
    return gamma, rho


def pretraining_coefficients(
    W: Array,
    mu: Array,
    labels: Array,
    noise: Array,
    views: Array,
    *,
    learning_rate: float,
    temperature: float = 1.0,
) -> tuple[Array, Array, Array]:
    """What one step from W (M, d) adds to gamma (M,), rho and rho~ (M, n0), of mu, xi_i, xi~_i. Section 3.

    The gradient is sum_i c_ri z_i + c~_ri z~_i, with z_i = y_i mu + xi_i and z~_i = y_i mu + xi~_i.
    """
    n = len(noise)
    z, z_aug = labels[:, None] * mu + noise, labels[:, None] * mu + views
    s, s_plus = similarities(W, z, z_aug)
    c, c_aug = np.zeros((len(W), n)), np.zeros((len(W), n))
    for i in range(n):
        p_plus, p, _ = softmax_row(i, s, s_plus, temperature)
        c[:, i] += (p_plus - 1.0) * (W @ z_aug[i])
        c_aug[:, i] += (p_plus - 1.0) * (W @ z[i])
        for k in range(n):
            c[:, i] += p[k] * (W @ z[k])
            c[:, k] += p[k] * (W @ z[i])
    step = -learning_rate / (n * temperature)
    gamma = step * (c + c_aug) @ labels * (mu @ mu)
    return gamma, step * c * np.sum(noise**2, axis=1), step * c_aug * np.sum(views**2, axis=1)


# --- Drawing and testing in R^d: section 1 -------------------------------------------------------


class Drawn(NamedTuple):
    """A whole experiment in R^d.

    mu : (d,); W : (2m, d) initial filters; labels : (n0,), noise, views : (n0, d) of the unlabelled samples;
    true_labels, observed : (n,) and labelled_noise : (n, d) of the labelled ones.
    """

    mu: Array
    W: Array
    labels: Array
    noise: Array
    views: Array
    true_labels: Array
    observed: Array
    labelled_noise: Array

    @property
    def z(self) -> Array:
        """z_i = y_i mu + xi_i, (n0, d)."""
        return self.labels[:, None] * self.mu + self.noise

    @property
    def z_aug(self) -> Array:
        """z~_i = y_i mu + xi~_i, (n0, d)."""
        return self.labels[:, None] * self.mu + self.views

    @property
    def x(self) -> Array:
        """The patches y_i mu and xi_i of the labelled samples, (n, 2, d)."""
        return np.stack([self.true_labels[:, None] * self.mu, self.labelled_noise], axis=1)


def draw_noise(
    rng: np.random.Generator, count: int, direction: Array, sigma_p: float, projected: bool
) -> Array:
    """xi ~ N(0, sigma_p^2 (I - mu mu^T/|mu|^2)), or N(0, sigma_p^2 I) if not projected: (count, d).

    direction : (d,) mu or any other non-zero multiple of it.
    """
    xi = sigma_p * rng.standard_normal((count, len(direction)))
    if projected:
        xi -= np.outer(xi @ direction, direction) / (direction @ direction)
    return xi


def draw(
    rng: np.random.Generator,
    *,
    dim: int,
    filters: int = 2,
    unlabelled: int = 4,
    labelled: int = 4,
    signal_norm: float = 1.0,
    sigma_p: float = 1.0,
    init_scale: float = 1.0,
    overlap: float = 0.0,
    projected: bool = True,
    flip_probability: float = 0.0,
    first_axis: bool = False,
) -> Drawn:
    """Draw everything in R^dim: ``filters`` is m; mu along e_0 (``first_axis``) or a random direction."""
    direction = np.eye(dim)[0] if first_axis else rng.standard_normal(dim)
    mu = signal_norm * direction / np.sqrt(direction @ direction)
    W = init_scale * rng.standard_normal((2 * filters, dim))
    labels, true_labels = (rng.choice([-1.0, 1.0], size=count) for count in (unlabelled, labelled))
    noise, fresh = (draw_noise(rng, unlabelled, direction, sigma_p, projected) for _ in range(2))
    flips = np.where(rng.random(labelled) < flip_probability, -1.0, 1.0)
    return Drawn(
        mu=mu,
        W=W,
        labels=labels,
        noise=noise,
        views=overlap * noise + np.sqrt(1.0 - overlap**2) * fresh,
        true_labels=true_labels,
        observed=true_labels * flips,
        labelled_noise=draw_noise(rng, labelled, direction, sigma_p, projected),
    )


def margins(W: Array, mu: Array, noise: Array, q: float, output_scale: float = 1.0) -> Array:
    """y f(W, x) (2, N) of the test samples x = (y mu, xi_k), for y = +1 and -1 and every noise draw xi_k.

    W : (2, m, d); mu : (d,); noise : (N, d). Section 1.
    """
    rows = []
    for y in (1.0, -1.0):
        x = np.stack([np.broadcast_to(y * mu, noise.shape), noise], axis=1)
        rows.append(y * outputs(W, x, q, output_scale))
    return np.stack(rows)


def evaluate(test_margins: Array, flip_probability: float = 0.0) -> tuple[float, float]:
    """Mean test loss and error given margins y f: a flipped label has the margin -y f, 0 is half an error."""
    loss = error = 0.0
    for margin in test_margins.ravel():
        for chance, value in ((1.0 - flip_probability, margin), (flip_probability, -margin)):
            loss += chance * softplus(-value)
            error += chance * (1.0 if value < 0 else 0.5 if value == 0 else 0.0)
    return loss / test_margins.size, error / test_margins.size
