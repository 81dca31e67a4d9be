"""Random streams: the only place that makes generators. Everywhere else they are handed on.

    generator(seed, stream)   PCG64, one independent generator a purpose of a run
    lanes(rngs, count)        SFC64, ``count`` generators side by side for the kernel of the test samples,
                              their states words of the stream "evaluation"
    of_claim(claim, seed)     PCG64, what a claim's check draws from
    fixed(number)             PCG64, the same at every call: resamples, start vectors

A run alone, its replicate in an ensemble, an export and a claim's twin get the same generators here, and so
draw the same.

Why not NumPy's own all the way (ReLU heat map, one core; a run takes 535 us, 20,480 normals are drawn in it):

- Hashing a seed for each of the 7 streams of a run, by SeedSequence, its ``spawn`` or a list of words, takes
  102 to 108 us, words of one hashed generator 17: the run would take 16 % longer.
- NumPy's ``standard_normal`` takes 154 us for those normals with SFC64 and 187 with PCG64, the same called
  inside a kernel 71 and 77, with 7 us to hand a generator over; the lanes of ``_kernels/readout`` take 33.
  The run would take 23 % longer, or 8 %.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["STREAMS", "fixed", "generator", "lanes", "of_claim"]

Words = npt.NDArray[np.uint64]

# One independent stream a purpose: changing n, say, leaves filters and unlabelled noise as they are.
# Only ever append: a stream's number is part of what a seed means.
STREAMS = {
    stream: number
    for number, stream in enumerate(
        (
            "filters",
            "labels",
            "noise",
            "views",
            "labelled",
            "labelled noise",
            "flips",
            "split",
            "bias",
            "evaluation",
            "embedding",
            "batches",
            "pretraining batches",
            "label noise",
            "kept signals",
            "rows",
        )
    )
}


class _Words(np.random.bit_generator.ISeedSequence):
    """Words at random in the place of a hashed seed: they need no hashing."""

    def __init__(self, words: Words) -> None:
        self.words = words

    def generate_state(self, n_words: int, dtype: npt.DTypeLike = np.uint32) -> npt.NDArray[Any]:
        """The words that PCG64 asks for."""
        return self.words


@lru_cache(maxsize=2**14)  # cells of a sweep share seeds
def _words(seed: int) -> Words:
    """Four words a stream (streams, 4), of the generator that NumPy's SeedSequence makes of the seed."""
    return np.random.PCG64(seed).random_raw(4 * len(STREAMS)).reshape(-1, 4)


def generator(seed: int, stream: str) -> np.random.Generator:
    """The random generator of one purpose in the run with this seed."""
    words = _Words(_words(seed)[STREAMS[stream]])
    return np.random.Generator(np.random.PCG64(words))  # type: ignore[arg-type]


def lanes(rngs: Sequence[np.random.Generator], count: int) -> Words:
    """States (B, 4, ``count``) of a kernel's generators, from B generators: all words but the counters.

    64-bit words at random are SFC64's stationary law, so that nothing need be discarded.
    """
    states = np.ones((len(rngs), 4, count), dtype=np.uint64)
    for state, rng in zip(states, rngs, strict=True):
        state[:3] = rng.bit_generator.random_raw(3 * count).reshape(3, count)
    return states


def of_claim(claim: str, seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Two generators of a claim's check, another two for every claim and seed: its own, and one of seeds."""
    own, seeds = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(claim.encode()),)).spawn(2)
    return np.random.Generator(np.random.PCG64(own)), np.random.Generator(np.random.PCG64(seeds))


def fixed(number: int = 0) -> np.random.Generator:
    """The same generator at every call, for what must be a function of its arguments alone."""
    return np.random.default_rng(number)
