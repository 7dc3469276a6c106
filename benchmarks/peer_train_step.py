"""The peer of `benchmarks.train_step`: the same network in PyTorch; runs where its library is installed.

python benchmarks/peer_train_step.py JSON, with what `peer_networks.build` takes, height, width, batch, layout, device
("cpu" or "cuda") and threads. It prints a line of JSON once it is warm (parameters, seconds of the first step, bytes
at the peak and how they were found, FLOPs of a step on CUDA, versions), then for every line that it reads, a number of
steps, the seconds that these took.

On CPU eager float32, on CUDA bfloat16 with torch.compile. It imports nothing of this project, so that it can run in an
environment of its own.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import peer_networks
import torch

WARM_UP = 2
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

    compiled = torch.compile(cost) if cuda else cost

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        compiled(image, label).backward()
        optimizer.step()

    return step


def count_flops(case: dict, model: torch.nn.Module) -> int:
    """Floating-point operations of the convolutions and matrix products of a step, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    image = torch.zeros((1, 3, case["height"], case["width"]), device=case["device"]).to(torch.bfloat16)
    counter = FlopCounterMode(display=False)
    # In evaluation: a batch of one has no batch statistics at the pixels that pooling leaves.
    with counter, torch.autocast("cuda", dtype=torch.bfloat16):
        model.eval()(image).float().sum().backward()
    model.train().zero_grad(set_to_none=True)
    return case["batch"] * counter.get_total_flops()


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
    model = peer_networks.build(case).to(case["device"], memory_format=LAYOUTS[case["layout"]]).train()
    flops = count_flops(case, model) if cuda else None
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
        "flops": flops,
        "versions": peer_networks.versions(case),
    }
    print(json.dumps(found), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(int(line))), flush=True)


if __name__ == "__main__":
    main()
