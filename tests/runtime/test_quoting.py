"""Names that a terminal, Markdown or HTML would take for commands."""

import logging

import numpy as np
import pytest

from seg_jax import viz
from seg_jax.config import ConfigError
from seg_jax.data.labels import LabelTable
from seg_jax.metrics import Report
from seg_jax.report import html
from seg_jax.report.html import Table
from seg_jax.runtime.quoting import Formatter, markdown, plotted, printable

ODD = "a\x1b[31m\r\nb\x00\x9b\u202e\udcff|<script>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Straße 東京 é", "Straße 東京 é"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),  # one byte may begin a command, too
        ("a\u2028b\u202eexe.gpj", r"a\u2028b\u202eexe.gpj"),  # a line separator; text from right to left
        ("caf\udce9.png", r"caf\udce9.png"),
        ("no\u00a0break", "no\u00a0break"),
    ],
)
def test_printable_by_hand(text, shown):
    assert printable(text) == shown


def test_lines_stay_in_messages_of_several_lines():
    assert printable("a:\n\tb\x1b", lines=True) == "a:\n\tb\\x1b"
    assert str(ConfigError("run\x1b[31m:\n  config.seed")) == "run\\x1b[31m:\n  config.seed"


def test_markdown_by_hand():
    assert markdown("traffic_light") == "traffic_light"
    assert markdown("a|b\nc") == r"a\|b\\nc"
    assert markdown("<img src=x>[a](b)`c`*&") == r"\<img src=x\>\[a\](b)\`c\`\*\&"


def test_dollars_in_plots():
    assert plotted("$100") == r"\$100"
    names = (r"$\frac{$", "a\nb")
    assert viz.confusion(np.eye(2, dtype=int), names).startswith(b"\x89PNG")
    series = {"train/loss": [(1, 0.5)]}
    assert viz.curves(series, series, labels=names).startswith(b"\x89PNG")
    assert viz.distribution({"train": (0.5, 0.5)}, LabelTable(names)).startswith(b"\x89PNG")


def test_log_lines_have_no_commands():
    record = logging.LogRecord("a", logging.INFO, "", 0, "%s is done\nnext", ("x\x1b[1m",), None)
    assert Formatter("%(message)s").format(record) == "x\\x1b[1m is done\nnext"


def test_tables_of_runs_and_classes():
    tables = [Table("Scores", ["run", "mIoU"], [[ODD, "0.5"]])]
    plain = html.text(tables, [ODD])
    assert plain.count("\n") == 5 and plain.replace("\n", "").isprintable() and plain.encode()
    text = html.markdown(tables, [ODD], {})
    assert (
        text.replace("\n", "").isprintable() and r"\|\<script\>" in text and "<script>" not in text.replace(r"\<", "")
    )
    assert "<script>" not in html.page(tables, [ODD], {})
    report = Report.from_confusion(np.array([[5, 5], [0, 10]]), (ODD, "road"), loss=0.5)
    shown = report.table() + "".join(report.confused())
    assert shown.replace("\n", "").isprintable() and len(report.table().splitlines()) == 8
