"""VGG-16 (Simonyan and Zisserman 2015) as a feature pyramid, without and with batch norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.config import ModelConfig
from seg_jax.models.entries import Encoder
from seg_jax.models.layers import ConvNormAct, Style, remat
from seg_jax.models.operators import window
from seg_jax.models.resampling import max_pool_2x2
from seg_jax.models.weights.naming import CAFFE, KERAS_CLASSIFIER, Naming

# (channels, 3x3 convolutions) between pools; configuration D of table 1
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
EPSILON = {"torch": 1e-5, "keras": 1e-3, "smp": 1e-5}


class VGG16(nn.Module):
    """Features of VGG-16 before each max pooling, at strides 1, 2, 4, 8, 16, and after the last one, at stride 32.

    Attributes:
      output_stride: 32, 16 or 8: poolings beyond it have stride 1, and later convolutions are dilated, so that features
        keep this stride (Chen et al. 2018).
      depth: number of times the resolution is halved; later blocks are left out.
      style: the network of the paper has the norm 'none'. All convolutions have biases, also before norms.
    """

    output_stride: int = 32
    depth: int = 5
    style: Style = Style(norm="none")

    @property
    def reduction(self) -> int:
        """Input height and width must be multiples of this."""
        return min(self.output_stride, 2**self.depth)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """[b h w c] -> `depth` + 1 feature maps, finest first; pooling leaves out an odd last row or column."""
        features: list[jax.Array] = []
        stride, dilation = 1, 1
        for level in range(self.depth + 1):
            if level and stride < self.output_stride:
                x, stride = _halve(x), stride * 2
            elif level:
                x, dilation = _pool_in_place(x, dilation), dilation * 2
            channels, count = BLOCKS[level] if level < len(BLOCKS) else (0, 0)
            for i in range(count):
                name = f"stage{level + 1}_conv{i + 1}"
                x = remat(ConvNormAct, self.style)(channels, dilation=dilation, bias=True, style=self.style, name=name)(
                    x, train
                )
            features.append(x)
        return features

    def convolutions(self) -> list[tuple[int, int]]:
        """(block, convolution), both from 1, of all convolutions up to `depth`."""
        return [(block + 1, i + 1) for block, (_, count) in enumerate(BLOCKS[: self.depth + 1]) for i in range(count)]


def _halve(x: jax.Array) -> jax.Array:
    """2x2 max pooling that leaves out an odd last row or column, as in every library."""
    return max_pool_2x2(window(x, slice(x.shape[1] // 2 * 2), slice(x.shape[2] // 2 * 2)))


def _pool_in_place(x: jax.Array, dilation: int) -> jax.Array:
    """[b h w c] -> [b h w c], the maximum of each pixel, the one `dilation` to its right, and the two below these.

    Every second pixel of the dilated grid has the value that `_halve` would give.
    """
    for axis in (1, 2):
        # Padding with zeros is safe: maps are never negative here, so a zero never wins.
        end = [(0, dilation if a == axis else 0) for a in range(4)]
        x = jnp.maximum(x, jax.lax.slice_in_dim(jnp.pad(x, end), dilation, None, axis=axis))
    return x


def _keras(net: VGG16) -> dict[str, str]:
    return {f"stage{block}_conv{i}/conv": f"block{block}_conv{i}" for block, i in net.convolutions()}


def _torchvision(net: VGG16) -> dict[str, str]:
    normed = net.style.norm != "none"
    layers, at = {}, 0
    for block, i in net.convolutions():
        at += block > 1 and i == 1  # a pooling
        layers[f"stage{block}_conv{i}/conv"] = f"features.{at}"
        if normed:
            layers[f"stage{block}_conv{i}/norm"] = f"features.{at + 1}"
        at += 3 if normed else 2  # convolution, norm, activation
    return layers


IMAGE = "stage1_conv1/conv"
NAMINGS = {
    # Also for timm and segmentation_models.pytorch; timm's classifier is called pre_logits and head.
    "torchvision": Naming(_torchvision, image=IMAGE, unused=(r"(classifier|pre_logits|head)\..*",)),
    "keras": Naming(
        _keras, layout="keras", style="keras", normalisation=CAFFE, bgr=True, image=IMAGE, unused=KERAS_CLASSIFIER
    ),
}


def _build(model: ModelConfig, style: Style, library: str, *, normed: bool) -> nn.Module:
    del library  # all of them have the same arithmetic
    style = style if normed else replace(style, norm="none")
    return VGG16(output_stride=model.encoder.output_stride, depth=model.encoder.depth or 5, style=style)


def _bn_entry() -> Encoder:
    # Keras has no VGG-16 with batch norm.
    epsilon = {library: value for library, value in EPSILON.items() if library != "keras"}
    return Encoder(partial(_build, normed=True), epsilon, {"torchvision": NAMINGS["torchvision"]})


ENCODERS: Mapping[str, Encoder] = {
    "vgg16": Encoder(partial(_build, normed=False), EPSILON, NAMINGS, "VGG16"),
    "vgg16_bn": _bn_entry(),
}
