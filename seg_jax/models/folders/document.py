"""What a folder of `save_pretrained` says, and how a document that describes another network is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_jax.config import did_you_mean
from seg_jax.models.weights.files import WeightsError

Fields = dict[str, Any]
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Folder:
    """A folder of `save_pretrained`.

    Attributes:
      path: of the folder.
      library: 'segmentation_models.pytorch', 'transformers' or 'timm'.
      network: its class there ('Unet', 'SegformerForSemanticSegmentation'); timm's name of the encoder.
      whole: it holds encoder and decoder, not an encoder alone.
      fields: fields of our configuration ('model.encoder.name') -> the values that build this network.
      classes: channels of the logits; 0 for an encoder.
      names: of the classes, if the folder has them.
      normalisation: (mean, deviation) of RGB in 0..1; None where the folder does not say.
    """

    path: Path
    library: str
    network: str
    whole: bool
    fields: Mapping[str, Any]
    classes: int = 0
    names: tuple[str, ...] = ()
    normalisation: Normalisation | None = None


def choose(table: Mapping[str, Any], name: str, path: Path, what: str) -> Any:
    """`table[name]`; a WeightsError that lists the names and the nearest one where there is none."""
    if name not in table:
        raise WeightsError(
            f"{path / 'config.json'}: {what} {name!r} is none that we have: {', '.join(table)}."
            f"{did_you_mean(name, table)}"
        )
    return table[name]


def same(document: Mapping[str, Any], expected: Mapping[str, tuple[Any, ...]], path: Path) -> None:
    """Refuses a setting whose value is none of those that our networks have."""
    for key, values in expected.items():
        if key in document and document[key] not in values:
            raise WeightsError(
                f"{path / 'config.json'}: {key} = {document[key]!r}, which our network does not have; it has "
                f"{values[0]!r} and would give other logits. Use weights that were trained with that."
            )
