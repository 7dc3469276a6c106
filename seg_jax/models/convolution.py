"""Convolution with stride 1 and a gradient that XLA's CPU backend computes faster than JAX's own."""

from __future__ import annotations

import itertools
from functools import partial

import jax
import jax.numpy as jnp

Pads = tuple[tuple[int, int], tuple[int, int]]  # zeros (before, after) rows and columns

LANES = 16  # float32 numbers in a vector of AVX-512; a multiple of narrower vectors
PIECE, MAX_PIECES = 2048, 32  # pixels of a piece; more pieces take longer to compile


def convolve(x: jax.Array, kernel: jax.Array, around: Pads) -> jax.Array:
    """Convolves [b h w c] with [i j c d]: [b h' w' d], stride 1, with jax.lax.conv_general_dilated."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), around, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve_cpu(x: jax.Array, kernel: jax.Array, around: Pads) -> jax.Array:
    """`convolve`, with `kernel_gradient` for its backward pass."""
    return convolve(x, kernel, around)


def _forward(x: jax.Array, kernel: jax.Array, around: Pads) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(x, kernel, around), (x, kernel)


def _backward(around: Pads, residuals: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    # Sums over a number of channels that is not a multiple of four take more than twice as long.
    padding = [(0, 0)] * 3 + [(0, -dy.shape[-1] % 4)]
    padded = jnp.pad(kernel, padding)
    (dx,) = jax.linear_transpose(lambda x: convolve(x, padded, around), x)(jnp.pad(dy, padding))
    return dx, kernel_gradient(x, dy, around)


convolve_cpu.defvjp(_forward, _backward)


def kernel_gradient(x: jax.Array, dy: jax.Array, around: Pads) -> jax.Array:
    """The gradient of `convolve` with respect to its kernel, [i j c d].

    Args:
      x: input of the convolution, [b h w c].
      dy: gradient with respect to the output, [b h' w' d].
      around: zero padding of `x`.
    """
    (c, h, w), d = (x.shape[-1], *x.shape[1:3]), dy.shape[-1]
    # The channels of the second operand fill the lanes of the processor's vectors; the first is copied for every tap.
    if (c % LANES == 0, c) <= (d % LANES == 0, d):
        return _correlate(x, dy, around).transpose(1, 2, 0, 3)
    taps = [sum(pads) + n - m + 1 for pads, n, m in zip(around, (h, w), dy.shape[1:3], strict=True)]
    rows, columns = ((size - 1 - low, size - 1 - high) for size, (low, high) in zip(taps, around, strict=True))
    return _correlate(dy, x, (rows, columns))[:, ::-1, ::-1].transpose(1, 2, 3, 0)


def _correlate(a: jax.Array, b: jax.Array, around: Pads) -> jax.Array:
    """The sum over images and pixels p of a[p + (i, j)] b[p]: [c i j d] for `a` [n . . c] and `b` [n h w d].

    This is a convolution whose kernel is as large as the image. In pieces that fit into the cache it takes about half
    the time, unless all channels fit into one vector.
    """
    n, h, w, d = b.shape
    rows, columns = around
    a = jnp.pad(a, ((0, 0), rows, (0, 0), (0, 0)))
    reach = a.shape[1] - h
    pieces = 1 if d <= LANES else min(MAX_PIECES, -(-n * h * w // PIECE))
    images, bands = -(-n // pieces), min(h, -(-pieces // n))
    edges = [h * band // bands for band in range(bands + 1)]
    parts = [
        jax.lax.conv_general_dilated(
            a[first : first + images, top : end + reach],
            b[first : first + images, top:end],
            (1, 1),
            ((0, 0), columns),
            dimension_numbers=("CHWN", "IHWO", "NHWC"),
            preferred_element_type=jnp.float32,  # until the parts are summed
        )
        for first in range(0, n, images)
        for top, end in itertools.pairwise(edges)
    ]
    return sum(parts[1:], parts[0]).astype(a.dtype)
