"""From a split to batches on the devices: transferred one by one, or gathered from a copy of the split there."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from seg_jax.config import DataConfig
from seg_jax.data import checking, late, pipeline
from seg_jax.data.examples import Examples, Pair
from seg_jax.data.fitting import Fit
from seg_jax.data.images import DataError
from seg_jax.data.labels import ignored_in
from seg_jax.runtime import sharding

Batch = dict[str, jax.Array]


def prepare(
    examples: Examples,
    data: DataConfig,
    mesh: Mesh,
    *,
    record: Path,
    any_size: bool = False,
    seed: int | None = None,
) -> Examples:
    """Checks examples and keeps the split where `data.cache` says: in files, host memory, or on every device.

    Args:
      examples: one split.
      data: reads `cache`, `cache_bytes`, `check`, `short_side`, `skip_bad` and `threads`.
      mesh: the devices.
      record: the file that notes which files were checked.
      any_size: whether the examples may have different sizes.
      seed: of a split to learn from, for the sample that `data.check` may ask for; None: every example is checked.

    Raises:
      DataError: see `checking.prepare`; or the split has several sizes, or does not fit into the memory of a device.
    """
    only = None if seed is None else late.chosen(data.check, len(examples), seed=seed, cache=data.cache)
    checked = checking.prepare(
        examples,
        cache=data.cache,
        cache_bytes=data.cache_bytes,
        skip_bad=data.skip_bad,
        threads=data.threads,
        record=record,
        one_size=not any_size,
        own_scale=data.short_side > 0,
        only=only,
        learned=seed is not None,
        process=jax.process_index(),
        processes=jax.process_count(),
        exchange=sharding.exchange,
    )
    if only is not None:
        return late.unchecked(
            checked, skip_bad=data.skip_bad, one_size=not any_size, cache=data.cache, cache_bytes=data.cache_bytes
        )
    return _copy_to_devices(checked, mesh) if data.cache == "device" else checked


def batches(
    examples: Examples, orders: Iterable[np.ndarray], data: DataConfig, mesh: Mesh, *, fit: Fit | None = None
) -> Generator[Batch]:
    """Global batches, split over the mesh, one for each array of indices in `orders`; the same for every `data.cache`.

    Args:
      examples: a split from `prepare`.
      orders: the indices that this process feeds, `PAD` for no example; see `pipeline.batches`.
      data: reads `threads` and `prefetch`.
      mesh: the devices.
      fit: for examples at their own scale, see `pipeline.batches`.
    """
    if fit is None and examples.arrays is not None and isinstance(examples.arrays[0], jax.Array):
        images, labels = examples.arrays
        gather = _gather(mesh)
        for order in orders:
            yield gather(images, labels, sharding.place({"order": order.astype(np.int32)}, mesh)["order"])
        return
    with closing(pipeline.batches(examples, orders, threads=data.threads, prefetch=data.prefetch, fit=fit)) as stream:
        for batch in stream:
            yield sharding.place(batch, mesh)


def _copy_to_devices(examples: Examples, mesh: Mesh) -> Examples:
    """Moves a split from host memory to every device."""
    if examples.sizes:
        raise DataError(
            "config.data.cache = 'device' keeps photographs of one size; those of the split "
            f"{examples.split!r} pass at their own scale, {examples.described_size} pixels (height x width). Use "
            "--config.data.cache=host, or a data.size."
        )
    assert examples.arrays is not None
    needed = sum(array.nbytes for array in examples.arrays)
    memory = jax.local_devices()[0].memory_stats() or {}  # none on CPU
    free = memory.get("bytes_limit", 0) - memory.get("bytes_in_use", 0)
    if memory and needed > 0.8 * free:
        raise DataError(
            f"config.data.cache = 'device' needs {needed / 2**30:.1f} GiB for the {len(examples)} examples of "
            f"{examples.split!r}, of {free / 2**30:.1f} GiB that are free on each device. Use --config.data.cache=host "
            "or a smaller data.size."
        )
    replicated = sharding.replicated(mesh)
    images, labels = (jax.make_array_from_process_local_data(replicated, array) for array in examples.arrays)
    local = [array.addressable_data(0) for array in (images, labels)]

    def read(index: int) -> Pair:
        image, label = (np.asarray(array[index]) for array in local)
        return image, label

    return replace(examples, arrays=(images, labels), read=read)


@cache
def _gather(mesh: Mesh) -> Callable[[jax.Array, jax.Array, jax.Array], Batch]:
    """A compiled function (images, labels, order) -> batch; every device gathers its part of the batch."""

    def gather(images: jax.Array, labels: jax.Array, order: jax.Array) -> Batch:
        padding = order == pipeline.PAD
        image, label = (jnp.take(array, order, axis=0, mode="clip") for array in (images, labels))
        return {
            "image": jnp.where(padding[:, None, None, None], jnp.zeros((), image.dtype), image),
            "label": jnp.where(padding[:, None, None], jnp.array(ignored_in(label), label.dtype), label),
        }

    return jax.jit(gather, out_shardings=sharding.split(mesh))
