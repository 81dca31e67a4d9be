"""A user's own arrays: labelled, test and unlabelled samples as patches, and the rows that a run takes.

    x (n, D) is one patch a sample, (n, P, D) patches, (n, P, h, w) patches that are images; with ``images``
    (n, h, w) too, one image a sample.

Arrays of float64 are kept as they are, not copied.
"""

from __future__ import annotations

import hashlib
import zipfile
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .checks import real_array, show
from .streams import fixed, generator

__all__ = ["Arrays", "Pool", "Rows", "Samples", "Source", "load_samples"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_NAMES = ("x", "y", "x_test", "y_test", "unlabelled", "views")


class Samples:
    """A data set of one's own.

    Parameters
    ----------
    x, y : labelled samples and their labels (n,), two distinct values, of which the larger is +1.
    x_test, y_test : on which test loss and error are measured; labels among the two values of y.
    unlabelled, views : samples of the contrastive stage, and row by row an augmented view of each; None:
        there is no such stage.
    images : whether (n, h, w) are images, one a sample, and not h patches.

    Attributes: the same names, samples as (n, P, D), labels as +-1, and ``digest``, a hash of all.

    Raises
    ------
    ValueError : shapes that do not fit, with the shape that would; NaN or infinite entries; labels of another
        number of values, with what maps them.
    """

    def __init__(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        x_test: npt.ArrayLike,
        y_test: npt.ArrayLike,
        unlabelled: npt.ArrayLike | None = None,
        views: npt.ArrayLike | None = None,
        images: bool = False,
    ) -> None:
        """Check and hold the arrays."""
        if not isinstance(images, bool | np.bool_):
            raise ValueError(f"images is {show(images)}, expected True or False")
        self.x = _patches("x", x, bool(images))
        self.x_test = _patches("x_test", x_test, bool(images))
        if len(self.x_test) < 2:
            raise ValueError("x_test has 1 row, expected at least 2, of which an error has a standard error")
        kinds = _two_labels(y, len(self.x))
        self.y = _signs("y", y, len(self.x), kinds)
        self.y_test = _signs("y_test", y_test, len(self.x_test), kinds)
        if (unlabelled is None) != (views is None):
            missing = "views" if views is None else "unlabelled"
            raise ValueError(f"{missing} is None, expected an array: a contrastive stage takes both or none")
        self._sources: dict[bool, Arrays] = {}
        self.unlabelled = None if unlabelled is None else _patches("unlabelled", unlabelled, bool(images))
        self.views = None if views is None else _patches("views", views, bool(images))
        for name in ("x_test", "unlabelled", "views"):
            array = getattr(self, name)
            if array is not None and array.shape[1:] != self.x.shape[1:]:
                raise ValueError(
                    f"{name} has samples of {_size(array)}, expected {_size(self.x)} as x has: reshape it"
                )
        if self.unlabelled is not None and self.views is not None:
            if len(self.unlabelled) != len(self.views):
                raise ValueError(
                    f"views has {len(self.views)} rows, expected {len(self.unlabelled)}: row i is the view "
                    "of row i of unlabelled"
                )
            if len(self.unlabelled) < 2:
                raise ValueError("unlabelled has 1 row, expected at least 2: InfoNCE needs a negative")

    @property
    def per_sample(self) -> int:
        """P, patches of a sample."""
        return int(self.x.shape[1])

    @property
    def dim(self) -> int:
        """D, entries of a patch."""
        return int(self.x.shape[2])

    @cached_property
    def digest(self) -> str:
        """A hash of shapes and entries: equal arrays have equal ones."""
        found = hashlib.sha256()
        for name in _NAMES:
            array = getattr(self, name)
            found.update(f"{name} {None if array is None else array.shape}".encode())
            if array is not None:
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()[:20]

    def source(self, centred: bool) -> Arrays:
        """Where runs take rows from, the same object at every call."""
        return self._sources.setdefault(centred, Arrays(self, centred))

    def __eq__(self, other: object) -> bool:
        """Whether all arrays are equal."""
        return isinstance(other, Samples) and (self is other or self.digest == other.digest)

    def __hash__(self) -> int:
        """Of the content."""
        return hash(self.digest)

    def __repr__(self) -> str:
        """The sizes."""
        more = "" if self.unlabelled is None else f", {len(self.unlabelled)} unlabelled"
        return f"<Samples: {len(self.x)} labelled, {len(self.x_test)} test{more}, {_size(self.x)}>"


def _size(array: Floats) -> str:
    patches = f"{array.shape[1]} patches" if array.shape[1] > 1 else "1 patch"
    return f"{patches} of {array.shape[2]} entries"


def _patches(name: str, value: object, images: bool) -> Floats:
    """(n, P, D) from any of the shapes, or a ValueError."""
    found = real_array(name, value)
    shapes = "(n, D), (n, P, D) or (n, P, h, w)"
    if images:
        shapes = "(n, h, w) images or (n, P, h, w) patches that are images"
        if found.ndim == 3:
            found = found.reshape(len(found), 1, -1)
    if found.ndim == 2 and not images:
        found = found[:, None, :]
    if found.ndim == 4:
        found = found.reshape(*found.shape[:2], -1)
    if found.ndim != 3 or not found.size:
        given, hint = real_array(name, value).shape, ""
        if found.ndim == 1 and found.size:
            hint = f"; {name}[:, None] makes one entry a sample of it"
        elif images and found.ndim == 2:
            hint = f"; {name}.reshape(len({name}), h, w), or images=False"
        elif found.ndim > 4:
            hint = f"; {name}.reshape(len({name}), 1, -1) makes one patch a sample of it"
        raise ValueError(f"{name} has shape {given}, expected {shapes}, not empty{hint}")
    # The sum of squares is finite where all entries are: no array of truth values of the whole is needed.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(np.einsum("npd,npd->", found, found)) or np.isfinite(found).all()
    if not finite:
        places = np.argwhere(~np.isfinite(found))
        where = ", ".join(map(str, places[0]))
        raise ValueError(
            f"{name} holds NaN or infinite entries: {len(places)} of {found.size}, the first at ({where}) "
            "of (sample, patch, entry); fill them or leave those samples out"
        )
    return found


def _labels(name: str, value: object, count: int) -> Floats:
    found = real_array(name, value)
    if found.shape != (count,):
        hint = f"; {name}.ravel() has this shape" if found.size == count else ""
        raise ValueError(f"{name} has shape {found.shape}, expected ({count},), a label a sample{hint}")
    return found


def _two_labels(value: object, count: int) -> tuple[float, float]:
    values = np.unique(_labels("y", value, count))
    if len(values) == 2 and np.isfinite(values).all():
        return float(values[0]), float(values[1])
    listed = ", ".join(f"{v:g}" for v in values[:5]) + (", ..." if len(values) > 5 else "")
    change = "labelled samples of both classes"
    if len(values) > 2:
        change = f"two: np.where(y == {values[-1]:g}, 1, -1) maps them, or leave classes out"
    raise ValueError(f"y has the values {listed}, expected {change}")


def _signs(name: str, value: object, count: int, kinds: tuple[float, float]) -> Floats:
    found = _labels(name, value, count)
    strange = np.setdiff1d(found, kinds)
    if len(strange):
        low, high = kinds
        expected = f"expected the values of y, {low:g} and {high:g}"
        raise ValueError(f"{name} has the value {strange[0]:g}, {expected}")
    return np.where(found == kinds[1], 1.0, -1.0)


def load_samples(path: str) -> Samples:
    """The samples of an .npz file with arrays of these names. ValueError that says what is wrong with it."""
    file = Path(path)
    try:
        stamp = file.stat()
    except OSError as error:
        raise ValueError(f"{path}: {(error.strerror or 'a read error').lower()}") from None
    return _loaded(path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=2)
def _loaded(path: str, changed: int, size: int) -> Samples:
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise ValueError("it holds one array, expected an .npz file")
        with opened as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        reason = " ".join(str(error).split())
        if "pickle" in reason.lower():
            reason = "it is no .npz file of arrays of numbers (of ragged lists, NumPy saves no numbers)"
        raise ValueError(f"{path} cannot be read: {reason}") from None
    unknown = arrays.keys() - {*_NAMES, "images"}
    missing = [name for name in _NAMES[:4] if name not in arrays]
    if unknown or missing:
        what = f"no {missing[0]}" if missing else f"the array {min(unknown)}"
        raise ValueError(
            f"{path} has {what}, expected the arrays {', '.join(_NAMES[:4])} and, if any, unlabelled, views "
            "and images"
        )
    images = arrays.pop("images", np.array(False))
    if images.shape or images.dtype.kind not in "biu":
        raise ValueError(f"{path}: images is {show(images)}, expected true or false")
    try:
        return Samples(**arrays, images=bool(images))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


class Rows(NamedTuple):
    """What one run takes of a source: samples (n, P, D), labels (n,) of +-1, None without a stage."""

    x: Floats
    y: Floats
    x_test: Floats
    y_test: Floats
    unlabelled: Floats | None
    views: Floats | None


class Source:
    """Where a run's rows come from: arrays, or a pool of images that is divided anew for every seed.

    dim : D; per_sample : P; tests : test samples; labelled : how many there are at most, usual_labelled : if
    no number is given; length : root-mean-square length of a patch.
    """

    dim: int
    per_sample: int
    tests: int
    labelled: int
    usual_labelled: int
    length: float

    @property
    def digest(self) -> str:
        """A hash of all that it holds."""
        raise NotImplementedError

    def rest(self, labelled: int) -> int:
        """How many unlabelled samples there are beside so many labelled ones."""
        raise NotImplementedError

    def rows(self, labelled: int, unlabelled: int, seed: int) -> Rows:
        """So many rows, drawn without repetition."""
        raise NotImplementedError

    def known(self) -> Rows:
        """Rows that do not depend on a seed, at most ``SEEN`` each: of these spectra are taken."""
        raise NotImplementedError

    @cached_property
    def patch_moment(self) -> float:
        """Top eigenvalue of the second moment of the labelled samples' patches, added up over a sample."""
        x = self.known().x
        flat = x.reshape(-1, x.shape[2])
        small = flat.T @ flat if flat.shape[1] <= len(flat) else flat @ flat.T
        return float(np.linalg.eigvalsh(small)[-1]) / len(x)

    def views_seen(self, count: int) -> tuple[Floats, Floats]:
        """Sums of patches z and z~ of at most so many samples."""
        found = self.known()
        assert found.unlabelled is not None
        assert found.views is not None
        taken = _spread(len(found.unlabelled), min(count, SEEN))
        return found.unlabelled[taken].sum(axis=1), found.views[taken].sum(axis=1)


SEEN = 2000
_USUAL = 20


def _spread(total: int, count: int) -> slice:
    """About so many places, evenly spaced."""
    return slice(0, None, max(1, -(-total // count)))


class Arrays(Source):
    """The rows of ``Samples``; centred : less the mean patch of all unlabelled or, without any, labelled."""

    def __init__(self, samples: Samples, centred: bool) -> None:
        """Note the sizes."""
        self.samples, self.centred = samples, centred
        self.dim, self.per_sample, self.tests = samples.dim, samples.per_sample, len(samples.x_test)
        self.labelled = self.usual_labelled = len(samples.x)

    @property
    def digest(self) -> str:
        """That of the samples."""
        return self.samples.digest

    @cached_property
    def mean(self) -> Floats:
        """What is taken off every patch (D,)."""
        found: Floats = self._seen().mean(axis=(0, 1))
        return found

    @cached_property
    def length(self) -> float:  # type: ignore[override]
        """Of the unlabelled samples' patches or, without any, of the labelled ones'."""
        seen = self._seen()
        square = float(np.einsum("npd,npd->", seen, seen)) / (seen.shape[0] * seen.shape[1])
        return float(np.sqrt(max(square - (self.mean @ self.mean if self.centred else 0.0), 0.0)))

    def _seen(self) -> Floats:
        return self.samples.x if self.samples.unlabelled is None else self.samples.unlabelled

    def rest(self, labelled: int) -> int:
        """All of them, whatever else is taken."""
        return 0 if self.samples.unlabelled is None else len(self.samples.unlabelled)

    def rows(self, labelled: int, unlabelled: int, seed: int) -> Rows:
        """All rows, or some; arrays as they are where nothing is left out or taken off."""
        rng, own = generator(seed, "rows"), self.samples
        x, y = _chosen(rng, labelled, own.x, own.y)
        first, second = own.unlabelled, own.views
        if first is not None and second is not None and unlabelled:
            first, second = _chosen(rng, unlabelled, first, second)
        else:
            first = second = None
        return self._moved(Rows(x, y, own.x_test, own.y_test, first, second))

    def known(self) -> Rows:
        """Evenly spaced rows."""
        own = self.samples
        kept = [None if a is None else a[_spread(len(a), SEEN)] for a in (own.x, own.unlabelled, own.views)]
        assert kept[0] is not None
        y = own.y[_spread(len(own.x), SEEN)]
        return self._moved(Rows(kept[0], y, own.x_test[:1], own.y_test[:1], kept[1], kept[2]))

    def _moved(self, rows: Rows) -> Rows:
        if not self.centred:
            return rows
        return rows._replace(
            x=rows.x - self.mean,
            x_test=rows.x_test - self.mean,
            unlabelled=None if rows.unlabelled is None else rows.unlabelled - self.mean,
            views=None if rows.views is None else rows.views - self.mean,
        )


class Pool(Source):
    """Images of two classes, divided for every seed into test, labelled and unlabelled ones.

    images (n, D), labels (n,) of +-1; share : of test images, of each class; noise : standard deviation of
    a second, Gaussian patch in units of the images' root-mean-square length over sqrt(D), 0: none. The view
    of an unlabelled image is another image of its class, neither labelled nor a test image.
    """

    def __init__(self, images: Floats, labels: Floats, *, share: float, noise: float, centred: bool) -> None:
        """Divide the numbers."""
        mean = images.mean(axis=0) if centred else 0.0
        self.images, self.labels, self.noise = images - mean, labels, noise
        self.dim, self.per_sample = images.shape[1], 1 + (noise > 0)
        self._tests = [max(1, round(share * int(np.sum(labels == sign)))) for sign in (1.0, -1.0)]
        self.tests = sum(self._tests)
        self.labelled = len(images) - self.tests
        self.usual_labelled = min(_USUAL, self.labelled)
        square = float(np.mean(np.sum(self.images**2, axis=1)))
        self.length = float(np.sqrt(square * (1 + noise**2 * (noise > 0)) / self.per_sample))
        self._scale = noise * np.sqrt(square / self.dim)
        text = (images.tobytes(), labels.tobytes(), share, noise, centred)
        self._digest = hashlib.sha256(repr(text).encode()).hexdigest()[:20]

    @property
    def digest(self) -> str:
        """Of the images and how they are divided."""
        return self._digest

    def rest(self, labelled: int) -> int:
        """What the test and the labelled images leave."""
        return max(0, self.labelled - labelled)

    def rows(self, labelled: int, unlabelled: int, seed: int) -> Rows:
        """The division of this seed."""
        return self._divided(labelled, unlabelled, generator(seed, "rows"))

    def known(self) -> Rows:
        """One division, the same always: all that are no test images, as labelled and as unlabelled ones."""
        both = self._divided(self.labelled, 0, fixed()), self._divided(0, self.labelled, fixed())
        return both[0]._replace(unlabelled=both[1].unlabelled, views=both[1].views)

    def _divided(self, labelled: int, unlabelled: int, rng: np.random.Generator) -> Rows:
        sides = [rng.permutation(np.flatnonzero(self.labels == sign)) for sign in (1.0, -1.0)]
        test = np.concatenate([side[:k] for side, k in zip(sides, self._tests, strict=True)])
        left = rng.permutation(np.concatenate([s[k:] for s, k in zip(sides, self._tests, strict=True)]))
        own, rest = left[:labelled], left[labelled:]
        first, second = None, None
        if unlabelled:
            taken = rest[:unlabelled]
            first = self._with_noise(taken, rng)
            second = self._with_noise(self._others(taken, rest, rng), rng)
        x, x_test = self._with_noise(own, rng), self._with_noise(test, rng)
        return Rows(x, self.labels[own], x_test, self.labels[test], first, second)

    def _others(self, taken: Integers, rest: Integers, rng: np.random.Generator) -> Integers:
        """For every image another one of its class, of ``rest``."""
        found = np.empty_like(taken)
        for sign in (1.0, -1.0):
            members = rest[self.labels[rest] == sign]
            mine = np.flatnonzero(self.labels[taken] == sign)
            if len(mine) and len(members) < 2:
                raise ValueError("a class has one unlabelled image, and no other that could be its view")
            place = np.searchsorted(np.sort(members), taken[mine])
            shift = rng.integers(1, max(2, len(members)), size=len(mine))
            found[mine] = np.sort(members)[(place + shift) % max(1, len(members))]
        return found

    def _with_noise(self, places: Integers, rng: np.random.Generator) -> Floats:
        images = self.images[places][:, None, :]
        if not self.noise:
            return images
        return np.concatenate([images, self._scale * rng.standard_normal(images.shape)], axis=1)


def _chosen(rng: np.random.Generator, count: int, *arrays: Floats) -> tuple[Any, ...]:
    total = len(arrays[0])
    if count == total:
        return arrays
    places = rng.choice(total, count, replace=False)
    return tuple(array[places] for array in arrays)
