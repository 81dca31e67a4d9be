"""Settings of the tests: hypothesis without deadlines, the same examples every time where CI is set."""

import os

from hypothesis import HealthCheck, settings

_INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")

# Compiling takes seconds, therefore no deadline. Interpreted kernels are slow: fewer examples there.
settings.register_profile(
    "numsim",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    max_examples=15 if _INTERPRETED else 50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("numsim")
