"""EfficientNet-B0 to B7 (Tan and Le 2019) as feature pyramids; `efficientnet_lite` has those for small devices.

Files of timm's tf_efficientnet_* have the same tensor names as those of its efficientnet_*, but need TensorFlow's
arithmetic: for B0 to B4 set model.encoder.style = 'keras'. From B5 on these names imply that style, because timm has
hardly any other weights of these; timm's own efficientnet_b5 (symmetric padding and epsilon 1e-5) is not supported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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

# (expansion, channels, blocks, kernel, stride) of stages 2 to 8 of table 1, here stages 1 to 7
ROWS = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
# Name -> compound scaling: (width, depth, side of the training images)
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
LITE = {f"efficientnet_lite{n}": LAYOUTS[f"efficientnet_b{n}"] for n in range(3)}  # the others had smaller images
LITE |= {"efficientnet_lite3": (1.2, 1.4, 280), "efficientnet_lite4": (1.4, 1.8, 300)}
# Torchvision's weights of these were converted from TensorFlow.
FROM_TENSORFLOW = ("efficientnet_b5", "efficientnet_b6", "efficientnet_b7")


def epsilon(layout: str) -> Mapping[str, float]:
    """Style of arithmetic -> epsilon of the norms; 'torch' is torchvision's."""
    return {"torch": 1e-3 if layout in FROM_TENSORFLOW else 1e-5, "keras": 1e-3, "smp": 1e-3}


class EfficientNet(nn.Module):
    """Features of an EfficientNet at strides 2, 4, 8, 16, 32: the outputs of the last block before each halving.

    The classifier's 1x1 convolution after the last block is left out.

    Attributes:
      layout: a key of `LAYOUTS` or `LITE`.
      output_stride: 32, 16 or 8: stages beyond it are dilated instead of strided, so that features keep this stride.
      depth: number of times the resolution is halved; blocks after the last map are left out.
      last_stage: whether the stage after the last halving's own is there too (320 channels at the width 1). It has a
        fifth of B0's and Lite0's parameters.
      drop_path: block i of n, counted from 0, has the rate drop_path * i / n.
      smp: as in segmentation_models.pytorch. Strided convolutions are padded as 'same' pads the layout's training
        images, whatever the size of the input. The finest map is the stem's. The map of stride 16 of B0 is the output
        of the first block of stage 5; the other blocks of that stage are dilated together with those of stride 32.
    """

    layout: str = "efficientnet_b0"
    output_stride: int = 32
    depth: int = 5
    last_stage: bool = True
    drop_path: float = 0.0
    smp: bool = False
    style: Style = Style()

    @property
    def scaling(self) -> tuple[float, float, int]:
        """(width, depth, side of the training images)."""
        return {**LAYOUTS, **LITE}[self.layout]

    @property
    def lite(self) -> bool:
        """ReLU6 for swish and no squeeze and excitation; stem, first and last stage are those of B0."""
        return self.layout in LITE

    @property
    def reduction(self) -> int:
        """Input height and width must be multiples of this."""
        return min(self.output_stride, 2**self.depth)

    def _counts(self) -> list[int]:
        """The number of blocks of each stage."""
        counts = [math.ceil(self.scaling[1] * blocks) for _, _, blocks, _, _ in ROWS]
        return [1, *counts[1:-1], 1] if self.lite else counts

    def _taps(self) -> list[int]:
        """For each of the five maps, the number of blocks after which it is taken."""
        ends = [0, *accumulate(self._counts())]
        fourth = ends[4] + 1 if self.smp and self.layout == "efficientnet_b0" else ends[5]
        return [ends[0 if self.smp else 1], ends[2], ends[3], fourth, ends[7 if self.last_stage else 6]]

    def blocks(self) -> list[tuple[int, int]]:
        """(stage, block), both from 1, of all blocks up to `depth`."""
        names = [(stage, i + 1) for stage, count in enumerate(self._counts(), 1) for i in range(count)]
        return names[: self._taps()[self.depth - 1]]

    def _padding(self, kernel: int, reach: int, step: int, dilation: int) -> tuple[int, int] | None:
        """Padding of the convolution that halves the resolution to 1 / `reach` (unless dilated); None: the style's."""
        if self.smp and step == 2:
            return pads("same", -(-self.scaling[2] * 2 // reach), kernel, 2, 1)
        if self.style.padding == "same" and step == 1:
            # On maps of even size, every window begins at the same pixel as in the strided convolution.
            before = (kernel - 2) // 2 * dilation
            return before, (kernel - 1) * dilation - before
        return None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """[b h w c] -> `depth` feature maps, finest first."""
        width, activation = self.scaling[0], "relu6" if self.lite else "silu"
        stem = 32 if self.lite else divisible(32 * width)
        padding = self._padding(3, 2, 2, 1)
        x = ConvNormAct(stem, 3, 2, activation=activation, padding=padding, style=self.style, name="stem")(x, train)
        features: list[jax.Array] = []
        taps = self._taps()
        for number, (stage, i) in enumerate(self.blocks()):
            if number in taps:
                features.append(x)
            expansion, channels, _, kernel, stride = ROWS[stage - 1]
            strided = stride == 2 and i == 1
            reach = 2 ** (len(features) + 1)  # the stride of the output in an undilated network
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
                activation,
                not self.lite,
                name=f"stage{stage}_block{i}",
            )(x, train)
        return [*features, x]


PARTS = (
    *("expand/conv", "expand/norm", "depthwise/conv", "depthwise/norm"),
    *("squeeze", "excite", "project/conv", "project/norm"),
)


def named(
    stem: tuple[str, str], block: Callable[[int, int, int], list[str]], parts: Sequence[str] = PARTS
) -> Callable[[EfficientNet], dict[str, str]]:
    """`Naming.layers` from the names of the stem and a function (stage, block, number of blocks before) -> names.

    Those are the names of `parts`, or in the first stage of all but the first two: it does not expand.
    """

    def layers(net: EfficientNet) -> dict[str, str]:
        names = {"stem/conv": stem[0], "stem/norm": stem[1]}
        for number, (stage, i) in enumerate(net.blocks()):
            theirs = block(stage, i, number)
            ours = parts[-len(theirs) :]
            names |= {f"stage{stage}_block{i}/{part}": name for part, name in zip(ours, theirs, strict=True)}
        return names

    return layers


def _keras(stage: int, i: int, number: int) -> list[str]:
    del number
    ends = ["expand_conv", "expand_bn"] * (stage > 1)
    ends += ["dwconv", "bn", "se_reduce", "se_expand", "project_conv", "project_bn"]
    return [f"block{stage}{chr(ord('a') + i - 1)}_{end}" for end in ends]


def _torchvision(stage: int, i: int, number: int) -> list[str]:
    del number
    at = int(stage > 1)  # index of the depthwise convolution in the sequence
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
        named(("features.0.0", "features.0.1"), _torchvision), unused=(r"(classifier|features\.8)\..*",)
    ),
    "timm": Naming(named(("conv_stem", "bn1"), _timm), unused=(r"(classifier|conv_head|bn2)\..*",)),
    "smp": Naming(named(("_conv_stem", "_bn0"), _smp), style="smp", unused=(r"(_conv_head|_bn1|_fc)\..*",)),
    # The file's layer `normalization` has ImageNet's deviation in place of the variance, so it divides by its root;
    # Keras divides by that root again (https://github.com/tensorflow/tensorflow/issues/49930). Together this is the
    # usual normalisation.
    "keras": Naming(
        named(("stem_conv", "stem_bn"), _keras),
        layout="keras",
        style="keras",
        unused=(
            *(r"normalization(_\d+)?/.*", r"top_(conv|bn)/.*", r"(conv2d|batch_normalization)_\d+/\d"),
            *KERAS_CLASSIFIER,
        ),
    ),
}


def namings(layout: str) -> Mapping[str, Naming]:
    """Library -> names in its weight files of this layout."""
    if layout not in FROM_TENSORFLOW:
        return NAMINGS
    return {**NAMINGS, "timm": replace(NAMINGS["timm"], style="keras")}


def build(model: ModelConfig, style: Style, library: str, *, layout: str) -> nn.Module:
    """The encoder that `config.model.encoder` describes."""
    return EfficientNet(
        layout=layout,
        output_stride=model.encoder.output_stride,
        depth=model.encoder.depth or 5,
        last_stage=model.encoder.last_stage,
        drop_path=model.encoder.drop_path,
        smp=library == "smp",
        style=style,
    )


def _entry(layout: str) -> Encoder:
    keras = layout.replace("efficientnet_b", "EfficientNetB")
    return Encoder(partial(build, layout=layout), epsilon(layout), namings(layout), keras)


ENCODERS: Mapping[str, Encoder] = {layout: _entry(layout) for layout in LAYOUTS}
