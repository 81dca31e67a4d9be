"""Notes in the terminal and as HTML: formulas, structure, links, and every note of the package."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it.token import Token
from rich.cells import cell_len
from rich.console import Console

from numsim.claims import Claim, Outcome
from numsim.claims.registry import builtin
from numsim.shown.notes import (
    Note,
    explain,
    formula_html,
    inline_html,
    numbers,
    title,
    to_html,
    without_title,
)
from numsim.shown.notes.layout import display_lines, plain
from numsim.shown.notes.mathml import UnknownMathematics, mathml, tree
from numsim.shown.notes.mathtext import inline_text, line_of
from numsim.shown.notes.source import parser, split_tag

FOLDER = Path(__file__).parent.parent / "derivations"
NOTES = sorted(FOLDER.glob("*.md"))
WIDTHS = (80, 60, 36)
VOID = {"br", "hr", "img", "link", "meta", "input"}


class WellFormed(HTMLParser):
    """Fails where tags are not nested; keeps ids, targets of links, tags and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        assert len(found) == len(attrs), f"an attribute of <{tag}> twice"
        self.ids += [found["id"] or ""] if "id" in found else []
        self.targets += [found["href"] or ""] if "href" in found else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def printed(markdown: str, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(Note(markdown))
    return file.getvalue()


# ---------------------------------------------------------------- formulas in a line


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\sigma_p^2 d / n_0", "σₚ²d/n₀"),
        (r"\frac{\sigma_p^2 d}{n_0}", "σₚ²d/n₀"),
        (r"\frac{a+b}{c}", "(a + b)/c"),
        (r"\frac{2\kappa}{1+2\kappa}", "2κ/(1 + 2κ)"),
        (r"\frac{1}{n_0\tau} \sum_i x_i", "1/(n₀τ) Σᵢ xᵢ"),
        (r"\frac{\eta}{\tau} \sigma_p^2 d", "(η/τ)σₚ²d"),
        (r"\frac{a}{b}\frac{c}{d}", "(a/b)(c/d)"),
        (r"\frac{1}{1 - \frac{a}{b}}", "1/(1 − a/b)"),
        (r"\frac{\frac{a}{b}}{c}", "(a/b)/c"),
        (r"\frac{a/b}{c}", "(a/b)/c"),
        (r"\text{rates } -x", "rates −x"),
        (r"\frac{-a}{2m}", "−a/(2m)"),
        (r"\frac{(a+b)^2}{\lVert x\rVert^2}", "(a + b)²/‖x‖²"),
        (r"\left(\frac{a}{b}\right)^2", "(a/b)²"),
        (r"\frac{\partial L}{\partial w_r}", "∂L/∂wᵣ"),
        (r"\frac{dF}{dt}", "dF/dt"),
        (r"\frac{\log n}{d}", "(log n)/d"),
        (r"\frac{1}{\log(4/\delta)}", "1/log(4/δ)"),
        (r"\log\frac{a}{b}", "log(a/b)"),
        (r"\frac{1}{\log(1+u)} \log x", "(1/log(1 + u)) log x"),
        (r"\frac{a}{(1-z)^2} x", "(a/(1 − z)²)x"),
        (r"S_{\lambda_1}(s) + x^{q-1} (1 + u)", "S_{λ₁}(s) + x^(q−1) (1 + u)"),
        (r"\log \, \frac{a}{b}", "log (a/b)"),
        (r"-\tfrac12 x", "−½x"),
        (r"2 \cdot 2^{-m} = 2^{1-m}", "2·2⁻ᵐ = 2¹⁻ᵐ"),
        (r"2 \frac{1}{3} 4", "2·⅓·4"),
        (r"\sqrt 2 \, x", "√2 x"),
        (r"\sqrt{2} x", "√2 x"),
        (r"\sqrt{1 + 2\kappa}", "√(1 + 2κ)"),
        (r"\sqrt[3]{x}", "∛x"),
        (r"w_r^{(t+1)}", "wᵣ⁽ᵗ⁺¹⁾"),
        (r"\langle w_{j,r}, \mu\rangle", "⟨wⱼ,ᵣ, μ⟩"),
        (r"\rho_{j,r,i}^{(t)}", "ρⱼ,ᵣ,ᵢ⁽ᵗ⁾"),
        (r"L_S", "L_S"),
        (r"\xi_{\mathrm{new}}", "ξ_new"),
        (r"\lambda_{\min}", "λₘᵢₙ"),
        (r"x_S y", "x_S y"),
        (r"\nabla_{w_r} L", "∇_{wᵣ} L"),
        (r"\mathrm{SNR}^q", "SNR^q"),
        (r"n_0\mathrm{SNR}^2", "n₀ SNR²"),
        (r"\lVert\mu\rVert^{q-2}", "‖μ‖^(q−2)"),
        (r"a_0^{-(q-2)}", "a₀^(−(q−2))"),
        (r"\ell'_i \sigma'(z) + p_{ii'}", "ℓ′ᵢσ′(z) + pᵢᵢ′"),
        (r"\sum_{i=1}^n x_i", "Σᵢ₌₁ⁿ xᵢ"),
        (r"\sum_{i' \ne i} x", "Σ_{i′≠i} x"),
        (r"\max_r j\langle w, \mu\rangle", "maxᵣ j⟨w, μ⟩"),
        (r"\max(0, -z_i)", "max(0, −zᵢ)"),
        (r"\lim_{n \to \infty}", "lim_{n→∞}"),
        (r"\hat x \tilde z_i \bar\rho \underline\rho \widetilde\Omega(1)", "x̂z̃ᵢρ̄ρ̲Ω̃(1)"),
        (r"\overline{ab}", "a̅b̅"),
        (r"\widehat{ab}", "hat(ab)"),
        (r"\mathbb{P}(A \mid B) \ge 1 - \delta", "ℙ(A | B) ≥ 1 − δ"),
        (r"\lvert x\rvert \|y\| |z|", "|x|‖y‖|z|"),
        (r"P(A|B) + a|z|", "P(A | B) + a|z|"),
        (r"X_n \xrightarrow{d} X", "Xₙ →ᵈ X"),
        (r"\left. f \right|_0^1", "f|₀¹"),
        (r"x \mathrel{+}= \sum_\pm y_\pm", "x += Σ_± y_±"),
        (r"1{,}000 \ne 10^{-8}", "1,000 ≠ 10⁻⁸"),
        (r"x \not= y", "x ≠ y"),
        (r"\mathbb 1\{x > 0\}", "𝟙{x > 0}"),
        (r"\mathbf{w}^\top", "𝐰ᵀ"),
        (r"\mathrm{d}x \mathrm{sd}(x)", "dx sd(x)"),
        (r"a \stackrel{d}{=} b", "a =ᵈ b"),
        (r"\underbrace{a+b}_{x}", "[a + b]ₓ"),
        (r"\binom{n}{k}", "(n choose k)"),
        (r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}", "(a b; c d)"),
        (r"\begin{cases} 1 & x > 0, \\ 0 & \text{else} \end{cases}", "{1 x > 0; 0 else"),
        (r"u := \pm 1 \quad (1)", "u := ±1  (1)"),
        (r"\left[ a, b \right)", "[a, b)"),
        (r"x \sim N(0, \sigma^2)", "x ∼ N(0, σ²)"),
        (r"\int_0^1 f\,dx", "∫₀¹ f dx"),
        (r"d!", "d!"),
        (r"\bar{} x", "x"),
        (r"\frac{}{} + {}^2 + \sqrt{}", "()/() + ² + √()"),
    ],
)
def test_a_formula_in_a_line(latex: str, text: str) -> None:
    assert plain(inline_text(latex)) == text


@pytest.mark.parametrize("latex", [r"\foo{x}", r"\frac{a}", r"a^", r"\begin{nothing} a", "}{"])
def test_what_is_not_understood_is_shown_as_it_is(latex: str) -> None:
    with pytest.raises(UnknownMathematics):
        mathml(latex)
    assert inline_text(latex) == latex
    assert display_lines(latex, 80) == [latex]
    assert WellFormed(formula_html(latex, display=True)).text.strip() == latex


def test_what_only_a_browser_can_show() -> None:
    assert inline_text(r"\boxed{x}") == r"\boxed{x}"
    assert display_lines(r"a + \boxed{x}", 80) == [r"a + \boxed{x}"]
    assert "<menclose" in formula_html(r"\boxed{x}")


def test_tags_and_labels_are_no_part_of_a_formula() -> None:
    assert split_tag(r"a = b \label{x} \tag{3}") == ("a = b", "3")
    assert split_tag(" a ") == ("a", "")


def test_short_formulas_are_not_broken() -> None:
    text = "word " * 15 + "$a = b + c$ and $\\langle w_r, \\mu\\rangle$ " * 8
    for width in range(20, 60):
        lines = printed(text, width).splitlines()
        assert max(map(len, lines)) <= width
        for formula in ("a = b + c", "⟨wᵣ, μ⟩"):
            assert sum(line.count(formula) for line in lines) == 8


# ---------------------------------------------------------------- displayed formulas


@pytest.mark.parametrize(
    ("latex", "lines"),
    [
        (r"\begin{pmatrix} a & -b \\ c & d \end{pmatrix}^\top x", ["⎛a  −b⎞ᵀ x", "⎝c  d ⎠"]),
        (
            r"f = \begin{cases} 1 & \text{if } x > 0 , \\ 0 & \text{else.} \end{cases}",
            ["f = ⎧ 1  if x > 0,", "    ⎩ 0  else."],
        ),
        (
            r"\begin{cases} 1 & a \\ 2 & b \\ 3 & c \end{cases} = y",
            ["⎧ 1  a", "⎨ 2  b = y", "⎩ 3  c"],
        ),
        (r"\begin{aligned} ab &= c \\ &= d + e \end{aligned}", ["ab = c", "   = d + e"]),
        (
            r"\begin{aligned} a &= c , & b &= d \\ e &= f \end{aligned}",
            ["a = c,    b = d", "e = f"],
        ),
        (r"\begin{align*} ab &= c \\ &= d + e \end{align*}", ["ab = c", "   = d + e"]),
        (r"\begin{gathered} a = b \\ c \end{gathered}", ["a = b", "c"]),
        (r"\begin{bmatrix} 1 \\ 2 \\ 3 \end{bmatrix}", ["⎡1⎤", "⎢2⎥", "⎣3⎦"]),
        (r"a = b , \qquad r = 1, \dots, 2m .", ["a = b,    r = 1, …, 2m."]),
        (
            r"x = \frac{1}{n} \begin{pmatrix} a \\ b \end{pmatrix} , \qquad y = a + b , \qquad u = v + w + t",
            ["x = (1/n) ⎛a⎞,    y = a + b,", "          ⎝b⎠", "u = v + w + t"],
        ),
    ],
)
def test_tables_stand_on_several_lines(latex: str, lines: list[str]) -> None:
    assert display_lines(latex, 40) == lines


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (60, ["L = (a + b)c + d + e = f,    r = 1, …, 2m"]),
        (26, ["L = (a + b)c + d + e = f,", "  r = 1, …, 2m"]),
        (23, ["L = (a + b)c + d + e", "  = f,    r = 1, …, 2m"]),
        (18, ["L = (a + b)c + d", "  + e = f,", "  r = 1, …, 2m"]),
    ],
)
def test_long_lines_are_broken_where_it_reads_best(width: int, lines: list[str]) -> None:
    latex = r"L = (a + b)c + d + e = f , \qquad r = 1, \dots, 2m"
    assert display_lines(latex, width) == lines


@pytest.mark.parametrize(
    "markdown",
    ["so that\n$$\na = b \\tag{3}\n$$\nwith $b$\n\nNext.", "so that $$a = b \\tag{3}$$ with $b$\n\nNext."],
)
def test_displayed_formulas_end_a_paragraph(markdown: str) -> None:
    lines = ["so that", "", "    a = b" + " " * 68 + "(3)", "", "with b", "", "Next."]
    assert printed(markdown).splitlines() == lines
    assert printed("so that\n$$ x $$\n\nNext.") == "so that\n\n    x\n\nNext.\n"
    assert printed("# a $$x$$\n\n|b|\n|-|\n|$$y$$|\n").split() == ["a", "x", "═══", "b", "─", "y"]


def test_numbers_stand_at_the_right() -> None:
    text = printed(
        "$$\na = b \\tag{3}\n$$\n\n$$\n\\begin{aligned} a &= b \\\\ &= c \\end{aligned} \\tag{4}\n$$\n"
    )
    assert text.splitlines() == [
        "    a = b" + " " * 68 + "(3)",
        "",
        "    a = b",
        "      = c" + " " * 68 + "(4)",
    ]


# ---------------------------------------------------------------- notes in the terminal

SAMPLE = r"""
# X1 · A *note* on $\kappa$

Text with **strong**, `code`, [P1](p1_a.md) and [web](https://example.org).
Second line.

1. first
2. second with $a = b$

   $$ x = 1 \tag{1} $$

- point
  - below

| $c$ | words |
|---:|---|
| $10^{-8}$ | $\lvert x\rvert \le 1$ |

> quoted

```text
as  it is
```

---
"""


def test_structure_without_colours() -> None:
    assert printed(SAMPLE).splitlines() == [
        "X1 · A note on κ",
        "════════════════",
        "",
        "Text with strong, code, P1 and web (https://example.org). Second line.",
        "",
        "1. first",
        "2. second with a = b",
        "",
        "       x = 1" + " " * 65 + "(1)",
        "",
        " • point",
        "",
        "    • below",
        "",
        "   c  words",
        "─────────────",
        "10⁻⁸  |x| ≤ 1",
        "",
        "▌ quoted",
        "",
        "    as  it is",
        "",
        "-" * 80,
        "",
    ]


def test_cells_are_folded_not_cut() -> None:
    row = "| " + " | ".join(["averylongword"] * 5) + " |\n"
    lines = printed(row + "|---" * 5 + "|\n" + row, 30).splitlines()
    assert max(map(len, lines)) <= 30
    assert "".join("".join(lines).split()).replace("─", "").count("a") == 10
    assert "…" not in "".join(lines)


def test_numbers_of_items_and_items_without_anything() -> None:
    assert printed("9. a\n10. b\n") == " 9. a\n10. b\n"
    assert printed("text\n\n1.\n").strip() == "text"


def test_code_keeps_its_blank_lines() -> None:
    assert printed("```\na\n\n\nb\n```\n") == "    a\n\n\n    b\n"


def test_styles_on_a_terminal() -> None:
    file = io.StringIO()
    Console(file=file, width=80, force_terminal=True, color_system="standard").print(Note(SAMPLE))
    assert "\x1b[1mstrong\x1b[0m" in file.getvalue()


def test_titles() -> None:
    assert title(SAMPLE) == r"X1 · A *note* on $\kappa$"
    assert without_title(SAMPLE).startswith("Text with")
    assert title("no title\n# later") == ""
    assert without_title("no title\n# later") == "no title\n# later"


def _claim(note: Path | None) -> Claim:
    return Claim(
        "X1", "What is claimed", "A book, page 3", lambda trials: Outcome([]), {"x": {"y": 1}}, note=note
    )


def test_explain(tmp_path: Path) -> None:
    path = tmp_path / "x1.md"
    path.write_text(SAMPLE, encoding="utf-8")
    file = io.StringIO()
    explain(_claim(path), Console(file=file, width=80))
    lines = file.getvalue().splitlines()
    assert lines[0] == "X1 · What is claimed"
    assert "A book, page 3" in lines[:4]
    assert not any("A note on" in line for line in lines)  # said once
    path.write_text("Only text.", encoding="utf-8")
    explain(_claim(path), Console(file=file, width=80))
    assert file.getvalue().endswith("Only text.\n")
    explain(_claim(None), Console(file=file, width=80))
    with pytest.raises(OSError, match="nowhere"):
        explain(_claim(tmp_path / "nowhere.md"), Console(file=file))


# ---------------------------------------------------------------- notes as HTML


def test_html_of_a_note() -> None:
    page = WellFormed(to_html(SAMPLE, prefix="x1", equations={"p1": []}))
    assert "x1-1" in page.ids
    assert page.targets == ["#p1", "https://example.org"]
    assert {"h3", "math", "mover", "table", "ol"} - {"mover"} <= set(page.tags)
    assert "(1)" in page.text


def test_citations_become_links_where_the_equation_is_on_the_page() -> None:
    note = "By (1), (2), P4 (3), P5 (3) and `(1)`.\n\n$$\na \\tag{1}\n$$\n"
    assert numbers(note) == ["1"]
    page = WellFormed(to_html(note, prefix="x1", equations={"p4": ["3"]}))
    assert page.targets == ["#x1-1", "#p4-3"]
    assert page.text.startswith("By (1), (2), P4 (3), P5 (3) and (1).")


def test_links_that_lead_off_the_page_are_text() -> None:
    page = WellFormed(to_html("[a](FINDINGS.md) [b](javascript:x) [c](p9_b.md) ![d](e.png) <b>f</b>"))
    assert page.targets == []
    assert not {"img", "b"} & set(page.tags)
    assert all(letter in page.text for letter in "acf")


def test_markup_in_a_formula_is_no_markup() -> None:
    page = inline_html(r"$a < b > c$ & $\text{<b>}$")
    assert WellFormed(page).text == "a<b>c & <b>"
    assert "<b>" not in page


def test_primes_stand_beside_their_letters() -> None:
    assert formula_html("f'") == "<math><mi>f</mi><mo>′</mo></math>"
    assert "<msub><mo>′</mo><mi>i</mi></msub>" in formula_html(r"\ell'_i")
    assert "<mtext>don’t</mtext>" in formula_html(r"\text{don't}")


# ---------------------------------------------------------------- the package's notes


def _mathematics(tokens: list[Token]) -> list[str]:
    found = []
    for token in tokens:
        if token.type in ("math_inline", "math_block", "math_inline_double"):
            found.append(token.content)
        found += _mathematics(token.children or [])
    return found


@pytest.mark.parametrize("path", NOTES, ids=lambda path: path.stem)
def test_every_formula_of_the_notes_is_understood(path: Path) -> None:
    formulas = _mathematics(parser().parse(path.read_text(encoding="utf-8")))
    for latex in formulas:
        line_of(tree(split_tag(latex)[0]))
    text = printed(path.read_text(encoding="utf-8"))
    assert "$" not in text or "`" in path.read_text(encoding="utf-8")
    assert "\\" not in text.replace("\\n", "")


@pytest.mark.parametrize("path", NOTES, ids=lambda path: path.stem)
def test_every_note_fits_its_terminal(path: Path) -> None:
    for width in WIDTHS:
        lines = printed(path.read_text(encoding="utf-8"), width).splitlines()
        assert max(map(cell_len, lines)) <= width
        assert lines == [line.rstrip() for line in lines]
        private = [line for line in lines if any("\ue000" <= character <= "\uf8ff" for character in line)]
        assert private == []


@pytest.mark.parametrize("path", NOTES, ids=lambda path: path.stem)
def test_every_note_is_well_formed_html(path: Path) -> None:
    note = to_html(path.read_text(encoding="utf-8"), prefix=path.stem[:2])
    assert 'class="latex"' not in note  # every formula is understood
    page = WellFormed(note)
    assert len(page.ids) == len(set(page.ids))
    assert {target[1:] for target in page.targets if target.startswith("#")} <= set(page.ids)


@pytest.mark.parametrize("claim", builtin().values(), ids=list(builtin()))
def test_every_statement_is_understood(claim: Claim) -> None:
    assert 'class="latex"' not in formula_html(claim.statement) + inline_html(claim.title)
