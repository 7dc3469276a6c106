"""ConvNeXt-T and -S (Liu et al. 2022) as feature pyramids.

All norms are layer norms: `Style.norm` is not used. The arithmetic of all libraries is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.config import ModelConfig
from seg_jax.models.entries import Encoder, depth_from_2
from seg_jax.models.layers import Conv, Style, remat
from seg_jax.models.weights.naming import KERAS_CLASSIFIER, Naming

# name -> blocks of the four stages
LAYOUTS: dict[str, tuple[int, int, int, int]] = {"convnext_tiny": (3, 3, 9, 3), "convnext_small": (3, 3, 27, 3)}
CHANNELS = (96, 192, 384, 768)
EPSILON = {"torch": 1e-6, "transformers": 1e-6}
INIT = nn.initializers.truncated_normal(0.02)  # appendix A.1


class Block(nn.Module):
    """7x7 depthwise convolution, layer norm, 1x1 to four times the channels, GELU, 1x1 back, layer scale; shortcut.

    In training everything but the shortcut is dropped with probability `drop_path`, independently for each image
    (stochastic depth, Huang et al. 2016).
    """

    dilation: int
    drop_path: float
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> the same shape."""
        channels, dtype = x.shape[-1], self.style.dtype
        conv: dict[str, Any] = {"bias": True, "kernel_init": INIT, "dtype": dtype}
        y = Conv(channels, 7, dilation=self.dilation, groups=channels, **conv, name="depthwise")(x)
        y = nn.LayerNorm(self.style.epsilon, dtype=dtype, name="norm")(y)
        y = nn.gelu(Conv(4 * channels, 1, **conv, name="expand")(y), approximate=False)
        y = Conv(channels, 1, **conv, name="project")(y)
        y *= self.param("scale", nn.initializers.constant(1e-6), (channels,), jnp.float32).astype(dtype)
        return x + nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3), name="drop_path")(y, deterministic=not train)


class ConvNeXt(nn.Module):
    """Features of a ConvNeXt at strides 4, 8, 16, 32.

    Attributes:
      layout: a key of `LAYOUTS`.
      output_stride: 32, 16 or 8: stages beyond it are dilated instead of strided, so that features keep this stride.
      depth: number of times the resolution is halved, from 2; later stages are left out.
      drop_path: rate of the last block; rates grow linearly from 0 at the first.
    """

    layout: str = "convnext_tiny"
    output_stride: int = 32
    depth: int = 5
    drop_path: float = 0.0
    style: Style = Style(epsilon=1e-6)

    @property
    def reduction(self) -> int:
        """Input height and width must be multiples of this."""
        return min(self.output_stride, 2**self.depth)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """[b h w c] -> `depth` - 1 feature maps, finest first."""
        dtype = self.style.dtype
        conv: dict[str, Any] = {"bias": True, "kernel_init": INIT, "dtype": dtype}
        x = Conv(CHANNELS[0], 4, 4, padding=(0, 0), **conv, name="stem_conv")(x)
        x = nn.LayerNorm(self.style.epsilon, dtype=dtype, name="stem_norm")(x)
        features: list[jax.Array] = []
        stride, dilation = 4, 1
        last = sum(LAYOUTS[self.layout]) - 1
        for number, (stage, i) in enumerate(self.blocks()):
            if stage > 1 and i == 1:
                features.append(x)
                strided = stride < self.output_stride
                x = nn.LayerNorm(self.style.epsilon, dtype=dtype, name=f"stage{stage}_norm")(x)
                # Without stride, every pixel sees the same neighbours as in the strided convolution.
                x = Conv(
                    CHANNELS[stage - 1],
                    2,
                    2 if strided else 1,
                    dilation,
                    padding=(0, 0) if strided else (0, dilation),
                    **conv,
                    name=f"stage{stage}_conv",
                )(x)
                stride, dilation = (2 * stride, dilation) if strided else (stride, 2 * dilation)
            x = remat(Block, self.style)(
                dilation, self.drop_path * number / last, self.style, name=f"stage{stage}_block{i}"
            )(x, train)
        return [*features, x]

    def blocks(self) -> list[tuple[int, int]]:
        """(stage, block), both from 1, of all blocks up to `depth`."""
        counts = LAYOUTS[self.layout][: self.depth - 1]
        return [(stage, i) for stage, count in enumerate(counts, start=1) for i in range(1, count + 1)]


PARTS = ("depthwise", "norm", "expand", "project", "scale")  # parts of a block
Names = Callable[[ConvNeXt], dict[str, str]]


def _named(
    stem: tuple[str, str],
    between: Callable[[int], tuple[str, str]],
    block: Callable[[int, int], str],
    parts: tuple[str, str, str, str, str],
) -> Names:
    """`Naming.layers` from the names of the stem, of norm and convolution before a stage, and of parts of blocks."""

    def layers(net: ConvNeXt) -> dict[str, str]:
        names = dict(zip(("stem_conv", "stem_norm"), stem, strict=True))
        for stage, i in net.blocks():
            if stage > 1 and i == 1:
                names |= zip((f"stage{stage}_norm", f"stage{stage}_conv"), between(stage), strict=True)
            theirs = block(stage, i)
            names |= {f"stage{stage}_block{i}/{part}": theirs + name for part, name in zip(PARTS, parts, strict=True)}
        return names

    return layers


def _prefixed(names: Names) -> Names:
    """The same names with Keras's prefix, the name of the network."""
    return lambda net: {ours: f"{net.layout}_{theirs}" for ours, theirs in names(net).items()}


_torchvision = _named(
    ("features.0.0", "features.0.1"),
    lambda stage: (f"features.{2 * stage - 2}.0", f"features.{2 * stage - 2}.1"),
    lambda stage, i: f"features.{2 * stage - 1}.{i - 1}.",
    ("block.0", "block.2", "block.3", "block.5", "layer_scale"),
)
_timm = _named(
    ("stem.0", "stem.1"),
    lambda stage: (f"stages.{stage - 1}.downsample.0", f"stages.{stage - 1}.downsample.1"),
    lambda stage, i: f"stages.{stage - 1}.blocks.{i - 1}.",
    ("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"),
)
_transformers = _named(
    ("embeddings.patch_embeddings", "embeddings.layernorm"),
    lambda stage: (
        f"encoder.stages.{stage - 1}.downsampling_layer.0",
        f"encoder.stages.{stage - 1}.downsampling_layer.1",
    ),
    lambda stage, i: f"encoder.stages.{stage - 1}.layers.{i - 1}.",
    ("dwconv", "layernorm", "pwconv1", "pwconv2", "layer_scale_parameter"),
)
_keras = _named(
    ("stem_conv", "stem_layernorm"),
    lambda stage: (f"downsampling_layernorm_{stage - 2}", f"downsampling_conv_{stage - 2}"),
    lambda stage, i: f"stage_{stage - 1}_block_{i - 1}_",
    ("depthwise_conv", "layernorm", "pointwise_conv_1", "pointwise_conv_2", "layer_scale/gamma"),
)
# In Keras the stem and the downsampling before the other stages are models inside the model.
KERAS_KINDS = {
    "depthwise_conv": "conv2d",
    "pointwise_conv_1": "dense",
    "pointwise_conv_2": "dense",
    "layer_scale/gamma": "layer_scale",
    "stem_conv": "sequential/conv2d",
    "stem_layernorm": "sequential/layer_normalization",
    **{f"downsampling_conv_{i}": f"sequential_{i + 1}/conv2d" for i in range(3)},
    **{f"downsampling_layernorm_{i}": f"sequential_{i + 1}/layer_normalization" for i in range(3)},
}

NAMINGS = {
    "torchvision": Naming(_torchvision, image="stem_conv", unused=(r"classifier\..*",)),
    "timm": Naming(_timm, image="stem_conv", unused=(r"head\..*",)),
    # Beside the encoder: a classifier and its norm, or the norms in front of a decoder.
    "transformers": Naming(
        _transformers, image="stem_conv", unused=(r"(classifier|layernorm|hidden_states_norms)\..*",)
    ),
    # Keras's network includes the normalisation with ImageNet's mean and deviation.
    "keras": Naming(
        _prefixed(_keras),
        layout="keras",
        image="stem_conv",
        unused=(r"layer_normalization(_\d+)?/.*", r".*_head_layernorm/.*", *KERAS_CLASSIFIER),
        kinds=KERAS_KINDS,
    ),
}


def _build(model: ModelConfig, style: Style, library: str, *, layout: str) -> nn.Module:
    del library  # all of them have the same arithmetic
    return ConvNeXt(
        layout=layout,
        output_stride=model.encoder.output_stride,
        depth=depth_from_2(model),
        drop_path=model.encoder.drop_path,
        style=style,
    )


def _entry(layout: str) -> Encoder:
    name = "ConvNeXt" + layout.removeprefix("convnext_").title()
    return Encoder(partial(_build, layout=layout), EPSILON, NAMINGS, name)


ENCODERS: Mapping[str, Encoder] = {layout: _entry(layout) for layout in LAYOUTS}
