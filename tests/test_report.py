"""The report: one page that loads nothing, whatever a claim does, on any screen and on paper."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from test_notes import WellFormed

import numsim
from numsim import cli
from numsim.claims import (
    Claim,
    Comparison,
    Evidence,
    Outcome,
    Trials,
    at_most,
    equals,
    examine,
    failure_rate,
    follows,
)
from numsim.shown import report
from numsim.shown.drawing import tidy
from numsim.shown.numbers import number
from numsim.shown.report import COMPLETE, FOREIGN, INTERRUPTED_REPORT, page, state, write_report

NOTE = r"""# X1 · A note

By (1), and by X2 (1), $\mathrm{SNR}$ matters.

$$
K(z) = \begin{cases} \frac{2cz}{1 - z^2} & z < z_* , \\ 0 & \text{else} \end{cases}
\qquad \text{and so on, very far to the right of any phone} \tag{1}
$$
"""
HIDDEN = "matters"
"""A word of the folded note."""


def check(trials: Trials, *, factor: float = 1.0, wrong: bool = False) -> Outcome:
    if wrong:
        raise ValueError("no <b>number</b>")
    draws = trials.rng.normal(3.0, 0.1, 40)
    found = [
        equals("π & <the Bible>, n = 40", 3.0 * factor, draws),
        at_most("bounded", 5.0 * factor, draws),
        failure_rate("rare", 0.1, 3, 400),
        follows("uniform", lambda x: x, trials.rng.random(100)),
    ]
    return Outcome(found, 40)


def drawing(evidence: Evidence) -> Figure:
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="black", label="$x^2$")
    axes.fill_between([0, 1], [0, 1], hatch="//", clip_on=True, color="#E69F00")
    axes.legend()
    return figure


def broken(evidence: Evidence) -> Figure:
    raise RuntimeError("nothing <to> draw")


def claim(name: str, **changes: Any) -> Claim:
    settings = {
        "title": "What is claimed of $x^2$",
        "source": "A book, page 3",
        "statement": r"\lVert x\rVert \le \frac{1}{2}",
        "check": check,
        "controls": {"pi as it <is>": {"factor": math.pi / 3}},
        **changes,
    }
    return Claim(id=name, **settings)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> list[Evidence]:
    """One of each kind: good, with another figure, failing, raising, inconclusive, without anything."""
    note = tmp_path_factory.mktemp("notes") / "x1.md"
    note.write_text(NOTE, encoding="utf-8")

    def vague(trials: Trials, *, bad: bool = False) -> Outcome:
        if bad:
            return Outcome([equals("off", 1.0, 2.0)])
        return Outcome([equals("noise", 0.01, trials.rng.normal(0, 5, 30))], 30)

    def raising(trials: Trials, **_: Any) -> Outcome:
        raise ZeroDivisionError("division <by> zero")

    def endless(trials: Trials, **_: Any) -> Outcome:
        return Outcome([equals("gone", 1.0, math.inf), equals("unknown", math.nan, 1.0)], 1)

    found = [
        examine(claim("X1", note=note)),
        examine(claim("X2", note=note, figure=drawing)),
        examine(claim("X3", figure=drawing, controls={"does nothing": {"factor": 1.0 + 1e-9}})),
        examine(claim("X4", check=raising, figure=broken, statement=r"\nothing{x}")),
        examine(claim("X5", check=vague, controls={"bad": {"bad": True}}, note=note.with_name("gone.md"))),
        examine(claim("X6", check=endless, controls={"breaks off": {"wrong": True}})),
        examine(claim("my own/claim", controls={"breaks off": {"wrong": True}}, statement="")),
    ]
    assert [e.verdict for e in found] == ["holds"] * 3 + ["fails", "inconclusive", "fails", "holds"]
    return found


MISSING = ["P1", "S<2>"]


@pytest.fixture(scope="module")
def text(evidence: list[Evidence]) -> str:
    return page(evidence, seed=7, effort="quick", seconds=12.34)


def test_the_page_is_well_formed(text: str) -> None:
    found = WellFormed(text)
    assert len(found.ids) == len(set(found.ids))
    inside = {target[1:] for target in found.targets if target.startswith("#")}
    assert inside <= set(found.ids)
    assert {"x1", "x2", "x1-1", "x2-1"} <= inside
    assert text.startswith("<!DOCTYPE html>")
    assert {"math", "mfrac", "svg", "details", "caption", "figcaption"} <= set(found.tags)
    levels = [int(tag[1]) for tag in found.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_nothing_is_loaded(text: str) -> None:
    found = WellFormed(text)
    assert not {"script", "img", "iframe", "object", "embed", "video", "audio"} & set(found.tags)
    assert [t for t in found.targets if not t.startswith("#")] == ["data:,"]
    assert not re.search(r"src=|@import|https?://|url\((?!#)", text)
    assert "default-src 'none'" in text


def test_everything_found_is_on_the_page(text: str, evidence: list[Evidence]) -> None:
    shown = " ".join(WellFormed(text).text.split())
    for e in evidence:
        assert f"{e.id} · What is claimed of" in shown
        for control in e.controls:
            assert control.words in shown
        for comparison in e.outcome.comparisons:
            assert comparison.name.replace("\u00a0", " ") in shown.replace("\u00a0", " ")
    for words in (
        "4 of 7 claims hold",
        "π & <the Bible>",
        "pi as it <is>",
        "division <by> zero",
        "The figure could not be drawn: RuntimeError: nothing <to> draw",
        "The note cannot be read",
        "\\nothing{x}",
        "✗ holds, must fail",
        "✗ inconclusive, must fail",
        "no <b>number</b>",
        "? inconclusive",
        "−∞",
        HIDDEN,
    ):
        assert words in shown, words


def test_what_the_verification_was_is_on_the_page(text: str) -> None:
    for name, value in (
        ("seed", "7"),
        ("effort", "quick"),
        ("total", "12.3 s"),
        ("numsim", numsim.__version__),
    ):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in text


def test_verdicts_do_not_speak_by_colour_alone(text: str) -> None:
    for word, sign in (("holds", "✓"), ("fails", "✗"), ("inconclusive", "?")):
        found = re.findall(rf'<span class="verdict {word}"><span aria-hidden="true">(.)</span> (\S+)', text)
        assert found
        assert {mark for mark, _ in found} == {sign}


def test_figures_share_no_names_and_no_ground(text: str) -> None:
    figures = re.findall(r"<svg viewBox.*?</svg>", text, flags=re.DOTALL)
    drawn = [figure for figure in figures if 'role="img"' in figure]
    assert len(drawn) == 6  # one could not be drawn
    assert all('aria-label="' in figure for figure in drawn)
    ids = [set(re.findall(r'\bid="([^"]+)"', figure)) for figure in drawn]
    assert sum(map(len, ids)) == len(set().union(*ids))
    for figure, own in zip(drawn, ids, strict=True):
        references = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', figure)
        assert {a or b for a, b in references} <= own
        assert references
        assert not re.search(r"#000000|#ffffff|<style", figure)
    assert "currentColor" in drawn[1]
    assert "#e69f00" in drawn[1]


def test_margins_are_drawn_to_scale() -> None:
    assert report._margin(0.25) == {
        "text": "0.25",
        "start": 1,
        "length": 0.25,
        "missed": False,
        "drawn": True,
    }
    assert report._margin(-0.5)["start"] == 0.5
    assert report._margin(-math.inf)["length"] == 1
    assert report._margin(-1e6)["text"] == "−10⁶"
    assert not report._margin(math.nan)["drawn"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (5657.2, "5657"),
        (-0.12345, "−0.1235"),
        (1.5e-5, "1.5 · 10⁻⁵"),
        (1e-11, "10⁻¹¹"),
        (-1e20, "−10²⁰"),
        (1e8, "10⁸"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers_are_for_readers(value: float, words: str) -> None:
    assert number(value) == words


def test_intervals_have_the_digits_that_tell_their_ends_apart() -> None:
    assert report._digits((0.25, 0.5)) == report._digits(None) == report._digits((1.0, 1.0)) == 4
    assert report._digits((3.000011, 3.000018)) == 6
    row = report._row(Comparison("x", 3.0, 3.000014, interval=(3.000011, 3.000018)), 0.01)
    assert (row["predicted"], row["measured"], row["interval"]) == ("3", "3.00001", "3.00001 to 3.00002")


def test_short_logarithmic_axes_are_labelled_in_words_that_fit() -> None:
    figure = Figure()
    axes = figure.add_subplot()
    axes.set(xscale="log", xlim=(0.2, 4.0), yscale="log", ylim=(1e-8, 1.0))
    tidy(figure)
    figure.canvas.draw()
    labels = {label.get_text() for label in axes.get_xticklabels(which="both")}
    assert {text for text in labels if text and 0.2 <= float(text) <= 4.0} == {"0.2", "0.5", "1", "2"}
    assert "$" in axes.get_yticklabels()[0].get_text()


def test_no_claims_make_a_page_too() -> None:
    assert "No claim was checked." in WellFormed(page([], seed=0, effort="full", seconds=0.0)).text


def test_a_report_is_replaced_only_when_whole(
    evidence: list[Evidence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a" / "b"
    assert write_report(evidence[:1], folder, seed=0, effort="quick", seconds=1.0) == folder / "index.html"
    before = (folder / "index.html").read_text(encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        write_report(evidence, folder, seed=0, effort="quick", seconds=1.0)
    assert [path.name for path in folder.iterdir()] == ["index.html"]
    assert (folder / "index.html").read_text(encoding="utf-8") == before


def test_an_interrupted_report_says_so(evidence: list[Evidence], text: str, tmp_path: Path) -> None:
    assert "Interrupted" not in text
    some = evidence[:2]
    facts: dict[str, Any] = {"seed": 0, "effort": "quick", "seconds": 1.0}
    part = WellFormed(page(some, **facts, missing=MISSING)).text
    assert "Interrupted: 2 of 4 claims were checked. Not checked: P1, S<2>." in part
    assert state(tmp_path / "index.html") == ""
    write_report(some, tmp_path, **facts, missing=MISSING)
    assert state(tmp_path / "index.html") == INTERRUPTED_REPORT
    write_report(some, tmp_path, **facts)
    assert state(tmp_path / "index.html") == COMPLETE
    (tmp_path / "index.html").write_text("<!DOCTYPE html><title>My page</title>")
    assert state(tmp_path / "index.html") == FOREIGN


def test_figures_that_cannot_be_drawn_are_told(evidence: list[Evidence]) -> None:
    faults: list[str] = []
    page(evidence, seed=0, effort="quick", seconds=1.0, faults=faults)
    (fault,) = faults
    line = broken.__code__.co_firstlineno + 1
    assert fault.startswith("cannot draw the figure of X4: RuntimeError: nothing <to> draw (")
    assert fault.endswith(f"test_report.py, line {line})")


_OWN = """
import os
import signal
from pathlib import Path
from numsim import Claim
from numsim.claims import Outcome, equals


def check(trials, *, factor=1.0):
    return Outcome([equals("three", 3 * factor, 3.0, order=0.01)])


def stopped(trials, *, factor=1.0):
    if Path("stop").exists():
        raise KeyboardInterrupt
    return check(trials, factor=factor)


def drawn(evidence):
    if Path("broken").exists():
        raise RuntimeError("no fonts")
    from matplotlib import pyplot
    return pyplot.figure()


WRONG = {"four": {"factor": 4 / 3}}
ONE = Claim(id="M1", title="Three", source="here", check=check, controls=WRONG, figure=drawn)
TWO = Claim(id="M2", title="Three", source="here", check=stopped, controls=WRONG)
"""


def test_the_command_keeps_what_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(_OWN)
    # One after the other, in this process.
    monkeypatch.setattr(
        "numsim.claims.verify_each", lambda claims, *facts: (examine(c, *facts) for c in claims)
    )
    place = tmp_path / "r" / "index.html"

    def verify(*arguments: str) -> tuple[int, list[str]]:
        code = cli._main(["verify", "own.py", "--report", "r", *arguments])
        return code, capsys.readouterr().err.splitlines()

    (tmp_path / "stop").touch()
    interrupted = "written: r/index.html (interrupted: 1 claims were not checked)"
    assert verify() == (cli.INTERRUPTED, [interrupted, "numsim: interrupted"])
    assert state(place) == INTERRUPTED_REPORT
    assert "Not checked: M2." in place.read_text()
    (tmp_path / "stop").unlink()
    assert verify() == (0, ["written: r/index.html"])
    before = place.read_bytes()
    (tmp_path / "stop").touch()
    assert verify()[1] == ["kept: r/index.html, which is complete", "numsim: interrupted"]
    assert place.read_bytes() == before
    (tmp_path / "stop").unlink()
    (tmp_path / "broken").touch()
    code, (written, fault) = verify()
    assert (code, written) == (cli.INCOMPLETE, "written: r/index.html")
    assert fault == "numsim: cannot draw the figure of M1: RuntimeError: no fonts (own.py, line 21)"
    place.write_text("mine")
    code, (fault,) = verify()
    assert (code, place.read_text()) == (cli.USAGE, "mine")
    assert "an index.html that is not a report of numsim" in fault
    (tmp_path / "broken").unlink()
    assert verify("--replace") == (0, ["written: r/index.html"])


# ---------------------------------------------------------------- in a browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
OFFLINE = ["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--disable-sync"]
QUIET = ["--no-first-run", "--disable-component-update", "--disable-quic", "--hide-scrollbars"]
PHONE = 360

FRAME = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">
<iframe src="index.html" style="width:{width}px;height:2000px;border:0"></iframe><p id="found"></p>
<script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument;
  for (const folded of page.querySelectorAll("details")) folded.open = true;
  const formula = page.querySelector("math mfrac").getBoundingClientRect();
  const style = page.defaultView.getComputedStyle(page.body);
  document.getElementById("found").textContent = [
    "width", page.documentElement.scrollWidth, "of", page.documentElement.clientWidth,
    "formula", formula.height > 20, "ground", style.backgroundColor, "text", style.color].join(" ");
}};
</script>"""


def chromium(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    started = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    logged = ["--enable-logging=stderr", "--v=0", "--allow-file-access-from-files"]
    command = [CHROMIUM, *started, *logged, *OFFLINE, *QUIET, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture(scope="module")
def folder(evidence: list[Evidence], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("page")
    write_report(evidence, place, seed=0, effort="quick", seconds=1.0)
    (place / "frame.html").write_text(FRAME.format(width=PHONE), encoding="utf-8")
    return place


def hosts_asked_for(folder: Path, address: str) -> tuple[set[str], str]:
    """Hosts that the browser was made to ask for, beyond those it asks for by itself, and its console."""
    log = folder / "net.json"
    done = chromium(folder, f"--log-net-log={log}", "--dump-dom", address)
    asked = set(re.findall(r'"url":"(?:http|ws)s?://([^/"]+)', log.read_text(errors="replace")))
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return asked - {"accounts.google.com", "clients2.google.com", "update.googleapis.com"}, console


@needs_chromium
def test_the_console_stays_empty_and_no_host_is_asked_for(folder: Path) -> None:
    its_own, _ = hosts_asked_for(folder, "about:blank")
    asked, console = hosts_asked_for(folder, (folder / "index.html").as_uri())
    assert asked <= its_own
    assert console == ""


@needs_chromium
def test_the_browser_would_tell(folder: Path) -> None:
    """The same two things seen on a page that does them."""
    (folder / "loud.html").write_text("<script>console.error('heard')</script><img src=https://a.example/b>")
    asked, console = hosts_asked_for(folder, (folder / "loud.html").as_uri())
    assert "a.example" in asked
    assert "heard" in console


@needs_chromium
@pytest.mark.parametrize(("scheme", "ground"), [(1, "rgb(255, 255, 255)"), (0, "rgb(20, 23, 28)")])
def test_it_fits_a_phone_in_light_and_dark(folder: Path, scheme: int, ground: str) -> None:
    setting = f"--blink-settings=preferredColorScheme={scheme}"
    done = chromium(folder, setting, "--dump-dom", (folder / "frame.html").as_uri())
    found = re.search(r"width (\d+) of (\d+) formula (\w+) ground (.*?) text", done.stdout)
    assert found is not None
    assert int(found.group(1)) <= int(found.group(2)) <= PHONE
    assert found.group(3) == "true"  # a fraction is taller than a line: MathML is laid out
    assert found.group(4) == ground


@needs_chromium
@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext is not installed")
def test_on_paper_the_notes_are_unfolded(folder: Path) -> None:
    target = folder / "page.pdf"
    chromium(folder, "--no-pdf-header-footer", f"--print-to-pdf={target}", (folder / "index.html").as_uri())
    done = subprocess.run(["pdftotext", str(target), "-"], capture_output=True, text=True, check=True)
    assert done.stdout.count(HIDDEN) == 2
    assert "Back to the summary" not in done.stdout
