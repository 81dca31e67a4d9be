"""The commands that list what there is: presets, files to begin with, settings."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from numsim import Experiment, cli, load
from numsim.config.sources import preset_text, presets


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_presets_are_listed_with_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    Path("xor").write_text("")  # a file of this name is not the preset
    assert cli._main(["presets", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in document["presets"]] == list(presets())
    assert all(len(row["about"]) > 20 for row in document["presets"])
    assert [row["name"] for row in document["presets"] if not row["sweep"]] == ["headline"]
    assert cli._main(["presets"]) == 0
    assert "headline" in capsys.readouterr().out


@pytest.mark.parametrize("name", presets())
def test_init_writes_a_file_that_is_the_preset(name: str) -> None:
    assert cli._main(["init", name, "--out", "own.toml"]) == 0
    assert load("own.toml") == load(name)
    assert Path("own.toml").read_text(encoding="utf-8") == preset_text(name)


def test_init_without_a_preset_is_the_headline_and_replaces_nothing_unasked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli._main(["init", "--out", "own.toml"]) == 0
    assert load("own.toml").resolved() == Experiment().resolved()
    Path("own.toml").write_text("seed = 3\n")
    assert cli._main(["init", "--out", "own.toml"]) == cli.USAGE
    assert "--replace" in capsys.readouterr().err
    assert Path("own.toml").read_text() == "seed = 3\n"
    assert cli._main(["init", "--out", "own.toml", "--replace"]) == 0
    assert load("own.toml").seed == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["init", "xorr", "--out", "own.toml"], "nearest: xor"),
        (["init", "--out", "own.txt"], ".toml"),
        (["init", "--out", "none/own.toml"], "not a folder"),
    ],
)
def test_init_refuses(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._main(arguments) == cli.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_learning_rates_in_the_headline_are_those_that_are_derived() -> None:
    text = re.sub(r"^# (learning_rate = )", r"\1", preset_text("headline"), flags=re.MULTILINE)
    resolved, table = load("headline").resolved(), tomllib.loads(text)
    assert table["pretraining"]["learning_rate"] == pytest.approx(resolved.pretraining.learning_rate)
    assert table["finetuning"]["learning_rate"] == pytest.approx(resolved.finetuning.learning_rate)


def test_the_shell_completes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._main(["--help"]) == 0
    assert "--install-completion" in capsys.readouterr().out
