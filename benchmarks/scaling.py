"""What a training step sends between devices in each split, counted in the compiled program, and what that costs.

python -m benchmarks.scaling [--case=NAME] [--batch=N] [--mfu=SHARE]

Compiles the step for eight virtual CPU devices in every split of the mesh and adds up the collective operations that
XLA put into it, as bytes that each device sends with ring algorithms: 2 (n-1)/n of an array for an all-reduce, (n-1)/n
of the whole array for an all-gather, a reduce-scatter and an all-to-all, and all of it for a permutation (Thakur et
al. 2005). Only the plan is looked at: nothing runs, and a loop's collectives are counted once.

The prediction for 8 to 256 devices holds the work of a device fixed (weak scaling):

    compute = FLOPs of a device / (MFU x peak)        sending = bytes / bandwidth of the slowest link
    efficiency without overlap = compute / (compute + sending)
    efficiency with full overlap = compute / max(compute, sending)

The truth lies between: XLA overlaps gradients with the backward pass, not all of it.
"""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass

if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax

from benchmarks.cases import CASES, CLASSES, PEAK_FLOPS, configuration
from seg_jax import models
from seg_jax.run import pretrained, program
from seg_jax.runtime import sharding

DEVICES = 8

# (model, space) of a mesh of eight devices; 'data' takes the rest.
SPLITS = {"data": (1, 1), "data x model": (4, 1), "data x space": (1, 4)}

PEAK = PEAK_FLOPS["NVIDIA H100 80GB HBM3"]

# Bytes a second that a device sends: NVLink 4 within a node of 8 (900 GB/s in both directions together, NVIDIA's data
# sheet of the H100), one 400 Gbit/s adapter for each device between nodes.
WITHIN, BETWEEN = 450e9, 50e9

WIDTHS = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "u8": 1, "s8": 1, "pred": 1}
COLLECTIVE = re.compile(
    r"= (?P<type>\(.*?\)|\S+) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
    r"(?P<rest>.*)"
)
ARRAY = re.compile(r"(?P<dtype>[a-z]+\d*)\[(?P<shape>[\d,]*)\]")
GROUPS = re.compile(r"replica_groups=(?:\{\{(?P<list>[\d,]+)\}|\[\d+,(?P<size>\d+)\])")


@dataclass(frozen=True)
class Traffic:
    """Bytes that a device sends in one step, by the kind of collective, with rings of the group's size."""

    bytes: dict[str, float]

    @property
    def total(self) -> float:
        """Of all kinds."""
        return sum(self.bytes.values())


def traffic(hlo: str, *, devices: int) -> Traffic:
    """Of the text of a compiled program for so many devices."""
    found: dict[str, float] = {}
    for match in COLLECTIVE.finditer(hlo):
        size = 0.0
        for array in ARRAY.finditer(match["type"]):
            count = 1
            for length in filter(None, array["shape"].split(",")):
                count *= int(length)
            size += count * WIDTHS[array["dtype"]]
        groups = GROUPS.search(match["rest"])
        n = devices
        if groups:
            n = int(groups["size"]) if groups["size"] else len(groups["list"].split(","))
        if n == 1:
            continue
        kind = match["kind"]
        share = (n - 1) / n
        factor = {"all-reduce": 2 * share, "collective-permute": 1.0, "reduce-scatter": n * share}.get(kind, share)
        found[kind] = found.get(kind, 0.0) + factor * size
    return Traffic(found)


def efficiency(compute: float, sending: float) -> tuple[float, float]:
    """(without overlap, with full overlap) of seconds of computing and of sending."""
    return compute / (compute + sending), compute / max(compute, sending)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, default="unet_resnet34")
    parser.add_argument("--batch", type=int, default=8, help="images on each device (default: 8)")
    parser.add_argument("--mfu", type=float, default=0.3, help="share of the peak that is computed at (default: 0.3)")
    options = parser.parse_args()
    case = CASES[options.case]
    print(f"{options.case}, {options.batch} images of {case.size[0]}x{case.size[1]} a device, float32 gradients\n")
    print(f"{'split of 8 devices':<20}{'parameters':>14}{'GFLOP':>10}{'sent, MiB':>12}   by kind")
    volumes: dict[str, tuple[float, float]] = {}
    for name, (model, space) in SPLITS.items():
        mesh = sharding.make_mesh(DEVICES, model=model, space=space)
        config = pretrained.resolve(configuration(case, batch=options.batch * sharding.batch_parts(mesh)))
        functions = program.Functions(config, classes=CLASSES, mesh=mesh)
        compiled = functions.train_step(case.size).compile()
        sent = traffic(compiled.as_text() or "", devices=DEVICES)
        flops = float((compiled.cost_analysis() or {})["flops"])  # of a device, with what it computes twice
        volumes[name] = (flops, sent.total)
        kinds = ", ".join(f"{kind} {size / 2**20:.1f}" for kind, size in sorted(sent.bytes.items()))
        count = models.count(functions.abstract_state.params)
        print(f"{name:<20}{count:>14,d}{flops / 1e9:>10.1f}{sent.total / 2**20:>12.1f}   {kinds}")
    flops, sent_by_eight = volumes["data"]
    compute = flops / (options.mfu * PEAK)
    print(
        f"\nsplit 'data', {compute * 1e3:.1f} ms of computing a step at {options.mfu:.0%} of {PEAK / 1e12:.0f} TFLOP/s"
    )
    print(f"{'devices':>8}{'sent, MiB':>12}{'sending, ms':>14}{'no overlap':>12}{'full overlap':>14}")
    for n in (8, 16, 32, 64, 128, 256):
        sent_bytes = sent_by_eight * ((n - 1) / n) / ((DEVICES - 1) / DEVICES)
        sending = sent_bytes / (WITHIN if n <= 8 else BETWEEN)
        alone, overlapped = efficiency(compute, sending)
        print(f"{n:>8}{sent_bytes / 2**20:>12.1f}{sending * 1e3:>14.2f}{alone:>12.3f}{overlapped:>14.3f}")


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
