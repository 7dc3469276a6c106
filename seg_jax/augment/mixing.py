"""Parts of one example in another: CutMix and ClassMix.

Pixels are replaced, not blended: each keeps the label of the example it comes from, ignored ones too, so the loss
needs no weights.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from seg_jax.config import AugmentConfig
from seg_jax.data.labels import IGNORE


def box(key: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The pixels that CutMix replaces: bool [h w].

    A box of the image's proportions with a share 1 - lambda of its area, lambda ~ Beta(1, 1), about a pixel drawn
    uniformly, cut off at the edges. Yun et al. 2019, CutMix, equation 2 with alpha = 1.
    """
    area, centre = jax.random.split(key)
    sides = jnp.sqrt(jax.random.uniform(area, minval=0.0, maxval=1.0)) * jnp.array(size)  # 1 - lambda ~ Beta(1, 1) too
    middle = jax.random.randint(centre, (2,), 0, jnp.array(size))
    first = middle - sides.astype(jnp.int32) // 2
    last = first + sides.astype(jnp.int32)  # not included
    row, column = jnp.arange(size[0])[:, None], jnp.arange(size[1])
    return (row >= first[0]) & (row < last[0]) & (column >= first[1]) & (column < last[1])


def some_classes(key: jax.Array, label: jax.Array) -> jax.Array:
    """The pixels that ClassMix takes from the example with this label: bool [h w].

    Those of half of the classes that it shows, rounded down; what is ignored is none of them. Olsson et al. 2021,
    ClassMix, algorithm 1.
    """
    present = jnp.zeros(256, bool).at[label].set(True).at[IGNORE].set(False)
    # Classes in a random order, those that are present first.
    order = jnp.argsort(jax.random.uniform(key, (256,), minval=0.0, maxval=1.0) + ~present)
    taken = jnp.zeros(256, bool).at[order].set(jnp.arange(256) < present.sum() // 2)
    return taken[label]


def mix(
    key: jax.Array, image: jax.Array, label: jax.Array, partner: tuple[jax.Array, jax.Array], *, spec: AugmentConfig
) -> tuple[jax.Array, jax.Array]:
    """Pastes a part of the partner with probability spec.cutmix, or else another one with probability spec.classmix.

    Args:
      key: of this example.
      image, label: [h w 3], uint8 [h w].
      partner: image and label of another example, of the same shapes.
      spec: its two probabilities add up to at most 1.

    Returns:
      Image and label; every pixel is that of one of the two examples, in both.
    """
    choose, place = jax.random.split(key)
    choice = jax.random.uniform(choose, minval=0.0, maxval=1.0)
    pasted = jnp.zeros(label.shape, bool)
    if spec.cutmix:
        pasted |= box(place, (label.shape[0], label.shape[1])) & (choice < spec.cutmix)
    if spec.classmix:
        chosen = (choice >= spec.cutmix) & (choice < spec.cutmix + spec.classmix)
        pasted |= some_classes(place, partner[1]) & chosen
    return jnp.where(pasted[..., None], partner[0], image), jnp.where(pasted, partner[1], label)
