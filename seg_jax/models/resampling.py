"""Pooling and upsampling of feature maps, NHWC, in forms that are fast with XLA's CPU backend."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from seg_jax.models.operators import on_cpu, operator, window


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Maximum over 2x2 windows, stride 2.

    Raises:
      ValueError: height or width is odd.
    """
    if x.shape[1] % 2 or x.shape[2] % 2:
        raise ValueError(f"a map of {x.shape[1]}x{x.shape[2]} has no whole 2x2 windows; pad it to even sides.")
    if not on_cpu():
        return nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))
    whole, even, odd = slice(None), slice(None, None, 2), slice(1, None, 2)
    x = jnp.maximum(window(x, even, whole), window(x, odd, whole))
    return jnp.maximum(window(x, whole, even), window(x, whole, odd))


def max_pool_3x3(x: jax.Array) -> jax.Array:
    """Maximum over 3x3 windows, stride 2, padding 1, as in ResNet; [b h w c] -> [b ceil(h / 2) ceil(w / 2) c]."""
    if not on_cpu():
        return nn.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    for axis in (1, 2):  # a maximum over a square is a maximum over columns, then over rows
        size = x.shape[axis]
        low = jnp.finfo(x.dtype).min
        pads = [(1, 1) if a == axis else (0, 0) for a in range(4)]
        padded = jnp.pad(x, pads, constant_values=low)
        taps = [jax.lax.slice_in_dim(padded, i, i + size, 2, axis) for i in range(3)]
        x = jnp.maximum(jnp.maximum(taps[0], taps[1]), taps[2])
    return x


def upsample_nearest(x: jax.Array, factor: int) -> jax.Array:
    """[b h w c] -> [b fh fw c], every pixel repeated."""
    return repeat(x, factor=factor)


@operator
def repeat(x: jax.Array, *, factor: int) -> jax.Array:
    """The body of `upsample_nearest`."""
    b, h, w, c = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None], (b, h, factor, w, factor, c))
    return wide.reshape(b, h * factor, w * factor, c)


def upsample_bilinear(x: jax.Array, factor: int) -> jax.Array:
    """[b h w c] -> [b fh fw c], bilinear with pixel centres at halves (as jax.image.resize, align_corners=False).

    Output pixel f * i + j depends on source pixels i - 1, i, i + 1 with weights that depend only on j, so each axis is
    f weighted sums of shifted copies.
    """
    if factor == 1:
        return x
    for axis in (1, 2):
        size = x.shape[axis]
        edges = [(1, 1) if a == axis else (0, 0) for a in range(4)]
        padded = jnp.pad(x, edges, mode="edge")
        before, here, after = (jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3))
        phases = []
        for j in range(factor):
            t = (j + 0.5) / factor - 0.5
            phases.append(here + (before - here) * -t if t < 0 else here + (after - here) * t)
        shape = list(x.shape)
        shape[axis] *= factor
        x = jnp.stack(phases, axis=axis + 1).reshape(shape)
    return x


def resize_bilinear(x: jax.Array, size: tuple[int, int], *, align_corners: bool = False) -> jax.Array:
    """[b h w c] -> [b *size c], bilinear, any factor, no anti-aliasing (as torch.nn.functional.interpolate).

    Args:
      x: feature maps.
      size: (height, width).
      align_corners: whether the centres of the corner pixels coincide, as in segmentation_models.pytorch; otherwise
        the corners of the images coincide.
    """
    if tuple(x.shape[1:3]) == tuple(size):
        return x
    return interpolate(x, size=tuple(size), align_corners=align_corners)


@operator
def interpolate(x: jax.Array, *, size: tuple[int, int], align_corners: bool) -> jax.Array:
    """The body of `resize_bilinear`."""
    factors = {new // old if new % old == 0 else 0 for old, new in zip(x.shape[1:3], size, strict=True)}
    # Each phase is compiled separately; for large factors that takes longer than it saves.
    if not align_corners and len(factors) == 1 and factors <= set(range(1, 9)):
        return upsample_bilinear(x, factors.pop())
    for axis, new in zip((1, 2), size, strict=True):
        matrix = jnp.asarray(_weights(x.shape[axis], new, align_corners=align_corners), x.dtype)
        x = jnp.einsum("oh,bhwc->bowc" if axis == 1 else "ow,bhwc->bhoc", matrix, x)
    return x


def _weights(old: int, new: int, *, align_corners: bool) -> Any:
    """float32 [new old]: the weight of every old pixel in each new one; computed in the program for symbolic sizes."""
    xp: Any = np if isinstance(old, int) and isinstance(new, int) else jnp
    # Positions are integers over a common denominator, so float32 represents them exactly.
    over = xp.maximum(new - 1, 1) if align_corners else 2 * new
    at = (
        xp.arange(new) * (old - 1)
        if align_corners
        else xp.clip((2 * xp.arange(new) + 1) * old - new, 0, over * (old - 1))
    )
    distance = abs(at[:, None] - over * xp.arange(old))
    return xp.maximum(1 - distance / over, 0).astype(xp.float32)
