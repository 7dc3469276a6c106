"""The training step against the roofline of this machine.

python -m benchmarks.roofline [--only=NAME,...] [--batch=N] [--steps=N] [--isa=avx2]

The roofline (Williams, Waterman and Patterson 2009) is the least time in which a machine can do the work of a step: its
floating-point operations at the highest rate, or its bytes at the highest bandwidth, whichever takes longer. The rate
is that of a float32 matrix product of 2048x2048 as XLA computes it, the bandwidth that of adding 1 to 256 MiB of
float32, both the best of several on all cores. Operations and bytes of a step are those that XLA counts, bytes after it
has fused operations: each counts what it reads and writes, although small arrays stay in caches. A step can be faster
than that where its arrays do, and where a convolution needs fewer operations than its definition has.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from seg_jax.runtime import process

if __name__ == "__main__":
    process.tune_malloc()

import jax
import jax.numpy as jnp

from benchmarks.cases import CASES, TOY
from benchmarks.table import ISAS, limit_isa
from benchmarks.train_step import CORES, TURNS, Ours

SIDE, ELEMENTS = 2048, 2**26  # of the matrices, and of the array that 1 is added to


def best_seconds(call: Callable[[], Any], *, calls: int = 5) -> float:
    """The least seconds of a call, after one that warms up."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(calls):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def peak_flops(side: int) -> float:
    """Floating-point operations a second of a float32 matrix product [side side]."""
    a = jnp.full((side, side), 0.5, jnp.float32)
    product = jax.jit(jnp.matmul)
    return 2 * side**3 / best_seconds(lambda: product(a, a))


def bandwidth(elements: int) -> float:
    """Bytes a second, read and written, of adding 1 to float32 [elements]."""
    x = jnp.zeros(elements, jnp.float32)
    increment = jax.jit(lambda x: x + 1)
    return 2 * x.nbytes / best_seconds(lambda: increment(x))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="unet_resnet34,unet_mobilenetv2", help="names of networks; %(default)s")
    parser.add_argument("--batch", type=int, default=4, help="images a step; %(default)s")
    parser.add_argument("--steps", type=int, default=4, help="steps of a turn; %(default)s")
    parser.add_argument("--isa", choices=ISAS, default="native", help="instructions; %(default)s")
    options = parser.parse_args()
    limit_isa(options.isa)
    cases = {"toy": TOY, **CASES}
    if unknown := sorted(set(options.only.split(",")) - set(cases)):
        parser.error(f"--only={','.join(unknown)}: the networks are {', '.join(CASES)}")
    rate, bytes_a_second = peak_flops(SIDE), bandwidth(ELEMENTS)
    print(
        f"{jax.devices()[0].device_kind}, {CORES} cores, {options.isa}, jax {jax.__version__}: "
        f"{rate / 1e9:.0f} GFLOP/s, {bytes_a_second / 1e9:.1f} GB/s, batches of {options.batch}"
    )
    print(f"{'network':<36}{'GFLOP':>8}{'GB':>8}{'compute s':>11}{'memory s':>10}{'step s':>8}{'roofline':>10}")
    for name in options.only.split(","):
        ours = Ours(cases[name], batch=options.batch)
        seconds = min(ours.run(options.steps) for _ in range(TURNS)) / options.steps
        compute, memory = ours.flops / rate, ours.bytes_accessed / bytes_a_second
        figures = f"{ours.flops / 1e9:>8.1f}{ours.bytes_accessed / 1e9:>8.2f}{compute:>11.3f}{memory:>10.3f}"
        print(f"{name:<36}{figures}{seconds:>8.3f}{max(compute, memory) / seconds:>10.0%}", flush=True)


if __name__ == "__main__":
    main()
