"""The result for one photograph, and its computation from probabilities at any size."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from seg_jax import viz
from seg_jax.config import Size
from seg_jax.data.images import DataError, resize_image
from seg_jax.data.labels import LabelTable, ignored_in, label_type
from seg_jax.predict.photograph import Picture
from seg_jax.predict.windows import Engine


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes:
      image: the photograph, [h w c] in 0..255.
      label: class ids, [h w] of the table's type; `table.ignored` where nothing was measured.
      table: the meaning of the class ids.
      confidence: probability of the predicted class, float32 [h w]; None from an export with labels only.
      entropy: entropy of each pixel's probabilities in nats (0 to log k), float32 [h w]; None unless requested.
      probabilities: class probabilities, float32 [h w k]; None unless requested.
    """

    image: np.ndarray
    label: np.ndarray
    table: LabelTable
    confidence: np.ndarray | None = None
    entropy: np.ndarray | None = None
    probabilities: np.ndarray | None = None

    def shares(self) -> dict[str, float]:
        """{class: share of the measured pixels}, in the order of the table; the shares sum to 1."""
        counts = np.bincount(self.label.reshape(-1), minlength=len(self.table))
        counts = counts[: len(self.table)]
        return {name: float(n) / max(counts.sum(), 1) for name, n in zip(self.table.names, counts, strict=True)}

    def color(self) -> np.ndarray:
        """The mask in class colours, uint8 [h w 3]."""
        return self.table.colorize(self.label)

    def overlay(self, *, opacity: float = 0.55) -> np.ndarray:
        """The colours over the photograph with a legend of the classes below, uint8 [h+legend w 3]."""
        picture = viz.overlay(self.image, self.label, self.table, opacity=opacity)
        present = np.unique(self.label[self.label != ignored_in(self.label)])
        return np.concatenate([picture, viz.legend(self.table, present.tolist(), picture.shape[1])])


@dataclass(frozen=True)
class Maps:
    """The part of a prediction that depends on the probabilities of an image, or of a band of its rows."""

    label: np.ndarray
    confidence: np.ndarray | None
    entropy: np.ndarray | None
    probabilities: np.ndarray | None

    @classmethod
    def of(cls, values: np.ndarray, size: Size, entropy: bool, probabilities: bool) -> Maps:
        """The maps at `size` for probabilities [h w k] or class ids [h w]; class by class, to save memory."""
        if values.ndim == 2:
            if entropy or probabilities:
                raise DataError(
                    "this export gives labels only: there are no probabilities. Export with --output=probabilities."
                )
            return cls(resize(values, size, Image.Resampling.NEAREST), None, None, None)
        classes = values.shape[-1]
        label, best = np.zeros(size, label_type(classes)), np.full(size, -1, np.float32)
        sums = np.zeros(size, np.float32) if entropy else None
        whole = np.empty((*size, classes), np.float32) if probabilities else None
        for k in range(classes):
            plane = resize(np.ascontiguousarray(values[..., k]), size)
            label[plane > best] = k
            np.maximum(best, plane, out=best)
            if sums is not None:
                sums -= plane * np.log(np.maximum(plane, 1e-12))
            if whole is not None:
                whole[..., k] = plane
        return cls(label, best, sums, whole)

    @classmethod
    def joined(cls, bands: list[Maps]) -> Maps:
        """Joins bands from top to bottom."""

        def rows(parts: list[np.ndarray | None]) -> np.ndarray | None:
            arrays = [part for part in parts if part is not None]
            return np.concatenate(arrays) if arrays else None

        return cls(
            np.concatenate([m.label for m in bands]),
            rows([m.confidence for m in bands]),
            rows([m.entropy for m in bands]),
            rows([m.probabilities for m in bands]),
        )

    def prediction(self, picture: Picture, table: LabelTable) -> Prediction:
        """The prediction for a photograph with these maps."""
        label = table.without_data(self.label.astype(table.dtype, copy=False), picture.missing)
        return Prediction(picture.pixels, label, table, self.confidence, self.entropy, self.probabilities)


def at_one_size(
    engine: Engine,
    table: LabelTable,
    images: Iterator[Picture],
    size: Size,
    batch: int,
    kept: tuple[bool, bool],
) -> Iterator[Prediction]:
    """Predictions for images that pass at `size`; an incomplete batch passes one by one, so two shapes are compiled."""
    while together := list(itertools.islice(images, batch)):
        small = [resize(image.pixels, size) for image in together]
        if len(together) == batch:
            outputs = list(np.asarray(engine(np.stack(small))))
        else:
            outputs = [np.asarray(engine(image[None]))[0] for image in small]
        for image, values in zip(together, outputs, strict=True):
            yield Maps.of(values, image.size, *kept).prediction(image, table)


def resize(array: np.ndarray, size: Size, how: Image.Resampling = Image.Resampling.BILINEAR) -> np.ndarray:
    """Resizes [h w] or [h w c] to `size`, (height, width); an array of that size is returned unchanged."""
    if array.shape[:2] == size:
        return array
    if array.ndim == 3:
        return resize_image(array, size)
    return np.asarray(Image.fromarray(array).resize((size[1], size[0]), how))
