"""The contracting path of FC-DenseNet (Jégou et al. 2017), trained from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.config import ModelConfig
from seg_jax.models.entries import Encoder
from seg_jax.models.layers import ACTIVATIONS, Conv, Norm, Style, remat
from seg_jax.models.resampling import max_pool_2x2

STEM = 48  # channels of the first convolution
he_uniform = nn.initializers.he_uniform()  # as in the paper


class Layout(NamedTuple):
    """Channels that each layer adds, and layers of the blocks on the way down, at the bottom, and on the way up."""

    growth: int
    down: tuple[int, ...]
    bottom: int
    up: tuple[int, ...]


# Table 2 of the paper, and its section 4.1.
LAYOUTS = {
    "fcdensenet56": Layout(12, (4,) * 5, 4, (4,) * 5),
    "fcdensenet67": Layout(16, (5,) * 5, 5, (5,) * 5),
    "fcdensenet103": Layout(16, (4, 5, 7, 10, 12), 15, (12, 10, 7, 5, 4)),
}


class Composite(nn.Module):
    """Norm, ReLU, convolution, dropout: a layer of a dense block (kernel 3), or before the pooling (kernel 1)."""

    features: int
    kernel: int
    dropout: float
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> [b h w features]."""
        x = ACTIVATIONS["relu"](Norm(self.style, name="norm")(x, train))
        x = Conv(
            self.features,
            self.kernel,
            bias=self.style.norm == "none",
            padding=self.style.padding,
            kernel_init=he_uniform,
            dtype=self.style.dtype,
            name="conv",
        )(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class DenseBlock(nn.Module):
    """Layers that each see the block's input and the output of all layers before them (figure 2 of the paper).

    Attributes:
      layers: number of layers.
      growth: channels that each adds.
      dropout: rate after each convolution, 0.2 in the paper.
    """

    layers: int
    growth: int
    dropout: float
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> what the layers added, [b h w layers * growth]."""
        added: list[jax.Array] = []
        for i in range(self.layers):
            layer = Composite(self.growth, 3, self.dropout, self.style, name=f"layer{i + 1}")
            added.append(layer(x, train))
            x = jnp.concatenate([x, added[-1]], axis=-1)
        return jnp.concatenate(added, axis=-1)


class FCDenseNetEncoder(nn.Module):
    """Dense blocks, between them a 1x1 convolution and 2x2 max pooling ("transition down").

    Attributes:
      layout: a key of `LAYOUTS`.
      depth: number of times the resolution is halved; the blocks before the bottom one that are beyond it are left out.
      dropout: rate after each convolution, 0.2 in the paper.
    """

    layout: str = "fcdensenet103"
    depth: int = 5
    dropout: float = 0.0
    style: Style = Style()

    @property
    def reduction(self) -> int:
        """Input height and width must be multiples of this."""
        return 2**self.depth

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """[b h w 3] -> maps at strides 1, 2, 4 ... 2**depth; of the coarsest only what its block has added."""
        growth, down, bottom, _ = LAYOUTS[self.layout]
        options = {"padding": self.style.padding, "kernel_init": he_uniform, "dtype": self.style.dtype}
        x = Conv(STEM, bias=self.style.norm == "none", name="stem", **options)(x)
        block = remat(DenseBlock, self.style)
        features: list[jax.Array] = []
        for level, layers in enumerate(down[: self.depth], 1):
            added = block(layers, growth, self.dropout, self.style, name=f"block{level}")(x, train)
            features.append(jnp.concatenate([x, added], axis=-1))
            channels = features[-1].shape[-1]
            x = max_pool_2x2(Composite(channels, 1, self.dropout, self.style, name=f"down{level}")(features[-1], train))
        return [*features, block(bottom, growth, self.dropout, self.style, name="bottom")(x, train)]


def _build(model: ModelConfig, style: Style, library: str, *, layout: str) -> nn.Module:
    del library
    return FCDenseNetEncoder(layout=layout, depth=model.encoder.depth or 5, dropout=model.dropout, style=style)


ENCODERS: Mapping[str, Encoder] = {layout: Encoder(partial(_build, layout=layout)) for layout in LAYOUTS}
