"""Decoders: feature maps, finest first, to logits; a file for each paper, and the table of all architectures."""

from __future__ import annotations

from collections.abc import Mapping

from seg_jax.models.decoders import danet, deeplab, fcdensenet, fcn, fpn, pspnet, segformer, segnet, unet, upernet
from seg_jax.models.entries import Architecture

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
