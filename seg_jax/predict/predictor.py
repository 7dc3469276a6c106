"""A trained network, ready for photographs of any size: from a run directory or from an exported file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np

from seg_jax.config import Size
from seg_jax.data.labels import LabelTable
from seg_jax.predict import artefacts, photograph, windows
from seg_jax.predict.photograph import Photograph
from seg_jax.predict.prediction import Maps, Prediction, resize
from seg_jax.run.directory import RunDirectory

BUCKET = 32  # sides of unusual proportions are rounded to this, so that few shapes are compiled


class Predictor:
    """A trained network, ready for photographs of any size.

    Args:
      engine: uint8 [n h w 3] -> probabilities, float32 [n h w k]; or class ids, uint8 [n h w].
      table: what the classes mean.
      trained_size: (height, width) at which the network was evaluated.
      scaled: whether the engine itself brings images to the scale that it was trained at.
      identity: of the weights, so that results of two networks are not mixed.
      card: what is known of the network, for people: {name: value}.
      window: (height, width): photographs keep their own scale and pass through the network in overlapping windows
        of this size, see `windows.slide`; None: they pass as a whole, at the scale of the training.
      overlap: share that neighbouring windows have in common at least.
    """

    def __init__(
        self,
        engine: windows.Engine,
        table: LabelTable,
        trained_size: Size,
        *,
        scaled: bool = False,
        identity: str = "",
        card: Mapping[str, Any] | None = None,
        window: Size | None = None,
        overlap: float = 0.25,
    ):
        self.table, self.trained_size, self.identity = table, trained_size, identity
        self.card = dict(card or {})
        self._engine, self._scaled, self._window, self._overlap = engine, scaled, window, overlap

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        checkpoint: str = "best",
        flip: bool = False,
        scales: tuple[float, ...] = (1.0,),
        window: Size | None = None,
        overlap: float = 0.25,
    ) -> Predictor:
        """The network of a run directory, or of a file that `seg_jax.export` has written.

        Args:
          path: the run directory or file.
          checkpoint: of a run: 'best', 'last' or a step.
          flip: of a run: the mean over the image and its mirror image.
          scales: of a run: the mean over the image at these sizes, relative to what it passes at otherwise.
          window, overlap: of `Predictor`.

        Raises:
          ConfigError, CheckpointError, LabelError, ArtefactError: it is none of these, or damaged.
        """
        path = Path(path).expanduser()
        if not path.exists():
            raise artefacts.ArtefactError(f"{path} does not exist. Name a run directory, or a file of seg_jax.export.")
        rest: dict[str, Any] = {"window": window, "overlap": overlap}
        run = RunDirectory(path)
        if not run.exists and (path.is_file() or (path / "saved_model.pb").is_file()):
            if flip or scales != (1.0,) or checkpoint != "best":
                raise artefacts.ArtefactError(
                    f"{path} is an exported file: checkpoint, flip and scales are choices of a run directory. "
                    "Leave them out, or name the run directory."
                )
            artefact = artefacts.load(path)
            height, width = artefact.size or artefact.metadata["trained_size"]
            identity = artefacts.digest(path)
            scaled = artefact.size is not None
            card = _card(artefact)
            return cls(artefact, artefact.table, (height, width), scaled=scaled, identity=identity, card=card, **rest)
        from seg_jax.predict import restore  # JAX and Flax, which exported files do without

        network = restore.load(run, checkpoint=checkpoint, flip=flip, scales=scales)
        trained_size, card = network.image_size, network.card
        return cls(network.engine, network.table, trained_size, identity=network.identity, card=card, **rest)

    @overload
    def __call__(self, image: Photograph, *, entropy: bool = False, probabilities: bool = False) -> Prediction: ...

    @overload
    def __call__(
        self, image: list[Any] | tuple[Any, ...], *, entropy: bool = False, probabilities: bool = False
    ) -> list[Prediction]: ...

    def __call__(
        self,
        image: Photograph | list[Any] | tuple[Any, ...],
        *,
        entropy: bool = False,
        probabilities: bool = False,
    ) -> Prediction | list[Prediction]:
        """Segments a photograph; the result has its size.

        Without windows the photograph is resized so that its shorter side is the training images' shorter side, and
        the probabilities are resized back (both bilinear).

        Args:
          image: a path, a URL, an image of Pillow, an array uint8 [h w 3]; or a list of these, for a list of results.
          entropy, probabilities: whether the result has them; both cost time, and probabilities memory.

        Raises:
          DataError: see `photograph.read`.
        """
        if isinstance(image, list | tuple):
            return list(self.many(image, entropy=entropy, probabilities=probabilities))
        return next(self.many([image], entropy=entropy, probabilities=probabilities))

    def many(
        self, images: Iterable[Photograph], *, batch: int = 1, entropy: bool = False, probabilities: bool = False
    ) -> Iterator[Prediction]:
        """Segments photographs one after the other; neighbours of one size pass the network in batches.

        Args:
          images: paths, URLs, images of Pillow or arrays uint8 [h w 3]; each is read when its turn comes.
          batch: images, or windows of an image, that the network sees at once.
          entropy, probabilities: see `__call__`.
        """
        kept = (entropy, probabilities)
        waiting: list[np.ndarray] = []
        for image in map(photograph.read, images):
            if self._window:
                yield self._through_windows(image, batch, kept)
                continue
            if waiting and self._size(image) != self._size(waiting[0]):
                yield from self._at_one_size(waiting, batch, kept)
                waiting = []
            waiting.append(image)
            if len(waiting) == batch:
                yield from self._at_one_size(waiting, batch, kept)
                waiting = []
        yield from self._at_one_size(waiting, batch, kept)

    def _size(self, image: np.ndarray) -> Size:
        """At which the engine sees an image."""
        height, width = image.shape[:2]
        return (height, width) if self._scaled else working_size((height, width), self.trained_size)

    def _at_one_size(self, images: list[np.ndarray], batch: int, kept: tuple[bool, bool]) -> Iterator[Prediction]:
        """Of images with one `_size`; a batch that is not full passes one by one: two shapes are compiled at most."""
        if not images:
            return
        size = self._size(images[0])
        small = [resize(image, size) for image in images]
        if len(images) == batch:
            found = list(np.asarray(self._engine(np.stack(small))))
        else:
            found = [np.asarray(self._engine(image[None]))[0] for image in small]
        for image, values in zip(images, found, strict=True):
            maps = Maps.of(values, (image.shape[0], image.shape[1]), *kept)
            yield maps.prediction(image, self.table)

    def _through_windows(self, image: np.ndarray, batch: int, kept: tuple[bool, bool]) -> Prediction:
        assert self._window
        bands = windows.slide(self._engine, image, window=self._window, overlap=self._overlap, batch=batch)
        maps = [Maps.of(values, values.shape[:2], *kept) for _, values in bands]
        return Maps.joined(maps).prediction(image, self.table)


def working_size(size: Size, trained: Size) -> Size:
    """The (height, width) at which the network sees an image of `size`.

    The shorter side becomes that of the training images; proportions are kept to within half a bucket, and images
    shaped like the training images get exactly their size.
    """
    scale = min(trained) / min(size)
    height, width = size[0] * scale, size[1] * scale
    if abs(height / trained[0] - 1) < 0.02 and abs(width / trained[1] - 1) < 0.02:
        return trained
    short, long = min(trained), max(BUCKET, round(max(height, width) / BUCKET) * BUCKET)
    long = max(long, short)
    return (short, long) if size[0] <= size[1] else (long, short)


def _card(artefact: artefacts.Artefact) -> dict[str, Any]:
    known = artefact.metadata
    model = known["config"]["model"]
    return {
        "architecture": model["name"],
        "encoder": model["encoder"]["name"],
        "parameters": f"{known['parameters']:,}",
        "trained at": "{}x{}".format(*known["trained_size"]),
        "gives": artefact.output,
        "written by": f"seg_jax {known['seg_jax']}",
    }
