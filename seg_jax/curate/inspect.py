"""What a configuration reads: the classes with their share of the pixels and number of files, and pictures of both."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from seg_jax import viz
from seg_jax.data import stats
from seg_jax.data.checking import listing, try_read
from seg_jax.data.examples import Bad, Examples
from seg_jax.data.stats import Stats

PAIRS = 8  # on the contact sheet

Seen = Mapping[str, tuple[Stats, tuple[Bad, ...]]]


def look(splits: Sequence[Examples], *, threads: int) -> Seen:
    """Reads every example: the counts of each split, and what could not be read."""
    return {examples.split: stats.measure(examples, threads=threads) for examples in splits}


def text(seen: Seen, splits: Sequence[Examples]) -> str:
    """A table of classes, with stored values, share of the pixels and number of files in each split."""
    table = splits[0].table
    stored = [", ".join(map(str, values)) for values in table.values]
    rows = [
        ("id", "values", "color", "name"),
        *zip(map(str, range(len(table))), stored, map(_hex, table.colors), table.names, strict=True),
    ]
    rows.append(("", "", "", "ignored"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    for examples in splits:
        counts, _ = seen[examples.split]
        total = sum(counts.pixels) + counts.ignored
        column = [f"{examples.split:>9}   files"]
        column += [f"{pixels / total:>9.3%} {n:>7}" for pixels, n in zip(counts.pixels, counts.files, strict=True)]
        column.append(f"{counts.ignored / total:>9.3%}        ")
        lines = [f"{line}  {cell}" for line, cell in zip(lines, column, strict=True)]
    lines.append(f"ignored values: {', '.join(map(str, table.ignore)) or 'none'}")
    for examples in splits:
        counts, bad = seen[examples.split]
        lines.append(f"{examples.split}: {counts.images} examples")
        if found := (*examples.bad, *bad):
            lines.append(f"{len(found)} cannot be used; see python -m seg_jax.data lint:\n{listing(found, 5)}")
        if counts.missing:
            lines.append(f"  occur nowhere in it: {', '.join(counts.missing)}")
    return "\n".join(line.rstrip() for line in lines)


def _hex(color: Sequence[int]) -> str:
    return "#" + "".join(f"{c:02x}" for c in color)


def pictures(seen: Seen, splits: Sequence[Examples]) -> dict[str, bytes]:
    """PNGs: 'sheet' with photographs beside their masks, 'classes' with the share of the pixels of each class."""
    table = splits[0].table
    pairs = []
    for examples in splits:
        for i in np.unique(np.linspace(0, len(examples) - 1, PAIRS // len(splits)).astype(int)):
            pair = try_read(examples, int(i))
            if not isinstance(pair, Bad):
                pairs.append(pair)
    shares = {split: [n / sum(counts.pixels) for n in counts.pixels] for split, (counts, _) in seen.items()}
    content = {"classes": viz.distribution(shares, table)}
    if pairs:
        buffer = io.BytesIO()
        Image.fromarray(viz.contacts(pairs, table)).save(buffer, "PNG")
        content["sheet"] = buffer.getvalue()
    return content
