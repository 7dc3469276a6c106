"""What XLA is told: every option that the program sets, with the reason and the version in which it was measured.

GPUs get none for speed: of no option it has been measured yet that it helps.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from seg_jax.runtime import process

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def for_training() -> dict[str, Any]:
    """Compiler options of what runs thousands of times.

    CPU: vectors of 512 bits where the processor has them, of which XLA uses 256 by itself (jaxlib 0.10.2).
    """
    return {"xla_cpu_prefer_vector_width": 512} if _on_cpu() else {}


def for_one_call() -> dict[str, Any]:
    """Compiler options of what runs once: initial parameters compile in a quarter of the time (CPU, jaxlib 0.10.2)."""
    return {"xla_backend_optimization_level": 0} if _on_cpu() else {}


def _on_cpu() -> bool:
    import jax

    return jax.default_backend() == "cpu"


def autotuning_cache() -> Path | None:
    """Where XLA keeps what it measured to choose GPU kernels, so that a second start measures nothing; None: nowhere.

    JAX puts it beside the compiled programs by itself (0.10.2 and 0.11.2).
    """
    import jax
    from jax._src import compiler  # the only place where JAX says what it passes on

    made = compiler.get_compile_options(1, 1, backend=jax.local_devices()[0].client)
    place = made.executable_build_options.debug_options.xla_gpu_per_fusion_autotune_cache_dir
    return Path(place) if place else None


def make_deterministic() -> None:
    """Restricts XLA to GPU operations that sum in a fixed order; CPU operations always do.

    Raises:
      ProcessError: JAX already uses the GPU, so XLA has read its options.
    """
    from jax._src import xla_bridge  # public JAX cannot say whether it has started without starting

    options = os.environ.get("XLA_FLAGS", "")
    if not process.has_accelerator() or DETERMINISTIC in options.split():
        return
    if xla_bridge.backends_are_initialized():
        raise process.ProcessError(
            "config.train.deterministic = True: JAX has started, and its options are read at the start. Start the "
            f"program with XLA_FLAGS={DETERMINISTIC}."
        )
    os.environ["XLA_FLAGS"] = f"{options} {DETERMINISTIC}".strip()
