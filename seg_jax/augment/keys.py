"""The keys of all randomness in a training step, which host and devices derive alike."""

from __future__ import annotations

import jax


def of_step(seed: jax.Array | int, step: jax.Array | int) -> tuple[jax.Array, jax.Array]:
    """(key of the augmentation, key of dropout) of one training step."""
    augment_key, dropout_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
    return augment_key, dropout_key


def of_example(key: jax.Array, i: jax.Array | int) -> jax.Array:
    """Six keys, one for each use of randomness, of example `i` in the global batch; `key` is the augmentation's."""
    return jax.random.split(jax.random.fold_in(key, i), 6)
