"""The meaning of logits and labels: probabilities by the kind of head, truth and validity of every pixel."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# softmax: each pixel has one class. sigmoid: classes are independent, so a pixel may have several or none.
# binary: two classes and one logit z, passed in as the logits (0, z); their softmax is the sigmoid of z.
HEADS = ("softmax", "sigmoid", "binary")


def probabilities(logits: jax.Array, *, head: str) -> jax.Array:
    """Class probabilities, of the shape of the logits [... k]; they sum to 1 unless `head` is 'sigmoid'."""
    return jax.nn.sigmoid(logits) if head == "sigmoid" else jax.nn.softmax(logits)


def target(label: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The label as one-hot truth and a mask of valid pixels.

    Args:
      label: class ids, integer [b h w], ignored outside 0..k-1; or, for classes that overlap, memberships [b h w k] in
        0..1, where a pixel with any value outside 0..1, such as 255, is ignored.
      k: number of classes.

    Returns:
      (truth, valid): float32 [b h w k], 0 where ignored; bool [b h w].
    """
    if label.ndim == 4:
        valid = ((label >= 0) & (label <= 1)).all(-1)
        return jnp.where(valid[..., None], label, 0).astype(jnp.float32), valid
    return (label[..., None] == jnp.arange(k)).astype(jnp.float32), (label >= 0) & (label < k)


def read(logits: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(logits in float32 with 0 where ignored, truth, valid) of a batch; see `target`."""
    truth, valid = target(label, logits.shape[-1])
    # Masked before any other function: an ignored pixel with infinite logits would have a gradient of 0 * inf = NaN.
    return jnp.where(valid[..., None], logits.astype(jnp.float32), 0.0), truth, valid


def weights_of(class_weights: tuple[float, ...], k: int) -> jax.Array:
    """float32 [k]; () stands for equal weights."""
    return jnp.asarray(class_weights or (1.0,) * k, jnp.float32)


def regions(
    logits: jax.Array, label: jax.Array, *, head: str, class_weights: tuple[float, ...]
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Predicted and true regions of the c classes, for losses that compare regions.

    With the head 'binary' there is one region, that of class 1, as is usual in binary segmentation.

    Returns:
      (p, truth, valid, weights): probabilities and truth, float32 [b h w c], 0 where ignored; valid pixels, bool
      [b h w]; class weights, float32 [c].
    """
    logits, truth, valid = read(logits, label)
    p = jnp.where(valid[..., None], probabilities(logits, head=head), 0.0)
    first = 1 if head == "binary" else 0
    return p[..., first:], truth[..., first:], valid, weights_of(class_weights, p.shape[-1])[first:]
