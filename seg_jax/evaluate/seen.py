"""What a network sees in single examples of a split: probabilities of whole images and of windows, and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import jax
import numpy as np

from seg_jax import viz
from seg_jax.config import Size
from seg_jax.data.examples import Examples, Pair
from seg_jax.data.fitting import network_size
from seg_jax.data.images import resize_image, resize_label
from seg_jax.data.probabilities import resized_bands
from seg_jax.evaluate import shapes
from seg_jax.predict import windows
from seg_jax.run import program
from seg_jax.runtime import sharding


class Seen:
    """Predictions for the examples of a split, as the fields of `eval` ask for them.

    Args:
      functions: the run's functions.
      examples: the split, checked.
    """

    def __init__(self, functions: program.Functions, examples: Examples):
        self._functions, self._config, self._examples = functions, functions.config, examples

    @property
    def windowed(self) -> bool:
        """Whether images are to pass in windows."""
        return any(self._config.eval.window)

    @cached_property
    def groups(self) -> tuple[shapes.Group, ...]:
        """The photographs of the split by the shapes in which they pass as wholes."""
        return shapes.plan(
            self._examples,
            short_side=self._config.data.short_side,
            batch_size=self._config.eval.batch_size,
            parts=sharding.batch_parts(self._functions.mesh),
        )

    def example(self, index: int) -> Pair:
        """A photograph as windows slide over it, and its label at the size at which it is scored."""
        if self._examples.sizes:
            image, label = self._examples.read(index)
            return resize_image(image, self._network_size(index)), label
        original = self._config.eval.resolution == "original"
        return self._examples.original(index) if original else self._examples.read(index)

    def _network_size(self, index: int) -> Size:
        return network_size(self._examples.sizes[index], self._config.data.short_side)

    def scored(
        self, index: int, probabilities: np.ndarray, label: np.ndarray
    ) -> tuple[np.ndarray, Iterator[np.ndarray]]:
        """The label of an example at the size at which it is scored, and the probabilities there, in bands of rows.

        Args:
          index: of the example.
          probabilities: float32 [h w k], of a batch.
          label: [h w], of the same batch.
        """
        if self._examples.sizes:
            (height, width), (rows, columns) = self._network_size(index), self._examples.sizes[index]
            probabilities, label = probabilities[:height, :width], label[:rows, :columns]
        elif self._config.eval.resolution == "original":
            _, label = self._examples.original(index)
        return label, resized_bands(probabilities, (label.shape[0], label.shape[1]))

    def predict(self, *, rows: bool = False) -> Any:
        """The prediction that `eval.flip` and `eval.scales` ask for, see `Functions.predict`."""
        config = self._config
        return self._functions.predict(flip=config.eval.flip, scales=config.eval.scales, rows=rows)

    def through_windows(self, weights: tuple[Any, Any], image: np.ndarray) -> Iterator[np.ndarray]:
        """The probabilities of an image [h w c] in windows, in bands of rows, float32 [rows w k].

        Args:
          weights: (params, model_state).
          image: the photograph.
        """
        config = self._config
        bands = windows.slide(
            lambda tiles: np.asarray(self.predict()(*weights, tiles)),
            image,
            window=config.eval.window,
            overlap=config.eval.overlap,
            batch=1 if jax.default_backend() == "cpu" else config.eval.batch_size,
        )
        return (probabilities for _, probabilities in bands)

    def windowed_bands(self, weights: tuple[Any, Any], index: int) -> tuple[np.ndarray, Iterator[np.ndarray]]:
        """As `scored`, from windows."""
        image, label = self.example(index)
        bands = self.through_windows(weights, image)
        if image.shape[:2] == label.shape:
            return label, bands
        # Of photographs at a short side, whose probabilities fit into memory.
        return label, resized_bands(np.concatenate(list(bands)), (label.shape[0], label.shape[1]))

    def panel(self, weights: tuple[Any, Any], index: int, *, windowed: bool) -> np.ndarray:
        """image | truth | prediction | error of one example, uint8 [h w 3]."""
        image, label = self._examples.read(index)
        if windowed:
            bands = self.through_windows(weights, self.example(index)[0])
            prediction = np.concatenate([band.argmax(-1).astype(label.dtype) for band in bands])
            prediction = resize_label(prediction, (label.shape[0], label.shape[1]))
        elif self._examples.sizes:
            fit = next(group.fit for group in self.groups if group.fit and index in group.indices)
            padded = fit((image, label), index=index, batch=0, row=0)["image"]
            height, width = self._network_size(index)
            probabilities = self._functions.predict()(*weights, padded[None])[0, :height, :width]
            prediction = np.asarray(probabilities.argmax(-1)).astype(label.dtype)
            prediction = resize_label(prediction, (label.shape[0], label.shape[1]))
        else:
            probabilities = self._functions.predict()(*weights, image[None])
            prediction = np.asarray(probabilities[0].argmax(-1)).astype(label.dtype)
        return viz.panel(image, label, prediction, self._examples.table)
