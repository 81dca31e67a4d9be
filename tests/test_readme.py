"""The README's section on other theorems: its files and commands, copied as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numsim
from numsim import cli

README = Path(__file__).parent.parent / "README.md"
LONGEST_LOSS = 25
"""Lines that a loss of one's own may take."""


def _section(title: str = "Another theorem") -> str:
    text = README.read_text(encoding="utf-8")
    return text.split(f"\n## {title}")[1].split("\n## ")[0]


def _files(section: str) -> dict[str, str]:
    """Blocks that name their file in the first line."""
    blocks = re.findall(r"```(?:toml|python)\n# (\S+)\n(.*?)```", section, re.DOTALL)
    return dict(blocks)


def _commands(section: str) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(arguments: list[str]) -> tuple[int, str]:
        code = cli._main(arguments)
        return code, capsys.readouterr().err

    return run


@pytest.mark.compiled
def test_another_theorem_as_the_readme_has_it(call: Any, tmp_path: Path) -> None:
    files, commands = _files(_section()), _commands(_section())
    assert [command[0] for command in commands] == ["run", "run", "sweep", "run", "sweep", "export"]
    assert set(files) == {"arms.toml", "hinge.py", "hinge.toml"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for command in commands:
        code, said = call(command)
        assert code == 0, (command, said)
    arms = numsim.load_result(tmp_path / "arms" / "result.nc").arms
    assert list(arms) == ["gd", "sam"]
    for folder in ("arms", "lengths", "hinges"):
        assert (tmp_path / folder / "figure.png").stat().st_size > 0
    with np.load(tmp_path / "hinge.npz") as dense:
        assert np.isfinite(dense["W_direct"]).all()


def test_a_loss_of_ones_own_is_short() -> None:
    assert len(_files(_section())["hinge.py"].splitlines()) <= LONGEST_LOSS


@pytest.mark.compiled
def test_own_arrays_as_the_readme_has_them(call: Any, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    section = _section("Your own arrays")
    for command in _commands(section):
        assert call(command)[0] == 0
    assert (tmp_path / "digits" / "figure.png").stat().st_size > 0
    (text,) = _files(section).values()
    found: dict[str, Any] = {}
    exec(text, found)
    assert found["result"].simclr.test_error < 0.1
    assert call(["run", "--set", f"data.file={tmp_path / 'own.npz'}", "--set", "network.filters=5"])[0] == 0
