"""What the compiled loop needs around a descent: scratch, the form of a step, what is random in it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt

from ..models.dictionary import PatchDictionary
from ._kernels import descent
from ._kernels import loop as kernels
from .driver import NON_FINITE, Descent
from .rules import BatchRows, Rule, label_flips

__all__ = ["GRAM_BYTES", "Loop", "PlainLoop"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_NOTHING = np.empty((0, 0))
_NO_ROWS = np.empty((0, 0), dtype=np.int64)
_DRAWN = 2_000_000
"""Numbers drawn for batches and flips at a time."""
GRAM_BYTES = 2e9
"""Of the largest Gram matrix."""


class PlainLoop:
    """Arguments of the loop for gradient descent on all samples in Gram form."""

    def __init__(self, filters: int, entries: int, rate: float) -> None:
        """Scratch for M filters and K entries."""
        self.rule = kernels.Rule(rate, 0.0, 0.0, 0.0, 0.0, 0, False)
        places = np.empty(0, dtype=np.int64)
        empty = np.empty(0)
        self.work = kernels.Work(
            np.empty(filters * entries),
            empty,
            empty,
            empty,
            places,
            places,
            _NOTHING,
            _NOTHING,
            _NOTHING,
            np.ones(3),
        )


class Loop:
    """One descent: called by the driver with state, limits and recorder until it ends.

    compiled : the loops for the loss, for any descent and on all samples in Gram form; task(labels, patches,
    entries) : makes the loss's task; W (M, D).
    Restarts from the beginning whenever it is called at step 0.
    """

    def __init__(
        self,
        compiled: tuple[Any, Any],
        task: Callable[[Floats, Integers, int], Any],
        W: Floats,
        dictionary: PatchDictionary,
        rule: Rule,
        *,
        learning_rate: float,
        max_steps: int,
        batch_rng: np.random.Generator | None,
        flip_rng: np.random.Generator | None,
        averaged: bool = False,
    ) -> None:
        """Choose the form, allocate scratch; raise ValueError where a generator is missing."""
        self._compiled, self._W, self._dictionary = compiled, W, dictionary
        self._setting = rule
        samples, per_sample = dictionary.patches.shape
        filters, entries, width = len(W), dictionary.entries, dictionary.vectors.shape[1]
        size = rule.batch or (samples if rule.label_noise else 0)
        seen = min(entries, rule.batch * per_sample) if rule.batch else entries
        for generator, used, name in (
            (batch_rng, rule.batch > 0, "batches"),
            (flip_rng, rule.label_noise > 0, "label noise"),
        ):
            if used and generator is None:
                raise ValueError(f"rng is None, expected a random generator: {name} are drawn from it")
        self._rngs = batch_rng, flip_rng
        self.epoch = samples // rule.batch if rule.batch else 1
        random = rule.batch + (samples if rule.label_noise else 0)
        self.span = max(1, _DRAWN // random) if random else None
        self._gram = _in_gram_form(filters, entries, width, seen)
        self._batches: BatchRows | None = None
        self._flip_rng: np.random.Generator | None = None
        horizon = int(max_steps) if rule.schedule == "cosine" else 0
        self._rule = kernels.Rule(
            learning_rate,
            rule.momentum,
            rule.weight_decay,
            rule.clip_norm,
            rule.sam_radius,
            horizon,
            averaged and rule.batch > 0,
        )
        self._data = kernels.Data(
            dictionary.labels,
            dictionary.patches,
            np.empty(size),
            np.empty((size, per_sample), dtype=np.int64)
            if rule.batch
            else (dictionary.patches if size else _NO_ROWS),
            self._draws(0, 0),
        )
        whole = None if self._rule.averaged else task(dictionary.labels, dictionary.patches, entries)
        own = task(self._data.own_labels, self._data.own_patches, seen) if size else whole
        self._tasks = (own if whole is None else whole, own)
        most = seen if self._rule.averaged else entries  # that a step looks at
        row = entries if self._gram else width
        needs_push = rule.slow or rule.clip_norm > 0 or rule.sam_radius > 0
        places = np.full(entries, -1, dtype=np.int64)
        self._work = kernels.Work(
            out=np.empty(filters * most),
            inner=np.empty(filters * (seen if self._gram else most)),
            push=np.empty(2 * filters * max(row, seen) if needs_push else 0),
            rows=np.empty(seen * row if rule.batch else 0),
            entries=np.empty(entries, dtype=np.int64),
            places=places,
            velocity=np.zeros((filters, entries)) if rule.slow and self._gram else _NOTHING,
            coefficients=np.zeros((filters, entries)) if rule.slow else _NOTHING,
            dense=np.zeros((filters, entries)) if rule.slow and rule.batch else _NOTHING,
            factors=np.array([1.0, 0.0, 0.0]),
        )
        self._restart()

    def start(self) -> Floats:
        """The inner products (M, K) that a descent starts from; in coordinates it keeps none, (M, 0)."""
        if not self._gram:
            return np.empty((len(self._W), 0))
        return self._dictionary.products(self._W)

    def last(self, run: Descent) -> Floats:
        """The filters (M, D) that a descent has ended in; in coordinates they are at hand."""
        if self._gram or run.status == NON_FINITE:
            return run.filters(self._W, *self._dictionary.blocks)
        return self._form.W

    @property
    def initial(self) -> float:
        """c, the factor of w^0 in the last iterate."""
        return float(self._work.factors[0])

    def _restart(self) -> None:
        work = self._work
        work.factors[:] = 1.0, 0.0, 0.0
        work.velocity[:] = 0.0
        work.coefficients[:] = 0.0
        if self._gram:
            if not hasattr(self, "_form"):
                self._form = kernels.Form(self._dictionary.gram(), *[_NOTHING] * 4)
        else:
            velocity = np.zeros_like(self._W) if self._setting.slow else _NOTHING
            vectors, more = self._dictionary.vectors, self._dictionary.more
            if more is not None and not self._setting.batch:  # all of them, step after step
                vectors, more = np.concatenate([vectors, more]), None
            more = _NOTHING if more is None else more
            self._form = kernels.Form(_NOTHING, vectors, more, np.array(self._W, order="C"), velocity)
        batch_rng, flip_rng = deepcopy(self._rngs)
        samples = len(self._dictionary.labels)
        self._batches = (
            None
            if not self._setting.batch or batch_rng is None
            else BatchRows(batch_rng, samples, self._setting.batch)
        )
        self._flip_rng = flip_rng

    def _draws(self, first: int, steps: int) -> kernels.Draws:
        batches, flips = _NO_ROWS, _NOTHING
        if self._batches is not None:
            batches = self._batches.take(steps)
        if self._setting.label_noise and self._flip_rng is not None:
            samples = len(self._dictionary.labels)
            flips = label_flips(self._flip_rng, samples, self._setting.label_noise, steps)
        return kernels.Draws(batches, flips, np.array([first], dtype=np.int64), self.epoch)

    def __call__(self, state: descent.State, limits: descent.Limits, recorder: descent.Recorder) -> int:
        """Go on until a limit; returns a status code."""
        step = int(state.clock[0])
        if step == 0:
            self._restart()
        any_descent, on_all = self._compiled
        code: int
        if self._gram and not self._data.own_labels.size:
            code = on_all(state, self._form.gram, self._tasks[0], self._rule, limits, recorder, self._work)
            return code
        draws = self._draws(step, min(limits.pause, limits.max_steps) - step)
        data = self._data._replace(draws=draws)
        arguments = (self._form, self._tasks, data, self._rule, limits, recorder, self._work)
        code = any_descent(state, *arguments)
        return code

    def filters(self, state: descent.State) -> Floats:
        """The filters (M, D) of a state."""
        found: Floats = self.initial * self._W + self._dictionary.combined(state.coefficients)
        return found

    def watching(
        self, callback: Callable[[int, Floats], None], shape: tuple[int, ...]
    ) -> Callable[[descent.State], None]:
        """The callback for filters, as one for states."""
        return lambda state: callback(int(state.clock[0]), self.filters(state).reshape(shape))


def _in_gram_form(filters: int, entries: int, width: int, seen: int) -> bool:
    """Whether a step in Gram form is cheaper, K B M against 2 D B M, and its matrix fits."""
    if 8.0 * entries**2 > GRAM_BYTES:
        return False
    # The Gram matrix costs K^2 D once; small ones are worth it always, as they stay in the caches.
    return entries <= 2 * width or entries * seen * filters <= 2e6
