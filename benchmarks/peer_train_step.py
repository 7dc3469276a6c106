"""The peer of `benchmarks.train_step`: segmentation_models.pytorch; runs where it is installed.

python benchmarks/peer_train_step.py JSON, with architecture, encoder, classes, height, width, batch, steps, device
("cpu" or "cuda") and threads. It prints a line of JSON once it is warm (parameters, seconds of the first step, bytes
at the peak and how they were found, versions), then for every line that it reads the seconds of so many steps.

On CPU eager float32, on CUDA bfloat16 with torch.compile; channels last on both, which is the quicker layout. It
imports nothing of this project, so that it can run in an environment of its own.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

WARM_UP = 2

try:
    import torchvision
except RuntimeError:
    # A torchvision without its compiled operators wants to describe two of them; no network here uses any.
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401

import segmentation_models_pytorch as smp  # noqa: E402

LAYOUTS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}


def make_step(case: dict, model: torch.nn.Module) -> Callable[[], None]:
    """One training step on a fixed batch; returns before a GPU has finished it."""
    cuda = case["device"] == "cuda"
    generator = torch.Generator().manual_seed(0)
    size = (case["batch"], case["height"], case["width"])
    image = torch.randn((size[0], 3, *size[1:]), generator=generator).to(case["device"])
    label = torch.randint(case["classes"], size, generator=generator).to(case["device"])
    image = image.to(memory_format=LAYOUTS[case["layout"]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)

    def cost(image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=cuda):
            logits = model(image)
        return torch.nn.functional.cross_entropy(logits.float(), label)

    if cuda:
        cost = torch.compile(cost)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        cost(image, label).backward()
        optimizer.step()

    return step


def peak_memory() -> int:
    """Bytes of memory that this process had at its peak."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux counts the program that started this one into ru_maxrss.
        return 1024 * int(next(line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def main() -> None:
    """Builds the network, warms up, then measures whenever it is asked to."""
    case = json.loads(sys.argv[1])
    cuda = case["device"] == "cuda"
    torch.set_num_threads(case["threads"])
    torch.backends.cudnn.benchmark = True
    before = peak_memory()
    model = getattr(smp, case["architecture"])(case["encoder"], encoder_weights=None, classes=case["classes"])
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model = model.to(case["device"], memory_format=LAYOUTS[case["layout"]]).train()
    step = make_step(case, model)

    def run(steps: int) -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            step()
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    first = run(1)
    if cuda:
        # What compiling and the trials of cuDNN took is given back first: it is no part of a step.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run(WARM_UP)
    if cuda:
        peak, counted = torch.cuda.max_memory_allocated(), "max_memory_allocated"
    else:
        peak, counted = peak_memory() - before, "growth of its largest resident size"
    found = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "first_step_s": first,
        "peak_bytes": peak,
        "peak_of": counted,
        "versions": f"torch {torch.__version__}, segmentation_models_pytorch {version('segmentation_models_pytorch')}",
    }
    print(json.dumps(found), flush=True)
    for _ in sys.stdin:
        print(json.dumps(run(case["steps"])), flush=True)


if __name__ == "__main__":
    main()
