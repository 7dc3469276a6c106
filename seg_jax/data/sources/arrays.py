"""NumPy files: all images of a split in one array, all masks in another; read without TensorFlow.

`SPLIT.npz` with the arrays `images` and `labels`, or `SPLIT_images.npy` and `SPLIT_labels.npy`, which are mapped into
memory: they may be larger than it, since only the requested examples are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from seg_jax.config import DataConfig
from seg_jax.data.depth import Depth
from seg_jax.data.examples import Examples, Pair
from seg_jax.data.forms import image_cure, label_cure
from seg_jax.data.images import DataError, Stored
from seg_jax.data.labels import LabelError
from seg_jax.data.labels.builtin import label_table


def load(data: DataConfig, split: str, *, seed: int) -> Examples:
    """The images and masks of one split, in their order in the arrays.

    Args:
      data: reads `dir`, the directory of the files, `labels`, see `label_table`, `bands` and `range`.
      split: the first part of the files' names.
      seed: unused.

    Raises:
      DataError: a file is missing or damaged, or its arrays are not images [n h w 3] of bytes, or [n h w c] of numbers
        that `bands` and `range` describe, and labels [n h w] of uint8 or uint16.
      LabelError: there is no label table, or it is invalid.
    """
    del seed
    root = Path(data.dir).expanduser()
    if not root.is_dir():
        raise DataError(f"config.data.dir = {data.dir!r} is not a directory. Pass --config.data.dir=DIR.")
    table = label_table(root, data.labels)
    files = _files(root, split)
    images, labels = _from_npz(*files) if len(files) == 1 else map(_from_npy, files)
    depth = Depth.of(data)
    deep = not depth.is_rgb and images.ndim == 4 and images.dtype.kind in "fiu"
    if not deep and (images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3):
        raise DataError(
            f"{files[0]}: images are {images.dtype} {list(images.shape)}, not uint8 [n h w 3], RGB in 0..255 "
            "(data.bands and data.range say what other numbers are). "
            f"{image_cure(images, leading=1, name='images')}"
        )
    if labels.dtype not in (np.uint8, np.uint16) or labels.shape != images.shape[:3]:
        raise DataError(
            f"{files[-1]}: labels are {labels.dtype} {list(labels.shape)}, not uint8 or uint16 "
            f"{list(images.shape[:3])}, one value for each pixel of the images. "
            f"{label_cure(labels, leading=1, name='labels')}"
        )

    def read(index: int) -> Pair:
        try:
            image, label = np.array(images[index]), table.encode(labels[index])
        except LabelError as error:
            raise LabelError(f"{files[-1]}, example {index}: {error}") from error
        return depth.apply(image, False, f"{files[0]}, example {index}") if deep else image, label

    return Examples(
        split=split,
        names=tuple(f"{split}[{i}]" for i in range(len(images))),
        read=read,
        table=table,
        files=(files,) * len(images),
        mask=lambda i: Stored(np.asarray(labels[i])),
        reading=str(depth),
    )


def _files(root: Path, split: str) -> tuple[Path, ...]:
    one, two = (root / f"{split}.npz",), (root / f"{split}_images.npy", root / f"{split}_labels.npy")
    present = [files for files in (one, two) if all(file.is_file() for file in files)]
    if len(present) == 1:
        return present[0]
    if present:
        raise DataError(f"{root} contains {one[0].name} and {two[0].name}, two forms of the split; remove one of them.")
    there = ", ".join(sorted(path.name for path in root.glob("*.np[yz]"))) or "no .npz or .npy files"
    raise DataError(
        f"{root} contains neither {one[0].name} nor {two[0].name} with {two[1].name}; there: {there}. Write them with "
        "np.savez or np.save, or set config.data.train_split and config.data.val_split to what is there."
    )


def _from_npz(path: Path) -> Pair:
    with _reporting(path), path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        if missing := {"images", "labels"} - set(content):
            raise DataError(
                f"{path} contains {', '.join(sorted(content)) or 'no arrays'}, but not {', '.join(sorted(missing))}. "
                "Write it with np.savez(file, images=images, labels=labels)."
            )
        return content["images"], content["labels"]


def _from_npy(path: Path) -> np.ndarray:
    with _reporting(path):
        return np.lib.format.open_memmap(path, mode="r")


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Turns the errors of NumPy and zipfile (ValueError, EOFError, BadZipFile, OSError...) into a DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path} cannot be read ({error}); write it again.") from error
