"""A trained network, ready for photographs of any size: from a run directory or from an exported file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np

from seg_jax.config import Size
from seg_jax.data.decoder import MEGAPIXELS, DataError, Encoded, at_most
from seg_jax.data.labels import LabelTable
from seg_jax.predict import artefacts, photograph, scale, seal, windows
from seg_jax.predict.contents import ArtefactError
from seg_jax.predict.photograph import Photograph
from seg_jax.predict.prediction import Maps, Prediction, resize
from seg_jax.run.directory import RunDirectory


class Predictor:
    """A trained network, ready for photographs of any size.

    Args:
      engine: uint8 [n h w 3] -> probabilities, float32 [n h w k]; or class ids, uint8 [n h w].
      table: the label table of its classes.
      trained_size: (height, width) at which the network was evaluated; None: photographs at their own scale.
      scaled: whether the engine itself resizes images to the scale of the training.
      identity: identifies the weights, so that results of two networks are not mixed.
      card: {name: value}, facts about the network for people.
      window: (height, width) of overlapping windows, in which photographs pass through the network at their own scale,
        see `windows.slide`; None: they pass as a whole, at the scale of the training.
      overlap: smallest share of a window that neighbours have in common.
      megapixels: files of more million pixels are refused before they are decoded.
    """

    def __init__(
        self,
        engine: windows.Engine,
        table: LabelTable,
        trained_size: Size | None,
        *,
        scaled: bool = False,
        identity: str = "",
        card: Mapping[str, Any] | None = None,
        window: Size | None = None,
        overlap: float = 0.25,
        megapixels: int = MEGAPIXELS,
    ):
        self.table, self.trained_size, self.identity = table, trained_size, identity
        self.card = dict(card or {})
        self._engine, self._window, self._overlap, self._megapixels = engine, window, overlap, megapixels
        self._scale = None if scaled else trained_size  # None: the engine takes every size

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        checkpoint: str = "best",
        flip: bool = False,
        scales: tuple[float, ...] = (1.0,),
        runtime: str = "auto",
        window: Size | None = None,
        overlap: float = 0.25,
        megapixels: int = MEGAPIXELS,
    ) -> Predictor:
        """The network of a run directory, or of a file written by `seg_jax.export`.

        Args:
          path: the run directory or file.
          checkpoint: for a run: 'best', 'last' or a step.
          flip: for a run: whether to average over the image and its mirror image.
          scales: for a run: sizes to average over, relative to the usual size.
          runtime: for a run: 'jax', 'onnx' (ONNX Runtime, from an export that is made beside the run) or 'auto', see
            `runtimes.exported`.
          window, overlap, megapixels: see `Predictor`.

        Raises:
          ConfigError, CheckpointError, LabelError, ArtefactError: the path is neither, or it is damaged.
        """
        network = _network(Path(path).expanduser(), checkpoint=checkpoint, flip=flip, scales=scales, runtime=runtime)
        return cls(**network, window=window, overlap=overlap, megapixels=megapixels)

    @overload
    def __call__(self, image: Photograph, *, entropy: bool = False, probabilities: bool = False) -> Prediction: ...

    @overload
    def __call__(
        self, image: list[Any] | tuple[Any, ...], *, entropy: bool = False, probabilities: bool = False
    ) -> list[Prediction]: ...

    def __call__(
        self, image: Photograph | list[Any] | tuple[Any, ...], *, entropy: bool = False, probabilities: bool = False
    ) -> Prediction | list[Prediction]:
        """Segments a photograph; the result has its size.

        Without windows the photograph is resized so that its shorter side is the training images' shorter side, and
        the probabilities are resized back (both bilinear). Very narrow or small ones are enlarged less, see
        `scale.working_size`.

        Args:
          image: a path, a URL, an image of Pillow, an array uint8 [h w 3]; or a list of these, for a list of results.
          entropy, probabilities: whether the result has them; both cost time, and probabilities memory.

        Raises:
          DataError: see `read`.
        """
        if isinstance(image, list | tuple):
            return list(self.many(image, entropy=entropy, probabilities=probabilities))
        return next(self.many([image], entropy=entropy, probabilities=probabilities))

    def read(self, image: Photograph) -> np.ndarray:
        """uint8 [h w 3] of a photograph in any form that `__call__` takes.

        Raises:
          DataError: it cannot be read, see `photograph.read`, or needs more memory than anything may.
        """
        with at_most(self._megapixels):
            pixels = photograph.read(image)
        size = (pixels.shape[0], pixels.shape[1])
        try:
            scale.require_room(size, self._scale, self._window, classes=len(self.table), megapixels=self._megapixels)
        except DataError as error:
            name = image if isinstance(image, str | Path | Encoded) else "a photograph"
            raise DataError(f"{name} has {size[0]}x{size[1]} pixels (height x width): {error}") from error
        return pixels

    def many(
        self, images: Iterable[Photograph], *, batch: int = 1, entropy: bool = False, probabilities: bool = False
    ) -> Iterator[Prediction]:
        """Segments photographs in order; consecutive ones of one size pass through the network in batches.

        Args:
          images: paths, URLs, images of Pillow or arrays uint8 [h w 3]; each is read when its turn comes.
          batch: images, or windows of an image, that the network sees at once.
          entropy, probabilities: see `__call__`.
        """
        kept = (entropy, probabilities)
        read = map(self.read, images)
        if self._window:
            for image in read:
                bands = windows.slide(self._engine, image, window=self._window, overlap=self._overlap, batch=batch)
                maps = [Maps.of(values, values.shape[:2], *kept) for _, values in bands]
                yield Maps.joined(maps).prediction(image, self.table)
            return
        sized = itertools.groupby(read, lambda image: scale.working_size((image.shape[0], image.shape[1]), self._scale))
        for size, alike in sized:
            yield from _at_one_size(self._engine, self.table, alike, size, batch, kept)


def _at_one_size(
    engine: windows.Engine,
    table: LabelTable,
    images: Iterator[np.ndarray],
    size: Size,
    batch: int,
    kept: tuple[bool, bool],
) -> Iterator[Prediction]:
    """Predictions for images that pass at `size`; an incomplete batch passes one by one, so two shapes are compiled."""
    while together := list(itertools.islice(images, batch)):
        small = [resize(image, size) for image in together]
        if len(together) == batch:
            outputs = list(np.asarray(engine(np.stack(small))))
        else:
            outputs = [np.asarray(engine(image[None]))[0] for image in small]
        for image, values in zip(together, outputs, strict=True):
            yield Maps.of(values, (image.shape[0], image.shape[1]), *kept).prediction(image, table)


def _network(path: Path, *, checkpoint: str, flip: bool, scales: tuple[float, ...], runtime: str) -> dict[str, Any]:
    """The arguments of `Predictor` that a run directory or an exported file decides."""
    if not path.exists():
        raise ArtefactError(f"{path} does not exist. Name a run directory, or a file of seg_jax.export.")
    run = RunDirectory(path)
    if run.exists or not (path.is_file() or (path / "saved_model.pb").is_file()):
        from seg_jax.predict import restore  # JAX and Flax, which exported files do without

        network = restore.load(run, checkpoint=checkpoint, flip=flip, scales=scales, runtime=runtime)
        facts = {"identity": network.identity, "card": network.card}
        return {"engine": network.engine, "table": network.table, "trained_size": network.image_size, **facts}
    if flip or scales != (1.0,) or checkpoint != "best" or runtime != "auto":
        raise ArtefactError(
            f"{path} is an exported file: checkpoint, flip, scales and runtime are choices of a run directory. "
            "Leave them out, or name the run directory."
        )
    artefact = artefacts.load(path)
    trained = artefact.size or artefact.metadata["trained_size"]
    return {
        "engine": artefact,
        "table": artefact.table,
        "trained_size": (trained[0], trained[1]) if trained else None,
        "scaled": artefact.size is not None,
        "identity": seal.digest(path),
        "card": _card(artefact),
    }


def _card(artefact: artefacts.Artefact) -> dict[str, Any]:
    known = artefact.metadata
    model = known["config"]["model"]
    return {
        "architecture": model["name"],
        "encoder": model["encoder"]["name"],
        "parameters": f"{known['parameters']:,}",
        "trained at": "{}x{}".format(*size) if (size := known["trained_size"]) else "the scale of each photograph",
        "gives": artefact.output,
        "written by": f"seg_jax {known['seg_jax']}",
    }
