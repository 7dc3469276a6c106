"""What there is to know of this machine and its installation.

JAX is asked in a process of its own: one that crashes or hangs is a finding, not the end of the report.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from seg_jax.runtime import extras, machine, process
from seg_jax.runtime.version import __version__

PACKAGES = (
    *("jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu", "flax", "optax", "orbax-checkpoint"),
    *("numpy", "pillow", "ml_collections", "h5py", "safetensors", "tensorstore", "matplotlib"),
    *("tensorflow", "tensorflow-cpu", "clu", "tensorboard"),
)
# Variables that change what is computed, where, or how fast. The text ends up in public: groups of variables that may
# hold a token (NVIDIA_API_KEY, TF_TOKEN_*, HF_TOKEN) are named one by one.
VARIABLES = re.compile(
    r"(JAX|XLA|LIBTPU|TPU|CUDA|NCCL|OMP|GLIBC|SEG_JAX)_\w+|NVIDIA_(VISIBLE_DEVICES|TF32_OVERRIDE)|"
    r"TF_(CPP_MIN_LOG_LEVEL|ENABLE_ONEDNN_OPTS|FORCE_GPU_ALLOW_GROWTH|XLA_FLAGS)|NPROC|LD_LIBRARY_PATH|LD_PRELOAD|"
    r"PYTHONPATH|XDG_CACHE_HOME|HF_HOME|KERAS_HOME|TMPDIR"
)
CPU_FEATURES = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "sve")
PROBE_SECONDS = 120  # a TPU takes most of a minute to start

# Run by itself; the last line of its output is what it found.
PROBE = """
import json
import jax
found = {
    "backend": jax.default_backend(),
    "devices": [
        {"id": d.id, "kind": d.device_kind, "memory": (d.memory_stats() or {}).get("bytes_limit")}
        for d in jax.local_devices()
    ],
    "matmul_precision": jax.config.jax_default_matmul_precision or "default",
    "x64": bool(jax.config.jax_enable_x64),
}
try:
    from seg_jax.run import program  # whether the program can be imported
    from seg_jax.runtime import process, xla
    found["compiler_options"] = xla.for_training()
    if found["backend"] == "gpu":
        process.use_compilation_cache()
        found["autotuning_cache"] = str(xla.autotuning_cache() or "none: every start measures kernels anew")
except Exception as error:
    found["program"] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


def collect() -> dict[str, Any]:
    """What there is to know, in sections; sizes in bytes, None for what cannot be found out."""
    return {
        "seg_jax": {"version": __version__, "place": str(Path(__file__).parents[1])},
        "python": {
            "version": platform.python_version(),
            "program": sys.executable,
            "platform": platform.platform(),
        },
        "packages": {name: version for name in PACKAGES if (version := machine.version(name))},
        "extras": {name: extras.is_installed(name) for name in extras.EXTRAS},
        "jax": probe_jax(),
        "nvidia": _nvidia(),
        "tensorflow_gpu": tensorflow_gpu(),
        "environment": {name: os.environ[name] for name in sorted(os.environ) if VARIABLES.fullmatch(name)},
        "cpu": _cpu(),
        "memory": machine.memory(),
        "caches": _caches(),
        "disk": {place: shutil.disk_usage(place).free for place in (os.getcwd(), tempfile.gettempdir())},
    }


def probe_jax() -> dict[str, Any]:
    """What JAX says, or {'error': why it says nothing}."""
    # A look must not take the GPU's memory from a training.
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "2"} | os.environ
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", PROBE]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {PROBE_SECONDS} s"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    said = done.stderr.strip().splitlines() or ["it says nothing"]
    return {"error": f"exit code {done.returncode}: {said[-1]}"}


def _nvidia() -> list[str]:
    """A line for each GPU that the driver knows, whether JAX uses it or not."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []


def tensorflow_gpu() -> str:
    """Whether TensorFlow would take a GPU, without importing it, which takes seconds."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        return "no: it is not installed"
    build = Path(spec.submodule_search_locations[0], "python", "platform", "build_info.py")
    built = re.search(r"is_cuda_build\W+(True|False)", build.read_text()) if build.is_file() else None
    if built and built[1] == "False":
        return "no: this build is without CUDA"
    if not process.has_accelerator():
        return "no: there is no GPU"
    return "yes, outside of seg_jax: training hides it from TensorFlow, a program of yours has to do so itself"


def _cpu() -> dict[str, Any]:
    features: set[str] = set()
    for line in machine.lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            features |= set(value.split())
    return {**machine.processor(), "features": [name for name in CPU_FEATURES if name in features]}


def _caches() -> dict[str, dict[str, Any]]:
    """{what it keeps: place, size, whether it can be written}."""
    compiled = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    places = {
        "compiled programs": process.cache_directory() / "xla" if compiled is None else compiled,
        "statistics of data sets": process.cache_directory() / "stats",
        "weights of keras.applications": Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models",
    }
    found = {}
    for name, place in places.items():
        if not str(place):
            continue  # JAX_COMPILATION_CACHE_DIR='' keeps none
        place = Path(place)
        nearest = next(path for path in (place, *place.parents) if path.exists())
        size = sum(_bytes(f"{root}/{file}") for root, _, files in os.walk(place) for file in files)
        found[name] = {"place": str(place), "bytes": size, "writable": os.access(nearest, os.W_OK)}
    return found


def _bytes(file: str) -> int:
    """The size of a file; 0 of a broken link, and of one that another process has removed meanwhile."""
    try:
        return os.path.getsize(file)
    except OSError:
        return 0
