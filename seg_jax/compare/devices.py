"""How many runs are trained at once, and which devices each of their programs sees."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from seg_jax.config import Config, ConfigError
from seg_jax.runtime import process

VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpus() -> list[str]:
    """The NVIDIA GPUs that programs started here would see, without starting JAX, which would take their memory."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(number) for number, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def shares(jobs: int | None, configs: Sequence[Config], gpus: Sequence[str]) -> list[Mapping[str, str]]:
    """The variables of the environment for each of the programs that run at once.

    Args:
      jobs: how many; None: one for each GPU, or as many GPUs as the largest mesh needs; one on CPU and TPU, of which a
        program takes all.
      configs: what is to be trained.
      gpus: from `gpus`.

    Raises:
      ConfigError: more programs than devices for them.
    """
    needed = max((config.mesh.model * config.mesh.space * max(config.mesh.data, 1) for config in configs), default=1)
    most = len(gpus) // needed
    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs={jobs}: this is how many runs are trained at once, at least 1.")
    if jobs is not None and jobs > 1 and gpus and jobs > most:
        raise ConfigError(
            f"--jobs={jobs}: there are {len(gpus)} GPUs, and a run needs {needed}, which two programs cannot share. "
            f"Use at most --jobs={max(most, 1)}."
        )
    if jobs is not None and jobs > 1 and not gpus and process.has_accelerator():
        raise ConfigError(f"--jobs={jobs}: one program takes every chip of a TPU. Leave --jobs out.")
    if not gpus:
        return [{}] * min(jobs or 1, max(len(configs), 1))
    jobs = min(jobs or max(most, 1), max(len(configs), 1))
    each = len(gpus) // jobs
    return [{VISIBLE: ",".join(gpus[number * each : (number + 1) * each])} for number in range(jobs)]
