"""Augmentation on the device, inside the training step.

All geometry is one resampling (`geometry`) and all colour jitter one 3x3 matrix (`color`). Everything else is a filter
(`filters`), an operation of RandAugment (`randaugment`) or a part of another example (`mixing`). A feature that is
switched off is not in the compiled program.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from seg_jax.augment import filters, keys, mixing, randaugment
from seg_jax.augment.color import LUMA, color_map, jitter
from seg_jax.augment.geometry import warp
from seg_jax.augment.placing import place
from seg_jax.config import AugmentConfig
from seg_jax.runtime import sharding

__all__ = ["Augmentation", "build", "make_augment"]

# A group of fields that changes nothing but what is named; alone among the defaults of a run `flip` does.
Augmentation = functools.partial(AugmentConfig, flip=0.0)


def make_augment(
    spec: AugmentConfig,
    *,
    fill: tuple[float, ...],
    groups: int,
    finish: Callable[[jax.Array], jax.Array] = lambda image: image,
) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """Builds augment(key, image, label, placed=None) for batches.

    Args:
      spec: the features and their ranges.
      fill: colour (0..255) outside the source image, in whole numbers, such as the mean that is subtracted later.
      groups: number of groups that the batch is cut into. Groups are worked on at once, the examples of a group one
        after the other. One group for each CPU device keeps an example in the processor's cache (faster than the whole
        batch at once); on accelerators use the batch size.
      finish: last function applied to each image in the same pass, such as the normalisation.

    Returns:
      A function (key, image [b h w c] in 0..255, label [b h w]) -> (float32 [b ch cw c] in 0..255 before `finish`,
      label [b ch cw]). Example i samples from fold_in(key, i), whatever the grouping or the number of devices. Its
      partner in `mixing` is example i + 1; the partner of the last one is the first. Where `placed`, float32 [b 2 5],
      is given, the images are parts of photographs and it says where the crops are in them, see `data.fitting.part`.
    """
    shares = LUMA if len(fill) == 3 else (1 / len(fill),) * len(fill)
    grey = sum(share * value for share, value in zip(shares, fill, strict=True))
    jitters = any((spec.brightness, spec.contrast, spec.saturation, spec.hue, spec.grayscale))
    operations, magnitude = spec.randaugment
    # Under vmap all branches of a lax.cond or lax.switch are computed; a single group on CPU goes without.
    branches = bool(operations or spec.blur)

    def one(args: tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]) -> tuple[jax.Array, jax.Array]:
        uses, image, label, placed = args
        source = (image.shape[0], image.shape[1])
        output = spec.crop if all(spec.crop) else source
        if placed is None:
            image, label = warp(image, label, place(uses, spec, source, output), output, fill)
        else:
            image, label = warp(image, label, placed[:, :3], output, fill, inside=placed[:, 3:])
        if operations:
            image = randaugment.recolor(image, *randaugment.sample(uses[2], operations, magnitude))
        if jitters:
            image = jitter(image, *color_map(uses[1], spec, grey, channels=len(fill)))
        if spec.blur:
            image = filters.random_blur(uses[3], image, probability=spec.blur, sigma=spec.blur_sigma)
        if spec.noise:
            image = filters.random_noise(uses[4], image, strength=spec.noise)
        return finish(image), label

    def augment(
        key: jax.Array, image: jax.Array, label: jax.Array, placed: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        b = image.shape[0]
        # A row for each example, a column for each use of randomness.
        uses = jax.vmap(functools.partial(keys.of_example, key))(jnp.arange(b))
        inputs = (uses, image, label, placed)
        if groups == 1 and branches:
            image, label = jax.lax.map(one, inputs)
        else:
            image, label = sharding.one_by_one(one, inputs, groups=groups)
        if not (spec.cutmix or spec.classmix):
            return image, label
        partner = (jnp.roll(image, -1, axis=0), jnp.roll(label, -1, axis=0))
        return jax.vmap(functools.partial(mixing.mix, spec=spec))(uses[:, 5], image, label, partner)

    return augment


def build(
    augment: AugmentConfig,
    *,
    mean: tuple[float, ...],
    groups: int,
    finish: Callable[[jax.Array], jax.Array],
) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """The augmentation that `config.augment` describes; `mean` (0..1) fills the area outside an image.

    `groups` and `finish`: see `make_augment`.
    """
    return make_augment(augment, fill=tuple(round(255 * m) for m in mean), groups=groups, finish=finish)
