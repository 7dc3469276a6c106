"""Our formulations of layers on CPU (models/layers.py) against XLA's own operations, forward and backward.

python -m benchmarks.layers

Prints milliseconds of both and their ratio, the best of several interleaved runs on batches of 4 x 128 x 128 x 64.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from seg_jax.runtime import process

if __name__ == "__main__":
    process.tune_malloc()

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.table import Row
from seg_jax.models import layers, resampling

SHAPE, TRIAL = (4, 128, 128, 64), (1, 16, 16, 16)
REPEATS = 7


def with_gradient(function: Callable[..., jax.Array]) -> Callable[..., tuple]:
    """A compiled function (cotangent, *arguments) -> (value, gradients of all arguments)."""

    def both(cotangent: jax.Array, *arguments: jax.Array) -> tuple:
        value, pull_back = jax.vjp(function, *arguments)
        return value, pull_back(cotangent)

    return jax.jit(both)


def convolution(groups: int = 1) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """XLA's convolution with symmetric padding."""

    def apply(x: jax.Array, kernel: jax.Array) -> jax.Array:
        pad = kernel.shape[0] // 2
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            ((pad, pad), (pad, pad)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    return apply


def cases(shape: tuple[int, int, int, int]) -> dict[str, tuple[Callable, Callable, tuple[jax.Array, ...]]]:
    """Operation -> (ours, XLA's own, arguments)."""
    x = jax.random.normal(jax.random.key(0), shape)
    c = shape[-1]
    point, depth, up, full = (
        jax.random.normal(jax.random.key(i), size)
        for i, size in enumerate(((1, 1, c, c), (3, 3, 1, c), (2, 2, c, c), (3, 3, c, c)))
    )

    def conv(kernel: int, groups: int = 1) -> Callable:
        module = layers.Conv(c, kernel, groups=groups)
        return lambda x, k: module.apply({"params": {"kernel": k}}, x)

    bias = jnp.zeros(c)
    transposed = nn.ConvTranspose(c, (2, 2), (2, 2))
    return {
        "1x1 convolution": (conv(1), convolution(), (x, point)),
        "3x3 convolution": (conv(3), convolution(), (x, full)),
        "depthwise 3x3": (conv(3, c), convolution(c), (x, depth)),
        "transposed 2x2": (
            lambda x, k: layers.UpConv(c).apply({"params": {"kernel": k, "bias": bias}}, x),
            lambda x, k: transposed.apply({"params": {"kernel": k, "bias": bias}}, x),
            (x, up),
        ),
        "max pool 2x2": (resampling.max_pool_2x2, lambda x: nn.max_pool(x, (2, 2), (2, 2)), (x,)),
        "max pool 3x3": (
            resampling.max_pool_3x3,
            lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
            (x,),
        ),
        "bilinear x2": (
            lambda x: resampling.upsample_bilinear(x, 2),
            lambda x: jax.image.resize(x, (shape[0], 2 * shape[1], 2 * shape[2], c), "bilinear"),
            (x,),
        ),
    }


def rows(*, quick: bool = False) -> Iterator[Row]:
    """Milliseconds of every operation; `quick` is a trial on small arrays."""
    for name, (ours, theirs, arguments) in cases(TRIAL if quick else SHAPE).items():
        cotangent = jnp.ones(jax.eval_shape(theirs, *arguments).shape)
        compiled = [with_gradient(f) for f in (ours, theirs)]
        best = [float("inf")] * 2
        for repeat in range(2 if quick else REPEATS + 1):
            for i, f in enumerate(compiled):
                begin = time.perf_counter()
                jax.block_until_ready(f(cotangent, *arguments))
                if repeat:  # the first one compiles
                    best[i] = min(best[i], time.perf_counter() - begin)
        yield Row("layers", name, 1e3 * best[0], 1e3 * best[1], "XLA's own operation", "ms")


def main() -> None:
    """Measures and prints."""
    for row in rows():
        print(row, flush=True)


if __name__ == "__main__":
    main()
