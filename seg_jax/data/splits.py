"""Splits that no directory or list tells apart: shares of the training split, sampled by the seed, by whole groups.

Frames of a video, slices of a patient and tiles of a scene resemble one another. Where some are trained on and others
scored, a score says how well the network remembers; so groups are held out whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from seg_jax.config import ConfigError, DataConfig
from seg_jax.data.examples import Examples
from seg_jax.data.images import DataError
from seg_jax.data.sampler import permutation

TEST = "test"  # the split of data.test_share


def load(source: Callable[..., Examples], data: DataConfig, split: str, *, seed: int) -> Examples:
    """The examples of a split: as the source has it, or a part of the training split.

    Args:
      source: (config.data, split, *, seed) -> the examples of a stored split.
      data: reads `val_share` and `test_share`, the shares of the training split that are the splits `val_split` and
        'test'; `group`, a regular expression that finds the name of an example's group in its path.
      split: its name.
      seed: samples the parts.

    Raises:
      ConfigError: the shares leave nothing to train on, or `group` is no regular expression.
      DataError: an example has no group, or there are too few of them.
    """
    parts = {data.train_split: 0}
    parts |= {data.val_split: 1} if data.val_share and data.val_split not in (data.train_split, TEST) else {}
    parts |= {TEST: 2} if data.test_share else {}  # also where it is evaluated, as data.val_split
    if split not in parts or not (data.val_share or data.test_share):
        return source(data, split, seed=seed)
    if data.val_share + data.test_share >= 1:
        raise ConfigError(
            f"config.data.test_share = {data.test_share}: with data.val_share = {data.val_share} nothing is left to "
            "train on. Use 0.1 for each."
        )
    if data.val_share:  # the sources' own shares of a missing validation split would be taken off as well
        data = data.copy()
        data.update({"huggingface": {"val_share": 0.0}, "pets": {"val_share": 0.0}})
    whole = source(data, data.train_split, seed=seed)
    numbers = assign(seed, groups(whole, data), (data.val_share, data.test_share))
    part = whole.take(np.flatnonzero(numbers == parts[split]).tolist())
    if not _own_files(whole):  # the files do not say which of their examples these are, and caches go by the files
        part = replace(part, reading=f"{whole.reading}, {part.digest}")
    # What cannot be used is reported once, with the training split.
    return replace(part, split=split, bad=whole.bad if split == data.train_split else ())


def groups(examples: Examples, data: DataConfig) -> list[str]:
    """The group of each example: the text that `data.group` finds in its path, else its first file.

    A photograph that is listed twice is one group, so that it is not in two splits; so are the tiles of one, unless
    `data.group` tells them apart.
    """
    root = Path(data.dir).expanduser() if data.dir else None
    own = _own_files(examples)

    def path(i: int) -> str:
        if not own and not (any(data.tile) and not data.group):
            return examples.names[i]
        file = examples.files[i][0]
        return file.relative_to(root).as_posix() if root and file.is_relative_to(root) else str(file)

    paths = [path(i) for i in range(len(examples))]
    if not data.group:
        return paths
    try:
        expression = re.compile(data.group)
    except re.error as error:
        raise ConfigError(
            f"config.data.group = {data.group!r} is no regular expression ({error}). Use '^([^/]+)/' for the first "
            "directory of a path."
        ) from error
    found = [expression.search(text) for text in paths]
    for text, match in zip(paths, found, strict=True):
        if match is None:
            raise DataError(
                f"config.data.group = {data.group!r} finds no group in {text!r}. Use an expression that finds one in "
                "every path, such as '^([^/]+)/' for its first directory."
            )
    return ["|".join(str(part) for part in match.groups()) or match[0] for match in found if match]


def _own_files(examples: Examples) -> bool:
    """Whether files tell examples apart; one file may hold all of them."""
    return len({files[0] for files in examples.files}) > len(examples) / 2


def assign(seed: int, groups: Sequence[str], shares: Sequence[float]) -> np.ndarray:
    """int [n]: the part of each example, 1 for the first share, 2 for the second..., and 0 for the rest.

    Args:
      seed: samples the groups.
      groups: the group of each example; a group is not divided.
      shares: in 0..1, together less than 1. A part has at least one group; another joins if that brings it nearer. The
        part of a share of 0 is empty.

    Raises:
      DataError: there are fewer groups than parts.
    """
    sizes = Counter(groups)
    names = list(sizes)
    asked = sum(share > 0 for share in shares)
    if len(names) <= asked:
        raise DataError(
            f"{len(groups)} example(s) in {len(names)} group(s) cannot be divided into {asked + 1} splits, of which "
            "each has a group at least. Add examples, use fewer shares, or a data.group that tells more groups apart."
        )
    order = [names[i] for i in permutation(seed, 0, len(names))]
    parts = dict.fromkeys(names, 0)
    for number, share in enumerate(shares, start=1):
        if share:
            free = [name for name in order if not parts[name]]
            for name in _chosen(free, sizes, share * len(groups), keep=asked):
                parts[name] = number
            asked -= 1
    return np.array([parts[group] for group in groups])


def _chosen(free: Sequence[str], sizes: Counter[str], wanted: float, *, keep: int) -> list[str]:
    """The groups, in order, that come nearest to a number of examples; at least one, and `keep` are left."""
    chosen: list[str] = []
    total = 0
    for name in free:
        if len(chosen) < len(free) - keep and abs(total + sizes[name] - round(wanted)) < abs(total - round(wanted)):
            chosen.append(name)
            total += sizes[name]
    return chosen or [min(free, key=lambda name: sizes[name])]
