"""The parts of an experiment as they are given, and resolved; how pydantic's findings become our faults.

Symbols are those of derivations/model.md. What is optional in the given parts is not in the resolved ones.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from ..descent.rules import Rule
from ..models.samples import Samples, load_samples
from .errors import ConfigError, Fault, explain
from .values import (
    MOST,
    Count,
    Flag,
    NonNegative,
    Positive,
    Rows,
    Steps,
    Table,
    flatten,
    integer,
    nest,
    number,
    optional_table,
    rows,
)

LOSSES = ("logistic", "squared")
"""Supervised losses by name; losses.py has them (tests/test_rules.py holds the names together)."""

__all__ = [
    "LOSSES",
    "PARTS",
    "RULES",
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

    later: ClassVar[frozenset[str]] = frozenset()
    """Settings that came later: dumps leave them out at their default, so that older names stay."""

    open: ClassVar[frozenset[str]] = frozenset()
    """Settings whose default is another one with own arrays: given only where somebody gave them."""

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as nested plain dicts, ready for JSON, without those that are not given."""
        return self._without_later(self.model_dump(exclude_none=True))

    def given(self) -> dict[str, Any]:
        """Return the settings that are given or have a default of their own, without what follows."""
        return self._without_open(self.model_dump(exclude_none=True))

    def _without_open(self, dumped: dict[str, Any]) -> dict[str, Any]:
        for name in self.open - self.model_fields_set:
            dumped.pop(name, None)
        for name, value in self:
            if isinstance(value, Settings) and name in dumped:
                value._without_open(dumped[name])
        return dumped

    def _without_later(self, dumped: dict[str, Any]) -> dict[str, Any]:
        fields = type(self).model_fields
        for name in self.later & dumped.keys():
            if dumped[name] == fields[name].default:
                del dumped[name]
        for name, value in self:
            if isinstance(value, Settings) and name in dumped:
                value._without_later(dumped[name])
        if isinstance(
            self, Pretraining
        ):  # these were settings with defaults before they followed from the loss
            known = self.derived() | dumped
            dumped.clear()
            dumped |= {name: known[name] for name in fields if name in known}
        return dumped


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


def _loss(value: object) -> str:
    if isinstance(value, str) and (value in LOSSES or re.fullmatch(r".+\.py:\w+", value)):
        return value
    raise PydanticCustomError("loss", f"one of {', '.join(LOSSES)}, or FILE.py:NAME of one's own")


def _file(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        return os.path.abspath(os.fsdecode(value))
    raise PydanticCustomError("file", "the path of an .npz file")


def _classes(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"\d \d", value):  # as axes of sweeps have them
        value = [int(digit) for digit in value.split()]
    digits = [x for x in value if type(x) is int and 0 <= x <= 9] if isinstance(value, list | tuple) else []
    if len(digits) == 2 and isinstance(value, list | tuple) and len(value) == 2 and digits[0] != digits[1]:
        return digits[0], digits[1]
    raise PydanticCustomError("classes", "two different digits from 0 to 9, such as [3, 7]")


def _arrays(value: object) -> Samples | str | None:
    if value is None or isinstance(value, Samples) or (isinstance(value, str) and value):
        return value
    raise PydanticCustomError("arrays", "numsim.Samples(x, y, x_test, y_test, ...)")


class Data(Part):
    """The signal-noise data (derivations/model.md (1)): patches y*mu and noise xi.

    - dim: d, dimension of a patch, 1 to 1e15.
    - snr: SNR = |mu|/(sigma_p sqrt(d)); 0.2 when neither this nor signal_norm is given.
    - signal_norm: |mu|, in the units of sigma_p; the alternative to snr; 0 allowed.
    - sigma_p: noise level, standard deviation of one noise coordinate.
    - projected: whether the noise is projected off mu, xi ~ N(0, sigma_p^2 (I - mu mu^T/|mu|^2)).
    - flip_probability: p, chance that an observed label is flipped, below 1/2.
    - balanced: whether exactly half the labels have each sign; of a mixture, whether clusters are in exact
      proportion to their weights.
    - signals, cosines, noise, clusters: a mixture, as tables (tables.py).
    - file: an .npz file with one's own arrays x, y, x_test, y_test and, if any, unlabelled, views, images
      (numsim.Samples), instead of all that is drawn.
    - source: "digits", images of two classes that come with scikit-learn; classes: which two of 0 to 9;
      test_share: of the images of each class, for the test; noise_patch: 0, or the standard deviation of a
      second, Gaussian patch in units of the images' root-mean-square length over sqrt(d).
    - centred: whether the mean patch is taken off all own arrays.
    - arrays: numsim.Samples, or the hash of the arrays that a result was made from.
    """

    later = frozenset(
        {"signals", "cosines", "noise", "clusters", "file", "source", "classes"}
        | {"centred", "noise_patch", "test_share", "arrays"}
    )
    open = frozenset({"dim", "sigma_p"})

    dim: Annotated[int, integer(1, 10**15, "an integer from 1 to 1e15")] = 10**8
    snr: NonNegative | None = None
    signal_norm: NonNegative | None = None
    sigma_p: Positive = 1.0
    projected: Flag = True
    flip_probability: Annotated[
        float, number(float, lambda p: 0 <= p < 0.5, "a number from 0 to below 0.5")
    ] = 0.0
    balanced: Flag = False
    signals: Annotated[Table | None, PlainValidator(optional_table)] = None
    cosines: Annotated[Table | None, PlainValidator(optional_table)] = None
    noise: Annotated[Table | None, PlainValidator(optional_table)] = None
    clusters: Annotated[Rows | None, PlainValidator(rows)] = None
    file: Annotated[str | None, PlainValidator(_file)] = None
    source: Literal["digits"] | None = None
    classes: Annotated[tuple[int, int] | None, PlainValidator(_classes)] = None
    centred: Flag = False
    noise_patch: NonNegative = 0.0
    test_share: Annotated[float, number(float, lambda s: 0 < s < 1, "a number between 0 and 1")] = 0.5
    arrays: Annotated[Any, PlainValidator(_arrays)] = None

    @property
    def own(self) -> bool:
        """Whether the data are arrays, and not drawn."""
        return not (self.file is None and self.source is None and self.arrays is None)

    def _without_later(self, dumped: dict[str, Any]) -> dict[str, Any]:
        if isinstance(self.arrays, Samples) or self.file is not None:
            arrays = load_samples(self.file) if self.file is not None else self.arrays
            dumped.pop("file", None)
            dumped["arrays"] = arrays.digest
        return super()._without_later(dumped)


class Network(Part):
    """The two-layer CNN with activation max(0, z)^q (derivations/model.md (4)).

    - filters: m, filters per output sign, 2m in all.
    - q: activation power, real, at least 1 (1 is ReLU).
    - init_scale: sigma_0, standard deviation of an initial weight.
    - relative_init_scale: sigma_0 sigma_p sqrt(d), a pure number, the alternative to init_scale; derived
      from q when neither is given.
    - output_scale: factor on the output f; 1 is the mean over m filters.
    - bias: whether each filter has a trained bias (supervised stage only).
    - activation: "relu", max(0, z)^q; "power", sign(z) |z|^q; "leaky", smooth, slope z below 0 and z beyond
      width but for a constant (descent/network.py); it ignores q.
    - slope, width: of "leaky".
    """

    later = frozenset({"activation", "slope", "width"})

    filters: Count = 10
    q: Annotated[float, number(float, lambda q: q >= 1, "a finite number, at least 1")] = 3.0
    init_scale: Positive | None = None
    relative_init_scale: Positive | None = None
    output_scale: Positive = 1.0
    bias: Flag = False
    activation: Literal["relu", "power", "leaky"] = "relu"
    slope: Annotated[float, number(float, lambda a: 0 <= a <= 1, "a number from 0 to 1")] = 0.1
    width: Positive = 1.0


RULES = frozenset({"momentum", "weight_decay", "batch", "clip_norm", "sam_radius", "schedule"})


class _Descent(Part):
    """What both stages have: how a step moves the filters (descent/rules.py).

    - momentum: beta, below 1.
    - weight_decay: lambda, which shrinks the initial filters too.
    - batch: samples a step, a divisor of their number; 0 all of them.
    - clip_norm: norm over all filters at which gradients are clipped; 0 never.
    - sam_radius: radius of the sharpness-aware perturbation; 0 none.
    - schedule: of the step size, "constant" or "cosine", down to 0 at the cap on steps.
    """

    momentum: Annotated[float, number(float, lambda b: 0 <= b < 1, "a number from 0 to below 1")] = 0.0
    weight_decay: NonNegative = 0.0
    batch: Steps = 0
    clip_norm: NonNegative = 0.0
    sam_radius: NonNegative = 0.0
    schedule: Literal["constant", "cosine"] = "constant"

    @property
    def rule(self) -> Rule:
        """The rule of these settings."""
        flips = getattr(self, "label_noise", 0.0)
        return Rule(**{name: getattr(self, name) for name in RULES}, label_noise=flips)


class Pretraining(_Descent):
    """The contrastive stage: gradient descent on InfoNCE (derivations/model.md (6)).

    - samples: n0, unlabelled samples; 0 leaves the stage out.
    - temperature: tau, in the units of the similarities; 0.5 for NT-Xent and 1 for InfoNCE when not given,
      the spectral loss has none.
    - learning_rate: eta, step size; derived (P2) when not given.
    - steps: cap on the number of steps.
    - views: "fixed", one augmented view a sample, or "fresh", a new one each step.
    - overlap: a, the part of the noise an augmentation keeps (P6): 0 ideal, 1 none.
    - stop_at_linear_end: whether to stop at the first step with max|s|/tau > 0.3; unnormalised InfoNCE of a
      linear encoder does when this is not given, others have no such stage.
    - loss: "info_nce", "nt_xent" (symmetric, 2 n0 anchors) or "spectral" (descent/nt_xent.py).
    - normalised: whether features are divided by their length; when not given, for "nt_xent".
    - encoder: "linear", or "network", features sum_p sigma(<w, x_p>) with the network's activation.
    - q: activation power of that encoder; the network's when not given.
    - signal_kept: s, chance that a view keeps its signals (P9), all of a view together.
    - momentum, weight_decay, batch, clip_norm, sam_radius, schedule: the rule (descent/rules.py).
    """

    later = RULES | {"signal_kept", "loss", "normalised", "encoder", "q"}
    open = frozenset({"samples"})

    samples: Annotated[
        int,
        number(
            int,
            lambda n0: n0 == 0 or 2 <= n0 <= MOST,
            f"0 (no pre-training) or an integer from 2 to {MOST} (InfoNCE needs a negative)",
        ),
    ] = 100
    temperature: Positive | None = None
    learning_rate: Positive | None = None
    steps: Steps = 2000
    views: Literal["fixed", "fresh"] = "fixed"
    overlap: Annotated[float, number(float, lambda a: 0 <= a <= 1, "a number from 0 to 1")] = 0.0
    stop_at_linear_end: Flag | None = None
    loss: Literal["info_nce", "nt_xent", "spectral"] = "info_nce"
    normalised: Flag | None = None
    encoder: Literal["linear", "network"] = "linear"
    q: Annotated[float, number(float, lambda q: q >= 1, "a finite number, at least 1")] | None = None
    signal_kept: Annotated[float, number(float, lambda s: 0 <= s <= 1, "a number from 0 to 1")] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _what_follows_is_not_given(cls, values: Any) -> Any:
        """What follows from the loss is left open also where it is written out: as_dict writes it out."""
        if not isinstance(values, dict):
            return values
        loss, unit = values.get("loss", "info_nce"), values.get("normalised")
        stage = loss == "info_nce" and not unit and values.get("encoder", "linear") == "linear"
        temperature = values.get("temperature")
        left: set[str] = set()
        if isinstance(temperature, float | int) and temperature == (0.5 if loss == "nt_xent" else 1.0):
            left = {"temperature"} if loss != "spectral" and not isinstance(temperature, bool) else left
        if values.get("stop_at_linear_end") is stage:
            left = left | {"stop_at_linear_end"}
        return {name: value for name, value in values.items() if name not in left}

    @property
    def unit(self) -> bool:
        """Whether features are normalised, as given or as the loss has it."""
        return self.loss == "nt_xent" if self.normalised is None else self.normalised

    @property
    def has_linear_stage(self) -> bool:
        """Whether it is unnormalised InfoNCE of a linear encoder."""
        return self.loss == "info_nce" and self.encoder == "linear" and not self.unit

    @property
    def tau(self) -> float:
        """The temperature, as given or as the loss has it; 1 for the spectral loss, which has none."""
        return self.temperature or (0.5 if self.loss == "nt_xent" else 1.0)

    def derived(self) -> dict[str, Any]:
        """What follows from the loss and the encoder where it is not given."""
        stops = self.has_linear_stage if self.stop_at_linear_end is None else self.stop_at_linear_end
        return ({} if self.loss == "spectral" else {"temperature": self.tau}) | {"stop_at_linear_end": stops}


class Finetuning(_Descent):
    """The supervised stage, the same for all arms but for what they override: descent on a loss.

    - samples: n, labelled samples.
    - labelled: "fresh" samples, or a "subset" of the unlabelled ones.
    - learning_rate: eta, step size; derived (S6) when not given.
    - max_steps: cap on the number of steps.
    - target_loss: training loss epsilon at which to stop; 0 runs exactly max_steps.
    - loss: "logistic", "squared", (1/2) mean (f - y)^2, or "FILE.py:NAME" of one's own (numsim.losses).
    - label_noise: chance that a label is flipped, anew every step.
    - clusters: of the labelled data, where they are not those of all data.
    - momentum, weight_decay, batch, clip_norm, sam_radius, schedule: the rule (descent/rules.py).
    """

    later = RULES | {"loss", "label_noise", "clusters"}
    open = frozenset({"samples"})

    samples: Count = 20
    labelled: Literal["fresh", "subset"] = "fresh"
    learning_rate: Positive | None = None
    max_steps: Steps = 1_000_000
    target_loss: NonNegative = 0.01
    loss: Annotated[str, PlainValidator(_loss)] = "logistic"
    label_noise: Annotated[float, number(float, lambda p: 0 <= p < 0.5, "a number from 0 to below 0.5")] = 0.0
    clusters: Annotated[Rows | None, PlainValidator(rows)] = None


class Evaluation(Part):
    """How the test loss and test error are measured.

    - samples: number of test samples, at least 2.
    - every: steps after which test loss and error are measured along the way, too; 0 only at the end.
    - clusters: of the test data, where they are not those of the labelled data.
    """

    later = frozenset({"every", "clusters"})
    open = frozenset({"samples"})

    samples: Annotated[int, integer(2)] = 10_000
    every: Steps = 0
    clusters: Annotated[Rows | None, PlainValidator(rows)] = None


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
        return self._without_later(self.given())

    def given(self) -> dict[str, Any]:
        """Return the settings that are on record."""
        return self.model_dump(exclude_unset=True, exclude_none=True)

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
    """`Pretraining` with its step size, 0 where the stage is left out, and all that follows from the loss."""

    learning_rate: float
    temperature: float
    stop_at_linear_end: bool
    normalised: bool
    q: float


class ResolvedFinetuning(Complete, Finetuning):
    """`Finetuning` with its step size."""

    learning_rate: float
