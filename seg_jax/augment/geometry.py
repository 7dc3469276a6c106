"""Geometric augmentation as one resampling under an affine map from output to source pixels.

Flip, scale, rotation, shear, translation and crop compose into one map, so the image is interpolated once (bilinear)
and the label once (nearest neighbour; outside the image = ignore).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seg_jax.config import AugmentConfig
from seg_jax.data.labels import ignored_in


class Choice(NamedTuple):
    """How a crop is positioned, where that is not left to the first draw.

    Attributes:
      attempt: int32, the number of the draw of its position; 0: the first.
      centre: float32 [2], the (y, x) of the source that it is centred on, as far as it stays where it could be drawn;
        NaN: a random one.
    """

    attempt: jax.Array | np.int32
    centre: jax.Array | np.ndarray


def affine(
    key: jax.Array,
    spec: AugmentConfig,
    source: tuple[int, int] | jax.Array,
    output: tuple[int, int],
    choice: Choice | None = None,
) -> jax.Array:
    """Samples the map from output to source pixels: float32 [2 3], (y, x, 1) -> (y, x), pixel centres at integers.

    The crop's position is random: inside the scaled image along an axis where the image is larger than the output,
    around it where the image is smaller.
    """
    keys = jax.random.split(key, 7)
    low, high = (math.log(s) for s in spec.scale)
    scale = jnp.exp(jax.random.uniform(keys[0], minval=low, maxval=high))
    angle = jax.random.uniform(keys[1], minval=-1.0, maxval=1.0) * math.radians(spec.rotate)
    mirror = jnp.where(jax.random.bernoulli(keys[2], spec.flip), -1.0, 1.0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    linear = jnp.array([[cos, sin * mirror], [-sin, cos * mirror]]) / scale
    if spec.vertical_flip:
        linear *= jnp.where(jax.random.bernoulli(keys[5], spec.vertical_flip), jnp.array([-1.0, 1.0]), 1.0)
    if spec.shear:
        slant = jnp.tan(math.radians(spec.shear) * jax.random.uniform(keys[6], minval=-1.0, maxval=1.0))
        linear = linear.at[:, 0].add(slant * linear[:, 1])  # x of the output grows with its y
    size_in, size_out = jnp.array(source, jnp.float32), jnp.array(output, jnp.float32)
    slack = jnp.abs(scale * size_in - size_out) / 2
    position = keys[3]
    if choice is not None:
        position = jnp.where(choice.attempt > 0, jax.random.fold_in(position, choice.attempt), position)
    shift = slack * jax.random.uniform(position, (2,), minval=-1.0, maxval=1.0)
    shift += spec.translate * size_out * jax.random.uniform(keys[4], (2,), minval=-1.0, maxval=1.0)
    centre_in, centre_out = (size_in - 1) / 2, (size_out - 1) / 2
    if choice is not None:
        (a, b), (c, d) = linear
        inverse = jnp.array([[d, -b], [-c, a]]) / (a * d - b * c)
        wanted = jnp.clip(inverse @ (choice.centre - centre_in), -slack, slack)
        shift = jnp.where(jnp.isnan(choice.centre), shift, wanted)
    # In whole pixels, so that a crop without scaling or rotation is a copy and not a blur.
    offset = jnp.round(centre_in + linear @ (shift - centre_out))
    return jnp.concatenate([linear, offset[:, None]], axis=1)


def warp(
    image: jax.Array,
    label: jax.Array,
    matrix: jax.Array,
    output: tuple[int, int],
    fill: tuple[float, ...],
    *,
    inside: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Resamples an image bilinearly and its label by nearest neighbour under one affine map.

    Args:
      image: [h w c] in 0..255.
      label: [h w].
      matrix: float32 [2 3] from output to source pixels, see `affine`.
      output: (height, width) of the result.
      fill: colour (0..255) outside the source, [c]; the label there is ignored.
      inside: float32 [2 2], the first and last position that belong to the source, along y and x; None: all of the
        array, with half a pixel around the outermost centres.

    Returns:
      float32 [oh ow c] in 0..255, label [oh ow]. No label value is invented.
    """
    (h, w), (oh, ow) = image.shape[:2], output
    row, column = jnp.arange(oh, dtype=jnp.float32)[:, None], jnp.arange(ow, dtype=jnp.float32)
    y = matrix[0, 0] * row + matrix[0, 1] * column + matrix[0, 2]
    x = matrix[1, 0] * row + matrix[1, 1] * column + matrix[1, 2]
    # Coordinates in the framed image.
    y, x = (
        _framed(position, size, None if inside is None else inside[axis])
        for axis, (position, size) in enumerate(((y, h), (x, w)))
    )
    is_bytes = image.dtype == label.dtype == jnp.uint8 and image.shape[-1] == 3
    return (_of_words if is_bytes else _of_planes)(image, label, y, x, fill)


def _of_words(
    image: jax.Array, label: jax.Array, y: jax.Array, x: jax.Array, fill: tuple[float, ...]
) -> tuple[jax.Array, jax.Array]:
    """Image and label at coordinates (y, x) of the framed image, for RGB and labels in bytes."""
    # A pixel's colour and label are packed into one 32-bit word; a frame of one pixel of fill surrounds the image.
    channels = (image[..., 0], image[..., 1], image[..., 2], label)
    packed = sum(channel.astype(jnp.uint32) << 8 * i for i, channel in enumerate(channels))
    words = jnp.pad(packed, 1, constant_values=_word(fill, ignored_in(label))).reshape(-1)
    # Four copies, shifted to the right, lower and diagonal neighbour, so that one gather reads all that bilinear
    # interpolation needs; one gather for each neighbour takes a third longer on CPU.
    stride = image.shape[1] + 2
    squares = jnp.stack([words[: -stride - 1], words[1:-stride], words[stride:-1], words[stride + 1 :]], axis=-1)
    y0, x0 = y.astype(jnp.int32), x.astype(jnp.int32)
    fy, fx = y - y0, x - x0
    # Unsigned, or the gather would also handle negative indices.
    square = squares.at[(y0 * stride + x0).astype(jnp.uint32)].get(mode="promise_in_bounds")
    corners = [square[..., i] for i in range(4)]

    def channel(i: int) -> jax.Array:
        a, b, c, d = ((corner >> 8 * i & 255).astype(jnp.float32) for corner in corners)
        top, bottom = a + (b - a) * fx, c + (d - c) * fx
        return top + (bottom - top) * fy

    a, b, c, d = corners
    nearest = jnp.where(fy < 0.5, jnp.where(fx < 0.5, a, b), jnp.where(fx < 0.5, c, d))
    return jnp.stack([channel(i) for i in range(3)], axis=-1), (nearest >> 24).astype(jnp.uint8)


def _of_planes(
    image: jax.Array, label: jax.Array, y: jax.Array, x: jax.Array, fill: tuple[float, ...]
) -> tuple[jax.Array, jax.Array]:
    """The same for images of any type and number of channels, and labels of any type."""
    (h, w, channels), stride = image.shape, image.shape[1] + 2
    frame = jnp.broadcast_to(jnp.array(fill, jnp.float32), (h + 2, w + 2, channels))
    pixels = frame.at[1:-1, 1:-1].set(image.astype(jnp.float32)).reshape(-1, channels)
    ids = jnp.pad(label, 1, constant_values=ignored_in(label)).reshape(-1)
    y0, x0 = y.astype(jnp.int32), x.astype(jnp.int32)
    fy, fx = y - y0, x - x0

    def at(array: jax.Array, rows: Any, columns: Any) -> jax.Array:
        index = (y0 + rows) * stride + x0 + columns
        return array.at[index.astype(jnp.uint32)].get(mode="promise_in_bounds")

    nearest = at(ids, (fy >= 0.5).astype(jnp.int32), (fx >= 0.5).astype(jnp.int32))
    fy, fx = fy[..., None], fx[..., None]
    a, b, c, d = (at(pixels, rows, columns) for rows in (0, 1) for columns in (0, 1))
    top, bottom = a + (b - a) * fx, c + (d - c) * fx
    return top + (bottom - top) * fy, nearest


def _framed(position: jax.Array, size: int, ends: jax.Array | None) -> jax.Array:
    """Coordinates along an axis of `size` pixels -> coordinates in the framed image; 0, the frame, if outside."""
    if ends is None:
        inside = jnp.abs(position - (size - 1) / 2) <= size / 2
    else:
        inside = (position >= ends[0]) & (position <= ends[1])
    return jnp.where(inside, jnp.clip(position, 0, size - 1) + 1, 0)


def _word(color: tuple[float, ...], label: int) -> jax.Array:
    """The colour and label of one pixel in 32 bits."""
    red, green, blue = map(int, color)
    return jnp.uint32(red | green << 8 | blue << 16 | label << 24)


def compose(outer: jax.Array, inner: jax.Array) -> jax.Array:
    """`inner` first, then `outer`: float32 [2 3] and [3 3] -> [2 3], for maps of (y, x, 1)."""
    return jnp.matmul(outer, inner, precision="highest")
