"""MobileNet (Howard et al. 2017) as a feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax

from seg_jax.config import ModelConfig
from seg_jax.models.entries import Encoder
from seg_jax.models.layers import ConvNormAct, Style, remat
from seg_jax.models.weights.naming import KERAS_CLASSIFIER, UNIT, Naming

# (channels, blocks) at strides 2, 4, 8, 16, 32; table 1
STAGES = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))
EPSILON = {"torch": 1e-5, "keras": 1e-3}


class SeparableBlock(nn.Module):
    """3x3 depthwise and 1x1 convolution, each with norm and activation.

    Attributes:
      halves: whether the block halves the resolution in the undilated network.
      stride: 2 if it halves the resolution here, too.
      dilation: dilation of the depthwise convolution.
    """

    channels: int
    halves: bool
    stride: int
    dilation: int
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> [b h' w' channels], with h' and w' of a 3x3 convolution; in Keras floor(h / stride)."""
        # Keras pads only at the end, so each window begins at its pixel instead of one before it. With a stride one
        # pixel of padding is missing then, without a stride two.
        at_end = self.halves and self.style.padding == "same"
        x = ConvNormAct(
            x.shape[-1],
            3,
            self.stride,
            self.dilation,
            groups=x.shape[-1],
            activation="relu6",
            padding=(0, 2 * self.dilation - (self.stride - 1)) if at_end else None,
            style=self.style,
            name="depthwise",
        )(x, train)
        return ConvNormAct(self.channels, 1, activation="relu6", style=self.style, name="pointwise")(x, train)


class MobileNet(nn.Module):
    """Features of MobileNet at strides 2, 4, 8, 16, 32.

    Attributes:
      alpha: width multiplier.
      output_stride: 32, 16 or 8: stages beyond it are dilated instead of strided, so that features keep this stride.
      depth: number of times the resolution is halved; later stages are left out.
    """

    alpha: float = 1.0
    output_stride: int = 32
    depth: int = 5
    style: Style = Style()

    @property
    def reduction(self) -> int:
        """Input height and width must be multiples of this."""
        return min(self.output_stride, 2**self.depth)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """[b h w c] -> `depth` feature maps, finest first."""
        x = ConvNormAct(int(32 * self.alpha), 3, 2, activation="relu6", style=self.style, name="stem")(x, train)
        features: list[jax.Array] = []
        stride, dilation = 2, 1
        for stage, (channels, count) in enumerate(STAGES[: self.depth]):
            for i in range(count):
                halves = stage > 0 and i == 0
                step, own = 1, dilation
                if halves and stride < self.output_stride:
                    step, stride = 2, stride * 2
                elif halves:
                    dilation *= 2
                name = f"stage{stage + 1}_block{i + 1}"
                x = remat(SeparableBlock, self.style)(
                    int(channels * self.alpha), halves, step, own, self.style, name=name
                )(x, train)
            features.append(x)
        return features

    def blocks(self) -> list[tuple[int, int]]:
        """(stage, block), both from 1, of all blocks up to `depth`."""
        return [(stage + 1, i + 1) for stage, (_, count) in enumerate(STAGES[: self.depth]) for i in range(count)]


def _keras(net: MobileNet) -> dict[str, str]:
    layers = {"stem/conv": "conv1", "stem/norm": "conv1_bn"}
    for number, (stage, i) in enumerate(net.blocks(), start=1):
        for ours, theirs in (("depthwise", f"conv_dw_{number}"), ("pointwise", f"conv_pw_{number}")):
            layers[f"stage{stage}_block{i}/{ours}/conv"] = theirs
            layers[f"stage{stage}_block{i}/{ours}/norm"] = f"{theirs}_bn"
    return layers


def _timm(net: MobileNet) -> dict[str, str]:
    layers = {"stem/conv": "conv_stem", "stem/norm": "bn1"}
    for stage, i in net.blocks():
        theirs = f"blocks.{stage - 1}.{i - 1}"
        for ours, conv, norm in (("depthwise", "conv_dw", "bn1"), ("pointwise", "conv_pw", "bn2")):
            layers[f"stage{stage}_block{i}/{ours}/conv"] = f"{theirs}.{conv}"
            layers[f"stage{stage}_block{i}/{ours}/norm"] = f"{theirs}.{norm}"
    return layers


NAMINGS = {
    "keras": Naming(
        _keras,
        layout="keras",
        style="keras",
        normalisation=UNIT,
        unused=(*KERAS_CLASSIFIER, r"conv_preds/.*", r"conv2d_\d+/\d"),
    ),
    "timm": Naming(_timm, normalisation=UNIT, unused=(r"classifier\..*",)),
}


def _build(model: ModelConfig, style: Style, library: str) -> nn.Module:
    del library  # the style determines the arithmetic
    return MobileNet(
        alpha=model.encoder.alpha,
        output_stride=model.encoder.output_stride,
        depth=model.encoder.depth or 5,
        style=style,
    )


ENCODERS: Mapping[str, Encoder] = {"mobilenet": Encoder(_build, EPSILON, NAMINGS, "MobileNet")}
