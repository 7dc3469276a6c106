"""ResNet-18, 34, 50 and 101 (He et al. 2016) as feature pyramids.

The arrangement is torchvision's "v1.5": a bottleneck's stride lies in its 3x3 convolution, padding is
symmetric, batch norm has epsilon 1e-5.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.models.layers import Conv, ConvNormRelu, Norm, max_pool_3x3

# name -> (blocks of the four stages, whether they are bottlenecks); table 1 of the paper
LAYOUTS: dict[str, tuple[tuple[int, int, int, int], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
}


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or with `bottleneck` 1x1, 3x3, 1x1 with four times the channels.

    Attributes:
      stride: of the first 3x3 convolution.
      dilations: of the first 3x3 convolution, and of the second.
    """

    channels: int
    bottleneck: bool
    stride: int
    dilations: tuple[int, int]
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> [b ceil(h / stride) ceil(w / stride) channels or 4 * channels]."""
        common = {"norm": self.norm, "dtype": self.dtype}
        out = self.channels * 4 if self.bottleneck else self.channels
        if self.bottleneck:
            y = ConvNormRelu(self.channels, 1, **common, name="conv1")(x, train)
            y = ConvNormRelu(self.channels, 3, self.stride, self.dilations[0], **common, name="conv2")(y, train)
            y = Conv(out, 1, dtype=self.dtype, name="conv3")(y)
        else:
            y = ConvNormRelu(self.channels, 3, self.stride, self.dilations[0], **common, name="conv1")(x, train)
            y = Conv(out, 3, 1, self.dilations[1], dtype=self.dtype, name="conv2")(y)
        y = Norm(self.norm, self.dtype, name="norm_out")(y, train)
        if x.shape != y.shape:
            x = Conv(out, 1, self.stride, dtype=self.dtype, name="shortcut")(x)
            x = Norm(self.norm, self.dtype, name="norm_shortcut")(x, train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Features of a ResNet at strides 2, 4, 8, 16, 32.

    Attributes:
      layout: a key of `LAYOUTS`.
      output_stride: 32, or 16 or 8: stages past it are dilated by 2 or 4 instead of strided
        (Chen et al. 2017), so that their features keep this stride.
      norm: 'batch', 'group' or 'none'.
    """

    layout: str = "resnet50"
    output_stride: int = 32
    norm: str = "batch"
    dtype: Any = jnp.float32

    @property
    def reduction(self) -> int:
        """Input height and width must be multiples of this."""
        return self.output_stride

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """[b h w 3] -> five feature maps, finest first."""
        blocks, bottleneck = LAYOUTS[self.layout]
        x = ConvNormRelu(64, 7, 2, norm=self.norm, dtype=self.dtype, name="stem")(x, train)
        features = [x]
        x = max_pool_3x3(x)
        stride, dilation = 4, 1
        for stage, count in enumerate(blocks):
            for i in range(count):
                step = 1
                own = dilation
                if stage and i == 0:
                    if stride < self.output_stride:
                        step, stride = 2, stride * 2
                    else:
                        # The convolution that would have the stride still sees the grid of the stage before.
                        dilation *= 2
                x = Block(
                    64 * 2**stage,
                    bottleneck,
                    step,
                    (own, dilation),
                    self.norm,
                    self.dtype,
                    name=f"stage{stage + 1}_block{i + 1}",
                )(x, train)
            features.append(x)
        return features
