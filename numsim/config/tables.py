"""Tables of clusters: what is written, what is wrong with it, and the mixtures that it means.

    [data.signals]      u = { norm = 5.0 }, or { snr = ... }; neither: the experiment's own signal norm
    [data.cosines]      "u v" = 0.6, 0 where not given
    [data.noise]        xi = 1.0, standard deviation in units of sigma_p
    [[data.clusters]]   name, label, weight, flip_probability, patches = [ { u = 1 }, { xi = 1 } ]

derivations/model.md (13); models/mixture.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from ..models.checks import show
from ..models.mixture import Mixture, Mixtures
from .errors import fault, nearest

__all__ = ["has_table", "mixtures_of", "table_faults"]

Experiment = Any
"""Of experiment.py, which imports this module."""

_NAME = re.compile(r"[^\s.]+")
_CLUSTER = ("name", "label", "weight", "flip_probability", "patches")
_SINGULAR = 1e-9  # how far below 0 round-off may bring an eigenvalue of the cosines


def has_table(e: Experiment) -> bool:
    """Whether the data are given as a table, or views lose signals, which is done with one."""
    parts = (e.data.signals, e.data.cosines, e.data.noise, e.data.clusters)
    given = any(part is not None for part in (*parts, e.finetuning.clusters, e.evaluation.clusters))
    return given or e.pretraining.signal_kept < 1


def _signals(e: Experiment) -> Mapping[str, Any]:
    return {"mu": {}} if e.data.signals is None else e.data.signals


def _noises(e: Experiment) -> Mapping[str, Any]:
    return {"xi": 1.0} if e.data.noise is None else e.data.noise


def _listed(names: Iterable[str]) -> str:
    """Names on one line, whatever they are."""
    return ", ".join(name if name.isprintable() and name else show(name) for name in names)


def _number(value: object) -> bool:
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False


def table_faults(e: Experiment) -> Iterator[tuple[str, str]]:
    """(setting, line) for everything wrong with the tables."""
    if not has_table(e):
        return
    signals, noises = _signals(e), _noises(e)
    yield from _name_faults(signals, noises)
    for name, value in signals.items():
        where = f"data.signals.{name}"
        if not isinstance(value, Mapping) or not set(value) <= {"norm", "snr"}:
            yield "data.signals", fault(where, show(value), "{ norm = NUMBER } or { snr = NUMBER }, or {}")
        elif len(value) > 1:
            yield "data.signals", fault(where, "both norm and snr", "one of the two")
        for key, length in value.items() if isinstance(value, Mapping) else ():
            if key in ("norm", "snr") and not (_number(length) and length >= 0):
                yield "data.signals", fault(f"{where}.{key}", show(length), "a finite number, at least 0")
    for name, value in noises.items():
        if not (_number(value) and value >= 0):
            yield "data.noise", fault(f"data.noise.{name}", show(value), "a finite number, at least 0")
    yield from _cosine_faults(e, signals)
    for part in ("data", "finetuning", "evaluation"):
        clusters = getattr(e, part).clusters
        where = f"{part}.clusters"
        if clusters is not None:
            for line in _cluster_faults(where, clusters, signals, noises):
                yield where, line
        elif part == "data" and len(signals) > 1:
            yield where, fault(where, "none", f"a table of clusters over the signals {_listed(signals)}")
    if e.finetuning.clusters is not None and e.finetuning.labelled == "subset":
        expected = 'none with finetuning.labelled = "subset": a subset has the clusters of all samples'
        yield "finetuning.clusters", fault("finetuning.clusters", "a table", expected)


def _name_faults(signals: Mapping[str, Any], noises: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for where, names in (("data.signals", signals), ("data.noise", noises)):
        if not names:
            yield where, fault(where, "none", "at least one name")
        for name in names:
            if not _NAME.fullmatch(name):
                yield where, fault(where, f"the name {show(name)}", "names without blanks and dots")
    for name in sorted(set(signals) & set(noises)):
        yield "data.noise", fault(f"data.noise.{name}", "a name that a signal has", "another name")


def _cosine_faults(e: Experiment, signals: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    cosines: Mapping[str, Any] = e.data.cosines or {}
    sound = True
    for pair, value in cosines.items():
        where, names = f"data.cosines.{pair}", pair.split()
        if len(names) != 2 or names[0] == names[1] or not set(names) <= set(signals):
            sound = False
            expected = f'a pair of different signals of {", ".join(signals)}, as in "u v"'
            yield "data.cosines", fault("data.cosines", show(pair), expected)
        elif not (_number(value) and -1 <= value <= 1):
            sound = False
            yield "data.cosines", fault(where, show(value), "a number from -1 to 1")
    given = [frozenset(pair.split()) for pair in cosines]
    if sound and len(set(given)) < len(given):
        sound = False
        yield "data.cosines", fault("data.cosines", "a pair twice", "every pair once")
    if not (sound and signals):
        return
    values = np.linalg.eigvalsh(_cosines(e, signals))
    if values[0] < -_SINGULAR:
        yield "data.cosines", fault("data.cosines", show(dict(cosines)), "cosines that vectors can have")
        return
    rank = int(np.sum(values > _SINGULAR))
    if e.data.dim < rank:
        expected = f"at least the {rank} dimensions that the signals span"
        yield "data.dim", fault("data.dim", str(e.data.dim), expected)


def _cosines(e: Experiment, signals: Mapping[str, Any]) -> Any:
    names = list(signals)
    found = np.eye(len(names))
    for pair, value in (e.data.cosines or {}).items():
        a, b = (names.index(name) for name in pair.split())
        found[a, b] = found[b, a] = value
    return found


def _cluster_faults(
    where: str, clusters: Any, signals: Mapping[str, Any], noises: Mapping[str, Any]
) -> Iterator[str]:
    if not isinstance(clusters, list) or not clusters:
        yield fault(where, show(clusters), "a list of at least one cluster")
        return
    known = [*signals, *noises]
    sizes, total, names = set(), 0.0, []
    for number, cluster in enumerate(clusters):
        here = f"{where}.{number}"
        if not isinstance(cluster, Mapping):
            yield fault(here, show(cluster), f"a table of {', '.join(_CLUSTER)}")
            continue
        if len(cluster) == 1 and isinstance(next(iter(cluster.values())), Mapping):  # set by a number
            (place,), last = cluster, len(clusters) - 2
            yield fault(f"{where}.{place}", show(cluster[place]), f"a cluster by its number, 0 to {last}")
            return
        for key in cluster:
            if key not in _CLUSTER:
                near = f"a known name; nearest: {here}.{nearest(str(key), _CLUSTER)}"
                yield fault(f"{here}.{key}", show(cluster[key]), near)
        if cluster.get("label") not in (1, -1) or isinstance(cluster.get("label"), bool):
            yield fault(f"{here}.label", show(cluster.get("label")), "1 or -1")
        weight, flip = cluster.get("weight", 1), cluster.get("flip_probability", 0)
        if not (_number(weight) and weight >= 0):
            yield fault(f"{here}.weight", show(weight), "a finite number, at least 0")
        else:
            total += weight
        if not (_number(flip) and 0 <= flip < 0.5):
            yield fault(f"{here}.flip_probability", show(flip), "a number from 0 to below 0.5")
        names.append(str(cluster.get("name", number)))
        patches = cluster.get("patches")
        if not isinstance(patches, list) or not patches or not all(isinstance(p, Mapping) for p in patches):
            yield fault(f"{here}.patches", show(patches), "a list of patches, each as in { u = 1, xi = 1 }")
            continue
        sizes.add(len(patches))
        for p, patch in enumerate(patches):
            for name, value in patch.items():
                if name not in known:
                    near = f"a signal or noise; nearest: {_listed([nearest(str(name), known)])}"
                    yield fault(f"{here}.patches.{p}", show(name), near)
                elif not _number(value):
                    yield fault(f"{here}.patches.{p}.{name}", show(value), "a finite number")
    if len(sizes) > 1:
        got = f"clusters of {', '.join(map(str, sorted(sizes)))} patches"
        yield fault(where, got, "as many patches in every cluster")
    if not total > 0:
        yield fault(where, "weights that are all 0", "a positive one")
    if len(set(names)) < len(names):
        yield fault(where, "a name twice", "different names")


def mixtures_of(e: Experiment) -> Mixtures:
    """The tables of a sound experiment: of all data, of the labelled and of the test data."""
    own = e.data.clusters
    labelled = e.finetuning.clusters or own
    return Mixtures(_mixture(e, own), _mixture(e, labelled), _mixture(e, e.evaluation.clusters or labelled))


def _mixture(e: Experiment, clusters: Any) -> Mixture:
    signals, noises = _signals(e), _noises(e)
    if clusters is None:
        (first, *_), patches = signals, [{name: 1} for name in noises]
        clusters = [{"label": y, "patches": [{first: y}, *patches]} for y in (1, -1)]

    def norm(value: Mapping[str, Any]) -> float:
        if "norm" in value:
            return float(value["norm"])
        return float(value["snr"] * e.noise_norm if "snr" in value else e.signal_norm)

    weights = np.array([float(cluster.get("weight", 1)) for cluster in clusters])
    return Mixture(
        signals=tuple(signals),
        norms=np.array([norm(value) for value in signals.values()]),
        cosines=_cosines(e, signals),
        noises=tuple(noises),
        scales=e.data.sigma_p * np.array([float(value) for value in noises.values()]),
        clusters=tuple(str(cluster.get("name", number)) for number, cluster in enumerate(clusters)),
        labels=np.array([float(cluster["label"]) for cluster in clusters]),
        weights=weights / weights.sum(),
        flips=np.array([float(c.get("flip_probability", e.data.flip_probability)) for c in clusters]),
        on_signals=_coefficients(clusters, signals),
        on_noises=_coefficients(clusters, noises),
        dim=e.data.dim,
        projected=e.data.projected,
        balanced=e.data.balanced,
    )


def _coefficients(clusters: Any, names: Mapping[str, Any]) -> Any:
    return np.array(
        [[[float(patch.get(name, 0)) for name in names] for patch in c["patches"]] for c in clusters]
    )
