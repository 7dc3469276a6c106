"""RandAugment for segmentation: a few of fourteen operations, all of one magnitude.

Cubuk et al. 2020, RandAugment, with the operations of its section 4. Their ranges are those of Cubuk et al. 2019,
AutoAugment, table 6, read so that 0 changes nothing and 10 changes most, as timm's "increasing" operations and
torchvision do. Each operation gets a level in [-1, 1]: the magnitude divided by 10, with a random sign.

Geometric operations become a map about the image's centre for the one resampling; they move the label too.
Photometric operations follow in the order in which they were sampled, on integer levels as in PIL.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from seg_jax.augment.color import LUMA
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


# By up to 150 pixels of the paper's 331, rounded to whole pixels: a translation alone copies and does not blur.
def _translate_x(level: jax.Array, size: Size) -> jax.Array:
    return jnp.eye(3).at[1, 2].set(jnp.round(150 / 331 * level * size[1]))


def _translate_y(level: jax.Array, size: Size) -> jax.Array:
    return jnp.eye(3).at[0, 2].set(jnp.round(150 / 331 * level * size[0]))


def _rotate(level: jax.Array, size: Size) -> jax.Array:
    angle = math.radians(30) * level
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _about_centre([[cos, sin], [-sin, cos]], size)


# (level, image size) -> float32 [3 3], from (y, x, 1) of the result to (y, x, 1) of the input.
GEOMETRIC: dict[str, Callable[[jax.Array, Size], jax.Array]] = {
    "identity": _identity,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
}


def _blend(plain: jax.Array | float, image: jax.Array, level: jax.Array) -> jax.Array:
    """The image, moved away from (level > 0) or towards (< 0) a plainer one by up to 0.9 of their difference."""
    return _bytes(plain + (1 + 0.9 * level) * (image.astype(jnp.float32) - plain))


def _bytes(image: jax.Array) -> jax.Array:
    return jnp.clip(jnp.round(image), 0, 255).astype(jnp.uint8)


def _luma(image: jax.Array) -> jax.Array:
    """uint8 [h w 3] -> float32 [h w 1]."""
    red, green, blue = (image[..., i : i + 1] * jnp.float32(share) for i, share in enumerate(LUMA))
    return red + green + blue


def _brightness(image: jax.Array, level: jax.Array) -> jax.Array:
    return _blend(0.0, image, level)


def _color(image: jax.Array, level: jax.Array) -> jax.Array:
    return _blend(_luma(image), image, level)


def _contrast(image: jax.Array, level: jax.Array) -> jax.Array:
    return _blend(jnp.mean(_luma(image)), image, level)


def _sharpness(image: jax.Array, level: jax.Array) -> jax.Array:
    # The plainer image is PIL's ImageFilter.SMOOTH: centre 5/13, each neighbour 1/13, outermost pixels unchanged.
    h, w = image.shape[:2]
    whole = image.astype(jnp.float32)
    around = sum(whole[y : h - 2 + y, x : w - 2 + x] for y in range(3) for x in range(3))
    smooth = whole.at[1:-1, 1:-1].set((around + 4 * whole[1:-1, 1:-1]) / 13)
    return _blend(smooth, image, level)


def _posterize(image: jax.Array, level: jax.Array) -> jax.Array:
    cleared = jnp.round(4 * jnp.abs(level)).astype(jnp.uint8)  # number of low bits set to 0
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
    """Equalizes the histogram of each channel, as PIL.ImageOps.equalize does."""
    channel, levels = jnp.arange(3), jnp.arange(256)
    count = jnp.zeros((3, 256), jnp.int32).at[channel, image].add(1)
    lightest = jnp.max(jnp.where(count > 0, levels, 0), 1, keepdims=True)
    pixels = image.shape[0] * image.shape[1]
    # Pixels for each level; the lightest level maps to 255 whatever its count.
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


def sample(key: jax.Array, count: int, magnitude: float) -> tuple[jax.Array, jax.Array]:
    """Samples `count` operations with replacement: (operation int32 [count], level float32 [count] in -1..1).

    Operations are numbered through `GEOMETRIC`, then `PHOTOMETRIC`.
    """
    key_operation, key_sign = jax.random.split(key)
    operation = jax.random.randint(key_operation, (count,), 0, len(GEOMETRIC) + len(PHOTOMETRIC))
    return operation, magnitude / 10 * jax.random.rademacher(key_sign, (count,), jnp.float32)


def geometry(operation: jax.Array, level: jax.Array, size: Size) -> jax.Array:
    """The sampled geometric operations as one map: float32 [3 3], from output (y, x, 1) to input."""
    maps = []
    for i in range(operation.shape[0]):
        choices = jnp.stack([make(level[i], size) for make in GEOMETRIC.values()])
        maps.append(choices[jnp.where(operation[i] < len(GEOMETRIC), operation[i], 0)])
    return functools.reduce(functools.partial(jnp.matmul, precision="highest"), maps)


def recolor(image: jax.Array, operation: jax.Array, level: jax.Array) -> jax.Array:
    """Applies the sampled photometric operations in order.

    Args:
      image: float32 [h w 3] in 0..255, rounded to integer levels here.
      operation, level: see `sample`.

    Returns:
      float32 [h w 3], integer levels in 0..255.
    """
    functions = [lambda image, level: image, *PHOTOMETRIC.values()]

    def apply(image: jax.Array, sampled: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        operation, level = sampled
        return jax.lax.switch(jnp.maximum(operation - len(GEOMETRIC) + 1, 0), functions, image, level), None

    image, _ = jax.lax.scan(apply, _bytes(image), (operation, level))
    return image.astype(jnp.float32)
