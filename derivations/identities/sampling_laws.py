"""The exact laws of what is drawn, whatever the coordinates: the half of E4 that is about chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from numsim.claims import Comparison, Trials, follows, frequency
from numsim.config import Experiment
from numsim.models.space import Space, pad
from numsim.runs.draw import draw

__all__ = ["instance_laws", "space_laws"]

Floats = npt.NDArray[np.float64]

_DIM = 6
_SCALES = (1.3, 0.7)


class _WrongFreedom:
    """A generator that draws chi_d where chi_(d - axes revealed) is asked for."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def standard_normal(self, *, out: Floats) -> Floats:
        return self._rng.standard_normal(out=out)

    def chisquare(self, freedom: Floats) -> Floats:
        return self._rng.chisquare(np.full_like(freedom, _DIM))


def _lengths(name: str, squares: npt.ArrayLike, freedom: float) -> Comparison:
    """|v|^2 / s^2 of Gaussian vectors in ``freedom`` dimensions, E4 (2)."""
    from scipy.stats import chi2

    return follows(f"{name}: |v|^2", lambda x: chi2.cdf(x, freedom), squares)


def _normal(name: str, values: npt.ArrayLike) -> Comparison:
    from scipy.stats import norm

    return follows(name, norm.cdf, values)


def _cosines(first: Floats, second: Floats) -> Floats:
    """Cosines between rows (..., D)."""
    lengths = np.sum(first**2, axis=-1) * np.sum(second**2, axis=-1)
    cosines: Floats = np.sum(first * second, axis=-1) / np.sqrt(lengths)
    return cosines


def _angles(name: str, cosines: npt.ArrayLike, dim: int) -> Comparison:
    """Cosine of independent Gaussian vectors of R^dim: (1 + cos)/2 ~ Beta((dim-1)/2, (dim-1)/2), E4 (3)."""
    from scipy.stats import beta

    half = (dim - 1) / 2
    return follows(f"{name}: cosines", lambda x: beta.cdf((1 + x) / 2, half, half), cosines)


def space_laws(
    trials: Trials, *, louder: float = 1.0, freedom: str = "left"
) -> tuple[list[Comparison], Floats]:
    """Lengths, angles and volumes of eight vectors drawn in turn in R^6, of which the last find no new axis.

    Two as they are, two and then four projected off mu. ``louder`` multiplies the noise, ``freedom`` "all"
    takes chi_d for the new axis. Also returns the squared lengths of the first projected vectors.
    """
    groups: list[list[Floats]] = [[], [], []]
    repeats = trials.pick(2000, 30000)
    rng: Any = trials.rng if freedom == "left" else _WrongFreedom(trials.rng)
    for _ in range(repeats):
        space = Space(_DIM)
        v = space.draw(2, _SCALES[0], rng)
        u = space.draw(2, louder * _SCALES[1], rng, projected=True)
        t = space.draw(4, louder * _SCALES[1], rng, projected=True)
        for group, vectors in zip(groups, (v, u, t), strict=True):
            group.append(pad(vectors, _DIM))
    v = np.array(groups[0]) / _SCALES[0]
    u, t = (np.array(group) / _SCALES[1] for group in groups[1:])
    off = v.copy()
    off[..., 0] = 0.0
    # The squared distance of the last vector from the span of mu and three others.
    four = np.stack([u[:, 0], u[:, 1], t[:, 0], t[:, 3]], axis=2)
    distance = np.asarray(np.linalg.qr(four, mode="r"))[:, 3, 3]
    pairs = [
        _cosines(*pair)
        for pair in ((off[:, 0], u[:, 0]), (off[:, 1], t[:, 0]), (u[:, 1], t[:, 1]), (t[:, 2], t[:, 3]))
    ]
    squares = np.sum(u**2, axis=2).ravel()
    return [
        _lengths("projected noise in R^6", squares, _DIM - 1),
        _lengths("vectors in R^6", np.sum(v**2, axis=2), _DIM),
        _lengths("noise that finds no new axis", np.sum(t**2, axis=2), _DIM - 1),
        _lengths("noise off four vectors", distance**2, _DIM - 4),
        _normal("vectors along mu", v[..., 0]),
        _angles("vectors in R^6", _cosines(v[:, 0], v[:, 1]), _DIM),
        _angles("projected noise", _cosines(u[:, 0], u[:, 1]), _DIM - 1),
        _angles("vectors drawn in turn", pairs, _DIM - 1),
    ], squares


def instance_laws(trials: Trials, e: Experiment) -> list[Comparison]:
    """All that ``draw`` draws for an experiment with m >= 2, n0 >= 3, n >= 3, fixed views and a bias."""
    repeats = trials.pick(250, 3000)
    instances = [draw(e, seed) for seed in trials.seeds(repeats, repeats)]
    a, dim = e.pretraining.overlap, e.data.dim
    off = dim - 1 if e.data.projected else dim
    w = np.array([i.filters for i in instances]) / e.init_scale
    unlabelled = [i.unlabelled for i in instances if i.unlabelled is not None]
    xi = np.array([u.noise for u in unlabelled]) / e.data.sigma_p
    views = np.array([u.augmented for u in unlabelled]) / e.data.sigma_p
    zeta = (views - a * xi) / np.sqrt(1 - a**2)
    labelled = np.array([i.labelled.noise for i in instances]) / e.data.sigma_p
    bias = np.array([i.bias for i in instances]) / e.init_scale
    perp = w.copy()
    if e.data.projected:
        perp[..., 0] = 0.0

    def angles(name: str, *pairs: tuple[Floats, Floats]) -> Comparison:
        return _angles(name, [_cosines(*pair) for pair in pairs], off)

    laws = [
        _lengths("filters", np.sum(w**2, axis=2), dim),
        _lengths("unlabelled noise", np.sum(xi**2, axis=2), off),
        _lengths("views, part of their own", np.sum(zeta**2, axis=2), off),
        _lengths("labelled noise", np.sum(labelled**2, axis=2), off),
        _normal("filters along mu", w[..., 0]),
        _normal("biases", bias),
        angles(
            "filters, noise and views", (perp[:, 0], xi[:, 0]), (perp[:, 1], zeta[:, 1]), (xi[:, 1], xi[:, 2])
        ),
        angles(
            "noise and its view",
            (xi[:, 0], zeta[:, 0]),
            (perp[:, 0], labelled[:, 0]),
            (zeta[:, 1], zeta[:, 2]),
        ),
        angles(
            "both kinds of noise",
            (xi[:, 0], labelled[:, 0]),
            (perp[:, 0], zeta[:, 0]),
            (xi[:, 1], zeta[:, 2]),
        ),
        angles("views and labelled noise", (zeta[:, 0], labelled[:, 0]), (labelled[:, 1], labelled[:, 2])),
    ]
    if not e.data.projected:
        laws.append(
            _normal("noise along mu", np.concatenate([xi[..., 0], zeta[..., 0], labelled[..., 0]], axis=1))
        )
    labels = np.array([u.labels for u in unlabelled])
    true = np.array([i.labelled.true_labels for i in instances])
    flips = np.array([i.labelled.labels for i in instances]) * true < 0
    first = np.array([i.order[:2] for i in instances])
    p, m = e.data.flip_probability, e.network.filters
    return [
        *laws,
        _often("latent labels +1", 0.5, labels > 0),
        _often("true labels +1", 0.5, true > 0),
        _often("labels flipped", p, flips),
        _often("labels +1 flipped", p / 2, flips & (true > 0)),
        _often("latent label = true label", 0.5, labels[:, :3] == true[:, :3]),
        _often("label of the sign of the noise", 0.5, labels[:, 0] == np.sign(xi[:, 0, 1])),
        _often("bias of the sign of its filter", 0.5, bias[:, 0] * w[:, 0, 0] > 0),
        _often("a filter's place", 1 / (2 * m), first[:, 0] == 0),
        _often(
            "two filters in one half",
            (m - 1) / (2 * m - 1),
            np.sum(np.array([i.order[:m] for i in instances]) < 2, axis=1) != 1,
        ),
    ]


def _often(name: str, probability: float, events: npt.NDArray[np.bool_]) -> Comparison:
    return frequency(name, probability, int(events.sum()), events.size)
