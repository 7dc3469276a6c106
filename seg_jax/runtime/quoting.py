"""Text for terminals, Markdown and plots, which would take parts of names for commands; ranges of numbers."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Sequence


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with an escape such as \x1b for each character that moves a cursor, hides text, or is none.

    These are control characters, line and paragraph separators, characters that turn the direction of writing, and
    bytes of names that are no text.

    Args:
      text: any.
      lines: whether line breaks and tabs stay, in messages of several lines.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        c if c in kept or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else ascii(c)[1:-1]
        for c in text
    )


def markdown(text: str) -> str:
    """One line of Markdown that shows the text itself, without HTML, links or a new cell of a table."""
    return re.sub(r"([\\|<>&*`\[\]])", r"\\\1", printable(text))


def plotted(text: str) -> str:
    """Text for matplotlib, which would take what two dollar signs enclose for TeX, and fail where it is none."""
    return printable(text).replace("$", r"\$")


def ranges(values: Sequence[int]) -> str:
    """Rising numbers for people: [0, 1, 2, 5] -> '0-2, 5'."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


class Formatter(logging.Formatter):
    """A formatter of log lines whose text is `printable`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return printable(super().format(record), lines=True)
