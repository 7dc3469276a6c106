"""From facts to what is wrong or slow on this machine, and its cure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GIB = 2**30


def advise(facts: Mapping[str, Any]) -> list[str]:
    """What is wrong or slow, and its cure: a sentence or two for each finding in what `facts.collect` gives."""
    jax, packages, memory = facts["jax"], facts["packages"], facts["memory"]
    advice = []
    if "error" in jax:
        advice.append(f"JAX does not start ({jax['error']}). Run: {facts['python']['program']} -c 'import jax'")
    if "program" in jax:
        advice.append(f"The program cannot be imported ({jax['program']}). Install it again.")
    if facts["nvidia"] and jax.get("backend") == "cpu":
        plugin = [name for name in packages if name.startswith("jax-cuda")]
        cure = (
            f"{plugin[0]} {packages[plugin[0]]} is installed; JAX_PLATFORMS=cuda shows why it does not start."
            if plugin
            else "Install jax[cuda13] (driver 580 or newer) or jax[cuda12] (525 or newer), as ./launch.sh does."
        )
        advice.append(f"There is an NVIDIA driver, but JAX computes on the CPU. {cure}")
    versions = [packages.get(name, "(missing)") for name in ("jax", "jaxlib")]
    if _release(versions[0]) != _release(versions[1]):
        advice.append(f"jax {versions[0]} and jaxlib {versions[1]} differ. Install one version of both.")
    if {"tensorflow", "tensorflow-cpu"} <= packages.keys():
        advice.append("tensorflow and tensorflow-cpu overwrite each other's files. Uninstall both, install one.")
    on_cpu = facts["python"]["platform"].startswith("Linux") and jax.get("backend") == "cpu"
    if on_cpu and memory["huge_pages"] == "never":
        advice.append(
            "Linux gives no huge pages, with which steps are up to twice as fast on a CPU. As root: "
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        )
    if on_cpu and "glibc.malloc.hugetlb=0" in facts["environment"].get("GLIBC_TUNABLES", ""):
        advice.append("GLIBC_TUNABLES switches huge pages off: steps on a CPU are up to twice as slow. Unset it.")
    if facts["cpu"]["features"] and not {"avx2", "asimd"} & set(facts["cpu"]["features"]):
        advice.append("The processor has no AVX2: jaxlib and TensorFlow may end with 'illegal instruction'.")
    usable = min(filter(None, (memory["available"], memory["limit"])), default=None)
    if usable is not None and usable < 4 * GIB:
        advice.append(
            f"{usable / GIB:.1f} GiB of memory are free. Where that is too little: --config.data.cache=none, a smaller "
            "train.batch_size with train.accumulate, or model.remat=True."
        )
    for name, cache in facts["caches"].items():
        if not cache["writable"]:
            variable = " or JAX_COMPILATION_CACHE_DIR" if name == "compiled programs" else ""
            advice.append(f"{cache['place']} cannot be written to ({name}). XDG_CACHE_HOME{variable} names another.")
    for place, free in facts["disk"].items():
        if free < 2 * GIB:
            advice.append(f"{place} has {free / GIB:.1f} GiB left on its disk; checkpoints need it. Free some.")
    return advice


def _release(version: str) -> str:
    """'0.10.2.dev1' -> '0.10.2', which jax and jaxlib have in common."""
    return ".".join(version.split(".")[:3])
