"""The parts of an experiment as they are given, and resolved; how pydantic's findings become our faults.

Symbols are those of derivations/model.md. What is optional in the given parts is not in the resolved ones.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import ConfigError, Fault, explain
from .values import MOST, Count, Flag, NonNegative, Positive, Steps, flatten, integer, nest, number

__all__ = [
    "PARTS",
    "Complete",
    "Data",
    "Evaluation",
    "Finetuning",
    "Network",
    "Part",
    "Pretraining",
    "ResolvedData",
    "ResolvedFinetuning",
    "ResolvedNetwork",
    "ResolvedPretraining",
    "Settings",
    "all_faults",
    "names",
]


def names(model: type[BaseModel]) -> list[str]:
    """The dotted names of all settings of parts, and of the model's own."""
    own = [] if issubclass(model, Part) else [name for name in model.model_fields if name not in PARTS]
    return [f"{part}.{name}" for part, fields in PARTS.items() for name in fields.model_fields] + own


@contextmanager
def all_faults(
    model: type[BaseModel], flat: Mapping[str, Any], faults: list[str], part: str = "", rules: bool = True
) -> Iterator[None]:
    """Raise all that pydantic finds wrong, and the faults given, as one `ConfigError`.

    flat : the settings by dotted name; part : the name of the part that the model is, "" for an experiment;
    rules : whether to tell of broken rules between settings.
    """
    try:
        yield
    except ValidationError as error:
        faults += _lines(error, model, flat, part, rules)
    if faults:
        raise ConfigError(*dict.fromkeys(faults))


def _lines(
    error: ValidationError, model: type[BaseModel], flat: Mapping[str, Any], part: str, rules: bool
) -> list[str]:
    """The lines of all faults of settings, as they were given, and of all broken rules between sound ones.

    pydantic tries the rules only where every setting is sound. So it is asked again without those that are
    not, until nothing but rules is left to say.
    """
    found: list[Fault] = []
    unsound: set[str] = set()
    left: ValidationError | None = error
    while left is not None:
        told = explain(left, names(model), part)
        found += [one for one in told if not one.rule or (rules and not one.concerns(unsound))]
        news = {one.settings[0] for one in told if not one.rule} & flat.keys() - unsound
        unsound |= news
        left = (
            _error(model, {n: value for n, value in flat.items() if n not in unsound}, part) if news else None
        )
    place = {name: k for k, name in enumerate(flat)}
    found.sort(key=lambda one: len(place) if one.rule else place.get(one.settings[0], len(place)))
    return [one.line for one in found]


def _error(model: type[BaseModel], flat: Mapping[str, Any], part: str) -> ValidationError | None:
    tables = nest(flat, PARTS)
    try:
        model.model_validate(tables.get(part, {}) if part else tables)
    except ValidationError as error:
        return error
    return None


class Settings(BaseModel):
    """Settings, immutable, equal and hashed by value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as nested plain dicts, ready for JSON, without those that are not given."""
        return self.model_dump(exclude_none=True)


class Part(Settings):
    """A group of settings; its name is the class name in lower case."""

    def __init__(self, /, **values: object) -> None:
        """Check every field; raise `ConfigError` with all faults."""
        name, faults = type(self).__name__.lower(), list[str]()
        flat = flatten({name: values}, {name: type(self)}, faults)
        with all_faults(type(self), flat, faults, name):
            super().__init__(**nest(flat, [name]).get(name, {}))

    # Without this mark pydantic would call __init__ also for a part of an experiment, and end at its faults.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


class Data(Part):
    """The signal-noise data (derivations/model.md (1)): patches y*mu and noise xi.

    - dim: d, dimension of a patch, 1 to 1e15.
    - snr: SNR = |mu|/(sigma_p sqrt(d)); 0.2 when neither this nor signal_norm is given.
    - signal_norm: |mu|, in the units of sigma_p; the alternative to snr; 0 allowed.
    - sigma_p: noise level, standard deviation of one noise coordinate.
    - projected: whether the noise is projected off mu, xi ~ N(0, sigma_p^2 (I - mu mu^T/|mu|^2)).
    - flip_probability: p, chance that an observed label is flipped, below 1/2.
    - balanced: whether exactly half the labels have each sign.
    """

    dim: Annotated[int, integer(1, 10**15, "an integer from 1 to 1e15")] = 10**8
    snr: NonNegative | None = None
    signal_norm: NonNegative | None = None
    sigma_p: Positive = 1.0
    projected: Flag = True
    flip_probability: Annotated[
        float, number(float, lambda p: 0 <= p < 0.5, "a number from 0 to below 0.5")
    ] = 0.0
    balanced: Flag = False


class Network(Part):
    """The two-layer CNN with activation max(0, z)^q (derivations/model.md (4)).

    - filters: m, filters per output sign, 2m in all.
    - q: activation power, real, at least 1 (1 is ReLU).
    - init_scale: sigma_0, standard deviation of an initial weight.
    - relative_init_scale: sigma_0 sigma_p sqrt(d), a pure number, the alternative to init_scale; derived
      from q when neither is given.
    - output_scale: factor on the output f; 1 is the mean over m filters.
    - bias: whether each filter has a trained bias (supervised stage only).
    """

    filters: Count = 10
    q: Annotated[float, number(float, lambda q: q >= 1, "a finite number, at least 1")] = 3.0
    init_scale: Positive | None = None
    relative_init_scale: Positive | None = None
    output_scale: Positive = 1.0
    bias: Flag = False


class Pretraining(Part):
    """The contrastive stage: gradient descent on InfoNCE (derivations/model.md (6)).

    - samples: n0, unlabelled samples; 0 leaves the stage out.
    - temperature: tau, in the units of the similarities.
    - learning_rate: eta, step size; derived (P2) when not given.
    - steps: cap on the number of steps.
    - views: "fixed", one augmented view a sample, or "fresh", a new one each step.
    - overlap: a, the part of the noise an augmentation keeps (P6): 0 ideal, 1 none.
    - stop_at_linear_end: whether to stop at the first step with max|s|/tau > 0.3.
    """

    samples: Annotated[
        int,
        number(
            int,
            lambda n0: n0 == 0 or 2 <= n0 <= MOST,
            f"0 (no pre-training) or an integer from 2 to {MOST} (InfoNCE needs a negative)",
        ),
    ] = 100
    temperature: Positive = 1.0
    learning_rate: Positive | None = None
    steps: Steps = 2000
    views: Literal["fixed", "fresh"] = "fixed"
    overlap: Annotated[float, number(float, lambda a: 0 <= a <= 1, "a number from 0 to 1")] = 0.0
    stop_at_linear_end: Flag = True


class Finetuning(Part):
    """The supervised stage, the same for both arms: gradient descent on the logistic loss.

    - samples: n, labelled samples.
    - labelled: "fresh" samples, or a "subset" of the unlabelled ones.
    - learning_rate: eta, step size; derived (S6) when not given.
    - max_steps: cap on the number of steps.
    - target_loss: training loss epsilon at which to stop; 0 runs exactly max_steps.
    """

    samples: Count = 20
    labelled: Literal["fresh", "subset"] = "fresh"
    learning_rate: Positive | None = None
    max_steps: Steps = 1_000_000
    target_loss: NonNegative = 0.01


class Evaluation(Part):
    """How the test loss and test error are measured.

    - samples: number of test samples, at least 2.
    """

    samples: Annotated[int, integer(2)] = 10_000


PARTS: dict[str, type[Part]] = {
    part.__name__.lower(): part for part in (Data, Network, Pretraining, Finetuning, Evaluation)
}


class Complete(Settings):
    """Settings of which none is open. pydantic's "set" fields are those on record, the rest follows."""

    def __init__(self, /, **values: object) -> None:
        """Refuse: what follows from what would not be known."""
        raise TypeError("a resolved configuration is made by Experiment(...).resolved()")

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as nested plain dicts, ready for JSON, without what follows from the others.

        That is one of the signal norm and the SNR, one of the initial scales, and the learning rate of a
        contrastive stage that is left out.
        """
        return self.model_dump(exclude_unset=True)

    @classmethod
    def of(cls, given: Settings, *off_record: str, **derived: Any) -> Self:
        """These settings, the derived ones filled in; off_record : names that ``as_dict`` leaves out."""
        values = dict(given) | derived
        return cls.model_construct({*values}.difference(off_record), **values)


class ResolvedData(Complete, Data):
    """`Data` with both names of the signal's length."""

    snr: float
    signal_norm: float


class ResolvedNetwork(Complete, Network):
    """`Network` with both names of the initial scale."""

    init_scale: float
    relative_init_scale: float


class ResolvedPretraining(Complete, Pretraining):
    """`Pretraining` with its step size, 0 where the stage is left out."""

    learning_rate: float


class ResolvedFinetuning(Complete, Finetuning):
    """`Finetuning` with its step size."""

    learning_rate: float
