"""Blur and noise: float32 [h w 3] in 0..255 -> float32 [h w 3] in 0..255."""

from __future__ import annotations

import functools
import math
import operator

import jax
import jax.numpy as jnp


def blur(image: jax.Array, sigma: jax.Array | float, *, radius: int) -> jax.Array:
    """Gaussian blur, one pass along each axis; edges are padded by reflection.

    Args:
      image: float32 [h w 3] in 0..255.
      sigma: standard deviation in pixels, positive.
      radius: distance d in pixels beyond which the weights exp(-d^2 / 2 sigma^2) are cut off; the rest are normalised.

    Returns:
      float32 [h w 3] in 0..255.
    """
    distance = jnp.arange(-radius, radius + 1)
    weights = jax.nn.softmax(-jnp.square(distance / sigma) / 2)
    for axis in (0, 1):
        size = image.shape[axis]
        padded = jnp.pad(image, [(radius, radius) if a == axis else (0, 0) for a in range(3)], mode="reflect")
        # Shifted multiply-adds: XLA fuses them into one loop.
        shifted = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(2 * radius + 1)]
        image = functools.reduce(operator.add, map(operator.mul, weights, shifted))
    return jnp.minimum(image, 255)  # rounded weights may add up to a little more than 1


def random_blur(key: jax.Array, image: jax.Array, *, probability: float, sigma: tuple[float, float]) -> jax.Array:
    """Blurs with this probability; the standard deviation (pixels) is uniform in the range `sigma`."""
    key_blur, key_sigma = jax.random.split(key)
    sampled = jax.random.uniform(key_sigma, minval=sigma[0], maxval=sigma[1])
    # The width is static, as all shapes are; 3 standard deviations contain 99.7 % of the weight.
    radius = math.ceil(3 * sigma[1])
    return jax.lax.cond(
        jax.random.bernoulli(key_blur, probability), lambda: blur(image, sampled, radius=radius), lambda: image
    )


def random_noise(key: jax.Array, image: jax.Array, *, strength: float) -> jax.Array:
    """Adds Gaussian noise to every channel; its standard deviation is uniform in 0..strength levels."""
    key_sigma, key_noise = jax.random.split(key)
    deviation = jax.random.uniform(key_sigma, minval=0.0, maxval=strength)
    return jnp.clip(image + deviation * jax.random.normal(key_noise, image.shape), 0, 255)
