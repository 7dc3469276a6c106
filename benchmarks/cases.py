"""The networks that benchmarks measure, as this project and as PyTorch libraries call them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from seg_jax.config import Config, default

CLASSES = 19

# Dense bfloat16 FLOP/s by the name that the device gives itself, from NVIDIA's data sheets.
PEAK_FLOPS = {
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
}


@dataclass(frozen=True)
class Case:
    """A network as both sides call it, and the size of the images.

    Attributes:
      fields: of our configuration, over `configs/default.py`.
      architecture, encoder: what `peer_networks.py` builds the same network from.
      size: (height, width).
      library: the one that has it, segmentation_models_pytorch or transformers.
      options: what else segmentation_models_pytorch is told.
    """

    fields: Mapping[str, Any]
    architecture: str
    encoder: str
    size: tuple[int, int]
    library: str = "segmentation_models_pytorch"
    options: Mapping[str, Any] = field(default_factory=dict)

    def peer(self) -> dict[str, Any]:
        """What the peer's programs are told of the network and the images."""
        names: dict[str, Any] = {"library": self.library, "architecture": self.architecture, "encoder": self.encoder}
        names |= {"options": dict(self.options)}
        return names | {"classes": CLASSES, "height": self.size[0], "width": self.size[1]}


def _unet(encoder: str) -> dict[str, Any]:
    return {
        "model.name": "unet",
        "model.encoder.style": "smp",
        "model.encoder.name": encoder,
        "model.decoder_channels": (256, 128, 64, 32, 16),
        "model.upsampling": "nearest",
        "model.head_kernel": 3,
        "model.align_corners": True,
    }


_DEEPLAB = {
    "model.name": "deeplabv3plus",
    "model.encoder.style": "smp",
    "model.encoder.name": "resnet101",
    "model.aspp_rates": (12, 24, 36),
    "model.separable": True,
    "model.align_corners": True,
}

_SEGFORMER = {"model.name": "segformer", "model.encoder.name": "mit_b2"}

# Without the auxiliary head, as the peer is built.
_UPERNET = {"model.name": "upernet", "model.encoder.name": "convnext_tiny", "loss.aux_weight": 0.0}

# docs/models.md says which fields give the networks of segmentation_models.pytorch.
CASES = {
    "unet_resnet34": Case(_unet("resnet34"), "Unet", "resnet34", (256, 256)),
    "unet_mobilenetv2": Case(_unet("mobilenetv2"), "Unet", "mobilenet_v2", (256, 256)),
    "deeplabv3plus_resnet101": Case(_DEEPLAB, "DeepLabV3Plus", "resnet101", (512, 512)),
    "deeplabv3plus_resnet101_cityscapes": Case(_DEEPLAB, "DeepLabV3Plus", "resnet101", (512, 1024)),
    "segformer_b2": Case(_SEGFORMER, "Segformer", "b2", (512, 512), "transformers"),
    "upernet_convnext_tiny": Case(_UPERNET, "UperNet", "convnext_tiny", (512, 512), "transformers"),
}

# What both sides compile soonest: for trials on a CPU.
TOY = Case(
    {**_unet("resnet18"), "model.encoder.depth": 3, "model.decoder_channels": (16, 8, 8)},
    "Unet",
    "resnet18",
    (32, 32),
    options={"encoder_depth": 3, "decoder_channels": (16, 8, 8)},
)


def configuration(case: Case, *, batch: int) -> Config:
    """That of our side: nothing is drawn, the rate stays."""
    config = default.get_config()
    fields = {
        "model.dtype": "float32" if jax.default_backend() == "cpu" else "bfloat16",
        "augment.flip": 0.0,
        "optim.schedule": "constant",
        "train.batch_size": batch,
    }
    config.update_from_flattened_dict({**fields, **case.fields})
    return config
