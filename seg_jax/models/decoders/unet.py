"""U-Net (Ronneberger et al. 2015): an expanding path with skip connections, over any encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.config import ModelConfig
from seg_jax.models.entries import Architecture
from seg_jax.models.layers import ConvNormAct, Head, Style, UpConv, remat
from seg_jax.models.resampling import upsample_bilinear, upsample_nearest

UPSAMPLINGS = ("transpose", "nearest", "bilinear")


class UNetDecoder(nn.Module):
    """From the coarsest features upwards: double the resolution, append the skip, two 3x3 convolutions.

    Attributes:
      classes: channels of the logits.
      channels: output channels of each upward step, coarsest first; () mirrors the encoder, as in the paper. One more
        step than there are skips upsamples beyond the finest features, to the full resolution.
      upsampling: 'transpose' (the paper's 2x2 up-convolution, which halves the channels), 'nearest' or 'bilinear'.
      head_kernel: kernel size of the convolution to logits: 1 in the paper, 3 in segmentation_models.pytorch.
      dropout: rate before the logits.
    """

    classes: int
    channels: tuple[int, ...] = ()
    upsampling: str = "transpose"
    head_kernel: int = 1
    dropout: float = 0.0
    style: Style = Style()

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], train: bool) -> dict[str, jax.Array]:
        """Features, finest first -> logits [b h w k] at the finest resolution reached, in the style's dtype."""
        *skips, x = features
        skips = skips[::-1]
        channels = self.channels or tuple(skip.shape[-1] for skip in skips)
        for step, width in enumerate(channels):
            skip = skips[step] if step < len(skips) else None
            x = self._up(x, 2 if skip is None else skip.shape[1] // x.shape[1], width, f"up{step + 1}")
            if skip is not None:
                x = jnp.concatenate([x, skip], axis=-1)
            for i in (1, 2):
                x = remat(ConvNormAct, self.style)(width, style=self.style, name=f"up{step + 1}_conv{i}")(x, train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return {"logits": Head(self.classes, self.head_kernel, dtype=self.style.dtype, name="head")(x)}

    def _up(self, x: jax.Array, factor: int, width: int, name: str) -> jax.Array:
        if factor == 1:  # in a dilated encoder the skip has the same resolution
            return x
        if self.upsampling == "transpose":
            return UpConv(width, dtype=self.style.dtype, name=name)(x)
        return {"nearest": upsample_nearest, "bilinear": upsample_bilinear}[self.upsampling](x, factor)


def smp_names(decoder: UNetDecoder) -> Mapping[str, str]:
    """Layers of segmentation_models.pytorch's Unet."""
    del decoder
    names = {"head": "segmentation_head.0"}
    for step in range(5):
        for i in (1, 2):
            ours, theirs = f"up{step + 1}_conv{i}", f"decoder.blocks.{step}.conv{i}"
            names |= {f"{ours}/conv": f"{theirs}.0", f"{ours}/norm": f"{theirs}.1"}
    return names


def _build(model: ModelConfig, classes: int, style: Style) -> nn.Module:
    return UNetDecoder(
        classes=classes,
        channels=tuple(model.decoder_channels),
        upsampling=model.upsampling,
        head_kernel=model.head_kernel,
        dropout=model.dropout,
        style=style,
    )


UNET = Architecture(_build, names={"smp": smp_names})
