"""Which executor a sweep runs on."""

from __future__ import annotations

import sys

from ..config.errors import ConfigError
from .executors import Executor, Here, Processes

__all__ = ["connect"]


def connect(scheduler: str | None, threads: int, runs: int) -> Executor:
    """The executor: None, processes of this machine; "local", Dask on it; or a scheduler's address."""
    if scheduler is None:
        return Here() if runs <= 1 else Processes(threads)
    try:
        from .cluster import Cluster
    except ImportError as error:
        needed = f"{sys.executable} -m pip install 'numsim[dask]'"
        raise ConfigError(
            f"scheduler: got {scheduler}, expected dask.distributed to be installed: {needed}"
        ) from error
    cluster: Executor = Cluster(scheduler)
    return cluster
