"""The head of another run's network for classes of our own: rows are taken by the names of their classes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from seg_jax import models
from seg_jax.config import Config, with_fields
from seg_jax.data.labels.builtin import table_of
from seg_jax.runtime import trees

SIDE = 32  # shapes of parameters do not depend on the size of the image


@dataclass(frozen=True)
class Rows:
    """Which rows of the heads of a run fit our classes.

    Attributes:
      axes: the name of each array of a head -> its axes over the classes.
      ours, theirs: the same classes in our order and in the run's, int [n].
      counts: number of classes here and in the run.
      binary: whether a head has one channel that stands for both classes.
    """

    axes: Mapping[str, tuple[int, ...]]
    ours: np.ndarray
    theirs: np.ndarray
    counts: tuple[int, int]
    binary: bool

    def take(self, name: str, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray | None:
        """`ours` with the rows of the run's classes in their places; None where the arrays are of another kind.

        Args:
          name: of the array, a key of `axes`.
          ours: the array with random values.
          theirs: the run's.
        """
        axes, (here, there) = self.axes[name], self.counts
        if self.binary:  # the channel is the logit of the second class against the first
            same = ours.shape == theirs.shape and here == there and (self.ours == self.theirs).all()
            return np.asarray(theirs) if same and len(self.ours) == here else None
        expected = tuple(there if axis in axes else n for axis, n in enumerate(ours.shape))
        if theirs.shape != expected:
            return None
        result = np.array(ours)
        result[self._block(ours, axes, self.ours)] = theirs[self._block(theirs, axes, self.theirs)]
        return result

    @staticmethod
    def _block(array: np.ndarray, axes: Sequence[int], rows: np.ndarray) -> tuple[np.ndarray, ...]:
        return np.ix_(*(rows if axis in axes else np.arange(n) for axis, n in enumerate(array.shape)))


def match(config: Config, ours: Sequence[str], theirs: Sequence[str]) -> Rows:
    """Pairs the classes of a new run with those of another by name; says which start anew.

    Args:
      config: of the new run.
      ours: the names of its classes. With those of a mere number of classes rows are taken by position, where both
        have the same number.
      theirs: those of the other run.
    """
    counts, binary = (len(ours), len(theirs)), config.loss.head == "binary"
    axes = _axes(config, len(ours))
    if tuple(ours) == table_of(len(ours)).names:
        n = len(ours) if len(ours) == len(theirs) else 0
        logging.info("the classes here have no names: %d rows of the head are taken by position", n)
        return Rows(axes, np.arange(n), np.arange(n), counts, binary)
    shared = [name for name in ours if name in theirs]
    new = [name for name in ours if name not in theirs]
    logging.info(
        "the head's rows of %d classes are taken by name (%s), %d start anew (%s)",
        *(len(shared), ", ".join(shared) or "none", len(new), ", ".join(new) or "none"),
    )
    here, there = ([list(names).index(name) for name in shared] for names in (ours, theirs))
    return Rows(axes, np.array(here, int), np.array(there, int), counts, binary)


def by_name(config: Config, random: Any, loaded: Any, ours: Sequence[str], theirs: Sequence[str]) -> Any:
    """Loaded arrays in which the rows of the heads are those of our classes; rows of new classes keep random values.

    Args:
      config: of the new run.
      random, loaded: trees of arrays of the same structure; heads that were not loaded are random in both.
      ours, theirs: the names of our classes and of those that the loaded rows are of.
    """
    if tuple(ours) == tuple(theirs) or len(ours) != len(theirs):  # of another number no row was loaded
        return loaded
    rows = match(config, ours, theirs)

    def pick(path: Any, before: Any, after: Any) -> Any:
        name = trees.name(path)
        if name not in rows.axes:
            return after
        taken = rows.take(name, np.asarray(before), np.asarray(after))
        return before if taken is None else taken

    return jax.tree_util.tree_map_with_path(pick, random, loaded)


def _axes(config: Config, classes: int) -> dict[str, tuple[int, ...]]:
    """The arrays whose shapes depend on the number of classes, with the axes that do."""
    config = with_fields(config, {"loss.head": "softmax"})  # a binary head has the same arrays, of one channel

    def shapes(k: int) -> dict[str, jax.ShapeDtypeStruct]:
        network = models.build(config, classes=k)
        shape = (1, SIDE, SIDE, len(config.data.bands) or 3)
        params, state = jax.eval_shape(lambda: models.init(network, jax.random.key(0), shape))
        return trees.by_name({"params": params, "model_state": state})

    one, other = shapes(classes), shapes(classes + 1)
    differing = {
        name: tuple(axis for axis, (m, n) in enumerate(zip(one[name].shape, other[name].shape, strict=True)) if m != n)
        for name in one
    }
    return {name: axes for name, axes in differing.items() if axes}
