"""Own arrays in an experiment: where they come from, what does not go with them, what follows from them.

data.arrays   numsim.Samples (``run(experiment, data=samples)``), or in what was written out their hash
data.file     an .npz file with arrays of those names
data.source   "digits", the images that come with scikit-learn, of two ``data.classes``
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import sqrt
from typing import Any

import numpy as np

from ..models.checks import show
from ..models.samples import Pool, Samples, Source, load_samples
from .errors import ConfigError, fault
from .parts import Data

__all__ = ["facts_of", "own_faults", "sizes_of", "source_of"]

Experiment = Any
"""Of experiment.py, which imports this module."""

_NONE = "none with own arrays"
_EXCLUDED: tuple[tuple[str, Any, str], ...] = (
    ("data.snr", None, f"{_NONE}: they have no signal of known length"),
    ("data.flip_probability", 0.0, "0 with own arrays: flip labels in the arrays, or use label_noise"),
    ("data.balanced", False, "false with own arrays: rows are drawn as they come"),
    ("data.signals", None, f"{_NONE}, which are no table"),
    ("data.cosines", None, f"{_NONE}, which are no table"),
    ("data.noise", None, f"{_NONE}, which are no table"),
    ("data.clusters", None, f"{_NONE}, which are no table"),
    ("finetuning.clusters", None, f"{_NONE}, which are no table"),
    ("evaluation.clusters", None, f"{_NONE}, which are no table"),
    ("finetuning.labelled", "fresh", '"fresh" with own arrays: x and y are the labelled samples'),
    ("pretraining.views", "fixed", '"fixed" with own arrays: the array views has one view a sample'),
    ("pretraining.overlap", 0.0, "0 with own arrays: views are as given"),
    ("pretraining.signal_kept", 1.0, "1 with own arrays: views are as given"),
)
"""Settings that say how data are drawn: their defaults, and what is to be done."""


def source_of(data: Data) -> Source | None:
    """Where the rows come from; None for drawn data. Raises ConfigError for arrays that are not there."""
    if isinstance(data.arrays, Samples):
        return data.arrays.source(data.centred)
    if data.file is not None:
        try:
            return load_samples(data.file).source(data.centred)
        except ValueError as error:
            line = f"data.file: {error}"
            raise ConfigError(line) from None
    if data.source is not None:
        first, second = data.classes or (0, 1)
        return _digits(first, second, data.test_share, data.noise_patch, data.centred)
    return None


@lru_cache(maxsize=64)
def _digits(first: int, second: int, share: float, noise: float, centred: bool) -> Pool:
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError:
        expected = "scikit-learn, which brings the images: pip install 'numsim[images]'"
        raise ConfigError(fault("data.source", '"digits"', expected)) from None
    images, digits = load_digits(return_X_y=True)
    chosen = np.isin(digits, (first, second))
    labels = np.where(digits[chosen] == max(first, second), 1.0, -1.0)
    return Pool(images[chosen].astype(np.float64), labels, share=share, noise=noise, centred=centred)


def sizes_of(e: Experiment, source: Source) -> tuple[int, int]:
    """n and n0: as given, or all that there are."""
    n = e.finetuning.samples if "samples" in e.finetuning.model_fields_set else source.usual_labelled
    given = "samples" in e.pretraining.model_fields_set
    return n, e.pretraining.samples if given else source.rest(n)


def facts_of(e: Experiment, source: Source) -> dict[str, Any]:
    """What own arrays settle, by dotted name: sigma_p sqrt(d) is the root-mean-square length of a patch."""
    n, n0 = sizes_of(e, source)
    return {
        "data.dim": source.dim,
        "data.sigma_p": source.length / sqrt(source.dim),
        "data.signal_norm": 0.0,
        "finetuning.samples": n,
        "pretraining.samples": n0,
        "evaluation.samples": source.tests,
    }


def own_faults(e: Experiment) -> Iterator[tuple[str, str]]:
    """(setting, line) for what does not go with own arrays, or for arrays that are not there."""
    data = e.data
    doors = [name for name in ("arrays", "file", "source") if getattr(data, name) is not None]
    if not doors:
        for name in ("classes", "centred", "noise_patch", "test_share"):
            if getattr(data, name) != Data.model_fields[name].default:
                where = f"data.{name}"
                yield (
                    where,
                    fault(where, show(getattr(data, name)), 'own arrays with it, or data.source = "digits"'),
                )
        return
    if len(doors) > 1:
        yield f"data.{doors[0]}", fault(f"data.{doors[0]}", f"data.{doors[1]} too", "one source of arrays")
        return
    for name, default, expected in _EXCLUDED:
        part, _, setting = name.partition(".")
        value = getattr(getattr(e, part), setting)
        if value != default:
            yield name, fault(name, show(value), expected)
    if data.source is None:
        for name in ("classes", "noise_patch", "test_share"):
            if getattr(data, name) != Data.model_fields[name].default:
                where = f"data.{name}"
                yield where, fault(where, show(getattr(data, name)), 'none without data.source = "digits"')
    if isinstance(data.arrays, str):
        return
    try:
        source = source_of(data)
    except ConfigError as error:
        for line in error.faults:
            yield f"data.{doors[0]}", line
        return
    assert source is not None
    if not source.length > 0:
        yield f"data.{doors[0]}", fault(f"data.{doors[0]}", "patches that are all 0", "arrays with entries")
        return
    facts = facts_of(e, source)
    for name in ("data.dim", "data.sigma_p", "data.signal_norm", "evaluation.samples"):
        part, _, setting = name.partition(".")
        model = getattr(e, part)
        value = getattr(model, setting)
        if setting in model.model_fields_set and value not in (None, facts[name]):
            yield name, fault(name, show(value), f"none: own arrays have {facts[name]:.6g}; leave it out")
    n, n0 = facts["finetuning.samples"], facts["pretraining.samples"]
    if n > source.labelled:
        expected = f"at most the {source.labelled} labelled samples that there are"
        yield "finetuning.samples", fault("finetuning.samples", str(n), expected)
    elif n0 > source.rest(n):
        rest = source.rest(n)
        expected = f"at most the {rest} that there are" if rest else "0: there are no unlabelled and views"
        yield "pretraining.samples", fault("pretraining.samples", str(n0), expected)
