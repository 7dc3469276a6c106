"""FCN-32s, FCN-16s and FCN-8s (Long, Shelhamer and Darrell 2015), over any encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from seg_jax.config import ConfigError, ModelConfig
from seg_jax.models.entries import Architecture
from seg_jax.models.layers import ConvNormAct, Dtype, Head, Style
from seg_jax.models.operators import pad_edge, window

PAPER = 4096  # hidden channels; also of runs that recorded none, which are older than `hidden_channels`


def bilinear(key: jax.Array, shape: tuple[int, int, int, int], dtype: Any = jnp.float32) -> jax.Array:
    """Initial kernel [4 4 c c] of `UpScore`: bilinear interpolation of each channel to twice the size."""
    del key
    taps = np.array([1, 3, 3, 1]) / 4
    return jnp.asarray(np.einsum("i,j,cd->ijcd", taps, taps, np.eye(shape[2], shape[3])), dtype)


class UpScore(nn.Module):
    """Transposed 4x4 convolution with stride 2 that upsamples maps of scores; initially bilinear interpolation.

    Border pixels are repeated, so that the scores at the border are interpolated like the others.
    """

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b h w c] -> [b 2h 2w c]."""
        b, h, w, c = x.shape
        kernel = self.param("kernel", bilinear, (4, 4, c, c), jnp.float32).astype(self.dtype)
        # Along each axis, the two output pixels between the centres of two neighbours depend only on these neighbours,
        # so a 2x2 convolution computes each of the four output phases. XLA's CPU backend is slow for dilated inputs.
        taps = kernel.reshape(2, 2, 2, 2, c, c)[::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, c, 4 * c)
        x = pad_edge(x.astype(self.dtype), (1, 1), (1, 1))
        y = jax.lax.conv_general_dilated(x, taps, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        y = y.reshape(b, h + 1, w + 1, 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h + 2, 2 * w + 2, c)
        return window(y, slice(1, 2 * h + 1), slice(1, 2 * w + 1))


class FCNDecoder(nn.Module):
    """A convolutional classifier on the coarsest features, whose scores are upsampled and added to those of finer ones.

    The last upsampling, to the size of the image, is bilinear and not learned, as in the paper. The paper's skips on
    VGG-16 are pool4 and pool3; here they are the deepest features of the same strides, for every encoder.

    Attributes:
      classes: channels of the logits.
      stride: stride of the final scores for an encoder of stride 32: 32 (no skip), 16 (one skip) or 8 (two).
      channels: channels d of the two hidden layers (fc6 and fc7); the kernel of the first has 7x7xcxd parameters for
        features of c channels. See `hidden_channels`.
      dropout: rate after each of them, 0.5 in the paper.
    """

    classes: int
    stride: int = 8
    channels: int = PAPER
    dropout: float = 0.5
    style: Style = Style()

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], train: bool) -> dict[str, jax.Array]:
        """Features, finest first -> logits [b h/stride w/stride k].

        Raises:
          ConfigError: there are fewer features than skips.
        """
        steps = {32: 0, 16: 1, 8: 2}[self.stride]
        if len(features) <= steps:
            raise ConfigError(
                f"config.model.name = 'fcn{self.stride}s' needs features at {steps + 1} strides; the encoder has "
                f"{len(features)}. Use a larger config.model.encoder.depth."
            )
        x = features[-1]
        for name, kernel in (("fc6", 7), ("fc7", 1)):
            x = ConvNormAct(self.channels, kernel, style=self.style, name=name)(x, train)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = Head(self.classes, dtype=self.style.dtype, name="head")(x)
        for step, skip in enumerate(features[-2 : -2 - steps : -1], start=1):
            if skip.shape[1] > x.shape[1]:  # in a dilated encoder both have the same resolution
                x = UpScore(self.style.dtype, name=f"up{step}_head")(x)
            # A 1x1 convolution, initially zero, so that training starts with the predictions without the skip.
            scores = nn.Dense(
                self.classes, kernel_init=nn.initializers.zeros, dtype=self.style.dtype, name=f"skip{step}_head"
            )
            x = x + scores(skip)
        return {"logits": x}


def hidden_channels(encoder: str, features: int) -> int:
    """Channels of fc6 and fc7 on an encoder whose coarsest features have `features` channels.

    4096 on VGG-16, whose own classifier they are (Long et al. 2015). On others 4096 would be 100 to 400 million
    parameters on a network of 2 to 40 million: they have a quarter of the features' channels, as torchvision's FCNHead.
    """
    return PAPER if encoder.startswith("vgg") else max(1, features // 4)


def _build(model: ModelConfig, classes: int, style: Style, *, stride: int) -> nn.Module:
    return FCNDecoder(
        classes=classes, stride=stride, channels=model.channels or PAPER, dropout=model.dropout, style=style
    )


FCN32S = Architecture(partial(_build, stride=32), width=hidden_channels)
FCN16S = Architecture(partial(_build, stride=16), width=hidden_channels)
FCN8S = Architecture(partial(_build, stride=8), width=hidden_channels)
