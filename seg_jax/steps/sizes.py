"""Values at the sizes of labels, where these keep the size of their photographs."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from seg_jax.config import Size


def to_sizes(values: jax.Array, sizes: jax.Array, size: Size) -> jax.Array:
    """Resizes padded values of different sizes, each by its own factors; bilinear, antialiased, as Pillow's triangle.

    Args:
      values: float32 [b h w k], padded below and to the right.
      sizes: float32 [b 2 2], (height, width) of what is valid: before, and after.
      size: (height, width) of the padded result.

    Returns:
      float32 [b *size k].
    """

    def weights(before: jax.Array, after: jax.Array, n: int, length: int) -> jax.Array:
        """The shares [length n] of the old positions in each new one along an axis."""
        scale = before / after
        middle = jnp.minimum((jnp.arange(length) + 0.5) * scale, before - 0.5)[:, None]
        old = jnp.arange(n) + 0.5
        shares = jnp.maximum(1 - jnp.abs(old - middle) / jnp.maximum(scale, 1), 0) * (old < before)
        return shares / shares.sum(1, keepdims=True)

    def one(values: jax.Array, sizes: jax.Array) -> jax.Array:
        rows, columns = (weights(sizes[0, i], sizes[1, i], values.shape[i], size[i]) for i in (0, 1))
        return jnp.einsum("Hh,Ww,hwk->HWk", rows, columns, values, precision="highest")

    # An image with sizes of 0 fills a batch; its shares would be NaN.
    return jax.vmap(one)(values, jnp.maximum(sizes, 1))
