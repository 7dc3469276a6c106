"""Semantic FPN (Kirillov et al. 2019, section 3.1): the sum of a feature pyramid's levels, upsampled to stride 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import flax.linen as nn
import jax

from seg_jax.config import ModelConfig
from seg_jax.models.entries import Architecture
from seg_jax.models.layers import Conv, ConvNormAct, Head, Style
from seg_jax.models.resampling import resize_bilinear, upsample_nearest

WIDTH = 256  # channels of the pyramid (Lin et al. 2017)


class FPNDecoder(nn.Module):
    """A top-down pyramid of the four coarsest maps (strides 4, 8, 16, 32), then a stack of convolutions for each level.

    The convolutions of the stacks have group norm, as in the paper; the pyramid has no norm.

    Attributes:
      classes: channels of the logits.
      channels: channels of the stacks.
      align_corners: how the stacks upsample, see `resampling.resize_bilinear`.
      dropout: rate before the logits.
    """

    classes: int
    channels: int = 128
    align_corners: bool = False
    dropout: float = 0.0
    style: Style = Style()

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], train: bool) -> dict[str, jax.Array]:
        """Features, finest first -> logits [b h/4 w/4 k]."""
        maps = features[-4:]
        levels: list[jax.Array] = []
        for level in range(len(maps), 0, -1):
            x = Conv(WIDTH, 1, bias=True, dtype=self.style.dtype, name=f"lateral{level}")(maps[level - 1])
            if levels:
                x += upsample_nearest(levels[0], x.shape[1] // levels[0].shape[1])
            levels.insert(0, x)
        finest, *others = (
            self._stack(x, levels[0].shape[1], f"level{i}", train) for i, x in enumerate(levels, start=1)
        )
        x = sum(others, finest)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return {"logits": Head(self.classes, dtype=self.style.dtype, name="head")(x)}

    def _stack(self, x: jax.Array, height: int, name: str, train: bool) -> jax.Array:
        """3x3 convolutions, each followed by doubling the resolution, until `height` is reached; at least one."""
        style = replace(self.style, norm="group")
        count = 0
        while count == 0 or x.shape[1] < height:
            count += 1
            x = ConvNormAct(self.channels, style=style, name=f"{name}_conv{count}")(x, train)
            if x.shape[1] < height:
                x = resize_bilinear(x, (2 * x.shape[1], 2 * x.shape[2]), align_corners=self.align_corners)
        return x


def smp_names(decoder: FPNDecoder) -> Mapping[str, str]:
    """Layers of segmentation_models.pytorch's FPN."""
    del decoder
    names = {"lateral4": "decoder.p5", "head": "segmentation_head.0"}
    for level in (1, 2, 3):
        names[f"lateral{level}"] = f"decoder.p{level + 1}.skip_conv"
    for level in (1, 2, 3, 4):  # the library's stacks begin with the coarsest
        for i in range(max(level - 1, 1)):
            theirs = f"decoder.seg_blocks.{4 - level}.block.{i}.block"
            names[f"level{level}_conv{i + 1}/conv"] = f"{theirs}.0"
            names[f"level{level}_conv{i + 1}/norm/gn"] = f"{theirs}.1"
    return names


def _build(model: ModelConfig, classes: int, style: Style) -> nn.Module:
    return FPNDecoder(
        classes=classes,
        channels=model.channels or 128,
        align_corners=model.align_corners,
        dropout=model.dropout,
        style=style,
    )


FPN = Architecture(_build, names={"smp": smp_names})
