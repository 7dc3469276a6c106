"""`seg_jax.create_model`: a network with its parameters, normalisation and classes, for programs of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from seg_jax import models
from seg_jax.config import Config, ConfigError, did_you_mean, flatten
from seg_jax.config.default import get_config
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelTable
from seg_jax.data.labels.builtin import table_of
from seg_jax.run import origin, pretrained, program
from seg_jax.runtime import xla

Variables = dict[str, Any]  # {'params': ..., 'batch_stats': ...}; networks without batch norm have 'params' alone

SIDE = 32  # parameters do not depend on the size of the image; the smallest one makes the trace cheap


@dataclass(frozen=True, eq=False)
class Model:
    """A network; its arrays are not part of it.

    Attributes:
      config: the whole configuration, of which `model`, `data.mean` and `data.std` say what the network is.
      table: what the classes mean.
      network: the Flax module.
    """

    config: Config = field(repr=False)
    table: LabelTable
    network: Any = field(repr=False)

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std) of the colours red, green, blue of images in 0..1."""
        return tuple(self.config.data.mean), tuple(self.config.data.std)

    def normalise(self, image: jax.Array) -> jax.Array:
        """[b h w 3] in 0..255, of any type -> what the network sees, float32: (image / 255 - mean) / std."""
        mean, std = self.normalisation
        return models.normalize(image, mean, std)

    def init(self, key: jax.Array) -> Variables:
        """Random parameters, with the configured weights in their place.

        Args:
          key: a jax key; decides the random parameters.

        Returns:
          {'params': ..., 'batch_stats': ...}: nested dicts of float32 arrays.

        Raises:
          WeightsError: the weights are not those of this network; lists every difference.
        """

        def begin(key: jax.Array) -> Any:
            return models.init(self.network, key, (1, SIDE, SIDE, len(self.config.data.bands) or 3))

        if not isinstance(key, jax.core.Tracer):  # options of a compilation cannot be given inside of another one
            begin = jax.jit(begin, compiler_options=xla.for_one_call())
        params, model_state = pretrained.start(self.config, self.network, *begin(key), names=self.table.names)
        return jax.tree.map(jnp.asarray, {"params": params, **model_state})

    def apply(
        self,
        variables: Variables,
        image: jax.Array,
        *,
        train: bool = False,
        key: jax.Array | None = None,
        normalised: bool = False,
    ) -> Any:
        """The network's answer; jax.jit(model.apply, static_argnames=("train", "normalised")) compiles it.

        Args:
          variables: from `init`.
          image: uint8 [b h w 3], any h and w; or float, if it is `normalised`.
          train: use the statistics of the batch, and dropout; else the running statistics.
          key: a jax key for dropout; networks that have it (`dropout`, `encoder_drop_path`) need it in training.
          normalised: the image is what `normalise` gives, for example after an augmentation of one's own.

        Returns:
          logits, float32 [b h w k]. With `train` (logits, state): the variables without 'params', updated, so that
          {'params': params, **state} are the next variables.

        Raises:
          DataError: an image of another shape, or of a type whose range is unknown.
        """
        image = jnp.asarray(image)
        if image.ndim != 4 or image.shape[-1] != 3 or (image.dtype != jnp.uint8 and not normalised):
            raise DataError(
                f"an image of shape {image.shape} and type {image.dtype}: it must be uint8 [batch, height, width, 3] "
                "in 0..255. For floats pass model.normalise(image) with normalised=True."
            )
        if not normalised:
            image = self.normalise(image)
        params = variables["params"]
        state = {name: value for name, value in variables.items() if name != "params"}
        outputs, state = models.forward(self.network, params, state, image, train=train, key=key)
        return (outputs["logits"], state) if train else outputs["logits"]


def create_model(
    name: str = "unet",
    *,
    encoder: str = "plain",
    classes: int | Sequence[str] | LabelTable | None = None,
    weights: str = "",
    **options: Any,
) -> Model:
    """A network by its name.

    Args:
      name: the architecture, `config.model.name`.
      encoder: `config.model.encoder.name`.
      classes: how many there are, or their names, or a LabelTable; None: those of the run or archive that `weights`
        names, else two.
      weights: 'imagenet' for the encoder's weights of keras.applications; else a file or run directory with the whole
        network, as `config.model.weights`. Weights of an encoder alone: `encoder_weights`.
      options: the other fields of `config.model` by their names, such as norm="group", decoder_channels=(128, 64),
        and of `config.model.encoder` with 'encoder_' before them, such as encoder_depth=4.

    Raises:
      ConfigError: an unknown name (with the nearest one), or a value out of range.
      LabelError: fewer than two classes, or two of one name.
      WeightsError: the weights cannot be read, or are those of another network.
    """
    config = get_config()
    table = table_of(2 if classes is None else classes)
    fields = {path.replace(".", "_"): path for path in flatten(config.model)}
    for taken in ("name", "weights", "encoder_name"):
        del fields[taken]
    values = {"name": name, "encoder.name": encoder}
    values["encoder.weights" if weights == "imagenet" else "weights"] = weights
    for option, value in options.items():
        if option not in fields:
            raise ConfigError(
                f"create_model has no option {option!r}.{did_you_mean(option, fields)} Its options: "
                f"{', '.join(sorted(fields))}."
            )
        values[fields[option]] = value
    config.model.update_from_flattened_dict(values)
    config.loss.aux_weight = 0.0  # heads that help a training of seg_jax.train, and answer nothing
    program.check(config, devices=1)
    if classes is None and weights and (trained := origin.find(weights)):
        config.loss.head, table = trained.config.loss.head, trained.table()
    config = pretrained.resolve(config)
    return Model(config, table, models.build(config, classes=len(table)))
