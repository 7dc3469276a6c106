"""The network: an encoder, a decoder, and the padding that makes every input size fit."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.config import ConfigError
from seg_jax.models.operators import pad_edge, window
from seg_jax.models.resampling import resize_bilinear

Outputs = dict[str, jax.Array]


class Segmenter(nn.Module):
    """A network for semantic segmentation.

    Attributes:
      encoder: [b h w c] -> feature maps, finest first; has the property `reduction`.
      decoder: feature maps -> {'logits': ..., and in training the logits of auxiliary heads}, at any stride.
      align_corners: how logits are upsampled to the size of the image, see `resampling.resize_bilinear`.
      binary: whether the decoder has one channel z, which becomes the logits (0, z) of two classes.
    """

    encoder: Any
    decoder: Any
    align_corners: bool = False
    binary: bool = False

    @nn.compact
    def __call__(self, image: jax.Array, train: bool, frozen: bool = False) -> Outputs:
        """float [b h w c], any h and w -> float32 [b h w k] under 'logits' and the names of auxiliary heads.

        With `frozen` the encoder runs as in evaluation while the decoder is trained.
        """
        h, w = image.shape[1:3]
        multiple = self.encoder.reduction
        # In this form jax.export can prove that a symbolic size can be halved as often as the network does. The border
        # is repeated below and to the right, since zeros would look like an edge.
        height, width = ((n + multiple - 1) // multiple * multiple for n in (h, w))
        x = pad_edge(image, (0, height - h), (0, width - w))
        outputs = self.decoder(self.encoder(x, train and not frozen), train)
        return {
            name: window(self._whole(logits.astype(jnp.float32), x), slice(h), slice(w))
            for name, logits in outputs.items()
        }

    def _whole(self, logits: jax.Array, x: jax.Array) -> jax.Array:
        if logits.shape[1] > x.shape[1]:
            raise ConfigError(
                f"config.model.decoder_channels has too many entries: the decoder ends at {logits.shape[1]} rows for "
                f"an input of {x.shape[1]}. Leave out the last ones."
            )
        whole = resize_bilinear(logits, (x.shape[1], x.shape[2]), align_corners=self.align_corners)
        return jnp.concatenate([jnp.zeros_like(whole), whole], -1) if self.binary else whole
