"""U-Net (Ronneberger et al. 2015): an expanding path with skip connections, over any encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.models.layers import Conv, ConvNormRelu, UpConv, upsample_bilinear, upsample_nearest

UPSAMPLINGS = ("transpose", "nearest", "bilinear")


class UNetDecoder(nn.Module):
    """From the coarsest features upwards: double the resolution, append the skip, two 3x3 convolutions.

    Attributes:
      classes: channels of the logits.
      channels: output channels of each upward step, coarsest first; () mirrors the encoder, as in the paper.
        One more than there are skips upsamples past the finest features to the full resolution.
      upsampling: 'transpose' (the paper's 2x2 up-convolution, halves the channels), 'nearest' or 'bilinear'.
      norm: 'batch', 'group' or 'none'.
      dropout: rate in front of the logits.
    """

    classes: int
    channels: tuple[int, ...] = ()
    upsampling: str = "transpose"
    norm: str = "batch"
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], train: bool) -> jax.Array:
        """Features, finest first -> logits [b h w k] at the finest resolution reached, in `dtype`."""
        *skips, x = features
        skips = skips[::-1]
        channels = self.channels or tuple(skip.shape[-1] for skip in skips)
        for step, width in enumerate(channels):
            skip = skips[step] if step < len(skips) else None
            x = self._up(x, 2 if skip is None else skip.shape[1] // x.shape[1], width, f"up{step + 1}")
            if skip is not None:
                x = jnp.concatenate([skip, x], axis=-1)
            for i in (1, 2):
                x = ConvNormRelu(width, norm=self.norm, dtype=self.dtype, name=f"up{step + 1}_conv{i}")(x, train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Conv(self.classes, 1, bias=True, dtype=self.dtype, name="head")(x)

    def _up(self, x: jax.Array, factor: int, width: int, name: str) -> jax.Array:
        if factor == 1:  # a dilated encoder: the skip has this resolution already
            return x
        if self.upsampling == "transpose":
            return UpConv(width, dtype=self.dtype, name=name)(x)
        return {"nearest": upsample_nearest, "bilinear": upsample_bilinear}[self.upsampling](x, factor)
