"""Folders of `save_pretrained`: what their config.json says about the network, in the fields of our configuration.

Folders of segmentation_models.pytorch, transformers and timm are read. A setting that our networks do not have is
refused: weights of a network that is only nearly the same would load and give other logits.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_jax.config import Config, defaults, flatten, with_fields
from seg_jax.models.folders import smp, timm, transformers
from seg_jax.models.folders.document import Folder
from seg_jax.models.weights.files import IN_FOLDERS, WeightsError, read_json

__all__ = ["NETWORK", "Folder", "decides", "is_folder", "read", "take"]

# What a folder says about the network; at its default a field is left open.
NETWORK = (
    *("model.name", "model.decoder_channels", "model.channels", "model.upsampling", "model.head_kernel"),
    *("model.align_corners", "model.aspp_rates", "model.separable", "model.pool_bins"),
    *("model.encoder.name", "model.encoder.alpha", "model.encoder.depth"),
)

READERS = {"segmentation_models.pytorch": smp.read, "transformers": transformers.read, "timm": timm.read}


def is_folder(path: Path) -> bool:
    """Whether this looks like a folder of `save_pretrained`; a run directory does not."""
    if any((path / name).is_file() for name in IN_FOLDERS):
        return True
    try:
        return _library(read_json(path / "config.json")) != ""
    except WeightsError:
        return False


def read(path: Path) -> Folder:
    """What the folder's config.json and preprocessor_config.json say; weights are not read.

    Raises:
      WeightsError: there is no config.json, it is damaged, or it describes a network that we do not have.
    """
    file = path / "config.json"
    document = read_json(file)
    library = _library(document)
    if not library:
        raise WeightsError(
            f"{file} names no network: it has neither _model_class (segmentation_models.pytorch), architectures "
            "(transformers) nor architecture (timm). Pass the path of the weight file and set the fields of config."
            "model: `python -m seg_jax.models FILE` proposes them."
        )
    try:
        folder = READERS[library](path, document)
        _require_types(folder)
        return folder
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{file} is not as {library} writes it ({error!r}); fetch it again.") from error


def _require_types(folder: Folder) -> None:
    usual = defaults()
    for field, value in folder.fields.items():
        numbers = value if isinstance(value, tuple) else ()
        if type(value) is not type(usual[field]) or not all(type(n) is int for n in numbers):
            raise TypeError(f"{field} would be {value!r}")


def _library(document: Mapping[str, Any]) -> str:
    keys = {
        "_model_class": "segmentation_models.pytorch",
        "architectures": "transformers",
        "model_type": "transformers",
        "architecture": "timm",
    }
    return next((library for key, library in keys.items() if key in document), "")


def decides(folder: Folder, *, whole: bool) -> list[str]:
    """The fields that a folder decides; for an encoder alone not how deep its old decoder looked into it."""
    alone = ("model.encoder.name", "model.encoder.alpha", "model.encoder.style")
    return [field for field in folder.fields if whole or field in alone]


def filled(config: Config, folder: Folder, *, whole: bool) -> Config:
    """`config` with what the folder says in the fields of `NETWORK` that have their default.

    Raises:
      WeightsError: the folder holds an encoder alone but a whole network is asked for, or a field has a value other
        than its default and the folder's.
    """
    if whole and not folder.whole:
        raise WeightsError(
            f"{folder.path} holds {folder.network} of {folder.library}, an encoder alone. Pass it as "
            "--config.model.encoder.weights instead of --config.model.weights."
        )
    now, usual = flatten(config), defaults()
    taken = {field: folder.fields[field] for field in decides(folder, whole=whole) if field in NETWORK}
    wrong = {field: value for field, value in taken.items() if now[field] not in (usual[field], value)}
    if wrong:
        rows = "\n".join(f"  config.{field}: now {now[field]!r}, there {value!r}" for field, value in wrong.items())
        raise WeightsError(
            f"{folder.path} holds {folder.network} of {folder.library}, which is another network:\n{rows}\n"
            f"Use the folder's values: {' '.join(shlex.quote(f'--config.{field}={v}') for field, v in wrong.items())}"
        )
    changed = [f"{field}={value}" for field, value in taken.items() if now[field] != value]
    logging.info("%s of %s in %s decides: %s", folder.network, folder.library, folder.path, ", ".join(changed))
    return with_fields(config, taken)
