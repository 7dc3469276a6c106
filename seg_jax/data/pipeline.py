"""From examples to batches: from the host cache, or read from files in a tf.data stream.

Both yield the same batches, in the sampler's order.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable

import numpy as np

from seg_jax.data.examples import Examples, Pair
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE

Batch = dict[str, np.ndarray]

PAD = -1  # the index of padding: a black image whose pixels are all ignored


def batches(examples: Examples, orders: Iterable[np.ndarray], *, threads: int, prefetch: int) -> Generator[Batch]:
    """Batches of uint8 arrays, one for each array of indices in `orders`; `PAD` gives an ignored example.

    Raises:
      DataError, LabelError: a file changed or vanished since it was checked.
    """
    if examples.arrays is not None:
        images, labels = examples.arrays
        for order in orders:
            batch = {"image": images[order], "label": labels[order]}
            batch["image"][order == PAD] = 0
            batch["label"][order == PAD] = IGNORE
            yield batch
    else:
        yield from _stream(examples, orders, threads=threads, prefetch=prefetch)


def _stream(examples: Examples, orders: Iterable[np.ndarray], *, threads: int, prefetch: int) -> Generator[Batch]:
    """Reads, decodes and batches with tf.data; the functions that it calls release the interpreter lock."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # TensorFlow would allocate all GPU memory
    shape = examples.read(0)[1].shape
    failures: list[Exception] = []

    def read(index: np.ndarray) -> Pair:
        if index == PAD:
            return np.zeros((*shape, 3), np.uint8), np.full(shape, IGNORE, np.uint8)
        try:
            image, label = examples.read(int(index))
        except Exception as error:
            failures.append(error)
            raise
        if label.shape != shape:
            failures.append(DataError(f"{examples.names[int(index)]} changed its size during the run."))
            raise failures[-1]
        return image, label

    @tf.autograph.experimental.do_not_convert  # there is nothing to convert, and on Python 3.13 the attempt warns
    def decode(index):
        image, label = tf.numpy_function(read, [index], (tf.uint8, tf.uint8), stateful=False)
        return {"image": tf.ensure_shape(image, (*shape, 3)), "label": tf.ensure_shape(label, shape)}

    orders = iter(orders)
    first = next(orders, None)
    if first is None:
        return
    dataset = (
        tf.data.Dataset.from_generator(
            lambda: itertools.chain([first], orders), output_signature=tf.TensorSpec((len(first),), tf.int64)
        )
        .unbatch()
        .map(decode, num_parallel_calls=threads, deterministic=True)
        .batch(len(first), drop_remainder=True)
        .prefetch(prefetch)
    )
    try:
        yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as error:
        raise (failures[0] if failures else DataError(f"reading {examples.split} failed: {error}")) from error
