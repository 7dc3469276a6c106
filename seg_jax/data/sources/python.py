"""Examples that a Python program hands over, see `seg_jax.train`: arrays, or anything that gives pairs by index."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from seg_jax.config import ConfigError, DataConfig
from seg_jax.data.depth import Depth
from seg_jax.data.examples import Examples, Pair, check_sizes
from seg_jax.data.forms import image_cure, label_cure
from seg_jax.data.images import DataError, Stored
from seg_jax.data.labels import LabelError, LabelTable
from seg_jax.data.pictures import RGB
from seg_jax.data.sampler import spread

SAMPLED = 256  # examples whose content is part of a split's digest: reading them all twice would double the start

FORMS = (
    "Give (images, labels), arrays uint8 [n h w 3] and integer [n h w], or a sequence of (image, label) pairs: an "
    "object with a length whose items 0, 1, 2... are uint8 [h w 3] and integer [h w]."
)


def load(data: DataConfig, split: str, *, seed: int) -> NoReturn:
    """Where a run's examples came from Python there is nothing to read by its configuration alone.

    Raises:
      ConfigError: always.
    """
    del seed
    raise ConfigError(
        f"config.data.source = {data.source!r}: the split {split!r} of this run was handed to seg_jax.train. Call that "
        "again with the same examples, or name a source that can be read, such as --config.data.source=folder."
    )


def source(splits: Mapping[str, Any], table: LabelTable) -> Callable[..., Examples]:
    """A source, as `data.SOURCES` has them, of the examples in `splits`, {split: (images, labels) or pairs}."""

    def load(data: DataConfig, split: str, *, seed: int) -> Examples:
        del seed
        return examples(splits[split], split, table, Depth.of(data))

    return load


def examples(content: Any, split: str, table: LabelTable, depth: Depth = RGB) -> Examples:
    """One split.

    Args:
      content: (images, labels), arrays uint8 [n h w 3] and integer [n h w]; or an object with `__len__` and
        `__getitem__` that gives (image, label): the same pair at every call, from several threads at once. An item is
        anything that NumPy makes such an array of, for example an image of Pillow.
      split: its name.
      table: what the values of the labels mean.
      depth: bands and range of images of other numbers than RGB in bytes.

    Raises:
      DataError: it has another form, or no example.
    """
    pair, n = _pairs(content, split)
    if n == 0:
        raise DataError(f"the split {split!r} has no example. Give at least one.")

    def read(index: int) -> Pair:
        return _checked(pair(index), f"{split}[{index}]", table, depth)

    def mask(index: int) -> Stored:
        return Stored(np.asarray(pair(index)[1]))

    return Examples(
        split=split,
        names=tuple(f"{split}[{i}]" for i in range(n)),
        read=read,
        table=table,
        mask=mask,
        content=_digest(pair, n),
    )


def _pairs(content: Any, split: str) -> tuple[Callable[[int], Any], int]:
    """(index -> pair, number of pairs)."""
    if isinstance(content, tuple) and len(content) == 2 and getattr(content[0], "ndim", None) == 4:
        images, labels = content
        if len(images) != len(labels):
            raise DataError(
                f"the split {split!r} has {len(images)} images and {len(labels)} labels. Give one for each."
            )
        return lambda i: (images[i], labels[i]), len(images)
    if not hasattr(content, "__len__") or not hasattr(content, "__getitem__"):
        raise DataError(f"the split {split!r} is a {type(content).__name__}, which has no length or no items. {FORMS}")
    return content.__getitem__, len(content)


def _checked(pair: Any, name: str, table: LabelTable, depth: Depth) -> Pair:
    """(image [h w c], label as class ids [h w]) of what a program gave as an example."""
    try:
        image, label = map(np.asarray, pair)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not a pair (image, label) of arrays: {error}.") from error
    deep = not depth.is_rgb and image.ndim == 3 and image.dtype.kind in "fiu"
    if not deep and (image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8):
        raise DataError(
            f"{name}: the image is {image.dtype} {list(image.shape)}, not uint8 [h w 3], RGB in 0..255 "
            "(data.bands and data.range say what other numbers are). "
            f"{image_cure(image, leading=0, name='image')}"
        )
    if label.dtype == bool:
        label = label.astype(np.uint8)
    if label.ndim != 2 or label.dtype.kind not in "iu":
        raise DataError(
            f"{name}: the label is {label.dtype} {list(label.shape)}, not integer [h w], a value each pixel. "
            f"{label_cure(label, leading=0, name='label')}"
        )
    check_sizes(image.shape[:2], label.shape, image_name=f"the image of {name}", mask_name="label")
    if label.size and (label.min() < 0 or label.max() > 65535):
        raise LabelError(
            f"{name}: the label has values {label.min()} to {label.max()}; they are between 0 and 65535. "
            f"{label_cure(label, leading=0, name='label')}"
        )
    try:
        return depth.apply(image, False, name) if deep else image, table.encode(label)
    except LabelError as error:
        raise LabelError(f"{name}: {error}") from error


def _digest(pair: Callable[[int], Any], n: int) -> str:
    """Changes with the number of examples, and with the pixels of up to `SAMPLED` of them, evenly spread.

    Examples that are no pair of arrays are left to the reader, which says what is wrong with them.
    """
    digest = hashlib.sha256(f"{n}".encode())
    for index in spread(n, SAMPLED):
        try:
            parts = [np.asarray(part) for part in pair(index)]
        except (TypeError, ValueError):
            continue
        for part in parts:
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes() if part.dtype != object else b"")
    return digest.hexdigest()
