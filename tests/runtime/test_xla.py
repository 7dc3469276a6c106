"""What XLA is told, and where JAX has it keep what it measured of GPU kernels."""

import subprocess
import sys
from pathlib import Path

import jax
import pytest

from seg_jax.runtime import process, xla
from tests.runs import REPOSITORY

# Small blocks, every other one of which stays, so that free() finds nothing to trim at the end of the heap.
KEPT = """
import re
from seg_jax.runtime import process
process.tune_malloc()
resident = lambda: int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024
blocks = [b"x" * 2**20 for _ in range(400)]
blocks = blocks[::2]
before = resident()
process.trim_memory()
print(before - resident())
"""


def test_freed_memory_returns_to_the_system():
    if not Path("/proc/self/status").exists() or process.has_accelerator():
        pytest.skip("only Linux says how much is resident, and only on a CPU is malloc told to keep memory")
    done = subprocess.run([sys.executable, "-c", KEPT], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150  # MiB, of the 200 that were freed


def test_a_training_step_is_optimised_and_one_call_is_not():
    assert xla.for_training() == {"xla_cpu_prefer_vector_width": 512}
    assert xla.for_one_call() == {"xla_backend_optimization_level": 0}
    lowered = jax.jit(lambda x: x + 1).lower(1.0)
    for options in (xla.for_training(), xla.for_one_call()):
        assert lowered.compile(compiler_options=options)(1.0) == 2.0


def test_measured_kernels_are_kept_beside_the_compiled_programs():
    place = Path(jax.config.jax_compilation_cache_dir)
    assert xla.autotuning_cache() == place / "xla_gpu_per_fusion_autotune_cache_dir"
