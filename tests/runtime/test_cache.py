"""The cache of compiled programs: how large it may get, and what a killed process leaves in it."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("filelock", reason="JAX bounds its cache with filelock alone")

PROGRAM = """
import warnings
from seg_jax.runtime import process
{imports}
process.use_compilation_cache()
import jax, jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(jax.config.jax_compilation_cache_dir)
print(jax.config.jax_compilation_cache_max_size)
warnings.simplefilter("error")  # as which JAX reports an entry that it cannot handle
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).block_until_ready()
"""


def compiled(home, *, imports="", **variables):
    """(directory of the cache, its bound) of a process that compiles a function."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"XDG_CACHE_HOME": str(home), "JAX_PLATFORMS": "cpu", **variables}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(imports=imports)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    directory, bound = done.stdout.split()
    return directory, int(bound)


def test_old_entries_make_room_for_new_ones(tmp_path):
    directory, bound = compiled(tmp_path)
    assert bound == 2 * 2**30 and directory.startswith(str(tmp_path / "seg_jax" / "xla"))
    # Entries of a process that had no bound, or was killed before it noted their use; they are the oldest.
    for i in range(3):
        path = os.path.join(directory, f"old{i}-cache")
        with open(path, "wb") as file:
            file.write(bytes(10**6))
        os.utime(path, ns=(i, 10**9 + i))
    for name in os.listdir(directory):
        if not name.startswith("old") and name.endswith(("-cache", "-atime")):
            os.unlink(os.path.join(directory, name))  # so that it is compiled and written again
    again, bound = compiled(tmp_path, imports="import jax", JAX_COMPILATION_CACHE_MAX_SIZE="2500000")
    names = os.listdir(directory)
    assert (again, bound) == (directory, 2500000)
    assert "old0-cache" not in names and {"old1-cache", "old2-cache"} <= set(names)
    assert sum(os.path.getsize(os.path.join(directory, name)) for name in names if name.endswith("-cache")) <= bound
    assert any(name.startswith("jit") and name.endswith("-cache") for name in names)
