"""Images a second of the compiled training step: ours against PyTorch with segmentation_models.pytorch.

python -m benchmarks.train_step [--peer=PYTHON] [--only=NAME] [--batch=N] [--steps=N] [--json=FILE]

PYTHON is an interpreter with torch and segmentation_models_pytorch; without --peer ours alone is measured. Both sides
train the same network (checked by its number of parameters) from random weights: forward with batch statistics,
cross-entropy over 19 classes, backward, AdamW, on one random batch that is on the device already, no augmentation, no
dropout. Ours takes bytes and normalises them in the step; the peer is handed floats. On CPU float32, batches of 4, the
peer eager and as PyTorch starts, channels first and with malloc's own settings, unless --peer_layout=channels_last and
--peer_malloc say otherwise, both on all cores; on CUDA bfloat16 with float32 parameters, batches of 16, the peer
channels last with torch.compile. The best of interleaved turns, after steps that warm up.

Peak memory is what XLA planned for ours, parameters and optimizer included; the peer's is the allocator's on CUDA and
the growth of the process on CPU. MFU is the share of the device's dense bfloat16 peak that XLA's count of FLOPs amounts
to, on devices whose peak is in `PEAK_FLOPS`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_jax import process

if __name__ == "__main__":
    process.tune_malloc()
    # The peer needs its part of a GPU's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import numpy as np

from configs import default
from seg_jax import models, sharding
from seg_jax.config import Config
from seg_jax.run import cost, pretrained, program

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
CLASSES, TURNS, WARM_UP = 19, 3, 2
LAYOUTS = ("channels_first", "channels_last")  # of the peer

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
      architecture, encoder: the names that segmentation_models.pytorch has for the same.
      size: (height, width).
    """

    fields: Mapping[str, Any]
    architecture: str
    encoder: str
    size: tuple[int, int]


def _unet(encoder: str) -> dict[str, Any]:
    return {
        "model.name": "unet",
        "model.encoder.name": encoder,
        "model.decoder_channels": (256, 128, 64, 32, 16),
        "model.upsampling": "nearest",
        "model.head_kernel": 3,
        "model.align_corners": True,
    }


_DEEPLAB = {
    "model.name": "deeplabv3plus",
    "model.encoder.name": "resnet101",
    "model.aspp_rates": (12, 24, 36),
    "model.separable": True,
    "model.align_corners": True,
}

# docs/models.md says which fields give the networks of segmentation_models.pytorch.
CASES = {
    "unet_resnet34": Case(_unet("resnet34"), "Unet", "resnet34", (256, 256)),
    "unet_mobilenetv2": Case(_unet("mobilenetv2"), "Unet", "mobilenet_v2", (256, 256)),
    "deeplabv3plus_resnet101": Case(_DEEPLAB, "DeepLabV3Plus", "resnet101", (512, 512)),
    "deeplabv3plus_resnet101_cityscapes": Case(_DEEPLAB, "DeepLabV3Plus", "resnet101", (512, 1024)),
}


def configuration(case: Case, *, batch: int) -> Config:
    """That of our side: nothing is drawn, the rate stays."""
    config = default.get_config()
    fields = {
        "model.dtype": "float32" if jax.default_backend() == "cpu" else "bfloat16",
        "model.encoder.style": "smp",
        "augment.flip": 0.0,
        "optim.schedule": "constant",
        "train.batch_size": batch,
    }
    config.update_from_flattened_dict({**fields, **case.fields})
    return config


class Ours:
    """The training step of this project, compiled and warm.

    Attributes:
      parameters: how many the network has.
      compile_s: seconds that tracing and compiling took.
      peak_bytes, flops: of a step, as XLA planned and counted them.
    """

    def __init__(self, case: Case, *, batch: int):
        mesh = sharding.make_mesh(1)
        functions = program.Functions(pretrained.resolve(configuration(case, batch=batch)), classes=CLASSES, mesh=mesh)
        begin = time.perf_counter()
        self._step = functions.train_step(case.size)
        self.compile_s = time.perf_counter() - begin
        self.peak_bytes, self.flops = cost.peak_memory(self._step), cost.count_flops(self._step)
        self._state = functions.init()
        self.parameters = models.count(self._state.params)
        rng = np.random.default_rng(0)
        arrays = {
            "image": rng.integers(0, 256, (batch, *case.size, 3), np.uint8),
            "label": rng.integers(0, CLASSES, (batch, *case.size), np.uint8),
        }
        self._batch = sharding.place(arrays, mesh)
        self.run(WARM_UP)

    def run(self, steps: int) -> float:
        """Seconds of so many steps."""
        begin = time.perf_counter()
        for _ in range(steps):
            self._state, metrics = self._step(self._state, self._batch, ())
        jax.block_until_ready((self._state, metrics))
        return time.perf_counter() - begin


@contextmanager
def peer_process(
    python: str, case: Case, *, batch: int, steps: int, layout: str, malloc: bool
) -> Iterator[subprocess.Popen[str]]:
    """The peer, which answers every line with one of JSON; it ends with the context."""
    asked = {
        "architecture": case.architecture,
        "encoder": case.encoder,
        "classes": CLASSES,
        "height": case.size[0],
        "width": case.size[1],
        "batch": batch,
        "steps": steps,
        "layout": layout,
        "device": "cuda" if jax.default_backend() == "gpu" else "cpu",
        "threads": CORES,
    }
    command = [python, str(Path(__file__).with_name("peer_train_step.py")), json.dumps(asked)]
    own = dict(os.environ)
    if not malloc:
        own.pop("GLIBC_TUNABLES", None)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own) as peer:
        try:
            yield peer
        finally:
            peer.kill()


def answer(peer: subprocess.Popen[str]) -> Any:
    """The next line of the peer.

    Raises:
      RuntimeError: it has ended; its own message is on the screen.
    """
    assert peer.stdout is not None
    line = peer.stdout.readline()
    if not line:
        raise RuntimeError("the peer ended without an answer: does its interpreter have segmentation_models_pytorch?")
    return json.loads(line)


def measure(
    name: str, *, batch: int, steps: int, python: str = "", layout: str = LAYOUTS[0], malloc: bool = False
) -> dict[str, Any]:
    """One row of the table: rates in images a second, memory in bytes."""
    case = CASES[name]
    ours = Ours(case, batch=batch)
    row: dict[str, Any] = {"name": name, "size": case.size, "batch": batch, "parameters": ours.parameters}
    if python:
        with peer_process(python, case, batch=batch, steps=steps, layout=layout, malloc=malloc) as peer:
            row["peer"] = answer(peer)
            if (found := row["peer"]["parameters"]) != ours.parameters:
                raise RuntimeError(f"not the same network: {ours.parameters} parameters, the peer's {found}")
            times, theirs = [], []
            for _ in range(TURNS):
                times.append(ours.run(steps))
                print("go", file=peer.stdin, flush=True)
                theirs.append(answer(peer))
        row["peer"] |= {"turns_s": theirs, "rate": batch * steps / min(theirs)}
    else:
        times = [ours.run(steps) for _ in range(TURNS)]
    row |= {"turns_s": times, "rate": batch * steps / min(times), "compile_s": ours.compile_s}
    row |= {"peak_bytes": ours.peak_bytes, "flops": ours.flops}
    if peak := PEAK_FLOPS.get(jax.devices()[0].device_kind):
        row["mfu"] = ours.flops * steps / min(times) / peak
    return row


def line(row: Mapping[str, Any]) -> str:
    """A row as it is printed."""
    size = f"{row['size'][0]}x{row['size'][1]}"
    text = f"{row['name']:<36}{size:>9}{row['rate']:>10.2f}{row['compile_s']:>10.1f}{row['peak_bytes'] / 2**20:>10.0f}"
    text += f"{row['mfu']:>8.1%}" if "mfu" in row else f"{'-':>8}"
    if peer := row.get("peer"):
        text += f"{peer['rate']:>12.2f}{peer['peak_bytes'] / 2**20:>10.0f}{row['rate'] / peer['rate']:>8.2f}"
    return text


def main() -> None:
    """Measures and prints."""
    on_cpu = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default="", help="an interpreter with torch and segmentation_models_pytorch")
    parser.add_argument("--only", default=",".join(CASES), help="comma-separated names of networks")
    parser.add_argument("--batch", type=int, default=4 if on_cpu else 16, help="images a step")
    parser.add_argument("--steps", type=int, default=4 if on_cpu else 30, help="steps of a turn")
    parser.add_argument("--json", default="", help="file for the same figures")
    parser.add_argument("--peer_malloc", action="store_true", help="malloc's settings of ours for the peer too")
    parser.add_argument(
        "--peer_layout", choices=LAYOUTS, default=LAYOUTS[not on_cpu], help="of the peer's arrays; %(default)s here"
    )
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := sorted(set(names) - set(CASES)):
        parser.error(f"--only={','.join(unknown)}: the networks are {', '.join(CASES)}")
    device = jax.devices()[0].device_kind
    print(f"training steps on {device}, {CORES} cores, batches of {options.batch}, jax {jax.__version__}")
    header = f"{'network':<36}{'size':>9}{'images/s':>10}{'compile s':>10}{'peak MiB':>10}{'MFU':>8}"
    print(header + (f"{'peer img/s':>12}{'peak MiB':>10}{'ratio':>8}" if options.peer else ""))
    rows = []
    for name in names:
        rows.append(
            measure(
                name,
                batch=options.batch,
                steps=options.steps,
                python=options.peer,
                layout=options.peer_layout,
                malloc=options.peer_malloc,
            )
        )
        print(line(rows[-1]), flush=True)
    if options.peer:
        settings, peer = "our" if options.peer_malloc else "its own", rows[-1]["peer"]
        print(f"peer: {options.peer_layout}, {settings} malloc, {peer['versions']}; its peak is {peer['peak_of']}")
    if options.json:
        content = {"device": device, "cores": CORES, "jax": jax.__version__, "rows": rows}
        Path(options.json).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
