"""Pillow's resizing as a part of an artefact, so that the artefact accepts photographs of any size."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from seg_jax import models


@models.operator
def resize_antialiased(x: jax.Array, *, size: tuple[int, int]) -> jax.Array:
    """Resizes [b h w c] to [b *size c] as Pillow's BILINEAR does: where it shrinks, the filter widens (antialiasing).

    The width is resized first, then the height; uint8 is rounded after each. Pillow may begin with the height and has
    weights of 22 bits, so values differ by one level here and there.
    """
    y = x.astype(jnp.float32)
    for axis, equation in ((2, "ow,bhwc->bhoc"), (1, "oh,bhwc->bowc")):
        y = jnp.einsum(equation, _triangles(x.shape[axis], size[axis - 1]), y, precision="highest")
        if x.dtype == jnp.uint8:
            y = jnp.clip(jnp.floor(y + 0.5), 0, 255)
    return y.astype(x.dtype)


def _triangles(old: Any, new: Any) -> jax.Array:
    """Weights of a triangle filter, float32 [new old]; rows sum to 1; either size may be symbolic."""
    # Pixel centres in units of 1 / (2 old new) of the axis: integers, which float32 represents exactly.
    new_centres, old_centres = (2 * jnp.arange(new) + 1) * old, (2 * jnp.arange(old) + 1) * new
    weights = jnp.maximum(1 - abs(new_centres[:, None] - old_centres) / (2 * jnp.maximum(old, new)), 0)
    return weights / weights.sum(axis=1, keepdims=True)
