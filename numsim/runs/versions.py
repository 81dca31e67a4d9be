"""The versions that results depend on, as they are kept beside them."""

from __future__ import annotations

from importlib.metadata import version

from .. import __version__

__all__ = ["LIBRARIES", "versions"]

LIBRARIES = ("numpy", "scipy", "numba")


def versions() -> dict[str, str]:
    """Of numsim and of the numerical libraries, by name."""
    return {"numsim": __version__, **{name: version(name) for name in LIBRARIES}}
