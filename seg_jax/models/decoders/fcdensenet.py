"""The expanding path of FC-DenseNet (Jégou et al. 2017), over any encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.config import ModelConfig
from seg_jax.models.encoders.fcdensenet import LAYOUTS, DenseBlock, he_uniform
from seg_jax.models.entries import Architecture
from seg_jax.models.layers import Dtype, Head, Style, remat


class TransitionUp(nn.Module):
    """Transposed 3x3 convolution with stride 2 that keeps the channels."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b h w c] -> [b 2h 2w c]: y[2i] = k[1] x[i] and y[2i + 1] = k[2] x[i] + k[0] x[i + 1] along each axis."""
        b, h, w, c = x.shape
        kernel = self.param("kernel", he_uniform, (3, 3, c, c), jnp.float32).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (c,), jnp.float32).astype(self.dtype)
        # A 2x2 convolution computes the four output phases. XLA's CPU backend is slow for dilated inputs.
        taps = kernel
        for axis in (0, 1):
            first, others = jnp.split(taps, [1], axis)
            taps = jnp.concatenate([others, jnp.zeros_like(first), first], axis)
        taps = taps.reshape(2, 2, 2, 2, c, c).transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, c, 4 * c)
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype), taps, (1, 1), [(0, 1), (0, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y.reshape(b, h, w, 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, c) + bias


class FCDenseNetDecoder(nn.Module):
    """Dense blocks; what each adds is upsampled and joins the skip. The last one's input joins its output.

    With the encoder of the same name this is the network of the paper, whose section 3.2 explains why the others'
    inputs do not: the channels would grow with the resolution. On encoders with fewer maps the first blocks are left
    out, and a map that has the resolution of the next coarser one already is not upsampled.

    Attributes:
      classes: channels of the logits.
      layout: a key of `LAYOUTS`.
      dropout: rate after each convolution of the blocks, 0.2 in the paper.
    """

    classes: int
    layout: str = "fcdensenet103"
    dropout: float = 0.0
    style: Style = Style()

    @nn.compact
    def __call__(self, features: Sequence[jax.Array], train: bool) -> dict[str, jax.Array]:
        """Features, finest first -> logits [b h w k] at the resolution of the finest, in the style's dtype."""
        *skips, added = features
        growth, up = LAYOUTS[self.layout].growth, LAYOUTS[self.layout].up
        x = added
        for level in range(len(skips), 0, -1):
            skip, layers = skips[level - 1], up[len(up) - level]
            if skip.shape[1] // added.shape[1] == 2:  # in a dilated encoder the skip has the same resolution
                added = TransitionUp(dtype=self.style.dtype, name=f"up{level}")(added)
            x = jnp.concatenate([added, skip], axis=-1)
            block = remat(DenseBlock, self.style)(layers, growth, self.dropout, self.style, name=f"block{level}")
            added = block(x, train)
        x = jnp.concatenate([x, added], axis=-1) if skips else x
        return {"logits": Head(self.classes, dtype=self.style.dtype, name="head")(x)}


def _build(model: ModelConfig, classes: int, style: Style, *, layout: str) -> nn.Module:
    return FCDenseNetDecoder(classes=classes, layout=layout, dropout=model.dropout, style=style)


FCDENSENETS: Mapping[str, Architecture] = {name: Architecture(partial(_build, layout=name)) for name in LAYOUTS}
