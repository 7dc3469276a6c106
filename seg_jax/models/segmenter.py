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
    def __call__(self, image: jax.Array, train: bool, frozen: bool = False, coarse: bool = False) -> Outputs:
        """float [b h w c], any h and w -> float32 [b h w k] under 'logits' and the names of auxiliary heads.

        With `frozen` the encoder runs as in evaluation while the decoder is trained. With `coarse` the logits are as
        the decoder has them, to be completed by `whole`.
        """
        h, w = image.shape[1:3]
        height, width = self._padded((h, w))
        # The border is repeated below and to the right, since zeros would look like an edge.
        x = pad_edge(image, (0, height - h), (0, width - w))
        outputs = self.decoder(self.encoder(x, train and not frozen), train)
        return {name: x if coarse else self.whole(x, (h, w)) for name, x in outputs.items()}

    def _padded(self, size: tuple[int, int]) -> tuple[int, int]:
        # In this form jax.export can prove that a symbolic size can be halved as often as the network does.
        multiple = self.encoder.reduction
        height, width = ((n + multiple - 1) // multiple * multiple for n in size)
        return height, width

    def whole(self, logits: jax.Array, size: tuple[int, int]) -> jax.Array:
        """The decoder's logits, for images of `size` -> float32 [b h w k]; it needs no parameters.

        Raises:
          ConfigError: they are larger than the images.
        """
        padded = self._padded(size)
        if logits.shape[1] > padded[0]:
            raise ConfigError(
                f"config.model.decoder_channels has too many entries: the decoder ends at {logits.shape[1]} rows for "
                f"an input of {padded[0]}. Leave out the last ones."
            )
        whole = resize_bilinear(logits.astype(jnp.float32), padded, align_corners=self.align_corners)
        whole = jnp.concatenate([jnp.zeros_like(whole), whole], -1) if self.binary else whole
        return window(whole, slice(size[0]), slice(size[1]))
