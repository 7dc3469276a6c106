"""MBConv, the block of MobileNetV3 (Howard et al. 2019) and EfficientNet (Tan and Le 2019)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.models.layers import Conv, ConvNormAct, Style


class MBConv(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze and excitation (Hu et al. 2018), linear 1x1 projection.

    If the shape does not change there is a shortcut, and in training the rest is dropped with probability `drop_path`,
    independently for each image (stochastic depth, Huang et al. 2016).

    Attributes:
      channels: channels of the output.
      expansion: factor by which the channels grow inside.
      kernel, stride, dilation, padding: those of the depthwise convolution; padding None: the style's.
      activation: a key of `ACTIVATIONS`.
      gated: with squeeze and excitation.
    """

    channels: int
    expansion: int
    kernel: int
    stride: int
    dilation: int
    padding: tuple[int, int] | None
    drop_path: float
    style: Style
    activation: str = "silu"
    gated: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> [b ceil(h / stride) ceil(w / stride) channels]."""
        hidden = x.shape[-1] * self.expansion
        y = x
        if self.expansion > 1:
            y = ConvNormAct(hidden, 1, activation=self.activation, style=self.style, name="expand")(y, train)
        y = ConvNormAct(
            hidden,
            self.kernel,
            self.stride,
            self.dilation,
            groups=hidden,
            activation=self.activation,
            padding=self.padding,
            style=self.style,
            name="depthwise",
        )(y, train)
        if self.gated:
            gate = jnp.mean(y, axis=(1, 2), keepdims=True)
            gate = Conv(x.shape[-1] // 4, 1, bias=True, dtype=self.style.dtype, name="squeeze")(gate)
            gate = Conv(hidden, 1, bias=True, dtype=self.style.dtype, name="excite")(nn.silu(gate))
            y = y * nn.sigmoid(gate)
        y = ConvNormAct(self.channels, 1, activation="none", style=self.style, name="project")(y, train)
        if x.shape != y.shape:
            return y
        return x + nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3), name="drop_path")(y, deterministic=not train)
