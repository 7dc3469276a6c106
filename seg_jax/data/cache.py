"""The host cache: images and labels of one size in two arrays, those of different sizes one by one."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from seg_jax.data.examples import Examples, Pair
from seg_jax.data.images import DataError
from seg_jax.data.labels import ignored_in

SHARE = 0.8  # of the machine's memory that a cache may fill


class Cache:
    """Keeps examples while they are checked.

    Args:
      n: number of examples of the split.
      kind: 'none' keeps nothing, 'host' and 'device' do.
      one_size: whether examples of another size than the first one are not wanted.
      most: bytes of examples that may have different sizes; 0: `SHARE` of the machine's memory.
    """

    def __init__(self, n: int, kind: str, *, one_size: bool, most: int):
        self._n, self._kind, self._one_size = n, kind, one_size
        self._most = self._room = most or int(SHARE * (_memory() or 2**33))
        self._arrays: Pair | None = None
        self._single: dict[int, Pair] = {}

    def get(self, index: int) -> Pair | None:
        """An example that is kept by itself."""
        return self._single.get(index)

    def keep(self, index: int, pair: Pair) -> None:
        """Keeps a good example, if there is room.

        Raises:
          DataError: examples of one size need more memory than the machine has.
        """
        if self._kind == "none":
            return
        size = pair[1].shape
        if self._one_size:
            self._arrays = self._arrays or _allocate(self._n, pair, self._kind)
            if size == self._arrays[1].shape[1:]:
                self._arrays[0][index], self._arrays[1][index] = pair
            return
        if index not in self._single:
            self._room -= sum(array.nbytes for array in pair)
            if self._room >= 0:
                self._single[index] = pair

    def of(self, examples: Examples) -> Examples:
        """The examples, read from memory where they are kept.

        Raises:
          DataError: there is no room for all, and devices are to have all.
        """
        if self._kind == "none" or self._one_size:
            return replace(examples, arrays=self._arrays)
        full = self._room < 0
        if full and self._kind == "device":
            raise DataError(
                f"config.data.cache = 'device' takes all of {examples.split!r} through the host's memory, and "
                f"{self._most / 2**30:.1f} GiB are too few. Use --config.data.cache=host, or a larger data.cache_bytes."
            )
        if examples.sizes or full:
            read, kept = examples.read, self._single
            return replace(examples, read=lambda i: kept[i] if i in kept else read(i))
        # One size after all. Moved one after the other, they never are in memory twice: pages that nothing was
        # written to take none.
        for index in list(self._single):
            pair = self._single.pop(index)
            self._arrays = self._arrays or _allocate(self._n, pair, self._kind)
            self._arrays[0][index], self._arrays[1][index] = pair
        return replace(examples, arrays=self._arrays)


def _memory() -> int:
    """Bytes of the machine's memory; 0 where it does not say."""
    known = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else 0


def _allocate(n: int, pair: Pair, kind: str) -> Pair:
    """Arrays for the cache of examples like one of them; raises DataError before the machine would start to swap."""
    needed, memory, size = n * sum(array.nbytes for array in pair), _memory(), pair[1].shape
    if memory and needed > SHARE * memory:
        raise DataError(
            f"config.data.cache = {kind!r} needs {needed / 2**30:.1f} GiB for {n} images of {size[0]}x{size[1]}, "
            f"this machine has {memory / 2**30:.1f} GiB. Use --config.data.cache=none or a smaller data.size."
        )
    image, label = pair
    return np.zeros((n, *image.shape), image.dtype), np.full((n, *size), ignored_in(label), label.dtype)
