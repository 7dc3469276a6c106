"""UPerNet (Xiao et al. 2018): pyramid pooling of the coarsest features, and a feature pyramid over all maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.config import ModelConfig
from seg_jax.models.decoders.pspnet import AuxiliaryHead, PyramidPooling
from seg_jax.models.entries import Architecture
from seg_jax.models.layers import ConvNormAct, Head, Style
from seg_jax.models.resampling import resize_bilinear


class UPerNetDecoder(nn.Module):
    """A top-down pyramid of the four coarsest maps (strides 4, 8, 16, 32), fused at the finest resolution.

    Attributes:
      classes: channels of the logits.


      bins: bins of the pyramid pooling, see `PyramidPooling`.
      channels: channels of every map.
      norm_features: whether every map of the encoder first gets a layer norm over its channels, as in
        segmentation_models.pytorch.
      dropout: rate before the logits.
      aux: whether there is an auxiliary head, on the stage before the last.
    """

    classes: int
    bins: tuple[int, ...] = (1, 2, 3, 6)
    channels: int = 512
    norm_features: bool = False
    dropout: float = 0.1
    aux: bool = False
    style: Style = Style()

    @property
    def one_value(self) -> bool:
        """Whether a norm sees maps of 1x1, one value for each image."""
        return 1 in self.bins

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], train: bool) -> dict[str, jax.Array]:
        """Features, finest first -> logits [b h/4 w/4 k], and 'aux' in training."""
        outputs = {}
        if self.aux and (train or self.is_initializing()):
            head = AuxiliaryHead(self.classes, self.dropout, self.style, name="aux_head")
            outputs["aux"] = head(features[-2], train)
        maps = list(features[-4:])
        if self.norm_features:
            maps = [
                nn.LayerNorm(epsilon=1e-6, dtype=self.style.dtype, name=f"norm{level}")(x)
                for level, x in enumerate(maps, start=1)
            ]
        *finer, x = maps
        pooled = PyramidPooling(self.bins, self.channels, style=self.style, name="pyramid")(x, train)
        x = self._conv(jnp.concatenate([x, *pooled], axis=-1), 3, "pyramid_fuse", train)
        pyramid = [x]
        for level, lateral in reversed(list(enumerate(finer, start=1))):
            lateral = self._conv(lateral, 1, f"lateral{level}", train)
            x = lateral + resize_bilinear(x, (lateral.shape[1], lateral.shape[2]))
            pyramid.insert(0, self._conv(x, 3, f"output{level}", train))
        size = (pyramid[0].shape[1], pyramid[0].shape[2])
        x = jnp.concatenate([resize_bilinear(level, size) for level in pyramid], axis=-1)
        x = self._conv(x, 3, "fuse", train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return {"logits": Head(self.classes, dtype=self.style.dtype, name="head")(x), **outputs}

    def _conv(self, x: jax.Array, kernel: int, name: str, train: bool) -> jax.Array:
        return ConvNormAct(self.channels, kernel, style=self.style, name=name)(x, train)


def smp_names(decoder: UPerNetDecoder) -> Mapping[str, str]:
    """Layers of segmentation_models.pytorch's UPerNet."""
    convs = {"pyramid_fuse": "decoder.psp.out_conv", "fuse": "decoder.fusion_block"}
    convs |= {f"pyramid/bins{bins}": f"decoder.psp.blocks.{i}.1" for i, bins in enumerate(decoder.bins)}
    for level in (1, 2, 3):  # the library's begin with the coarsest
        convs[f"lateral{level}"] = f"decoder.fpn_lateral_blocks.{3 - level}.conv_norm_relu"
        convs[f"output{level}"] = f"decoder.fpn_conv_blocks.{3 - level}"
    names = {f"norm{level}": f"decoder.feature_norms.{level - 1}" for level in (1, 2, 3, 4)}
    for ours, theirs in convs.items():
        names |= {f"{ours}/conv": f"{theirs}.0", f"{ours}/norm": f"{theirs}.1"}
    return {**names, "head": "segmentation_head.0"}


def transformers_names(decoder: UPerNetDecoder) -> Mapping[str, str]:
    """Layers of the decoder of transformers' UperNetForSemanticSegmentation, and the norms of its ConvNeXt's maps."""
    convs = {"pyramid_fuse": "bottleneck", "fuse": "fpn_bottleneck"}
    convs |= {f"pyramid/bins{bins}": f"psp_modules.{i}.1" for i, bins in enumerate(decoder.bins)}
    for level in (1, 2, 3):
        convs |= {f"lateral{level}": f"lateral_convs.{level - 1}", f"output{level}": f"fpn_convs.{level - 1}"}
    names = {f"norm{level}": f"backbone.hidden_states_norms.stage{level}" for level in (1, 2, 3, 4)}
    for ours, theirs in convs.items():
        names |= {f"{ours}/conv": f"decode_head.{theirs}.conv", f"{ours}/norm": f"decode_head.{theirs}.batch_norm"}
    return {**names, "head": "decode_head.classifier"}


def _build(model: ModelConfig, classes: int, style: Style) -> nn.Module:
    return UPerNetDecoder(
        classes=classes,
        bins=tuple(model.pool_bins),
        channels=model.channels or 512,
        norm_features=model.encoder.style in ("smp", "transformers"),
        dropout=model.dropout,
        style=style,
    )


UPERNET = Architecture(
    _build, names={"smp": smp_names, "transformers": transformers_names}, transformers_prefix="backbone."
)
