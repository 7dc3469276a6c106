"""SegFormer's decoder (Xie et al. 2021, section 3.2): a linear layer on each of four maps, and one that fuses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.config import ModelConfig
from seg_jax.models.entries import Architecture
from seg_jax.models.layers import Dtype, Head, Norm, Style, kaiming
from seg_jax.models.resampling import resize_bilinear


class Fusion(nn.Module):
    """A 1x1 convolution of all maps, upsampled bilinearly to the finest and concatenated, coarsest first.

    It is computed as the sum of one convolution for each map, before the upsampling. Both are linear, one in the
    channels and one in the pixels, so their order does not matter. This saves two thirds of the products, and the
    concatenation is never in memory.
    """

    channels: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array]) -> jax.Array:
        """Maps of equal width, finest first -> [b h w channels], h and w of the finest."""
        shape = (1, 1, sum(x.shape[-1] for x in maps), self.channels)
        kernel = self.param("kernel", kaiming, shape, jnp.float32).astype(self.dtype)
        parts = jnp.split(kernel[0, 0], len(maps))
        h, w = maps[0].shape[1:3]
        return reduce(add, (resize_bilinear(x @ part, (h, w)) for x, part in zip(maps[::-1], parts, strict=True)))


class SegFormerDecoder(nn.Module):
    """Fuses the four coarsest maps (strides 4, 8, 16, 32) after projecting them to equal channels and stride 4.

    Attributes:
      classes: channels of the logits.
      channels: channels of the linear layers and their fusion; in the paper 256 for MiT-B0 and B1, 768 for the others.
      dropout: rate before the logits.
    """

    classes: int
    channels: int = 256
    dropout: float = 0.1
    style: Style = Style()

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], train: bool) -> dict[str, jax.Array]:
        """Features, finest first -> logits [b h/4 w/4 k]."""
        dtype = self.style.dtype
        maps = [
            nn.Dense(self.channels, dtype=dtype, name=f"linear{level}")(x)
            for level, x in enumerate(features[-4:], start=1)
        ]
        x = Fusion(self.channels, dtype, name="fuse")(maps)
        x = nn.relu(Norm(self.style, name="norm")(x, train))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return {"logits": Head(self.classes, dtype=dtype, name="head")(x)}


def transformers_names(decoder: SegFormerDecoder) -> Mapping[str, str]:
    """Layers of the decoder of transformers' SegformerForSemanticSegmentation."""
    del decoder
    levels = {f"linear{level}": f"decode_head.linear_c.{level - 1}.proj" for level in (1, 2, 3, 4)}
    ends = {"fuse": "linear_fuse", "norm": "batch_norm", "head": "classifier"}
    return levels | {ours: f"decode_head.{theirs}" for ours, theirs in ends.items()}


def smp_names(decoder: SegFormerDecoder) -> Mapping[str, str]:
    """Layers of segmentation_models.pytorch's Segformer."""
    del decoder
    levels = {f"linear{level}": f"decoder.mlp_stage.{4 - level}.linear" for level in (1, 2, 3, 4)}
    return levels | {"fuse": "decoder.fuse_stage.0", "norm": "decoder.fuse_stage.1", "head": "segmentation_head.0"}


def _build(model: ModelConfig, classes: int, style: Style) -> nn.Module:
    large = model.encoder.name in ("mit_b2", "mit_b3", "mit_b4", "mit_b5")
    return SegFormerDecoder(
        classes=classes, channels=model.channels or (768 if large else 256), dropout=model.dropout, style=style
    )


SEGFORMER = Architecture(
    _build, names={"smp": smp_names, "transformers": transformers_names}, transformers_prefix="segformer."
)
