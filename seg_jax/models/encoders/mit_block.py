"""The blocks of Mix Transformers (Xie et al. 2021, section 3.1)."""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax

from seg_jax.models.attention import attention
from seg_jax.models.layers import Conv, Style
from seg_jax.models.operators import pad_edge

EXPANSION = 4
INNER_EPSILON = 1e-5  # for the norms inside patch embeddings and attention

_linear = partial(nn.Dense, kernel_init=nn.initializers.truncated_normal(0.02))  # the authors' initial values


class PatchEmbedding(nn.Module):
    """Overlapping patches: a strided convolution and a layer norm."""

    channels: int
    kernel: int
    stride: int
    dilation: int
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b h w c] -> [b ceil(h / stride) ceil(w / stride) channels]."""
        dtype = self.style.dtype
        x = Conv(self.channels, self.kernel, self.stride, self.dilation, bias=True, dtype=dtype, name="conv")(x)
        return nn.LayerNorm(INNER_EPSILON, dtype=dtype, name="norm")(x)


class Attention(nn.Module):
    """Multi-head self-attention with keys and values from a map reduced by `ratio` (section 3.1, equation 2)."""

    heads: int
    ratio: int
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b h w c] -> the same shape."""
        b, h, w, c = x.shape
        ratio, dtype = self.ratio, self.style.dtype
        reduced = x
        if ratio > 1:
            # Rows and columns that do not fill a window are left out; a map smaller than one window is padded.
            missing = [jax.core.max_dim(ratio - n, 0) for n in (h, w)]
            reduced = pad_edge(x, (0, missing[0]), (0, missing[1]))
            reduced = Conv(c, ratio, ratio, bias=True, padding=(0, 0), dtype=dtype, name="reduce")(reduced)
            reduced = nn.LayerNorm(INNER_EPSILON, dtype=dtype, name="reduce_norm")(reduced)
        sources = {"query": x, "key": reduced, "value": reduced}
        query, key, value = (
            _linear(c, dtype=dtype, name=name)(source).reshape(b, -1, self.heads, c // self.heads)
            for name, source in sources.items()
        )
        y = attention(query, key, value, (c // self.heads) ** -0.5)
        return _linear(c, dtype=dtype, name="project")(y.reshape(x.shape))


class MixFFN(nn.Module):
    """1x1 to four times the channels, 3x3 depthwise, GELU, 1x1 back (equation 3).

    The depthwise convolution replaces a position encoding: its zero padding marks the border.
    """

    dilation: int
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b h w c] -> the same shape."""
        c, dtype = x.shape[-1], self.style.dtype
        hidden = EXPANSION * c
        y = _linear(hidden, dtype=dtype, name="expand")(x)
        y = Conv(
            hidden,
            dilation=self.dilation,
            groups=hidden,
            bias=True,
            kernel_init=nn.initializers.normal((2 / 9) ** 0.5),  # each output sees 9 pixels, and no norm follows
            dtype=dtype,
            name="depthwise",
        )(y)
        return _linear(c, dtype=dtype, name="project")(nn.gelu(y, approximate=False))


class Block(nn.Module):
    """Attention and Mix-FFN, each after a layer norm and with a shortcut.

    In training each is dropped with probability `drop_path`, independently for each image (stochastic depth, Huang et
    al. 2016).
    """

    heads: int
    ratio: int
    dilation: int
    drop_path: float
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> the same shape."""
        parts = {
            "attention": Attention(self.heads, self.ratio, self.style, name="attention"),
            "ffn": MixFFN(self.dilation, self.style, name="ffn"),
        }
        for name, part in parts.items():
            y = part(nn.LayerNorm(self.style.epsilon, dtype=self.style.dtype, name=f"{name}_norm")(x))
            x = x + nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3), deterministic=not train)(y)
        return x
