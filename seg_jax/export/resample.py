"""Pillow's resizing as a part of an artefact, so that it can take photographs of any size."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from seg_jax import models


@models.operator
def resize_antialiased(x: jax.Array, *, size: tuple[int, int]) -> jax.Array:
    """[b h w c] -> [b *size c] as Pillow's BILINEAR: where it shrinks, triangles as wide as the new pixels.

    Columns come first; of uint8 the numbers between are rounded too. Pillow may begin with the rows and has weights of
    22 bits, so that values differ by one level here and there.
    """
    y = x.astype(jnp.float32)
    for axis, equation in ((2, "ow,bhwc->bhoc"), (1, "oh,bhwc->bowc")):
        y = jnp.einsum(equation, _triangles(x.shape[axis], size[axis - 1]), y, precision="highest")
        if x.dtype == jnp.uint8:
            y = jnp.clip(jnp.floor(y + 0.5), 0, 255)
    return y.astype(x.dtype)


def _triangles(old: Any, new: Any) -> jax.Array:
    """float32 [new old], rows sum to 1; either size may be a symbol."""
    # Distances of pixel centres, in units of 1 / (2 old new) of the axis: integers, so that float32 loses nothing.
    at, seen = (2 * jnp.arange(new) + 1) * old, (2 * jnp.arange(old) + 1) * new
    weights = jnp.maximum(1 - abs(at[:, None] - seen) / (2 * jnp.maximum(old, new)), 0)
    return weights / weights.sum(axis=1, keepdims=True)
