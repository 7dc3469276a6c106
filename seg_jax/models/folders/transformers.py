"""transformers: config.json with the class and its settings, preprocessor_config.json with the normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.models.encoders import convnext, mit, mit_block
from seg_jax.models.folders.document import Fields, Folder, Normalisation, choose, same
from seg_jax.models.weights.files import WeightsError, read_json


def _mit(document: Mapping[str, Any], path: Path) -> Fields:
    fixed = {
        "num_attention_heads": mit.HEADS,
        "sr_ratios": mit.RATIOS,
        "mlp_ratios": (mit_block.EXPANSION,) * 4,
        "patch_sizes": (7, 3, 3, 3),
        "strides": (4, 2, 2, 2),
        "hidden_act": "gelu",
        "reshape_last_stage": True,
    }
    same(document, {key: (list(v) if isinstance(v, tuple) else v,) for key, v in fixed.items()}, path)
    depths, widths = document.get("depths", (2, 2, 2, 2)), document.get("hidden_sizes", (32, 64, 160, 256))
    layouts = {str(layout): name for name, layout in mit.LAYOUTS.items()}
    return {"model.encoder.name": choose(layouts, str((tuple(depths), tuple(widths))), path, "the Mix Transformer")}


def _convnext(document: Mapping[str, Any], path: Path) -> Fields:
    same(document, {"hidden_act": ("gelu",), "patch_size": (4,)}, path)
    depths, widths = document.get("depths") or (3, 3, 9, 3), document.get("hidden_sizes") or convnext.CHANNELS
    layouts = {str((layout, convnext.CHANNELS)): name for name, layout in convnext.LAYOUTS.items()}
    return {"model.encoder.name": choose(layouts, str((tuple(depths), tuple(widths))), path, "the ConvNeXt")}


def _segformer(document: Mapping[str, Any], path: Path) -> Fields:
    channels = document.get("decoder_hidden_size", 256)
    return {"model.name": "segformer", "model.channels": channels, **_mit(document, path)}


def _upernet(document: Mapping[str, Any], path: Path) -> Fields:
    backbone = document.get("backbone_config") or {}
    build = choose({"convnext": _convnext}, str(backbone.get("model_type")), path, "the backbone")
    same(backbone, {"out_features": (["stage1", "stage2", "stage3", "stage4"],)}, path)
    return {
        "model.name": "upernet",
        "model.channels": document.get("hidden_size", 512),
        "model.pool_bins": tuple(document.get("pool_scales", (1, 2, 3, 6))),
        **build(backbone, path),
    }


# Their class -> our name of the network, and the tensor whose first axis is the width of its decoder.
WIDTHS = {
    "SegformerForSemanticSegmentation": ("segformer", "decode_head.linear_fuse.weight"),
    "UperNetForSemanticSegmentation": ("upernet", "decode_head.fpn_bottleneck.conv.weight"),
}


def guess(tensors: Mapping[str, np.ndarray], encoder: str) -> tuple[str, Fields] | None:
    """(architecture, our fields) of a state dict without config.json, see `smp.guess`."""
    for network, (name, tensor) in WIDTHS.items():
        if tensor in tensors:
            fields = {"model.name": name, "model.channels": tensors[tensor].shape[0], "model.encoder.name": encoder}
            return network, fields
    return None


# Their class -> (our fields from its config.json, whether it is a whole network).
ARCHITECTURES: Mapping[str, tuple[Callable[[Mapping[str, Any], Path], Fields], bool]] = {
    "SegformerForSemanticSegmentation": (_segformer, True),
    "UperNetForSemanticSegmentation": (_upernet, True),
    "SegformerForImageClassification": (_mit, False),
    "SegformerModel": (_mit, False),
    "ConvNextForImageClassification": (_convnext, False),
    "ConvNextModel": (_convnext, False),
}


# What all of their networks for segmentation have in common.
WHOLE: Fields = {"model.align_corners": False, "model.encoder.depth": 5, "model.encoder.output_stride": 32}


def read(path: Path, document: Mapping[str, Any]) -> Folder:
    """What the config.json of a folder of transformers says; `document` is its content."""
    network = (document.get("architectures") or [f"a {document.get('model_type')} without architectures"])[0]
    build, whole = choose(ARCHITECTURES, network, path, "the architecture")
    labels = document.get("id2label") or {str(i): "" for i in range(document.get("num_labels", 2))}
    names = tuple(labels[key] for key in sorted(labels, key=int))
    named = any(name and name != f"LABEL_{i}" for i, name in enumerate(names))
    return Folder(
        path,
        "transformers",
        network,
        whole,
        fields=build(document, path) | (WHOLE if whole else {}),
        classes=len(names) if whole else 0,
        names=names if whole and named else (),
        normalisation=_preprocessor(path),
    )


def _preprocessor(path: Path) -> Normalisation | None:
    """(mean, deviation) of RGB in 0..1 in the file beside config.json that says how images are prepared."""
    file = path / "preprocessor_config.json"
    if not file.is_file():
        return None
    document = read_json(file)
    if document.get("image_mean") is None and document.get("do_normalize", True):
        return None
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if document.get("do_normalize", True):
        mean, std = tuple(document["image_mean"]), tuple(document["image_std"])
    factor = 255 * (document.get("rescale_factor", 1 / 255) if document.get("do_rescale", True) else 1)
    if len(mean) != 3 or len(std) != 3 or not all(x > 0 for x in std) or not factor > 0:
        raise WeightsError(
            f"{file}: image_mean = {list(mean)}, image_std = {list(std)}: there are three numbers each, for red, green "
            "and blue, and deviations are positive. Correct the file, or pass the path of the weight file."
        )
    scale = 1 if abs(factor - 1) < 1e-6 else factor
    return tuple(float(x) / scale for x in mean), tuple(float(x) / scale for x in std)
