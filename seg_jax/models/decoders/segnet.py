"""SegNet (Badrinarayanan et al. 2017): a decoder that unpools values to the positions of the encoder's maxima."""

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
STAGES_WITH_DROPOUT = 4  # the deepest ones, with dropout before them


def unpool(x: jax.Array, full: jax.Array) -> jax.Array:
    """Moves every value of `x` to the position of the maximum of its 2x2 window of `full`; zeros elsewhere.

    Args:
      x: [b h w c].
      full: the map before the pooling, [b 2h 2w c]. Of equal pixels the first one counts, row by row.

    Returns:
      [b 2h 2w c]; only `x` gets a gradient.
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
    """The mirrored encoder: at each level unpooling by the encoder's maxima, then the 3x3 convolutions of VGG-16.

    On VGG-16 this is the network of the paper. With other encoders the maxima are those of the features at each finer
    stride, whether the encoder pools them or not.

    Attributes:
      classes: channels of the logits.
      dropout: rate after the deepest features and after the three deepest stages, as in Bayesian SegNet (Kendall et al.
        2017); SegNet itself has no dropout.
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
            if len(finer) - level <= STAGES_WITH_DROPOUT:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            if finer[level].shape[1] > x.shape[1]:  # a dilated encoder keeps the resolution
                x = unpool(x, finer[level])
            # The last convolution has the channels of the next stage; in the last stage it is the head.
            widths = [width] * (CONVOLUTIONS[level] - 1) + [finer[level - 1].shape[-1]] * (level > 0)
            for i, channels in enumerate(widths, start=1):
                x = ConvNormAct(channels, style=self.style, name=f"level{level + 1}_conv{i}")(x, train)
        return {"logits": Head(self.classes, 3, dtype=self.style.dtype, name="head")(x)}


def _build(model: ModelConfig, classes: int, style: Style) -> nn.Module:
    return SegNetDecoder(classes=classes, dropout=model.dropout, style=style)


SEGNET = Architecture(_build)
