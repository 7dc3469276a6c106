"""What the tables of encoders and architectures have under each name."""

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
    """How an encoder is built, and whose weights it takes.

    Attributes:
      build: (config.model, style of its blocks, name of the style) -> module.
      epsilon: name of a style, 'torch', 'keras' or 'smp' -> epsilon of its norms; the styles that there are.
      namings: library -> names in its weight files; {} if there are none.
      keras: the function of keras.applications that has weights by name, or ''.
    """

    build: Callable[[ModelConfig, Style, str], nn.Module]
    epsilon: Mapping[str, float] = field(default_factory=lambda: {"torch": 1e-5})
    namings: Mapping[str, Naming] = field(default_factory=dict)
    keras: str = ""


@dataclass(frozen=True)
class Architecture:
    """How a decoder is built, and where it wants its encoder.

    Attributes:
      build: (config.model, classes, style of its blocks) -> module.
      output_stride: of the encoder, unless the configuration says otherwise; the paper's.
      names: library -> (decoder -> {path of our module in the decoder: their layer}), for weights of whole networks.
    """

    build: Callable[[ModelConfig, int, Style], nn.Module]
    output_stride: int = 32
    names: Mapping[str, Callable[[Any], Mapping[str, str]]] = field(default_factory=dict)


def depth_from_2(model: ModelConfig) -> int:
    """How often an encoder halves the resolution whose first features have stride 4; 5 unless the configuration says.

    Raises:
      ConfigError: `model.encoder.depth` is 1.
    """
    if model.encoder.depth == 1:
        raise ConfigError(
            f"config.model.encoder.depth = 1: the first features of {model.encoder.name} have a quarter of the "
            "resolution. Use 2 to 5, or 0 for all."
        )
    return model.encoder.depth or 5
