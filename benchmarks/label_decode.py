"""Colour masks to class ids by exact nearest colour: 2,597 masks of 256x256 with 30 colours and JPEG's noise.

python -m benchmarks.label_decode

Ours (`seg_jax.data.labels.masks.Palette.nearest` on two threads, including the creation of its table) against a NumPy
loop over the colours and TensorFlow's distances. These two decode a part of the masks, and their time is scaled to all
of them. The results of all three must agree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np

from benchmarks.table import Row
from seg_jax.data.labels.cityscapes import TABLES
from seg_jax.data.labels.palettes import Palette

MASKS, SIDE, THREADS, REPEATS = 2597, 256, 2, 3
NUMPY_MASKS, TENSORFLOW_MASKS = 20, 200


def masks(colors: np.ndarray, count: int) -> np.ndarray:
    """uint8 [count SIDE SIDE 3]: squares of random colours with noise like JPEG's, seed 0."""
    rng = np.random.default_rng(0)
    ids = rng.integers(len(colors), size=(count, SIDE // 16, SIDE // 16)).repeat(16, 1).repeat(16, 2)
    clean = colors.astype(np.int16)[ids]
    noise = rng.integers(-6, 7, size=(64, SIDE, SIDE, 3), dtype=np.int16)
    return np.clip(clean + noise[np.arange(count) % 64], 0, 255).astype(np.uint8)


def numpy_loop(mask: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """The textbook method for one mask: the squared distance to one colour after the other."""
    best, nearest = np.full(mask.shape[:2], np.inf), np.zeros(mask.shape[:2], np.uint8)
    for i, color in enumerate(colors):
        distance = ((mask.astype(np.float64) - color) ** 2).sum(-1)
        closer = distance < best
        best[closer], nearest[closer] = distance[closer], i
    return nearest


def rows(*, quick: bool = False) -> Iterator[Row]:
    """Seconds of all masks; `quick` is a trial with a few."""
    palette = Palette(TABLES["thirty"])
    colors = palette.colors
    images = masks(colors, MASKS // 100 if quick else MASKS)
    most_numpy, most_tensorflow = (2, 4) if quick else (NUMPY_MASKS, TENSORFLOW_MASKS)

    best = np.inf
    for _ in range(1 if quick else REPEATS):
        begin = time.perf_counter()
        fresh = Palette(TABLES["thirty"])
        fresh.nearest(images[0])  # creates the table once, not in both threads
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(fresh.nearest, np.array_split(images, 2 * THREADS)))
        best = min(best, time.perf_counter() - begin)
    begin = time.perf_counter()
    reference = [numpy_loop(mask, colors) for mask in images[:most_numpy]]
    slow = (time.perf_counter() - begin) * len(images) / most_numpy

    import tensorflow as tf

    @tf.function
    def by_distance(mask: tf.Tensor) -> tf.Tensor:
        difference = tf.cast(mask, tf.float32)[..., None, :] - tf.constant(colors, tf.float32)
        return tf.cast(tf.argmin(tf.reduce_sum(difference**2, -1), -1), tf.uint8)

    by_distance(images[0])
    begin = time.perf_counter()
    theirs = [by_distance(mask).numpy() for mask in images[:most_tensorflow]]
    tensorflow = (time.perf_counter() - begin) * len(images) / most_tensorflow
    for i, nearest in enumerate(reference):
        np.testing.assert_array_equal(palette.ids[nearest], palette.nearest(images[i]))
        np.testing.assert_array_equal(nearest, theirs[i])
    what = f"{len(images)} masks of {SIDE}x{SIDE}"
    yield Row("label_decode", what, best, tensorflow, "TensorFlow", "s")
    yield Row("label_decode", what, best, slow, "NumPy loop", "s")


def main() -> None:
    """Measures and prints."""
    for row in rows():
        print(row)


if __name__ == "__main__":
    main()
