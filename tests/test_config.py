"""The configuration: ranges, rules between fields, levels, and faults that are all reported at once."""

import copy
import json
import math
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import numsim
from numsim.config import Data, Evaluation, Experiment, Finetuning, Network, Pretraining, Resolved
from numsim.config.errors import ConfigError
from numsim.config.sources import as_experiment, load, parse_override, presets, read_levels
from numsim.runs.export import dense_arrays
from numsim.theory import defaults

ROUND_OFF = 1e-14  # a handful of float64 multiplications
PARTS = {"data", "network", "pretraining", "finetuning", "evaluation"}
HEADLINE: dict[str, Any] = {
    "data": {"dim": 10**8, "sigma_p": 1.0, "projected": True, "flip_probability": 0.0, "balanced": False},
    "network": {"filters": 10, "q": 3.0, "output_scale": 1.0, "bias": False},
    "pretraining": {
        "samples": 100,
        "temperature": 1.0,
        "steps": 2000,
        "views": "fixed",
        "overlap": 0.0,
        "stop_at_linear_end": True,
    },
    "finetuning": {"samples": 20, "labelled": "fresh", "max_steps": 1_000_000, "target_loss": 0.01},
    "evaluation": {"samples": 10_000},
    "seed": 0,
    "threads": 1,
}
TWINS = [("data.snr", "data.signal_norm"), ("network.init_scale", "network.relative_init_scale")]
TWIN_NAMES = [name for pair in TWINS for name in pair]


def faults_of(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        call()
    faults = caught.value.faults
    assert faults
    assert str(caught.value) == "\n".join(faults)
    assert all(len(line.splitlines()) == 1 for line in faults)
    assert "pydantic" not in str(caught.value)
    return faults


def value_of(experiment: Experiment, name: str) -> Any:
    part, _, field = name.rpartition(".")
    return getattr(getattr(experiment, part) if part else experiment, field)


# ---------------------------------------------------------------- defaults and values


def test_defaults_are_the_headline() -> None:
    assert Experiment().as_dict() == HEADLINE
    assert Experiment().snr == 0.2
    for name in [*TWIN_NAMES, "pretraining.learning_rate", "finetuning.learning_rate"]:
        assert value_of(Experiment(), name) is None


def test_headline_preset_spells_out_every_default() -> None:
    (table,) = read_levels("headline")
    assert Experiment(**table).as_dict() == {**HEADLINE, "data": {**HEADLINE["data"], "snr": 0.2}}
    assert {k: set(v) if k in PARTS else v for k, v in table.items()} == {
        k: set(v) | ({"snr"} if k == "data" else set()) if k in PARTS else v for k, v in HEADLINE.items()
    }
    assert load("headline").resolved() == load().resolved()


@pytest.mark.parametrize("name", presets())
def test_every_preset_loads(name: str) -> None:
    assert load(name).resolved() == load(name).resolved().resolved()


@pytest.mark.parametrize("whole", [1e8, 10**8, np.int64(10**8), np.float64(1e8)], ids=repr)
def test_integers_accept_integral_numbers(whole: object) -> None:
    dim = Experiment(data={"dim": whole}).data.dim
    assert dim == 10**8
    assert type(dim) is int


@pytest.mark.parametrize("number", [3, 3.0, np.float32(3), np.int8(3)], ids=repr)
def test_reals_accept_any_real_number(number: object) -> None:
    q = Experiment(network={"q": number}).network.q
    assert q == 3.0
    assert type(q) is float


_RULES_ACCEPTED: dict[str, list[Any]] = {
    "momentum": [0, 0.99],
    "weight_decay": [0, 3],
    "batch": [0, 10, 20],
    "clip_norm": [0, 1e9],
    "sam_radius": [0, 1e-9],
    "schedule": ["constant", "cosine"],
}
ACCEPTED: dict[str, list[Any]] = {
    "data.dim": [1, 10**15],
    "data.snr": [0, 5],
    "data.signal_norm": [0, 1e3],
    "data.sigma_p": [1e-3],
    "data.flip_probability": [0, 0.4999],
    "network.filters": [1],
    "network.q": [1, 1.5, 4],
    "network.init_scale": [1e-9],
    "network.relative_init_scale": [1],
    "network.output_scale": [5],
    "pretraining.samples": [0, 2],
    "pretraining.temperature": [1e-3],
    "pretraining.learning_rate": [1e-3],
    "pretraining.steps": [0, 2**31 - 1],
    "pretraining.views": ["fixed", "fresh"],
    "pretraining.overlap": [0, 1],
    "pretraining.loss": ["nt_xent", "spectral"],
    "pretraining.normalised": [True, False],
    "pretraining.q": [1, 2.5],
    "pretraining.signal_kept": [0, 1],
    "finetuning.samples": [1],
    "finetuning.labelled": ["fresh", "subset"],
    "finetuning.learning_rate": [10],
    "finetuning.max_steps": [0, 2**31 - 1],
    "finetuning.target_loss": [0],
    "finetuning.loss": ["squared", "mine.py:hinge"],
    "finetuning.label_noise": [0, 0.49],
    "network.activation": ["power", "leaky"],
    "network.slope": [0, 1],
    "network.width": [1e-3],
    **{
        f"{stage}.{name}": values
        for stage in ("pretraining", "finetuning")
        for name, values in _RULES_ACCEPTED.items()
    },
    "evaluation.samples": [2],
    "evaluation.every": [0, 7],
    "seed": [0, 2**63 - 1],
    "threads": [1, 4],
}
NO_REAL: list[Any] = [math.nan, math.inf, -math.inf, True, "1", None, [1], 1j, 10**400]
NO_INTEGER = [*NO_REAL, 10.5, np.float64(0.5), 10**5000]
_RULES_REFUSED: dict[str, list[Any]] = {
    "momentum": [*NO_REAL, -0.1, 1],
    "weight_decay": [*NO_REAL, -1],
    "batch": [*NO_INTEGER, -1],
    "clip_norm": [*NO_REAL, -1],
    "sam_radius": [*NO_REAL, -1],
    "schedule": ["linear", 1, None],
}
REFUSED: dict[str, list[Any]] = {
    "data.dim": [*NO_INTEGER, 0, -1, 10**15 + 1],
    "data.snr": [*NO_REAL, -1],
    "data.signal_norm": [*NO_REAL, -1e-9],
    "data.sigma_p": [*NO_REAL, 0, -1],
    "data.projected": [1, 0.0, "true", None],
    "data.flip_probability": [*NO_REAL, -0.1, 0.5],
    "data.balanced": [1, "yes"],
    "network.filters": [*NO_INTEGER, 0],
    "network.q": [*NO_REAL, 0.99],
    "network.init_scale": [*NO_REAL, 0],
    "network.relative_init_scale": [*NO_REAL, 0],
    "network.output_scale": [*NO_REAL, 0],
    "network.bias": [0, "false"],
    "pretraining.samples": [*NO_INTEGER, -1, 1],
    "pretraining.temperature": [*NO_REAL, 0],
    "pretraining.learning_rate": [*NO_REAL, 0],
    "pretraining.steps": [*NO_INTEGER, -1, 2**31],
    "pretraining.views": ["Fixed", "", 1, [], None],
    "pretraining.overlap": [*NO_REAL, -0.1, 1.1],
    "pretraining.stop_at_linear_end": [1, None],
    "pretraining.loss": ["simclr", 1, None],
    "pretraining.encoder": ["deep", None],
    "pretraining.normalised": [1, "yes"],
    "pretraining.q": [*NO_REAL, 0.5],
    "pretraining.signal_kept": [*NO_REAL, -0.1, 1.1],
    "data.signals": [3, [], "u"],
    "data.cosines": [3, []],
    "data.noise": [3, []],
    "data.clusters": [3, "plus"],
    "data.file": [3, "", ["a.npz"]],
    "data.source": ["mnist", 3],
    "data.classes": [[3], [3, 3], [3, 10], "37", 37, [True, 2]],
    "data.centred": [1, None],
    "data.noise_patch": [*NO_REAL, -1],
    "data.test_share": [*NO_REAL, 0, 1],
    "data.arrays": [3, "", [1.0]],
    "finetuning.clusters": [3, "plus"],
    "evaluation.clusters": [3, "plus"],
    "finetuning.samples": [*NO_INTEGER, 0],
    "finetuning.labelled": ["all", 0],
    "finetuning.learning_rate": [*NO_REAL, -1],
    "finetuning.max_steps": [*NO_INTEGER, -1, 2**31],
    "finetuning.target_loss": [*NO_REAL, -1],
    "finetuning.loss": ["hinge", "hinge.py", 1, None],
    "finetuning.label_noise": [*NO_REAL, -0.1, 0.5],
    "network.activation": ["gelu", 1, None],
    "network.slope": [*NO_REAL, -0.1, 1.1],
    "network.width": [*NO_REAL, 0],
    **{
        f"{stage}.{name}": values
        for stage in ("pretraining", "finetuning")
        for name, values in _RULES_REFUSED.items()
    },
    "evaluation.samples": [*NO_INTEGER, 1],
    "evaluation.every": [*NO_INTEGER, -1],
    "theorem": ["Z9", 1],
    "seed": [*NO_INTEGER, -1, 2**63],
    "threads": [*NO_INTEGER, 0],
}
FOLLOWING = {f"pretraining.{name}" for name in ("temperature", "stop_at_linear_end", "normalised", "q")}
TABLES = {f"data.{name}" for name in ("signals", "cosines", "noise", "clusters")}
TABLES |= {"finetuning.clusters", "evaluation.clusters"}
TABLES |= {"theorem"} | {f"data.{name}" for name in ("file", "source", "classes", "arrays")}
OPTIONAL = {*TWIN_NAMES, "pretraining.learning_rate", "finetuning.learning_rate", *FOLLOWING, *TABLES}


def short(value: object) -> str:
    return repr(value) if not isinstance(value, int) or value < 10**20 else f"int{value.bit_length()}bit"


@pytest.mark.parametrize(
    ("name", "value"), [pytest.param(k, v, id=f"{k}={short(v)}") for k, vs in ACCEPTED.items() for v in vs]
)
def test_accepted(name: str, value: object) -> None:
    assert value_of(load(None, {name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(k, v, id=f"{k}={short(v)}")
        for k, vs in REFUSED.items()
        for v in vs
        if not (v is None and k in OPTIONAL)
    ],
)
def test_refused_in_one_line(name: str, value: object) -> None:
    (line,) = faults_of(lambda: load(None, {name: value}))
    assert line.startswith(f"{name}: got ")
    assert ", expected " in line
    part, _, field = name.rpartition(".")
    if part:
        assert faults_of(lambda: Experiment(**{part: {field: value}})) == (line,)
    else:
        assert faults_of(lambda: Experiment(**{field: value})) == (line,)


def test_the_tables_of_this_test_name_every_field() -> None:
    fields = {f"{part}.{name}" for part in PARTS for name in type(value_of(Experiment(), part)).model_fields}
    fields |= {"seed", "threads", "theorem"}
    assert set(REFUSED) == fields


# ---------------------------------------------------------------- derived quantities


@settings(deadline=None)
@given(dim=st.integers(1, 10**15), sigma_p=st.floats(1e-6, 1e6), snr=st.floats(1e-3, 1e3))
def test_snr_and_signal_norm_are_two_names_of_one_thing(dim: int, sigma_p: float, snr: float) -> None:
    by_snr = Experiment(data={"dim": dim, "sigma_p": sigma_p, "snr": snr})
    by_norm = Experiment(data={"dim": dim, "sigma_p": sigma_p, "signal_norm": by_snr.signal_norm})
    assert by_snr.snr == snr
    assert by_snr.signal_norm == pytest.approx(snr * sigma_p * math.sqrt(dim), rel=ROUND_OFF)
    assert by_norm.snr == pytest.approx(snr, rel=ROUND_OFF)
    assert by_norm.kappa == pytest.approx(100 * snr**2, rel=ROUND_OFF)


@settings(deadline=None)
@given(dim=st.integers(1, 10**15), sigma_p=st.floats(1e-6, 1e6), scale=st.floats(1e-9, 1))
def test_the_initial_scales_are_two_names_of_one_thing(dim: int, sigma_p: float, scale: float) -> None:
    data = {"dim": dim, "sigma_p": sigma_p}
    relative = Experiment(data=data, network={"relative_init_scale": scale})
    absolute = Experiment(data=data, network={"init_scale": relative.init_scale})
    assert relative.relative_init_scale == scale
    assert absolute.init_scale == relative.init_scale
    assert absolute.relative_init_scale == pytest.approx(scale, rel=ROUND_OFF)


def test_headline_numbers() -> None:
    headline = Experiment()
    assert headline.noise_norm == 1e4
    assert headline.signal_norm == pytest.approx(2000, rel=ROUND_OFF)
    assert headline.kappa == pytest.approx(4, rel=ROUND_OFF)
    assert headline.aspect == pytest.approx(1e-6, rel=ROUND_OFF)
    assert headline.relative_init_scale == defaults.relative_init_scale(3.0)


def test_zero_signal() -> None:
    assert Experiment(data={"signal_norm": 0}).snr == 0
    assert Experiment(data={"snr": 0}).signal_norm == 0


# ---------------------------------------------------------------- resolved


def test_resolved_takes_the_values_of_theory() -> None:
    ran = Experiment().resolved()
    assert ran.data.snr == 0.2
    assert ran.network.relative_init_scale == defaults.relative_init_scale(3.0)
    law: dict[str, Any] = {"signal_norm": Experiment().signal_norm, "sigma_p": 1.0, "dim": 10**8}
    assert ran.pretraining.learning_rate == defaults.pretraining_learning_rate(
        samples=100, temperature=1.0, overlap=0.0, **law
    )
    assert ran.finetuning.learning_rate == defaults.supervised_learning_rate(
        samples=20, filters=10, q=3.0, output_scale=1.0, bias=False, **law
    )


@pytest.mark.parametrize("flip_probability", [0.0, 0.3])
@pytest.mark.parametrize("bias", [False, True])
def test_resolved_hands_every_setting_to_theory(flip_probability: float, bias: bool) -> None:
    """Settings away from their defaults, each of which changes a step size."""
    experiment = Experiment(
        data={"dim": 300, "snr": 0.7, "sigma_p": 2.0, "flip_probability": flip_probability},
        network={"filters": 7, "q": 4.0, "output_scale": 3.0, "bias": bias},
        pretraining={"samples": 50, "temperature": 0.3, "overlap": 0.4},
        finetuning={"samples": 11},
    )
    law: dict[str, Any] = {"signal_norm": experiment.signal_norm, "sigma_p": 2.0, "dim": 300}
    ran = experiment.resolved()
    assert ran.pretraining.learning_rate == defaults.pretraining_learning_rate(
        samples=50, temperature=0.3, overlap=0.4, **law
    )
    assert ran.finetuning.learning_rate == defaults.supervised_learning_rate(
        samples=11, filters=7, q=4.0, output_scale=3.0, bias=bias, flips=flip_probability > 0, **law
    )
    assert ran.network.relative_init_scale == defaults.relative_init_scale(4.0)
    assert ran.aspect == pytest.approx(50 / 300, rel=ROUND_OFF)


def test_resolved_keeps_what_is_given() -> None:
    experiment = Experiment(
        data={"signal_norm": 3},
        network={"init_scale": 1e-3},
        pretraining={"learning_rate": 0.5},
        finetuning={"learning_rate": 0.25},
    )
    assert experiment.resolved().as_dict() == experiment.as_dict()


def test_without_pretraining_its_learning_rate_stays_out() -> None:
    direct = Experiment(pretraining={"samples": 0}).resolved()
    assert direct.pretraining.learning_rate == 0
    assert "learning_rate" not in direct.as_dict()["pretraining"]
    given = Experiment(pretraining={"samples": 0, "learning_rate": 0.5}).resolved()
    assert given.as_dict()["pretraining"]["learning_rate"] == 0.5


@pytest.mark.parametrize(
    "length", [{}, {"data.snr": 0.3}, {"data.signal_norm": 3.0}, {"data.snr": 0}], ids=str
)
@pytest.mark.parametrize(
    "scale", [{}, {"network.init_scale": 1e-3}, {"network.relative_init_scale": 0.1}], ids=str
)
def test_resolved_leaves_nothing_open(length: dict[str, object], scale: dict[str, object]) -> None:
    """Both names of a scale are numbers; on record is the one that was given, or is the default."""
    given = load(None, {"data.dim": 400, "data.sigma_p": 2.0, **length, **scale})
    ran = given.resolved()
    assert ran.data.signal_norm == given.signal_norm == pytest.approx(ran.data.snr * 40, rel=ROUND_OFF)
    assert ran.data.snr == given.snr
    assert ran.network.relative_init_scale == given.relative_init_scale
    assert ran.network.init_scale == given.init_scale
    assert ran.network.relative_init_scale == pytest.approx(ran.network.init_scale * 40, rel=ROUND_OFF)
    open_ones = {f"{part}.{name}" for part in PARTS for name, value in getattr(ran, part) if value is None}
    assert open_ones <= TABLES
    on_record = {f"{part}.{name}" for part in PARTS for name in ran.as_dict()[part]}
    assert on_record & set(TWIN_NAMES) == {
        *(length or ["data.snr"]),
        *(scale or ["network.relative_init_scale"]),
    }
    for part in PARTS:  # in the order of the fields, as files hold them
        recorded = list(ran.as_dict()[part])
        assert recorded == [name for name in type(value_of(given, part)).model_fields if name in recorded]


def test_a_resolved_experiment_is_an_experiment() -> None:
    """Its parts, its copies and its dict go wherever an experiment's do."""
    given = Experiment(data={"signal_norm": 3}, network={"init_scale": 1e-3}, seed=4)
    ran = given.resolved()
    assert isinstance(ran, Experiment)
    assert ran.resolved() is ran
    assert ran != given  # of another type, and with step sizes
    for again in (
        Experiment(**ran.as_dict()).resolved(),
        Experiment(
            data=ran.data,
            network=ran.network,
            **{k: ran.as_dict()[k] for k in PARTS - {"data", "network"}},
            seed=4,
        ).resolved(),
        ran.replace({}).resolved(),
        pickle.loads(pickle.dumps(ran)),
        copy.deepcopy(ran),
    ):
        assert again == ran
        assert hash(again) == hash(ran)
        assert again.as_dict() == ran.as_dict()
    assert ran.replace({"data.snr": 0.5}).resolved().data.signal_norm == 0.5 * ran.noise_norm
    assert ran.model_copy(update={"seed": 5}).as_dict() == {**ran.as_dict(), "seed": 5}
    by_hand: Callable[..., object] = Resolved
    with pytest.raises(TypeError, match=r"made by Experiment\(\.\.\.\)\.resolved"):
        by_hand(seed=3)


def test_resolved_without_a_usable_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "supervised_learning_rate", lambda **_: math.inf)
    (line,) = faults_of(Experiment().resolved)
    assert line.startswith("finetuning.learning_rate: got none")

    def refuse(**_: object) -> float:
        raise OverflowError("too large")

    monkeypatch.setattr(defaults, "relative_init_scale", refuse)
    assert any(line.startswith("network.relative_init_scale: got none") for line in faults_of(Experiment))


# ---------------------------------------------------------------- values as values

flat_settings = st.fixed_dictionaries(
    {},
    optional={
        "data.dim": st.integers(1, 10**15) | st.integers(1, 10**9).map(float),
        "data.signal_norm": st.just(0.0) | st.floats(1e-6, 1e6),
        "data.sigma_p": st.floats(1e-6, 1e6),
        "data.projected": st.booleans(),
        "data.flip_probability": st.floats(0, 0.49),
        "network.filters": st.integers(1, 1000),
        "network.q": st.floats(1, 8),
        "network.init_scale": st.floats(1e-9, 1),
        "network.bias": st.booleans(),
        "pretraining.samples": st.just(0) | st.integers(2, 10**6),
        "pretraining.views": st.sampled_from(["fixed", "fresh"]),
        "pretraining.overlap": st.floats(0, 1),
        "finetuning.samples": st.integers(1, 10**6),
        "finetuning.target_loss": st.floats(0, 1),
        "evaluation.samples": st.integers(2, 10**6),
        "seed": st.integers(0, 2**63 - 1),
        "threads": st.integers(1, 64),
    },
)


@settings(deadline=None)
@given(flat=flat_settings)
def test_round_trips(flat: dict[str, object]) -> None:
    experiment = load(None, flat)
    plain = experiment.as_dict()
    assert None not in [v for part in PARTS for v in plain[part].values()]
    again = Experiment(**json.loads(json.dumps(plain)))
    for twin in (again, pickle.loads(pickle.dumps(experiment)), copy.deepcopy(experiment)):
        assert twin == experiment
        assert hash(twin) == hash(experiment)
    assert experiment.replace({}) == experiment


extreme = st.sampled_from([1e-300, 1e-99, 1e-50, 1.0, 1e50, 1e99, 1e300])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow in a formula ends as a ConfigError
@settings(deadline=None)
@given(
    flat=st.fixed_dictionaries(
        {},
        optional={
            "data.dim": st.sampled_from([1, 10**15]),
            "data.sigma_p": extreme,
            "data.signal_norm": extreme | st.just(0.0),
            "network.q": st.sampled_from([1.0, 1.5, 2.0, 2.0000001, 100.0, 1e4, 1e160, 1e308]),
            "network.init_scale": extreme,
            "network.filters": st.sampled_from([1, 2**31 - 1]),
            "network.output_scale": extreme,
            "pretraining.temperature": extreme,
            "pretraining.overlap": st.sampled_from([0.0, 0.5, 1.0]),
            "pretraining.samples": st.sampled_from([0, 2, 2**31 - 1]),
        },
    )
)
def test_extreme_settings_resolve_or_are_a_config_error(flat: dict[str, object]) -> None:
    try:
        resolved = load(None, flat).resolved()
    except ConfigError:
        return
    assert 0 < resolved.finetuning.learning_rate < math.inf
    assert 0 <= resolved.pretraining.learning_rate < math.inf
    assert (resolved.pretraining.learning_rate == 0) == (resolved.pretraining.samples == 0)


@settings(deadline=None, max_examples=30)
@given(flat=flat_settings)
def test_resolving_twice_is_resolving_once(flat: dict[str, object]) -> None:
    once = load(None, flat).resolved()
    assert once.resolved() == once
    assert once.finetuning.learning_rate > 0
    assert (once.pretraining.learning_rate == 0) == (once.pretraining.samples == 0)
    assert Experiment(**once.as_dict()).resolved() == once


def test_parts_are_models_or_dicts() -> None:
    models = Experiment(
        data=Data(snr=0.3), network=Network(q=4), pretraining=Pretraining(), finetuning=Finetuning()
    )
    assert models == Experiment(data={"snr": 0.3}, network={"q": 4}, evaluation=Evaluation())
    assert models != Experiment()


def test_experiments_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Experiment().data.dim = 3
    with pytest.raises(ValidationError, match="frozen"):
        Experiment().seed = 3


def test_config_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ConfigError("a: got 1, expected 2", "b: got 1, expected 2")))
    assert error.faults == ("a: got 1, expected 2", "b: got 1, expected 2")
    assert isinstance(error, ValueError)


# ---------------------------------------------------------------- faults


def test_all_faults_at_once_of_fields_names_and_rules() -> None:
    lines = faults_of(
        lambda: Experiment(
            data={"snr": 1, "signal_norm": 2, "dim": 10.5, "balanced": True},
            pretraining={"samples": 10, "views": "some"},
            finetuning={"samples": 21, "labelled": "subset"},
            network=3,
            snrr=1,
            seed=-1,
        )
    )
    heads = {line.split(": got ")[0] for line in lines}
    assert heads == {
        "data.snr, data.signal_norm",
        "data.dim",
        "pretraining.views",
        "finetuning.samples",
        "network",
        "snrr",
        "seed",
    }
    assert sum(line.startswith("finetuning.samples") for line in lines) == 2  # subset, and odd


@pytest.mark.parametrize(
    ("given_name", "nearest"),
    [
        ("snrr", "data.snr"),
        ("data.snrr", "data.snr"),
        ("SNR", "data.snr"),
        ("network.snr", "data.snr"),
        ("dta", "data"),
        ("pretraining.sampels", "pretraining.samples"),
        ("finetuning.temperature", "pretraining.temperature"),
        ("learning_rates", "learning_rate"),
        ("filter", "network.filters"),
        ("sed", "seed"),
    ],
)
def test_unknown_names_get_the_nearest_one(given_name: str, nearest: str) -> None:
    (line,) = faults_of(lambda: load(None, {given_name: 1}))
    assert line.startswith(f"{given_name}: got 1, expected a known name; nearest: ")
    assert line.endswith(nearest)


@pytest.mark.parametrize("part", [Data, Network, Pretraining, Finetuning, Evaluation])
def test_a_part_alone_reports_in_the_same_way(part: Callable[..., object]) -> None:
    (line,) = faults_of(lambda: part(zzz=1))
    assert line.startswith(tuple(f"{section}.zzz: got 1" for section in PARTS))


def test_twins_in_a_part_alone() -> None:
    assert faults_of(lambda: Data(snr=1, signal_norm=2)) == (
        "data.snr, data.signal_norm: got both (1 and 2), expected one of the two",
    )


@pytest.mark.parametrize("junk", [3, None, [], "text", Network()], ids=repr)
def test_a_part_that_is_no_table(junk: object) -> None:
    (line,) = faults_of(lambda: Experiment(data=junk))
    assert line.startswith("data: got ")


class Loud:
    def __repr__(self) -> str:
        return "one\ntwo\r\nthree\u2028four" * 50


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    "value", [Loud(), Broken(), "x" * 10**6, 10**5000, np.zeros((9, 9)), {"a": {"b": 1}}], ids=type
)
def test_values_are_shown_short_and_on_one_line(value: object) -> None:
    for name in ("data.snr", "unknown"):
        (line,) = faults_of(lambda name=name: load(None, {name: value}))  # type: ignore[misc]
        assert len(line) < 200


def test_names_are_shown_short_and_on_one_line() -> None:
    for name in ("a\nb", "x" * 10**5, "\ud800", "", "a b", 3, None, ("data", "snr")):
        (line,) = faults_of(lambda name=name: load(None, {name: 1}))  # type: ignore[misc]
        assert len(line) < 200
        line.encode()
    faults_of(lambda: Experiment(data={3: 1, None: 2}))


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["fixed", "subset", 0.2, 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from([*REFUSED, *PARTS, "preset", "sweep", "data.nothing"]) | st.text(max_size=8)
leaf_names = st.sampled_from([name.rpartition(".")[2] for name in REFUSED]) | st.text(max_size=8)
junk_levels = st.dictionaries(names, junk | st.dictionaries(leaf_names, junk, max_size=4), max_size=5)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(values=junk_levels)
def test_junk_is_an_experiment_or_a_config_error(values: dict[str, Any]) -> None:
    makers: list[Callable[[], Experiment]] = [
        lambda: Experiment(**values),
        lambda: load(None, values),
        lambda: load("headline", values),
    ]
    for make in makers:
        try:
            experiment = make()
        except ConfigError:
            faults_of(make)
        else:
            assert Experiment(**experiment.as_dict()) == experiment


# ---------------------------------------------------------------- rules between fields


@pytest.mark.parametrize(
    ("flat", "ok"),
    [
        ({"finetuning.labelled": "subset", "finetuning.samples": 100}, True),
        ({"finetuning.labelled": "subset", "finetuning.samples": 101}, False),
        ({"finetuning.labelled": "subset", "pretraining.samples": 0}, False),
        ({"data.balanced": True}, True),
        ({"data.balanced": True, "pretraining.samples": 0}, True),
        ({"data.balanced": True, "pretraining.samples": 101}, False),
        ({"data.balanced": True, "finetuning.samples": 21}, False),
        ({"pretraining.views": "fresh", "pretraining.overlap": 1.0, "finetuning.labelled": "subset"}, True),
        ({"data.sigma_p": 1e-99, "data.dim": 1}, True),
        ({"data.sigma_p": 1e-101, "data.dim": 1}, False),
        ({"data.sigma_p": 1e99}, False),
        ({"data.signal_norm": 1e99}, True),
        ({"data.signal_norm": 1e101}, False),
        ({"data.signal_norm": 1e-101}, False),
        ({"data.signal_norm": 0.0}, True),
        ({"data.snr": 1e99}, False),
        ({"data.snr": 0.0}, True),
        ({"network.init_scale": 1e-101}, False),
        ({"network.init_scale": 1e101}, False),
        ({"network.relative_init_scale": 1e-98}, False),
    ],
    ids=lambda value: (
        ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    ),
)
def test_rules_between_fields(flat: dict[str, object], ok: bool) -> None:
    if ok:
        load(None, flat)
    else:
        (line,) = faults_of(lambda: load(None, flat))
        assert ", expected " in line


def test_pydantic_alone_knows_the_rules() -> None:
    """They are its validators: nothing beside it decides what is sound."""
    tables = {"data": {"balanced": True}, "pretraining": {"samples": 3}, "finetuning": {"samples": 5}}
    with pytest.raises(ValidationError) as caught:
        Experiment.model_validate(tables)
    assert [wrong["type"] for wrong in caught.value.errors()] == ["rule", "rule"]
    assert faults_of(lambda: Experiment(**tables)) == tuple(wrong["msg"] for wrong in caught.value.errors())
    sound = Experiment.model_validate({"data": {"snr": 1}, "seed": 3.0})
    assert sound == Experiment(data={"snr": 1.0}, seed=3)


def test_every_fault_is_told_whatever_hides_it(tmp_path: Path) -> None:
    """Rules behind faulty settings, and settings of a part that is given as something else."""
    file = tmp_path / "experiment.toml"
    file.write_text("data = 3\n[network]\nfilters = 0\n[finetuning]\nsamples = 101\nlabelled = 'subset'\n")
    overrides = {"data.snr": -1, "data.balanced": True, "data.snrr": 1, "threads": 0}
    assert [line.partition(":")[0] for line in faults_of(lambda: load(file, overrides))] == [
        "data",  # in the order in which they are given
        "network.filters",
        "data.snr",
        "data.snrr",
        "threads",
        "finetuning.samples",  # more than the unlabelled: neither number is at fault itself
    ]


def test_rules_wait_for_their_fields() -> None:
    (line,) = faults_of(lambda: Experiment(finetuning={"samples": 200, "labelled": "subet"}))
    assert line.startswith("finetuning.labelled")
    Finetuning(samples=200, labelled="subset")  # a part alone knows nothing of the unlabelled samples


# ---------------------------------------------------------------- levels


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pair=st.sampled_from(TWINS),
    choice=st.lists(st.sampled_from(["none", "first", "second"]), min_size=3, max_size=3),
)
def test_the_highest_twin_wins(tmp_path: Path, pair: tuple[str, str], choice: list[str]) -> None:
    """Levels file, overrides, replace: the last to give either twin decides."""
    values = [
        {"none": {}, "first": {pair[0]: 0.5 + i}, "second": {pair[1]: 0.5 + i}}[c]
        for i, c in enumerate(choice)
    ]
    file = tmp_path / "experiment.toml"
    file.write_text("".join(f"{name} = {value}\n" for name, value in values[0].items()))
    experiment = load(file, values[1]).replace(values[2])
    last = next((level for level in reversed(values) if level), {})
    for name in pair:
        assert value_of(experiment, name) == last.get(name)


@pytest.mark.parametrize("pair", TWINS, ids=lambda pair: pair[0])
def test_both_twins_at_one_level_are_a_fault_at_any_level(tmp_path: Path, pair: tuple[str, str]) -> None:
    both = dict.fromkeys(pair, 0.5)
    file = tmp_path / "experiment.toml"
    file.write_text("".join(f"{name} = {value}\n" for name, value in both.items()))
    for call in (
        lambda: load(file),
        lambda: load(file, {pair[0]: 0.7}),
        lambda: load("headline", both),
        lambda: Experiment().replace(both),
    ):
        (line,) = faults_of(call)
        assert line.startswith(f"{pair[0]}, {pair[1]}: got both")


def test_levels_from_defaults_to_overrides(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('preset = "headline"\nseed = 5\n[data]\nsignal_norm = 3.0\ndim = 1e4\n')
    experiment = load(file, {"data.dim": 100, "network": {"q": 4}})
    assert (experiment.data.snr, experiment.data.signal_norm) == (None, 3.0)
    assert (experiment.data.dim, experiment.seed, experiment.network.q) == (100, 5, 4.0)
    preset, own = read_levels(str(file))
    assert preset == read_levels("headline")[0]
    assert own == {"seed": 5, "data": {"signal_norm": 3.0, "dim": 1e4}}


def test_none_takes_a_setting_back() -> None:
    experiment = load("headline", {"data.snr": None})
    assert experiment.data.snr is None
    resolved = Experiment().resolved()
    assert resolved.replace({"finetuning.learning_rate": None}).resolved() == resolved
    assert load(None, {"data.snr": None, "data.signal_norm": 1.0}).signal_norm == 1.0


def test_one_setting_given_twice_is_a_fault() -> None:
    (line,) = faults_of(lambda: load(None, {"data.snr": 0.3, "data": {"snr": 0.4}}))
    assert line == "data.snr: got 0.3 and 0.4, expected one value"


def test_replace_checks_and_leaves_the_original() -> None:
    experiment = Experiment()
    assert experiment.replace({"data.snr": 0.4}).data.snr == 0.4
    assert experiment == Experiment()
    faults_of(lambda: experiment.replace({"data.snr": -1, "nothing": 2}))


def test_overrides_that_are_no_mapping() -> None:
    for junk_overrides in (3, [("data.snr", 1)], "data.snr=1"):
        faults_of(lambda o=junk_overrides: load(None, o))  # type: ignore[misc]


# ---------------------------------------------------------------- files and presets


def test_a_sweep_file_loads_as_its_experiment(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text('[data]\nsnr = 0.3\n[sweep]\nseeds = 20\n[sweep.over]\n"data.snr" = [0.1, 0.2]\n')
    assert load(file) == Experiment(data={"snr": 0.3})
    assert read_levels(file)[-1]["sweep"]["seeds"] == 20
    faults_of(lambda: load(None, {"sweep": {}}))


def test_a_file_in_the_folder_goes_before_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("headline").mkdir()
    assert load("headline").seed == 0
    Path("headline").rmdir()
    Path("headline").write_text('preset = "headline"\nseed = 7\n')
    assert load("headline").seed == 7


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[data]\nsnr = = 3\n", ["line 2", "column 7"]),
        (b"[data]\nsnr = ", ["line 2", "column 7"]),
        (b"[data\n", ["line 1", "column 6"]),
        (b"seed = 1\nseed = 2\n", ["line 2"]),
        (b"seed = 1\nx = '\xff'\n", ["line 2", "UTF-8"]),
        (b"x = " + b"9" * 5000, ["TOML"]),
        (b"x = " + b"[" * 20000, ["TOML"]),
    ],
    ids=["syntax", "end of file", "table", "twice", "not UTF-8", "digits", "brackets"],
)
def test_files_that_are_no_toml(tmp_path: Path, content: bytes, words: list[str]) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    (line,) = faults_of(lambda: load(file))
    assert line.startswith(f"{file}: ")
    for word in words:
        assert word in line


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "notepad.toml"
    file.write_bytes(b"\xef\xbb\xbfseed = 3\r\n")
    assert load(file).seed == 3


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for path in (tmp_path, "folder", "absent.toml", "./absent", "nul\0.toml", "x" * 5000 + ".toml"):
        (line,) = faults_of(lambda path=path: load(path))  # type: ignore[misc]
        assert "preset" not in line
    (line,) = faults_of(lambda: load(3))  # type: ignore[arg-type]
    assert line.startswith("experiment: got 3, expected the name of a preset, the path of a TOML file")


def test_unknown_presets_are_named_with_the_nearest_and_all(tmp_path: Path) -> None:
    (line,) = faults_of(lambda: load("headlin"))
    assert "nearest: headline" in line
    assert all(name in line for name in presets())
    file = tmp_path / "mine.toml"
    for wrong in ('"headlin"', "3", '["headline"]', '"./headline"'):
        file.write_text(f"preset = {wrong}\nseed = -1\n")
        first, second = faults_of(lambda: load(file))
        assert first.startswith("preset: got ")
        assert second.startswith("seed: got -1")
        with pytest.raises(ConfigError, match="preset"):
            read_levels(file)


def test_presets_that_build_on_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop.toml").write_text('preset = "loop"\n')
    (tmp_path / "base.toml").write_text('preset = "lowest"\nseed = 2\n')
    (tmp_path / "lowest.toml").write_text("seed = 1\nthreads = 2\n")
    monkeypatch.setattr("numsim.config.sources.resources.files", lambda _: tmp_path)
    assert presets() == ("base", "loop", "lowest")
    (line,) = faults_of(lambda: load("loop"))
    assert "building on itself" in line
    assert (load("base").seed, load("base").threads) == (2, 2)


# ---------------------------------------------------------------- command line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data.dim=1e4", ("data.dim", 1e4)),
        ("seed=3", ("seed", 3)),
        ("data.projected=false", ("data.projected", False)),
        ('pretraining.views="fresh"', ("pretraining.views", "fresh")),
        ("pretraining.views=fresh", ("pretraining.views", "fresh")),
        (" data.snr = 0.3 ", ("data.snr", 0.3)),
        ("a=b=c", ("a", "b=c")),
        ("a=", ("a", "")),
        ("a=[1, 2]", ("a", [1, 2])),
        ("data.snr=1\nseed = 3", ("data.snr", "1\nseed = 3")),
        ("data.snr=1\r\nseed = 3", ("data.snr", "1\r\nseed = 3")),
        ("a=1, b=2", ("a", "1, b=2")),
        ('a="unclosed', ("a", '"unclosed')),
        ("a=" + "9" * 5000, ("a", "9" * 5000)),
        ("a=" + "[" * 20000, ("a", "[" * 20000)),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_parse_override(text: str, expected: tuple[str, object]) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [(".2", 0.2), ("-.5e-3", -0.0005), ("1.", 1.0), ("+3", 3), ("1_000", 1000), ("007", 7), ("1e8", 1e8)],
)
def test_numbers_may_be_written_as_in_python(text: str, expected: float) -> None:
    name, value = parse_override(f"data.snr={text}")
    assert (name, value) == ("data.snr", expected)
    assert type(value) is type(expected)


def test_numbers_that_are_not_finite_are_refused_by_the_setting() -> None:
    for text in ("nan", "inf", "Infinity", "1e999"):
        (line,) = faults_of(lambda text=text: load(None, dict([parse_override(f"data.snr={text}")])))  # type: ignore[misc]
        assert line.startswith("data.snr: got ")
        assert line.endswith("expected a finite number, at least 0")


@pytest.mark.parametrize("text", ["", "data.snr", "=3", " = 3"], ids=repr)
def test_parse_override_needs_key_and_equals(text: str) -> None:
    (line,) = faults_of(lambda: parse_override(text))
    assert "key=value" in line


@given(key=st.text(max_size=6), value=st.text(max_size=20))
def test_parse_override_gives_the_key_or_a_config_error(key: str, value: str) -> None:
    try:
        parsed, _ = parse_override(f"{key}={value}")
    except ConfigError:
        return
    assert parsed == f"{key}={value}".partition("=")[0].strip()


def test_import_stays_light() -> None:
    code = (
        "import sys, numsim.config.sources\n"
        "heavy = {'numba', 'xarray', 'matplotlib', 'typer', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_whatever_names_an_experiment_is_one(tmp_path: Path) -> None:
    """A preset, a file, a mapping or an Experiment, in every function that asks for an experiment."""
    small = {
        "network.filters": 2,
        "data.dim": 50,
        "pretraining": {"samples": 6, "steps": 3},
        "finetuning": {"samples": 4, "max_steps": 3},
        "evaluation.samples": 10,
    }
    path = tmp_path / "small.toml"
    path.write_text(
        'preset = "headline"\nevaluation.samples = 10\ndata.dim = 50\nnetwork.filters = 2\n'
        "[pretraining]\nsamples = 6\nsteps = 3\n[finetuning]\nsamples = 4\nmax_steps = 3\n[sweep]\n"
    )
    expected = numsim.load(path)
    for source in (expected, path, str(path), {**small, "preset": "headline", "sweep": {}}, small):
        assert as_experiment(source).resolved() == expected.resolved()
        result = numsim.run(source, seed=2)
        assert result.direct == numsim.run(expected, seed=2).direct
        assert numsim.run_many(source, 2, workers=1).identical(numsim.run_many(expected, 2, workers=1))
        found = numsim.sweep(source, {"data.snr": [0.5]}, 1, None)
        assert found.equals(numsim.sweep(expected, {"data.snr": [0.5]}, 1, None))
        assert (numsim.draw(source, 2).filters == numsim.draw(expected, 2).filters).all()
        assert (dense_arrays(source)["x"] == dense_arrays(expected)["x"]).all()
        assert numsim.theory.conditions(source) == numsim.theory.conditions(expected)
    assert as_experiment("headline") == numsim.load("headline")


@pytest.mark.parametrize("wrong", [None, 3, [], "hedline", {"preset": "hedline"}, {"data.snnr": 1}, b"\0"])
def test_what_names_no_experiment_is_one_fault_everywhere(wrong: Any) -> None:
    doors: list[Callable[[], object]] = [
        lambda: numsim.run(wrong),
        lambda: numsim.run_many(wrong, 2),
        lambda: numsim.sweep(wrong, {"data.snr": [0.5]}, 1, None),
        lambda: numsim.draw(wrong),
        lambda: dense_arrays(wrong),
        lambda: numsim.theory.conditions(wrong),
    ]
    for door in doors:
        with pytest.raises(numsim.ConfigError) as caught:
            door()
        (line,) = caught.value.faults
        assert re.match(r"(experiment|preset|data\.snnr): got .*, expected ", line)
