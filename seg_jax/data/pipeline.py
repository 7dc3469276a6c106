"""From examples to batches: from the host cache, or read and made in a tf.data stream.

Both yield the same batches, in the sampler's order.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable

import numpy as np

from seg_jax.data import fitting
from seg_jax.data.examples import Examples, Pair
from seg_jax.data.fitting import Fit
from seg_jax.data.images import DataError
from seg_jax.data.labels import ignored_in

Batch = dict[str, np.ndarray]

PAD = -1  # the index of padding: a black image whose pixels are all ignored


def batches(
    examples: Examples, orders: Iterable[np.ndarray], *, threads: int, prefetch: int, fit: Fit | None = None
) -> Generator[Batch]:
    """Batches of arrays, one for each array of indices in `orders`; `PAD` gives an ignored example.

    Args:
      examples: one split.
      orders: the indices of each batch.
      threads: number of examples read at once.
      prefetch: batches prepared ahead.
      fit: makes the arrays of an example; None: images and labels have one size and travel as they are.

    Raises:
      DataError, LabelError: a file changed or vanished since it was checked.
    """
    if examples.arrays is not None and fit is None:
        images, labels = examples.arrays
        for order in orders:
            batch = {"image": images[order], "label": labels[order]}
            batch["image"][order == PAD] = 0
            batch["label"][order == PAD] = ignored_in(labels)
            yield batch
    else:
        yield from _stream(examples, orders, fit or _AsRead(examples), threads=threads, prefetch=prefetch)


class _AsRead:
    """Examples of one size as they are."""

    def __init__(self, examples: Examples):
        self._names, self._size = examples.names, examples.size
        self.arrays = fitting.pictures(self._size, depth=examples.depth, classes=len(examples.table))

    def __call__(self, pair: Pair, *, index: int, batch: int, row: int) -> Batch:
        image, label = pair
        if label.shape != self._size or image.shape[:2] != self._size:
            raise DataError(f"{self._names[index]} changed its size during the run.")
        return {"image": image, "label": label}


def _stream(
    examples: Examples, orders: Iterable[np.ndarray], fit: Fit, *, threads: int, prefetch: int
) -> Generator[Batch]:
    """Reads, decodes and batches with tf.data; the functions that it calls release the interpreter lock."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # TensorFlow would allocate all GPU memory
    arrays = fit.arrays
    failures: list[Exception] = []

    def read(index: np.ndarray, number: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, ...]:
        try:
            if index == PAD:
                made = fitting.blank(arrays)
            else:
                made = fit(examples.read(int(index)), index=int(index), batch=int(number), row=int(row))
        except Exception as error:
            failures.append(error)
            raise
        return tuple(made[name] for name in arrays)

    @tf.autograph.experimental.do_not_convert  # there is nothing to convert, and on Python 3.13 the attempt warns
    def make(index, number, row):
        made = tf.numpy_function(read, [index, number, row], [dtype for _, dtype in arrays.values()], stateful=False)
        return {name: tf.ensure_shape(a, shape) for (name, (shape, _)), a in zip(arrays.items(), made, strict=True)}

    orders = iter(orders)
    first = next(orders, None)
    if first is None:
        return

    def numbered() -> Generator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for number, order in enumerate(itertools.chain([first], orders)):
            yield order, np.full(len(order), number), np.arange(len(order))

    dataset = (
        tf.data.Dataset.from_generator(numbered, output_signature=(tf.TensorSpec((len(first),), tf.int64),) * 3)
        .unbatch()
        .map(make, num_parallel_calls=threads, deterministic=True)
        .batch(len(first), drop_remainder=True)
        .prefetch(prefetch)
    )
    try:
        yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as error:
        raise (failures[0] if failures else DataError(f"reading {examples.split} failed: {error}")) from error
