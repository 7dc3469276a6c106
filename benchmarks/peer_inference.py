"""The peer of `benchmarks.export`: segmentation_models.pytorch in eager mode; runs where it is installed.

python benchmarks/peer_inference.py JSON, with architecture, encoder, classes, height, width and threads. It
prints a line of JSON once the network is there (parameters, versions), then for every line that it reads, a number of
calls, the seconds of each. A call does what an artefact does: bytes [1 h w 3] -> probabilities
[1 h w k]. Channels last, which is the quicker layout. It imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version

import torch

try:
    import torchvision
except RuntimeError:
    # A torchvision without its compiled operators wants to describe two of them; no network here uses any.
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401

import segmentation_models_pytorch as smp

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def main() -> None:
    """Builds the network, then measures whenever it is asked to."""
    case = json.loads(sys.argv[1])
    torch.set_num_threads(case["threads"])
    model = getattr(smp, case["architecture"])(case["encoder"], encoder_weights=None, classes=case["classes"])
    model = model.to(memory_format=torch.channels_last).eval()
    image = torch.randint(256, (1, case["height"], case["width"], 3), dtype=torch.uint8)
    found = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "versions": f"torch {torch.__version__}, segmentation_models_pytorch {version('segmentation_models_pytorch')}",
    }
    print(json.dumps(found), flush=True)
    for line in sys.stdin:
        times = []
        with torch.inference_mode():
            for _ in range(int(line)):
                begin = time.perf_counter()
                x = ((image.float() / 255 - MEAN) / STD).permute(0, 3, 1, 2)
                model(x).softmax(1).permute(0, 2, 3, 1).contiguous()
                times.append(time.perf_counter() - begin)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
