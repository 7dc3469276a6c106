"""Tables and pictures as text, Markdown and one self-contained HTML file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seg_jax.runtime.quoting import markdown as quoted
from seg_jax.runtime.quoting import printable

_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}"
    "th,td{border-bottom:1px solid #ccc;padding:.3em .7em;text-align:right;white-space:nowrap}"
    "th:first-child,td:first-child{text-align:left}img{max-width:100%}.flag{color:#a00}"
)


@dataclass(frozen=True)
class Table:
    """Rows of text under a title; the first column names the subject of each row."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def text(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """Text with aligned columns, for a terminal."""
    blocks = ["\n".join(f"! {printable(note)}" for note in notes)] if notes else []
    for table in tables:
        lines = [[printable(cell) for cell in line] for line in (table.header, *table.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(table.header))]
        aligned = (
            "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        )
        blocks.append("\n".join([table.title, *(line.rstrip() for line in aligned)]))
    return "\n\n".join(blocks) + "\n"


def markdown(tables: Sequence[Table], notes: Sequence[str], pictures: Mapping[str, str]) -> str:
    """Markdown with tables; `pictures` are {title: file name}."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(map(quoted, cells))} |"

    blocks = ["# Comparison of runs", *(f"**Mind:** {quoted(note)}" for note in notes)]
    for table in tables:
        rule = ["---", *["---:"] * (len(table.header) - 1)]
        blocks += [f"## {table.title}", "\n".join(map(line, [table.header, rule, *table.rows]))]
    blocks += [f"## {title}\n\n![{title}]({name})" for title, name in pictures.items()]
    return "\n\n".join(blocks) + "\n"


def page(tables: Sequence[Table], notes: Sequence[str], pictures: Mapping[str, bytes]) -> str:
    """An HTML file that embeds `pictures`, {title: PNG}."""
    parts = [f'<p class="flag">{quote(note)}</p>' for note in notes]
    parts += [f"<h2>{quote(table.title)}</h2>\n{rows(table)}" for table in tables]
    parts += [f"<h2>{quote(title)}</h2>\n{picture(png, 'png', title)}" for title, png in pictures.items()]
    return document("Comparison of runs", parts)


def document(title: str, parts: Sequence[str], style: str = "") -> str:
    """An HTML file of a heading and `parts`, which are HTML; `style` is added to that of all files."""
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{quote(title)}</title>\n'
        f"<style>{_STYLE}{style}</style>\n<h1>{quote(title)}</h1>\n{body}\n</html>\n"
    )


def rows(table: Table) -> str:
    """The header and rows of a table as HTML."""

    def cells(tag: str, line: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{quote(cell)}</{tag}>" for cell in line) + "</tr>"

    body = "\n".join(cells("td", row) for row in table.rows)
    return f"<table><thead>{cells('th', table.header)}</thead><tbody>\n{body}\n</tbody></table>"


def picture(content: bytes, form: str, title: str) -> str:
    """An image element that contains the file `content` of the type image/`form`."""
    return f'<img alt="{quote(title)}" src="data:image/{form};base64,{base64.b64encode(content).decode()}">'


def quote(text: str) -> str:
    """Text as HTML that shows the text itself."""
    return html.escape(printable(text))
