"""Figures and tables to paste: widths, fonts, letters, meanings of symbols, LaTeX; and the faults."""

from __future__ import annotations

import io
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from test_diagrams import LEARNS, swept
from test_result import result_of

from numsim import cli
from numsim.runs.measures import NOT_RUN, blank
from numsim.shown.drawing import _SYMBOL
from numsim.shown.latex import escaped, tables_in_latex
from numsim.shown.phase_diagrams import diagram
from numsim.shown.run_figure import figure
from numsim.shown.run_tables import headline, run_tables
from numsim.shown.style import Look, own_style, picture
from numsim.shown.sweep_tables import fit_table, means_table
from numsim.sweeps.criteria import sweep_fits

NARROW = Look(paper=True, width=3.25)
SMALL = ["--set", "data.dim=400", "--set", "pretraining.samples=0", "--set", "finetuning.samples=4"]
SMALL += ["--set", "finetuning.max_steps=20", "--set", "evaluation.samples=20"]
CLAIM = """
from numsim import Claim
from numsim.claims import Outcome, equals


def check(trials, *, factor=1.0):
    return Outcome([equals("three", 3 * factor, 3.0, order=0.01)])


def broken(evidence):
    raise RuntimeError("no fonts")


WRONG = {"four": {"factor": 4 / 3}}
ONE = Claim(id="M1", title="Three_% & more", source="here", check=check, controls=WRONG)
TWO = Claim(id="M2", title="Drawn by none", source="here", check=check, controls=WRONG, figure=broken)
"""


def _formulas() -> Figure:
    drawn = Figure(layout="constrained")
    for axes, name in zip(drawn.subplots(1, 2), ("left", "right"), strict=True):
        axes.plot([1, 2], [1, 3], label=r"$\Vert\mu\Vert^2 / \sqrt{d}$, $\mathbb{R}^6$, 10⁸ · ‖ξ‖")
        axes.set(title=name, xlabel=r"$\sum_i \ell'_i \leq \int \hat{w}$")
        axes.legend()
    return drawn


def _swept() -> Figure:
    study, numbers = swept(criteria=[LEARNS])
    numbers[0] = blank(("arms",), NOT_RUN)
    return diagram(study._dataset((numbers, {})))


DRAWN: dict[str, Callable[[], Figure]] = {
    "run": lambda: figure(result_of("plain")),
    "sweep": _swept,
    "formulas": _formulas,
}


def _streams(content: bytes) -> bytes:
    """A PDF with all that is compressed in it beside it in plain."""
    found = [content]
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, flags=re.DOTALL):
        try:
            found.append(zlib.decompress(stream))
        except zlib.error:  # a font, or not compressed
            continue
    return b"\n".join(found)


@pytest.mark.parametrize("look", [Look(), NARROW], ids=["screen", "paper"])
@pytest.mark.parametrize("name", DRAWN)
def test_fonts_of_a_pdf_are_truetype(name: str, look: Look) -> None:
    content = _streams(picture(DRAWN[name], "pdf", look))
    assert b"/Type3" not in content
    assert b"/CIDFontType2" in content


def test_type_3_would_be_seen() -> None:
    with own_style({"pdf.fonttype": 3}):
        file = io.BytesIO()
        _formulas().savefig(file, format="pdf")
    assert b"/Type3" in _streams(file.getvalue())


@pytest.mark.parametrize("width", [3.25, 5.5, 6.75])
@pytest.mark.parametrize("name", DRAWN)
def test_a_page_is_as_wide_as_asked(name: str, width: float) -> None:
    found = re.search(
        rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", picture(DRAWN[name], "pdf", Look(True, width))
    )
    assert found is not None
    assert float(found[1]) == pytest.approx(72 * width, abs=1e-3)


@pytest.mark.parametrize("name", DRAWN)
def test_all_text_of_a_paper_has_8_points_and_panels_have_letters(name: str) -> None:
    kept = []
    picture(lambda: kept.append(DRAWN[name]()) or kept[0], "png", NARROW)  # type: ignore[func-returns-value]
    (drawn,) = kept
    assert {text.get_fontsize() for text in drawn.findobj(Text) if text.get_text()} == {8.0}
    assert not any(axes.get_legend() for axes in drawn.axes)
    titles = [axes.get_title("left") or axes.get_title() for axes in drawn.axes if axes.get_label() == ""]
    letters = [title[:3] for title in titles if title.startswith("(")]
    assert letters == ([] if name == "sweep" else [f"({letter})" for letter in "abcdefgh"[: len(titles)]])


@pytest.mark.parametrize("name", ["run", "sweep"])
def test_every_symbol_is_defined_below(name: str) -> None:
    drawn = DRAWN[name]()
    (legend,) = drawn.legends
    note = legend.get_title().get_text()
    defined = {symbol.strip("$") for symbol in re.findall(r"(\$[^$]+\$|SNR|rms):", note)}
    texts = [text.get_text() for text in drawn.findobj(Text)]
    used = {symbol for text in texts for part in text.split("$")[1::2] for symbol in _SYMBOL.findall(part)}
    operators = {
        r"\cos",
        r"\log",
        r"\max_r",
        r"\langle",
        r"\rangle",
        r"\Vert",
        r"\sqrt",
        r"\mathrm",
        r"\propto",
    }
    indices = {"i", "j", "r", "b", "S", "N", "R"}  # b is defined where it stands, S N R are one
    assert used - operators - indices <= defined


def test_text_of_an_svg_is_text() -> None:
    text = picture(DRAWN["run"], "svg", NARROW).decode()
    assert re.search(r"<text[^>]*>\(e\) Direct training</text>", text)
    assert picture(DRAWN["run"], "svg", NARROW).decode() == text


def test_what_was_not_run_is_in_the_legend_and_nothing_is_painted_beyond_the_axis() -> None:
    drawn = _swept()
    names = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert "not run: the boundary did not need it" in names
    assert names[-1] == "theory: half of all runs learn"
    axes = drawn.axes[0]
    assert axes.get_xlim() == pytest.approx((0.2, 0.8))
    assert axes.get_ylim() == pytest.approx((4, 256))
    assert "10⁸" in drawn.get_suptitle()


class Outcome:
    """What a command came to."""

    def __init__(self, code: int, err: str) -> None:
        self.code, self.faults = code, [line for line in err.splitlines() if line.startswith("numsim: ")]


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        return Outcome(cli._main(list(arguments)), capsys.readouterr().err)

    return run


def test_a_run_for_a_paper(call: Callable[..., Outcome], tmp_path: Path) -> None:
    done = call("run", *SMALL, "--out", "a", "--style", "paper", "--width", "82.55mm", "--latex", "a/t.tex")
    assert (done.code, done.faults) == (0, [])
    content = (tmp_path / "a" / "figure.png").read_bytes()
    assert int.from_bytes(content[16:20], "big") == 975  # of the header
    assert (tmp_path / "a" / "t.tex").read_text().count(r"\begin{tabular}") >= 2
    assert call("run", *SMALL, "--latex", "a/t.tex").code == 0  # replaced
    assert call("plot", "a", "--out", "a.pdf", "--width", "7cm").code == 0
    assert b"/MediaBox [ 0 0 198.4" in (tmp_path / "a.pdf").read_bytes()


def test_claims_for_a_paper_and_a_figure_that_fails(call: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(CLAIM)
    done = call("verify", "own.py", "--figures", "f", "--style", "paper", "--latex", "t.tex")
    assert done.code == 3
    assert done.faults == ["numsim: cannot draw f/m2.pdf: RuntimeError: no fonts"]
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["m1.pdf"]
    content = (tmp_path / "f" / "m1.pdf").read_bytes()
    assert b"/MediaBox [ 0 0 396 " in content
    assert b"/Type3" not in content
    assert r"Three\_\% \& more\newline here & 3 & 3 & " in (tmp_path / "t.tex").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--out", "a", "--width", "5.5"], "got '5.5', expected a length with its unit: 5.5in"),
        (["run", "--out", "a", "--width", "5.5px"], "got '5.5px', expected a length"),
        (["sweep", "overlap", "--out", "a", "--width", "nanin"], "got 'nanin', expected a length"),
        (["plot", "a", "--width", "-5in"], "got '-5in', expected a length"),
        (["verify", "--figures", "a", "--width", "0in"], "got '0in', expected 1.5in to 40in"),
        (["verify", "--figures", "a", "--width", "9999pt"], "expected 1.5in to 40in"),
        (["plot", "a", "--style", "glossy"], "got 'glossy', expected screen or paper"),
        (["run", "--style", "paper"], "without a figure to write, expected --out DIR as well"),
        (["verify", "--width", "3in"], "without a figure to write, expected --figures DIR as well"),
        (["run", "--latex", "kept.toml"], "cannot write kept.toml: it is a file of another kind"),
        (["verify", "--latex", "no/t.tex"], "no is not a folder"),
        (["plot", "a", "--out", "a.pgf"], "a.pgf: a .pgf needs a TeX (pdflatex, lualatex, xelatex)"),
        (["plot", "a", "--out", "a.eps"], "expected .png, .pdf, .svg or .pgf"),
    ],
)
def test_a_fault_is_one_line(
    arguments: list[str],
    words: str,
    call: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_: None)
    (tmp_path / "kept.toml").write_text("seed = 1\n")
    done = call(*arguments)
    assert done.code == 2
    (fault,) = done.faults
    assert words in fault
    assert [path.name for path in tmp_path.iterdir()] == ["kept.toml"]


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50 % & more_of #1 {a} \\ ~x", r"50 \% \& more\_of \#1 \{a\} \textbackslash{} \textasciitilde{}x"),
        ("1e+08", "$10^{8}$"),
        ("-3.5e-05 to 2", r"$-3.5 \times 10^{-5}$ to 2"),
        ("-1 and a-1", "$-$1 and a-1"),
        ("cos²(v₁, μ) ≥ 0", r"cos$^{2}$(v$_{1}$, $\mu$) $\ge$ 0"),
        ("d >= n0^4", r"d $\ge$ $n_0 ^{4}$"),
        ("m^max(2, 4/(q-2))", r"m$^{\max(2, 4/(q-2))}$"),
        ("x^", r"x\textasciicircum{}"),
        ("sigma_p, σₚ, etas", r"$\sigma_p$, $\sigma _{p}$, etas"),
        ("[1] *", "{[}1] {*}"),
        ("$5", r"\$5"),
        ("5 ± 0.1 – inf", r"5 $\pm$ 0.1 -- $\infty$"),
        ("one\ntwo", r"one\newline two"),
    ],
)
def test_what_latex_would_misread_is_escaped(text: str, latex: str) -> None:
    assert escaped(text) == latex


def test_tables_hold_every_row_and_no_unicode() -> None:
    result = result_of("plain")
    study, numbers = swept(criteria=[LEARNS])
    found = study._dataset((numbers, {}))
    tables = [*run_tables(result), *map(fit_table, sweep_fits(found)), means_table(found)]
    text = tables_in_latex(tables, headline(result.experiment))
    assert text.isascii()
    assert text.count(r"\toprule") == text.count(r"\end{table}") == len(tables)
    assert text.count(" \\\\\n") == sum(table.row_count + 1 for table in tables)
    for line in text.splitlines():
        assert line.replace(r"\$", "").count("$") % 2 == 0
    assert means_table(found).row_count == 12
