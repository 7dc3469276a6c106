"""Every architecture and encoder by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import flax.linen as nn

from seg_jax.config import Config, ConfigError
from seg_jax.models import danet, deeplab, fcn, fpn, pspnet, segformer, segnet, unet, upernet
from seg_jax.models.encoders import convnext, efficientnet, mit, mobilenet, mobilenetv2, plain, resnet, vgg
from seg_jax.models.layers import Style
from seg_jax.models.naming import Naming


@dataclass(frozen=True)
class Encoder:
    """How an encoder is built, and whose weights it takes.

    Attributes:
      build: (config.model, style of its blocks, name of the style) -> module.
      epsilon: name of a style, 'torch', 'keras' or 'smp' -> epsilon of its norms; the styles that there are.
      namings: library -> names in its weight files; {} if there are none.
      keras: the function of keras.applications that has weights by name, or ''.
    """

    build: Callable[[Config, Style, str], nn.Module]
    epsilon: Mapping[str, float] = field(default_factory=lambda: {"torch": 1e-5})
    namings: Mapping[str, Naming] = field(default_factory=dict)
    keras: str = ""


@dataclass(frozen=True)
class Architecture:
    """How a decoder is built, and where it wants its encoder.

    Attributes:
      build: (config.model, classes, style of its blocks) -> module.
      output_stride: of the encoder, unless the configuration says otherwise; the paper's.
      names: library -> (decoder -> {path of our module in the decoder: their layer}), for weights of whole networks.
      transformers: what transformers puts in front of the names of the encoder's layers.
    """

    build: Callable[[Config, int, Style], nn.Module]
    output_stride: int = 32
    names: Mapping[str, Callable[[Any], Mapping[str, str]]] = field(default_factory=dict)
    transformers: str = ""


def _plain(model: Config, style: Style, library: str) -> nn.Module:
    del library
    return plain.PlainEncoder(
        width=model.encoder.width, depth=model.encoder.depth or 4, dropout=model.dropout, style=style
    )


def _resnet(model: Config, style: Style, library: str, *, layout: str) -> nn.Module:
    keras = library == "keras"
    return resnet.ResNet(
        layout=layout,
        output_stride=model.encoder.output_stride,
        depth=model.encoder.depth or 5,
        stride_first=keras,
        bias=True if keras else None,
        style=style,
    )


def _vgg(model: Config, style: Style, library: str, *, normed: bool) -> nn.Module:
    del library  # all of them have the same arithmetic
    style = style if normed else replace(style, norm="none")
    return vgg.VGG16(output_stride=model.encoder.output_stride, depth=model.encoder.depth or 5, style=style)


def _mobilenet(model: Config, style: Style, library: str) -> nn.Module:
    del library  # the style says it all
    return mobilenet.MobileNet(
        alpha=model.encoder.alpha,
        output_stride=model.encoder.output_stride,
        depth=model.encoder.depth or 5,
        style=style,
    )


def _mobilenetv2(model: Config, style: Style, library: str) -> nn.Module:
    del library  # the style says it all
    return mobilenetv2.MobileNetV2(
        alpha=model.encoder.alpha,
        output_stride=model.encoder.output_stride,
        depth=model.encoder.depth or 5,
        style=style,
    )


def _efficientnet(model: Config, style: Style, library: str, *, layout: str) -> nn.Module:
    return efficientnet.EfficientNet(
        layout=layout,
        output_stride=model.encoder.output_stride,
        depth=model.encoder.depth or 5,
        drop_path=model.encoder.drop_path,
        smp=library == "smp",
        style=style,
    )


def _depth_from_2(model: Config) -> int:
    if model.encoder.depth == 1:
        raise ConfigError(
            f"config.model.encoder.depth = 1: the first features of {model.encoder.name} have a quarter of the "
            "resolution. Use 2 to 5, or 0 for all."
        )
    return model.encoder.depth or 5


def _convnext(model: Config, style: Style, library: str, *, layout: str) -> nn.Module:
    del library  # all of them have the same arithmetic
    return convnext.ConvNeXt(
        layout=layout,
        output_stride=model.encoder.output_stride,
        depth=_depth_from_2(model),
        drop_path=model.encoder.drop_path,
        style=style,
    )


def _mit(model: Config, style: Style, library: str, *, layout: str) -> nn.Module:
    del library  # the style says it all
    return mit.MixTransformer(
        layout=layout,
        output_stride=model.encoder.output_stride,
        depth=_depth_from_2(model),
        drop_path=model.encoder.drop_path,
        style=style,
    )


def _resnet_entry(layout: str) -> Encoder:
    if resnet.LAYOUTS[layout][1]:
        name = layout.replace("resnet", "ResNet")
        return Encoder(partial(_resnet, layout=layout), resnet.EPSILON, resnet.NAMINGS, name)
    # Keras has no networks of the smaller blocks.
    epsilon = {library: value for library, value in resnet.EPSILON.items() if library != "keras"}
    return Encoder(partial(_resnet, layout=layout), epsilon, {"torchvision": resnet.NAMINGS["torchvision"]})


def _vgg_bn_entry() -> Encoder:
    # Keras has no VGG-16 with batch norm.
    epsilon = {library: value for library, value in vgg.EPSILON.items() if library != "keras"}
    return Encoder(partial(_vgg, normed=True), epsilon, {"torchvision": vgg.NAMINGS["torchvision"]})


def _efficientnet_entry(layout: str) -> Encoder:
    name = layout.replace("efficientnet_b", "EfficientNetB")
    build = partial(_efficientnet, layout=layout)
    return Encoder(build, efficientnet.epsilon(layout), efficientnet.namings(layout), name)


def _convnext_entry(layout: str) -> Encoder:
    name = "ConvNeXt" + layout.removeprefix("convnext_").title()
    return Encoder(partial(_convnext, layout=layout), convnext.EPSILON, convnext.NAMINGS, name)


ENCODERS: Mapping[str, Encoder] = {
    "plain": Encoder(_plain),
    **{layout: _resnet_entry(layout) for layout in resnet.LAYOUTS},
    "vgg16": Encoder(partial(_vgg, normed=False), vgg.EPSILON, vgg.NAMINGS, "VGG16"),
    "vgg16_bn": _vgg_bn_entry(),
    "mobilenet": Encoder(_mobilenet, mobilenet.EPSILON, mobilenet.NAMINGS, "MobileNet"),
    "mobilenetv2": Encoder(_mobilenetv2, mobilenetv2.EPSILON, mobilenetv2.NAMINGS, "MobileNetV2"),
    **{layout: _efficientnet_entry(layout) for layout in efficientnet.LAYOUTS},
    **{layout: _convnext_entry(layout) for layout in convnext.LAYOUTS},
    **{layout: Encoder(partial(_mit, layout=layout), mit.EPSILON, mit.NAMINGS) for layout in mit.LAYOUTS},
}


def _unet(model: Config, classes: int, style: Style) -> nn.Module:
    return unet.UNetDecoder(
        classes=classes,
        channels=tuple(model.decoder_channels),
        upsampling=model.upsampling,
        head_kernel=model.head_kernel,
        dropout=model.dropout,
        style=style,
    )


def _as_smp(model: Config) -> bool:
    """Whether blocks are where segmentation_models.pytorch has them, and not where the paper does."""
    return model.encoder.style == "smp"


def _deeplabv3plus(model: Config, classes: int, style: Style) -> nn.Module:
    return deeplab.DeepLabV3PlusDecoder(
        classes=classes,
        rates=tuple(model.aspp_rates),
        channels=model.channels or 256,
        separable=model.separable,
        refinements=(1, 1) if _as_smp(model) else (0, 2),
        align_corners=model.align_corners,
        dropout=model.dropout,
        style=style,
    )


def _deeplabv3(model: Config, classes: int, style: Style) -> nn.Module:
    return deeplab.DeepLabV3Decoder(
        classes=classes,
        rates=tuple(model.aspp_rates),
        channels=model.channels or 256,
        separable=model.separable,
        dropout=model.dropout,
        style=style,
    )


def _pspnet(model: Config, classes: int, style: Style) -> nn.Module:
    return pspnet.PSPNetDecoder(
        classes=classes,
        bins=tuple(model.pool_bins),
        channels=model.channels or 512,
        head_kernel=model.head_kernel,
        norm_of_one=not _as_smp(model),
        align_corners=model.align_corners,
        dropout=model.dropout,
        style=style,
    )


def _upernet(model: Config, classes: int, style: Style) -> nn.Module:
    return upernet.UPerNetDecoder(
        classes=classes,
        bins=tuple(model.pool_bins),
        channels=model.channels or 512,
        norm_features=model.encoder.style in ("smp", "transformers"),
        dropout=model.dropout,
        style=style,
    )


def _fpn(model: Config, classes: int, style: Style) -> nn.Module:
    return fpn.FPNDecoder(
        classes=classes,
        channels=model.channels or 128,
        align_corners=model.align_corners,
        dropout=model.dropout,
        style=style,
    )


def _fcn(model: Config, classes: int, style: Style, *, stride: int) -> nn.Module:
    return fcn.FCNDecoder(
        classes=classes, stride=stride, channels=model.channels or 4096, dropout=model.dropout, style=style
    )


def _segformer(model: Config, classes: int, style: Style) -> nn.Module:
    large = model.encoder.name in ("mit_b2", "mit_b3", "mit_b4", "mit_b5")
    return segformer.SegFormerDecoder(
        classes=classes, channels=model.channels or (768 if large else 256), dropout=model.dropout, style=style
    )


def _danet(model: Config, classes: int, style: Style) -> nn.Module:
    return danet.DANetDecoder(classes=classes, channels=model.channels, dropout=model.dropout, style=style)


def _segnet(model: Config, classes: int, style: Style) -> nn.Module:
    return segnet.SegNetDecoder(classes=classes, dropout=model.dropout, style=style)


MODELS: Mapping[str, Architecture] = {
    "danet": Architecture(_danet, output_stride=8),
    "deeplabv3": Architecture(_deeplabv3, output_stride=8, names={"smp": deeplab.smp_names}),
    "deeplabv3plus": Architecture(_deeplabv3plus, output_stride=16, names={"smp": deeplab.smp_plus_names}),
    "fcn32s": Architecture(partial(_fcn, stride=32)),
    "fcn16s": Architecture(partial(_fcn, stride=16)),
    "fcn8s": Architecture(partial(_fcn, stride=8)),
    "fpn": Architecture(_fpn, names={"smp": fpn.smp_names}),
    "pspnet": Architecture(_pspnet, output_stride=8, names={"smp": pspnet.smp_names}),
    "segformer": Architecture(
        _segformer,
        names={"smp": segformer.smp_names, "transformers": segformer.transformers_names},
        transformers="segformer.",
    ),
    "segnet": Architecture(_segnet),
    "unet": Architecture(_unet, names={"smp": unet.smp_names}),
    "upernet": Architecture(
        _upernet,
        names={"smp": upernet.smp_names, "transformers": upernet.transformers_names},
        transformers="backbone.",
    ),
}
