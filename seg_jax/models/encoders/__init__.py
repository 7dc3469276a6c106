"""Encoders: an image to feature maps, finest first; a file for each family, and the table of all."""

from __future__ import annotations

from collections.abc import Mapping

from seg_jax.models.encoders import (
    convnext,
    efficientnet,
    efficientnet_lite,
    fcdensenet,
    mit,
    mobilenet,
    mobilenetv2,
    plain,
    resnet,
    vgg,
)
from seg_jax.models.entries import Encoder

ENCODERS: Mapping[str, Encoder] = {
    **plain.ENCODERS,
    **fcdensenet.ENCODERS,
    **resnet.ENCODERS,
    **vgg.ENCODERS,
    **mobilenet.ENCODERS,
    **mobilenetv2.ENCODERS,
    **efficientnet.ENCODERS,
    **efficientnet_lite.ENCODERS,
    **convnext.ENCODERS,
    **mit.ENCODERS,
}
