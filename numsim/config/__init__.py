"""What an experiment is: its settings, where they come from, and what is said when they are wrong."""

from .errors import ConfigError
from .experiment import Experiment, Resolved, compose
from .parts import Data, Evaluation, Finetuning, Network, Pretraining
from .sources import load

__all__ = [
    "ConfigError",
    "Data",
    "Evaluation",
    "Experiment",
    "Finetuning",
    "Network",
    "Pretraining",
    "Resolved",
    "compose",
    "load",
]
