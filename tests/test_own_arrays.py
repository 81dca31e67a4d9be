"""Own arrays: against a descent in NumPy, what is drawn of them, what is said of arrays that do not fit."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dense_descent
import numpy as np
import numpy.typing as npt
import pytest
import tolerances

import numsim
from numsim import Samples, cli
from numsim.config import Experiment
from numsim.config.errors import ConfigError
from numsim.config.own_arrays import source_of
from numsim.models.samples import Pool
from numsim.runs.draw import draw
from numsim.runs.export import dense_arrays

Floats = npt.NDArray[np.float64]

FEW: dict[str, Any] = {
    "network": {"filters": 3, "relative_init_scale": 0.3, "q": 2.0},
    "pretraining": {"steps": 12},
    "finetuning": {"max_steps": 30, "target_loss": 0},
}


def arrays(patches: int = 2, width: int = 6, *, seed: int = 0) -> dict[str, Any]:
    """Two classes that differ in their first entry, and a second patch of noise."""
    rng = np.random.default_rng(seed)

    def some(count: int) -> tuple[Floats, Floats]:
        y = np.where(np.arange(count) % 2, 7.0, 2.0)
        x = rng.standard_normal((count, patches, width))
        x[:, 0, 0] += np.where(y == 7, 2.0, -2.0)
        return x, y

    (x, y), (x_test, y_test), (unlabelled, _), (views, _) = some(8), some(30), some(12), some(12)
    return {
        "x": x,
        "y": y,
        "x_test": x_test,
        "y_test": y_test,
        "unlabelled": unlabelled,
        "views": views,
    }


@pytest.mark.parametrize("case", ["plain", "centred, bias", "batches", "network", "one patch"])
def test_a_descent_of_ones_own_ends_in_the_same_filters(case: str) -> None:
    settings = {part: dict(values) for part, values in FEW.items()}
    data = Samples(**arrays(1 if case == "one patch" else 2))
    more: dict[str, Any] = {"data.arrays": data}
    if case == "centred, bias":
        more |= {"data.centred": True, "network.bias": True}
    if case == "batches":
        more |= {"pretraining.batch": 4, "pretraining.momentum": 0.5, "finetuning.batch": 2}
    if case == "network":
        more |= {"pretraining.encoder": "network", "pretraining.learning_rate": 0.01}
    e = Experiment(**settings).replace(more)
    exported = dense_arrays(e)
    for name, W in dense_descent.arms(exported).items():
        expected = exported[f"W_{name}"]
        if "bias0" in exported:
            expected = np.concatenate([expected, exported[f"bias_{name}"][..., None]], axis=2)
        atol = tolerances.TRAJECTORY_FLOOR * float(np.max(np.abs(expected)))
        np.testing.assert_allclose(W, expected, rtol=0, atol=atol, err_msg=name)
        x, y = exported["x_test"], exported["y_test"]
        q, m = float(exported["q"]), expected.shape[1]
        inner = np.einsum("jrd,npd->jrnp", expected[..., : x.shape[2]], x)
        if "bias0" in exported:
            inner += expected[..., -1][:, :, None, None]
        f = np.array([1.0, -1.0]) @ (np.maximum(inner, 0) ** q).sum(axis=(1, 3)) / m
        arm = numsim.run(e).arms[name]
        assert arm.test_error == pytest.approx(np.mean((1 - np.sign(y * f)) / 2), abs=1e-15)
        assert arm.test_loss == pytest.approx(np.mean(np.log1p(np.exp(-y * f))), rel=1e-9)


def test_coefficients_recompose_the_filters() -> None:
    data = arrays()
    data["x"][1] = data["x"][0]  # equal patches share one
    data["y"][1] = data["y"][0]
    result = numsim.run(FEW, data=Samples(**data))
    arm, exported = (
        result.arms["direct"],
        dense_arrays(Experiment(**FEW).replace({"data.arrays": Samples(**data)})),
    )
    rho = arm.trajectory["rho"].values[-1]  # (sign, filter, sample, patch)
    assert arm.trajectory["rho"].dims == ("step", "sign", "filter", "sample", "patch")
    assert "gamma" not in arm.trajectory
    x = exported["x"]
    moved = np.einsum("jrip,ipd->jrd", rho / np.sum(x**2, axis=2), x)
    start = exported["W0"][exported["split"]].reshape(moved.shape)
    np.testing.assert_allclose(start + moved, exported["W_direct"], atol=1e-12)
    last = np.einsum("jrd,ipd->jrip", exported["W_direct"], x)
    np.testing.assert_allclose(arm.trajectory["patch_inner"].values[-1], last, atol=1e-12)
    assert result.pretraining is not None
    stage = result.pretraining.trajectory
    assert stage["rho"].dims == ("step", "filter", "unlabelled")
    z, z_aug = exported["z"], exported["z_aug"]
    both = sum(
        (stage[name].values[-1] / np.sum(rows**2, axis=1)) @ rows
        for name, rows in (("rho", z), ("rho_aug", z_aug))
    )
    np.testing.assert_allclose(exported["W0"] + both, exported["W_pretrained"], atol=1e-12)


def test_shapes_mean_the_same() -> None:
    given = arrays(1, 6)
    flat = Samples(**{k: v[:, 0] if v.ndim == 3 else v for k, v in given.items()})
    images = Samples(**{k: v.reshape(-1, 2, 3) if v.ndim == 3 else v for k, v in given.items()}, images=True)
    patches = Samples(**{k: v.reshape(-1, 1, 2, 3) if v.ndim == 3 else v for k, v in given.items()})
    assert flat == Samples(**given) == images == patches
    assert hash(flat) == hash(images)
    assert flat.x.base is not None  # no copy
    assert Samples(**arrays(seed=1)) != Samples(**arrays())
    stripes = Samples(**{k: v.reshape(-1, 2, 3) if v.ndim == 3 else v for k, v in given.items()})
    assert stripes.per_sample == 2
    assert list(flat.y) == [-1, 1] * 4


def test_labels_of_any_two_values() -> None:
    given = arrays()
    named = given | {"y": given["y"] == 7, "y_test": given["y_test"] == 7}
    assert np.array_equal(Samples(**named).y, Samples(**given).y)
    whole = given | {"y": given["y"].astype(np.uint8), "y_test": given["y_test"].astype(np.int8)}
    assert Samples(**whole) == Samples(**given)


def changed(**other: Any) -> Callable[[], Samples]:
    return lambda: Samples(**(arrays() | other))


def holed() -> Floats:
    x: Floats = arrays()["x"]
    x[2, 1, 3] = np.nan
    return x


FAULTS: dict[str, tuple[Callable[[], Samples], str]] = {
    "three labels": (
        changed(y=np.arange(8) % 3),
        r"y has the values 0, 1, 2, expected two: np.where\(y == 2",
    ),
    "one label": (changed(y=np.ones(8)), "y has the values 1, expected labelled samples of both classes"),
    "other test label": (changed(y_test=np.full(30, 3)), "y_test has the value 3, expected the values of y"),
    "ragged": (changed(x=[[1, 2], [3]]), "x cannot be read as an array"),
    "NaN": (changed(x=holed()), r"x holds NaN or infinite entries: 1 of 96, the first at \(2, 1, 3\)"),
    "text": (changed(y=["a", "b"] * 4), "y holds text"),
    "one axis": (changed(x=np.ones(8)), r"x has shape \(8,\), expected .*x\[:, None\]"),
    "five axes": (changed(x=np.ones((8, 1, 1, 2, 3))), r"reshape\(len\(x\), 1, -1\)"),
    "nothing": (changed(x=np.ones((0, 6)), y=[]), "not empty"),
    "other width": (changed(views=np.ones((12, 2, 5))), "views has samples of 2 patches of 5 entries"),
    "no views": (changed(views=None), "views is None"),
    "few views": (changed(views=np.ones((3, 2, 6))), "views has 3 rows, expected 12"),
    "labels of another number": (changed(y=np.ones(7)), r"y has shape \(7,\), expected \(8,\)"),
    "columns of labels": (changed(y=arrays()["y"][:, None]), r"y.ravel\(\)"),
    "a flag": (changed(images="yes"), "images is 'yes'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_arrays_that_do_not_fit(fault: str) -> None:
    make, words = FAULTS[fault]
    with pytest.raises(ValueError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "views": ({"pretraining.views": "fresh"}, "pretraining.views: got 'fresh', expected \"fixed\""),
    "overlap": ({"pretraining.overlap": 0.5}, "pretraining.overlap: got 0.5"),
    "signal kept": ({"pretraining.signal_kept": 0.5}, "pretraining.signal_kept: got 0.5"),
    "flips": ({"data.flip_probability": 0.1}, "data.flip_probability: got 0.1"),
    "subset": ({"finetuning.labelled": "subset"}, "finetuning.labelled: got 'subset'"),
    "test samples": ({"evaluation.samples": 10_000}, "evaluation.samples: got 10000, expected none"),
    "dimension": ({"data.dim": 10}, "data.dim: got 10, expected none: own arrays have 6"),
    "signal": ({"data.snr": 0.2}, "data.snr: got 0.2"),
    "table": ({"data.signals": {"u": {}}}, "data.signals"),
    "too many": ({"finetuning.samples": 9}, "finetuning.samples: got 9, expected at most the 8"),
    "too many unlabelled": ({"pretraining.samples": 13}, "pretraining.samples: got 13"),
    "two doors": ({"data.source": "digits"}, "data.arrays: got data.source too"),
    "batch": ({"finetuning.batch": 3}, "divisor of finetuning.samples = 8"),
    "classes": ({"data.classes": [3, 7]}, "data.classes"),
    "what is none": ({"data.arrays": 3}, "data.arrays: got 3, expected numsim.Samples"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_do_not_go_with_arrays(case: str) -> None:
    overrides, words = SETTINGS[case]
    with pytest.raises(ConfigError) as caught:
        Experiment(**({"data.arrays": Samples(**arrays())} | overrides))
    assert any(words in line for line in caught.value.faults), caught.value.faults
    assert len(caught.value.faults) == 1


def test_settings_of_digits_without_them() -> None:
    for overrides in ({"data.centred": True}, {"data.classes": [1, 2]}, {"data.noise_patch": 1}):
        with pytest.raises(ConfigError, match="own arrays"):
            Experiment(**overrides)
    with pytest.raises(ConfigError, match="two different digits"):
        Experiment(**{"data.source": "digits", "data.classes": [3, 3]})


def test_sizes_are_all_rows_unless_given() -> None:
    data = Samples(**arrays())
    assert data.unlabelled is not None
    assert data.views is not None
    e = Experiment(**FEW).replace({"data.arrays": data}).resolved()
    assert (e.finetuning.samples, e.pretraining.samples, e.evaluation.samples) == (8, 12, 30)
    assert e.data.dim == 6
    assert e.noise_norm == pytest.approx(np.sqrt(np.mean(np.sum(data.unlabelled**2, axis=2))))
    fewer = e.replace({"finetuning.samples": 4, "pretraining.samples": 6})
    first, second, again = (draw(fewer, seed).own for seed in (0, 1, 0))
    assert first is not None
    assert second is not None
    assert again is not None
    assert first.x.shape == (4, 2, 6)
    assert len(np.unique(first.x[:, 0, 0])) == 4  # no repetition
    assert not np.array_equal(first.x, second.x)
    assert np.array_equal(first.x, again.x)
    assert first.unlabelled is not None
    assert first.views is not None
    rows = [int(np.flatnonzero((data.unlabelled == u).all(axis=(1, 2)))[0]) for u in first.unlabelled]
    assert np.array_equal(first.views, data.views[rows])  # a view stays with its sample
    without = {k: v for k, v in arrays().items() if k not in ("unlabelled", "views")}
    assert numsim.run(FEW, data=Samples(**without)).simclr is None
    with pytest.raises(ConfigError, match="there are no unlabelled"):
        Experiment(**{"data.arrays": Samples(**without), "pretraining.samples": 4})


def test_ensembles_sweeps_and_files(tmp_path: Path) -> None:
    data = Samples(**arrays())
    many = numsim.run_many(FEW, [0, 3], data=data)
    one = numsim.run(FEW, seed=3, data=data)
    assert many["test_loss"].sel(arm="direct", seed=3) == one.direct.test_loss
    over = {"finetuning.samples": [4, 8]}
    swept = numsim.sweep(FEW, over, 2, tmp_path / "a", data=data)
    assert swept["test_error"].sel({"finetuning.samples": 8, "seed": 0, "arm": "simclr"}) == float(
        many["test_error"].sel(arm="simclr", seed=0)
    )
    assert data.digest in swept.attrs["experiment"]
    again = numsim.sweep(FEW, over, 2, tmp_path / "a", data=Samples(**arrays()))
    assert again.identical(swept)
    with pytest.raises(ConfigError, match="holds"):
        numsim.sweep(FEW, over, 2, tmp_path / "a", data=Samples(**arrays(seed=1)))
    one.save(tmp_path / "one.nc")
    loaded = numsim.load_result(tmp_path / "one.nc")
    assert loaded.to_dataset().identical(one.to_dataset())
    assert loaded.experiment.data.arrays == data.digest
    with pytest.raises(ConfigError, match=r"data=numsim\.Samples"):
        numsim.run(loaded.experiment)
    assert numsim.run(loaded.experiment, data=data).to_dataset().identical(one.to_dataset())


def test_a_file_stands_for_its_arrays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "mine.npz", **arrays())
    text = '[data]\nfile = "data/mine.npz"\n[network]\nfilters = 3\nrelative_init_scale = 0.3\nq = 2\n'
    text += "[pretraining]\nsteps = 12\n[finetuning]\nmax_steps = 30\ntarget_loss = 0\n"
    (tmp_path / "mine.toml").write_text(text)
    assert cli._main(["run", str(tmp_path / "mine.toml"), "--json", "--out", str(tmp_path / "out")]) == 0
    document = json.loads(capsys.readouterr().out)
    one = numsim.run(FEW, data=Samples(**arrays()))
    assert document["simclr"]["test_loss"] == one.arms["simclr"].test_loss
    assert "file" not in document["config"]["data"]
    assert document["config"]["data"]["arrays"] == Samples(**arrays()).digest
    assert document["conditions"] == []
    assert (tmp_path / "out" / "figure.png").stat().st_size > 0
    assert cli._main(["run", str(tmp_path / "mine.toml")]) == 0
    assert "own arrays, d = 6" in capsys.readouterr().out


def saved(array: Floats) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "none": (lambda path: None, "no such file"),
    "a folder": (lambda path: path.mkdir(), "cannot be read"),
    "text": (lambda path: path.write_text("x"), "it is no .npz file"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read"),
    "one array": (lambda path: path.write_bytes(saved(np.ones(3))), "one array"),
    "no x_test": (lambda path: np.savez(path, x=[[1.0], [2.0]], y=[0, 1]), "no x_test"),
    "another name": (lambda path: np.savez(path, **arrays(), z=[1]), "the array z"),
    "ragged": (
        lambda path: np.savez(path, **(arrays() | {"x": np.array([[1], [1, 2]], dtype=object)})),
        "it is no .npz file of arrays of numbers",
    ),
    "three labels": (lambda path: np.savez(path, **(arrays() | {"y": np.arange(8) % 3})), "np.where"),
    "NaN": (lambda path: np.savez(path, **(arrays() | {"x": holed()})), "x holds NaN"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_files_that_are_none(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, words = BROKEN[case]
    path = tmp_path / "mine.npz"
    make(path)
    code = cli._main(["run", "--set", f"data.file={path}", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert code == 2
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def pool(**settings: Any) -> Pool:
    e = Experiment(**{"data.source": "digits", **{f"data.{k}": v for k, v in settings.items()}})
    source = source_of(e.data)
    assert isinstance(source, Pool)
    return source


def test_digits_are_divided_anew_for_every_seed() -> None:
    pytest.importorskip("sklearn")
    source = pool(classes=[3, 7], test_share=0.25)
    rows = source.rows(20, 100, seed=1)
    assert rows.unlabelled is not None
    assert rows.views is not None
    parts = [rows.x, rows.x_test, rows.unlabelled]
    keys = [{image.tobytes() for image in part} for part in parts]
    assert [len(part) for part in parts] == [20, source.tests, 100]
    assert len(keys[0] | keys[1] | keys[2]) == sum(map(len, parts))
    label = {image.tobytes(): y for image, y in zip(source.images[:, None], source.labels, strict=True)}
    for image, view in zip(rows.unlabelled, rows.views, strict=True):
        assert label[image.tobytes()] == label[view.tobytes()]
        assert not np.array_equal(image, view)
        assert view.tobytes() not in keys[0] | keys[1]
    assert [label[image.tobytes()] for image in rows.x] == list(rows.y)
    assert not np.array_equal(source.rows(20, 100, seed=2).x, rows.x)
    again = source.rows(20, 100, seed=1).views
    assert again is not None
    assert np.array_equal(again, rows.views)


def test_the_patch_of_noise_has_its_scale() -> None:
    pytest.importorskip("sklearn")
    source = pool(noise_patch=0.5, centred=True)
    rows = source.rows(100, 200, seed=0)
    assert rows.unlabelled is not None
    noise = np.concatenate([rows.x[:, 1], rows.unlabelled[:, 1], rows.x_test[:, 1]])
    unit = np.sqrt(np.mean(np.sum(source.images**2, axis=1)) / 64)
    spread = noise.std() / (0.5 * unit)
    assert abs(spread - 1) < 4.5 / np.sqrt(2 * noise.size)
    np.testing.assert_allclose(source.images.mean(axis=0), 0, atol=1e-12)
    both = np.mean(np.sum(np.concatenate([rows.x, rows.unlabelled]) ** 2, axis=2))
    assert source.length**2 == pytest.approx(both, rel=0.1)


@pytest.mark.compiled
def test_digits_are_learned() -> None:
    pytest.importorskip("sklearn")
    result = numsim.run({"data": {"source": "digits", "classes": [0, 1]}})
    assert result.experiment.pretraining.samples == 160
    assert result.arms["simclr"].test_error < 0.15
    again = Experiment(**json.loads(json.dumps(result.experiment.as_dict()))).resolved()
    assert again == result.experiment


def test_a_view_needs_another_image() -> None:
    images = np.arange(12.0).reshape(6, 2) + 1
    labels = np.array([1.0, 1, 1, 1, -1, -1])
    few = Pool(images, labels, share=0.5, noise=0.0, centred=False)
    with pytest.raises(ValueError, match="no other that could be its view"):
        few.rows(0, 3, seed=0)


def test_rates_come_from_the_spectra() -> None:
    data = Samples(**arrays(1))
    e = Experiment(**FEW).replace({"data.arrays": data}).resolved()
    assert data.unlabelled is not None
    assert data.views is not None
    z, z_aug = data.unlabelled[:, 0], data.views[:, 0]
    A = numsim.power_matrix(z, z_aug, learning_rate=e.pretraining.learning_rate)
    assert np.linalg.eigvalsh(A)[-1] == pytest.approx(0.1, rel=1e-9)
    scaled = Samples(**{k: 10 * v if v.ndim == 3 else v for k, v in arrays(1).items()})
    other = Experiment(**FEW).replace({"data.arrays": scaled}).resolved()
    assert other.finetuning.learning_rate == pytest.approx(e.finetuning.learning_rate / 100)
    assert other.network.init_scale == pytest.approx(e.network.init_scale / 10)


def test_large_arrays_are_not_copied() -> None:
    data = Samples(**arrays(1))
    e = Experiment(**FEW).replace({"data.arrays": data, "pretraining.batch": 4}).resolved()
    z, z_aug = draw(e).sums()
    assert data.unlabelled is not None
    assert data.views is not None
    assert np.shares_memory(z, data.unlabelled)
    assert np.shares_memory(z_aug, data.views)


@pytest.mark.compiled
def test_batches_of_two_arrays_in_coordinates() -> None:
    """Many samples of few entries: coordinates, with samples and views in arrays of their own."""
    rng = np.random.default_rng(3)
    z, z_aug = rng.standard_normal((2, 240, 3))
    W = 0.1 * rng.standard_normal((40, 3))
    settings: dict[str, Any] = {"learning_rate": 0.05, "max_steps": 9, "stop_at_linear_end": False}
    for batch in (120, 240):
        found, run = numsim.pretrain(W, z, z_aug, batch=batch, rng=np.random.default_rng(0), **settings)
        assert run.inner.shape == (40, 0)  # the coordinate form
        order = np.random.default_rng(0)
        expected = W.copy()
        rows: list[Any] = []
        for _ in range(9):
            rows = rows or list(order.permutation(240).reshape(-1, batch))
            taken = rows.pop(0)
            _, gradient = numsim.info_nce(expected, z[taken], z_aug[taken])
            expected = expected - 0.05 * gradient
        np.testing.assert_allclose(found, expected, atol=1e-13)
