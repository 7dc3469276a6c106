"""Boundary loss: how far from the true boundary the prediction errs."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from seg_jax.losses import heads


def boundary(
    logits: jax.Array, label: jax.Array, *, head: str = "softmax", class_weights: tuple[float, ...] = ()
) -> tuple[jax.Array, jax.Array]:
    """phi (p - truth), with phi the signed distance of a pixel to the boundary of the class, in pixels.

    Kervadec et al. 2019, equation 5, with the term of the truth alone that they leave out: the gradient is the same,
    and a perfect prediction costs 0. Values grow with the size of images; 0.01 beside another loss is a usual weight.

    Args:
      logits: float [b h w k].
      label, head: see `heads`.
      class_weights: k weights of the classes, or () for equal ones.

    Returns:
      values and weights, float32 [b h w c]. Weights are 0 where a pixel is ignored, and for a class that fills an image
      or does not occur in it, which has no boundary there.
    """
    p, truth, valid, weights = heads.regions(logits, label, head=head, class_weights=class_weights)
    phi, known = signed_distance(truth > 0.5, valid[..., None])
    counted = valid[..., None] & known
    return jnp.where(counted, phi * (p - truth), 0.0), jnp.where(counted, weights, 0.0)


def signed_distance(region: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Distance of each pixel to the boundary of the region, negative inside.

    The boundary runs between pixels, half a pixel from the nearest one on the other side (where Kervadec's published
    maps take 0 for the outermost pixels inside and 1 for their neighbours).

    Args:
      region: bool [b h w c].
      valid: bool [b h w 1]; other pixels lie on no side.

    Returns:
      float32 [b h w c], and bool [b 1 1 c]: whether there is a boundary, without which the distance is 0.
    """
    inside, outside = region & valid, ~region & valid
    known = inside.any((1, 2), keepdims=True) & outside.any((1, 2), keepdims=True)
    to_inside, to_outside = (jnp.sqrt(_squared_distance(side).astype(jnp.float32)) for side in (inside, outside))
    return jnp.where(known, jnp.where(region, 0.5 - to_outside, to_inside - 0.5), 0.0), known


def _squared_distance(seeds: jax.Array) -> jax.Array:
    """Exact squared Euclidean distance to the nearest seed, int32 [b h w c]; (h + w)^2 or more without any.

    Along each column by two scans, then along rows as the least over all columns: a few arrays of the result's size,
    and h w (w + 2) operations for an image and class.
    """
    h, w = seeds.shape[1:3]
    far, row, column = h + w, jnp.arange(h)[:, None, None], jnp.arange(w)
    above = jax.lax.cummax(jnp.where(seeds, row, -far), axis=1)
    below = jax.lax.cummin(jnp.where(seeds, row, h + far), axis=1, reverse=True)
    by_column = jnp.minimum(row - above, below - row).transpose(2, 0, 3, 1) ** 2  # [w b c h]

    def nearer(nearest: jax.Array, source: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        squared, where = source
        return jnp.minimum(nearest, squared[..., None] + (column - where) ** 2), None

    start = jnp.broadcast_to(by_column[0][..., None] + column**2, (*by_column.shape[1:], w))
    # One array of all sums would take w times the memory; eight columns at a time take an eighth of the passes.
    nearest, _ = jax.lax.scan(nearer, start, (by_column[1:], column[1:]), unroll=8)
    return nearest.transpose(0, 2, 3, 1)
