"""The pure function that predicts. What trains is elsewhere: prediction need not wait for the import of optax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seg_jax import models
from seg_jax.config import Config
from seg_jax.losses import heads


def build(
    config: Config, *, model: Any, flip: bool = False, scales: Sequence[float] = (1.0,)
) -> Callable[[Any, Any, jax.Array], jax.Array]:
    """The `make_predict` of a run, with the normalisation and the head that its configuration names."""
    mean, std = tuple(config.data.mean), tuple(config.data.std)
    assert mean and std, "pretrained.resolve fills in the normalisation"
    return make_predict(model=model, head=config.loss.head, mean=mean, std=std, flip=flip, scales=scales)


def make_predict(
    *,
    model: Any,
    head: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> Callable[[Any, Any, jax.Array], jax.Array]:
    """Builds predict(params, model_state, image [b h w c] in 0..255) -> class probabilities, float32 [b h w k].

    They are the mean over the image at `scales` times its size, and over its mirror image at each with `flip`
    (test-time augmentation).
    """

    def predict(params: Any, model_state: Any, image: jax.Array) -> jax.Array:
        def probabilities(x: jax.Array) -> jax.Array:
            outputs, _ = models.forward(model, params, model_state, models.normalize(x, mean, std), train=False)
            return heads.probabilities(outputs["logits"], head=head)

        def at(scale: float) -> jax.Array:
            b, h, w, _ = image.shape
            x = image
            if scale != 1:
                size = (b, max(1, round(scale * h)), max(1, round(scale * w)), image.shape[-1])
                x = jax.image.resize(image.astype(jnp.float32), size, "bilinear")
            found = probabilities(x)
            if flip:
                found = (found + probabilities(x[:, :, ::-1])[:, :, ::-1]) / 2
            return found if scale == 1 else jax.image.resize(found, (b, h, w, found.shape[-1]), "bilinear")

        return jnp.mean(jnp.stack([at(scale) for scale in scales]), 0) if len(scales) > 1 else at(scales[0])

    return predict
