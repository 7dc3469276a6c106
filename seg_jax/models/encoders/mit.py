"""Mix Transformers MiT-B0 to B5, the encoders of SegFormer (Xie et al. 2021), as feature pyramids.

All norms are layer norms: `Style.norm` is not used. In the authors' code, which segmentation_models.pytorch took over,
those of blocks and stages have an epsilon of 1e-6 and those within patch embeddings and attention PyTorch's 1e-5;
transformers has 1e-5 everywhere.
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax

from seg_jax.models.attention import attention
from seg_jax.models.layers import Conv, Style, remat
from seg_jax.models.naming import Naming
from seg_jax.models.operators import pad_edge

# name -> (blocks of the four stages, their channels); table 6 of the paper
LAYOUTS: dict[str, tuple[tuple[int, int, int, int], tuple[int, int, int, int]]] = {
    "mit_b0": ((2, 2, 2, 2), (32, 64, 160, 256)),
    "mit_b1": ((2, 2, 2, 2), (64, 128, 320, 512)),
    "mit_b2": ((3, 4, 6, 3), (64, 128, 320, 512)),
    "mit_b3": ((3, 4, 18, 3), (64, 128, 320, 512)),
    "mit_b4": ((3, 8, 27, 3), (64, 128, 320, 512)),
    "mit_b5": ((3, 6, 40, 3), (64, 128, 320, 512)),
}
HEADS = (1, 2, 5, 8)
RATIOS = (8, 4, 2, 1)
EXPANSION = 4
EPSILON = {"torch": 1e-5, "smp": 1e-6}  # of the norms of blocks and stages
INNER_EPSILON = 1e-5  # of those within patch embeddings and attention

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
    """Multi-head self-attention whose keys and values are of a map reduced by `ratio` (section 3.1, equation 2)."""

    heads: int
    ratio: int
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b h w c] -> the same shape."""
        b, h, w, c = x.shape
        ratio, dtype = self.ratio, self.style.dtype
        seen = x
        if ratio > 1:
            # Rows and columns that do not fill a window are left out; a map smaller than one window is repeated.
            missing = [jax.core.max_dim(ratio - n, 0) for n in (h, w)]
            seen = pad_edge(x, (0, missing[0]), (0, missing[1]))
            seen = Conv(c, ratio, ratio, bias=True, padding=(0, 0), dtype=dtype, name="reduce")(seen)
            seen = nn.LayerNorm(INNER_EPSILON, dtype=dtype, name="reduce_norm")(seen)
        sources = {"query": x, "key": seen, "value": seen}
        query, key, value = (
            _linear(c, dtype=dtype, name=name)(source).reshape(b, -1, self.heads, c // self.heads)
            for name, source in sources.items()
        )
        y = attention(query, key, value, (c // self.heads) ** -0.5)
        return _linear(c, dtype=dtype, name="project")(y.reshape(x.shape))


class MixFFN(nn.Module):
    """1x1 to four times the channels, 3x3 depthwise, GELU, 1x1 back (equation 3).

    The depthwise convolution takes the place of a position encoding: its zero padding tells where the border is.
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
            kernel_init=nn.initializers.normal(
                (2 / 9) ** 0.5
            ),  # by the 9 pixels that each output sees; no norm follows
            dtype=dtype,
            name="depthwise",
        )(y)
        return _linear(c, dtype=dtype, name="project")(nn.gelu(y, approximate=False))


class Block(nn.Module):
    """Attention and Mix-FFN, each behind a layer norm and beside a shortcut.

    In training each is left out with probability `drop_path` for each image by itself (stochastic depth, Huang et al.
    2016).
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


class MixTransformer(nn.Module):
    """Features of a Mix Transformer at strides 4, 8, 16, 32.

    The authors have no form with a smaller output stride. Here the patch embeddings of stages past it have stride 1,
    and convolutions from there on are dilated, as in convolutional encoders. Attention reduces keys and values as
    often as in the original, so they lie denser.

    Attributes:
      layout: a key of `LAYOUTS`.
      output_stride: 32, or 16 or 8.
      depth: how many times the resolution is halved, from 2; the stages after the last are left out.
      drop_path: of the last block; it grows linearly with the number of the block.
    """

    layout: str = "mit_b0"
    output_stride: int = 32
    depth: int = 5
    drop_path: float = 0.0
    style: Style = Style()

    @property
    def reduction(self) -> int:
        """Input height and width must be multiples of this."""
        return min(self.output_stride, 2**self.depth)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """[b h w c] -> `depth` - 1 feature maps, finest first."""
        counts, channels = LAYOUTS[self.layout]
        features: list[jax.Array] = []
        stride, dilation, number = 4, 1, 0
        for stage, count in enumerate(self.counts(), start=1):
            kernel, step, own = 7, 4, 1
            if stage > 1:
                kernel, step, own = 3, 2, dilation
                if stride < self.output_stride:
                    stride *= 2
                else:
                    step, dilation = 1, 2 * dilation
                    own = dilation if self.style.dilate_first else own
            x = PatchEmbedding(channels[stage - 1], kernel, step, own, self.style, name=f"stage{stage}_embed")(x)
            for i in range(count):
                x = remat(Block, self.style)(
                    HEADS[stage - 1],
                    RATIOS[stage - 1],
                    dilation,
                    self.drop_path * number / (sum(counts) - 1),
                    self.style,
                    name=f"stage{stage}_block{i + 1}",
                )(x, train)
                number += 1
            x = nn.LayerNorm(self.style.epsilon, dtype=self.style.dtype, name=f"stage{stage}_norm")(x)
            features.append(x)
        return features

    def counts(self) -> tuple[int, ...]:
        """Blocks of the stages that `depth` leaves."""
        return LAYOUTS[self.layout][0][: self.depth - 1]


# (in our block, in transformers', in the authors' and segmentation_models.pytorch's)
PARTS = (
    ("attention_norm", "layer_norm_1", "norm1"),
    ("attention/query", "attention.self.query", "attn.q"),
    ("attention/key", "attention.self.key", "attn.k"),
    ("attention/value", "attention.self.value", "attn.v"),
    ("attention/reduce", "attention.self.sr", "attn.sr"),
    ("attention/reduce_norm", "attention.self.layer_norm", "attn.norm"),
    ("attention/project", "attention.output.dense", "attn.proj"),
    ("ffn_norm", "layer_norm_2", "norm2"),
    ("ffn/expand", "mlp.dense1", "mlp.fc1"),
    ("ffn/depthwise", "mlp.dwconv.dwconv", "mlp.dwconv.dwconv"),
    ("ffn/project", "mlp.dense2", "mlp.fc2"),
)


def _block(ours: str, theirs: str, column: int, stage: int) -> dict[str, str]:
    parts = [part for part in PARTS if RATIOS[stage - 1] > 1 or "reduce" not in part[0]]
    return {f"{ours}/{part[0]}": f"{theirs}.{part[column]}" for part in parts}


def _transformers(net: MixTransformer) -> dict[str, str]:
    layers = {}
    for stage, count in enumerate(net.counts(), start=1):
        ours, theirs = f"stage{stage}", "encoder"
        layers[f"{ours}_embed/conv"] = f"{theirs}.patch_embeddings.{stage - 1}.proj"
        layers[f"{ours}_embed/norm"] = f"{theirs}.patch_embeddings.{stage - 1}.layer_norm"
        for i in range(count):
            layers |= _block(f"{ours}_block{i + 1}", f"{theirs}.block.{stage - 1}.{i}", 1, stage)
        layers[f"{ours}_norm"] = f"{theirs}.layer_norm.{stage - 1}"
    return layers


def _smp(net: MixTransformer) -> dict[str, str]:
    layers: dict[str, str] = {}
    for stage, count in enumerate(net.counts(), start=1):
        ours = f"stage{stage}"
        layers |= {f"{ours}_embed/conv": f"patch_embed{stage}.proj", f"{ours}_embed/norm": f"patch_embed{stage}.norm"}
        for i in range(count):
            layers |= _block(f"{ours}_block{i + 1}", f"block{stage}.{i}", 2, stage)
        layers[f"{ours}_norm"] = f"norm{stage}"
    return layers


_IMAGE = "stage1_embed/conv"
NAMINGS = {
    "transformers": Naming(_transformers, image=_IMAGE),
    "smp": Naming(_smp, style="smp", image=_IMAGE, fused={"attn.kv": ("attn.k", "attn.v")}, unused=(r"head\..*",)),
}
