"""The naive twin of every kernel: filters in R^d, loops over samples, derivations/model.md's formulas.

Nothing here is fast and nothing of numsim is imported: read it to see what is computed, and compare with
it to see whether the fast code computes the same. Symbols and sections are those of derivations/model.md.

Shapes: M = 2m filters, n0 unlabelled and n labelled samples, P patches a sample, d the dimension.
Losses accept complex filters (the imaginary part is a complex step): activations look at the real part.
"""

from .coefficients import pretraining_coefficients, supervised_coefficients
from .contrastive import (
    info_nce,
    info_nce_loss,
    info_nce_matrix,
    power_matrix,
    pretrain,
    pretrain_fresh_views,
    similarities,
    softmax_row,
)
from .losses import (
    activate,
    network_outputs,
    nt_xent_loss,
    rule_step,
    spectral_loss,
    supervised_loss,
)
from .samples import Drawn, draw, draw_noise, evaluate, margins
from .supervised import Trajectory, logistic_gradient, logistic_loss, outputs, train

__all__ = [
    "Drawn",
    "Trajectory",
    "activate",
    "draw",
    "draw_noise",
    "evaluate",
    "info_nce",
    "info_nce_loss",
    "info_nce_matrix",
    "logistic_gradient",
    "logistic_loss",
    "margins",
    "network_outputs",
    "nt_xent_loss",
    "outputs",
    "power_matrix",
    "pretrain",
    "pretrain_fresh_views",
    "pretraining_coefficients",
    "rule_step",
    "similarities",
    "softmax_row",
    "spectral_loss",
    "supervised_coefficients",
    "supervised_loss",
    "train",
]
