"""The patch dictionary: distinct vectors, known by name, and samples that index into them.

Everything that trains sees data through it: signal-noise data (``signal_noise_dictionary``), the sums of
patches that a linear CNN sees (``Unlabelled.dictionary``), a user's own patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

__all__ = ["PatchDictionary", "dense_dictionary"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PatchDictionary:
    """K distinct patch vectors and samples that index into them: all that training needs of a data set.

    vectors : (..., K, D); patches : (..., n, P) indices into them; labels : (..., n) of +-1. Leading axes are
    replicates, data sets of one shape. parts : which entries are what, by name. Of a mixture (mixture.py):
    on_signals (K, S) and on_noises (K, N), weights of an entry; owners (K,), whose noise it is, -1 nobody's.
    more : vectors of further entries, after the others: large arrays that are apart need not be copied.
    """

    vectors: Floats
    patches: Integers
    labels: Floats
    parts: Mapping[str, slice] = field(default_factory=dict)
    on_signals: Floats | None = None
    on_noises: Floats | None = None
    owners: Integers | None = None
    more: Floats | None = None

    @property
    def entries(self) -> int:
        """K."""
        return int(self.vectors.shape[-2]) + (0 if self.more is None else len(self.more))

    @property
    def blocks(self) -> tuple[Floats, ...]:
        """The vectors, in one array or two."""
        return (self.vectors,) if self.more is None else (self.vectors, self.more)

    def products(self, W: Floats) -> Floats:
        """<w_r, v_k> (M, K) of filters W (M, D)."""
        parts = [W @ block.T for block in self.blocks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def combined(self, coefficients: Floats) -> Floats:
        """sum_k c_rk v_k (..., M, D) of coefficients (..., M, K)."""
        first = len(self.vectors)
        found: Floats = coefficients[..., :first] @ self.vectors
        return found if self.more is None else found + coefficients[..., first:] @ self.more

    def part(self, name: str) -> slice:
        """The entries of a part: an index into the last axis of coefficients and inner products."""
        if name not in self.parts:
            known = ", ".join(self.parts) or "none"
            raise KeyError(f"the dictionary has no part {name!r}; its parts are: {known}")
        return self.parts[name]

    def gram(self) -> Floats:
        """Inner products <v_k, v_l> of the dictionary, (..., K, K)."""
        vectors = self.vectors if self.more is None else np.concatenate(self.blocks)
        products: Floats = vectors @ vectors.swapaxes(-1, -2)
        return products

    def with_bias(self) -> PatchDictionary:
        """The same with one more coordinate, 1 in every patch: a filter's weight there is its bias."""
        *stack, width = self.vectors.shape
        vectors = np.ones((*stack, width + 1))
        vectors[..., :width] = self.vectors
        return replace(self, vectors=vectors)


def dense_dictionary(x: Floats, y: Floats) -> PatchDictionary:
    """Dictionary of user data: patches x (n, P, D), equal patches kept once; labels y (n,)."""
    n, per_sample, width = x.shape
    rows = np.ascontiguousarray(x.reshape(n * per_sample, width)) + 0.0  # -0.0 becomes 0.0: equal bytes
    places: dict[bytes, int] = {}
    index = [places.setdefault(row.tobytes(), len(places)) for row in rows]
    if len(places) == len(rows):  # nothing to leave out, and no copy
        return PatchDictionary(rows, np.arange(len(rows), dtype=np.int64).reshape(n, per_sample), y)
    first = np.unique(index, return_index=True)[1]
    return PatchDictionary(rows[first], np.array(index, dtype=np.int64).reshape(n, per_sample), y)
