"""Phase boundaries of a sweep: where runs begin to succeed, how it scales, and which runs tell more of it.

A sweep has lines (values s of one axis), points along each line (x, ascending) and seeds: an array
success : (L, K, S) of 0, 1 and NaN (not run). On a line the probability of success is taken to be

    p(x) = 1 / (1 + exp(-(u - t) / w)),   u = log x (log=False: u = x),   boundary at p = 1/2: u = t.

Falling success (rising=False) is rising failure: everything is computed for rising success.

Seed k has the same random streams in every cell, so that cells are correlated through seeds, and an interval
that took them for independent would be too narrow. What is independent is the seeds: intervals bootstrap
over them, with the same resample for all cells of all lines. The resamples always start from the same
generator: everything here is a function of its arguments alone.

Three things the plain percentile bootstrap gets wrong are put right:

- Few seeds. Its interval is too short by sqrt((S-1)/S) and has normal instead of Student tails; its level is
  therefore Phi(-sqrt(S/(S-1)) t_(S-1)) in place of 2.5 % (the expanded percentile interval: Hesterberg, What
  Teachers Should Know about the Bootstrap, 2015). One seed says nothing of the spread: both ends are open.
- Separation. Where no point that fails lies above one that succeeds, the likelihood is the same, 1, for each
  t in the gap between the two; a resample then stands for its gap, not for the gap's middle. Otherwise a
  coarse grid, where all resamples have the same gap, would seem to be exact.
- No boundary. A resample that succeeds (fails) at more than half of its runs everywhere only says that t is
  below the first (above the last) point run, at any distance: its interval is open on that side.
"""

from .fits import Boundary, Exponent, find_boundaries, fit_boundary, fit_exponent
from .refinement import next_points

__all__ = ["Boundary", "Exponent", "find_boundaries", "fit_boundary", "fit_exponent", "next_points"]
