"""CutMix and ClassMix: parts of one example pasted into another.

Pixels are replaced, not blended: each keeps the label of the example it comes from, also where it is ignored, so the
loss needs no weights.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from seg_jax.config import AugmentConfig
from seg_jax.data.labels import ignored_in


def box(key: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The pixels that CutMix replaces: bool [h w].

    A box with the image's aspect ratio and a share 1 - lambda of its area, lambda ~ Beta(1, 1), centred on a uniformly
    random pixel and clipped at the edges. Yun et al. 2019, CutMix, equation 2 with alpha = 1.
    """
    key_area, key_centre = jax.random.split(key)
    area = jax.random.uniform(key_area, minval=0.0, maxval=1.0)  # 1 - lambda ~ Beta(1, 1) too
    sides = jnp.sqrt(area) * jnp.array(size)
    centre = jax.random.randint(key_centre, (2,), 0, jnp.array(size))
    first = centre - sides.astype(jnp.int32) // 2
    last = first + sides.astype(jnp.int32)  # not included
    row, column = jnp.arange(size[0])[:, None], jnp.arange(size[1])
    return (row >= first[0]) & (row < last[0]) & (column >= first[1]) & (column < last[1])


def half_of_classes(key: jax.Array, label: jax.Array) -> jax.Array:
    """The pixels that ClassMix takes from the example with this label [h w]: bool [h w].

    Half of the classes that occur in the label, rounded down, are sampled; ignored pixels are never taken. Olsson et
    al. 2021, ClassMix, algorithm 1.
    """
    ignored = ignored_in(label)
    present = jnp.zeros(ignored + 1, bool).at[label].set(True).at[ignored].set(False)
    # Classes in random order, the present ones first.
    order = jnp.argsort(jax.random.uniform(key, present.shape, minval=0.0, maxval=1.0) + ~present)
    chosen = jnp.zeros_like(present).at[order].set(jnp.arange(ignored + 1) < present.sum() // 2)
    return chosen[label]


def mix(
    key: jax.Array, image: jax.Array, label: jax.Array, partner: tuple[jax.Array, jax.Array], *, spec: AugmentConfig
) -> tuple[jax.Array, jax.Array]:
    """Pastes a box of the partner with probability spec.cutmix, half of its classes with probability spec.classmix.

    Args:
      key: the example's key.
      image, label: [h w 3], uint8 [h w].
      partner: image and label of another example, of the same shapes.
      spec: `cutmix` + `classmix` is at most 1; at most one of the two happens.

    Returns:
      Image and label; each pixel of both comes from the same one of the two examples.
    """
    key_choice, key_part = jax.random.split(key)
    choice = jax.random.uniform(key_choice, minval=0.0, maxval=1.0)
    pasted = jnp.zeros(label.shape, bool)
    if spec.cutmix:
        pasted |= box(key_part, (label.shape[0], label.shape[1])) & (choice < spec.cutmix)
    if spec.classmix:
        chosen = (choice >= spec.cutmix) & (choice < spec.cutmix + spec.classmix)
        pasted |= half_of_classes(key_part, partner[1]) & chosen
    return jnp.where(pasted[..., None], partner[0], image), jnp.where(pasted, partner[1], label)
