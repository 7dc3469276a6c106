"""Examples that are read for the first time when a batch needs them, because `data.check` does not read all before."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace

from seg_jax.config import Size
from seg_jax.data.cache import Cache
from seg_jax.data.checking import another_size
from seg_jax.data.examples import Bad, Examples, Pair
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelError
from seg_jax.data.sampler import permutation

LARGE = 20_000  # examples; 'auto' checks a sample of splits that have more
SAMPLED = 1000  # examples in a sample


def chosen(check: str, n: int, *, seed: int, cache: str) -> Sequence[int] | None:
    """Which of `n` examples are read before the first step; None: all, which a cache on devices needs.

    Args:
      check: `data.check`.
      n: number of examples.
      seed: of the sample.
      cache: `data.cache`.
    """
    if check == "all" or (check == "auto" and (n <= LARGE or cache == "device")):
        return None
    return [] if check == "use" else sorted(permutation(seed, 0, n)[:SAMPLED].tolist())


def unchecked(examples: Examples, *, skip_bad: bool, one_size: bool, cache: str, cache_bytes: int) -> Examples:
    """Examples of which not all were checked: `read` does it, and `bad` grows.

    Args:
      examples: one split.
      skip_bad: whether the next example takes the place of one that cannot be used. It is the same one whenever, by
        whichever process, and from whatever cache the example is read.
      one_size: whether an example of another size than the first one cannot be used.
      cache, cache_bytes: see `cache.Cache`; examples are kept once they were read.
    """
    reader = _Reader(examples, skip_bad=skip_bad, cache=cache, cache_bytes=cache_bytes)
    if one_size:
        height, width = reader(0)[1].shape
        reader.size = height, width
    return replace(examples, read=reader, bad=reader.bad)


class _Reader:
    """Index -> an example that can be used; called from several threads at once."""

    def __init__(self, examples: Examples, *, skip_bad: bool, cache: str, cache_bytes: int):
        self._examples, self._skip_bad = examples, skip_bad
        self._cache = Cache(len(examples), cache, one_size=False, most=cache_bytes)
        self._skipped: set[int] = set()
        self._lock = threading.Lock()
        self.size: Size | None = None  # that all have
        self.bad: list[Bad] = [*examples.bad]

    def __call__(self, index: int) -> Pair:
        n = len(self._examples)
        for i in (*range(index, n), *range(index)):
            if (pair := self._one(i)) is not None:
                return pair
        raise DataError(f"the split {self._examples.split!r} has no usable example, such as {self.bad[-1]}")

    def _one(self, index: int) -> Pair | None:
        if index in self._skipped:
            return None
        if (pair := self._cache.get(index)) is not None:
            return pair
        try:
            pair = self._examples.read(index)
            if self.size and pair[1].shape != self.size:
                raise DataError(f"{self._examples.names[index]} {another_size(pair[1].shape, self.size)}")
        except (DataError, LabelError) as error:
            if not self._skip_bad:
                raise
            with self._lock:
                if index not in self._skipped:
                    self._skipped.add(index)
                    self.bad.append(Bad(self._examples.names[index], str(error)))
                    logging.warning("data.skip_bad: left out of the split %r: %s", self._examples.split, error)
            return None
        with self._lock:
            self._cache.keep(index, pair)
        return pair
