"""The figure of a gradient (E1, E2): difference quotients of the loss along it, over a ladder of steps h."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from numsim.claims import Evidence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["STEPS", "figure"]

STEPS = np.geomspace(1e-9, 1e-1, 17)
"""Steps h of the quotient, at each of which a check measures its relative error ("errors")."""


def figure(evidence: Evidence) -> Figure:
    """Difference quotients of the loss against the gradient: error h^2, then round-off; a control's error."""
    from numsim.shown.claim_figures import CONTROL, PREDICTED, measured_points, panels

    drawn, (axes,) = panels()
    errors = evidence.outcome.data["errors"]
    axes.loglog(
        STEPS,
        errors[-5] / STEPS[-5] ** 2 * STEPS**2,
        **{**PREDICTED, "label": r"predicted: $\propto h^2$"},
    )
    measured_points(axes, STEPS, np.maximum(errors, 1e-17))
    for control in evidence.controls[:1]:
        shown = control.outcome.comparisons[0]
        axes.axhline(
            abs(shown.measured / shown.predicted - 1), **{**CONTROL, "label": f"control: {control.words}"}
        )
    axes.set(xlabel="step $h$ of the difference quotient", ylabel="relative error", ylim=(1e-13, 10))
    axes.legend()
    return drawn
