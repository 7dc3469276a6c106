"""A trained network, ready for photographs of any size: from a run directory or from an exported file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np

from seg_jax import shipped
from seg_jax.config import Size
from seg_jax.data.decoder import MEGAPIXELS, DataError, Encoded, at_most
from seg_jax.data.depth import Depth
from seg_jax.data.fitting import network_size
from seg_jax.data.labels import LabelTable
from seg_jax.data.pictures import RGB
from seg_jax.data.probabilities import resized_bands
from seg_jax.predict import artefacts, photograph, scale, windows
from seg_jax.predict.contents import ArtefactError
from seg_jax.predict.geo import Rows
from seg_jax.predict.photograph import Photograph, Picture
from seg_jax.predict.prediction import Maps, Prediction, at_one_size, resize
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime import seal


class Predictor:
    """A trained network, ready for photographs of any size.

    Args:
      engine: [n h w c] in 0..255 -> probabilities, float32 [n h w k]; or class ids, integer [n h w].
      table: the label table of its classes.
      trained_size: (height, width) at which the network was evaluated; None: photographs at their own scale.
      scaled: whether the engine itself resizes images to the scale of the training.
      identity: identifies the weights, so that results of two networks are not mixed.
      card: {name: value}, facts about the network for people.
      window: (height, width) of overlapping windows, in which photographs pass through the network at their own scale,
        see `windows.slide`; None: they pass as a whole, at the scale of the training.
      short_side: the training's `data.short_side`: windows slide over photographs of that shorter side; 0: as stored.
      overlap: smallest share of a window that neighbours have in common.
      megapixels: files of more million pixels are refused before they are decoded.
      depth: bands and range of the photographs.
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
        short_side: int = 0,
        overlap: float = 0.25,
        megapixels: int = MEGAPIXELS,
        depth: Depth = RGB,
    ):
        self.depth = depth
        self.table, self.trained_size, self.identity = table, trained_size, identity
        self.card = dict(card or {})
        self._engine = engine if scaled or trained_size else windows.in_multiples(engine, scale.BUCKET)
        self._window, self._overlap, self._megapixels, self._short_side = window, overlap, megapixels, short_side
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
        """The network of a run directory, of a file written by `seg_jax.export`, or one that is part of the package.

        Args:
          path: the run directory or file; or one of `seg_jax.shipped.names()`, as a str.
          checkpoint: for a run: 'best', 'last' or a step.
          flip: for a run: whether to average over the image and its mirror image.
          scales: for a run: sizes to average over, relative to the usual size.
          runtime: for a run: 'jax', 'onnx' (ONNX Runtime, from an export that is made beside the run) or 'auto', see
            `runtimes.exported`.
          window, overlap, megapixels: see `Predictor`.

        Raises:
          ConfigError, CheckpointError, LabelError, ArtefactError: the path is neither, or it is damaged.
        """
        file = shipped.find(path) or Path(path).expanduser()
        network = _network(file, checkpoint=checkpoint, flip=flip, scales=scales, runtime=runtime)
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
          image: a path, a URL, an image of Pillow, an array uint8 [h w 3], or of stored values [h w n]
            for a network of other bands or depth; or a list of these, for a list of results.
          entropy, probabilities: whether the result has them; both cost time, and probabilities memory.

        Raises:
          DataError: see `read`.
        """
        if isinstance(image, list | tuple):
            return list(self.many(image, entropy=entropy, probabilities=probabilities))
        return next(self.many([image], entropy=entropy, probabilities=probabilities))

    def read(self, image: Photograph) -> Picture:
        """What the network sees of a photograph in any form that `__call__` takes.

        Raises:
          DataError: it cannot be read, see `photograph.read`, or needs more memory than anything may.
        """
        with at_most(self._megapixels):
            picture = photograph.read(image, self.depth)
        size = (picture.pixels.shape[0], picture.pixels.shape[1])
        try:
            seen = network_size(size, self._short_side if self._window else 0)
            scale.require_room(seen, self._scale, self._window, classes=len(self.table), megapixels=self._megapixels)
        except DataError as error:
            name = image if isinstance(image, str | Path | Encoded) else "a photograph"
            raise DataError(f"{name} has {size[0]}x{size[1]} pixels (height x width): {error}") from error
        return picture

    def many(
        self,
        images: Iterable[Photograph | Picture],
        *,
        batch: int = 1,
        entropy: bool = False,
        probabilities: bool = False,
    ) -> Iterator[Prediction]:
        """Segments photographs in order; consecutive ones of one size pass through the network in batches.

        Args:
          images: paths, URLs, images of Pillow, arrays or what `read` gives; each is read when its turn comes.
          batch: images, or windows of an image, that the network sees at once.
          entropy, probabilities: see `__call__`.
        """
        kept = (entropy, probabilities)
        read = (image if isinstance(image, Picture) else self.read(image) for image in images)
        if self._window:
            for image in read:
                maps = [Maps.of(values, values.shape[:2], *kept) for values in self._windowed(image.pixels, batch)]
                yield Maps.joined(maps).prediction(image, self.table)
            return
        sized = itertools.groupby(read, lambda image: scale.working_size(image.size, self._scale))
        for size, alike in sized:
            yield from at_one_size(self._engine, self.table, alike, size, batch, kept)

    def _bands(self, image: windows.Image, batch: int) -> Iterator[tuple[int, np.ndarray]]:
        assert self._window
        return windows.slide(self._engine, image, window=self._window, overlap=self._overlap, batch=batch)

    def is_large(self, size: Size) -> bool:
        """Whether an image of that size has more pixels than may be in memory at once."""
        return size[0] * size[1] > self._megapixels * 10**6

    def rows(self, raster: Rows, *, batch: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, class ids [rows w]) of a raster in bands from the top, which are all that is in memory.

        Raises:
          DataError: there are no windows, or a row of them is too large.
        """
        height, width, _ = raster.shape
        if not self._window:
            raise DataError(f"{height}x{width} pixels (height x width) pass in windows. Add --window=512x512.")
        if self._short_side:
            raise DataError(
                f"{height}x{width} pixels (height x width) are too many to be brought to the shorter side of the "
                f"training, {self._short_side}. Cut the raster into tiles, or train without data.short_side."
            )
        megapixels = height * max(width, self._window[1]) // 10**6 + 1
        scale.require_room((height, width), None, self._window, classes=len(self.table), megapixels=megapixels)
        for first, values in self._bands(raster, batch):
            label = Maps.of(values, values.shape[:2], False, False).label.astype(self.table.dtype, copy=False)
            yield first, self.table.without_data(label, raster.missing(slice(first, first + len(label))))

    def _windowed(self, image: np.ndarray, batch: int) -> Iterator[np.ndarray]:
        """The probabilities at the size of an image, from windows, in bands of rows."""
        size = (image.shape[0], image.shape[1])
        seen = resize(image, network_size(size, self._short_side))
        bands = (values for _, values in self._bands(seen, batch))
        return bands if seen is image else resized_bands(np.concatenate(list(bands)), size)


def _network(path: Path, *, checkpoint: str, flip: bool, scales: tuple[float, ...], runtime: str) -> dict[str, Any]:
    """The arguments of `Predictor` that a run directory or an exported file decides."""
    if not path.exists():
        kinds = shipped.choices("a run directory or a file of seg_jax.export")
        raise ArtefactError(f"{path} does not exist. Name {kinds}.")
    run = RunDirectory(path)
    if run.exists or not (path.is_file() or (path / "saved_model.pb").is_file()):
        from seg_jax.predict import restore  # JAX and Flax, which exported files do without

        network = restore.load(run, checkpoint=checkpoint, flip=flip, scales=scales, runtime=runtime)
        facts = {name: getattr(network, name) for name in ("identity", "card", "short_side", "depth")}
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
        "short_side": 0 if artefact.size else artefact.metadata["config"].get("data", {}).get("short_side", 0),
        "identity": seal.digest(path),
        "card": _card(artefact),
        "depth": artefact.depth,
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
