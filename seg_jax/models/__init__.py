"""The door to the networks: build, init, forward, weights. Outside this package parameters are plain nested dicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from seg_jax.config import Config, lookup
from seg_jax.losses import heads
from seg_jax.models import folders, loading
from seg_jax.models.decoders import MODELS
from seg_jax.models.encoders import ENCODERS
from seg_jax.models.layers import Style
from seg_jax.models.loading import is_file_name, load, place, read
from seg_jax.models.operators import operator, traced_for
from seg_jax.models.segmenter import Outputs, Segmenter
from seg_jax.models.weights import convert, hub
from seg_jax.models.weights.files import WeightFile, WeightsError, documents, tensors
from seg_jax.models.weights.naming import IMAGENET, Naming

__all__ = [
    "DTYPES",
    "ENCODERS",
    "IMAGENET",
    "MODELS",
    "Ensemble",
    "WeightsError",
    "build",
    "count",
    "documents",
    "folders",
    "forward",
    "hub",
    "init",
    "is_file_name",
    "load",
    "naming",
    "operator",
    "place",
    "read",
    "reduction",
    "tensors",
    "traced_for",
    "width",
]

MIN_PROBABILITY = 1e-30  # smaller ones are clipped before the logarithm

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def build(config: Config, *, classes: int) -> nn.Module:
    """The network that `config.model` describes, with logits of `classes` classes.

    Fields without a value get the defaults of a network without weights: the architecture's output stride and PyTorch's
    arithmetic.

    Raises:
      ConfigError: a name is unknown.
    """
    model = config.model.copy()
    dtype = lookup(DTYPES, model.dtype, "model.dtype")
    entry = lookup(ENCODERS, model.encoder.name, "model.encoder.name")
    architecture = lookup(MODELS, model.name, "model.name")
    model.encoder.output_stride = model.encoder.output_stride or architecture.output_stride
    library = next(iter(entry.epsilon)) if model.encoder.style == "auto" else model.encoder.style
    style = Style(
        norm=model.encoder.norm or model.norm,
        epsilon=lookup(entry.epsilon, library, "model.encoder.style"),
        padding="same" if library == "keras" else "symmetric",
        dilate_first=library == "smp",
        remat=model.remat,
        dtype=dtype,
    )
    binary = config.loss.head == "binary"
    plain = Style(norm=model.norm, remat=model.remat, dtype=dtype)
    decoder: Any = architecture.build(model, 1 if binary else classes, plain)
    if hasattr(decoder, "aux"):
        decoder = decoder.clone(aux=config.loss.aux_weight > 0)
    return Segmenter(
        encoder=entry.build(model, style, library),
        decoder=decoder,
        align_corners=model.align_corners,
        binary=binary,
    )


def width(config: Config) -> int:
    """`model.channels` of a new network: the configured one, or the architecture's own for this encoder.

    0 where the architecture needs no encoder to know it. Nothing is computed: the encoder is traced.

    Raises:
      ConfigError: a name is unknown.
    """
    architecture = lookup(MODELS, config.model.name, "model.name")
    if config.model.channels or architecture.width is None:
        return config.model.channels
    encoder = build(config, classes=2).encoder
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    features, _ = jax.eval_shape(lambda x: encoder.init_with_output(jax.random.key(0), x, False), image)
    return architecture.width(config.model.encoder.name, features[-1].shape[-1])


def init(model: nn.Module, key: jax.Array, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Fresh (params, model_state) for images of `shape` [b h w c]: nested dicts of float32 arrays."""
    variables = model.init(key, jnp.zeros(shape, jnp.float32), False)
    return variables["params"], {name: value for name, value in variables.items() if name != "params"}


@dataclass(frozen=True)
class Ensemble:
    """Several networks of one architecture, whose probabilities are averaged.

    Attributes:
      network: the module of each member; parameters and state have a leading axis over the members.
      members: number of members.
      head: kind of head, one of `losses.HEADS`.
    """

    network: nn.Module
    members: int
    head: str

    def logits(self, params: Any, model_state: Any, image: jax.Array) -> jax.Array:
        """The logits of the mean probabilities, float32 [b h w k]."""
        # One after the other: XLA's CPU backend turns batched networks into grouped convolutions, which are slow.
        probabilities = []
        for i in range(self.members):
            member: Any = jax.tree.map(lambda array, i=i: array[i], {"params": params, "model_state": model_state})
            outputs, _ = forward(self.network, **member, image=image, train=False)
            probabilities.append(heads.probabilities(outputs["logits"], head=self.head))
        mean = sum(probabilities[1:], probabilities[0]) / self.members
        logits = jnp.log(jnp.maximum(mean, MIN_PROBABILITY))
        return logits - jnp.log(jnp.maximum(1 - mean, MIN_PROBABILITY)) if self.head == "sigmoid" else logits

    def whole(self, logits: jax.Array, size: tuple[int, int]) -> jax.Array:
        """The logits, which are whole already."""
        return logits


def together(config: Config, network: nn.Module) -> nn.Module | Ensemble:
    """The network for evaluation and prediction: that of `build`, or an ensemble of the run's `train.seeds`."""
    members = config.train.seeds
    return network if members == 1 else Ensemble(network, members, config.loss.head)


def normalize(image: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """(image / 255 - mean) / std, float32, for images [b h w 3] in 0..255."""
    return (image.astype(jnp.float32) / 255 - jnp.asarray(mean)) / jnp.asarray(std)


def forward(
    model: nn.Module | Ensemble,
    params: Any,
    model_state: Any,
    image: jax.Array,
    *,
    train: bool,
    frozen: bool = False,
    coarse: bool = False,
    key: jax.Array | None = None,
) -> tuple[Outputs, Any]:
    """Applies the network.

    Args:
      model: from `build`.
      params, model_state: from `init` or a checkpoint.
      image: normalised, float [b h w c].
      train: whether to use batch statistics and dropout instead of running statistics.
      frozen: with `train`, whether the encoder runs as in evaluation.
      coarse: whether logits are as the decoder has them, to be completed by the network's `whole`.
      key: key for dropout; needed with `train`.

    Returns:
      ({'logits': float32 [b h w k]}, model_state). Only with `train` the state changes, and the dict also has the
      logits of auxiliary heads, if the network has them.
    """
    if isinstance(model, Ensemble):
        assert not train, "members are trained separately"
        return {"logits": model.logits(params, model_state, image)}, model_state
    variables = {"params": params, **model_state}
    apply: Any = model.apply
    if not train:
        return apply(variables, image, False, coarse=coarse), model_state
    rngs = {} if key is None else {"dropout": key}
    return apply(variables, image, True, frozen, coarse, mutable=list(model_state), rngs=rngs)


def reduction(model: nn.Module | Ensemble) -> int:
    """The number that the network's input height and width are padded to a multiple of."""
    return (model.network if isinstance(model, Ensemble) else model).encoder.reduction


def count(params: Any) -> int:
    """The number of parameters in a tree."""
    return sum(int(np.prod(p.shape)) for p in jax.tree.leaves(params))


def naming(config: Config, file: WeightFile, *, whole: bool) -> tuple[str, Naming, int]:
    """(library, naming, classes) of a weight file: which arithmetic and normalisation its weights need.

    Args:
      config: the configuration; its style must be valid, but need not be that of the weights.
      file: the file, from `read`.
      whole: whether it contains encoder and decoder, or only an encoder.

    Returns:
      `classes` is the number of channels of its logits, 0 without a head.

    Raises:
      WeightsError: it does not belong to this network.
    """
    namings, network, what = loading.parts(config, build(config, classes=2), whole=whole)
    library, found, file = convert.choose(file, namings, network, what=what)
    return library, found, convert.classes_of(file, found, network)
