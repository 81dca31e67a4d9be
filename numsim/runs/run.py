"""A run: an experiment and a seed, to a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config.experiment import Experiment
from ..config.sources import Given, as_experiment
from ..descent.blas import blas_threads
from ..models.samples import Samples
from .draw import draw
from .simulate import Report, simulate

if TYPE_CHECKING:
    from .result import Result

__all__ = ["run"]


def run(
    experiment: Experiment | Given,
    seed: int | None = None,
    *,
    data: Samples | None = None,
    report: Report | None = None,
) -> Result:
    """Simulate both arms of the two-stage experiment, exactly in law at any dimension.

    Parameters
    ----------
    experiment : what to simulate: an Experiment, the name of a preset, the path of a file, or a mapping of
        settings.
    seed : replaces ``experiment.seed``.
    data : one's own arrays in the place of drawn data.
    report : called as report(stage, step, loss) a few times a second.

    Returns
    -------
    Result : ``.simclr`` (None without pre-training), ``.direct``, ``.pretraining``, ``.theory``.

    Same experiment, seed, library versions and CPU type: same bits, in whatever company of other runs.

    Raises
    ------
    ConfigError : settings that cannot be run, all faults at once.
    """
    from .result import Result

    experiment = as_experiment(experiment, data)
    if seed is not None:
        experiment = experiment.replace({"seed": seed})
    e = experiment.resolved()
    with blas_threads(e.threads):
        return Result.of(simulate(e, draw(e), report=report))
