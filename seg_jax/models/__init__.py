"""The door to the networks: build, init, forward, weights. Outside this package parameters are plain nested dicts."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from seg_jax.config import Config, lookup
from seg_jax.losses import heads
from seg_jax.models.decoders import MODELS
from seg_jax.models.encoders import ENCODERS
from seg_jax.models.entries import Encoder
from seg_jax.models.layers import Style
from seg_jax.models.operators import operator, traced_for
from seg_jax.models.segmenter import Outputs, Segmenter
from seg_jax.models.weights import convert, files
from seg_jax.models.weights.files import WeightsError
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
    "forward",
    "init",
    "load",
    "naming",
    "operator",
    "read",
    "reduction",
    "traced_for",
]

MIN_PROBABILITY = 1e-30  # smaller ones are clipped before the logarithm

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

# Library that stores whole networks -> its prefix of the encoder's names.
ENCODER_PREFIXES = {"smp": "encoder.", "transformers": "segformer."}


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
    key: jax.Array | None = None,
) -> tuple[Outputs, Any]:
    """Applies the network.

    Args:
      model: from `build`.
      params, model_state: from `init` or a checkpoint.
      image: normalised, float [b h w c].
      train: whether to use batch statistics and dropout instead of running statistics.
      frozen: with `train`, whether the encoder runs as in evaluation.
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
        return apply(variables, image, False), model_state
    rngs = {} if key is None else {"dropout": key}
    return apply(variables, image, True, frozen, mutable=list(model_state), rngs=rngs)


def reduction(model: nn.Module | Ensemble) -> int:
    """The number that the network's input height and width are padded to a multiple of."""
    return (model.network if isinstance(model, Ensemble) else model).encoder.reduction


def count(params: Any) -> int:
    """The number of parameters in a tree."""
    return sum(int(np.prod(p.shape)) for p in jax.tree.leaves(params))


def _encoder(config: Config) -> Encoder:
    return lookup(ENCODERS, config.model.encoder.name, "model.encoder.name")


def _whole_namings(config: Config) -> dict[str, Naming]:
    """The namings of whole networks: the encoder's names with a prefix, and the decoder's names."""
    namings = {}
    for library, names in lookup(MODELS, config.model.name, "model.name").names.items():
        encoder = _encoder(config).namings
        inner = encoder.get(library) or encoder.get("torchvision")
        if inner is None:
            continue

        def layers(network: Any, library: str = library, inner: Naming = inner, names: Any = names) -> dict[str, str]:
            return {
                **{
                    f"encoder/{ours}": ENCODER_PREFIXES[library] + theirs
                    for ours, theirs in inner.layers(network.encoder).items()
                },
                **{f"decoder/{ours}": theirs for ours, theirs in names(network.decoder).items()},
            }

        style = library if library in _encoder(config).epsilon else inner.style
        unused = tuple(re.escape(ENCODER_PREFIXES[library]) + pattern for pattern in inner.unused)
        namings[library] = replace(inner, layers=layers, style=style, unused=unused, image=f"encoder/{inner.image}")
    return namings


def _parts(config: Config, model: Any, *, whole: bool) -> tuple[Mapping[str, Naming], Any, str]:
    """(namings, module, name for messages) of the part that a weight file fills: the network or its encoder."""
    if whole:
        name = f"the network {config.model.name} on {config.model.encoder.name}"
        return _whole_namings(config), model, name
    return _encoder(config).namings, model.encoder, f"the encoder {config.model.encoder.name}"


def _deeper(naming: Naming, network: Any) -> tuple[str, ...]:
    """Regular expressions for the tensors of the stages that are missing in an encoder of less than full depth."""
    if isinstance(network, Segmenter):
        whole = network.clone(encoder=network.encoder.clone(depth=5))
    else:
        whole = network.clone(depth=5)
    left_out = set(naming.layers(whole).values()) - set(naming.layers(network).values())
    names = [rf"{re.escape(layer)}([./].*)?" for layer in sorted(left_out)]
    # If layers only have numbers ('conv2d_7/0'), the missing ones are all those that `by_layer` did not name.
    return (*names, r"\w+/(\w+/)?\d") if left_out else ()


def read(config: Config, source: str) -> files.WeightFile:
    """The weight file at the path `source`; for 'imagenet' the weights of keras.applications for this encoder.

    Raises:
      WeightsError: there are no weights, or they cannot be read.
    """
    if source == "imagenet":
        encoder = config.model.encoder
        return files.from_keras(_encoder(config).keras, encoder=encoder.name, alpha=encoder.alpha)
    return files.read(Path(source).expanduser())


def naming(config: Config, file: files.WeightFile, *, whole: bool) -> tuple[str, Naming]:
    """The (library, naming) of a weight file; the naming says which arithmetic and normalisation its weights need.

    Args:
      config: the configuration; its style must be valid, but need not be that of the weights.
      file: the file, from `read`.
      whole: whether it contains encoder and decoder, or only an encoder.

    Raises:
      WeightsError: it does not belong to this network.
    """
    namings, network, what = _parts(config, build(config, classes=2), whole=whole)
    return convert.choose(file, namings, network, what=what)


def load(
    config: Config, model: Any, params: Any, model_state: Any, file: files.WeightFile, *, whole: bool
) -> tuple[Any, Any]:
    """(params, model_state) with the arrays of a weight file for the encoder, or with `whole` for the whole network.

    Raises:
      WeightsError: a tensor is missing, unused or of another shape.
    """
    namings, network, what = _parts(config, model, whole=whole)
    library, chosen = convert.choose(file, namings, network, what=what)
    chosen = replace(chosen, unused=(*chosen.unused, *_deeper(chosen, network)))
    variables = {"params": params, **model_state}
    part = variables if whole else {name: tree["encoder"] for name, tree in variables.items() if "encoder" in tree}
    loaded = convert.convert(part, file, chosen, network, what=what)
    logging.info(
        "%s: %d arrays from %s, named as in %s, arithmetic of %s",
        *(what, len(jax.tree.leaves(loaded)), file.path, library, chosen.style),
    )
    if not whole:
        loaded = {**variables, **{name: {**variables[name], "encoder": tree} for name, tree in loaded.items()}}
    return loaded["params"], {name: tree for name, tree in loaded.items() if name != "params"}
