"""Pseudo-labels: what a trained network predicts for unlabelled photographs, ignored where it is not confident.

The network is that of a run or of an exported file. Predictions are kept beside what is being written, so that each
photograph passes through the network once, also after an interruption.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seg_jax.config import ConfigError, DataConfig
from seg_jax.curate import layout, listed, roles
from seg_jax.curate.proposal import Proposal, common_size, try_size
from seg_jax.data import Source
from seg_jax.data.examples import Examples, Pair
from seg_jax.data.images import DataError, read_photograph
from seg_jax.data.prepared import PREDICTED
from seg_jax.predict.predictor import Predictor
from seg_jax.runtime.files import write_bytes


@dataclass(frozen=True)
class Labeller:
    """A network that labels photographs.

    Attributes:
      predictor: the network.
      model: its path, for people.
      min_confidence: pixels whose class has a smaller probability are ignored; in [0, 1).
    """

    predictor: Predictor
    model: str
    min_confidence: float

    @classmethod
    def load(cls, model: str, min_confidence: float) -> Labeller:
        """The labeller of a run directory or an exported file.

        Raises:
          ConfigError: `min_confidence` is no such probability.
          ArtefactError, CheckpointError, ConfigError: there is no network, or it is damaged.
        """
        if not 0 <= min_confidence < 1:
            raise ConfigError(
                f"--min_confidence={min_confidence}: it is a probability from 0 (no pixel is ignored) to below 1. Use "
                "0.9."
            )
        predictor = Predictor.load(model)
        if not predictor.depth.is_rgb:
            raise ConfigError(
                f"{model} sees bands {predictor.depth.bands} in the range {predictor.depth.range}, but "
                "--labels=predict labels RGB of 8 bits. Use python -m seg_jax.predict, whose masks can be trained on."
            )
        return cls(predictor, model, min_confidence)

    @property
    def record(self) -> dict[str, Any]:
        """What made the labels, as JSON values."""
        return {"model": self.model, "identity": self.predictor.identity, "min_confidence": self.min_confidence}

    def label(self, path: Path, image: np.ndarray) -> np.ndarray:
        """The label [h w] of a photograph, ignored where the network is not confident.

        Args:
          path: its file, which a network of other bands or depths reads itself.
          image: its pixels, uint8 [h w 3] for a network of such images.

        Raises:
          DataError: the photograph is too large to pass as a whole, or the network gives no probabilities.
        """
        try:
            prediction = self.predictor(image if self.predictor.depth.is_rgb else path)
        except DataError as error:
            size = f"{image.shape[0]}x{image.shape[1]}"
            raise DataError(
                f"{path} has {size} pixels (height x width), too many to pass through the network as a whole. Cut it "
                "into tiles."
            ) from error
        if prediction.confidence is None:
            raise DataError(
                f"{self.model} gives labels without probabilities, by which --min_confidence decides. Name its run, or "
                "export it with --output=probabilities."
            )
        table = self.predictor.table
        return table.without_data(prediction.label, prediction.confidence < self.min_confidence)


def propose(root: Path, labeller: Labeller) -> tuple[Proposal, list[Path]]:
    """The proposal for photographs without labels, of which a tenth is held out, and these photographs.

    Raises:
      DataError: there are too few, or they have masks.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a directory. Name one that contains photographs.")
    root = root.resolve()
    files = layout.image_files(root)
    if len(files) < 2:
        raise DataError(
            f"{root} contains {len(files)} image files; two are needed, one to train on and one to evaluate."
        )
    photos, masks = roles.tell_apart(root, files)
    if found := layout.find(root, photos, masks):
        photo, mask = next(pair for part in found.pairs.values() for pair in part)
        raise DataError(
            f"{root} has masks, such as {mask} of {photo}, and --labels=predict would take them for photographs. Name "
            "a directory of photographs alone, or leave --labels out to use the masks."
        )
    group, note = listed.groups(root, files)
    fields: dict[str, Any] = {"data.source": "folder", "data.dir": str(root), "data.val_share": 0.1}
    fields |= {"data.group": group} if group else {}
    depth = labeller.predictor.depth
    fields |= {} if depth.is_rgb else {"data.bands": depth.bands, "data.range": depth.range}
    sizes = [size for photo in files if (size := try_size(photo))]
    fields |= {"data.size": common_size(sizes)} if len(set(sizes)) > 1 else {}
    lines = [
        f"{len(files)} photographs with pseudo-labels of {labeller.model}",
        f"pixels are ignored where its confidence is below {labeller.min_confidence:g}",
        note or "a tenth of them is held out",
        "scores on pseudo-labels say how well a network imitates the one that made them: evaluate on labelled data",
    ]
    summary = "\n".join(lines)
    return Proposal(root, summary, fields, labeller.predictor.table), files


def source(labeller: Labeller, files: Sequence[Path], out: Path) -> Source:
    """Photographs with the labels of a network, in place of the source `folder`.

    Args:
      labeller: the network.
      files: the photographs.
      out: the directory that is being written, where predictions are kept below `PREDICTED`.
    """
    depth, turn = labeller.predictor.depth, threading.Lock()  # the network uses all cores by itself

    def labelled(index: int) -> Pair:
        image, kept = read_photograph(files[index], depth).pixels, out / PREDICTED / f"{index:08}.png"
        if kept.is_file():
            return image, np.asarray(Image.open(kept))
        with turn:
            label = labeller.label(files[index], image)
        buffer = io.BytesIO()
        Image.fromarray(label).save(buffer, "PNG")
        write_bytes(kept, buffer.getvalue())
        return image, label

    def load(data: DataConfig, split: str, *, seed: int) -> Examples:
        del seed
        root = Path(data.dir)
        return Examples(
            split=split,
            names=tuple(path.relative_to(root).as_posix() for path in files),
            read=labelled,
            table=labeller.predictor.table,
            files=tuple((path,) for path in files),
            reading=str(labeller.record),
        )

    return Source(load)
