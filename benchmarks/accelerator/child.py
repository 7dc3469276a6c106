"""The process of one step: python -m benchmarks.accelerator.child STEP JSON; `supervisor` starts it."""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.accelerator.record import Recorder

STEPS = ("smoke", "train_step", "infer", "memory", "quality")


def device() -> dict[str, Any]:
    """What the figures are of: the accelerator, and versions."""
    import jax
    import jaxlib

    first = jax.devices()[0]
    found: dict[str, Any] = {
        "kind": first.device_kind,
        "platform": first.platform,
        "runtime": getattr(first.client, "platform_version", "").split("\n")[0],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "compilation_cache": bool(os.environ.get("JAX_COMPILATION_CACHE_DIR")),
    }
    if first.platform == "gpu":
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        try:
            said = subprocess.run(query, capture_output=True, text=True, timeout=20)
            found["nvidia_smi"] = said.stdout.strip()
        except (OSError, subprocess.TimeoutExpired) as error:
            found["nvidia_smi"] = str(error)
    return found


def main() -> None:
    """Runs the step."""
    faulthandler.enable()
    step, options = sys.argv[1], json.loads(sys.argv[2])
    assert step in STEPS, step
    recorder = Recorder(Path(options["path"]), deadline=options["deadline"])
    import jax

    if options["accelerator"] and jax.default_backend() == "cpu":
        raise RuntimeError("there is an accelerator, but JAX has found none: is its CUDA plugin installed?")
    recorder.note(device=device())
    importlib.import_module(f"benchmarks.accelerator.{step}").run(recorder, options)
    recorder.finish()


if __name__ == "__main__":
    main()
