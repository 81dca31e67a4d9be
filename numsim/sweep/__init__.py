"""Sweeps: an experiment over a grid of settings and seeds, kept in a ledger that survives interruption.

    grid        axes, cells, and the hash that names a cell's numbers
    ledger      the record on the disk
    batches     what a worker does
    executors   processes of this machine; cluster: Dask's
    runner      what is missing in the ledger, until all is there
    criteria    what counts as success; boundary: where it begins, exponents, refinement
    study       the whole
    curves      where theory sees the boundary; units: what axes are called
    sweepfile   the table ``sweep`` of a file

``numsim.sweep`` is both this package and the function that runs a sweep: the module can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .study import sweep

__all__ = ["sweep"]


class _Callable(ModuleType):
    """Python puts the package into ``numsim.sweep`` once a part of it is imported; it must be callable."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self.sweep(*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        if name != "sweep":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        from .study import sweep

        self.sweep = sweep
        self.__doc__ = f"{sweep.__doc__}"
        return sweep


sys.modules[__name__].__class__ = _Callable
