"""What an experiment is: its settings, their ranges, the rules between them, and what follows from them.

Symbols are those of derivations/model.md. A setting has a dotted name (``data.snr``) which is the same in a
TOML file, on the command line, in a sweep and in every fault. Anything wrong raises `ConfigError`, with
every fault at once, one line each.

A configuration is either given, an `Experiment`, where what theory can derive may be left open; or
`Resolved`, where nothing is. What runs takes the second.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from math import isfinite, sqrt
from typing import Annotated, Any, Self

from pydantic import ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from .errors import ConfigError, explain, fault
from .parts import (
    PARTS,
    Complete,
    Data,
    Evaluation,
    Finetuning,
    Network,
    Pretraining,
    ResolvedData,
    ResolvedFinetuning,
    ResolvedNetwork,
    ResolvedPretraining,
    Settings,
    all_faults,
    names,
)
from .values import Count, NonNegative, Positive, flatten, integer, merge, nest

__all__ = ["Data", "Evaluation", "Experiment", "Finetuning", "Network", "Pretraining", "Resolved", "compose"]

_DEFAULT_SNR = 0.2
_SMALLEST_SCALE, _LARGEST_SCALE = 1e-100, 1e100  # their squares and products stay inside float64


class Experiment(Settings):
    """One experiment: contrastive pre-training, then fine-tuning, and its direct twin.

    The defaults are the headline: n0 = 100, d = n0^4, SNR = 0.2, n = 20, m = 10, q = 3 (S5).
    Parts may be given as models or as dicts. Raises `ConfigError`.

    - data, network, pretraining, finetuning, evaluation: see their classes.
    - seed: root of all randomness, 0 to 2^63 - 1.
    - threads: BLAS threads of one run.
    """

    data: Data = Data()
    network: Network = Network()
    pretraining: Pretraining = Pretraining()
    finetuning: Finetuning = Finetuning()
    evaluation: Evaluation = Evaluation()
    seed: Annotated[int, integer(0, 2**63 - 1, "an integer from 0 to 2^63 - 1")] = 0
    threads: Count = 1

    def __init__(self, /, **values: object) -> None:
        """Check every field and every rule between fields; raise `ConfigError` with all faults."""
        faults: list[str] = []
        flat = flatten(values, PARTS, faults)
        with all_faults(type(self), flat, faults):
            super().__init__(**nest(flat, PARTS))

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="after")
    def _keeps_the_rules(self) -> Self:
        if broken := list(_broken_rules(self)):
            raise ValidationError.from_exception_data("Experiment", broken)
        return self

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
        """n0 SNR^2, which decides the spectrum of pre-training (P2)."""
        return self.pretraining.samples * (self.snr * self.snr)

    @property
    def aspect(self) -> float:
        """The aspect ratio c = n0/d of the unlabelled set (P2)."""
        return self.pretraining.samples / self.data.dim

    def replace(self, overrides: Mapping[str, object]) -> "Experiment":
        """Return this experiment with the settings at a higher level on top (a sweep axis).

        ``overrides`` maps dotted names to values; None takes a setting back to "not given". What
        `resolved` has filled in counts as given: replace first, resolve afterwards.
        """
        return compose([self.as_dict(), overrides])

    def resolved(self) -> "Resolved":
        """Return the experiment as it is run: SNR, initial scale and learning rates filled in.

        The values come from numsim.theory.defaults.
        """
        return Resolved.filled(self)


class Resolved(Complete, Experiment):
    """An `Experiment` as it is run, with nothing left open. Made by ``Experiment.resolved``."""

    data: ResolvedData
    network: ResolvedNetwork
    pretraining: ResolvedPretraining
    finetuning: ResolvedFinetuning

    def resolved(self) -> "Resolved":
        """Return the experiment itself."""
        return self

    @classmethod
    def filled(cls, given: Experiment) -> Self:
        """The experiment with what is open filled in."""
        data, network, stage = given.data, given.network, given.pretraining
        no_stage = stage.samples == 0 and stage.learning_rate is None
        return cls.of(
            given,
            data=ResolvedData.of(
                data,
                "snr" if data.signal_norm is not None else "signal_norm",
                snr=given.snr,
                signal_norm=given.signal_norm,
            ),
            network=ResolvedNetwork.of(
                network,
                "relative_init_scale" if network.init_scale is not None else "init_scale",
                init_scale=given.init_scale,
                relative_init_scale=given.relative_init_scale,
            ),
            pretraining=ResolvedPretraining.of(
                stage,
                *["learning_rate"] * no_stage,
                learning_rate=0.0 if no_stage else _pretraining_rate(given),
            ),
            finetuning=ResolvedFinetuning.of(given.finetuning, learning_rate=_finetuning_rate(given)),
            evaluation=Evaluation.model_construct(**dict(given.evaluation)),  # all of it on record
        )


def _pretraining_rate(e: Experiment) -> float:
    """The step size of the contrastive stage: as given, or of theory."""
    if e.pretraining.learning_rate is not None:
        return e.pretraining.learning_rate
    from numsim.theory import defaults

    return _derive(
        "pretraining.learning_rate",
        defaults.pretraining_learning_rate,
        samples=e.pretraining.samples,
        temperature=e.pretraining.temperature,
        overlap=e.pretraining.overlap,
        signal_norm=e.signal_norm,
        sigma_p=e.data.sigma_p,
        dim=e.data.dim,
    )


def _finetuning_rate(e: Experiment) -> float:
    """The step size of the supervised stage: as given, or of theory."""
    if e.finetuning.learning_rate is not None:
        return e.finetuning.learning_rate
    from numsim.theory import defaults

    return _derive(
        "finetuning.learning_rate",
        defaults.supervised_learning_rate,
        samples=e.finetuning.samples,
        filters=e.network.filters,
        q=e.network.q,
        output_scale=e.network.output_scale,
        bias=e.network.bias,
        flips=e.data.flip_probability > 0,
        signal_norm=e.signal_norm,
        sigma_p=e.data.sigma_p,
        dim=e.data.dim,
    )


def _derive(where: str, formula: Callable[..., float], **settings: Any) -> float:
    try:
        value = formula(**settings)
        if isfinite(value) and value > 0:
            return value
        reason = f"the formula gives {value!r}"
    except (ArithmeticError, ValueError) as error:
        reason = str(error)
    raise ConfigError(fault(where, "none", f"a value, since none can be derived ({reason})"))


@cache
def numeric_settings() -> dict[str, type]:
    """Dotted names of the settings that are numbers, with int or float: what a sweep can vary."""
    models = {f"{part}.": model.model_fields for part, model in PARTS.items()} | {"": Experiment.model_fields}
    found = {
        f"{part}{name}": field.annotation for part, fields in models.items() for name, field in fields.items()
    }
    optional: dict[object, type] = {int: int, float: float, NonNegative | None: float, Positive | None: float}
    return {n: optional[kind] for n, kind in found.items() if kind in optional and n != "seed"}


def check_setting(name: str, value: object) -> tuple[Any, str]:
    """A setting's value with its type, and "" or what would have been right."""
    part, _, field = name.rpartition(".")
    try:
        return getattr(PARTS.get(part, Experiment).model_validate({field: value}), field), ""
    except ValidationError as error:
        first, *_ = explain(error, names(Experiment), part)
        return None, first.line.partition(", expected ")[2]


def flat_settings(experiment: Experiment) -> dict[str, object]:
    """The settings that are given, by dotted name."""
    return flatten(experiment.as_dict(), PARTS, [])


def compose(levels: Iterable[object], faults: Sequence[str] = ()) -> Experiment:
    """Return the experiment that levels (lowest first) give; ``faults`` were found on reading them."""
    found = list(faults)
    flat = merge([flatten(level, PARTS, found) for level in levels])
    with all_faults(Experiment, flat, found, rules=not faults):
        return Experiment.model_validate(nest(flat, PARTS))


def _broken_rules(e: Experiment) -> Iterator[InitErrorDetails]:
    """Yield each rule between settings that is broken."""
    data, n, n0 = e.data, e.finetuning.samples, e.pretraining.samples
    labelled, unlabelled = "finetuning.samples", "pretraining.samples"
    if e.finetuning.labelled == "subset" and n > n0:
        expected = f'at most {unlabelled} = {n0} with finetuning.labelled = "subset"'
        yield _broken(fault(labelled, str(n), expected), labelled, unlabelled, "finetuning.labelled")
    for where, samples in ((unlabelled, n0), (labelled, n)):
        if data.balanced and samples % 2:
            expected = "an even number with data.balanced = true"
            yield _broken(fault(where, str(samples), expected), where, "data.balanced")

    # Scales, each with the field it comes from; the noise first, since the others are multiples of it.
    noise = ("data.sigma_p", "data.dim")
    signal = (*noise, "data.snr", "data.signal_norm")
    initial = (*noise, "network.q", "network.init_scale", "network.relative_init_scale")
    signal_field = "data.snr" if data.signal_norm is None else "data.signal_norm"
    init_field = f"network.{'relative_' if e.network.init_scale is None else ''}init_scale"
    for where, involved, name, symbol in (
        ("data.sigma_p", noise, "noise_norm", "sigma_p*sqrt(dim)"),
        (signal_field, signal, "signal_norm", "signal norm"),
        (signal_field, signal, "snr", "SNR"),
        (init_field, initial, "init_scale", "sigma_0"),
        (init_field, initial, "relative_init_scale", "sigma_0*sigma_p*sqrt(dim)"),
    ):
        try:
            scale: float = getattr(e, name)
        except ConfigError as error:  # no default for this q
            yield _broken(str(error), *involved)
            return
        if not (_SMALLEST_SCALE <= scale <= _LARGEST_SCALE or (scale == 0 and involved == signal)):
            expected = f"it between {_SMALLEST_SCALE} and {_LARGEST_SCALE}, so that squares stay finite"
            yield _broken(fault(where, f"{symbol} = {scale:.3g}", expected), *involved)
            return


def _broken(line: str, *involved: str) -> InitErrorDetails:
    context = {"line": line, "involved": involved}
    return InitErrorDetails(type=PydanticCustomError("rule", "{line}", context), input=None)
