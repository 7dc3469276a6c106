"""Attention over feature maps, in memory that does not grow with the square of their size."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from seg_jax.models.operators import exporting, on_cpu, operator


def attention(query: jax.Array, key: jax.Array, value: jax.Array, scale: float = 1.0) -> jax.Array:
    """softmax(scale * query key^T) value (Vaswani et al. 2017, equation 1), exactly.

    The weights of all queries at once would be n * m numbers for every head, 1 GB for a map of 128x128 pixels. They
    are computed for some queries at a time, and once more in the backward pass instead of being kept for it.
    jax.nn.dot_product_attention holds them all, unless cuDNN computes it.

    Args:
      query: [b n heads c].
      key: [b m heads c].
      value: [b m heads d].
      scale: c ** -0.5 in most networks.

    Returns:
      [b n heads d]; the softmax is float32, the products have the dtype of the arguments.
    """
    if exporting():  # of any size: how many fit into memory is not known
        energy = jnp.einsum("bnhc,bmhc->bhnm", query, key, preferred_element_type=jnp.float32)
        return jnp.einsum("bhnm,bmhd->bnhd", softmax(scale * energy).astype(value.dtype), value)
    b, m, heads, _ = key.shape

    @jax.checkpoint
    def of_one(query: jax.Array) -> jax.Array:
        energy = jnp.einsum("bhc,bmhc->bhm", query, key, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scale * energy).astype(value.dtype)
        return jnp.einsum("bhm,bmhd->bhd", weights, value)

    # Weights computed at a time, of 4 bytes: what stays in a processor's cache, or keeps an accelerator busy.
    block = 2**20 if on_cpu() else 2**26
    y = jax.lax.map(of_one, jnp.moveaxis(query, 1, 0), batch_size=max(block // (b * heads * m), 1))
    return jnp.moveaxis(y, 0, 1)


@operator
def softmax(x: jax.Array) -> jax.Array:
    """Over the last axis."""
    return jax.nn.softmax(x)
