"""SegNet (Badrinarayanan et al. 2017): a decoder that puts values back where max pooling took them from."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.config import ModelConfig
from seg_jax.models.entries import Architecture
from seg_jax.models.layers import ConvNormAct, Head, Style
from seg_jax.models.operators import window

CONVOLUTIONS = (2, 2, 3, 3, 3)  # at each resolution, finest first, as in VGG-16
DROPPED = 4  # stages, the deepest ones, with dropout in front of them


def unpool(x: jax.Array, full: jax.Array) -> jax.Array:
    """Every value of `x` at the place of the maximum of its 2x2 window of `full`, zeros elsewhere.

    Args:
      x: [b h w c].
      full: [b 2h 2w c], in front of the pooling. The first of equal pixels counts, row by row.

    Returns:
      [b 2h 2w c]; the gradient goes to `x` alone.
    """
    b, h, w, c = x.shape
    pixels = [window(full, slice(i, None, 2), slice(j, None, 2)) for i in (0, 1) for j in (0, 1)]
    highest = jnp.maximum(jnp.maximum(pixels[0], pixels[1]), jnp.maximum(pixels[2], pixels[3]))
    placed, free = [], jnp.ones(x.shape, bool)
    for value in pixels[:3]:
        here = free & (value == highest)
        placed.append(jnp.where(here, x, 0))
        free &= ~here
    placed.append(jnp.where(free, x, 0))  # not compared: a NaN must not be lost
    rows = [jnp.stack(placed[i : i + 2], axis=3) for i in (0, 2)]
    return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, c)


class SegNetDecoder(nn.Module):
    """The encoder's mirror image: unpooling with the encoder's maxima, then as many 3x3 convolutions as VGG-16 has.

    On VGG-16 this is the network of the paper. For other encoders the maxima are those of the features at each finer
    stride, whether they are pooled or not.

    Attributes:
      classes: channels of the logits.
      dropout: rate after the deepest features and after the three deepest stages, the places of Bayesian SegNet
        (Kendall et al. 2017); SegNet itself has none.
    """

    classes: int
    dropout: float = 0.0
    style: Style = Style()

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], train: bool) -> dict[str, jax.Array]:
        """Features, finest first -> logits [b h w k] at the finest resolution."""
        *finer, x = features
        for level in reversed(range(len(finer))):
            width = finer[level].shape[-1]
            if x.shape[-1] != width:  # the deepest features of an encoder that does not end with a pooling
                x = ConvNormAct(width, style=self.style, name="bottom")(x, train)
            if len(finer) - level <= DROPPED:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            if finer[level].shape[1] > x.shape[1]:  # a dilated encoder keeps the resolution
                x = unpool(x, finer[level])
            # The last convolution leads to the width of the next stage, that of the last stage is the head.
            widths = [width] * (CONVOLUTIONS[level] - 1) + [finer[level - 1].shape[-1]] * (level > 0)
            for i, channels in enumerate(widths, start=1):
                x = ConvNormAct(channels, style=self.style, name=f"level{level + 1}_conv{i}")(x, train)
        return {"logits": Head(self.classes, 3, dtype=self.style.dtype, name="head")(x)}


def _build(model: ModelConfig, classes: int, style: Style) -> nn.Module:
    return SegNetDecoder(classes=classes, dropout=model.dropout, style=style)


SEGNET = Architecture(_build)
