"""EfficientNet-B0 to B7 (Tan and Le 2019) as feature pyramids.

Files of timm's tf_efficientnet_* hold the same names as those of its efficientnet_*, but need TensorFlow's arithmetic:
for B0 to B4 set model.encoder.style = 'keras' by hand. From B5 on it is what their names stand for here, because timm
has hardly any other weights of these; its own efficientnet_b5 (symmetric padding and epsilon 1e-5) is no style here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import accumulate

import flax.linen as nn
import jax

from seg_jax.config import ModelConfig
from seg_jax.models.encoders.mbconv import MBConv
from seg_jax.models.encoders.mobilenetv2 import divisible
from seg_jax.models.entries import Encoder
from seg_jax.models.layers import ConvNormAct, Style, pads, remat
from seg_jax.models.weights.naming import KERAS_CLASSIFIER, Naming

# (expansion, channels, blocks, kernel, stride) of stages 2 to 8 of table 1, which are our stages 1 to 7
ROWS = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
# name -> compound scaling: (width, depth, side of the images it was trained on)
LAYOUTS: dict[str, tuple[float, float, int]] = {
    "efficientnet_b0": (1.0, 1.0, 224),
    "efficientnet_b1": (1.0, 1.1, 240),
    "efficientnet_b2": (1.1, 1.2, 260),
    "efficientnet_b3": (1.2, 1.4, 300),
    "efficientnet_b4": (1.4, 1.8, 380),
    "efficientnet_b5": (1.6, 2.2, 456),
    "efficientnet_b6": (1.8, 2.6, 528),
    "efficientnet_b7": (2.0, 3.1, 600),
}
# Torchvision's weights of these come from TensorFlow.
FROM_TENSORFLOW = ("efficientnet_b5", "efficientnet_b6", "efficientnet_b7")


def epsilon(layout: str) -> Mapping[str, float]:
    """Name of a style -> epsilon of the norms; 'torch' is torchvision's."""
    return {"torch": 1e-3 if layout in FROM_TENSORFLOW else 1e-5, "keras": 1e-3, "smp": 1e-3}


class EfficientNet(nn.Module):
    """Features of an EfficientNet at strides 2, 4, 8, 16, 32: what the last block in front of each halving gives.

    The classifier's 1x1 convolution after the last block is not part of it.

    Attributes:
      layout: a key of `LAYOUTS`.
      output_stride: 32, or 16 or 8: stages past it are dilated instead of strided, so that features keep this stride.
      depth: how many times the resolution is halved; the blocks after the last map are left out.
      drop_path: that of block i of n, from 0, is i / n of it.
      smp: as in segmentation_models.pytorch. Strided convolutions are padded as 'same' would pad the images that the
        layout was trained on, whatever the size. The finest map is the stem's. The map of stride 16 of B0 is what the
        first block of stage 5 gives; the others of that stage are dilated together with those of stride 32.
    """

    layout: str = "efficientnet_b0"
    output_stride: int = 32
    depth: int = 5
    drop_path: float = 0.0
    smp: bool = False
    style: Style = Style()

    @property
    def reduction(self) -> int:
        """Input height and width must be multiples of this."""
        return min(self.output_stride, 2**self.depth)

    def _counts(self) -> list[int]:
        """The number of blocks of each stage."""
        return [math.ceil(LAYOUTS[self.layout][1] * blocks) for _, _, blocks, _, _ in ROWS]

    def _taps(self) -> list[int]:
        """After how many blocks each map is taken, of all five."""
        ends = [0, *accumulate(self._counts())]
        taps = [ends[0 if self.smp else 1], ends[2], ends[3], ends[5], ends[7]]
        if self.smp and self.layout == "efficientnet_b0":
            taps[3] = ends[4] + 1
        return taps

    def blocks(self) -> list[tuple[int, int]]:
        """(stage, block), both from 1, of all blocks that `depth` leaves."""
        names = [(stage, i + 1) for stage, count in enumerate(self._counts(), 1) for i in range(count)]
        return names[: self._taps()[self.depth - 1]]

    def _padding(self, kernel: int, reach: int, step: int, dilation: int) -> tuple[int, int] | None:
        """Of a convolution that halves the resolution to 1 / `reach`, or would; None: the style's."""
        if self.smp and step == 2:
            return pads("same", -(-LAYOUTS[self.layout][2] * 2 // reach), kernel, 2, 1)
        if self.style.padding == "same" and step == 1:
            # Every window begins at the pixel where that of the strided convolution does, on maps of even size.
            before = (kernel - 2) // 2 * dilation
            return before, (kernel - 1) * dilation - before
        return None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """[b h w c] -> `depth` feature maps, finest first."""
        width = LAYOUTS[self.layout][0]
        stem = divisible(32 * width)
        x = ConvNormAct(
            stem, 3, 2, activation="silu", padding=self._padding(3, 2, 2, 1), style=self.style, name="stem"
        )(x, train)
        features: list[jax.Array] = []
        taps = self._taps()
        for number, (stage, i) in enumerate(self.blocks()):
            if number in taps:
                features.append(x)
            expansion, channels, _, kernel, stride = ROWS[stage - 1]
            strided = stride == 2 and i == 1
            reach = 2 ** (len(features) + 1)  # the stride here if nothing were dilated
            step = 2 if strided and reach <= self.output_stride else 1
            seen = reach // 2 if strided and not self.style.dilate_first else reach
            dilation = max(1, seen // self.output_stride)
            x = remat(MBConv, self.style)(
                divisible(channels * width),
                expansion,
                kernel,
                step,
                dilation,
                self._padding(kernel, reach, step, dilation) if strided else None,
                self.drop_path * number / taps[-1],
                self.style,
                name=f"stage{stage}_block{i}",
            )(x, train)
        return [*features, x]


PARTS = (
    *("expand/conv", "expand/norm", "depthwise/conv", "depthwise/norm"),
    *("squeeze", "excite", "project/conv", "project/norm"),
)


def _named(
    stem: tuple[str, str], block: Callable[[int, int, int], list[str]]
) -> Callable[[EfficientNet], dict[str, str]]:
    """The names of `Naming.layers` from those of the stem and of block (stage, block, number of all before it)."""

    def layers(net: EfficientNet) -> dict[str, str]:
        names = {"stem/conv": stem[0], "stem/norm": stem[1]}
        for number, (stage, i) in enumerate(net.blocks()):
            theirs = block(stage, i, number)
            parts = PARTS[-len(theirs) :]  # the first stage does not expand
            names |= {f"stage{stage}_block{i}/{part}": name for part, name in zip(parts, theirs, strict=True)}
        return names

    return layers


def _keras(stage: int, i: int, number: int) -> list[str]:
    del number
    ends = ["expand_conv", "expand_bn"] * (stage > 1)
    ends += ["dwconv", "bn", "se_reduce", "se_expand", "project_conv", "project_bn"]
    return [f"block{stage}{chr(ord('a') + i - 1)}_{end}" for end in ends]


def _torchvision(stage: int, i: int, number: int) -> list[str]:
    del number
    at = int(stage > 1)  # place of the depthwise convolution in the sequence
    ends = ["0.0", "0.1"] * at
    ends += [f"{at}.0", f"{at}.1", f"{at + 1}.fc1", f"{at + 1}.fc2", f"{at + 2}.0", f"{at + 2}.1"]
    return [f"features.{stage}.{i - 1}.block.{end}" for end in ends]


def _timm(stage: int, i: int, number: int) -> list[str]:
    del number
    squeeze = ["se.conv_reduce", "se.conv_expand"]
    ends = ["conv_dw", "bn1", *squeeze, "conv_pw", "bn2"]
    if stage > 1:
        ends = ["conv_pw", "bn1", "conv_dw", "bn2", *squeeze, "conv_pwl", "bn3"]
    return [f"blocks.{stage - 1}.{i - 1}.{end}" for end in ends]


def _smp(stage: int, i: int, number: int) -> list[str]:
    del i
    ends = ["expand_conv", "bn0"] * (stage > 1)
    ends += ["depthwise_conv", "bn1", "se_reduce", "se_expand", "project_conv", "bn2"]
    return [f"_blocks.{number}._{end}" for end in ends]


NAMINGS = {
    "torchvision": Naming(
        _named(("features.0.0", "features.0.1"), _torchvision), unused=(r"(classifier|features\.8)\..*",)
    ),
    "timm": Naming(_named(("conv_stem", "bn1"), _timm), unused=(r"(classifier|conv_head|bn2)\..*",)),
    "smp": Naming(_named(("_conv_stem", "_bn0"), _smp), style="smp", unused=(r"(_conv_head|_bn1|_fc)\..*",)),
    # The file's layer `normalization` holds ImageNet's deviation where a variance belongs, so that it divides by its
    # root; Keras divides by that root once more (https://github.com/tensorflow/tensorflow/issues/49930). Together that
    # is the usual normalisation.
    "keras": Naming(
        _named(("stem_conv", "stem_bn"), _keras),
        layout="keras",
        style="keras",
        unused=(
            r"normalization(_\d+)?/.*",
            r"top_(conv|bn)/.*",
            r"(conv2d|batch_normalization)_\d+/\d",
            *KERAS_CLASSIFIER,
        ),
    ),
}


def namings(layout: str) -> Mapping[str, Naming]:
    """Library -> names in its weight files of this layout."""
    if layout not in FROM_TENSORFLOW:
        return NAMINGS
    return {**NAMINGS, "timm": replace(NAMINGS["timm"], style="keras")}


def _build(model: ModelConfig, style: Style, library: str, *, layout: str) -> nn.Module:
    return EfficientNet(
        layout=layout,
        output_stride=model.encoder.output_stride,
        depth=model.encoder.depth or 5,
        drop_path=model.encoder.drop_path,
        smp=library == "smp",
        style=style,
    )


def _entry(layout: str) -> Encoder:
    name = layout.replace("efficientnet_b", "EfficientNetB")
    build = partial(_build, layout=layout)
    return Encoder(build, epsilon(layout), namings(layout), name)


ENCODERS: Mapping[str, Encoder] = {layout: _entry(layout) for layout in LAYOUTS}
