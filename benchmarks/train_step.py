"""Images a second of the compiled training step: ours against PyTorch.

python -m benchmarks.train_step [--peer=PYTHON] [--only=NAME] [--batch=N] [--steps=N] [--isa=avx2] [--json=FILE]

PYTHON is an interpreter with torch, segmentation_models_pytorch and, for SegFormer and UPerNet, transformers; without
--peer ours alone is measured. Both sides train the same network (checked by its number of parameters) from random
weights: forward with batch statistics, cross-entropy over 19 classes, backward, AdamW, on one random batch that is on
the device already, no augmentation, no dropout. Ours takes bytes and normalises them in the step; the peer is handed
floats. On CPU float32, batches of 4, the peer eager and as PyTorch starts, channels first and with malloc's own
settings, unless --peer_layout=channels_last and --peer_malloc say otherwise, both on all cores (--isa=avx2: as on a
processor without AVX-512); on CUDA bfloat16 with float32 parameters, batches of 16, the peer channels last with
torch.compile. The best of interleaved turns, after steps that warm up.

Peak memory is what XLA planned for ours, parameters and optimizer included; the peer's is the allocator's on CUDA and
the growth of the process on CPU. MFU is the share of the device's dense bfloat16 peak that XLA's count of FLOPs amounts
to, on devices whose peak is in `PEAK_FLOPS`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from seg_jax.runtime import process

if __name__ == "__main__":
    process.tune_malloc()
    # The peer needs its part of a GPU's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import numpy as np

from benchmarks.cases import CASES, CLASSES, PEAK_FLOPS, TOY, Case, configuration
from benchmarks.table import ISAS, limit_isa
from seg_jax import models
from seg_jax.run import cost, pretrained, program
from seg_jax.runtime import sharding

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
TURNS, WARM_UP = 3, 2
LAYOUTS = ("channels_first", "channels_last")  # of the peer


class Ours:
    """The training step of this project, compiled and warm.

    Args:
      case: the network and the size of images.
      batch: images a step.
      dispatch: steps that run as one program.

    Attributes:
      parameters: how many the network has.
      compile_s: seconds that tracing and compiling took.
      peak_bytes, flops, bytes_accessed: of a step, as XLA planned and counted them.
    """

    def __init__(self, case: Case, *, batch: int, dispatch: int = 1):
        mesh = sharding.make_mesh(1)
        functions = program.Functions(pretrained.resolve(configuration(case, batch=batch)), classes=CLASSES, mesh=mesh)
        self._dispatch = dispatch
        begin = time.perf_counter()
        lowered = functions.train_step(case.size, steps=dispatch)
        self._step = lowered.compile()
        self.compile_s = time.perf_counter() - begin
        self.peak_bytes, self.flops = cost.peak_memory(self._step), cost.count_flops(lowered)
        self.bytes_accessed = float((self._step.cost_analysis() or {}).get("bytes accessed", math.nan))
        self._state = functions.init()
        self.parameters = models.count(self._state.params)
        rng = np.random.default_rng(0)
        arrays = {
            "image": rng.integers(0, 256, (batch, *case.size, 3), np.uint8),
            "label": rng.integers(0, CLASSES, (batch, *case.size), np.uint8),
        }
        placed = sharding.place(arrays, mesh)
        self._batch = placed if dispatch == 1 else [placed] * dispatch
        self.run(WARM_UP * dispatch)

    def run(self, steps: int) -> float:
        """Seconds that `steps` steps take; a multiple of those that run as one program."""
        assert steps % self._dispatch == 0, (steps, self._dispatch)
        begin = time.perf_counter()
        for _ in range(steps // self._dispatch):
            self._state, metrics = self._step(self._state, self._batch, ())
        jax.block_until_ready((self._state, metrics))
        return time.perf_counter() - begin


def peer_case(case: Case, *, batch: int, layout: str) -> dict[str, Any]:
    """What `peer_train_step.py` is told."""
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    return {**case.peer(), "batch": batch, "layout": layout, "device": device, "threads": CORES}


@contextmanager
def peer_process(
    python: str, script: str, asked: Mapping[str, Any], *, malloc: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A peer, which answers every line with one of JSON; it ends with the context.

    Args:
      python: an interpreter with the libraries that it needs.
      script: a file of this folder.
      asked: what the script is told.
      malloc: it has our settings of malloc.
    """
    command = [python, str(Path(__file__).with_name(script)), json.dumps(asked)]
    own = dict(os.environ)
    if not malloc:
        own.pop("GLIBC_TUNABLES", None)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own) as peer:
        try:
            yield peer
        finally:
            peer.kill()


def answer(peer: subprocess.Popen[str], *, timeout: float | None = None) -> Any:
    """The next line of the peer.

    Args:
      peer: from `peer_process`.
      timeout: seconds that it may take.

    Raises:
      RuntimeError: it has ended, with its own message on the screen, or takes longer.
    """
    assert peer.stdout is not None
    if not select.select([peer.stdout], [], [], timeout)[0]:
        raise RuntimeError(f"the peer has not answered in {timeout:.0f} s")
    line = peer.stdout.readline()
    if not line:
        raise RuntimeError("the peer ended without an answer: does its interpreter have segmentation_models_pytorch?")
    return json.loads(line)


def ask(peer: subprocess.Popen[str], count: int) -> Any:
    """The seconds that the peer takes for `count` steps or calls."""
    print(count, file=peer.stdin, flush=True)
    return answer(peer)


def take_turns(runs: Mapping[str, Callable[[int], float]], *, steps: int, turns: int = TURNS) -> dict[str, list[float]]:
    """{name: seconds of `steps` steps in each turn}; all run once before any runs again."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            times[name].append(run(steps))
    return times


def same_network(ours: int, hello: Mapping[str, Any]) -> None:
    """Refuses to compare networks whose numbers of parameters differ.

    Raises:
      RuntimeError: with both numbers.
    """
    if hello["parameters"] != ours:
        raise RuntimeError(f"not the same network: {ours} parameters, the peer's {hello['parameters']}")


def measure(
    name: str, *, batch: int, steps: int, python: str = "", layout: str = LAYOUTS[0], malloc: bool = False
) -> dict[str, Any]:
    """One row of the table: rates in images a second, memory in bytes."""
    case = TOY if name == "toy" else CASES[name]
    ours = Ours(case, batch=batch)
    row: dict[str, Any] = {"name": name, "size": case.size, "batch": batch, "parameters": ours.parameters}
    runs: dict[str, Callable[[int], float]] = {"ours": ours.run}
    with ExitStack() as stack:
        if python:
            asked = peer_case(case, batch=batch, layout=layout)
            peer = stack.enter_context(peer_process(python, "peer_train_step.py", asked, malloc=malloc))
            row["peer"] = answer(peer)
            same_network(ours.parameters, row["peer"])
            runs["peer"] = partial(ask, peer)
        times = take_turns(runs, steps=steps)
    if python:
        row["peer"] |= {"turns_s": times["peer"], "rate": batch * steps / min(times["peer"])}
    row |= {"turns_s": times["ours"], "rate": batch * steps / min(times["ours"]), "compile_s": ours.compile_s}
    row |= {"peak_bytes": ours.peak_bytes, "flops": ours.flops}
    if peak := PEAK_FLOPS.get(jax.devices()[0].device_kind):
        row["mfu"] = ours.flops * steps / min(times["ours"]) / peak
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
    on_cpu = not process.has_accelerator()
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
    parser.add_argument("--isa", choices=ISAS, default="native", help="instructions of both sides; %(default)s")
    options = parser.parse_args()
    limit_isa(options.isa)
    names = options.only.split(",")
    if unknown := sorted(set(names) - set(CASES)):
        parser.error(f"--only={','.join(unknown)}: the networks are {', '.join(CASES)}")
    device = jax.devices()[0].device_kind
    print(
        f"training steps on {device}, {CORES} cores, {options.isa}, batches of {options.batch}, jax {jax.__version__}"
    )
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
        content = {"device": device, "cores": CORES, "isa": options.isa, "jax": jax.__version__, "rows": rows}
        Path(options.json).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
