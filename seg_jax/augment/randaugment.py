"""RandAugment for segmentation: a few operations out of fourteen, all of one magnitude.

Cubuk et al. 2020, RandAugment, with the operations of its section 4. Their ranges are those of Cubuk et al. 2019,
AutoAugment, table 6, read so that 0 changes nothing and 10 changes most, as timm's "increasing" operations and
torchvision do. Each strength is a level in [-1, 1]: the magnitude divided by 10, to a random side.

Geometric operations become a map for the one resampling, about the centre of the image; they reach the label too.
Photometric operations follow, in the order in which they were drawn, on whole levels as in PIL.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from seg_jax.augment.colour import LUMA
from seg_jax.config import Size


def _about_centre(linear: list[list[jax.Array | float]], size: Size) -> jax.Array:
    """A linear map of (y, x) about the centre of an image -> float32 [3 3] for (y, x, 1)."""
    matrix = jnp.array(linear, jnp.float32)
    y, x = (size[0] - 1) / 2, (size[1] - 1) / 2
    offset = jnp.array([y, x]) - (matrix[:, 0] * y + matrix[:, 1] * x)
    return jnp.eye(3).at[:2, :2].set(matrix).at[:2, 2].set(offset)


def _identity(level: jax.Array, size: Size) -> jax.Array:
    return jnp.eye(3)


def _shear_x(level: jax.Array, size: Size) -> jax.Array:
    return _about_centre([[1.0, 0.0], [0.3 * level, 1.0]], size)


def _shear_y(level: jax.Array, size: Size) -> jax.Array:
    return _about_centre([[1.0, 0.3 * level], [0.0, 1.0]], size)


# By up to 150 pixels of the paper's 331; in whole ones, so that this alone is a copy and not a blur.
def _translate_x(level: jax.Array, size: Size) -> jax.Array:
    return jnp.eye(3).at[1, 2].set(jnp.round(150 / 331 * level * size[1]))


def _translate_y(level: jax.Array, size: Size) -> jax.Array:
    return jnp.eye(3).at[0, 2].set(jnp.round(150 / 331 * level * size[0]))


def _rotate(level: jax.Array, size: Size) -> jax.Array:
    angle = math.radians(30) * level
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _about_centre([[cos, sin], [-sin, cos]], size)


# (level, size of the image) -> float32 [3 3], from (y, x, 1) of the result to that of the image before it.
GEOMETRIC: dict[str, Callable[[jax.Array, Size], jax.Array]] = {
    "identity": _identity,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
}


def _blend(plain: jax.Array | float, image: jax.Array, level: jax.Array) -> jax.Array:
    """Away from (level > 0) or towards (< 0) a plainer image, by up to 0.9 of their difference."""
    return _bytes(plain + (1 + 0.9 * level) * (image.astype(jnp.float32) - plain))


def _bytes(image: jax.Array) -> jax.Array:
    return jnp.clip(jnp.round(image), 0, 255).astype(jnp.uint8)


def _luma(image: jax.Array) -> jax.Array:
    """uint8 [h w 3] -> float32 [h w 1]."""
    return sum(image[..., i : i + 1] * jnp.float32(share) for i, share in enumerate(LUMA))


def _brightness(image: jax.Array, level: jax.Array) -> jax.Array:
    return _blend(0.0, image, level)


def _color(image: jax.Array, level: jax.Array) -> jax.Array:
    return _blend(_luma(image), image, level)


def _contrast(image: jax.Array, level: jax.Array) -> jax.Array:
    return _blend(jnp.mean(_luma(image)), image, level)


def _sharpness(image: jax.Array, level: jax.Array) -> jax.Array:
    # The plainer image is PIL's ImageFilter.SMOOTH: a centre of 5/13, each neighbour 1/13, the outermost pixels as are.
    h, w = image.shape[:2]
    whole = image.astype(jnp.float32)
    around = sum(whole[y : h - 2 + y, x : w - 2 + x] for y in range(3) for x in range(3))
    smooth = whole.at[1:-1, 1:-1].set((around + 4 * whole[1:-1, 1:-1]) / 13)
    return _blend(smooth, image, level)


def _posterize(image: jax.Array, level: jax.Array) -> jax.Array:
    cleared = jnp.round(4 * jnp.abs(level)).astype(jnp.uint8)  # of the 8 bits of a channel, the lowest ones
    return image >> cleared << cleared


def _solarize(image: jax.Array, level: jax.Array) -> jax.Array:
    threshold = 256 - jnp.floor(256 * jnp.abs(level))
    return jnp.where(image < threshold, image, 255 - image)


def _autocontrast(image: jax.Array, level: jax.Array) -> jax.Array:
    """The darkest level of each channel becomes 0, the lightest 255."""
    whole = image.astype(jnp.int32)
    low, high = (whole.min((0, 1)), whole.max((0, 1)))
    stretched = 255 * (whole - low) // jnp.maximum(high - low, 1)
    return jnp.where(high > low, stretched, whole).astype(jnp.uint8)


def _equalize(image: jax.Array, level: jax.Array) -> jax.Array:
    """Levels of each channel become about equally frequent, as PIL.ImageOps.equalize makes them."""
    channel, levels = jnp.arange(3), jnp.arange(256)
    count = jnp.zeros((3, 256), jnp.int32).at[channel, image].add(1)
    lightest = jnp.max(jnp.where(count > 0, levels, 0), 1, keepdims=True)
    pixels = image.shape[0] * image.shape[1]
    # So many pixels for each level; the lightest one has its place at 255 whatever its number.
    step = (pixels - jnp.take_along_axis(count, lightest, 1)) // 255
    darker = jnp.cumsum(count, 1) - count
    table = jnp.minimum((step // 2 + darker) // jnp.maximum(step, 1), 255)
    return jnp.where(step > 0, table, levels)[channel, image].astype(jnp.uint8)


# (uint8 [h w 3], level) -> uint8 [h w 3].
PHOTOMETRIC: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "brightness": _brightness,
    "color": _color,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}


def draw(key: jax.Array, count: int, magnitude: float) -> tuple[jax.Array, jax.Array]:
    """Draws with replacement: (which int32 [count], level float32 [count]); GEOMETRIC first, then PHOTOMETRIC."""
    operation, side = jax.random.split(key)
    which = jax.random.randint(operation, (count,), 0, len(GEOMETRIC) + len(PHOTOMETRIC))
    return which, magnitude / 10 * jax.random.rademacher(side, (count,), jnp.float32)


def geometry(which: jax.Array, level: jax.Array, size: Size) -> jax.Array:
    """The geometric operations among those drawn as one map: float32 [3 3], from output (y, x, 1) to input."""
    maps = []
    for i in range(which.shape[0]):
        choices = jnp.stack([make(level[i], size) for make in GEOMETRIC.values()])
        maps.append(choices[jnp.where(which[i] < len(GEOMETRIC), which[i], 0)])
    return functools.reduce(functools.partial(jnp.matmul, precision="highest"), maps)


def recolour(image: jax.Array, which: jax.Array, level: jax.Array) -> jax.Array:
    """Applies the photometric operations among those drawn, one after the other.

    Args:
      image: float32 [h w 3] in 0..255, rounded to whole levels here.
      which, level: see `draw`.

    Returns:
      float32 [h w 3], whole levels in 0..255.
    """
    operations = [lambda image, level: image, *PHOTOMETRIC.values()]

    def apply(image: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        which, level = drawn
        return jax.lax.switch(jnp.maximum(which - len(GEOMETRIC) + 1, 0), operations, image, level), None

    image, _ = jax.lax.scan(apply, _bytes(image), (which, level))
    return image.astype(jnp.float32)
