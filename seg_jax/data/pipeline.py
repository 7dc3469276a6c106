"""From examples to batches: the check before the first step, the host cache, and the tf.data stream.

Both ways of feeding, from files and from the cache, yield the same batches in the order that the sampler says.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from seg_jax.data.examples import Bad, Examples, Pair
from seg_jax.data.images import DataError, write_bytes
from seg_jax.data.labels import IGNORE, LabelError

Batch = dict[str, np.ndarray]
T = TypeVar("T")

PAD = -1  # the index of no example: a black image whose pixels are all ignored


def prepare(
    examples: Examples, *, cache: str, skip_bad: bool, threads: int, record: Path, one_size: bool = True
) -> Examples:
    """Reads every example once, before anything is trained, so that no bad file stops a run half-way.

    Args:
      examples: one split.
      cache: 'none' reads from files at every step; 'host' keeps what was read in memory, and so does 'device',
        from where `data.feed` moves it on.
      skip_bad: leave unusable examples out (they stay listed in `bad`) instead of stopping.
      threads: how many files are read at once.
      record: where to note the outcome, so that unchanged files are not checked again when a run resumes.
      one_size: whether examples of another size than the first one are bad; a cache needs that.

    Returns:
      The usable examples.

    Raises:
      DataError: examples cannot be read, have unknown mask values or another size, or none is left.
    """
    n = len(examples)
    fingerprint = content_key(examples)
    if cache == "none" and (known := _recall(record, fingerprint)) is not None:
        bad = {int(i): Bad(**entry) for i, entry in known.items()}
        return _without(examples, bad, skip_bad)

    bad = {}
    arrays: Pair | None = None
    size: tuple[int, ...] | None = None
    with closing(
        in_parallel(lambda i: try_read(examples, i), n, threads=threads, title=f"checking {examples.split}")
    ) as results:
        for i, result in enumerate(results):
            if isinstance(result, Bad):
                bad[i] = result
                continue
            image, label = result
            size = size or label.shape
            if one_size and label.shape != size:
                bad[i] = Bad(
                    examples.names[i],
                    f"has {label.shape[0]}x{label.shape[1]} pixels (height x width) where the first one has "
                    f"{size[0]}x{size[1]}; set config.data.size to bring all to one size",
                )
                continue
            if cache != "none":
                arrays = arrays or _allocate(n, size, cache)
                arrays[0][i], arrays[1][i] = image, label
    if fingerprint:
        entries = {i: {"name": b.name, "why": b.why} for i, b in bad.items()}
        text = json.dumps({"fingerprint": fingerprint, "bad": entries}, indent=1)
        write_bytes(record, text.encode())
    return _without(replace(examples, arrays=arrays), bad, skip_bad)


def in_parallel(function: Callable[[int], T], n: int, *, threads: int, title: str) -> Generator[T]:
    """function(0), function(1), ... function(n - 1), each called in one of several threads, under a progress bar.

    They run little ahead of whoever takes the results, and what has not begun is cancelled when the generator is
    closed: an error does not wait for the rest.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        ahead = deque(pool.submit(function, i) for i in range(min(n, 4 * threads)))
        for i in tqdm(range(n), desc=title, unit="img", file=sys.stderr, mininterval=1.0):
            result = ahead.popleft().result()
            if i + 4 * threads < n:
                ahead.append(pool.submit(function, i + 4 * threads))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def try_read(examples: Examples, index: int) -> Pair | Bad:
    """An example, or why it cannot be used."""
    try:
        return examples.read(index)
    except (DataError, LabelError) as error:
        return Bad(examples.names[index], str(error))


def _without(examples: Examples, bad: dict[int, Bad], skip_bad: bool) -> Examples:
    """The examples without the bad ones, which are an error unless `skip_bad`."""
    found = (*examples.bad, *bad.values())
    if found and not skip_bad:
        raise DataError(
            f"{len(found)} of {len(examples) + len(examples.bad)} examples of the split {examples.split!r} cannot be "
            f"used:\n{listing(found)}\nCorrect them, or leave them out with --config.data.skip_bad=True."
        )
    if found:
        logging.warning("data.skip_bad: left out %d of the split %r:\n%s", len(found), examples.split, listing(found))
    good = [i for i in range(len(examples)) if i not in bad]
    if not good:
        raise DataError(f"the split {examples.split!r} has no usable example:\n{listing(found)}")
    arrays = examples.arrays

    def chosen(function: Callable[[int], T]) -> Callable[[int], T]:
        return lambda i: function(good[i])

    if arrays is not None:
        images, labels = arrays if not bad else (arrays[0][good], arrays[1][good])
        arrays = images, labels
    return replace(
        examples,
        names=tuple(examples.names[i] for i in good),
        read=chosen(examples.read) if arrays is None else (lambda i: (images[i], labels[i])),
        stored=examples.stored and chosen(examples.stored),
        instances=examples.instances and chosen(examples.instances),
        files=tuple(examples.files[i] for i in good) if examples.files else (),
        bad=found,
        arrays=arrays,
    )


def listing(bad: Iterable[Bad], limit: int = 20) -> str:
    """One line for each bad example, at most `limit`."""
    lines = [f"  {b.name}: {b.why}" for b in bad]
    more = [f"  ... and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n".join(lines[:limit] + more)


def _allocate(n: int, size: tuple[int, ...], cache: str) -> Pair:
    """Arrays for the cache, or an error before the machine starts to swap."""
    needed = n * size[0] * size[1] * 4
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed > 0.8 * memory:
            raise DataError(
                f"config.data.cache = {cache!r} needs {needed / 2**30:.1f} GiB for {n} images of {size[0]}x{size[1]}, "
                f"this machine has {memory / 2**30:.1f} GiB. Use --config.data.cache=none or a smaller data.size."
            )
    return np.zeros((n, *size, 3), np.uint8), np.full((n, *size), IGNORE, np.uint8)


def content_key(examples: Examples) -> str:
    """Changes when a file, the meaning of its values, or the way to read it does; '' for data without files."""
    if not examples.files:
        return ""
    digest = hashlib.sha256(f"{examples.resized}{examples.reading}{examples.table.to_json()}".encode())
    for paths in examples.files:
        for path in paths:
            try:
                stat = path.stat()
            except OSError:
                return ""  # the reader will say it better
            line = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}\n"
            digest.update(line.encode(errors="surrogateescape"))  # file names may be any bytes
    return digest.hexdigest()


def _recall(record: Path, fingerprint: str) -> dict[str, dict[str, str]] | None:
    """What an earlier check of the very same files found, or None."""
    try:
        noted = json.loads(record.read_text(encoding="utf-8"))
        return noted["bad"] if fingerprint and noted["fingerprint"] == fingerprint else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


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

    tf.config.set_visible_devices([], "GPU")  # TensorFlow would take all memory of the accelerator
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
