"""numsim: run a feature-learning theorem inside its own assumptions and see, number by number, if it holds.

Names are loaded when first used, so that ``import numsim`` costs little more than nothing.

Letters of shapes, everywhere:
    d   ambient dimension of a patch         D   width of the coordinates in use (at most d)
    m   filters per output sign              M   filters in all, 2m
    n   labelled samples                     n0  unlabelled samples
    P   patches of a sample                  K   entries of the patch dictionary
    T   steps                                R   recorded steps
Sources are quoted by claim, "P2" (derivations/README.md lists them), by equation of the model, or by paper:
Zhang and Cao (arXiv 2409.18685), Cao et al. 2022 (arXiv 2202.06526), Kou et al. 2023 (arXiv 2303.04145).
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import losses, theory
    from .claims.claim import Claim, Evidence
    from .claims.examination import verify
    from .config.errors import ConfigError
    from .config.experiment import Experiment
    from .config.sources import load
    from .descent.contrastive import info_nce
    from .descent.nt_xent import nt_xent, spectral_loss
    from .descent.power_matrix import power_matrix
    from .descent.pretraining import pretrain
    from .descent.supervised import logistic_loss, train
    from .models.samples import Samples
    from .models.space import compress
    from .runs.draw import Instance, draw
    from .runs.ensembles import run_many
    from .runs.result import Result
    from .runs.run import run
    from .runs.saved import load_result
    from .sweeps.study import sweep

__version__ = "0.1.0"

# An installed package holds its derivations. In a checkout they are the folder beside it, which is found
# without an install too: by python -m numsim, a script, a notebook, and the worker processes of each.
_here = os.path.dirname(os.path.abspath(__file__))
if not os.path.isdir(os.path.join(_here, "derivations")):
    __path__.append(os.path.dirname(_here))

_HOMES = {
    "Claim": "claims",
    "ConfigError": "config.errors",
    "Evidence": "claims",
    "Experiment": "config.experiment",
    "Instance": "runs.draw",
    "Result": "runs.result",
    "Samples": "models.samples",
    "compress": "models.space",
    "draw": "runs.draw",
    "info_nce": "descent.contrastive",
    "load": "config.sources",
    "load_result": "runs.saved",
    "logistic_loss": "descent.supervised",
    "losses": "",
    "nt_xent": "descent.nt_xent",
    "power_matrix": "descent.power_matrix",
    "pretrain": "descent.pretraining",
    "run": "runs.run",
    "run_many": "runs.ensembles",
    "spectral_loss": "descent.nt_xent",
    "sweep": "sweeps.study",
    "theory": "",
    "train": "descent.supervised",
    "verify": "claims",
}

__all__ = [
    "Claim",
    "ConfigError",
    "Evidence",
    "Experiment",
    "Instance",
    "Result",
    "Samples",
    "compress",
    "draw",
    "info_nce",
    "load",
    "load_result",
    "logistic_loss",
    "losses",
    "nt_xent",
    "power_matrix",
    "pretrain",
    "run",
    "run_many",
    "spectral_loss",
    "sweep",
    "theory",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'numsim' has no attribute {name!r}")
    if not _HOMES[name]:
        return import_module(f".{name}", __name__)
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
