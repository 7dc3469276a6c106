"""DANet (Fu et al. 2019): attention between pixels and attention between channels, over any encoder."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.config import ModelConfig
from seg_jax.models.attention import attention, softmax
from seg_jax.models.entries import Architecture
from seg_jax.models.layers import Conv, ConvNormAct, Dtype, Head, Style


class PositionAttention(nn.Module):
    """Adds to every pixel a weighted sum of all pixels (section 3.2, equation 2); initially the identity."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b h w c] -> the same shape."""
        b, h, w, c = x.shape
        widths = {"query": max(c // 8, 1), "key": max(c // 8, 1), "value": c}
        query, key, value = (
            Conv(width, 1, bias=True, dtype=self.dtype, name=name)(x).reshape(b, h * w, 1, width)
            for name, width in widths.items()
        )
        return x + _gate(self, self.dtype) * attention(query, key, value).reshape(x.shape)


class ChannelAttention(nn.Module):
    """Adds to every channel a weighted sum of all channels (section 3.3, equation 4); initially the identity.

    The weights follow the authors' code: softmax(max - energy), which equals softmax(-energy) and prefers channels that
    differ. Equation 3 of the paper has softmax(energy).
    """

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b h w c] -> the same shape."""
        energy = jnp.einsum("bhwc,bhwd->bcd", x, x, preferred_element_type=jnp.float32)
        weights = softmax(-energy).astype(self.dtype)
        return x + _gate(self, self.dtype) * jnp.einsum("bcd,bhwd->bhwc", weights, x)


def _gate(module: nn.Module, dtype: Dtype) -> jax.Array:
    """The learned factor of an attention module, initially 0: without it training would start from random sums."""
    return module.param("scale", nn.initializers.zeros, (1,), jnp.float32).astype(dtype)


class DANetDecoder(nn.Module):
    """The sum of two parallel branches on the coarsest features, one with each kind of attention.

    Attributes:
      classes: channels of the logits.
      channels: channels of both branches; 0: a quarter of the features' channels, as in the paper.
      dropout: rate at which whole channels are dropped before the logits.
      aux: whether each branch has an auxiliary head.
    """

    classes: int
    channels: int = 0
    dropout: float = 0.1
    aux: bool = False
    style: Style = Style()

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], train: bool) -> dict[str, jax.Array]:
        """Features, finest first -> logits [b h w k] at the size of the coarsest; in training 'position', 'channel'."""
        x, dtype = features[-1], self.style.dtype
        channels = self.channels or x.shape[-1] // 4
        branches = {}
        for name, kind in (("position", PositionAttention), ("channel", ChannelAttention)):
            y = ConvNormAct(channels, style=self.style, name=f"{name}_in")(x, train)
            y = kind(dtype, name=f"{name}_attention")(y)
            branches[name] = ConvNormAct(channels, style=self.style, name=f"{name}_out")(y, train)
        outputs = {"logits": self._classify(branches["position"] + branches["channel"], "head", train)}
        if self.aux and (train or self.is_initializing()):
            outputs |= {name: self._classify(y, f"{name}_head", train) for name, y in branches.items()}
        return outputs

    def _classify(self, x: jax.Array, name: str, train: bool) -> jax.Array:
        x = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)(x)
        return Head(self.classes, dtype=self.style.dtype, name=name)(x)


def _build(model: ModelConfig, classes: int, style: Style) -> nn.Module:
    return DANetDecoder(classes=classes, channels=model.channels, dropout=model.dropout, style=style)


DANET = Architecture(_build, output_stride=8)
