"""Closed forms only: what theory predicts, computed without any simulation.

spectrum     eigenvalues and alignment of the power matrix (P2, P6)
handover     growth, length of the linear stage and signal-to-noise ratio at its end (P3)
race         blow-up times of signal and noise, and who wins (S1, S4)
conditions   the theorems' conditions as a table (S6)
defaults     step sizes and initial scale derived from the above
"""

from .conditions import Condition, conditions
from .handover import coefficient_growth, handover_ratio, linear_stage_steps, saturation
from .race import Race, race
from .spectrum import Spectrum, fresh_view_spectrum, power_unit, spectrum

__all__ = [
    "Condition",
    "Race",
    "Spectrum",
    "coefficient_growth",
    "conditions",
    "fresh_view_spectrum",
    "handover_ratio",
    "linear_stage_steps",
    "power_unit",
    "race",
    "saturation",
    "spectrum",
]
