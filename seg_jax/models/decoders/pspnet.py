"""PSPNet (Zhao et al. 2017): pyramid pooling over any encoder, and the auxiliary head that the paper introduced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from seg_jax.config import ModelConfig
from seg_jax.models.entries import Architecture
from seg_jax.models.layers import ConvNormAct, Head, Style
from seg_jax.models.resampling import resize_bilinear


def adaptive_average_pool(x: jax.Array, bins: int) -> jax.Array:
    """[b h w c] -> [b bins bins c], means over a grid of rectangles, for any h and w.

    Bin i of n pixels reaches from floor(i n / bins) to ceil((i + 1) n / bins), as in PyTorch: neighbouring bins share
    pixels if n is not a multiple of bins, and no bin is empty even if n is smaller.
    """
    rows, columns = (jnp.asarray(_shares(size, bins), x.dtype) for size in x.shape[1:3])
    # Two products: TFLite's converter rejects a product of all three if there is one bin.
    return jnp.einsum("jw,biwc->bijc", columns, jnp.einsum("ih,bhwc->biwc", rows, x))


def _shares(size: int, bins: int) -> Any:
    """float32 [bins size]: the weight of every pixel in the mean of every bin; `size` may be symbolic."""
    xp: Any = np if isinstance(size, int) else jnp
    bin = xp.arange(bins)[:, None]
    start, end = bin * size // bins, -(-(bin + 1) * size // bins)
    inside = (xp.arange(size) >= start) & (xp.arange(size) < end)
    return xp.where(inside, 1 / (end - start), 0).astype(xp.float32)


class PyramidPooling(nn.Module):
    """Average pooling to several grids, each followed by a 1x1 convolution and upsampling to the map's size.

    Attributes:
      bins: for each grid, the number of bins along an axis.
      channels: channels of every branch; 0: the channels of the map divided by the number of branches.
      norm_of_one: whether the grid with one bin has a norm. Its batch statistics have only one value for each image of
        the batch; segmentation_models.pytorch's PSPNet has no norm there.
      align_corners: how branches are upsampled, see `resampling.resize_bilinear`.
    """

    bins: tuple[int, ...] = (1, 2, 3, 6)
    channels: int = 0
    norm_of_one: bool = True
    align_corners: bool = False
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """[b h w c] -> [b h w channels] for each of `bins`."""
        width = self.channels or x.shape[-1] // len(self.bins)
        branches = []
        for bins in self.bins:
            style = self.style if bins > 1 or self.norm_of_one else replace(self.style, norm="none")
            y = adaptive_average_pool(x, bins)
            y = ConvNormAct(width, 1, style=style, name=f"bins{bins}")(y, train)
            branches.append(resize_bilinear(y, (x.shape[1], x.shape[2]), align_corners=self.align_corners))
        return branches


class AuxiliaryHead(nn.Module):
    """Logits from an inner stage of the encoder, for a second loss in training (section 3.3 of the paper)."""

    classes: int
    dropout: float = 0.1
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> [b h w classes]."""
        x = ConvNormAct(x.shape[-1] // 4, style=self.style, name="conv")(x, train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Head(self.classes, dtype=self.style.dtype, name="head")(x)


class PSPNetDecoder(nn.Module):
    """Pyramid pooling of the coarsest features, and a convolution that fuses them with the pooled ones.

    Attributes:
      classes: channels of the logits.
      bins, norm_of_one, align_corners: see `PyramidPooling`.
      channels: channels of the fused features.
      head_kernel: kernel size of the convolution to logits: 1, with a 3x3 fusing convolution, as in the paper; or 3,
        with a 1x1 fusing convolution, as in segmentation_models.pytorch.
      dropout: rate before the logits.
      aux: whether there is an auxiliary head, on the stage before the last.
    """

    classes: int
    bins: tuple[int, ...] = (1, 2, 3, 6)
    channels: int = 512
    head_kernel: int = 1
    norm_of_one: bool = True
    align_corners: bool = False
    dropout: float = 0.1
    aux: bool = False
    style: Style = Style()

    @property
    def one_value(self) -> bool:
        """Whether a norm sees maps of 1x1, one value for each image."""
        return self.norm_of_one and 1 in self.bins

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], train: bool) -> dict[str, jax.Array]:
        """Features, finest first -> logits [b h w k] at the size of the coarsest, and 'aux' in training."""
        x = features[-1]
        pooled = PyramidPooling(
            self.bins, norm_of_one=self.norm_of_one, align_corners=self.align_corners, style=self.style, name="pyramid"
        )(x, train)
        x = jnp.concatenate([*pooled, x], axis=-1)
        x = ConvNormAct(self.channels, 1 if self.head_kernel > 1 else 3, style=self.style, name="fuse")(x, train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        outputs = {"logits": Head(self.classes, self.head_kernel, dtype=self.style.dtype, name="head")(x)}
        if self.aux and (train or self.is_initializing()):
            head = AuxiliaryHead(self.classes, self.dropout, self.style, name="aux_head")
            outputs["aux"] = head(features[-2], train)
        return outputs


def smp_names(decoder: PSPNetDecoder) -> Mapping[str, str]:
    """Layers of segmentation_models.pytorch's PSPNet."""
    names = {"fuse/conv": "decoder.conv.0", "fuse/norm": "decoder.conv.1", "head": "segmentation_head.0"}
    for i, bins in enumerate(decoder.bins):
        theirs = f"decoder.psp.blocks.{i}.pool.1"
        names |= {f"pyramid/bins{bins}/conv": f"{theirs}.0", f"pyramid/bins{bins}/norm": f"{theirs}.1"}
    return names


def _build(model: ModelConfig, classes: int, style: Style) -> nn.Module:
    return PSPNetDecoder(
        classes=classes,
        bins=tuple(model.pool_bins),
        channels=model.channels or 512,
        head_kernel=model.head_kernel,
        norm_of_one=model.encoder.style != "smp",
        align_corners=model.align_corners,
        dropout=model.dropout,
        style=style,
    )


PSPNET = Architecture(_build, output_stride=8, names={"smp": smp_names})
