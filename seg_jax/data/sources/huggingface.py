"""Hugging Face: a `datasets` repository, or a folder that the library saved, with an image and a mask column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.config import ConfigError, DataConfig, lookup, require
from seg_jax.data.examples import Examples, Pair
from seg_jax.data.images import DataError, Encoded
from seg_jax.data.labels.builtin import label_table
from seg_jax.data.labels.masks import MaskReader
from seg_jax.data.orientation import read_pair
from seg_jax.data.sampler import held_out
from seg_jax.runtime.extras import install_command

VALIDATION = ("val", "validation", "valid", "dev")  # names of the validation split
MASK = re.compile(r"(^|[^a-z])(mask|label|annotation|seg|target|gt)", re.IGNORECASE)  # names of mask columns


def load(data: DataConfig, split: str, *, seed: int) -> Examples:
    """The rows of one split, in their order.

    Args:
      data: reads `huggingface.name`, a repository such as 'owner/name', '': `dir`, a folder that was saved or that
        contains the files of a repository; `huggingface.subset`, a configuration of the repository;
        `huggingface.image` and `huggingface.mask`, the columns, '': found by their names; `huggingface.val_share`;
        `labels`, see `label_table`; `mask_format`, see `masks.FORMATS`.
      split: the name of the split; 'val' also finds 'validation', 'valid' and 'dev'. In a data set without any of
        these, 'val' is the share `huggingface.val_share` of the training split, which then lacks this share.
      seed: samples that share.

    Raises:
      ConfigError: no data set is named, there is no such split or column, or the library is not installed.
      DataError: the data set does not exist or cannot be read.
      LabelError: there is no label table, or it is invalid.
    """
    root = Path(data.dir).expanduser() if data.dir else None
    table = label_table(root, data.labels)
    name, part, rows = _part(_content(data, root), split, data, seed)
    image, mask = _columns(part, data)
    names = tuple(f"{name}[{row}]" for row in rows)
    part, reader = _encoded(part, image, mask), MaskReader(table, data.mask_format)

    def files(index: int) -> list[Path | Encoded]:
        cells = part[int(rows[index])]
        return [_file(cells[column], f"{names[index]}, column {column!r}") for column in (image, mask)]

    def read(index: int) -> Pair:
        photo, values = files(index)
        return read_pair(photo, values, reader, exif=data.exif)

    return Examples(split=split, names=names, read=read, table=table, mask=lambda i: reader.stored(files(i)[1]))


def _content(data: DataConfig, root: Path | None) -> Mapping[str, Any]:
    """The data set's splits, by name."""
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            f"config.data.source = 'huggingface' needs datasets ({error}). Add it: {install_command('huggingface')}"
        ) from error
    name = data.huggingface.name
    require(
        bool(name or root),
        data,
        "data.huggingface.name",
        "the source 'huggingface' reads a repository, or a folder",
        "Use 'owner/name', or pass --config.data.dir=DIR",
    )
    try:
        if name or root is None:
            content = datasets.load_dataset(name, data.huggingface.subset or None)
        elif any((root / file).is_file() for file in ("dataset_dict.json", "state.json")):
            content = datasets.load_from_disk(str(root))
        else:
            content = datasets.load_dataset(str(root), data.huggingface.subset or None)
    except Exception as error:  # of many kinds, of several libraries
        reason, *_ = str(error).strip().splitlines() or [type(error).__name__]
        field, value = ("huggingface.name", name) if name else ("dir", data.dir)
        raise DataError(
            f"config.data.{field} = {value!r}: datasets cannot load it ({reason}). Name a repository, or a folder "
            "that save_to_disk wrote or that contains the files of a repository."
        ) from error
    return {str(content.split or "train"): content} if isinstance(content, datasets.Dataset) else content


def _part(content: Mapping[str, Any], split: str, data: DataConfig, seed: int) -> tuple[str, Any, np.ndarray]:
    """(name of a stored split, the stored split, the indices of its rows that belong to the requested split)."""

    def stored_name(name: str) -> str | None:
        return next((s for s in (name, *VALIDATION) if s in content), None) if name in VALIDATION else name

    if split in (data.train_split, data.val_split) and stored_name(data.val_split) is None:
        whole = lookup(content, data.train_split, "data.train_split")
        require(
            split == data.train_split or data.huggingface.val_share > 0,
            data,
            "data.huggingface.val_share",
            f"the data set has no validation split but only {', '.join(content)}, and this share of "
            f"{data.train_split!r} takes its place",
            "Use 0.1, or set data.val_split to what is there",
        )
        held = held_out(seed, len(whole), data.huggingface.val_share)
        return data.train_split, whole, np.flatnonzero(held == (split == data.val_split))
    field = "data.val_split" if split == data.val_split else "data.train_split"
    name = stored_name(split) or split
    part = lookup(content, name, field)
    return name, part, np.arange(len(part))


def _columns(part: Any, data: DataConfig) -> tuple[str, str]:
    """The names of the image and of the mask column."""
    import datasets

    images = {column: None for column, feature in part.features.items() if isinstance(feature, datasets.Image)}

    def choose(field: str, named: str, fitting: list[str]) -> str:
        if named:
            lookup(images, named, f"data.huggingface.{field}")
        elif len(fitting) != 1:
            raise ConfigError(
                f"config.data.huggingface.{field} = '': the columns {', '.join(part.features)} contain images in "
                f"{', '.join(images) or 'none'}, so it is unclear which one is the {field}. Name it."
            )
        return named or fitting[0]

    image, mask = data.huggingface.image, data.huggingface.mask
    mask = choose("mask", mask, [column for column in images if MASK.search(column) and column != image])
    return choose("image", image, [column for column in images if not MASK.search(column) and column != mask]), mask


def _encoded(part: Any, *columns: str) -> Any:
    """The data set with only these columns, as encoded image files, which `data.images` decodes."""
    import datasets

    part = part.select_columns(list(columns))
    for column in columns:
        part = part.cast_column(column, datasets.Image(decode=False))
    return part


def _file(cell: Mapping[str, Any] | None, name: str) -> Path | Encoded:
    if cell and cell["bytes"] is not None:
        return Encoded(cell["bytes"], name)
    if cell and cell["path"]:
        return Path(cell["path"])
    raise DataError(f"{name} is empty; fill or remove the row.")
