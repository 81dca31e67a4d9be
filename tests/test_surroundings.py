"""Commands in hostile surroundings: what is computed is kept, what is drawn is the same picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

import numsim
from numsim.shown.style import own_style, picture

SMALL = """
[data]
dim = 400
[network]
filters = 2
relative_init_scale = 0.05
[pretraining]
samples = 8
steps = 20
[finetuning]
samples = 4
max_steps = 20
[evaluation]
samples = 20
[sweep]
seeds = 1
[sweep.over]
"data.snr" = [0.5]
"""
SETTINGS: dict[str, Any] = {
    "text.usetex": True,
    "toolbar": "toolmanager",
    "font.family": ["Nonexistent"],
    "savefig.format": "pdf",
    "savefig.bbox": "tight",
    "savefig.facecolor": "red",
    "figure.dpi": 7,
    "axes.unicode_minus": False,
    "lines.linewidth": 30,
}
CLAIM = """
from pathlib import Path
from numsim import Claim
from numsim.claims import Outcome, equals


def check(trials, *, factor=1.0):
    if not Path("matplotlibrc").exists():  # which stops the user's own import of it
        from matplotlib import pyplot  # off-screen here as well
        pyplot.figure()
    return Outcome([equals("three", 3 * factor, 3.0, order=0.01)])


CLAIM = Claim(id="M1", title="Three", source="here", check=check, controls={"four": {"factor": 4 / 3}})
"""


def _draw() -> Figure:
    drawn = Figure()
    drawn.subplots().plot([-1, 0, 1], [2, 3, np.nan], label="$x^2$")
    drawn.legend()
    return drawn


def test_settings_of_a_session_do_not_reach_a_picture_nor_a_picture_them() -> None:
    plain = picture(_draw, "png")
    with mpl.rc_context():
        with pytest.warns(UserWarning, match="experimental"):  # of the toolbar
            mpl.rcParams.update(SETTINGS)  # type: ignore[arg-type]
        before = dict(mpl.rcParams)
        assert picture(_draw, "png") == plain
        with own_style({"font.size": 20.0}):
            assert (mpl.rcParams["font.size"], mpl.rcParams["text.usetex"]) == (20.0, False)
        assert dict(mpl.rcParams) == before
        with pytest.warns(UserWarning, match="experimental"):
            mpl.rcParams["toolbar"] = "toolmanager"


class Surroundings:
    """A folder with a matplotlibrc, and variables of the environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = os.pathsep.join([str(Path(numsim.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        self.environment = {**os.environ, "PYTHONPATH": path}

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "numsim", *arguments],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path) -> Surroundings:
    found = Surroundings(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "own.py").write_text(CLAIM)
    (tmp_path / "matplotlibrc").write_bytes(bytes(range(256)))
    (tmp_path / "rc").write_text("text.usetex: true\nbackend: nonsense\naxes.grid: maybe\nno.such: 3\n")
    found.environment |= {
        "MPLBACKEND": "nonsense",
        "MATPLOTLIBRC": str(tmp_path / "rc"),
        "MPLCONFIGDIR": "/dev/null",
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "COLUMNS": "10",
    }
    found.environment.pop("HOME", None)
    return found


@pytest.mark.compiled
def test_every_command_draws_off_screen_whatever_the_surroundings_say(hostile: Surroundings) -> None:
    calm = Surroundings(hostile.folder)
    (hostile.folder / "calm").mkdir()
    for command, picture_of in ((["run"], "run"), (["sweep"], "sweep")):
        done = hostile(*command, "small.toml", "--out", picture_of, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["schema"] == 1
        (written,) = done.stderr.splitlines()
        assert written.endswith(", figure.png")
        again = f"calm/{picture_of}.png"
        assert calm("plot", picture_of, "--out", again).returncode == 0
        drawn = (hostile.folder / picture_of / "figure.png").read_bytes()
        assert (hostile.folder / again).read_bytes() == drawn
    done = hostile("plot", "run")
    assert (done.returncode, done.stdout, done.stderr) == (0, "written: run/figure.png\n", "")
    for _ in range(2):
        done = hostile("verify", "own.py", "--report", "r")
        assert (done.returncode, done.stderr) == (0, "written: r/index.html\n")
        (hostile.folder / "matplotlibrc").unlink(missing_ok=True)
    assert "could not be drawn" not in (hostile.folder / "r" / "index.html").read_text()


@pytest.mark.compiled
def test_a_variable_that_numba_cannot_read_is_a_line(tmp_path: Path) -> None:
    surroundings = Surroundings(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)
    surroundings.environment["NUMBA_DEBUG"] = "yes"
    done = surroundings("run", "small.toml", "--json")
    assert (done.returncode, json.loads(done.stdout)["schema"]) == (0, 1)
    (line,) = done.stderr.splitlines()
    assert "NUMBA_DEBUG" in line
