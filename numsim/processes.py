"""What a run has of the machine: cores, worker processes."""

from __future__ import annotations

import os
import signal
import threading
import time

__all__ = ["cores", "follow"]


def cores() -> int:
    """How many cores this process may use (affinity and container limits included)."""
    from loky import cpu_count

    return int(cpu_count())


def follow(parent: int) -> None:
    """A worker process leaves Ctrl-C to its parent, and ends with it, even in the middle of a long run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
