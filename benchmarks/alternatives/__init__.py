"""The same work, written as a competent user of each library writes it.

Every module has the same two functions,

    prepare_pretraining(W, z, z_aug, *, learning_rate) -> run
    prepare_training(W, x, y, *, q, learning_rate) -> run

JAX and PyTorch have the first once more, ``prepare_pretraining_as_written``: the loss as the paper or a usual
script has it, not in the library's fastest form.

``run(steps)`` takes that many steps of full-batch gradient descent from W and returns the last filters as a
NumPy array. Data is brought into the library's own arrays, and compiled, before: only ``run`` is timed.
Shapes: W (M, D), z and z_aug (n0, D); W (2, m, D), x (n, P, D), y (n,). Temperature 1.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Run = Callable[[int], Floats]
