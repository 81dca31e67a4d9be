"""Loss and error of a trained network over test samples of a mixture, cluster by cluster.

As readout.py, a tile of samples at a time: normals, the filters' inner products with each kind of noise, the
outputs of the distinct patches, and from them those of every cluster: each noise draw is seen with all
clusters.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._jit import kernel
from .readout import TILE, Words, _activate, _add_products, fill_words, normals_in_place
from .supervised import LEAKY, POWER, Activation, leaky

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_PIECE = 2048  # normals at a time, a multiple of twice the lanes


class TableReadout(NamedTuple):
    """A network of M filters and C clusters of P patches, of which Q are distinct.

    factor (M, R), lower triangular : <w_r, xi_v> = scales_v (factor g_v)_r; bias (M,); reach (Q, M) : <w_r,
    .> of a patch's signals; noises (Q, N) : its coefficients, scales_v included; patches (C, P) indices;
    labels, weights, flips (C,); scale multiplies the sum over filters; squared : the loss, else logistic.
    """

    factor: Floats
    bias: Floats
    reach: Floats
    noises: Floats
    patches: Integers
    labels: Floats
    weights: Floats
    flips: Floats
    activation: Activation
    scale: float
    squared: bool


@kernel
def _apply(row: Floats, scratch: Floats, activation: Activation) -> None:
    """sigma in place."""
    if activation.kind == LEAKY:
        for b in range(row.size):
            row[b] = leaky(row[b], activation)
    elif activation.kind == POWER:
        for b in range(row.size):
            size = abs(row[b]) ** activation.power
            row[b] = size if row[b] >= 0.0 else -size
    else:
        _activate(row, scratch, activation.power)


@kernel
def _loss(output: float, label: float, squared: bool) -> float:
    if squared:
        return 0.5 * (output - label) * (output - label)
    margin = output * label
    return max(-margin, 0.0) + math.log1p(math.exp(-abs(margin)))


@kernel
def _add_sample(readout: TableReadout, outputs: Floats, b: int, by_cluster: Floats, sums: Floats) -> None:
    """Add what one noise draw gives with every cluster; by_cluster (2, C), sums (5,) as of readout.py."""
    loss, wrong = 0.0, 0.0
    for c in range(readout.labels.size):
        output = 0.0
        for p in range(readout.patches.shape[1]):
            output += outputs[readout.patches[c, p], b]
        label, flip = readout.labels[c], readout.flips[c]
        mine = _loss(output, label, readout.squared)
        if flip > 0.0:
            mine = (1.0 - flip) * mine + flip * _loss(output, -label, readout.squared)
        margin = output * label
        off = 0.0 if margin > 0.0 else (1.0 if margin < 0.0 else 0.5)
        if math.isnan(margin):
            off = np.nan
        by_cluster[0, c] += mine
        by_cluster[1, c] += off
        loss += readout.weights[c] * mine
        wrong += readout.weights[c] * (1.0 - 2.0 * flip) * off
    if math.isnan(sums[4]):
        sums[4] = loss
    sums[0] += loss - sums[4]
    sums[1] += (loss - sums[4]) * (loss - sums[4])
    sums[2] += wrong
    sums[3] += wrong * wrong


@kernel
def table_sums(readout: TableReadout, samples: int, state: Words) -> tuple[Floats, Floats]:
    """Sums over test samples: by cluster (2, C) of loss and clean error; and (5,) of the mean over clusters.

    These are loss - origin, its square, (1 - 2 p) times the clean error, its square, and the origin, the
    first sample's loss.
    """
    filters, rank = readout.factor.shape
    distinct, kinds = readout.noises.shape
    by_cluster = np.zeros((2, readout.labels.size))
    sums = np.zeros(5)
    sums[4] = np.nan
    noise, scratch = np.empty((kinds * rank, TILE)), np.empty(_PIECE)
    inner, outputs = np.empty((kinds, TILE)), np.empty((distinct, TILE))
    row, spare = np.empty(TILE), np.empty(TILE)
    flat = noise.reshape(-1)
    for start in range(0, samples, TILE):
        for begin in range(0, flat.size, _PIECE):
            piece = flat[begin : begin + _PIECE]
            fill_words(piece.view(np.uint64), state)
            normals_in_place(piece, scratch)
        outputs[:] = 0.0
        for r in range(filters):
            weight = readout.scale if 2 * r < filters else -readout.scale
            width = min(r + 1, rank)
            for v in range(kinds):
                inner[v] = 0.0
                _add_products(inner[v], readout.factor[r, :width], noise[v * rank : (v + 1) * rank])
            for q in range(distinct):
                row[:] = readout.bias[r] + readout.reach[q, r]
                for v in range(kinds):
                    on = readout.noises[q, v]
                    if on != 0.0:
                        h = inner[v]
                        for b in range(TILE):
                            row[b] += on * h[b]
                _apply(row, spare, readout.activation)
                out = outputs[q]
                for b in range(TILE):
                    out[b] += weight * row[b]
        for b in range(min(TILE, samples - start)):
            _add_sample(readout, outputs, b, by_cluster, sums)
    return by_cluster, sums
