"""What looks at the neighbours of a pixel, and noise: float32 [h w 3] in 0..255 -> the same."""

from __future__ import annotations

import functools
import math
import operator

import jax
import jax.numpy as jnp


def blur(image: jax.Array, sigma: jax.Array | float, *, radius: int) -> jax.Array:
    """Gaussian blur, a pass along each axis; beyond an edge the image is its mirror image about the edge's pixels.

    Args:
      image: float32 [h w 3] in 0..255.
      sigma: standard deviation in pixels, positive.
      radius: the weights exp(-d^2 / 2 sigma^2) are cut off beyond this distance d, and add up to 1.

    Returns:
      float32 [h w 3] in 0..255.
    """
    distance = jnp.arange(-radius, radius + 1)
    weights = jax.nn.softmax(-jnp.square(distance / sigma) / 2)
    for axis in (0, 1):
        size = image.shape[axis]
        padded = jnp.pad(image, [(radius, radius) if a == axis else (0, 0) for a in range(3)], mode="reflect")
        # Shifted multiply-adds: XLA makes one loop of them.
        shifted = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(2 * radius + 1)]
        image = functools.reduce(operator.add, map(operator.mul, weights, shifted))
    return jnp.minimum(image, 255)  # rounded weights may add up to a little more than 1


def random_blur(key: jax.Array, image: jax.Array, *, probability: float, sigma: tuple[float, float]) -> jax.Array:
    """Blurs with this probability, by a standard deviation drawn uniformly from the range `sigma`."""
    whether, how = jax.random.split(key)
    drawn = jax.random.uniform(how, minval=sigma[0], maxval=sigma[1])
    # The width is fixed, as shapes are; 3 standard deviations hold 99.7 % of the weight.
    radius = math.ceil(3 * sigma[1])
    return jax.lax.cond(
        jax.random.bernoulli(whether, probability), lambda: blur(image, drawn, radius=radius), lambda: image
    )


def random_noise(key: jax.Array, image: jax.Array, *, strength: float) -> jax.Array:
    """Adds Gaussian noise to every channel; its standard deviation is drawn uniformly from 0..strength levels."""
    how, noise = jax.random.split(key)
    deviation = jax.random.uniform(how, minval=0.0, maxval=strength)
    return jnp.clip(image + deviation * jax.random.normal(noise, image.shape), 0, 255)
