"""Gradient descent with any loss and rule, in one call: the loop of both stages.

A filter is w = c w^0 + sum_k C_k v_k, its velocity u = c' w^0 + sum_k V_k v_k. A step finds the increments
N, minus the gradient's coefficients on the entries that it looks at, and adds them up by the rule. In *Gram
form* the state is R_rk = <w_r, v_k> and N acts as N G; in *coordinates* it is W (M, D) and N acts as N v.
Which losses there are, losses.py says.

Shapes: M filters in all, K dictionary entries, B samples of a batch, D width of the coordinates.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._jit import kernel, multiply
from .descent import GO_ON, MAX_STEPS, NON_FINITE, PAUSED, Limits, Recorder, State, record
from .losses import increments, reached
from .supervised import Logistic

__all__ = [
    "Data",
    "Draws",
    "Form",
    "Rule",
    "Work",
    "descend",
    "descend_on_all",
    "descend_stack",
    "rate_at",
    "roll",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_loss, _end = increments.call, reached.call


class Rule(NamedTuple):
    """Step size eta, momentum beta, weight decay lambda, norm c at which gradients are clipped (0: never).

    radius : of SAM (0: off); horizon : steps T of the cosine (0: constant); averaged : whether the loss that
    is recorded is the mean of the batches' of an epoch, and not that of all samples.
    """

    rate: float
    momentum: float
    decay: float
    clip: float
    radius: float
    horizon: int
    averaged: bool


class Form(NamedTuple):
    """Gram : gram (K, K), the rest empty; coordinates : vectors (K, D), W and its velocity (M, D).

    The vectors may be in two arrays, vectors and then more; an entry has its number in both together.
    """

    gram: Floats
    vectors: Floats
    more: Floats
    W: Floats
    velocity: Floats


class Draws(NamedTuple):
    """What is random in the steps from ``first[0]`` on: batches (T, B), flips (T, n) of +-1; empty: none.

    epoch : steps of an epoch.
    """

    batches: Integers
    flips: Floats
    first: Integers
    epoch: int


class Data(NamedTuple):
    """Samples (n, P) as indices into the dictionary, and what a step's own task sees.

    labels (n,), patches (n, P); own_labels (B,) and own_patches (B, P) are written anew every step where
    there are batches or flips, else empty; draws : what these are.
    """

    labels: Floats
    patches: Integers
    own_labels: Floats
    own_patches: Integers
    draws: Draws


class Work(NamedTuple):
    """Scratch, and the velocity.

    out, inner, push, rows : flat; entries (K,), places (K,) : the entries a batch looks at, and where;
    velocity (M, K) of the inner products, coefficients (M, K) of the velocity, dense (M, K) : increments of a
    batch among zeros; empty where not used. factors (3,) : c, c', and the sum of an epoch's losses.
    """

    out: Floats
    inner: Floats
    push: Floats
    rows: Floats
    entries: Integers
    places: Integers
    velocity: Floats
    coefficients: Floats
    dense: Floats
    factors: Floats


@kernel
def _matrix(flat: Floats, rows: int, columns: int) -> Floats:
    return flat[: rows * columns].reshape(rows, columns)


@kernel
def _look_at(data: Data, step: int, work: Work) -> int:
    """Write the step's labels and patches; returns how many entries it looks at (K, in order: all)."""
    draws = data.draws
    row = step - draws.first[0]
    per_sample = data.patches.shape[1]
    batched = draws.batches.size > 0
    size = data.own_labels.size
    flipped = draws.flips.size > 0
    for b in range(size):
        i = draws.batches[row, b] if batched else b
        data.own_labels[b] = data.labels[i] * draws.flips[row, i] if flipped else data.labels[i]
    if not batched:
        return work.places.size
    count = 0
    for p in range(per_sample):  # patch by patch: of contrastive data first the samples, then their views
        for b in range(size):
            k = data.patches[draws.batches[row, b], p]
            if work.places[k] < 0:
                work.places[k] = count
                work.entries[count] = k
                count += 1
            data.own_patches[b, p] = work.places[k]
    for a in range(count):
        work.places[work.entries[a]] = -1
    if count == work.places.size:  # all of them are looked at in their own order
        for b in range(size):
            for p in range(per_sample):
                data.own_patches[b, p] = data.patches[draws.batches[row, b], p]
    return count


@kernel
def _products(state: State, form: Form, work: Work, rows: Floats) -> Floats:
    """Inner products (M, count) with the entries that are looked at, of which ``rows`` are."""
    filters, entries = state.coefficients.shape
    count = rows.shape[0]
    if form.gram.size > 0:
        if count == entries:
            return state.inner
        found = _matrix(work.inner, filters, count)
        for r in range(filters):
            for a in range(count):
                found[r, a] = state.inner[r, work.entries[a]]
        return found
    found = _matrix(work.inner, filters, count)
    multiply(1.0, form.W, rows.T, 0.0, found)
    return found


@kernel
def _rows(form: Form, work: Work, count: int) -> Floats:
    """The vectors (coordinates), or rows of the Gram matrix, of the entries that are looked at."""
    gram = form.gram.size > 0
    source = form.gram if gram else form.vectors
    first = source.shape[0]
    total = first if gram else first + form.more.shape[0]
    if count == first and count == total:
        return source
    found = _matrix(work.rows, count, source.shape[1])
    for a in range(count):
        entry = a if count == total else work.entries[a]
        row = source[entry] if entry < first else form.more[entry - first]
        target = found[a]
        for k in range(row.size):
            target[k] = row[k]
    return found


@kernel
def _perturb(
    form: Form, work: Work, rule: Rule, rows: Floats, inner: Floats, out: Floats, shifted: Floats
) -> bool:
    """SAM: the inner products at w + radius g / |g| into ``shifted``; False where g = 0. out = -g."""
    filters, count = out.shape
    push = _matrix(work.push, filters, rows.shape[1])
    multiply(1.0, out, rows, 0.0, push)
    square = _square(form, work, out, push)
    if not square > 0.0:
        return False
    length = rule.radius / math.sqrt(square)
    if form.gram.size == 0:
        multiply(-length, push, rows.T, 0.0, shifted)
        _add(1.0, inner.reshape(-1), shifted.reshape(-1))
    else:
        whole = count == push.shape[1]
        for r in range(filters):
            for a in range(count):
                shifted[r, a] = inner[r, a] - length * push[r, a if whole else work.entries[a]]
    return True


@kernel
def roll(rule: Rule, rate: float, scale: float, push: Floats, velocity: Floats, moved: Floats) -> None:
    """velocity <- beta velocity + scale push - lambda moved, moved <- moved + rate velocity; flat arrays."""
    momentum, decay = rule.momentum, rule.decay
    if decay == 0.0:
        for k in range(velocity.size):
            fresh = momentum * velocity[k] + scale * push[k]
            velocity[k] = fresh
            moved[k] += rate * fresh
        return
    for k in range(velocity.size):
        fresh = momentum * velocity[k] + scale * push[k] - decay * moved[k]
        velocity[k] = fresh
        moved[k] += rate * fresh


@kernel
def _roll_factors(rule: Rule, rate: float, factors: Floats) -> None:
    """The same of c' and c, on which no gradient acts."""
    factors[1] = rule.momentum * factors[1] - rule.decay * factors[0]
    factors[0] += rate * factors[1]


@kernel
def _add(factor: float, source: Floats, target: Floats) -> None:
    """target += factor source; flat arrays, so that the compiler sees one long loop."""
    for k in range(source.size):
        target[k] += factor * source[k]


@kernel
def _shift(start: Floats, factor: float, push: Floats, target: Floats) -> None:
    """target = start + factor push; flat arrays."""
    for k in range(start.size):
        target[k] = start[k] + factor * push[k]


@kernel
def _dot(left: Floats, right: Floats) -> float:
    """Of flat arrays; four sums, which run side by side."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = left.size - left.size % 4
    for k in range(0, whole, 4):
        a += left[k] * right[k]
        b += left[k + 1] * right[k + 1]
        c += left[k + 2] * right[k + 2]
        d += left[k + 3] * right[k + 3]
    for k in range(whole, left.size):
        a += left[k] * right[k]
    return (a + b) + (c + d)


@kernel
def rate_at(rule: Rule, step: int) -> float:
    """eta_t."""
    if rule.horizon > 0:
        return rule.rate * 0.5 * (1.0 + math.cos(math.pi * step / rule.horizon))
    return rule.rate


@kernel
def _scale(clip: float, square: float) -> float:
    """min(1, c / |g|)."""
    return min(1.0, clip / math.sqrt(square)) if clip > 0.0 and square > 0.0 else 1.0


@kernel
def _square(form: Form, work: Work, out: Floats, push: Floats) -> float:
    """|g|^2 = tr(out G out^T), push being what ``out`` acts as."""
    if form.gram.size == 0:
        return _dot(push.reshape(-1), push.reshape(-1))
    if out.shape[1] == push.shape[1]:
        return _dot(out.reshape(-1), push.reshape(-1))
    total = 0.0
    for r in range(out.shape[0]):
        for a in range(out.shape[1]):
            total += out[r, a] * push[r, work.entries[a]]
    return total


@kernel
def _move(state: State, form: Form, work: Work, rule: Rule, rows: Floats, out: Floats) -> None:
    """One step by the rule; ``out`` (M, count) = -g on the entries looked at."""
    filters, count = out.shape
    gram = form.gram.size > 0
    rate = rate_at(rule, state.clock[0])
    slow = rule.momentum != 0.0 or rule.decay != 0.0
    moved = state.inner if gram else form.W
    scale = 1.0
    if not slow and rule.clip == 0.0:
        multiply(rate, out, rows, 1.0, moved)
    else:
        push = _matrix(work.push, filters, rows.shape[1])
        multiply(1.0, out, rows, 0.0, push)
        if rule.clip > 0.0:
            scale = _scale(rule.clip, _square(form, work, out, push))
        if slow:
            velocity = work.velocity if gram else form.velocity
            roll(rule, rate, scale, push.reshape(-1), velocity.reshape(-1), moved.reshape(-1))
        else:
            _add(rate * scale, push.reshape(-1), moved.reshape(-1))
    coefficients = state.coefficients
    if slow:
        if count < coefficients.shape[1]:
            dense = work.dense
            dense[:] = 0.0
            for r in range(filters):
                for a in range(count):
                    dense[r, work.entries[a]] = out[r, a]
            acting = dense.reshape(-1)
        else:
            acting = out.reshape(-1)
        roll(rule, rate, scale, acting, work.coefficients.reshape(-1), coefficients.reshape(-1))
        _roll_factors(rule, rate, work.factors)
    elif count < coefficients.shape[1]:
        for r in range(filters):
            for a in range(count):
                coefficients[r, work.entries[a]] += rate * scale * out[r, a]
    else:
        _add(rate * scale, out.reshape(-1), coefficients.reshape(-1))


@kernel
def _visit(
    state: State, loss: float, code: int, limits: Limits, recorder: Recorder, work: Work, epoch: int
) -> int:
    """Keep a state that is due, and say whether the descent has ended."""
    step = state.clock[0]
    state.loss[0] = loss
    if not math.isfinite(loss):
        return NON_FINITE
    count = step // epoch
    if count % recorder.cursor[1] == 0 and step % epoch == 0:
        record(recorder, count, step, loss, work.factors[0], state)
    if code != GO_ON:
        return code
    return MAX_STEPS if step >= limits.max_steps else GO_ON


@kernel
def descend_on_all(
    state: State, gram: Floats, task: Any, rule: Rule, limits: Limits, recorder: Recorder, work: Work
) -> int:
    """``descend`` on all samples in Gram form, where a step may take a microsecond.

    A kernel of its own, since most descents are of this kind and compile nothing else.
    """
    filters, entries = state.coefficients.shape
    inner, out = state.inner, _matrix(work.out, filters, entries)
    coefficients, flat = state.coefficients.reshape(-1), out.reshape(-1)
    slow = rule.momentum != 0.0 or rule.decay != 0.0
    pushed = slow or rule.clip > 0.0 or rule.radius > 0.0
    push = _matrix(work.push, filters, entries if pushed else 0)
    shifted = _matrix(work.push[work.push.size // 2 :], filters, entries if pushed else 0)
    flat_push, flat_shifted, flat_inner = push.reshape(-1), shifted.reshape(-1), inner.reshape(-1)
    velocity, slow_coefficients = work.velocity.reshape(-1), work.coefficients.reshape(-1)
    factors = work.factors
    while True:
        loss = _loss(inner, task, out)
        state.loss[0] = loss
        if not math.isfinite(loss):
            return NON_FINITE
        step = state.clock[0]
        if step % recorder.cursor[1] == 0:
            record(recorder, step, step, loss, factors[0], state)
        code: int = _end(inner, task, loss, limits.threshold)
        if code != GO_ON:
            return code
        if step >= limits.max_steps:
            return MAX_STEPS
        rate, scale = rate_at(rule, step), 1.0
        if rule.radius > 0.0:
            multiply(1.0, out, gram, 0.0, push)
            square = _dot(flat, flat_push)
            if square > 0.0:
                _shift(flat_inner, -rule.radius / math.sqrt(square), flat_push, flat_shifted)
                _loss(shifted, task, out)
        if slow or rule.clip > 0.0:
            multiply(1.0, out, gram, 0.0, push)
            if rule.clip > 0.0:
                scale = _scale(rule.clip, _dot(flat, flat_push))
        if slow:
            roll(rule, rate, scale, flat_push, velocity, flat_inner)
            roll(rule, rate, scale, flat, slow_coefficients, coefficients)
            _roll_factors(rule, rate, factors)
        else:
            rate *= scale
            _add(rate, flat, coefficients)
            if rule.clip > 0.0:
                _add(rate, flat_push, flat_inner)
            else:
                multiply(rate, out, gram, 1.0, inner)
        state.clock[0] += 1
        if state.clock[0] >= limits.pause and state.clock[0] < limits.max_steps:
            return PAUSED


@kernel
def descend(
    state: State,
    form: Form,
    tasks: Any,
    data: Data,
    rule: Rule,
    limits: Limits,
    recorder: Recorder,
    work: Work,
) -> int:
    """Descend until a limit, on batches, with label noise or in coordinates; returns a status code.

    tasks : (whole, own), the task of all samples and that of a step's own labels and patches.
    """
    filters, entries = state.coefficients.shape
    own = data.own_labels.size > 0
    epoch = data.draws.epoch
    while True:
        step = state.clock[0]
        due = step % epoch == 0 or step >= limits.max_steps
        if not own or (due and not rule.averaged):
            rows = _rows(form, work, entries)
            inner = _products(state, form, work, rows)
            out = _matrix(work.out, filters, entries)
            loss = _loss(inner, tasks[0], out)
            code = _visit(
                state, loss, _end(inner, tasks[0], loss, limits.threshold), limits, recorder, work, epoch
            )
            if code != GO_ON:
                return code
        elif due and step > 0:
            taken = epoch if step % epoch == 0 else step % epoch
            mean = work.factors[2] / taken
            work.factors[2] = 0.0
            code = _visit(state, mean, GO_ON, limits, recorder, work, epoch)
            if code != GO_ON:
                return code
        if own:
            rows = _rows(form, work, _look_at(data, step, work))
            inner = _products(state, form, work, rows)
            out = _matrix(work.out, filters, rows.shape[0])
            loss = _loss(inner, tasks[1], out)
            if not math.isfinite(loss):
                state.loss[0] = loss
                return NON_FINITE
            if rule.averaged:
                work.factors[2] += loss
                code = _end(inner, tasks[1], loss, limits.threshold)
                if step == 0:
                    code = _visit(state, loss, code, limits, recorder, work, epoch)
                if code != GO_ON:
                    state.loss[0] = loss
                    return code
        if rule.radius > 0.0:
            shifted = _matrix(work.push[work.push.size // 2 :], filters, rows.shape[0])
            if _perturb(form, work, rule, rows, inner, out, shifted):
                loss = _loss(shifted, tasks[1] if own else tasks[0], out)
        _move(state, form, work, rule, rows, out)
        state.clock[0] += 1
        if state.clock[0] >= limits.pause and state.clock[0] < limits.max_steps:
            return PAUSED


class Replicates(NamedTuple):
    """B descents of one shape and what they end in, changed in place.

    inner, coefficients : (B, M, K), of the last iterate; steps, codes : (B,); losses : (B,).
    """

    inner: Floats
    coefficients: Floats
    steps: Integers
    losses: Floats
    codes: Integers


@kernel
def descend_stack(
    replicates: Replicates,
    grams: Floats,
    tasks: Logistic,
    rule: Rule,
    limits: Limits,
    recorder: Recorder,
    work: Work,
) -> None:
    """``descend`` on the logistic loss for one replicate after the other; the rule is plain.

    grams (B, K, K); tasks : labels (B, n), patches (B, n, P). Nothing is kept along the way: the recorder, of
    one row, is written over.
    """
    for b in range(grams.shape[0]):
        recorder.cursor[0], recorder.cursor[1] = 0, 1
        state = State(
            replicates.inner[b],
            replicates.coefficients[b],
            replicates.steps[b : b + 1],
            replicates.losses[b : b + 1],
        )
        task = Logistic(tasks.labels[b], tasks.patches[b], tasks.activation, tasks.scale, tasks.buffers)
        replicates.codes[b] = descend_on_all(state, grams[b], task, rule, limits, recorder, work)
