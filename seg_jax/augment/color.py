"""Colour jitter as one affine map of RGB: brightness, contrast, saturation and hue compose into a 3x3 matrix."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from seg_jax.config import AugmentConfig

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in PIL and torchvision


def color_map(key: jax.Array, spec: AugmentConfig, grey: float, *, channels: int = 3) -> tuple[jax.Array, jax.Array]:
    """Samples a colour change: (matrix float32 [c c], offset float32 []), rgb -> matrix @ rgb + offset.

    Brightness multiplies, contrast stretches about `grey`, saturation blends with the pixel's luma, hue rotates about
    the grey axis (Rodrigues' rotation about (1, 1, 1)); `spec.grayscale` is a saturation of 0. `grey` (0..255) is the
    data set's mean luma, not the image's: a mean over the image would need a second pass over its pixels.
    Bands that are no RGB (`channels` other than 3) have brightness and contrast alone.
    """
    keys = jax.random.split(key, 5)

    def factor(k: jax.Array, strength: float) -> jax.Array:
        return jax.random.uniform(k, minval=1 - strength, maxval=1 + strength)

    brightness, contrast, saturation = (
        factor(k, strength)
        for k, strength in zip(keys[:3], (spec.brightness, spec.contrast, spec.saturation), strict=True)
    )
    if channels != 3:
        return brightness * contrast * jnp.eye(channels), (1 - contrast) * grey
    if spec.grayscale:
        saturation = jnp.where(jax.random.bernoulli(keys[4], spec.grayscale), 0.0, saturation)
    luma = jnp.tile(jnp.array(LUMA), (3, 1))
    angle = 2 * math.pi * spec.hue * jax.random.uniform(keys[3], minval=-1.0, maxval=1.0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turn = cos * jnp.eye(3) + (1 - cos) / 3
    turn += sin / math.sqrt(3) * jnp.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    blend = saturation * jnp.eye(3) + (1 - saturation) * luma
    return brightness * contrast * (turn @ blend), (1 - contrast) * grey


def jitter(image: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
    """Applies a `color_map` to float32 [h w c] in 0..255; clipped to that range."""
    # Not a matrix product: XLA would compute it separately, at a quarter of the speed on CPU.
    mixed = sum(image[..., i : i + 1] * matrix[:, i] for i in range(image.shape[-1]))
    return jnp.clip(mixed + offset, 0, 255)
