"""The order of examples, as a pure function of (seed, step).

Training sees an endless chain of permutations of 0..n-1, each derived from the seed and the number of the epoch and cut
into batches: every example exactly once an epoch. There is no iterator state to save: step k after a restart is step k,
on any number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np


def spread(n: int, most: int) -> list[int]:
    """At most `most` of the indices 0..n-1, ascending and evenly spread, with the first and the last; [] for n = 0."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)).tolist()


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """int64 [n]: the order of one epoch.

    RandomState, not Generator: NumPy has frozen its streams (NEP 19), so a run can be resumed under another NumPy.
    """
    bits = np.random.MT19937(np.random.SeedSequence((seed, epoch)))
    order = np.random.RandomState(bits).permutation(n)
    order.flags.writeable = False  # shared by the cache
    return order


def indices(seed: int, step: int, batch_size: int, n: int) -> np.ndarray:
    """int64 [batch_size]: the examples of training step `step` (0, 1, 2...) over all processes.

    Args:
      seed: non-negative seed of the run.
      step: number of the step, counted from 0.
      batch_size: size of the global batch; may exceed `n`.
      n: number of examples, at least 1.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = positions // n, positions % n
    parts = [permutation(seed, int(e), n)[offsets[epochs == e]] for e in np.unique(epochs)]
    return np.concatenate(parts)


def training_order(
    seed: int,
    *,
    start: int,
    stop: int,
    batch_size: int,
    n: int,
    members: int = 1,
    process: int = 0,
    processes: int = 1,
) -> Iterator[np.ndarray]:
    """The indices of steps start..stop-1 that this process feeds: its slice of every global batch.

    With several `members` (networks) each step has one batch for each member, in the order of its own seed,
    `seed` + member.
    """
    local = batch_size // processes
    for step in range(start, stop):
        for member in range(members):
            yield indices(seed + member, step, batch_size, n)[process * local : (process + 1) * local]


def evaluation_order(
    batch_size: int, n: int, *, pad: int, process: int = 0, processes: int = 1
) -> Iterator[np.ndarray]:
    """0..n-1 in order, every example once, in batches of one size: the last one is filled with `pad`.

    Each process takes its slice of every batch, as in `training_order`.
    """
    share = batch_size // processes
    for start in range(0, n, batch_size):
        order = np.full(batch_size, pad, np.int64)
        order[: min(batch_size, n - start)] = np.arange(start, min(start + batch_size, n))
        yield order[process * share : (process + 1) * share]


def held_out(seed: int, n: int, share: float) -> np.ndarray:
    """bool [n]: which of `n` examples are held out for evaluation, sampled by `seed`.

    `share` (in 0..1) of them, rounded: at least one unless the share is 0, and never all.
    """
    count = min(max(round(share * n), 1), n - 1) if share else 0
    chosen = np.zeros(n, bool)
    chosen[permutation(seed, 0, n)[:count]] = True
    return chosen
