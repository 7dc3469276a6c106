"""Boundary loss: errors weighted by their distance from the true boundary."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from seg_jax.losses import heads


def boundary(
    logits: jax.Array, label: jax.Array, *, head: str = "softmax", class_weights: tuple[float, ...] = ()
) -> tuple[jax.Array, jax.Array]:
    """phi (p - truth), with phi the signed distance of a pixel to the boundary of the class, in pixels.

    Kervadec et al. 2019, equation 5, with the term in the truth alone that they drop: the gradient is the same, and a
    perfect prediction costs 0. Values grow with the image size; 0.01 beside another loss is a usual weight.

    Args:
      logits: float [b h w k].
      label, head: see `heads`.
      class_weights: k weights of the classes, or () for equal ones.

    Returns:
      Values and weights, float32 [b h w c]. Weights are 0 where a pixel is ignored, and in an image that a class fills
      or is absent from, since it has no boundary there.
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
      valid: bool [b h w 1]; other pixels are neither inside nor outside.

    Returns:
      The distance in pixels, float32 [b h w c], 0 without a boundary; and bool [b 1 1 c]: whether there is one.
    """
    inside, outside = region & valid, ~region & valid
    known = inside.any((1, 2), keepdims=True) & outside.any((1, 2), keepdims=True)
    to_inside, to_outside = (jnp.sqrt(_squared_distance(side).astype(jnp.float32)) for side in (inside, outside))
    return jnp.where(known, jnp.where(region, 0.5 - to_outside, to_inside - 0.5), 0.0), known


def _squared_distance(seeds: jax.Array) -> jax.Array:
    """Exact squared Euclidean distance to the nearest seed, int32 [b h w c]; (h + w)^2 or more without any.

    Two scans along each column, then a minimum over all columns for each row: a few arrays of the result's size, and
    h w (w + 2) operations per image and class.
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
    # One array of all sums would take w times the memory; unrolling eight columns needs an eighth of the passes.
    nearest, _ = jax.lax.scan(nearer, start, (by_column[1:], column[1:]), unroll=8)
    return nearest.transpose(0, 2, 3, 1)
