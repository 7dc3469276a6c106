"""What a network sees in single examples of a split: probabilities of whole images and of windows, and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from seg_jax import viz
from seg_jax.data.examples import Examples, Pair
from seg_jax.data.images import resize_label
from seg_jax.predict import windows
from seg_jax.run import program


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

    def example(self, index: int) -> Pair:
        """A photograph and its label at the size at which they are scored."""
        original = self._config.eval.resolution == "original"
        return self._examples.original(index) if original else self._examples.read(index)

    def predict(self, *, rows: bool = False) -> Any:
        """The prediction that `eval.flip` and `eval.scales` ask for, see `Functions.predict`."""
        config = self._config
        return self._functions.predict(flip=config.eval.flip, scales=config.eval.scales, rows=rows)

    def through_windows(self, weights: tuple[Any, Any], image: np.ndarray) -> Iterator[np.ndarray]:
        """The probabilities of an image uint8 [h w 3] in windows, in bands of rows, float32 [rows w k].

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

    def panel(self, weights: tuple[Any, Any], index: int, *, windowed: bool) -> np.ndarray:
        """image | truth | prediction | error of one example, uint8 [h w 3]."""
        image, label = self._examples.read(index)
        if windowed:
            bands = self.through_windows(weights, self.example(index)[0])
            prediction = np.concatenate([band.argmax(-1).astype(np.uint8) for band in bands])
            prediction = resize_label(prediction, (label.shape[0], label.shape[1]))
        else:
            probabilities = self._functions.predict()(*weights, image[None])
            prediction = np.asarray(probabilities[0].argmax(-1)).astype(np.uint8)
        return viz.panel(image, label, prediction, self._examples.table)
