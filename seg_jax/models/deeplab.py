"""DeepLabV3+ (Chen et al. 2018): atrous spatial pyramid pooling and a small decoder, over any encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.models.layers import Conv, ConvNormRelu, upsample_bilinear


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: parallel 3x3 convolutions at several dilations beside image pooling.

    Attributes:
      rates: dilations in pixels of the feature map; a rate 1 branch (1x1) and image pooling are always there.
      channels: of every branch and of the result.
      dropout: rate after the projection.
    """

    rates: tuple[int, ...]
    channels: int = 256
    norm: str = "batch"
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> [b h w channels]."""
        common = {"norm": self.norm, "dtype": self.dtype}
        branches = [ConvNormRelu(self.channels, 1, **common, name="point")(x, train)]
        for rate in self.rates:
            branches.append(ConvNormRelu(self.channels, 3, dilation=rate, **common, name=f"rate{rate}")(x, train))
        pooled = x.mean(axis=(1, 2), keepdims=True, dtype=jnp.float32)
        pooled = ConvNormRelu(self.channels, 1, **common, name="image")(pooled, train)
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        y = ConvNormRelu(self.channels, 1, **common, name="project")(jnp.concatenate(branches, axis=-1), train)
        return nn.Dropout(self.dropout, deterministic=not train)(y)


class DeepLabV3PlusDecoder(nn.Module):
    """ASPP on the coarsest features, upsampled to stride 4 and refined with low-level features.

    Attributes:
      classes: channels of the logits.
      rates: dilations of the ASPP; (6, 12, 18) belongs to output stride 16, twice that to 8.
      channels: width of ASPP and decoder (256 in the paper).
      low_level_channels: to which the low-level features are reduced (48 in the paper).
      dropout: rate after ASPP's projection and in front of the logits.
    """

    classes: int
    rates: tuple[int, ...] = (6, 12, 18, 24)
    channels: int = 256
    low_level_channels: int = 48
    norm: str = "batch"
    dropout: float = 0.1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], train: bool) -> jax.Array:
        """Features, finest first -> logits [b h/4 w/4 k], in `dtype`."""
        common = {"norm": self.norm, "dtype": self.dtype}
        # The last map of the second-finest stride: stride 4 for every encoder that starts at stride 2.
        heights = sorted({f.shape[1] for f in features}, reverse=True)
        low = [f for f in features if f.shape[1] == heights[1]][-1]
        x = ASPP(self.rates, self.channels, dropout=self.dropout, **common, name="aspp")(features[-1], train)
        x = upsample_bilinear(x, low.shape[1] // x.shape[1])
        low = ConvNormRelu(self.low_level_channels, 1, **common, name="low_level")(low, train)
        x = jnp.concatenate([x, low], axis=-1)
        for i in (1, 2):
            x = ConvNormRelu(self.channels, 3, **common, name=f"refine{i}")(x, train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Conv(self.classes, 1, bias=True, dtype=self.dtype, name="head")(x)
