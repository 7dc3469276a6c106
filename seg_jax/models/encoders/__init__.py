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

# Millions of parameters at the default width and depth, to be listed without tracing every network.
MILLIONS: Mapping[str, float] = {
    "plain": 4.71,
    "fcdensenet56": 0.7, "fcdensenet67": 1.71, "fcdensenet103": 4.38,
    "resnet18": 11.18, "resnet34": 21.28, "resnet50": 23.51, "resnet101": 42.5, "resnet152": 58.14,
    "vgg16": 14.71, "vgg16_bn": 14.72,
    "mobilenet": 3.21,
    "mobilenetv2": 2.22,
    "efficientnet_b0": 3.6, "efficientnet_b1": 6.1, "efficientnet_b2": 7.2, "efficientnet_b3": 10.1,
    "efficientnet_b4": 16.74, "efficientnet_b5": 27.29, "efficientnet_b6": 39.4, "efficientnet_b7": 62.14,
    "efficientnet_lite0": 2.96, "efficientnet_lite1": 3.72, "efficientnet_lite2": 4.36,
    "efficientnet_lite3": 6.42, "efficientnet_lite4": 11.15,
    "convnext_tiny": 27.82, "convnext_small": 49.45,
    "mit_b0": 3.32, "mit_b1": 13.15, "mit_b2": 24.2, "mit_b3": 44.07, "mit_b4": 60.84, "mit_b5": 81.44,
}  # fmt: skip
