"""Where a training crop is in its photograph: on the device for images of one size, on the host for any sizes.

Of a photograph the host sends only the part that its crop shows. So it draws the crop's place, from the key from which
the device would draw it, and sends the map along; the device draws everything else.
"""

from __future__ import annotations

import math

import jax
import numpy as np

from seg_jax.augment import keys, randaugment
from seg_jax.augment.geometry import affine, compose
from seg_jax.config import AugmentConfig, ConfigError, Size
from seg_jax.data import fitting
from seg_jax.data.depth import Depth
from seg_jax.data.examples import Pair
from seg_jax.data.images import RGB


def place(
    uses: jax.Array, spec: AugmentConfig, source: tuple[int, int] | jax.Array, output: tuple[int, int]
) -> jax.Array:
    """The map of one example's whole geometry, float32 [2 3], see `affine`; `uses` are the keys of the example."""
    matrix = affine(uses[0], spec, source, output)
    operations, magnitude = spec.randaugment
    if operations:
        sampled = randaugment.sample(uses[2], operations, magnitude)
        matrix = compose(matrix, randaugment.geometry(*sampled, output))
    return matrix


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
    ):
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

        def draw(member: jax.Array, step: jax.Array, row: jax.Array, size: jax.Array) -> jax.Array:
            key, _ = keys.of_step(seed + member, step)
            return place(keys.of_example(key, row), spec, size, self._output)

        self._draw = jax.jit(draw)

    @property
    def arrays(self) -> fitting.Arrays:
        """See `fitting.Fit`."""
        made = fitting.pictures(self.size, depth=self._depth, classes=self._classes)
        return made | fitting.PLACED

    def __call__(self, pair: Pair, *, index: int, batch: int, row: int) -> dict[str, np.ndarray]:
        """The part of a photograph that its crop shows; see `fitting.part`."""
        del index
        image, label = pair
        size = (label.shape[0], label.shape[1])
        matrix = self.matrix(size, batch=batch, row=row)
        image, label, placed = fitting.part(image, label, matrix, output=self._output, size=self.size)
        return {"image": image, "label": label, "placed": placed}

    def matrix(self, size: Size, *, batch: int, row: int) -> np.ndarray:
        """The map from the crop of example `row` of a batch to its photograph of `size`, float64 [2 3]."""
        step, member = divmod(batch, self._members)
        scaled = fitting.network_size(size, self._short_side)
        numbers = (member, self._start + step, self._first + row)
        with jax.default_device(self._cpu):
            drawn = self._draw(*map(np.int32, numbers), np.array(scaled, np.float32))
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
