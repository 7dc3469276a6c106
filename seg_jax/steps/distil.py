"""Distillation inside of a step: the logits of a teacher for the images that the student sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from seg_jax import models

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # (mean, std) of `models.normalize`
Teach = Callable[[Any, jax.Array], Any]  # (arrays of the teacher, normalised image) -> its logits, None without one


def make_teach(*, model: Any, own: Normalisation, given: Normalisation) -> Teach:
    """Builds teach({'params', 'model_state'}, image [b h w 3]) -> the network's logits, as in evaluation.

    Args:
      model: the teacher's network.
      own: the normalisation that the teacher was trained with.
      given: the normalisation that the image has already.
    """

    def teach(weights: Any, image: jax.Array) -> jax.Array:
        if own != given:
            mean, std, was_mean, was_std = np.asarray([*own, *given], np.float32)
            image = (image * was_std + (was_mean - mean)) / std
        outputs, _ = models.forward(model, **weights, image=image, train=False)
        return jax.lax.stop_gradient(outputs["logits"])

    return teach


def no_teacher(weights: Any, image: jax.Array) -> None:
    """The `Teach` of a run without distillation."""
