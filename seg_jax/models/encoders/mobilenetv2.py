"""MobileNetV2 (Sandler et al. 2018) as a feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax

from seg_jax.config import ModelConfig
from seg_jax.models.entries import Encoder
from seg_jax.models.layers import ConvNormAct, Style, remat
from seg_jax.models.weights.naming import KERAS_CLASSIFIER, UNIT, Naming

# (expansion, channels, blocks, stride) of every row of table 2
ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
EPSILON = {"torch": 1e-5, "keras": 1e-3, "smp": 1e-5}


def divisible(channels: float, by: int = 8) -> int:
    """The multiple of `by` nearest to `channels`, not more than a tenth below it (the authors' rounding)."""
    near = max(by, int(channels + by / 2) // by * by)
    return near + by if near < 0.9 * channels else near


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection; with a shortcut if resolution and channels do not change.

    Attributes:
      halves: whether the block halves the resolution in the undilated network.
      stride: 2 if it halves the resolution here, too.
      dilation: dilation of the depthwise convolution.
    """

    channels: int
    expansion: int
    halves: bool
    stride: int
    dilation: int
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> [b ceil(h / stride) ceil(w / stride) channels]."""
        hidden = x.shape[-1] * self.expansion
        y = x
        if self.expansion > 1:
            y = ConvNormAct(hidden, 1, activation="relu6", style=self.style, name="expand")(y, train)
        # With a stride, 'same' windows begin at their pixel (on maps with even sides), so without one they do, too.
        at_pixel = self.halves and self.stride == 1 and self.style.padding == "same"
        y = ConvNormAct(
            hidden,
            3,
            self.stride,
            self.dilation,
            groups=hidden,
            activation="relu6",
            padding=(0, 2 * self.dilation) if at_pixel else None,
            style=self.style,
            name="depthwise",
        )(y, train)
        y = ConvNormAct(self.channels, 1, activation="none", style=self.style, name="project")(y, train)
        return x + y if not self.halves and x.shape == y.shape else y


class MobileNetV2(nn.Module):
    """Features of MobileNetV2 at strides 2, 4, 8, 16, 32; the last are the 1280 channels of the final 1x1 convolution.

    Attributes:
      alpha: width multiplier.
      output_stride: 32, 16 or 8: rows beyond it are dilated instead of strided, so that features keep this stride.
      depth: number of times the resolution is halved; later rows are left out.
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
        x = ConvNormAct(divisible(32 * self.alpha), 3, 2, activation="relu6", style=self.style, name="stem")(x, train)
        features: list[jax.Array] = []
        stride, dilation = 2, 1
        for row, (expansion, channels, blocks, step) in enumerate(ROWS):
            if step == 2:
                features.append(x)
                if len(features) == self.depth:
                    return features
            for i in range(blocks):
                halves, own, s = step == 2 and i == 0, dilation, 1
                if halves and stride < self.output_stride:
                    s, stride = 2, stride * 2
                elif halves:
                    dilation *= 2
                    own = dilation if self.style.dilate_first else own
                width, name = divisible(channels * self.alpha), f"stage{row + 1}_block{i + 1}"
                x = remat(InvertedResidual, self.style)(width, expansion, halves, s, own, self.style, name=name)(
                    x, train
                )
        last = divisible(1280 * max(1.0, self.alpha))
        features.append(ConvNormAct(last, 1, activation="relu6", style=self.style, name="stage8")(x, train))
        return features

    def block_names(self) -> list[str]:
        """The names of the inverted residuals up to `depth`, in order."""
        names, halved = [], 1
        for row, (_, _, blocks, step) in enumerate(ROWS):
            halved += step == 2
            if halved <= self.depth:
                names += [f"stage{row + 1}_block{i + 1}" for i in range(blocks)]
        return names


def _named(
    net: MobileNetV2, stem: tuple[str, str], last: tuple[str, str], parts: dict[str, list[str]]
) -> dict[str, str]:
    layers = {"stem/conv": stem[0], "stem/norm": stem[1]}
    for block, names in parts.items():
        which = ("expand", "depthwise", "project")[-len(names) // 2 :]
        for i, part in enumerate(which):
            layers[f"{block}/{part}/conv"], layers[f"{block}/{part}/norm"] = names[2 * i], names[2 * i + 1]
    if net.depth == 5:
        layers["stage8/conv"], layers["stage8/norm"] = last
    return layers


def _keras(net: MobileNetV2) -> dict[str, str]:
    parts = {}
    for i, block in enumerate(net.block_names()):
        prefix = f"block_{i}" if i else "expanded_conv"
        kinds = ("expand", "depthwise", "project") if i else ("depthwise", "project")
        parts[block] = [f"{prefix}_{kind}{end}" for kind in kinds for end in ("", "_BN")]
    return _named(net, ("Conv1", "bn_Conv1"), ("Conv_1", "Conv_1_bn"), parts)


def _torchvision(net: MobileNetV2) -> dict[str, str]:
    parts = {}
    for i, block in enumerate(net.block_names(), start=1):
        ends = ("0.0", "0.1", "1", "2") if i == 1 else ("0.0", "0.1", "1.0", "1.1", "2", "3")
        parts[block] = [f"features.{i}.conv.{end}" for end in ends]
    return _named(net, ("features.0.0", "features.0.1"), ("features.18.0", "features.18.1"), parts)


def _timm(net: MobileNetV2) -> dict[str, str]:
    parts = {}
    for block in net.block_names():
        stage, i = (int(number) - 1 for number in block.removeprefix("stage").split("_block"))
        ends = (
            ("conv_dw", "bn1", "conv_pw", "bn2")
            if stage == 0
            else ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
        )
        parts[block] = [f"blocks.{stage}.{i}.{end}" for end in ends]
    return _named(net, ("conv_stem", "bn1"), ("conv_head", "bn2"), parts)


NAMINGS = {
    "keras": Naming(_keras, layout="keras", style="keras", normalisation=UNIT, unused=KERAS_CLASSIFIER),
    "torchvision": Naming(_torchvision, unused=(r"classifier\..*",)),
    "timm": Naming(_timm, unused=(r"classifier\..*",)),
}


def _build(model: ModelConfig, style: Style, library: str) -> nn.Module:
    del library  # the style determines the arithmetic
    return MobileNetV2(
        alpha=model.encoder.alpha,
        output_stride=model.encoder.output_stride,
        depth=model.encoder.depth or 5,
        style=style,
    )


ENCODERS: Mapping[str, Encoder] = {"mobilenetv2": Encoder(_build, EPSILON, NAMINGS, "MobileNetV2")}
