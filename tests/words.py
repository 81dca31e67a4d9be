"""What the kernels of the test samples draw, for tests that need the very draws."""

import numpy as np
import numpy.typing as npt

from numsim.descent._kernels.readout import _PIECE, LANES, TILE, fill_words, normals_in_place
from numsim.models import streams

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]


def lanes(rng: np.random.Generator) -> Words:
    """The generators' states, as ``evaluate`` takes them from its generator."""
    state: Words = streams.lanes([rng], LANES)[0]
    return state


def noise(state: Words, rank: int, samples: int) -> Floats:
    """The standard normals (rank, samples) that test samples are made of."""
    tiles = []
    for _ in range(-(-samples // TILE)):
        tile = np.empty(rank * TILE)
        for part in np.split(tile, range(_PIECE, tile.size, _PIECE)):
            with np.errstate(over="ignore"):  # interpreted, NumPy's scalars warn
                fill_words(part.view(np.uint64), state)
            normals_in_place(part, np.empty(part.size // 2))
        tiles.append(tile.reshape(rank, TILE))
    return np.concatenate(tiles, axis=1)[:, :samples]
