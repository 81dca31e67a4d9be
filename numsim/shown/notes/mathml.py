r"""LaTeX formulas as MathML: as text for the report's page, as a tree for the terminal.

One parser for both, math-core's: it writes MathML Core, which browsers draw, and refuses what it does not
know.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from xml.etree.ElementTree import Element, fromstring

from math_core import LatexError, LatexToMathML

__all__ = ["UnknownMathematics", "mathml", "tree"]

_PRIMES = re.compile(r"(\\(?:text|operatorname)\w*\*?\s*\{[^{}]*\})|'")
_DOTS = re.compile(r"(?:<mo[^>]*>[.·]</mo>){3}")
_THOUSANDS = re.compile(r'(?<=\d)</mn><mo rspace="0">,</mo><mn>(?=\d)')


class UnknownMathematics(ValueError):
    """A formula that is not understood: show its source."""


@cache
def _converter() -> LatexToMathML:
    return LatexToMathML(fancy_error=False, allow_unreliable_rendering=True)  # the latter for \widetilde


def mathml(latex: str, *, display: bool = False) -> str:
    """The formula as a <math> element for an HTML page. Raises UnknownMathematics.

    Primes stand beside their letters: fonts raise them, and as superscripts Chromium makes them too small.
    """
    return _converted(_PRIMES.sub(lambda found: found[1] or r"{\prime}", latex), display)


@lru_cache(maxsize=4096)
def tree(latex: str) -> Element:
    """The same as a tree, not to be changed; three dots, and 1{,}000, are one element."""
    text = _converted(latex, display=True).replace("&ApplyFunction;", "\u2061")
    return fromstring(_THOUSANDS.sub(",", _DOTS.sub("<mi>…</mi>", text)))


def _converted(latex: str, display: bool) -> str:
    try:
        return _converter().convert_with_local_state(latex, displaystyle=display)
    except LatexError as error:
        raise UnknownMathematics(f"{latex}: {error}") from error
