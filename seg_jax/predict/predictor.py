"""A trained network, ready for photographs of any size: from a run directory or from an exported file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from seg_jax import viz
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelTable
from seg_jax.predict import artefacts, photograph, windows
from seg_jax.predict.photograph import Photograph

Size = tuple[int, int]

BUCKET = 32  # sides of unusual proportions are rounded to this, so that few shapes are compiled


@dataclass(frozen=True)
class Prediction:
    """What was seen in one image.

    Attributes:
      image: the photograph, uint8 [h w 3].
      label: class ids, uint8 [h w].
      table: what the class ids mean.
      confidence: probability of that class, float32 [h w]; None from an export that gives labels only.
      entropy: of the probabilities of a pixel, in nats (0 to log k), float32 [h w]; None unless it was asked for.
      probabilities: float32 [h w k]; None unless they were asked for.
    """

    image: np.ndarray
    label: np.ndarray
    table: LabelTable
    confidence: np.ndarray | None = None
    entropy: np.ndarray | None = None
    probabilities: np.ndarray | None = None

    def shares(self) -> dict[str, float]:
        """Share of the pixels of each class, in the order of the table; sums to 1."""
        counts = np.bincount(self.label.reshape(-1), minlength=len(self.table))
        return {name: float(n) / self.label.size for name, n in zip(self.table.names, counts, strict=True)}

    def color(self) -> np.ndarray:
        """The mask in class colours, uint8 [h w 3]."""
        return self.table.colorize(self.label)

    def overlay(self, *, opacity: float = 0.55) -> np.ndarray:
        """The colours over the photograph with a legend of the classes below, uint8 [h+legend w 3]."""
        picture = viz.overlay(self.image, self.label, self.table, opacity=opacity)
        present = np.unique(self.label)
        return np.concatenate([picture, viz.legend(self.table, present.tolist(), picture.shape[1])])


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
        if not (path / "config.json").is_file() and (path.is_file() or (path / "saved_model.pb").is_file()):
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

        found = restore.run(path, checkpoint=checkpoint, flip=flip, scales=scales)
        return cls(found.engine, found.table, found.image_size, identity=found.identity, card=found.card, **rest)

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
                yield self._slid(image, batch, kept)
                continue
            if waiting and self._size(image) != self._size(waiting[0]):
                yield from self._whole(waiting, batch, kept)
                waiting = []
            waiting.append(image)
            if len(waiting) == batch:
                yield from self._whole(waiting, batch, kept)
                waiting = []
        yield from self._whole(waiting, batch, kept)

    def _size(self, image: np.ndarray) -> Size:
        """At which the engine sees an image."""
        height, width = image.shape[:2]
        return (height, width) if self._scaled else working_size((height, width), self.trained_size)

    def _whole(self, images: list[np.ndarray], batch: int, kept: tuple[bool, bool]) -> Iterator[Prediction]:
        """Of images with one `_size`; a batch that is not full passes one by one: two shapes are compiled at most."""
        if not images:
            return
        size = self._size(images[0])
        small = [_resize(image, size) for image in images]
        if len(images) == batch:
            found = list(np.asarray(self._engine(np.stack(small))))
        else:
            found = [np.asarray(self._engine(image[None]))[0] for image in small]
        for image, values in zip(images, found, strict=True):
            maps = _Maps.of(values, (image.shape[0], image.shape[1]), *kept)
            yield maps.prediction(image, self.table)

    def _slid(self, image: np.ndarray, batch: int, kept: tuple[bool, bool]) -> Prediction:
        assert self._window
        bands = windows.slide(self._engine, image, window=self._window, overlap=self._overlap, batch=batch)
        maps = [_Maps.of(values, values.shape[:2], *kept) for _, values in bands]
        return _Maps.joined(maps).prediction(image, self.table)


@dataclass(frozen=True)
class _Maps:
    """What a prediction keeps of the probabilities of an image, or of a band of its rows."""

    label: np.ndarray
    confidence: np.ndarray | None
    entropy: np.ndarray | None
    probabilities: np.ndarray | None

    @classmethod
    def of(cls, values: np.ndarray, size: Size, entropy: bool, probabilities: bool) -> _Maps:
        """Of probabilities [h w k] or class ids [h w] at any size; one class after the other, to save memory."""
        if values.ndim == 2:
            if entropy or probabilities:
                raise DataError(
                    "this export gives labels only: there are no probabilities. Export with --output=probabilities."
                )
            return cls(_resize(values, size, Image.Resampling.NEAREST), None, None, None)
        classes = values.shape[-1]
        label, best = np.zeros(size, np.uint8), np.full(size, -1, np.float32)
        sums = np.zeros(size, np.float32) if entropy else None
        whole = np.empty((*size, classes), np.float32) if probabilities else None
        for k in range(classes):
            plane = _resize(np.ascontiguousarray(values[..., k]), size)
            label[plane > best] = k
            np.maximum(best, plane, out=best)
            if sums is not None:
                sums -= plane * np.log(np.maximum(plane, 1e-12))
            if whole is not None:
                whole[..., k] = plane
        return cls(label, best, sums, whole)

    @classmethod
    def joined(cls, bands: list[_Maps]) -> _Maps:
        """Bands below each other."""

        def rows(parts: list[np.ndarray | None]) -> np.ndarray | None:
            there = [part for part in parts if part is not None]
            return np.concatenate(there) if there else None

        return cls(
            np.concatenate([m.label for m in bands]),
            rows([m.confidence for m in bands]),
            rows([m.entropy for m in bands]),
            rows([m.probabilities for m in bands]),
        )

    def prediction(self, image: np.ndarray, table: LabelTable) -> Prediction:
        """With the photograph and what the class ids mean."""
        return Prediction(image, self.label, table, self.confidence, self.entropy, self.probabilities)


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


def _resize(array: np.ndarray, size: Size, how: Image.Resampling = Image.Resampling.BILINEAR) -> np.ndarray:
    if array.shape[:2] == size:
        return array
    return np.asarray(Image.fromarray(array).resize((size[1], size[0]), how))
