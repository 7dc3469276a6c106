"""The peer of `benchmarks.export` and `benchmarks.accelerator`: the same network in PyTorch; runs where its library is.

python benchmarks/peer_inference.py JSON, with what `peer_networks.build` takes, height, width, batch, dtype, output
("probabilities" or "label"), device ("cpu" or "cuda") and threads. It prints a line of JSON once the network is there
and warm (parameters, seconds of the first call, versions), then for every line that it reads, a number of calls, the
seconds of each; on CUDA, where calls return before they are done, the same share of all of them. A call does what an
artefact does: bytes [b h w 3], on the device -> probabilities [b h w k] or class ids [b h w], there. Channels last,
which is the quicker layout; on CUDA with torch.compile. It imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import peer_networks
import torch

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_call(case: dict, model: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """bytes [b h w 3] -> what `output` says."""
    mean, std = (torch.tensor(values, device=case["device"]) for values in (MEAN, STD))
    half = case["dtype"] == "bfloat16"

    def call(image: torch.Tensor) -> torch.Tensor:
        x = ((image.float() / 255 - mean) / std).permute(0, 3, 1, 2)
        with torch.autocast(case["device"], dtype=torch.bfloat16, enabled=half):
            logits = model(x).float()
        if case["output"] == "label":
            return logits.argmax(1).to(torch.uint8)
        return logits.softmax(1).permute(0, 2, 3, 1).contiguous()

    return torch.compile(call) if case["device"] == "cuda" else call


def seconds(
    call: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor, calls: int, *, cuda: bool
) -> list[float]:
    """Of each call; on CUDA the mean of all."""
    if cuda:
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(calls):
            call(image)
        torch.cuda.synchronize()
        return [(time.perf_counter() - begin) / calls] * calls
    times = []
    for _ in range(calls):
        begin = time.perf_counter()
        call(image)
        times.append(time.perf_counter() - begin)
    return times


def main() -> None:
    """Builds the network, then measures whenever it is asked to."""
    case = json.loads(sys.argv[1])
    cuda = case["device"] == "cuda"
    torch.set_num_threads(case["threads"])
    torch.backends.cudnn.benchmark = True
    if cuda:  # float32 on tensor cores is TF32, as XLA has it
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    model = peer_networks.build(case).to(case["device"], memory_format=torch.channels_last).eval()
    image = torch.randint(256, (case["batch"], case["height"], case["width"], 3), dtype=torch.uint8)
    image, call = image.to(case["device"]), make_call(case, model)
    with torch.inference_mode():
        (first,) = seconds(call, image, 1, cuda=cuda)
        found = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "first_call_s": first,
            "versions": peer_networks.versions(case),
        }
        print(json.dumps(found), flush=True)
        for line in sys.stdin:
            print(json.dumps(seconds(call, image, int(line), cuda=cuda)), flush=True)


if __name__ == "__main__":
    main()
