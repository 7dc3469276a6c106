"""DeepLabV3 and V3+ (Chen et al. 2017, 2018): atrous spatial pyramid pooling over any encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.config import ModelConfig
from seg_jax.models.decoders.pspnet import AuxiliaryHead
from seg_jax.models.entries import Architecture
from seg_jax.models.layers import Conv, ConvNormAct, Head, Style
from seg_jax.models.resampling import resize_bilinear


class SeparableConvNormAct(nn.Module):
    """Depthwise 3x3 convolution, 1x1 convolution, norm, ReLU (section 3.1 of the second paper)."""

    features: int
    dilation: int = 1
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> [b h w features]."""
        c = x.shape[-1]
        x = Conv(
            c, 3, dilation=self.dilation, groups=c, padding=self.style.padding, dtype=self.style.dtype, name="depthwise"
        )(x)
        return ConvNormAct(self.features, 1, style=self.style, name="point")(x, train)


def _convolution(separable: bool) -> type[ConvNormAct] | type[SeparableConvNormAct]:
    return SeparableConvNormAct if separable else ConvNormAct


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: parallel 3x3 convolutions at several dilations beside image pooling.

    Attributes:
      rates: dilations in pixels of the feature map; a 1x1 branch and image pooling are always present.
      channels: channels of every branch and of the result.
      separable: whether the 3x3 convolutions are depthwise separable.
      dropout: rate after the projection.
    """

    rates: tuple[int, ...]
    channels: int = 256
    separable: bool = False
    dropout: float = 0.5
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> [b h w channels]."""
        conv = _convolution(self.separable)
        branches = [ConvNormAct(self.channels, 1, style=self.style, name="point")(x, train)]
        for rate in self.rates:
            branches.append(conv(self.channels, dilation=rate, style=self.style, name=f"rate{rate}")(x, train))
        pooled = x.mean(axis=(1, 2), keepdims=True, dtype=jnp.float32)
        pooled = ConvNormAct(self.channels, 1, style=self.style, name="image")(pooled, train)
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        y = ConvNormAct(self.channels, 1, style=self.style, name="project")(jnp.concatenate(branches, axis=-1), train)
        return nn.Dropout(self.dropout, deterministic=not train)(y)


class DeepLabV3Decoder(nn.Module):
    """ASPP and a 3x3 convolution; the latter is not in the paper, but in torchvision and other libraries.

    Attributes:
      classes: channels of the logits.
      rates: dilations of the ASPP; (12, 24, 36) belongs to output stride 8, half of that to 16.
      channels: width (256 in the paper).
      separable: whether ASPP's 3x3 convolutions are depthwise separable.
      dropout: rate after ASPP's projection.
      aux: whether there is an auxiliary head, on the stage before the last, as in torchvision.
    """

    classes: int
    rates: tuple[int, ...] = (12, 24, 36)
    channels: int = 256
    separable: bool = False
    dropout: float = 0.5
    aux: bool = False
    style: Style = Style()

    @property
    def one_value(self) -> bool:
        """Whether a norm sees maps of 1x1, one value for each image."""
        return True

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], train: bool) -> dict[str, jax.Array]:
        """Features, finest first -> logits [b h w k] at the size of the coarsest, and 'aux' in training."""
        aspp = ASPP(self.rates, self.channels, self.separable, self.dropout, self.style, name="aspp")
        x = ConvNormAct(self.channels, style=self.style, name="refine")(aspp(features[-1], train), train)
        outputs = {"logits": Head(self.classes, dtype=self.style.dtype, name="head")(x)}
        if self.aux and (train or self.is_initializing()):
            head = AuxiliaryHead(self.classes, self.dropout, self.style, name="aux_head")
            outputs["aux"] = head(features[-2], train)
        return outputs


class DeepLabV3PlusDecoder(nn.Module):
    """ASPP on the coarsest features, upsampled to stride 4 and refined with low-level features.

    Attributes:
      classes: channels of the logits.
      rates: dilations of the ASPP; (6, 12, 18) belongs to output stride 16, twice that to 8.
      channels: width of ASPP and decoder (256 in the paper).
      low_level_channels: channels of the reduced low-level features (48 in the paper).
      separable: whether all 3x3 convolutions are depthwise separable (section 4 of the paper).
      refinements: number of 3x3 convolutions before the upsampling, and after the low-level features are appended:
        (0, 2) in the paper, (1, 1) in segmentation_models.pytorch.
      align_corners: how features are upsampled, see `resampling.resize_bilinear`.
      dropout: rate after ASPP's projection and before the logits.
    """

    classes: int
    rates: tuple[int, ...] = (6, 12, 18)
    channels: int = 256
    low_level_channels: int = 48
    separable: bool = False
    refinements: tuple[int, int] = (0, 2)
    align_corners: bool = False
    dropout: float = 0.1
    style: Style = Style()

    @property
    def one_value(self) -> bool:
        """Whether a norm sees maps of 1x1, one value for each image."""
        return True

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], train: bool) -> dict[str, jax.Array]:
        """Features, finest first -> logits [b h/4 w/4 k]."""
        # The finest of the four coarsest maps: stride 4 in every network with five halvings.
        low = features[-4:][0]
        x = ASPP(self.rates, self.channels, self.separable, self.dropout, self.style, name="aspp")(features[-1], train)
        before, after = self.refinements
        for i in range(before):
            x = self._refine(x, i + 1, train)
        x = resize_bilinear(x, (low.shape[1], low.shape[2]), align_corners=self.align_corners)
        low = ConvNormAct(self.low_level_channels, 1, style=self.style, name="low_level")(low, train)
        x = jnp.concatenate([x, low], axis=-1)
        for i in range(before, before + after):
            x = self._refine(x, i + 1, train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return {"logits": Head(self.classes, dtype=self.style.dtype, name="head")(x)}

    def _refine(self, x: jax.Array, number: int, train: bool) -> jax.Array:
        conv = _convolution(self.separable)
        return conv(self.channels, style=self.style, name=f"refine{number}")(x, train)


def _smp_conv(ours: str, conv: str, norm: str, *, separable: bool = False) -> dict[str, str]:
    if separable:
        return {f"{ours}/depthwise": f"{conv}.0", f"{ours}/point/conv": f"{conv}.1", f"{ours}/point/norm": norm}
    return {f"{ours}/conv": conv, f"{ours}/norm": norm}


def _smp_aspp(aspp: str, decoder: DeepLabV3Decoder | DeepLabV3PlusDecoder) -> dict[str, str]:
    image = len(decoder.rates) + 1
    names = _smp_conv("aspp/point", f"{aspp}.convs.0.0", f"{aspp}.convs.0.1")
    for i, rate in enumerate(decoder.rates, start=1):
        convs = f"{aspp}.convs.{i}"
        names |= _smp_conv(f"aspp/rate{rate}", f"{convs}.0", f"{convs}.1", separable=decoder.separable)
    names |= _smp_conv("aspp/image", f"{aspp}.convs.{image}.1", f"{aspp}.convs.{image}.2")
    return names | _smp_conv("aspp/project", f"{aspp}.project.0", f"{aspp}.project.1")


def smp_names(decoder: DeepLabV3Decoder) -> Mapping[str, str]:
    """Layers of segmentation_models.pytorch's DeepLabV3."""
    names = _smp_aspp("decoder.aspp", decoder) | _smp_conv("refine", "decoder.conv", "decoder.bn")
    return {**names, "head": "segmentation_head.0"}


def smp_plus_names(decoder: DeepLabV3PlusDecoder) -> Mapping[str, str]:
    """Layers of segmentation_models.pytorch's DeepLabV3Plus."""
    names = _smp_aspp("decoder.aspp.0", decoder) | _smp_conv("low_level", "decoder.block1.0", "decoder.block1.1")
    names |= _smp_conv("refine1", "decoder.aspp.1", "decoder.aspp.2", separable=decoder.separable)
    names |= _smp_conv("refine2", "decoder.block2.0", "decoder.block2.1", separable=decoder.separable)
    return {**names, "head": "segmentation_head.0"}


def _build(model: ModelConfig, classes: int, style: Style) -> nn.Module:
    return DeepLabV3Decoder(
        classes=classes,
        rates=tuple(model.aspp_rates),
        channels=model.channels or 256,
        separable=model.separable,
        dropout=model.dropout,
        style=style,
    )


def _build_plus(model: ModelConfig, classes: int, style: Style) -> nn.Module:
    return DeepLabV3PlusDecoder(
        classes=classes,
        rates=tuple(model.aspp_rates),
        channels=model.channels or 256,
        separable=model.separable,
        # segmentation_models.pytorch has these convolutions at other positions than the paper.
        refinements=(1, 1) if model.encoder.style == "smp" else (0, 2),
        align_corners=model.align_corners,
        dropout=model.dropout,
        style=style,
    )


DEEPLABV3 = Architecture(_build, output_stride=8, names={"smp": smp_names})
DEEPLABV3PLUS = Architecture(_build_plus, output_stride=16, names={"smp": smp_plus_names})
