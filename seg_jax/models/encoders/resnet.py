"""ResNet-18, 34, 50, 101 and 152 (He et al. 2016) as feature pyramids.

A bottleneck's stride is in its 3x3 convolution, as in torchvision ("v1.5"), or in its first 1x1 convolution, as in the
paper and in Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import flax.linen as nn
import jax

from seg_jax.config import ModelConfig
from seg_jax.models.entries import Encoder
from seg_jax.models.layers import ConvNormAct, Style, remat
from seg_jax.models.resampling import max_pool_3x3
from seg_jax.models.weights.naming import CAFFE, KERAS_CLASSIFIER, Naming

# name -> (blocks of the four stages, whether they are bottlenecks); table 1 of the paper
LAYOUTS: dict[str, tuple[tuple[int, int, int, int], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}
EPSILON = {"torch": 1e-5, "keras": 1.001e-5, "smp": 1e-5}


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or with `bottleneck` 1x1, 3x3, 1x1 with four times the channels.

    Attributes:
      stride: stride of the first 3x3 convolution, or of the first 1x1 with `stride_first`.
      dilations: dilation of the first and of the second 3x3 convolution.
      bias: whether all convolutions have a bias; None: only without norm.
    """

    channels: int
    bottleneck: bool
    stride: int
    dilations: tuple[int, int]
    stride_first: bool
    bias: bool | None
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> [b ceil(h / stride) ceil(w / stride) channels or 4 * channels]."""
        conv = partial(ConvNormAct, bias=self.bias, style=self.style)
        out = self.channels * 4 if self.bottleneck else self.channels
        first, second = (self.stride, 1) if self.stride_first else (1, self.stride)
        if self.bottleneck:
            y = conv(self.channels, 1, first, name="conv1")(x, train)
            y = conv(self.channels, 3, second, self.dilations[0], name="conv2")(y, train)
            y = conv(out, 1, activation="none", name="conv3")(y, train)
        else:
            y = conv(self.channels, 3, self.stride, self.dilations[0], name="conv1")(x, train)
            y = conv(out, 3, 1, self.dilations[1], activation="none", name="conv2")(y, train)
        if x.shape != y.shape:
            x = conv(out, 1, self.stride, activation="none", name="shortcut")(x, train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Features of a ResNet at strides 2, 4, 8, 16, 32.

    Attributes:
      layout: a key of `LAYOUTS`.
      output_stride: 32, 16 or 8: stages beyond it are dilated by 2 or 4 instead of strided (Chen et al. 2017), so that
        their features keep this stride.
      depth: number of times the resolution is halved; later stages are left out.
      stride_first: whether a bottleneck's stride is in its first convolution.
      bias: whether all convolutions have a bias; None: only without norm.
    """

    layout: str = "resnet50"
    output_stride: int = 32
    depth: int = 5
    stride_first: bool = False
    bias: bool | None = None
    style: Style = Style()

    @property
    def reduction(self) -> int:
        """Input height and width must be multiples of this."""
        return min(self.output_stride, 2**self.depth)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """[b h w c] -> `depth` feature maps, finest first."""
        blocks, bottleneck = LAYOUTS[self.layout]
        x = ConvNormAct(64, 7, 2, bias=self.bias, padding=(3, 3), style=self.style, name="stem")(x, train)
        features = [x]
        x = max_pool_3x3(x)
        stride, dilation = 4, 1
        for stage, count in enumerate(blocks[: self.depth - 1]):
            for i in range(count):
                step, own = 1, dilation
                if stage and i == 0:
                    if stride < self.output_stride:
                        step, stride = 2, stride * 2
                    else:
                        dilation *= 2
                        # A stride in the 1x1 convolution precedes the 3x3 one, which then sees the coarser grid.
                        own = dilation if self.style.dilate_first or self.stride_first else own
                x = remat(Block, self.style)(
                    64 * 2**stage,
                    bottleneck,
                    step,
                    (own, dilation),
                    self.stride_first,
                    self.bias,
                    self.style,
                    name=f"stage{stage + 1}_block{i + 1}",
                )(x, train)
            features.append(x)
        return features

    def blocks(self) -> list[tuple[int, int]]:
        """(stage, block), both from 1, of all blocks up to `depth`."""
        counts = LAYOUTS[self.layout][0][: self.depth - 1]
        return [(stage, i) for stage, count in enumerate(counts, start=1) for i in range(1, count + 1)]


def _torchvision(net: ResNet) -> dict[str, str]:
    bottleneck = LAYOUTS[net.layout][1]
    layers = {"stem/conv": "conv1", "stem/norm": "bn1"}
    for stage, i in net.blocks():
        ours, theirs = f"stage{stage}_block{i}", f"layer{stage}.{i - 1}"
        for n in range(1, 4 if bottleneck else 3):
            layers |= {f"{ours}/conv{n}/conv": f"{theirs}.conv{n}", f"{ours}/conv{n}/norm": f"{theirs}.bn{n}"}
        if i == 1 and (bottleneck or stage > 1):
            layers |= {f"{ours}/shortcut/conv": f"{theirs}.downsample.0"}
            layers |= {f"{ours}/shortcut/norm": f"{theirs}.downsample.1"}
    return layers


def _keras(net: ResNet) -> dict[str, str]:
    layers = {"stem/conv": "conv1_conv", "stem/norm": "conv1_bn"}
    for stage, i in net.blocks():
        ours, theirs = f"stage{stage}_block{i}", f"conv{stage + 1}_block{i}"
        convs = {1: "conv1", 2: "conv2"} | ({0: "shortcut"} if i == 1 else {}) | {3: "conv3"}
        layers |= {f"{ours}/{part}/conv": f"{theirs}_{n}_conv" for n, part in convs.items()}
        layers |= {f"{ours}/{part}/norm": f"{theirs}_{n}_bn" for n, part in convs.items()}
    return layers


NAMINGS = {
    "torchvision": Naming(_torchvision, unused=(r"fc\..*",)),  # and timm, with the same names
    "keras": Naming(_keras, layout="keras", style="keras", normalisation=CAFFE, bgr=True, unused=KERAS_CLASSIFIER),
}


def _build(model: ModelConfig, style: Style, library: str, *, layout: str) -> nn.Module:
    keras = library == "keras"
    return ResNet(
        layout=layout,
        output_stride=model.encoder.output_stride,
        depth=model.encoder.depth or 5,
        stride_first=keras,
        bias=True if keras else None,
        style=style,
    )


def _entry(layout: str) -> Encoder:
    if LAYOUTS[layout][1]:
        name = layout.replace("resnet", "ResNet")
        return Encoder(partial(_build, layout=layout), EPSILON, NAMINGS, name)
    # Keras has no networks with the smaller blocks.
    epsilon = {library: value for library, value in EPSILON.items() if library != "keras"}
    return Encoder(partial(_build, layout=layout), epsilon, {"torchvision": NAMINGS["torchvision"]})


ENCODERS: Mapping[str, Encoder] = {layout: _entry(layout) for layout in LAYOUTS}
