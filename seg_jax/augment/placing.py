"""Where a training crop is in its photograph: on the device for images of one size, on the host for any sizes.

Of a photograph the host sends only the part that its crop shows. So it draws the crop's place, from the key from which
the device would draw it, and sends the map along; the device draws everything else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seg_jax.augment import balance, keys, randaugment
from seg_jax.augment.geometry import Choice, affine, compose
from seg_jax.config import AugmentConfig, ConfigError, Size
from seg_jax.data import fitting
from seg_jax.data.depth import Depth
from seg_jax.data.examples import Pair
from seg_jax.data.pictures import RGB

Numbers = tuple[Any, Any, Any]  # int32 each: the numbers of the member, the step, and the example in the global batch


def place(
    uses: jax.Array,
    spec: AugmentConfig,
    source: tuple[int, int] | jax.Array,
    output: tuple[int, int],
    choice: Choice | None = None,
) -> jax.Array:
    """The map of one example's whole geometry, float32 [2 3], see `affine`; `uses` are the keys of the example."""
    matrix = affine(uses[0], spec, source, output, choice)
    operations, magnitude = spec.randaugment
    if operations:
        sampled = randaugment.sample(uses[2], operations, magnitude)
        matrix = compose(matrix, randaugment.geometry(*sampled, output))
    return matrix


def needed(spec: AugmentConfig, *, several_sizes: bool) -> bool:
    """Whether the host draws where crops are: in photographs of several sizes, or where their labels decide."""
    return several_sizes or spec.crop_balance > 0 or spec.cat_max_ratio < 1


class Crops:
    """Training crops of photographs of any sizes: a `fitting.Fit`.

    Args:
      spec: the augmentation, whose `crop` is set.
      seed: the run's seed; member m of an ensemble takes `seed` + m.
      short_side: the length that the shorter side has at the scale 1; 0: its own.
      start: the step of the first batch.
      members: number of batches for each step.
      first: number of examples of the global batch that come before those of this process.
      depth, classes: see `fitting.pictures`.
      pixels: of each class in the training split, see `balance.class_pixel`.

    Raises:
      ConfigError: JAX was started without the CPU, which draws.
    """

    def __init__(
        self,
        spec: AugmentConfig,
        *,
        seed: int,
        short_side: int,
        start: int = 0,
        members: int = 1,
        first: int = 0,
        depth: Depth = RGB,
        classes: int = 2,
        pixels: Sequence[int] = (),
    ):
        self._spec, self._pixels = spec, pixels
        self._output, self._short_side = (spec.crop[0], spec.crop[1]), short_side
        self._start, self._members, self._first = start, members, first
        self.size, self._depth, self._classes = part_size(spec), depth, classes
        try:
            self._cpu = jax.local_devices(backend="cpu")[0]
        except RuntimeError as error:
            raise ConfigError(
                "photographs of different sizes are cropped on the host, but JAX was started without its CPU "
                f"({error}). Add it: JAX_PLATFORMS=cuda,cpu."
            ) from error

        def example(numbers: Numbers) -> jax.Array:
            member, step, row = numbers
            key, _ = keys.of_step(seed + member, step)
            return keys.of_example(key, row)

        def draw(numbers: Numbers, size: jax.Array, choice: Choice | None) -> jax.Array:
            return place(example(numbers), spec, size, self._output, choice)

        def chances(numbers: Numbers, attempt: jax.Array) -> jax.Array:
            """Three numbers in [0, 1): whether the crop is centred on a class, on which, and on which pixel of it."""
            key = jax.random.fold_in(example(numbers)[0], 1)
            again = jax.random.fold_in(key, attempt)
            return jnp.append(jax.random.uniform(key, (2,)), jax.random.uniform(again))

        self._draw, self._chances = jax.jit(draw), jax.jit(chances)

    @property
    def arrays(self) -> fitting.Arrays:
        """See `fitting.Fit`."""
        made = fitting.pictures(self.size, depth=self._depth, classes=self._classes)
        return made | fitting.PLACED

    def __call__(self, pair: Pair, *, index: int, batch: int, row: int) -> dict[str, np.ndarray]:
        """The part of a photograph that its crop shows; see `fitting.part`."""
        del index
        image, label = pair
        matrix = self.choose(label, batch=batch, row=row)
        image, label, placed = fitting.part(image, label, matrix, output=self._output, size=self.size)
        return {"image": image, "label": label, "placed": placed}

    def choose(self, label: np.ndarray, *, batch: int, row: int) -> np.ndarray:
        """The map from the crop of example `row` of a batch to its photograph with this `label`, float64 [2 3].

        Its position is drawn again while one class dominates it, see `balance.dominated`. What does not depend on the
        position stays: scale, rotation, and whether and on which class the crop is centred.
        """
        spec, size = self._spec, (label.shape[0], label.shape[1])
        attempts = balance.ATTEMPTS if spec.cat_max_ratio < 1 else 0
        for attempt in range(attempts + 1):
            centre = None
            if spec.crop_balance > 0:
                with jax.default_device(self._cpu):
                    chance, *draws = np.asarray(self._chances(self._numbers(batch, row), np.int32(attempt))).tolist()
                if chance < spec.crop_balance:
                    centre = balance.class_pixel(label, self._pixels, draws)
            matrix = self.matrix(size, batch=batch, row=row, attempt=attempt, centre=centre)
            if attempt == attempts or not balance.dominated(label, matrix, self._output, spec.cat_max_ratio):
                break
        return matrix

    def _numbers(self, batch: int, row: int) -> Numbers:
        step, member = divmod(batch, self._members)
        return np.int32(member), np.int32(self._start + step), np.int32(self._first + row)

    def matrix(
        self, size: Size, *, batch: int, row: int, attempt: int = 0, centre: tuple[int, int] | None = None
    ) -> np.ndarray:
        """The map from the crop of example `row` of a batch to its photograph of `size`, float64 [2 3].

        Args:
          size: (height, width) of the photograph.
          batch, row: numbers of the batch and of the example in it.
          attempt: how often its position was drawn before.
          centre: the pixel (row, column) that it is centred on; None: a random one.
        """
        scaled = fitting.network_size(size, self._short_side)
        choice = None
        if attempt or centre is not None:
            wanted = (np.array(centre or (np.nan, np.nan)) + 0.5) * np.array(scaled) / size - 0.5
            choice = Choice(np.int32(attempt), wanted.astype(np.float32))
        with jax.default_device(self._cpu):
            drawn = self._draw(self._numbers(batch, row), np.array(scaled, np.float32), choice)
        matrix = np.asarray(drawn).astype(np.float64)
        if scaled == size:
            return matrix
        ratio = np.array(size) / scaled
        matrix *= ratio[:, None]
        matrix[:, 2] += (ratio - 1) / 2  # pixel centres are at integers, edges are what the two sizes share
        return matrix


def part_size(spec: AugmentConfig) -> Size:
    """(height, width) of the part of a photograph that a crop can show, in the crop's own pixels.

    Larger than the crop where it is rotated or slanted. What shows more yet, by several operations of RandAugment, is
    reduced to fit.
    """
    strength = spec.randaugment[1] / 10 if spec.randaugment[0] else 0.0
    height, width = spec.crop
    slanted = width + height * (math.tan(math.radians(spec.shear)) + 0.3 * strength)
    turn = math.radians(spec.rotate + 30 * strength)

    def extent(along: float, across: float) -> float:
        angle = min(turn, math.atan2(across, along))  # where the sum is largest
        return along * math.cos(angle) + across * math.sin(angle)

    sides = (extent(height, slanted), extent(slanted, height))
    return math.ceil((sides[0] + fitting.MARGIN) / 8) * 8, math.ceil((sides[1] + fitting.MARGIN) / 8) * 8
