"""The command line: python -m seg_jax.report RUN... [--out=DIR] compares runs."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from seg_jax.config import ConfigError
from seg_jax.metrics import plain
from seg_jax.report import FORM, html
from seg_jax.report.comparison import Comparison, Run
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime import documents, process
from seg_jax.runtime.errors import SegJaxError
from seg_jax.runtime.files import write_bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m seg_jax.report", description="Compares runs with the first one.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory, or RUN/eval/SPLIT-STEP")
    help_out = "directory for report.md, report.json, report.html, curves.png and panels.png"
    parser.add_argument("--out", metavar="DIR", type=Path, help=help_out)
    options = parser.parse_args(arguments)
    process.quiet()
    try:
        if options.out is not None:
            _refuse_run(options.out.expanduser())
        comparison = Comparison([Run.load(name) for name in dict.fromkeys(options.runs)])
        print(html.text(comparison.tables(), comparison.notes), end="")
        if options.out is not None:
            write(comparison, options.out.expanduser())
    except (SegJaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _refuse_run(directory: Path) -> None:
    """Refuses to replace the report and curves of a run, or of one of its evaluations, by those of a comparison."""
    run = RunDirectory(directory)
    if run.exists or (run.report.report.is_file() and documents.fitting(run.report.report.read_bytes(), FORM)):
        raise ConfigError(
            f"--out={directory} is the directory of a run or of an evaluation, whose files a comparison would replace. "
            "Name another directory."
        )


def write(comparison: Comparison, directory: Path) -> None:
    """Writes the comparison as Markdown, JSON and HTML, with its pictures, and prints the path of the HTML file."""
    pictures = {}
    if (curves := comparison.curves()) is not None:
        pictures["Curves"] = ("curves.png", curves)
    if (panels := comparison.panels()) is not None:
        buffer = io.BytesIO()
        Image.fromarray(panels).save(buffer, format="PNG")
        pictures["Panels"] = ("panels.png", buffer.getvalue())
    for name, png in pictures.values():
        write_bytes(directory / name, png)
    tables, notes = comparison.tables(), comparison.notes
    names = {title: name for title, (name, _) in pictures.items()}
    files = {
        "report.md": html.markdown(tables, notes, names),
        "report.html": html.page(tables, notes, {title: png for title, (_, png) in pictures.items()}),
        "report.json": json.dumps(plain(comparison.content()), indent=1) + "\n",
    }
    for name, content in files.items():
        write_bytes(directory / name, content.encode())
    print(f"\n{directory / 'report.html'}")


if __name__ == "__main__":
    sys.exit(main())
