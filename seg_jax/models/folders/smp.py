"""segmentation_models.pytorch: the arguments of a network's constructor are its config.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.models.encoders import ENCODERS
from seg_jax.models.folders.document import Fields, Folder, choose, same
from seg_jax.models.weights.files import WeightsError
from seg_jax.models.weights.naming import UNIT

BATCH_NORM: tuple[Any, ...] = ("batchnorm", True, {"type": "batchnorm"})
# Settings that change neither the tensors nor the logits, but for the activation, which comes after them.
FREE = re.compile(
    r"_model_class|encoder_(name|weights|depth)|in_channels|classes|activation|aux_params|upsampling|.*_dropout"
)


@dataclass(frozen=True)
class Smp:
    """One of their architectures.

    Attributes:
      name: of ours.
      taken: their setting -> (our field, their default).
      fixed: our field -> value, whatever they set.
      same: their setting -> the values that our network has.
      depths: of the encoder; theirs first.
    """

    name: str
    taken: Mapping[str, tuple[str, Any]]
    fixed: Fields = field(default_factory=dict)
    same: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    depths: tuple[int, ...] = (5,)


_ATROUS = {
    "decoder_channels": ("model.channels", 256),
    "decoder_atrous_rates": ("model.aspp_rates", (12, 24, 36)),
}
_NORM = {"decoder_use_norm": BATCH_NORM, "decoder_use_batchnorm": (True,), "psp_use_batchnorm": (True,)}
ARCHITECTURES: Mapping[str, Smp] = {
    "Unet": Smp(
        "unet",
        {
            "decoder_channels": ("model.decoder_channels", (256, 128, 64, 32, 16)),
            "decoder_interpolation": ("model.upsampling", "nearest"),
        },
        {"model.head_kernel": 3},
        {**_NORM, "decoder_attention_type": (None,), "decoder_interpolation": ("nearest", "bilinear")},
        depths=(5, 4, 3),
    ),
    "PSPNet": Smp(
        "pspnet",
        {"psp_out_channels": ("model.channels", 512)},
        {"model.head_kernel": 3, "model.pool_bins": (1, 2, 3, 6)},
        _NORM,
        depths=(3, 4, 5),
    ),
    "DeepLabV3": Smp(
        "deeplabv3",
        {
            **_ATROUS,
            "decoder_aspp_separable": ("model.separable", False),
            "encoder_output_stride": ("model.encoder.output_stride", 8),
        },
    ),
    "DeepLabV3Plus": Smp(
        "deeplabv3plus",
        {
            **_ATROUS,
            "decoder_aspp_separable": ("model.separable", True),
            "encoder_output_stride": ("model.encoder.output_stride", 16),
        },
        same={"decoder_aspp_separable": (True,)},
    ),
    "FPN": Smp(
        "fpn",
        {"decoder_segmentation_channels": ("model.channels", 128)},
        same={
            "decoder_pyramid_channels": (256,),
            "decoder_merge_policy": ("add",),
            "decoder_interpolation": ("nearest",),
        },
    ),
    "UPerNet": Smp("upernet", {"decoder_channels": ("model.channels", 256)}, {"model.pool_bins": (1, 2, 3, 6)}, _NORM),
    "Segformer": Smp("segformer", {"decoder_segmentation_channels": ("model.channels", 256)}),
}


def our_encoder(name: str) -> str:
    """'mobilenet_v2' -> 'mobilenetv2', 'efficientnet-b0' -> 'efficientnet_b0': our name, whether we have it or not."""
    return name.replace("_v2", "v2").replace("-", "_")


def fields_of(document: Mapping[str, Any], path: Path) -> Fields:
    """Our fields for a network that segmentation_models.pytorch builds with the arguments in `document`."""
    theirs = choose(ARCHITECTURES, document["_model_class"], path, "the architecture")
    encoders = {name: name for name, entry in ENCODERS.items() if "smp" in entry.epsilon}
    encoder = choose(encoders, our_encoder(document.get("encoder_name", "resnet34")), path, "the encoder")
    depth = document.get("encoder_depth", theirs.depths[0])
    same({"encoder_depth": depth}, {"encoder_depth": theirs.depths}, path)
    same(document, theirs.same, path)
    known = theirs.taken.keys() | theirs.same.keys()
    for key, value in document.items():
        if key not in known and not FREE.fullmatch(key) and value is not None:
            same({key: value}, {key: (None,)}, path)
    fields = {"model.name": theirs.name, "model.align_corners": True, "model.encoder.name": encoder}
    fields |= {"model.encoder.depth": depth, **theirs.fixed}
    if theirs.name == "pspnet":
        fields["model.encoder.output_stride"] = 2**depth  # the last map that they use; nothing is dilated
    for key, (ours, default) in theirs.taken.items():
        value = document.get(key, default)
        fields[ours] = tuple(value) if isinstance(value, list) else value
    return fields


# Their architecture -> the tensor of its decoder whose first axis is the setting beside it.
WIDTHS: Mapping[str, tuple[str, str]] = {
    "PSPNet": ("decoder.conv.0.weight", "psp_out_channels"),
    "DeepLabV3": ("decoder.conv.weight", "decoder_channels"),
    "DeepLabV3Plus": ("decoder.block2.0.1.weight", "decoder_channels"),
    "FPN": ("decoder.seg_blocks.0.block.0.block.0.weight", "decoder_segmentation_channels"),
    "UPerNet": ("decoder.fusion_block.0.weight", "decoder_channels"),
    "Segformer": ("decoder.fuse_stage.0.weight", "decoder_segmentation_channels"),
}


def guess(tensors: Mapping[str, np.ndarray], encoder: str) -> tuple[str, Fields] | None:
    """(architecture, our fields) of a state dict without config.json: widths are measured, the rest is as by default.

    Args:
      tensors: by the library's own names.
      encoder: our name of the encoder.
    """
    document: dict[str, Any] = {"encoder_name": encoder}
    blocks = [tensors[name].shape[0] for i in range(5) if (name := f"decoder.blocks.{i}.conv1.0.weight") in tensors]
    found = [architecture for architecture, (name, _) in WIDTHS.items() if name in tensors]
    if blocks:
        document |= {"_model_class": "Unet", "decoder_channels": blocks, "encoder_depth": len(blocks)}
    elif found:
        name, setting = WIDTHS[found[0]]
        document |= {"_model_class": found[0], setting: tensors[name].shape[0]}
    else:
        return None
    if document["_model_class"] == "DeepLabV3":
        document["decoder_aspp_separable"] = "decoder.aspp.convs.1.0.0.weight" in tensors
    try:
        return document["_model_class"], fields_of(document, Path("the file"))
    except WeightsError:  # an encoder that we do not have in their arithmetic
        return None


def read(path: Path, document: Mapping[str, Any]) -> Folder:
    """What the config.json of a folder of segmentation_models.pytorch says; `document` is its content."""
    normalisation = UNIT if document.get("encoder_weights") == "advprop" else None
    return Folder(
        path,
        "segmentation_models.pytorch",
        document["_model_class"],
        whole=True,
        fields={"model.encoder.output_stride": 32, **fields_of(document, path)},
        classes=int(document.get("classes", 1)),
        normalisation=normalisation,
    )
