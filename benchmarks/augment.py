"""Augmented image pairs a second on this machine, against `jax.scipy.ndimage.map_coordinates` for the same maps.

python -m benchmarks.augment

Batches of 16 photographs of 480x360 with their labels; the best of several interleaved runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from seg_jax.runtime import process

if __name__ == "__main__":
    process.tune_malloc()

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from benchmarks.table import Row
from seg_jax.augment import Augmentation, make_augment
from seg_jax.augment.geometry import affine

BATCH, HEIGHT, WIDTH = 16, 360, 480
GEOMETRY = Augmentation(flip=0.5, scale=(0.5, 2.0), rotate=10.0, translate=0.1)
COLOR = Augmentation(
    flip=0.5, scale=(0.5, 2.0), rotate=10.0, translate=0.1, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05
)
# One more feature each, with the same geometry.
FEATURES: dict[str, dict[str, Any]] = {
    "blur": {"blur": 0.5},
    "noise": {"noise": 10.0},
    "randaugment": {"randaugment": (2, 9)},
    "cutmix and classmix": {"cutmix": 0.5, "classmix": 0.5},
}
REPEATS = 10
REFERENCE = "map_coordinates"


def reference(key: jax.Array, image: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same geometry, image bilinear and label nearest, by JAX's general resampler."""

    def one(i: jax.Array, image: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        geometry, _ = jax.random.split(jax.random.fold_in(key, i))
        matrix = affine(geometry, GEOMETRY, (HEIGHT, WIDTH), (HEIGHT, WIDTH))
        y, x = jnp.meshgrid(jnp.arange(HEIGHT), jnp.arange(WIDTH), indexing="ij")
        positions = [m[0] * y + m[1] * x + m[2] for m in matrix]
        channels = [map_coordinates(image[..., c].astype(jnp.float32), positions, 1) for c in range(3)]
        return jnp.stack(channels, -1), map_coordinates(label, positions, 0, cval=255)

    return jax.vmap(one)(jnp.arange(BATCH), image, label)


def rows(*, quick: bool = False) -> Iterator[Row]:
    """Pairs a second of every augmentation; `quick` is a trial of the first one."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (BATCH, HEIGHT, WIDTH, 3), np.uint8)
    label = rng.integers(0, 11, (BATCH, HEIGHT, WIDTH), np.uint8)
    groups = 1 if jax.default_backend() == "cpu" else BATCH
    features = {} if quick else {"geometry and colour": COLOR}
    features |= {} if quick else {f"geometry, {name}": replace(GEOMETRY, **fields) for name, fields in FEATURES.items()}
    contestants = {
        name: make_augment(feature, fill=(124, 116, 104), groups=groups)
        for name, feature in {"geometry": GEOMETRY, **features}.items()
    }
    compiled = {name: jax.jit(f) for name, f in {**contestants, REFERENCE: reference}.items()}
    best = dict.fromkeys(compiled, float("inf"))
    for repeat in range(2 if quick else REPEATS + 1):
        for name, f in compiled.items():
            begin = time.perf_counter()
            jax.block_until_ready(f(jax.random.key(repeat), image, label))
            if repeat:  # the first one compiles
                best[name] = min(best[name], time.perf_counter() - begin)
    for name in contestants:
        yield Row("augment", name, BATCH / best[name], BATCH / best[REFERENCE], f"geometry, {REFERENCE}", "pairs/s")


def main() -> None:
    """Measures and prints."""
    for row in rows():
        print(row)


if __name__ == "__main__":
    main()
