"""The door to the networks: build, init, forward. Outside of here parameters are plain nested dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from seg_jax.config import Config, ConfigError, lookup
from seg_jax.models.deeplab import DeepLabV3PlusDecoder
from seg_jax.models.encoders.plain import PlainEncoder
from seg_jax.models.encoders.resnet import LAYOUTS, ResNet
from seg_jax.models.layers import NORMS, upsample_bilinear
from seg_jax.models.unet import UPSAMPLINGS, UNetDecoder

Outputs = dict[str, jax.Array]
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Segmenter(nn.Module):
    """Encoder, decoder, and the one place that makes every input size fit.

    Attributes:
      encoder: [b h w 3] -> feature maps, finest first; has `reduction`.
      decoder: feature maps -> logits at their own stride.
    """

    encoder: Any
    decoder: Any

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> Outputs:
        """float [b h w 3], any h and w -> {'logits': float32 [b h w k]}."""
        h, w = image.shape[1:3]
        multiple = self.encoder.reduction
        # The border is repeated below and to the right: zeros would be seen as an edge.
        pads = ((0, 0), (0, -h % multiple), (0, -w % multiple), (0, 0))
        x = jnp.pad(image, pads, mode="edge")
        logits = self.decoder(self.encoder(x, train), train).astype(jnp.float32)
        if logits.shape[1] > x.shape[1]:
            raise ConfigError(
                f"config.model.decoder_channels has too many entries: the decoder ends at {logits.shape[1]} rows for "
                f"an input of {x.shape[1]}. Leave out the last ones."
            )
        logits = upsample_bilinear(logits, x.shape[1] // logits.shape[1])
        return {"logits": logits[:, :h, :w]}


def _plain(model: Config, dtype: Any) -> nn.Module:
    return PlainEncoder(
        width=model.encoder.width, depth=model.encoder.depth, norm=model.norm, dropout=model.dropout, dtype=dtype
    )


def _resnet(model: Config, dtype: Any, *, layout: str) -> nn.Module:
    return ResNet(layout=layout, output_stride=model.encoder.output_stride, norm=model.norm, dtype=dtype)


def _unet(model: Config, classes: int, dtype: Any) -> nn.Module:
    return UNetDecoder(
        classes=classes,
        channels=tuple(model.decoder_channels),
        upsampling=model.upsampling,
        norm=model.norm,
        dropout=model.dropout,
        dtype=dtype,
    )


def _deeplabv3plus(model: Config, classes: int, dtype: Any) -> nn.Module:
    return DeepLabV3PlusDecoder(
        classes=classes, rates=tuple(model.aspp_rates), norm=model.norm, dropout=model.dropout, dtype=dtype
    )


ENCODERS: Mapping[str, Callable[[Config, Any], nn.Module]] = {
    "plain": _plain,
    **{name: partial(_resnet, layout=name) for name in LAYOUTS},
}
MODELS: Mapping[str, Callable[[Config, int, Any], nn.Module]] = {
    "deeplabv3plus": _deeplabv3plus,
    "unet": _unet,
}

# What the fields of a configuration choose from.
TABLES: Mapping[str, Mapping[str, Any]] = {
    "model.name": MODELS,
    "model.encoder.name": ENCODERS,
    "model.norm": NORMS,
    "model.upsampling": dict.fromkeys(UPSAMPLINGS),
    "model.dtype": DTYPES,
}


def build(config: Config, *, classes: int) -> nn.Module:
    """The network that `config.model` describes, with `classes` output channels.

    Raises:
      ConfigError: an unknown name.
    """
    model = config.model
    dtype = lookup(DTYPES, model.dtype, "model.dtype")
    encoder = lookup(ENCODERS, model.encoder.name, "model.encoder.name")(model, dtype)
    decoder = lookup(MODELS, model.name, "model.name")(model, classes, dtype)
    return Segmenter(encoder=encoder, decoder=decoder)


def init(model: nn.Module, key: jax.Array, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Fresh (params, model_state) for images of `shape` [b h w 3]: nested dicts of float32 arrays."""
    variables = model.init(key, jnp.zeros(shape, jnp.float32), False)
    return variables["params"], {name: value for name, value in variables.items() if name != "params"}


def forward(
    model: nn.Module, params: Any, model_state: Any, image: jax.Array, *, train: bool, key: jax.Array | None = None
) -> tuple[Outputs, Any]:
    """Applies the network.

    Args:
      model: from `build`.
      params, model_state: from `init` or a checkpoint.
      image: normalised, float [b h w 3].
      train: batch statistics and dropout of training, or the running statistics and none.
      key: for dropout; needed when `train`.

    Returns:
      ({'logits': float32 [b h w k]}, model_state), the latter changed only when `train`.
    """
    variables = {"params": params, **model_state}
    apply: Any = model.apply
    if not train:
        return apply(variables, image, False), model_state
    rngs = {} if key is None else {"dropout": key}
    return apply(variables, image, True, mutable=list(model_state), rngs=rngs)


def count(params: Any) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(int(np.prod(p.shape)) for p in jax.tree.leaves(params))
