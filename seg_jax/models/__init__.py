"""The door to the networks: build, init, forward, weights. Outside of here parameters are plain nested dicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from seg_jax.config import Config, lookup
from seg_jax.losses import heads
from seg_jax.models import convert, folders, loading
from seg_jax.models.catalogue import ENCODERS, MODELS
from seg_jax.models.files import WeightFile, WeightsError
from seg_jax.models.layers import NORMS, Style
from seg_jax.models.loading import is_file_name, load, read
from seg_jax.models.naming import Naming
from seg_jax.models.operators import operator, traced_for
from seg_jax.models.segmenter import Outputs, Segmenter
from seg_jax.models.unet import UPSAMPLINGS

__all__ = [
    "ENCODERS",
    "MODELS",
    "TABLES",
    "Ensemble",
    "WeightsError",
    "build",
    "count",
    "folders",
    "forward",
    "init",
    "is_file_name",
    "load",
    "naming",
    "operator",
    "read",
    "reduction",
    "traced_for",
]

TINY = 1e-30  # the least probability that has a logarithm here

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

# What the fields of a configuration choose from.
TABLES: Mapping[str, Mapping[str, Any]] = {
    "model.name": MODELS,
    "model.encoder.name": ENCODERS,
    "model.encoder.style": dict.fromkeys(("auto", "torch", "keras", "smp", "transformers")),
    "model.encoder.norm": dict.fromkeys(("", *NORMS)),
    "model.norm": NORMS,
    "model.upsampling": dict.fromkeys(UPSAMPLINGS),
    "model.dtype": DTYPES,
}


def build(config: Config, *, classes: int) -> nn.Module:
    """The network that `config.model` describes, with logits of `classes` classes.

    What the configuration leaves open is as without weights: the architecture's output stride, PyTorch's arithmetic.

    Raises:
      ConfigError: an unknown name.
    """
    model = config.model.copy_and_resolve_references()
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
    """Networks of one kind that work together: the probabilities are the mean of theirs.

    Attributes:
      network: of each; the arrays of all of them have a leading axis, of the members.
      members: how many there are.
      head: of `losses.heads`.
    """

    network: nn.Module
    members: int
    head: str

    def logits(self, params: Any, model_state: Any, image: jax.Array) -> jax.Array:
        """float32 [b h w k], those of the mean probabilities."""
        # One after the other: networks that XLA's CPU backend batches become grouped convolutions, which are slow.
        found = []
        for i in range(self.members):
            mine: Any = jax.tree.map(lambda array, i=i: array[i], {"params": params, "model_state": model_state})
            outputs, _ = forward(self.network, **mine, image=image, train=False)
            found.append(heads.probabilities(outputs["logits"], head=self.head))
        mean = sum(found[1:], found[0]) / self.members
        logits = jnp.log(jnp.maximum(mean, TINY))
        return logits - jnp.log(jnp.maximum(1 - mean, TINY)) if self.head == "sigmoid" else logits


def together(config: Config, network: nn.Module) -> nn.Module | Ensemble:
    """What is evaluated and predicts: the network of `build`, or the `train.seeds` of the run together."""
    members = config.train.seeds
    return network if members == 1 else Ensemble(network, members, config.loss.head)


def normalize(image: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """[b h w 3] in 0..255 -> float32, (image / 255 - mean) / std."""
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
      train: batch statistics and dropout of training, or the running statistics and none.
      frozen: with `train`, the encoder alone works as in evaluation.
      key: for dropout; needed when `train`.

    Returns:
      ({'logits': float32 [b h w k]}, model_state). Only when `train` the state is changed, and the logits of
      auxiliary heads, where the network has them, lie beside 'logits'.
    """
    if isinstance(model, Ensemble):
        assert not train, "its members are trained by themselves"
        return {"logits": model.logits(params, model_state, image)}, model_state
    variables = {"params": params, **model_state}
    apply: Any = model.apply
    if not train:
        return apply(variables, image, False), model_state
    rngs = {} if key is None else {"dropout": key}
    return apply(variables, image, True, frozen, mutable=list(model_state), rngs=rngs)


def reduction(model: nn.Module | Ensemble) -> int:
    """The number of pixels of which multiples go through the network; images are continued to the next multiple."""
    return (model.network if isinstance(model, Ensemble) else model).encoder.reduction


def count(params: Any) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(int(np.prod(p.shape)) for p in jax.tree.leaves(params))


def naming(config: Config, file: WeightFile, *, whole: bool) -> tuple[str, Naming, int]:
    """(library, naming, classes) of a weight file: which arithmetic and normalisation its weights need.

    Args:
      config: its style must be a valid one, but need not be that of the weights.
      file: from `read`.
      whole: it holds encoder and decoder, not an encoder alone.

    Returns:
      `classes` is the number of channels of its logits, 0 without a head.

    Raises:
      WeightsError: it is not a file of this network.
    """
    namings, network, what = loading.parts(config, build(config, classes=2), whole=whole)
    library, found, file = convert.choose(file, namings, network, what=what)
    return library, found, convert.classes_of(file, found, network)
