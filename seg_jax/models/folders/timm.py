"""timm: encoders by name; pretrained_cfg has the normalisation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_jax.models.encoders import ENCODERS
from seg_jax.models.folders.document import Fields, Folder, choose


def fields_of(name: str) -> Fields:
    """'mobilenetv2_050' -> mobilenetv2 of width 0.5; 'tf_efficientnet_b0' -> efficientnet_b0 as TensorFlow pads."""
    name = name.partition(".")[0]
    if match := re.fullmatch(r"mobilenetv([12])_(\d{3})", name):
        encoder = "mobilenetv2" if match[1] == "2" else "mobilenet"
        return {"model.encoder.name": encoder, "model.encoder.alpha": int(match[2]) / 100}
    style: Fields = {"model.encoder.style": "keras"} if name.startswith("tf_efficientnet_b") else {}
    return {"model.encoder.name": name.removeprefix("tf_"), **style}


def read(path: Path, document: Mapping[str, Any]) -> Folder:
    """What the config.json of a folder of timm says; `document` is its content."""
    network = document["architecture"]
    fields = fields_of(network)
    known = {name: name for name, entry in ENCODERS.items() if {"timm", "torchvision"} & entry.namings.keys()}
    choose(known, fields["model.encoder.name"], path, "the encoder")
    images = document.get("pretrained_cfg") or {}
    given = "mean" in images and "std" in images
    return Folder(
        path,
        "timm",
        network,
        whole=False,
        fields=fields,
        normalisation=(tuple(images["mean"]), tuple(images["std"])) if given else None,
    )
