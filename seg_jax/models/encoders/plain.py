"""The contracting path of U-Net (Ronneberger et al. 2015), trained from scratch."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax

from seg_jax.config import ModelConfig
from seg_jax.models.entries import Encoder
from seg_jax.models.layers import ConvNormAct, Style, remat
from seg_jax.models.resampling import max_pool_2x2


class PlainEncoder(nn.Module):
    """Two 3x3 convolutions per level, 2x2 max pooling between levels, and twice the channels at each level.

    Attributes:
      width: channels at full resolution.
      depth: number of times the resolution is halved.
      dropout: rate after the two deepest levels, as in the paper's "end of the contracting path".
    """

    width: int = 64
    depth: int = 4
    dropout: float = 0.0
    style: Style = Style()

    @property
    def reduction(self) -> int:
        """Input height and width must be multiples of this."""
        return 2**self.depth

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """[b h w 3] -> features at strides 1, 2, 4 ... 2**depth with width * stride channels."""
        features = []
        for level in range(self.depth + 1):
            if level:
                x = max_pool_2x2(x)
            for i in (1, 2):
                channels = self.width * 2**level
                x = remat(ConvNormAct, self.style)(channels, style=self.style, name=f"level{level}_conv{i}")(x, train)
            if self.dropout and level >= self.depth - 1:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            features.append(x)
        return features


def _build(model: ModelConfig, style: Style, library: str) -> nn.Module:
    del library
    return PlainEncoder(width=model.encoder.width, depth=model.encoder.depth or 4, dropout=model.dropout, style=style)


ENCODERS: Mapping[str, Encoder] = {"plain": Encoder(_build)}
