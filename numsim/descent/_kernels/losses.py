"""Every loss by the type of its task: a kernel (inner, task, out) -> loss, and when its stage ends."""

from .._jit import ByTask
from .contrastive import InfoNCE, NTXent, Spectral, info_nce, linear_end, never, nt_xent, spectral
from .supervised import Logistic, Squared, below_target, logistic, squared

__all__ = ["increments", "reached"]

increments = ByTask(3)
"""increments.call(inner (M, K), task, out (M, K)): the loss; minus its gradient's coefficients go to out."""

reached = ByTask(4)
"""reached.call(inner, task, loss, threshold): the code of the stage's end, or GO_ON."""

for _task, _kernel in ((Logistic, logistic), (Squared, squared)):
    increments.add(_task, _kernel)
    reached.add(_task, below_target)

for _contrastive, _pull, _ended in (
    (InfoNCE, info_nce, linear_end),
    (NTXent, nt_xent, never),
    (Spectral, spectral, never),
):
    increments.add(_contrastive, _pull)
    reached.add(_contrastive, _ended)
