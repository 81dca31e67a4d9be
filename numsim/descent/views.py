"""What contrastive functions take: filters, samples and their views."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..models.checks import finite, real_array

__all__ = ["checked_filters", "checked_views"]

Floats = npt.NDArray[np.float64]


def checked_views(z: npt.ArrayLike, z_aug: npt.ArrayLike) -> tuple[Floats, Floats]:
    """z and z~ as float64 (n0, D), or a ValueError that says what does not fit."""
    z, z_aug = real_array("z", z), real_array("z_aug", z_aug)
    if z.ndim != 2 or z_aug.shape != z.shape or len(z) == 0:
        raise ValueError(
            f"z has shape {z.shape} and z_aug {z_aug.shape}, expected the same (n0, D) for both, n0 >= 1: "
            "row i of z_aug is the augmented view of row i of z"
        )
    finite("z", z)
    finite("z_aug", z_aug)
    return z, z_aug


def checked_filters(W: npt.ArrayLike, width: int) -> Floats:
    """W as float64 (M, width), or a ValueError that says what does not fit."""
    W = real_array("W", W)
    if W.ndim != 2 or W.shape[1] != width or len(W) == 0:
        raise ValueError(f"W has shape {W.shape}, expected (M, {width}): one filter a row, as wide as z")
    finite("W", W)
    return W
