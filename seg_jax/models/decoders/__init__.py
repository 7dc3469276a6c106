"""Decoders: feature maps, finest first, to logits; a file for each paper, and the table of all architectures."""

from __future__ import annotations

from collections.abc import Mapping

from seg_jax.config import ModelConfig
from seg_jax.models.decoders import danet, deeplab, fcdensenet, fcn, fpn, pspnet, segformer, segnet, unet, upernet
from seg_jax.models.entries import Architecture
from seg_jax.models.layers import Style

MODELS: Mapping[str, Architecture] = {
    "danet": danet.DANET,
    "deeplabv3": deeplab.DEEPLABV3,
    "deeplabv3plus": deeplab.DEEPLABV3PLUS,
    **fcdensenet.FCDENSENETS,
    "fcn32s": fcn.FCN32S,
    "fcn16s": fcn.FCN16S,
    "fcn8s": fcn.FCN8S,
    "fpn": fpn.FPN,
    "pspnet": pspnet.PSPNET,
    "segformer": segformer.SEGFORMER,
    "segnet": segnet.SEGNET,
    "unet": unet.UNET,
    "upernet": upernet.UPERNET,
}


def least_images(model: ModelConfig) -> int:
    """The number of images that batch statistics of the decoder have to be taken over at least.

    2 where it normalises maps of 1x1: of one image the variance is 0, in training nothing passes but the bias, and
    evaluation divides by a running variance of almost 0.
    """
    decoder = MODELS[model.name].build(model, 2, Style())
    return 2 if model.norm == "batch" and getattr(decoder, "one_value", False) else 1
