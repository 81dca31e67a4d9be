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
from sys import float_info
from typing import Annotated, Any, Literal, Self, get_origin

import numpy as np
from pydantic import Field, PlainValidator, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from ..models.mixture import Mixture, Mixtures
from ..models.samples import Source
from .arms import DEFAULT_ARMS, SKIP, Plan, arm_faults
from .errors import ConfigError, explain, fault
from .own_arrays import facts_of, own_faults, sizes_of, source_of
from .parts import (
    LOSSES,
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
from .tables import has_table, mixtures_of, table_faults
from .values import ARMS, TABLES, Count, NonNegative, Positive, Table, flatten, integer, merge, nest, table

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
    - theorem: whose conditions are printed: "S6", the first paper's, or "L1", "L2", "X1", "A1"
      (theory/regimes.py); S6 where not given.
    - arms: named overrides of settings that change no draw, by dotted name; none given: simclr and direct.
    """

    later = frozenset({"arms", "theorem"})

    data: Data = Data()
    network: Network = Network()
    pretraining: Pretraining = Pretraining()
    finetuning: Finetuning = Finetuning()
    evaluation: Evaluation = Evaluation()
    seed: Annotated[int, integer(0, 2**63 - 1, "an integer from 0 to 2^63 - 1")] = 0
    threads: Count = 1
    theorem: Literal["S6", "L1", "L2", "X1", "A1"] | None = None
    arms: Annotated[Table, PlainValidator(table)] = Table()

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

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as nested plain dicts; with own arrays without those that follow from them."""
        return self._without_later(self.given()) if self.data.own else super().as_dict()

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
    def table(self) -> bool:
        """Whether the data are given as a table of clusters, signals or noises."""
        return has_table(self)

    @property
    def mixtures(self) -> Mixtures:
        """The tables: of all data, of the labelled and of the test data."""
        return mixtures_of(self)

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The arms in order; the default ones where none are given."""
        return tuple(self.arms or DEFAULT_ARMS)

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
        return compose([self.given(), overrides])

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
    plans: tuple[Plan, ...] = Field(default=(), exclude=True)
    """The arms as they are run, in order. Without a contrastive stage the default simclr is none of them."""

    def resolved(self) -> "Resolved":
        """Return the experiment itself."""
        return self

    @classmethod
    def filled(cls, given: Experiment) -> Self:
        """The experiment with what is open filled in."""
        source = source_of(given.data)
        if source is not None:
            given = given.replace(facts_of(given, source))
        data, network = given.data, given.network
        pretraining, finetuning = _stages(given)
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
            pretraining=pretraining,
            finetuning=finetuning,
            evaluation=Evaluation.model_construct(**dict(given.evaluation)),  # all of it on record
            plans=_plans(given, (pretraining, finetuning)),
        )


def _overridden(given: Experiment, overrides: Mapping[str, Any]) -> Experiment:
    """The experiment of an arm alone, from the base's as given."""
    base = {name: value for name, value in given.given().items() if name != ARMS}
    return compose([base, {name: value for name, value in overrides.items() if name != SKIP}])


def _stages(given: Experiment) -> tuple[ResolvedPretraining, ResolvedFinetuning]:
    """Both stages with their step sizes."""
    stage = given.pretraining
    no_stage = stage.samples == 0 and stage.learning_rate is None
    return (
        ResolvedPretraining.of(
            stage,
            *["learning_rate"] * no_stage,
            *[name for name in ("normalised", "q") if getattr(stage, name) is None],
            *["temperature"] * (stage.loss == "spectral"),
            learning_rate=0.0 if no_stage else _pretraining_rate(given),
            normalised=stage.unit,
            q=given.network.q if stage.q is None else stage.q,
            **({"temperature": stage.tau} | stage.derived()),
        ),
        ResolvedFinetuning.of(given.finetuning, learning_rate=_finetuning_rate(given)),
    )


def _plans(given: Experiment, base: tuple[ResolvedPretraining, ResolvedFinetuning]) -> tuple[Plan, ...]:
    plans = []
    for name, overrides in (given.arms or DEFAULT_ARMS).items():
        own_settings = overrides.keys() - {SKIP}
        pretraining, finetuning = _arm_stages(given, name, overrides) if own_settings else base
        skipped = overrides.get(SKIP, False) or not given.pretraining.samples
        if skipped and not given.arms and name == "simclr":
            continue
        own = not skipped and any(setting.startswith("pretraining.") for setting in overrides)
        plans.append(Plan(name, None if skipped else pretraining, finetuning, Table(overrides), own))
    return tuple(plans)


def _arm_stages(
    given: Experiment, name: str, overrides: Mapping[str, Any]
) -> tuple[ResolvedPretraining, ResolvedFinetuning]:
    try:
        return _stages(_overridden(given, overrides))
    except ConfigError as error:
        raise ConfigError(*(f"{ARMS}.{name}.{line}" for line in error.faults)) from None


def _pretraining_rate(e: Experiment) -> float:
    """The step size of the contrastive stage: as given, or of theory."""
    if e.pretraining.learning_rate is not None:
        return e.pretraining.learning_rate
    from numsim.theory import defaults

    if e.pretraining.encoder == "network":
        expected = 'a value, since none can be derived for pretraining.encoder = "network"'
        raise ConfigError(fault("pretraining.learning_rate", "none", expected))
    temperature = 0.5 if e.pretraining.loss == "spectral" else e.pretraining.tau
    seen = e.pretraining.batch or e.pretraining.samples
    source = source_of(e.data)
    if source is not None:
        rate, square = _rate_on_arrays(source, seen, temperature)
    else:
        signal, sigma_p = e.signal_norm, e.data.sigma_p
        if e.table:
            signal, sigma_p = _lengths(e, e.mixtures.data, sums=True)
        rate, square = (
            _derive(
                "pretraining.learning_rate",
                defaults.pretraining_learning_rate,
                samples=seen,
                temperature=temperature,
                overlap=e.pretraining.overlap,
                signal_norm=signal,
                sigma_p=sigma_p,
                dim=e.data.dim,
            ),
            signal**2 + sigma_p**2 * e.data.dim,
        )
    features = 2 * e.network.filters * e.init_scale**2 * square  # mean |h|^2 at the start
    if e.pretraining.unit:  # gradients are of order |W|^-1, and W is of the initial scale
        rate *= features
    elif e.pretraining.loss == "spectral":  # its repulsion is of third order in features
        rate /= 1 + features
    return rate * (1 - e.pretraining.momentum) if e.pretraining.momentum else rate


def _rate_on_arrays(source: Source, count: int, temperature: float) -> tuple[float, float]:
    """The contrastive step size from the spectrum of own arrays, and the mean of |z|^2."""
    from numsim.theory import defaults

    from ..descent.power_matrix import top_eigenpairs

    z, z_aug = source.views_seen(count)
    (growth,), _ = top_eigenpairs(z, z_aug, learning_rate=1.0, temperature=1.0)
    where = "pretraining.learning_rate"
    rate = _derive(where, defaults.growing_learning_rate, growth=float(growth), temperature=temperature)
    return rate, float(np.mean(np.sum(z**2, axis=1)))


def _own_loss(name: str) -> None:
    """Refuse a loss of one's own that cannot be used."""
    from ..descent.losses import loss_named

    try:
        loss_named(name)
    except ValueError as error:
        expected = "a pair (task, increments), see numsim.losses"
        raise ConfigError(f"finetuning.loss: {error}; expected {expected}") from error


def _lengths(e: Experiment, mixture: Mixture, *, sums: bool = False) -> tuple[float, float]:
    """|mu| and sigma_p of the signal-noise data with a table's second moments."""
    signal, noise = mixture.moments(sums=sums)
    return sqrt(signal), sqrt(noise) if noise > 0 else e.data.sigma_p


def _finetuning_rate(e: Experiment) -> float:
    """The step size of the supervised stage: as given, or of theory."""
    if e.finetuning.learning_rate is not None:
        if e.finetuning.loss not in LOSSES:
            _own_loss(e.finetuning.loss)
        return e.finetuning.learning_rate
    from numsim.theory import defaults

    if e.finetuning.loss not in LOSSES:
        _own_loss(e.finetuning.loss)
        expected = f"a value, since none can be derived for the loss {e.finetuning.loss}"
        raise ConfigError(fault("finetuning.learning_rate", "none", expected))
    flips = e.data.flip_probability > 0 or e.finetuning.label_noise > 0
    if e.table:
        flips = flips or bool(e.mixtures.labelled.flips.any())
    signal, sigma_p = _lengths(e, e.mixtures.labelled) if e.table else (e.signal_norm, e.data.sigma_p)
    source = source_of(e.data)
    if source is not None:
        signal, sigma_p = sqrt(source.patch_moment), e.data.sigma_p * sqrt(source.per_sample)
    return _derive(
        "finetuning.learning_rate",
        defaults.supervised_learning_rate,
        samples=e.finetuning.batch or e.finetuning.samples,
        filters=e.network.filters,
        q=e.network.q,
        output_scale=e.network.output_scale,
        bias=e.network.bias,
        flips=flips,
        activation=e.network.activation,
        slope=e.network.slope,
        width=e.network.width,
        loss=e.finetuning.loss,
        momentum=e.finetuning.momentum,
        signal_norm=signal,
        sigma_p=sigma_p,
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
    optional[PARTS["pretraining"].model_fields["q"].annotation] = float
    return {n: optional[kind] for n, kind in found.items() if kind in optional and n != "seed"}


@cache
def word_settings() -> frozenset[str]:
    """Dotted names of settings that are words, or a pair of classes, which a sweep can vary, too."""
    found = {
        f"{part}.{name}"
        for part, model in PARTS.items()
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is Literal
    }
    return frozenset({*found, "data.classes"})


def is_inner_setting(name: str) -> bool:
    """Whether it names a number inside a table, data.signals.u.norm, or what an arm overrides."""
    part, _, rest = name.partition(".")
    if part == ARMS:
        return rest.partition(".")[2] in numeric_settings()
    return any(name.startswith(f"{table_name}.") for table_name in TABLES)


def check_setting(name: str, value: object) -> tuple[Any, str]:
    """A setting's value with its type, and "" or what would have been right."""
    if name.startswith(f"{ARMS}."):
        return check_setting(name.split(".", 2)[2], value)
    if is_inner_setting(name):
        real = isinstance(value, int | float) and not isinstance(value, bool)
        sound = real and abs(value) <= float_info.max  # type: ignore[arg-type]
        return (float(value), "") if sound else (None, "a finite number")  # type: ignore[arg-type]
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
    """Yield each rule between settings that is broken: of the base, then what an arm alone breaks."""
    base = list(_broken_rules_of_base(e))
    yield from base
    known = {one["type"].context["line"] for one in base}  # type: ignore[union-attr,index]
    sound = True
    for arm, line in arm_faults(e.arms):
        sound = False
        yield _broken(line, f"arms.{arm}")
    for arm, overrides in e.arms.items() if sound else ():
        try:
            _overridden(e, overrides)
        except ConfigError as error:
            for line in error.faults:
                if line not in known:
                    yield _broken(f"arms.{arm}.{line}", f"arms.{arm}")


def _broken_rules_of_base(e: Experiment) -> Iterator[InitErrorDetails]:
    data, n, n0 = e.data, e.finetuning.samples, e.pretraining.samples
    own = list(own_faults(e))
    for where, line in own:
        yield _broken(line, where)
    if own:
        return
    source = source_of(data)
    if source is not None:
        n, n0 = sizes_of(e, source)
    labelled, unlabelled = "finetuning.samples", "pretraining.samples"
    if e.finetuning.labelled == "subset" and n > n0:
        expected = f'at most {unlabelled} = {n0} with finetuning.labelled = "subset"'
        yield _broken(fault(labelled, str(n), expected), labelled, unlabelled, "finetuning.labelled")
    for where, samples in ((unlabelled, n0), (labelled, n)):
        if data.balanced and samples % 2 and not e.table:
            expected = "an even number with data.balanced = true"
            yield _broken(fault(where, str(samples), expected), where, "data.balanced")

    for part, samples, least in (("pretraining", n0, 2), ("finetuning", n, 1)):
        batch = getattr(e, part).batch
        if batch and samples and (samples % batch or batch < least):
            of_two = " of at least 2" if least > 1 else ""
            expected = f"0 (all) or a divisor{of_two} of {part}.samples = {samples}"
            yield _broken(fault(f"{part}.batch", str(batch), expected), f"{part}.batch", f"{part}.samples")
    stage = e.pretraining
    if stage.stop_at_linear_end and not stage.has_linear_stage:
        expected = "false: only unnormalised InfoNCE of a linear encoder has a linear stage"
        yield _broken(
            fault("pretraining.stop_at_linear_end", "true", expected), "pretraining.stop_at_linear_end"
        )
    if stage.loss == "spectral" and stage.temperature is not None:
        expected = "none: the spectral loss has no temperature"
        yield _broken(
            fault("pretraining.temperature", str(stage.temperature), expected), "pretraining.temperature"
        )
    broken = list(table_faults(e))
    for where, line in broken:
        yield _broken(line, where)
    if not broken and e.table and data.balanced:
        yield from _unequal(e)
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


def _unequal(e: Experiment) -> Iterator[InitErrorDetails]:
    """Numbers of samples that weights do not divide."""
    found = e.mixtures
    for where, samples, mixture in (
        ("pretraining.samples", e.pretraining.samples, found.data),
        ("finetuning.samples", e.finetuning.samples, found.labelled),
    ):
        if samples and not _divides(mixture, samples):
            near = next(
                (
                    n
                    for k in range(1, 10_000)
                    for n in (samples - k, samples + k)
                    if n > 0 and _divides(mixture, n)
                ),
                None,
            )
            expected = "a number that the weights of the clusters divide, with data.balanced = true"
            nearest_one = "" if near is None else f"; nearest: {near}"
            yield _broken(fault(where, str(samples), expected + nearest_one), where, "data.balanced")


def _divides(mixture: Mixture, samples: int) -> bool:
    try:
        mixture.counts(samples)
    except ValueError:
        return False
    return True


def _broken(line: str, *involved: str) -> InitErrorDetails:
    context = {"line": line, "involved": involved}
    return InitErrorDetails(type=PydanticCustomError("rule", "{line}", context), input=None)
