"""The command line: exit codes, one line a fault, one JSON document, and no tracebacks."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import numsim
from numsim import cli
from numsim.runs.measures import PHYSICS

_SMALL = (
    "network.filters=2",
    "pretraining.samples=6",
    "pretraining.steps=25",
    "finetuning.samples=4",
    "finetuning.max_steps=40",
    "evaluation.samples=50",
)
_FILES = ["figure.png", "result.nc", "summary.json"]
_KEYS = {"schema", "config", "conditions", "simclr", "direct", "pretraining", "theory", "seconds"}
_ENDLESS = ("--set", "finetuning.max_steps=1e8", "--set", "finetuning.target_loss=0")


def _set(*settings: str) -> list[str]:
    return [argument for setting in settings for argument in ("--set", setting)]


class Outcome:
    """What a command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        self.faults = err.splitlines()


Call = Callable[..., Outcome]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        code = cli._main(list(arguments))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


def _document(text: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    document: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return document


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (_set("data.snnr=0.1"), ["data.snnr", "nearest: data.snr"]),
        (_set("data.foo=0.1"), ["data.foo", "nearest: data."]),
        (_set("data.snr=0.1", "data.signal_norm=3"), ["data.snr, data.signal_norm", "one of the two"]),
        (_set("data.snr=-1"), ["data.snr", "-1", "at least 0"]),
        (_set("data.snr=nan"), ["data.snr", "nan", "finite"]),
        (_set("data.sigma_p=inf"), ["data.sigma_p", "inf", "finite"]),
        (_set("network.q=0.5"), ["network.q", "0.5", "at least 1"]),
        (_set("pretraining.samples=1"), ["pretraining.samples", "needs a negative"]),
        (_set("data.snr"), ["--set", "key=value"]),
        (_set("=3"), ["--set", "key=value"]),
        (_set("data.snr="), ["data.snr", "''"]),
        (_set("finetuning.samples=2e9"), ["GiB", "finetuning.samples"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["--seed", "x"], ["--seed", "integer"]),
        (["--bogus"], ["--bogus", "numsim --help"]),
        (["headline", "headline"], ["unexpected", "headline"]),
        (["hedline"], ["hedline", "nearest: headline"]),
        (["hedline.toml"], ["hedline.toml", "no such file"]),
        (["syntax.toml"], ["syntax.toml", "line 2, column 7"]),
        (["binary.toml"], ["binary.toml", "UTF-8"]),
        (["folder.toml"], ["folder.toml", "is a directory"]),
        (["--out", ""], ["--out", "got '', expected a path"]),
        (["--out", "a\0b"], ["cannot write", "null"]),
        (["--out", "file"], ["cannot write file/result.nc", "file is a file, not a folder"]),
        (["--out", "file/below"], ["cannot write file/below/result.nc", "choose another place"]),
        (["--out", "taken"], ["cannot write taken/summary.json", "not a file"]),
        (["--out", "x" * 300], ["cannot write", "too long"]),
    ],
)
def test_a_fault_is_one_line(arguments: list[str], words: list[str], call: Call, tmp_path: Path) -> None:
    (tmp_path / "syntax.toml").write_text("[data]\nsnr = \n")
    (tmp_path / "binary.toml").write_bytes(bytes(range(256)))
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "summary.json").mkdir(parents=True)
    done = call("run", *arguments)
    assert (done.code, done.out, len(done.faults)) == (cli.USAGE, "", 1)
    assert done.err.startswith("numsim: ")
    for word in words:
        assert word in done.err


def test_all_faults_at_once(call: Call, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[data]\nsnr = -1\n[nettwork]\nq = 3\n")
    done = call("run", "bad.toml", *_set("no equals", "data.dim=0"))
    assert done.code == cli.USAGE
    assert [line.split(":")[1].strip() for line in done.faults] == [
        "--set",
        "data.snr",
        "nettwork",
        "data.dim",
    ]


def test_no_arguments_show_the_help(call: Call) -> None:
    done = call()
    assert (done.code, done.out) == (cli.USAGE, "")
    assert done.err.startswith("Usage: numsim ")
    assert "export" in done.err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["plot", "--help"], ["export", "--help"]]
)
def test_help(arguments: list[str], call: Call) -> None:
    done = call(*arguments)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: numsim ")


def test_unknown_command(call: Call) -> None:
    done = call("rum")
    assert (done.code, len(done.faults)) == (cli.USAGE, 1)


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("data.dim=1",),
        ("data.dim=1e15", "pretraining.views=fresh"),
        ("data.signal_norm=0", "finetuning.samples=1"),
        ("network.q=1", "network.filters=1"),
        ("pretraining.steps=0", "finetuning.max_steps=0"),
        ("pretraining.samples=0",),
    ],
)
def test_json_is_one_document(settings: tuple[str, ...], call: Call) -> None:
    done = call("run", "--json", *_set(*_SMALL, *settings))
    assert (done.code, done.err) == (0, "")
    document = _document(done.out)
    assert set(document) >= _KEYS
    assert document["schema"] == 1
    without = "pretraining.samples=0" in settings
    assert (document["simclr"] is None) == (document["pretraining"] is None) == without
    for arm in ("direct",) if without else ("simclr", "direct"):
        assert set(document[arm]) >= {"train_loss", "test_loss", "test_error", "steps", "status"}
        assert math.isfinite(document[arm]["train_loss"])


@pytest.mark.parametrize(
    ("settings", "arms"),
    [
        (["pretraining.learning_rate=1e300"], {"pretraining"}),
        (["pretraining.learning_rate=1e120"], {"pretraining"}),
        (["pretraining.learning_rate=1e2", "finetuning.learning_rate=1e100"], {"simclr"}),
        (["finetuning.learning_rate=1e300"], {"simclr", "direct"}),
    ],
)
def test_what_is_not_finite_is_incomplete(
    settings: list[str], arms: set[str], call: Call, tmp_path: Path
) -> None:
    done = call("run", "--json", "--out", "out", *_set(*_SMALL, *settings))
    assert done.code == cli.INCOMPLETE
    _document(done.out)
    faults = [line for line in done.faults if not line.startswith("written: ")]
    assert {line.split(": ")[1] for line in faults} == arms
    assert all(f"reduce {settings[0].partition('=')[0]}" in line for line in faults)
    assert sorted(os.listdir(tmp_path / "out")) == _FILES
    assert call("plot", "out").code == 0


def test_tables(call: Call) -> None:
    done = call("run", *_set(*_SMALL))
    assert (done.code, done.err) == (0, "")
    for title in ("Both arms", "Pre-training", "Who wins the race", "Conditions"):
        assert title in done.out


def test_out_is_replaced_as_a_whole(call: Call, tmp_path: Path) -> None:
    for seed in (3, 4):
        arguments = ["--seed", str(seed), "--out", "a/b", "--replace", *_set(*_SMALL, "seed=9")]
        done = call("run", "--json", *arguments)
        assert (done.code, done.err) == (0, "written: a/b/result.nc, summary.json, figure.png\n")
        written = _document((tmp_path / "a" / "b" / "summary.json").read_text())
        assert written == _document(done.out)
        assert written["config"]["seed"] == seed
        assert numsim.load_result(tmp_path / "a" / "b" / "result.nc").seed == seed
        assert sorted(os.listdir(tmp_path / "a" / "b")) == _FILES


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("last", [0, 1])
def test_a_full_disk_keeps_the_old_files(
    last: int, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("run", "--out", "out", *_set(*_SMALL))
    old = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    from numsim.runs import files

    opened = iter(range(9))

    def scarce(*arguments: Any) -> Any:
        if next(opened) == last:
            _full()
        return open(*arguments)

    monkeypatch.setattr(files, "open", scarce, raising=False)
    done = call("run", "--json", "--out", "out", "--replace", "--seed", "1", *_set(*_SMALL))
    assert done.code == cli.INCOMPLETE
    assert done.faults == ["numsim: cannot write out: no space left on device"]
    assert _document(done.out)["config"]["seed"] == 1  # what was found is not lost
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == old


def test_another_experiment_is_refused(call: Call, tmp_path: Path) -> None:
    call("run", "--out", "out", *_set(*_SMALL))
    old = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for arguments, words in (
        (["--seed", "1"], "out holds another experiment (seed 0 there, 1 here)"),
        (_set("data.dim=50"), "data.dim 100000000 there, 50 here"),
        (_set("data.signal_norm=3"), "data.snr 0.2 there, not given here"),
    ):
        done = call("run", "--json", "--out", "out", *_set(*_SMALL), *arguments)
        assert (done.code, done.out, len(done.faults)) == (cli.USAGE, "", 1)
        assert words in done.err
        assert "--replace" in done.err
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == old
    assert call("run", "--out", "out", *_set(*_SMALL)).code == 0  # the same one
    for name in ("result.nc", "figure.png"):
        assert (tmp_path / "out" / name).read_bytes() == old[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("result.nc", "a result.nc that cannot be read"),
        ("results.nc", "a sweep"),
        ("ledger.sqlite", "a sweep"),
        ("figure.png", "figure.png of unknown origin"),
    ],
)
def test_other_files_are_refused_or_replaced(name: str, words: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("" if name == "ledger.sqlite" else "mine")
    done = call("run", "--out", "out", *_set(*_SMALL))
    assert (done.code, done.out, len(done.faults)) == (cli.USAGE, "", 1)
    assert f"out holds {words}; " in done.err
    assert os.listdir(tmp_path / "out") == [name]
    assert call("run", "--out", "out", "--replace", *_set(*_SMALL)).code == 0
    assert sorted(os.listdir(tmp_path / "out")) == _FILES


def test_numbers_of_another_physics_are_another_experiment(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("numsim.runs.result.PHYSICS", 1)
        call("run", "--out", "out", *_set(*_SMALL))
    words = f"numbers of physics version 1, this numsim computes version {PHYSICS}"
    done = call("run", "--out", "out", *_set(*_SMALL))
    assert (done.code, len(done.faults)) == (cli.USAGE, 1)
    assert words in done.err
    done = call("plot", "out")
    assert (done.code, done.err) == (0, f"numsim: note: out/result.nc holds {words}\n")
    assert call("run", "--out", "out", "--replace", *_set(*_SMALL)).code == 0
    assert call("plot", "out").err == ""


@pytest.mark.parametrize("failing", ["draw", "write"])
@pytest.mark.parametrize("command", ["run", "plot"])
def test_a_figure_that_fails_costs_a_line(
    command: str, failing: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("run", "--out", "out", *_set(*_SMALL)).code == 0
    old = {name: (tmp_path / "out" / name).read_bytes() for name in _FILES}

    def fail(*_: object) -> None:
        raise RuntimeError("no\nfonts")

    if failing == "draw":
        monkeypatch.setattr("numsim.shown.run_figure.figure", fail)
        words = "numsim: cannot draw out/figure.png: RuntimeError: no fonts"
    else:
        monkeypatch.setattr("numsim.runs.files.write_atomically", _full)
        words = "numsim: cannot write out/figure.png: no space left on device"
    if command == "plot":
        done = call("plot", "out")
        assert (done.code, done.out, done.faults) == (cli.INCOMPLETE, "", [words])
        assert {name: (tmp_path / "out" / name).read_bytes() for name in _FILES} == old
        return
    done = call("run", "--out", "out", "--replace", "--seed", "1", "--json", *_set(*_SMALL))
    assert done.faults == ["written: out/result.nc, summary.json", words]
    assert (done.code, _document(done.out)["config"]["seed"]) == (cli.INCOMPLETE, 1)
    assert sorted(os.listdir(tmp_path / "out")) == _FILES[1:]  # and no picture of other numbers
    assert numsim.load_result(tmp_path / "out" / "result.nc").seed == 1


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (KeyboardInterrupt(), cli.INTERRUPTED, ["numsim: interrupted"]),
        (
            MemoryError(),
            cli.INCOMPLETE,
            ["numsim: not enough memory: reduce the numbers of samples or filters"],
        ),
        (BrokenPipeError(), 0, []),
        (OSError(errno.ENOSPC, "Full"), cli.INCOMPLETE, ["numsim: cannot write the output: full"]),
    ],
)
def test_errors_end_with_their_code(
    error: BaseException, code: int, lines: list[str], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("numsim.cli.running.experiment_of", fail)
    done = call("run")
    assert (done.code, done.out, done.faults) == (code, "", lines)


def test_our_own_errors_are_not_hidden(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("numsim.cli.running.experiment_of", fail)
    with pytest.raises(ZeroDivisionError):
        call("run")


def test_plot(call: Call, tmp_path: Path) -> None:
    call("run", "--out", "out", *_set(*_SMALL))
    (tmp_path / "out" / "figure.png").unlink()
    (tmp_path / "new").mkdir()
    for arguments, target in (
        (["out"], "out/figure.png"),
        (["out/result.nc", "--out", "new/é.svg"], "new/é.svg"),
    ):
        done = call("plot", *arguments)
        assert (done.code, done.out, done.err) == (0, f"written: {target}\n", "")
        assert (tmp_path / target).is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hedline/result.nc"], "cannot read hedline/result.nc: no such file"),
        (["."], "cannot read result.nc: no such file"),
        (["empty.nc"], "empty.nc is not a result saved by numsim"),
        (["empty.nc", "--out", "picture.jpg"], "expected .png, .pdf, .svg or .pgf"),
        ([], "Missing argument"),
    ],
)
def test_plot_refuses(arguments: list[str], words: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty.nc").touch()
    done = call("plot", *arguments)
    assert (done.code, done.out, len(done.faults)) == (cli.USAGE, "", 1)
    assert words in done.err
    assert os.listdir(tmp_path) == ["empty.nc"]


def test_export(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    done = call("export", "--dense", "a/dense", *_set(*_SMALL, "data.dim=50"))
    assert (done.code, done.out, done.err) == (0, "written: a/dense\n", "")
    assert os.listdir(tmp_path / "a") == ["dense"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--dense"),
        (["--dense", "x.npz"], "data.dim: got 100000000"),
        (["--dense", "x.npz", *_set("data.dim=9", "pretraining.views=fresh")], "pretraining.views"),
        (["--dense", ".", *_set("data.dim=9")], "not a file"),
        (["--dense", "no/x.npz", *_set("data.dim=9")], "no is not a folder"),
        (["--dense", os.devnull, *_set("data.dim=9")], "not a file"),
    ],
)
def test_export_refuses(arguments: list[str], words: str, call: Call, tmp_path: Path) -> None:
    done = call("export", *arguments)
    assert (done.code, done.out, len(done.faults)) == (cli.USAGE, "", 1)
    assert words in done.err
    assert not os.listdir(tmp_path)


def test_export_replaces_an_export_and_no_other_file(call: Call, tmp_path: Path) -> None:
    arguments = ["export", "--dense", "x", *_set(*_SMALL, "data.dim=50")]
    (tmp_path / "x").write_text("[data]\n")
    done = call(*arguments)
    assert (done.code, done.out, len(done.faults)) == (cli.USAGE, "", 1)
    assert "cannot write x: it is a file of another kind" in done.err
    assert (tmp_path / "x").read_text() == "[data]\n"
    (tmp_path / "x").unlink()
    assert [call(*arguments, "--seed", seed).code for seed in "12"] == [0, 0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--out", ""],
        ["sweep", "headline", "--out", ""],
        ["plot", ""],
        ["plot", "out", "--out", ""],
        ["export", "--dense", ""],
        ["verify", "--report", ""],
    ],
)
def test_an_empty_path_is_none(arguments: list[str], call: Call, tmp_path: Path) -> None:
    done = call(*arguments)
    assert (done.code, done.out, len(done.faults)) == (cli.USAGE, "", 1)
    assert "got '', expected a path" in done.err
    assert not os.listdir(tmp_path)


def test_a_result_that_is_neither_kept_nor_shown_is_a_fault(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("numsim.runs.files.write_together", _full)
    monkeypatch.setattr("numsim.cli.running._show", gone)
    done = call("run", "--out", "out", *_set(*_SMALL))
    assert (done.code, done.faults) == (
        cli.INCOMPLETE,
        ["numsim: cannot write out: no space left on device"],
    )


def test_export_of_what_is_not_finite_is_incomplete(call: Call, tmp_path: Path) -> None:
    rates = ("pretraining.learning_rate=1e300", "finetuning.learning_rate=1e300")
    done = call("export", "--dense", "x.npz", *_set(*_SMALL, "data.dim=50", *rates))
    assert (done.code, done.out) == (cli.INCOMPLETE, "")
    assert "reduce pretraining.learning_rate" in done.err
    assert not os.listdir(tmp_path)


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(numsim.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "numsim", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.compiled
def test_as_a_process_in_another_folder(tmp_path: Path) -> None:
    process = _start(tmp_path, "run", "--json", "--out", "out", *_set(*_SMALL))
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "written: out/result.nc, summary.json, figure.png\n")
    assert _document(out)["schema"] == 1
    assert sorted(os.listdir(tmp_path / "out")) == _FILES


@pytest.mark.compiled
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    process = _start(tmp_path, "run", "--json", "--out", "out", *_ENDLESS)
    while not (tmp_path / "out").exists():  # checked just before the run
        time.sleep(0.05)
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    # CPython may end by the signal itself, which a shell reports as 130 as well.
    assert process.returncode in (cli.INTERRUPTED, -signal.SIGINT)
    assert (out, err) == ("", "numsim: interrupted\n")
    assert not os.listdir(tmp_path / "out")


@pytest.mark.compiled
@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", *_set(*_SMALL)], ["run", "--json", *_set(*_SMALL)]]
)
def test_a_reader_that_leaves_is_no_fault(arguments: list[str], tmp_path: Path) -> None:
    process = _start(tmp_path, *arguments)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), err) == (0, "")


@pytest.mark.compiled
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_is_full(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(numsim.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "numsim", "run", "--json", *_set(*_SMALL)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        cli.INCOMPLETE,
        "numsim: cannot write the output: no space left on device\n",
    )
