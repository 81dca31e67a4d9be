"""What an experiment is: its settings, their ranges, the rules between them, and what follows from them.

Symbols are those of theory.md section 1. A setting has a dotted name (``data.snr``) which is the same in a
TOML file, on the command line, in a sweep and in every fault. Anything wrong raises `ConfigError`, with
every fault at once, one line each.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isfinite, sqrt
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from .faults import ConfigError, fault
from .settings import (
    MOST,
    Count,
    Flag,
    NonNegative,
    Positive,
    Steps,
    check,
    flatten,
    integer,
    merge,
    nest,
    number,
)

__all__ = ["Data", "Evaluation", "Experiment", "Finetuning", "Network", "Pretraining", "compose"]

_DEFAULT_SNR = 0.2
_SMALLEST_SCALE, _LARGEST_SCALE = 1e-100, 1e100  # their squares and products stay inside float64


class _Part(BaseModel):
    """A group of settings, immutable, equal and hashed by value; its name is the class name in lower case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **values: object) -> None:
        part, faults = type(self).__name__.lower(), list[str]()
        super().__init__(**_checked(flatten({part: values}, _PARTS, faults), faults).get(part, {}))


class Data(_Part):
    """The signal-noise data (theory.md section 1): patches y*mu and noise xi.

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


class Network(_Part):
    """The two-layer CNN with activation max(0, z)^q (theory.md section 1).

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


class Pretraining(_Part):
    """The contrastive stage: gradient descent on InfoNCE (theory.md section 1).

    - samples: n0, unlabelled samples; 0 leaves the stage out.
    - temperature: tau, in the units of the similarities.
    - learning_rate: eta, step size; derived (theory.md P2) when not given.
    - steps: cap on the number of steps.
    - views: "fixed", one augmented view a sample, or "fresh", a new one each step.
    - overlap: a, the part of the noise an augmentation keeps (theory.md P6): 0 ideal, 1 none.
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


class Finetuning(_Part):
    """The supervised stage, the same for both arms: gradient descent on the logistic loss.

    - samples: n, labelled samples.
    - labelled: "fresh" samples, or a "subset" of the unlabelled ones.
    - learning_rate: eta, step size; derived (theory.md S6) when not given.
    - max_steps: cap on the number of steps.
    - target_loss: training loss epsilon at which to stop; 0 runs exactly max_steps.
    """

    samples: Count = 20
    labelled: Literal["fresh", "subset"] = "fresh"
    learning_rate: Positive | None = None
    max_steps: Steps = 1_000_000
    target_loss: NonNegative = 0.01


class Evaluation(_Part):
    """How the test loss and test error are measured.

    - samples: number of test samples, at least 2.
    """

    samples: Annotated[int, integer(2)] = 10_000


class Experiment(BaseModel):
    """One experiment: contrastive pre-training, then fine-tuning, and its direct twin.

    The defaults are the headline: n0 = 100, d = n0^4, SNR = 0.2, n = 20, m = 10, q = 3 (theory.md S5).
    Parts may be given as models or as dicts. Raises `ConfigError`.

    - data, network, pretraining, finetuning, evaluation: see their classes.
    - seed: root of all randomness, 0 to 2^63 - 1.
    - threads: BLAS threads of one run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # model_construct: the defaults need no check, and the tables that checks read stand below the classes.
    data: Data = Data.model_construct()
    network: Network = Network.model_construct()
    pretraining: Pretraining = Pretraining.model_construct()
    finetuning: Finetuning = Finetuning.model_construct()
    evaluation: Evaluation = Evaluation.model_construct()
    seed: Annotated[int, integer(0, 2**63 - 1, "an integer from 0 to 2^63 - 1")] = 0
    threads: Count = 1

    def __init__(self, **values: object) -> None:
        """Check every field and every rule between fields; raise `ConfigError` with all faults."""
        faults: list[str] = []
        super().__init__(**_checked(flatten(values, _PARTS, faults), faults, rules=True))

    @property
    def noise_norm(self) -> float:
        """sigma_p sqrt(d), the typical length of a noise patch."""
        return self.data.sigma_p * sqrt(self.data.dim)

    @property
    def signal_norm(self) -> float:
        """|mu|: as given, or SNR sigma_p sqrt(d)."""
        given = self.data.signal_norm
        return given if given is not None else self.snr * self.noise_norm

    @property
    def snr(self) -> float:
        """|mu|/(sigma_p sqrt(d)): as given, or from the signal norm."""
        if self.data.snr is not None:
            return self.data.snr
        given = self.data.signal_norm
        return given / self.noise_norm if given is not None else _DEFAULT_SNR

    @property
    def init_scale(self) -> float:
        """sigma_0: as given, or from the relative scale."""
        given = self.network.init_scale
        return given if given is not None else self.relative_init_scale / self.noise_norm

    @property
    def relative_init_scale(self) -> float:
        """sigma_0 sigma_p sqrt(d): as given, from sigma_0, or the default for this q."""
        if self.network.relative_init_scale is not None:
            return self.network.relative_init_scale
        if self.network.init_scale is not None:
            return self.network.init_scale * self.noise_norm
        from numsim.theory import defaults

        return _derive("network.relative_init_scale", defaults.relative_init_scale, q=self.network.q)

    @property
    def kappa(self) -> float:
        """n0 SNR^2, which decides the spectrum of pre-training (theory.md P2)."""
        return self.pretraining.samples * (self.snr * self.snr)

    @property
    def aspect(self) -> float:
        """The aspect ratio c = n0/d of the unlabelled set (theory.md P2)."""
        return self.pretraining.samples / self.data.dim

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as nested plain dicts, ready for JSON, without those that are not given."""
        return self.model_dump(exclude_none=True)

    def replace(self, overrides: Mapping[str, object]) -> "Experiment":
        """Return this experiment with the settings at a higher level on top (a sweep axis).

        ``overrides`` maps dotted names to values; None takes a setting back to "not given". What
        `resolved` has filled in counts as given: replace first, resolve afterwards.
        """
        return compose([self.as_dict(), overrides])

    def resolved(self) -> "Experiment":
        """Return the experiment as it is run: SNR, initial scale and learning rates filled in.

        The values come from numsim.theory.defaults. Without pre-training its learning rate stays out.
        """
        from numsim.theory import defaults

        data, network, pretraining = self.data, self.network, self.pretraining
        law = {"signal_norm": self.signal_norm, "sigma_p": data.sigma_p, "dim": data.dim}
        filled: dict[str, object] = {}
        if data.snr is None and data.signal_norm is None:
            filled["data.snr"] = _DEFAULT_SNR
        if network.init_scale is None and network.relative_init_scale is None:
            filled["network.relative_init_scale"] = self.relative_init_scale
        if pretraining.learning_rate is None and pretraining.samples > 0:
            filled["pretraining.learning_rate"] = _derive(
                "pretraining.learning_rate",
                defaults.pretraining_learning_rate,
                samples=pretraining.samples,
                temperature=pretraining.temperature,
                overlap=pretraining.overlap,
                **law,
            )
        if self.finetuning.learning_rate is None:
            filled["finetuning.learning_rate"] = _derive(
                "finetuning.learning_rate",
                defaults.supervised_learning_rate,
                samples=self.finetuning.samples,
                filters=network.filters,
                q=network.q,
                output_scale=network.output_scale,
                bias=network.bias,
                flips=self.data.flip_probability > 0,
                **law,
            )
        return self.replace(filled) if filled else self


def _derive(where: str, formula: Callable[..., float], **settings: Any) -> float:
    try:
        value = formula(**settings)
        if isfinite(value) and value > 0:
            return value
        reason = f"the formula gives {value!r}"
    except (ArithmeticError, ValueError) as error:
        reason = str(error)
    raise ConfigError(fault(where, "none", f"a value, since none can be derived ({reason})"))


_PARTS: dict[str, type[_Part]] = {
    part.__name__.lower(): part for part in (Data, Network, Pretraining, Finetuning, Evaluation)
}
_FIELDS: dict[str, TypeAdapter[Any]] = {
    f"{part}.{name}": TypeAdapter(field.rebuild_annotation())
    for part, model in _PARTS.items()
    for name, field in model.model_fields.items()
} | {
    name: TypeAdapter(field.rebuild_annotation())
    for name, field in Experiment.model_fields.items()
    if name not in _PARTS
}


def numeric_settings() -> dict[str, type]:
    """Dotted names of the settings that are numbers, with int or float: what a sweep can vary."""
    models = {f"{part}.": model.model_fields for part, model in _PARTS.items()} | {
        "": Experiment.model_fields
    }
    found = {
        f"{part}{name}": field.annotation for part, fields in models.items() for name, field in fields.items()
    }
    optional: dict[object, type] = {int: int, float: float, NonNegative | None: float, Positive | None: float}
    return {n: optional[kind] for n, kind in found.items() if kind in optional and n != "seed"}


def check_setting(name: str, value: object) -> tuple[Any, str]:
    """A setting's value with its type, and "" or what would have been right."""
    faults: list[str] = []
    sound, _ = check({name: value}, _PARTS, _FIELDS, faults)
    return sound.get(name), faults[0].partition(", expected ")[2] if faults else ""


def flat_settings(experiment: Experiment) -> dict[str, object]:
    """The settings that are given, by dotted name."""
    faults: list[str] = []
    return flatten(experiment.as_dict(), _PARTS, faults)


def _checked(flat: Mapping[str, object], faults: list[str], rules: bool = False) -> dict[str, Any]:
    """Return the tables with their types; raise `ConfigError` with all faults, these and those given."""
    sound, faulty = check(flat, _PARTS, _FIELDS, faults)
    nested = nest(sound)
    if rules:
        parts: Any = {name: part.model_construct(**nested.get(name, {})) for name, part in _PARTS.items()}
        candidate = Experiment.model_construct(**parts)
        faults += [line for involved, line in _rules(candidate) if not involved & faulty]
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
    return nested


def _rules(experiment: Experiment) -> Iterator[tuple[set[str], str]]:
    """Yield each rule between fields that is broken: the fields involved, and the fault."""
    data, n, n0 = experiment.data, experiment.finetuning.samples, experiment.pretraining.samples
    labelled, unlabelled = "finetuning.samples", "pretraining.samples"
    if experiment.finetuning.labelled == "subset" and n > n0:
        expected = f'at most {unlabelled} = {n0} with finetuning.labelled = "subset"'
        yield {labelled, unlabelled, "finetuning.labelled"}, fault(labelled, str(n), expected)
    for where, samples in ((unlabelled, n0), (labelled, n)):
        if data.balanced and samples % 2:
            expected = "an even number with data.balanced = true"
            yield {where, "data.balanced"}, fault(where, str(samples), expected)

    # Scales, each with the field it comes from; the noise first, since the others are multiples of it.
    noise = {"data.sigma_p", "data.dim"}
    signal = noise | {"data.snr", "data.signal_norm"}
    initial = noise | {"network.q", "network.init_scale", "network.relative_init_scale"}
    signal_field = "data.snr" if data.signal_norm is None else "data.signal_norm"
    init_field = f"network.{'relative_' if experiment.network.init_scale is None else ''}init_scale"
    for where, involved, name, symbol in (
        ("data.sigma_p", noise, "noise_norm", "sigma_p*sqrt(dim)"),
        (signal_field, signal, "signal_norm", "signal norm"),
        (signal_field, signal, "snr", "SNR"),
        (init_field, initial, "init_scale", "sigma_0"),
        (init_field, initial, "relative_init_scale", "sigma_0*sigma_p*sqrt(dim)"),
    ):
        try:
            scale: float = getattr(experiment, name)
        except ConfigError as error:  # no default for this q
            yield involved, str(error)
            return
        if not (_SMALLEST_SCALE <= scale <= _LARGEST_SCALE or (scale == 0 and involved == signal)):
            expected = f"it between {_SMALLEST_SCALE} and {_LARGEST_SCALE}, so that squares stay finite"
            yield involved, fault(where, f"{symbol} = {scale:.3g}", expected)
            return


def compose(levels: Iterable[object], faults: Sequence[str] = ()) -> Experiment:
    """Return the experiment that levels (lowest first) give; ``faults`` were found on reading them."""
    found = list(faults)
    flat = merge([flatten(level, _PARTS, found) for level in levels])
    checked = _checked(flat, found, rules=not faults)
    # Experiment(...) would check every value twice more, 140 us a cell of a sweep.
    parts: Any = {name: part.model_construct(**checked.pop(name, {})) for name, part in _PARTS.items()}
    return Experiment.model_construct(**parts, **checked)
