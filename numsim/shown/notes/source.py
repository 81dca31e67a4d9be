r"""Notes as they are written: Markdown with $...$ and $$...\tag{n}$$."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

__all__ = ["numbers", "parser", "split_tag", "title", "without_title"]

_HEADING = re.compile(r"\A\s*#\s+(.+?)\s*#*\s*$", re.MULTILINE)


def parser() -> MarkdownIt:
    """Of CommonMark with tables, strikethrough and mathematics, without HTML and images."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
    return markdown.use(dollarmath_plugin, allow_labels=False, double_inline=True)


def title(markdown: str) -> str:
    """The heading that a note begins with, or ""."""
    found = _HEADING.match(markdown)
    return found.group(1) if found else ""


def without_title(markdown: str) -> str:
    """The note after the heading that it begins with."""
    return _HEADING.sub("", markdown, count=1).lstrip("\n")


def split_tag(latex: str) -> tuple[str, str]:
    r"""A formula without its \tag{n} and \label{…}, and n, or "" where it has none."""
    found = re.search(r"\\tag\*?\{([^{}]*)\}", latex)
    return re.sub(r"\\(?:tag\*?|label)\{[^{}]*\}", "", latex).strip(), found[1] if found else ""


def numbers(markdown: str) -> list[str]:
    """The numbers of a note's equations."""
    tokens = [token for token in parser().parse(markdown) if token.type == "math_block"]
    return [tag for token in tokens if (tag := split_tag(token.content)[1])]
