"""Contrastive losses and their gradients from inner products: every loss, normalised or not, both encoders.

    R (M, K)  ->  features H (M, 2n), samples then views  ->  U, unit columns if normalised  ->  loss.

Shapes: M filters, n samples (of a batch), P patches of each.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._jit import kernel, multiply
from .descent import GO_ON, LINEAR_END
from .exponential import exponentials
from .similarity import (
    MEANINGLESS,
    NO_SHIFT,
    ContrastiveBuffers,
    as_matrix,
    largest_similarity,
    set_exponents,
)
from .softmax import info_nce_increments
from .supervised import LEAKY, Activation, leaky, set_slopes, slope_factor

__all__ = [
    "Encoder",
    "InfoNCE",
    "NTXent",
    "Scratch",
    "Spectral",
    "info_nce",
    "linear_end",
    "nt_xent",
    "spectral",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PANEL = 32
"""Rows of S a panel of its upper triangle."""


class Encoder(NamedTuple):
    """How features come from inner products.

    network : whether h_r = sum_p sigma(<w_r, x_p>), else h_r = <w_r, z>; patches (n, 2P) : of a sample, then
    of its view, by number (columns of R); normalised : whether features are divided by their length.
    """

    network: bool
    patches: Integers
    activation: Activation
    normalised: bool


class Scratch(NamedTuple):
    """features, unit, pull (M 2n,), slopes (M K,), panels, square (M M,) flat; rows (6, 2n); ones (2n,)."""

    features: Floats
    unit: Floats
    pull: Floats
    slopes: Floats
    rows: Floats
    panels: Floats
    bits: Floats
    ones: Floats
    square: Floats


class InfoNCE(NamedTuple):
    """-(1/n) sum_i log p_i+, negatives the samples: contrastive.py (1)."""

    temperature: float
    encoder: Encoder
    scratch: Scratch
    buffers: ContrastiveBuffers


class NTXent(NamedTuple):
    """The symmetric loss of 2n anchors: nt_xent.py (1)."""

    temperature: float
    encoder: Encoder
    scratch: Scratch


class Spectral(NamedTuple):
    """The spectral loss: nt_xent.py (4)."""

    encoder: Encoder
    scratch: Scratch


@kernel
def _features(inner: Floats, encoder: Encoder, scratch: Scratch) -> Floats:
    """H (M, 2n)."""
    if not encoder.network:
        return inner
    filters = inner.shape[0]
    samples, both = encoder.patches.shape
    per_view = both // 2
    slopes = as_matrix(scratch.slopes, filters, inner.shape[1])
    set_slopes(inner.reshape(-1), encoder.activation, slopes.reshape(-1))
    found = as_matrix(scratch.features, filters, 2 * samples)
    smooth = encoder.activation.kind == LEAKY
    for r in range(filters):
        row, slope, out = inner[r], slopes[r], found[r]
        for side in range(2):
            for i in range(samples):
                total = 0.0
                for p in range(per_view):
                    k = encoder.patches[i, side * per_view + p]
                    total += leaky(row[k], encoder.activation) if smooth else slope[k] * row[k]
                out[side * samples + i] = total
    return found


@kernel
def _unit(features: Floats, encoder: Encoder, scratch: Scratch) -> Floats:
    """U (M, 2n); lengths go to rows[5]. A feature of length 0 gives NaN."""
    if not encoder.normalised:
        return features
    filters, columns = features.shape
    lengths = scratch.rows[5]
    for i in range(columns):
        lengths[i] = 0.0
    for r in range(filters):
        row = features[r]
        for i in range(columns):
            lengths[i] = max(lengths[i], abs(row[i]))
    largest = scratch.rows[4]
    for i in range(columns):
        largest[i] = lengths[i]
        lengths[i] = 0.0
    for r in range(filters):
        row = features[r]
        for i in range(columns):
            part = row[i] / largest[i]  # squares of features of any size stay in range
            lengths[i] += part * part
    unit = as_matrix(scratch.unit, filters, columns)
    for i in range(columns):
        lengths[i] = math.sqrt(lengths[i]) * largest[i]
    for r in range(filters):
        row, out = features[r], unit[r]
        for i in range(columns):
            out[i] = row[i] / lengths[i]
    return unit


@kernel
def _spread(
    inner: Floats, unit: Floats, pull: Floats, encoder: Encoder, scratch: Scratch, out: Floats
) -> None:
    """From the pull on U, -dL/dU, to that on R."""
    filters, columns = unit.shape
    if encoder.normalised:  # pull <- (pull - u (u . pull)) / |h|
        along, lengths = scratch.rows[4], scratch.rows[5]
        for i in range(columns):
            along[i] = 0.0
        for r in range(filters):
            u, g = unit[r], pull[r]
            for i in range(columns):
                along[i] += u[i] * g[i]
        for r in range(filters):
            u, g = unit[r], pull[r]
            for i in range(columns):
                g[i] = (g[i] - u[i] * along[i]) / lengths[i]
    if not encoder.network:
        a, b = pull.reshape(-1), out.reshape(-1)
        for k in range(a.size):
            b[k] = a[k]
        return
    samples, both = encoder.patches.shape
    per_view = both // 2
    slopes = as_matrix(scratch.slopes, filters, inner.shape[1])
    factor = slope_factor(encoder.activation)
    for r in range(filters):
        row, slope, g = out[r], slopes[r], pull[r]
        for k in range(row.size):
            row[k] = 0.0
        for side in range(2):
            for i in range(samples):
                for p in range(per_view):
                    row[encoder.patches[i, side * per_view + p]] += g[side * samples + i]
        for k in range(row.size):
            row[k] *= factor * slope[k]


@kernel
def info_nce(inner: Floats, task: InfoNCE, out: Floats) -> float:
    """InfoNCE; minus its gradient's coefficients go to ``out``. NaN where similarities say nothing."""
    encoder, scratch = task.encoder, task.scratch
    unit = _unit(_features(inner, encoder, scratch), encoder, scratch)
    _, columns = unit.shape
    bound = set_exponents(unit, task.temperature, task.buffers)
    if not bound < MEANINGLESS:
        return np.nan
    loss = info_nce_increments(unit, task.temperature, -2.0 / (columns * task.temperature), task.buffers)
    if not encoder.normalised and not encoder.network:
        a, b = task.buffers.increments.reshape(-1), out.reshape(-1)
        for k in range(a.size):
            b[k] = a[k]
    else:
        _spread(inner, unit, task.buffers.increments, encoder, scratch, out)
    return loss if loss < MEANINGLESS else np.nan


@kernel
def linear_end(inner: Floats, task: InfoNCE, loss: float, threshold: float) -> int:
    """Whether max |s_ii'| / temperature of samples has passed the threshold (0: never asked)."""
    if not threshold > 0.0:
        return GO_ON
    bound = set_exponents(inner, task.temperature, task.buffers)
    if bound > threshold and largest_similarity(inner, task.temperature, task.buffers) > threshold:
        return LINEAR_END
    return GO_ON


@kernel
def never(inner: Floats, task: NTXent, loss: float, threshold: float) -> int:
    """Stages that only their number of steps ends."""
    return GO_ON


@kernel
def _largest_square(unit: Floats, scratch: Scratch) -> float:
    """max_i |u_i|^2."""
    squares = scratch.rows[3]
    columns = unit.shape[1]
    for i in range(columns):
        squares[i] = 0.0
    for r in range(unit.shape[0]):
        row = unit[r]
        for i in range(columns):
            squares[i] += row[i] * row[i]
    largest = 0.0
    for i in range(columns):
        if not squares[i] <= largest:  # NaN too
            largest = squares[i]
    return largest


@kernel
def nt_xent(inner: Floats, task: NTXent, out: Floats) -> float:
    """NT-Xent; minus its gradient's coefficients go to ``out``: nt_xent.py (1) to (3)."""
    encoder, scratch, temperature = task.encoder, task.scratch, task.temperature
    unit = _unit(_features(inner, encoder, scratch), encoder, scratch)
    filters, columns = unit.shape
    bound = _largest_square(unit, scratch) / temperature
    if not bound < MEANINGLESS:
        return np.nan
    pull = as_matrix(scratch.pull, filters, columns)
    if bound <= NO_SHIFT:
        loss = _nt_xent_pull(unit, temperature, bound, scratch, pull)
    else:
        loss = _nt_xent_shifted(unit, temperature, scratch, pull)
    _spread(inner, unit, pull, encoder, scratch, out)
    return loss


@kernel
def _panel(scratch: Scratch, columns: int, start: int, done: int) -> Floats:
    """Rows from ``start`` on of the upper triangle, with all columns from there on."""
    height = min(PANEL, columns - start)
    return as_matrix(scratch.panels[done:], height, columns - start)


@kernel
def _nt_xent_pull(unit: Floats, temperature: float, bound: float, scratch: Scratch, pull: Floats) -> float:
    """-dL/dU into ``pull``, while no exponential leaves the range; returns the loss.

    E = exp(S) without its diagonal and the positives is symmetric: its upper triangle is computed in panels,
    and W_ij = E_ij (1/D_i + 1/D_j) replaces it, D_i the row's total.
    """
    filters, columns = unit.shape
    half = columns // 2
    negatives, inverse, positive = scratch.rows[0], scratch.rows[1], scratch.rows[2]
    for i in range(columns):
        negatives[i] = 0.0
    for i in range(half):
        positive[i] = 0.0
    for r in range(filters):
        row = unit[r]
        for i in range(half):
            positive[i] += row[i] * row[half + i]
    for i in range(half):
        positive[i] /= temperature
    exponentials(positive[:half], bound, scratch.bits)
    start, done = 0, 0
    while start < columns:
        panel = _panel(scratch, columns, start, done)
        height, width = panel.shape
        multiply(1.0 / temperature, unit[:, start : start + height].T, unit[:, start:], 0.0, panel)
        exponentials(panel.reshape(-1), bound, scratch.bits)
        for a in range(height):
            row = panel[a]
            for b in range(a + 1):
                row[b] = 0.0
            if start + a < half:
                row[half + a] = 0.0
        for a in range(height):
            row, sums = panel[a], negatives[start:]
            for b in range(width):
                sums[b] += row[b]
        own, ones = negatives[start : start + height], scratch.ones[:width]
        multiply(1.0, panel, ones.reshape(-1, 1), 1.0, own.reshape(-1, 1))
        start, done = start + height, done + panel.size
    loss = 0.0
    for i in range(columns):
        mine = positive[i % half]
        inverse[i] = 1.0 / (negatives[i] + mine)
        loss += math.log1p(negatives[i] / mine)
    pull[:] = 0.0
    start, done = 0, 0
    while start < columns:
        panel = _panel(scratch, columns, start, done)
        height, width = panel.shape
        others = inverse[start:]
        for a in range(height):
            row, mine = panel[a], inverse[start + a]
            for b in range(width):
                row[b] *= mine + others[b]
        multiply(1.0, unit[:, start:], panel.T, 1.0, pull[:, start : start + height])
        multiply(1.0, unit[:, start : start + height], panel, 1.0, pull[:, start:])
        start, done = start + height, done + panel.size
    scale = -1.0 / (columns * temperature)
    for i in range(half):
        positive[i] = positive[i] * (inverse[i] + inverse[half + i]) - 2.0
    for r in range(filters):
        row, g = unit[r], pull[r]
        for i in range(half):
            first = scale * (g[i] + positive[i] * row[half + i])
            g[half + i] = scale * (g[half + i] + positive[i] * row[i])
            g[i] = first
    return float(loss / columns)


@kernel
def _nt_xent_shifted(unit: Floats, temperature: float, scratch: Scratch, pull: Floats) -> float:
    """The same with every row's exponents shifted by their largest: not symmetric, for any similarities."""
    columns = unit.shape[1]
    half = columns // 2
    shares = np.empty((columns, columns))
    multiply(1.0 / temperature, unit.T, unit, 0.0, shares)
    loss = 0.0
    for i in range(columns):
        row, partner = shares[i], (i + half) % columns
        largest, mine = -np.inf, row[partner]
        for k in range(columns):
            if k != i:
                largest = max(largest, row[k])
        total = 0.0
        for k in range(columns):
            row[k] = 0.0 if k == i else math.exp(row[k] - largest)
            if k != partner:
                total += row[k]
        own = math.exp(mine - largest)
        loss += (
            math.log1p(total / own) if own > 0.0 and total < 1e300 * own else largest - mine + math.log(total)
        )
        for k in range(columns):
            row[k] /= total + own
        row[partner] -= 1.0
    scale = -1.0 / (columns * temperature)
    multiply(scale, unit, shares, 0.0, pull)
    multiply(scale, unit, shares.T, 1.0, pull)
    return float(loss / columns)


@kernel
def spectral(inner: Floats, task: Spectral, out: Floats) -> float:
    """The spectral loss; minus its gradient's coefficients go to ``out``: nt_xent.py (4) and (5)."""
    encoder, scratch = task.encoder, task.scratch
    unit = _unit(_features(inner, encoder, scratch), encoder, scratch)
    filters, columns = unit.shape
    half = columns // 2
    if not _largest_square(unit, scratch) < MEANINGLESS:
        return np.nan
    samples = unit[:, :half]
    square = as_matrix(scratch.square, filters, filters)
    multiply(1.0, samples, samples.T, 0.0, square)
    pull = as_matrix(scratch.pull, filters, columns)
    pairs = half * (half - 1.0)
    multiply(-4.0 / pairs, square, samples, 0.0, pull[:, :half])
    attraction, repulsion = 0.0, 0.0
    flat = square.reshape(-1)
    for k in range(flat.size):
        repulsion += flat[k] * flat[k]
    lengths = scratch.rows[3]
    for i in range(half):
        repulsion -= lengths[i] * lengths[i]
    for r in range(filters):
        h, other, g = unit[r, :half], unit[r, half:], pull[r]
        for i in range(half):
            attraction += h[i] * other[i]
            g[i] += 4.0 / pairs * lengths[i] * h[i] + 2.0 / half * other[i]
            g[half + i] = 2.0 / half * h[i]
    _spread(inner, unit, pull, encoder, scratch, out)
    return float(repulsion / pairs - 2.0 * attraction / half)
