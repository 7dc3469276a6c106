"""Examples: the result of every data source, and all that the pipeline knows about it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seg_jax.config import Size
from seg_jax.data import decoder
from seg_jax.data.depth import Depth
from seg_jax.data.images import DataError, Stored
from seg_jax.data.labels import LabelTable
from seg_jax.data.pictures import RGB

Pair = tuple[np.ndarray, np.ndarray]

READERS = ("read", "stored", "instances", "mask")  # the attributes of `Examples` that read one of them by its index


@dataclass(frozen=True)
class Bad:
    """The name of an example that cannot be used, and the reason."""

    name: str
    why: str


@dataclass(frozen=True)
class Examples:
    """One split of a data set.

    Attributes:
      split: the split's name, for messages and reports.
      names: the name of each example in messages, such as its file names.
      read: index -> (image [h w c] in 0..255, see `depth`, label [h w] with class ids, see `LabelTable.dtype`); called
        from several threads at once. After `with_enough` an image may be smaller than its label, by 2, 4 or 8.
      table: the meaning of the class ids.
      files: the files behind each example, by which changes are noticed; empty for generated data.
      resized: the (height, width) that `read` resizes every example to; (0, 0): as stored.
      stored: like `read` without the resizing; None where `read` does not resize.
      instances: index -> values of Cityscapes' `instanceIds`, uint16 [h w] as stored; None where there are none.
      mask: index -> the mask before the label table, as `MaskReader.stored` gives it; None where there are none.
      reading: the fields besides files, table and size that change the result of `read`; '' if there are none.
      bad: examples that the source could not use (a photograph without a mask, say).
      content: a digest of what the examples hold, where names alone do not tell them apart; '' if they do.
      labelled: whether any pixel has a class, which only the check of all examples knows.
      arrays: all images [n h w 3] and labels [n h w], once they are cached: of NumPy in host memory, of JAX on devices.
      pixels: number of pixels of each class, which only the check of examples knows; (): not counted.
      sizes: (height, width) of each example where they pass at their own scale, known once they are checked, (0, 0) of
        those that are not; (): all have one size.
      depth: bands and type of the images.
    """

    split: str
    names: tuple[str, ...]
    read: Callable[[int], Pair]
    table: LabelTable
    files: tuple[tuple[Path, ...], ...] = ()
    resized: tuple[int, int] = (0, 0)
    stored: Callable[[int], Pair] | None = None
    instances: Callable[[int], np.ndarray] | None = None
    mask: Callable[[int], Stored] | None = None
    reading: str = ""
    bad: Sequence[Bad] = ()
    content: str = ""
    labelled: bool = True
    arrays: tuple[Any, Any] | None = None
    pixels: tuple[int, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    depth: Depth = RGB

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def digest(self) -> str:
        """A digest that changes when examples are added, removed or reordered, but not when the directory moves."""
        known = (*self.names, self.content) if self.content else self.names
        return hashlib.sha256("\n".join(known).encode(errors="surrogateescape")).hexdigest()

    def original(self, index: int) -> Pair:
        """An example at its stored size."""
        return (self.stored or self.read)(index)

    def with_readers(self, wrap: Callable[[Callable[[int], Any]], Callable[[int], Any]], **fields: Any) -> Examples:
        """The examples with `wrap(reader)` in place of each reader that they have, and with other fields."""
        fields |= {name: wrap(reader) for name in READERS if (reader := getattr(self, name))}
        return replace(self, **fields)

    def with_enough(self, short_side: float) -> Examples:
        """The examples for a use that needs no more than `short_side` pixels of a photograph along its shorter side.

        Where a source decodes less then, does not depend on how often or from where an example is read.
        """

        def apply(index: int) -> Pair:
            with decoder.enough(short_side):
                return self.read(index)

        return replace(self, read=apply, reading=f"{self.reading}, enough={short_side:g}")

    def take(self, indices: Sequence[int]) -> Examples:
        """Some of the examples, in the given order; `bad` and `arrays` stay as they are."""
        return self.with_readers(
            lambda reader: lambda i: reader(indices[i]),
            names=tuple(self.names[i] for i in indices),
            files=tuple(self.files[i] for i in indices) if self.files else (),
            sizes=tuple(self.sizes[i] for i in indices) if self.sizes else (),
        )

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the examples, of the first one if they differ."""
        height, width = self.read(0)[1].shape
        return height, width

    @property
    def described_size(self) -> str:
        """The size of the examples for people, '480x640' (height x width), or those of the smallest and the largest."""
        ordered = sorted(self.sizes, key=lambda size: size[0] * size[1]) or [self.size]
        ends = dict.fromkeys(f"{height}x{width}" for height, width in (ordered[0], ordered[-1]))
        return " to ".join(ends)


def class_counts(label: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of each class in a label, and last those that are ignored, int64 [k + 1]."""
    if label.dtype == np.uint8:  # a tenth of the time of `bincount`
        counts = np.array(Image.fromarray(label).histogram())
        return np.append(counts[:classes], counts[-1])
    return np.bincount(np.minimum(label, classes).reshape(-1), minlength=classes + 1)


def check_sizes(image: Size, mask: tuple[int, ...], *, image_name: object, mask_name: object, cure: str = "") -> None:
    """Refuses a mask of another (height, width) than that of its photograph; `cure` is what else to do then.

    Raises:
      DataError: naming both with their sizes.
    """
    if image == mask:
        return
    raise DataError(
        f"{image_name} has {image[0]}x{image[1]} pixels (height x width) but its mask {mask_name} has "
        f"{mask[0]}x{mask[1]}; they must agree.{cure}"
    )


def refuse_one_class(examples: Examples, pixels: np.ndarray, alone: Mapping[bool, str], *, learned: bool) -> None:
    """Refuses a split of one class and ignored pixels, which may be those of the others; warns where it may be so.

    Args:
      examples: the split.
      pixels: number of pixels of each class, and last that of ignored ones, int [k + 1].
      alone: whether ignored pixels are beside one class alone -> an example.
      learned: whether the split is learned from; a few photographs to evaluate on may well show one class.

    Raises:
      DataError: naming the example and the cure.
    """
    if True not in alone:
        return
    present = [name for i, name in enumerate(examples.table.names) if pixels[i]]
    where = f"the split {examples.split!r}: the ignored value is the only one beside a class in {alone[True]}"
    cure = 'If it means a class, move it to the "values" of that in class_names.json; see python -m seg_jax.data lint.'
    share = pixels[-1] / max(pixels.sum(), 1)
    if (
        learned and len(present) == 1 and 0.01 < share < 0.95
    ):  # where almost nothing is labelled, one class may be all of it
        raise DataError(
            f"{where}, all labelled pixels are {present[0]!r}, and {share:.1%} are ignored: nothing can be learned. "
            f"{cure} If a network labelled it (prepare --labels=predict), lower --min_confidence."
        )
    if False not in alone and examples.table.ignore == (examples.table.ignored,):
        logging.warning("%s and beside several in none. %s", where, cure)
