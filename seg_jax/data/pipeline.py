"""From examples to batches: from the host cache, or read by threads that are some batches ahead.

Both yield the same batches, in the sampler's order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from seg_jax.data import fitting
from seg_jax.data.examples import Examples, Pair
from seg_jax.data.fitting import Fit
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE

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
            batch["label"][order == PAD] = IGNORE
            yield batch
    else:
        yield from _stream(examples, orders, fit or _AsRead(examples), threads=threads, prefetch=prefetch)


class _AsRead:
    """Examples of one size as they are."""

    def __init__(self, examples: Examples):
        self._names, self._size = examples.names, examples.size
        self.arrays = fitting.pictures(self._size)

    def __call__(self, pair: Pair, *, index: int, batch: int, row: int) -> Batch:
        image, label = pair
        if label.shape != self._size or image.shape[:2] != self._size:
            raise DataError(f"{self._names[index]} changed its size during the run.")
        return {"image": image, "label": label}


def _stream(
    examples: Examples, orders: Iterable[np.ndarray], fit: Fit, *, threads: int, prefetch: int
) -> Generator[Batch]:
    """Reads and decodes in threads, which write into the batches; decoders release the interpreter lock."""

    def read(index: int, number: int, row: int, batch: Batch) -> None:
        if index == PAD:
            made = fitting.blank(fit.arrays)
        else:
            made = fit(examples.read(index), index=index, batch=number, row=row)
        for name, array in made.items():
            batch[name][row] = array

    ahead: deque[tuple[Batch, list[Future[None]]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for number, order in enumerate(orders):
            batch = {name: np.empty((len(order), *shape), dtype) for name, (shape, dtype) in fit.arrays.items()}
            rows = [pool.submit(read, int(index), number, row, batch) for row, index in enumerate(order)]
            ahead.append((batch, rows))
            if len(ahead) > prefetch:
                yield _finished(*ahead.popleft())
        while ahead:
            yield _finished(*ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(batch: Batch, rows: list[Future[None]]) -> Batch:
    """A batch once all of its rows are written; raises the error of the first row that has one."""
    for row in rows:
        row.result()
    return batch
