"""The entries of the tables of encoders and architectures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn

from seg_jax.config import ConfigError, ModelConfig
from seg_jax.models.layers import Style
from seg_jax.models.weights.naming import Naming


@dataclass(frozen=True)
class Encoder:
    """How an encoder is built, and whose weights it can load.

    Attributes:
      build: (config.model, style of its blocks, name of the style) -> module.
      epsilon: style of arithmetic ('torch', 'keras' or 'smp') -> epsilon of its norms, for the available styles.
      namings: library -> names in its weight files; {} without weight files.
      keras: the function of keras.applications with ImageNet weights, or ''.
      package: the module of the extra 'pretrained' that holds ImageNet weights, or ''.
    """

    build: Callable[[ModelConfig, Style, str], nn.Module]
    epsilon: Mapping[str, float] = field(default_factory=lambda: {"torch": 1e-5})
    namings: Mapping[str, Naming] = field(default_factory=dict)
    keras: str = ""
    package: str = ""


@dataclass(frozen=True)
class Architecture:
    """How a decoder is built, and the output stride that it expects of its encoder.

    Attributes:
      build: (config.model, classes, style of its blocks) -> module.
      output_stride: default output stride of the encoder, as in the paper.
      width: (name of the encoder, channels of its coarsest features) -> `model.channels` of a new network that names
        none; None: `build` knows its default without the encoder.
      names: library -> (decoder -> {path of our module in the decoder: the library's layer}), for weights of whole
        networks.
      transformers_prefix: what transformers puts in front of the names of the encoder's layers.
    """

    build: Callable[[ModelConfig, int, Style], nn.Module]
    output_stride: int = 32
    width: Callable[[str, int], int] | None = None
    names: Mapping[str, Callable[[Any], Mapping[str, str]]] = field(default_factory=dict)
    transformers_prefix: str = ""


def depth_from_2(model: ModelConfig) -> int:
    """The configured depth of an encoder whose first features have stride 4; the default is 5.

    Raises:
      ConfigError: `model.encoder.depth` is 1.
    """
    if model.encoder.depth == 1:
        raise ConfigError(
            f"config.model.encoder.depth = 1: the first features of {model.encoder.name} have a quarter of the "
            "resolution. Use 2 to 5, or 0 for all."
        )
    return model.encoder.depth or 5
