"""MobileNet (Howard et al. 2017) as a feature pyramid."""

from __future__ import annotations

import flax.linen as nn
import jax

from seg_jax.models.layers import ConvNormAct, Style, remat
from seg_jax.models.naming import KERAS_CLASSIFIER, UNIT, Naming

# (channels, blocks) at strides 2, 4, 8, 16, 32; table 1
STAGES = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))
EPSILON = {"torch": 1e-5, "keras": 1e-3}


class SeparableBlock(nn.Module):
    """3x3 depthwise and 1x1 convolution, each with norm and activation.

    Attributes:
      halves: the block halves the resolution, or would, were the network not dilated.
      stride: 2 where it does.
      dilation: of the depthwise convolution.
    """

    channels: int
    halves: bool
    stride: int
    dilation: int
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> [b h' w' channels], h' and w' those of a 3x3 convolution; in Keras floor(h / stride)."""
        # Keras pads one pixel at the end whatever the size, so each window begins at its pixel instead of before it.
        # With a stride it is then one pixel short of a row or column; without, two would be missing.
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
      output_stride: 32, or 16 or 8: stages past it are dilated instead of strided, so that features keep this stride.
      depth: how many times the resolution is halved; the stages after the last are left out.
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
        """(stage, block), both from 1, of all blocks that `depth` leaves."""
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
