"""Claims: a statement of theory, a check that measures it, and a control that must fail.

    from numsim.claims import Claim, Outcome, equals

    def check(trials, *, factor=2.0):
        draws = [measure(seed) for seed in trials.seeds(quick=20, full=200)]
        return Outcome([equals("what is compared", factor * theory(), draws, order=0.01)])

    CLAIM = Claim(id="X1", title="...", source="...", check=check, controls={"half of it": {"factor": 1.0}})

A control is the same check on a run that violates the hypothesis, or with a formula that is deliberately a
little wrong: keyword arguments for ``check`` under which it must come out ``fails``. How often a check fails
by chance is bounded in ``numsim.claims.comparison``.
"""

from .claim import EFFORTS, Claim, Control, Evidence, Outcome, Trials
from .comparison import (
    Comparison,
    at_least,
    at_most,
    equals,
    failure_rate,
    follows,
    frequency,
    same_law,
    slope,
)
from .examination import examine, smallest_detected, verify, verify_each

__all__ = [
    "EFFORTS",
    "Claim",
    "Comparison",
    "Control",
    "Evidence",
    "Outcome",
    "Trials",
    "at_least",
    "at_most",
    "equals",
    "examine",
    "failure_rate",
    "follows",
    "frequency",
    "same_law",
    "slope",
    "smallest_detected",
    "verify",
    "verify_each",
]
