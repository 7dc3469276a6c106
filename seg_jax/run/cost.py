"""What the compiled functions of a run cost: memory, floating-point operations, parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from seg_jax import models
from seg_jax.run.program import Functions


def peak_memory(compiled: jax.stages.Compiled) -> int:
    """Bytes that a call needs on each device: arguments, results and everything between, as XLA planned them."""
    memory: Any = compiled.memory_analysis()
    return int(
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )


def count_flops(lowered: jax.stages.Lowered) -> float:
    """Floating-point operations of a call on all devices together, counted by XLA; NaN where it does not count.

    They are counted before compilation: on a GPU a compiled program calls cuDNN, whose operations XLA does not see.
    """
    return float((lowered.cost_analysis() or {}).get("flops", math.nan))


class Step(NamedTuple):
    """A compiled function of a run.

    Attributes:
      name: for people.
      images: number, size and kind of its images, for people.
      lowered: to be compiled.
    """

    name: str
    images: str
    lowered: jax.stages.Lowered


def describe(functions: Functions, steps: Sequence[Step]) -> tuple[str, int]:
    """Compiles the steps; (what they cost: parameters, FLOPs, memory; bytes that the largest needs on a device)."""
    state, largest = functions.abstract_state, 0
    lines = ["parameters"]
    for part, tree in state.params.items():
        lines.append(f"  {part:<22}{models.count(tree):>14,d}")
    lines.append(f"  {'total':<22}{models.count(state.params):>14,d}")
    for name, images, lowered in steps:
        peak, flops = peak_memory(lowered.compile()), count_flops(lowered) / functions.mesh.size
        largest = max(largest, peak)
        lines.append(f"{name}: batch {images} on {functions.mesh.size} devices")
        lines.append(f"  {'FLOPs':<22}{flops / 1e9:>14,.2f} G  (counted by XLA, per device)")
        lines.append(f"  {'peak memory':<22}{peak / 2**20:>14,.1f} MiB per device")
    return "\n".join(lines), largest
