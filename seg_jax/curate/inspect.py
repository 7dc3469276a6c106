"""The data that a configuration reads: each class with its share of the pixels and number of files, and pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from seg_jax import viz
from seg_jax.curate import meanings
from seg_jax.data import stats
from seg_jax.data.checking import listing, try_read
from seg_jax.data.examples import Bad, Examples
from seg_jax.data.sampler import spread
from seg_jax.data.stats import Stats

SHEET_PAIRS = 8  # pairs on the contact sheet

Counts = Mapping[str, tuple[Stats, tuple[Bad, ...]]]  # split -> its counts, and the examples that cannot be read


def measure(splits: Sequence[Examples], *, threads: int) -> Counts:
    """Reads every example of the splits and counts."""
    return {examples.split: stats.measure(examples, threads=threads) for examples in splits}


def text(counts: Counts, splits: Sequence[Examples]) -> str:
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
        split, _ = counts[examples.split]
        total = sum(split.pixels) + split.ignored
        column = [f"{examples.split:>9}   files"]
        column += [f"{pixels / total:>9.3%} {n:>7}" for pixels, n in zip(split.pixels, split.files, strict=True)]
        column.append(f"{split.ignored / total:>9.3%}        ")
        lines = [f"{line}  {cell}" for line, cell in zip(lines, column, strict=True)]
    lines.append(f"ignored values: {', '.join(map(str, table.ignore)) or 'none'}")
    for examples in splits:
        split, unreadable = counts[examples.split]
        lines.append(f"{examples.split}: {split.images} examples")
        if bad := (*examples.bad, *unreadable):
            lines.append(f"{len(bad)} cannot be used; see python -m seg_jax.data lint:\n{listing(bad, 5)}")
        if split.missing:
            lines.append(f"  classes that do not occur: {', '.join(split.missing)}")
    return "\n".join(line.rstrip() for line in lines)


def faults(counts: Counts, splits: Sequence[Examples]) -> list[str]:
    """What is wrong with the labels as a whole: see `meanings.hidden_classes` and `meanings.predictions`."""
    table = splits[0].table
    pixels = {name: np.array([*split.pixels, split.ignored]) for name, (split, _) in counts.items()}
    missing = meanings.hidden_classes(table, pixels)
    hidden = [meanings.hidden_message(table, missing, pixels)] if missing else []
    return hidden + [f"{e.split}: {what}" for e in splits if (what := meanings.predictions(e))]


def _hex(color: Sequence[int]) -> str:
    return "#" + "".join(f"{c:02x}" for c in color)


def pictures(counts: Counts, splits: Sequence[Examples]) -> dict[str, bytes]:
    """PNGs: 'sheet' with photographs beside their masks, 'classes' with each class's share of the pixels."""
    table = splits[0].table
    pairs = []
    for examples in splits:
        for i in spread(len(examples), SHEET_PAIRS // len(splits)):
            pair = try_read(examples, i)
            if not isinstance(pair, Bad):
                pairs.append(pair)
    shares = {name: [n / sum(split.pixels) for n in split.pixels] for name, (split, _) in counts.items()}
    content = {"classes": viz.distribution(shares, table)}
    if pairs:
        buffer = io.BytesIO()
        Image.fromarray(viz.contacts(pairs, table)).save(buffer, "PNG")
        content["sheet"] = buffer.getvalue()
    return content
