"""The networks of other libraries that the peers run, as PyTorch modules: image [b 3 h w] -> logits [b k h w].

It imports nothing of this project, so that it can run in an environment of its own.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch

try:
    import torchvision
except RuntimeError:
    # A torchvision without its compiled operators wants to describe two of them; no network here uses any.
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401

SEGFORMERS = {
    "b0": {"depths": [2, 2, 2, 2], "hidden_sizes": [32, 64, 160, 256], "decoder_hidden_size": 256},
    "b2": {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
}
CONVNEXTS = {"convnext_tiny": {"depths": [3, 3, 9, 3], "hidden_sizes": [96, 192, 384, 768]}}


class FullSize(torch.nn.Module):
    """A network of transformers whose logits are resized to the image, as its loss does."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of the image's size."""
        logits = self.network(pixel_values=image).logits
        if logits.shape[2:] == image.shape[2:]:
            return logits
        return torch.nn.functional.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=False)


def build(case: dict[str, Any]) -> torch.nn.Module:
    """The network that `benchmarks.cases.Case.peer` describes, with random weights and no dropout."""
    make = {"segmentation_models_pytorch": _smp, "transformers": _transformers}[case["library"]]
    model = make(case)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def versions(case: dict[str, Any]) -> str:
    """Of PyTorch and the library of the network."""
    return f"torch {torch.__version__}, {case['library']} {version(case['library'])}"


def _smp(case: dict[str, Any]) -> torch.nn.Module:
    import segmentation_models_pytorch as smp

    make = getattr(smp, case["architecture"])
    model = make(case["encoder"], encoder_weights=None, classes=case["classes"], **case["options"])
    # The stages of a ResNet past the depth that is used would be counted among its parameters.
    for stage in range(case["options"].get("encoder_depth", 5), 5):
        setattr(model.encoder, f"layer{stage}", torch.nn.Identity())
    return model


def _transformers(case: dict[str, Any]) -> torch.nn.Module:
    import transformers

    if case["architecture"] == "Segformer":
        off = dict.fromkeys(
            ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob", "drop_path_rate"), 0.0
        )
        config = transformers.SegformerConfig(num_labels=case["classes"], **SEGFORMERS[case["encoder"]], **off)
        return FullSize(transformers.SegformerForSemanticSegmentation(config))
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = transformers.ConvNextConfig(out_features=stages, **CONVNEXTS[case["encoder"]])
    config = transformers.UperNetConfig(
        backbone_config=backbone, num_labels=case["classes"], use_auxiliary_head=False, hidden_size=512
    )
    network = transformers.UperNetForSemanticSegmentation(config)
    # The paper has no norm between encoder and decoder, and neither have we.
    norms = network.backbone.hidden_states_norms
    for stage in stages:
        norms[stage] = torch.nn.Identity()
    return FullSize(network)
