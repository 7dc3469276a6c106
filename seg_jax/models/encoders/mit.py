"""Mix Transformers MiT-B0 to B5, the encoders of SegFormer (Xie et al. 2021), as feature pyramids.

All norms are layer norms: `Style.norm` is not used. In the authors' code, which segmentation_models.pytorch adopted,
the norms of blocks and stages have an epsilon of 1e-6, and those inside patch embeddings and attention PyTorch's 1e-5.
transformers has 1e-5 everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import flax.linen as nn
import jax

from seg_jax.config import ModelConfig
from seg_jax.models.encoders.mit_block import Block, PatchEmbedding
from seg_jax.models.entries import Encoder, depth_from_2
from seg_jax.models.layers import Style, remat
from seg_jax.models.weights.naming import Naming

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
EPSILON = {"torch": 1e-5, "smp": 1e-6}  # for the norms of blocks and stages


class MixTransformer(nn.Module):
    """Features of a Mix Transformer at strides 4, 8, 16, 32.

    The authors have no version with a smaller output stride. Here the patch embeddings of stages beyond it have stride
    1, and later convolutions are dilated, as in convolutional encoders. Attention reduces keys and values by the
    original ratio, so they are denser.

    Attributes:
      layout: a key of `LAYOUTS`.
      output_stride: 32, 16 or 8.
      depth: number of times the resolution is halved, from 2; later stages are left out.
      drop_path: rate of the last block; rates grow linearly with the number of the block.
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
        """The number of blocks of each stage up to `depth`."""
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


def _build(model: ModelConfig, style: Style, library: str, *, layout: str) -> nn.Module:
    del library  # the style determines the arithmetic
    return MixTransformer(
        layout=layout,
        output_stride=model.encoder.output_stride,
        depth=depth_from_2(model),
        drop_path=model.encoder.drop_path,
        style=style,
    )


ENCODERS: Mapping[str, Encoder] = {
    layout: Encoder(partial(_build, layout=layout), EPSILON, NAMINGS) for layout in LAYOUTS
}
