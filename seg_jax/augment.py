"""Augmentation on the device: all geometry in one resampling, all colour in one 3x3 matrix.

Flip, scale, rotation, translation and crop compose into one affine map from output to source pixels, so that
the image is interpolated once (bilinear) and the label once (nearest; outside the image = ignore). Brightness,
contrast, saturation and hue are affine maps of RGB and compose likewise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from seg_jax.config import Config
from seg_jax.data.labels import IGNORE

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in PIL and torchvision


@dataclass(frozen=True)
class Augmentation:
    """What is drawn for each example; the defaults change nothing.

    Attributes:
      crop: output (height, width); (0, 0) keeps the size of the source.
      flip: probability of a horizontal flip.
      scale: range of the zoom factor, drawn uniformly in its logarithm.
      rotate: largest rotation to either side, in degrees.
      translate: largest shift to either side, as a share of the output size.
      brightness, contrast, saturation: factors are drawn from [1 - x, 1 + x], see `colour_map`.
      hue: largest rotation of the hue to either side, as a share of the full circle.
    """

    crop: tuple[int, int] = (0, 0)
    flip: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    rotate: float = 0.0
    translate: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0


def affine(key: jax.Array, spec: Augmentation, source: tuple[int, int], output: tuple[int, int]) -> jax.Array:
    """Draws the map from output to source pixels: float32 [2 3], (y, x, 1) -> (y, x), pixel centres at integers.

    The window that is cut out lies at a random place: inside the scaled image along an axis where that is
    larger than the output, around it where it is smaller.
    """
    keys = jax.random.split(key, 5)
    low, high = (math.log(s) for s in spec.scale)
    scale = jnp.exp(jax.random.uniform(keys[0], minval=low, maxval=high))
    angle = jax.random.uniform(keys[1], minval=-1.0, maxval=1.0) * math.radians(spec.rotate)
    mirror = jnp.where(jax.random.bernoulli(keys[2], spec.flip), -1.0, 1.0)
    size_in, size_out = jnp.array(source, jnp.float32), jnp.array(output, jnp.float32)
    slack = jnp.abs(scale * size_in - size_out) / 2
    shift = slack * jax.random.uniform(keys[3], (2,), minval=-1.0, maxval=1.0)
    shift += spec.translate * size_out * jax.random.uniform(keys[4], (2,), minval=-1.0, maxval=1.0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    linear = jnp.array([[cos, sin * mirror], [-sin, cos * mirror]]) / scale
    centre_in, centre_out = (size_in - 1) / 2, (size_out - 1) / 2
    # In whole pixels, so that a crop without scaling or rotation is a copy and not a blur.
    offset = jnp.round(centre_in + linear @ (shift - centre_out))
    return jnp.concatenate([linear, offset[:, None]], axis=1)


def warp(
    image: jax.Array, label: jax.Array, matrix: jax.Array, output: tuple[int, int], fill: tuple[int, int, int]
) -> tuple[jax.Array, jax.Array]:
    """Resamples an image bilinearly and its label by nearest neighbour under one affine map.

    Args:
      image: uint8 [h w 3].
      label: uint8 [h w].
      matrix: float32 [2 3] from output to source pixels, see `affine`.
      output: (height, width) of the result.
      fill: colour outside of the source; the label there is 255.

    Returns:
      float32 [oh ow 3] in 0..255, uint8 [oh ow]. No label value is invented.
    """
    (h, w), (oh, ow) = image.shape[:2], output
    # Colour and label of a pixel travel as one 32-bit word, framed by one pixel of fill.
    channels = (image[..., 0], image[..., 1], image[..., 2], label)
    packed = sum(channel.astype(jnp.uint32) << 8 * i for i, channel in enumerate(channels))
    words = jnp.pad(packed, 1, constant_values=_word(*fill, IGNORE)).reshape(-1)
    # A pixel lies beside its right, lower and diagonal neighbour, so that one gather serves image and label; one
    # gather for each neighbour takes more than twice as long on CPU.
    stride = w + 2
    squares = jnp.stack([words[: -stride - 1], words[1:-stride], words[stride:-1], words[stride + 1 :]], axis=-1)

    row, column = jnp.arange(oh, dtype=jnp.float32)[:, None], jnp.arange(ow, dtype=jnp.float32)
    y = matrix[0, 0] * row + matrix[0, 1] * column + matrix[0, 2]
    x = matrix[1, 0] * row + matrix[1, 1] * column + matrix[1, 2]
    # In the framed image. Half a pixel around the outermost centres still belongs to the image.
    y, x = _framed(y, h), _framed(x, w)
    y0, x0 = y.astype(jnp.int32), x.astype(jnp.int32)
    fy, fx = y - y0, x - x0
    square = squares.at[y0 * stride + x0].get(mode="promise_in_bounds")
    # [oh ow 4 4]: the pixel of the square; its red, green, blue and label.
    pixels = jax.lax.bitcast_convert_type(square, jnp.uint8)

    a, b, c, d = (pixels[..., i, :3].astype(jnp.float32) for i in range(4))
    top, bottom = a + (b - a) * fx[..., None], c + (d - c) * fx[..., None]
    colour = top + (bottom - top) * fy[..., None]
    a, b, c, d = (pixels[..., i, 3] for i in range(4))
    nearest = jnp.where(fy < 0.5, jnp.where(fx < 0.5, a, b), jnp.where(fx < 0.5, c, d))
    return colour, nearest


def _framed(position: jax.Array, size: int) -> jax.Array:
    """Coordinates along an axis of `size` pixels -> the same behind a frame of one pixel; 0, the frame, if outside."""
    inside = jnp.abs(position - (size - 1) / 2) <= size / 2
    return jnp.where(inside, jnp.clip(position, 0, size - 1) + 1, 0)


def _word(red: int, green: int, blue: int, label: int) -> jax.Array:
    """Colour and label of one pixel in 32 bits."""
    return jnp.uint32(red | green << 8 | blue << 16 | label << 24)


def colour_map(key: jax.Array, spec: Augmentation, grey: float) -> tuple[jax.Array, jax.Array]:
    """Draws the change of colours: (matrix float32 [3 3], offset float32 []), rgb -> matrix @ rgb + offset.

    Brightness multiplies, contrast stretches about `grey`, saturation blends with the pixel's luma, hue turns about
    the grey axis (Rodrigues' rotation about (1, 1, 1)). `grey` is of the data set, not of the image: a mean over the
    image would need a second pass over its pixels.
    """
    keys = jax.random.split(key, 4)

    def factor(k: jax.Array, strength: float) -> jax.Array:
        return jax.random.uniform(k, minval=1 - strength, maxval=1 + strength)

    brightness, contrast, saturation = (
        factor(k, strength)
        for k, strength in zip(keys[:3], (spec.brightness, spec.contrast, spec.saturation), strict=True)
    )
    luma = jnp.tile(jnp.array(LUMA), (3, 1))
    angle = 2 * math.pi * spec.hue * jax.random.uniform(keys[3], minval=-1.0, maxval=1.0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turn = cos * jnp.eye(3) + (1 - cos) / 3
    turn += sin / math.sqrt(3) * jnp.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    blend = saturation * jnp.eye(3) + (1 - saturation) * luma
    return brightness * contrast * (turn @ blend), (1 - contrast) * grey


def jitter(image: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
    """Applies a `colour_map` to float32 [h w 3] in 0..255; clipped to that range."""
    # Not a matrix product: XLA would compute that apart, at a quarter of the speed on CPU.
    mixed = sum(image[..., i : i + 1] * matrix[:, i] for i in range(3))
    return jnp.clip(mixed + offset, 0, 255)


def make_augment(
    spec: Augmentation, *, fill: tuple[int, int, int], groups: int
) -> Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Builds augment(key, image, label) for batches.

    Args:
      spec: what to draw.
      fill: colour outside of the source image, such as the mean that is subtracted later.
      groups: the batch is cut into this many groups, worked on at once; inside a group one example follows
        the other. One group for each CPU device keeps an example in the processor's cache (faster than the whole
        batch at once); on accelerators use the batch size.

    Returns:
      A function of (key, uint8 [b h w 3], uint8 [b h w]) that gives (float32 [b ch cw 3] in 0..255,
      uint8 [b ch cw]). Example i draws from fold_in(key, i) whatever the grouping or the number of devices.
    """
    grey = sum(share * value for share, value in zip(LUMA, fill, strict=True))
    colours = any((spec.brightness, spec.contrast, spec.saturation, spec.hue))

    def one(args: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        key, image, label = args
        geometry, colour = jax.random.split(key)
        source = (image.shape[0], image.shape[1])
        output = spec.crop if all(spec.crop) else source
        image, label = warp(image, label, affine(geometry, spec, source, output), output, fill)
        return (jitter(image, *colour_map(colour, spec, grey)) if colours else image), label

    def augment(key: jax.Array, image: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        b = image.shape[0]
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(b))
        grouped = jax.tree.map(lambda a: a.reshape(groups, b // groups, *a.shape[1:]), (keys, image, label))
        result = jax.vmap(lambda group: jax.lax.map(one, group))(grouped)
        return jax.tree.map(lambda a: a.reshape(b, *a.shape[2:]), result)

    return augment


def build(
    augment: Config, *, mean: tuple[float, ...], groups: int
) -> Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """The augmentation that `config.augment` describes; `mean` (0..1) fills what lies outside of an image."""
    fields = augment.to_dict()
    spec = Augmentation(**{**fields, "crop": tuple(fields["crop"]), "scale": tuple(fields["scale"])})
    red, green, blue = (round(255 * m) for m in mean)
    return make_augment(spec, fill=(red, green, blue), groups=groups)
