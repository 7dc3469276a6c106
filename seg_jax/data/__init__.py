"""The door to the data: named sources, and `load`, which returns the examples of one split.

The batch contract: `image` [b h w c] in 0..255, uint8, or float32 where `config.data.range` is set; `label` [b h w]
with class ids 0..k-1, uint8 with 255 = ignore, or for more than 255 classes uint16 with 65535 = ignore.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.config import Config, DataConfig, lookup, require
from seg_jax.data import decoder, images, splits
from seg_jax.data.depth import Depth
from seg_jax.data.examples import Examples, Pair
from seg_jax.data.labels import LabelError, LabelTable
from seg_jax.data.labels.builtin import read_groups
from seg_jax.data.prepared import refuse_unfinished
from seg_jax.data.sources import (
    annotated,
    arrays,
    cityscapes,
    folder,
    huggingface,
    pairs,
    pets,
    python,
    synthetic,
    tfds,
)


@dataclass(frozen=True)
class Source:
    """Where examples come from.

    Attributes:
      load: (config.data, split, *, seed) -> the examples of the split.
      directory: whether it reads from `data.dir`, which then has to be named.
      deep: whether it takes photographs of other bands than RGB, and of more than 8 bits.
    """

    load: Callable[..., Examples]
    directory: bool = True
    deep: bool = False


SOURCES: Mapping[str, Source] = {
    "annotated": Source(annotated.load, deep=True),
    "arrays": Source(arrays.load, deep=True),
    "cityscapes": Source(cityscapes.load),
    "folder": Source(folder.load, deep=True),
    "huggingface": Source(huggingface.load, directory=False),
    "pairs": Source(pairs.load),
    "pets": Source(pets.load),
    "python": Source(python.load, directory=False, deep=True),
    "synthetic": Source(synthetic.load, directory=False),
    "tfds": Source(tfds.load, directory=False),
}


def check(data: DataConfig) -> None:
    """Refuses a source that does not exist, or one without the directory that it reads from.

    Raises:
      ConfigError: naming the field, the rule and the cure.
    """
    require(
        bool(data.dir) or not lookup(SOURCES, data.source, "data.source").directory,
        data,
        "data.dir",
        f"the source {data.source!r} reads images and masks from a directory",
        "Pass --config.data.dir=DIR",
    )
    require(
        not any(data.tile) or data.source == "folder",
        data,
        "data.tile",
        f"the source {data.source!r} reads whole photographs",
        "Use (0, 0), or data.source='folder'",
    )
    for field in ("bands", "range"):
        require(
            not data[field] or SOURCES[data.source].deep,
            data,
            f"data.{field}",
            f"the source {data.source!r} has RGB photographs of 8 bits",
            f"Use (), or one of the sources {', '.join(name for name, source in SOURCES.items() if source.deep)}",
        )


def load(config: Config, split: str, *, source: Source | None = None) -> Examples:
    """The examples of one split, at `config.data.size` if that is set.

    Classes are merged by `config.data.merge` and ignored by `config.data.ignore_classes`.

    Args:
      config: reads `data` and `seed`.
      split: its name.
      source: in place of the one that `config.data.source` names.

    Raises:
      ConfigError, DataError, LabelError: naming the field or the file, the rule and the cure.
    """
    check(config.data)
    if config.data.dir:
        refuse_unfinished(Path(config.data.dir).expanduser())
    with decoder.at_most(config.data.megapixels):
        examples = splits.load((source or SOURCES[config.data.source]).load, config.data, split, seed=config.seed)
    reading = f"{examples.reading}, exif={config.data.exif}"
    examples = replace(examples, reading=reading, depth=Depth.of(config.data))
    if config.data.megapixels != decoder.MEGAPIXELS:
        examples = _limited(examples, config.data.megapixels)
    if config.data.merge or config.data.ignore_classes:
        examples = _with_table(examples, _merged(examples.table, config.data))
    size = config.data.size
    if not all(size):
        return examples
    read = examples.read
    return replace(examples, read=lambda i: images.resize(*read(i), size), stored=read, resized=size)


def in_order(examples: Examples, names: Sequence[str]) -> Examples:
    """The examples with the ids of their classes in the order of `names`, which are the same classes."""
    table = examples.table
    order = [table.names.index(name) for name in names]
    fields = ("names", "colors", "values", "color_values")
    return _with_table(examples, replace(table, **{f: tuple(getattr(table, f)[i] for i in order) for f in fields}))


def _limited(examples: Examples, megapixels: int) -> Examples:
    """The examples, read with another limit of pixels than the usual one."""

    def limited(read: Callable[[int], Any]) -> Callable[[int], Any]:
        def apply(index: int) -> Any:
            with decoder.at_most(megapixels):
                return read(index)

        return apply

    return examples.with_readers(limited)


def _merged(table: LabelTable, data: DataConfig) -> LabelTable:
    field = "merge"
    try:
        if data.merge:
            table = table.merge(read_groups(Path(data.merge).expanduser()))
        field = "ignore_classes"
        return table.without(tuple(data.ignore_classes))
    except LabelError as error:
        raise LabelError(f"config.data.{field} = {data[field]!r}: {error}") from error


def _with_table(examples: Examples, table: LabelTable) -> Examples:
    """The examples with the classes of `table`, which was merged from their own."""
    k = len(examples.table)
    ids = np.full(examples.table.ignored + 1, table.ignored, table.dtype)
    ids[:k] = table.encode(examples.table.decode(np.arange(k)))

    def merged(read: Callable[[int], Pair]) -> Callable[[int], Pair]:
        def apply(index: int) -> Pair:
            image, label = read(index)
            return image, ids[label]

        return apply

    stored = merged(examples.stored) if examples.stored else None
    return replace(examples, read=merged(examples.read), stored=stored, table=table)
