"""Attention over feature maps, with memory that does not grow with the square of their size."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from seg_jax.models.operators import exporting, on_cpu, operator


def attention(query: jax.Array, key: jax.Array, value: jax.Array, scale: float = 1.0) -> jax.Array:
    """softmax(scale * query key^T) value (Vaswani et al. 2017, equation 1), exactly.

    The weights of all queries at once would be n * m numbers for every head, 1 GB for a map of 128x128 pixels.
    Therefore they are computed for some queries at a time, and recomputed in the backward pass instead of being stored.
    jax.nn.dot_product_attention stores them all, unless cuDNN computes it.

    Args:
      query: [b n heads c].
      key: [b m heads c].
      value: [b m heads d].
      scale: c ** -0.5 in most networks.

    Returns:
      [b n heads d]; the softmax is float32, the products have the dtype of the arguments.
    """
    if exporting():  # sizes may be symbolic, so the number of queries that fit into memory is unknown
        energy = jnp.einsum("bnhc,bmhc->bhnm", query, key, preferred_element_type=jnp.float32)
        return jnp.einsum("bhnm,bmhd->bnhd", softmax(scale * energy).astype(value.dtype), value)
    b, m, heads, _ = key.shape

    @jax.checkpoint
    def of_one(query: jax.Array) -> jax.Array:
        energy = jnp.einsum("bhc,bmhc->bhm", query, key, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scale * energy).astype(value.dtype)
        return jnp.einsum("bhm,bmhd->bhd", weights, value)

    # Weights (4 bytes each) computed at a time: few enough for a processor's cache, enough to keep an accelerator busy.
    block = 2**20 if on_cpu() else 2**26
    y = jax.lax.map(of_one, jnp.moveaxis(query, 1, 0), batch_size=max(block // (b * heads * m), 1))
    return jnp.moveaxis(y, 0, 1)


@operator
def softmax(x: jax.Array) -> jax.Array:
    """Softmax over the last axis."""
    return jax.nn.softmax(x)
