"""Memory and processor of the machine, as Linux tells them; elsewhere less is known. Versions of the libraries."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any


def memory() -> dict[str, Any]:
    """Of the machine, of the control group that this process is in, and how Linux gives out huge pages; in bytes."""
    amounts = {}
    for line in lines("/proc/meminfo"):
        name, _, value = line.partition(":")
        amounts[name] = int(value.split()[0]) * 1024
    limit = "".join(lines("/sys/fs/cgroup/memory.max"))
    pages = re.search(r"\[(\w+)\]", "".join(lines("/sys/kernel/mm/transparent_hugepage/enabled")))
    return {
        "total": amounts.get("MemTotal"),
        "available": amounts.get("MemAvailable"),
        "limit": int(limit) if limit.isdecimal() else None,
        "huge_pages": pages[1] if pages else None,
    }


def resident() -> tuple[int, int] | None:
    """Bytes of this process in memory, now and at the peak since `forget_peak`; None where Linux does not say."""
    amounts = dict(line.split(":", 1) for line in lines("/proc/self/status") if line.startswith(("VmRSS", "VmHWM")))
    if len(amounts) < 2:
        return None
    now, peak = (1024 * int(amounts[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    return now, peak


def forget_peak() -> None:
    """Lets the peak of `resident` begin here, where Linux allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def processor() -> dict[str, Any]:
    """{'model': of the processor, 'cores': that this process may use}."""
    named = [value.strip() for name, _, value in (line.partition(":") for line in lines("/proc/cpuinfo"))
             if name.strip() == "model name"]  # fmt: skip
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"model": named[-1] if named else platform.processor(), "cores": cores}


def version(package: str) -> str | None:
    """The installed version of a package; None without one."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def lines(path: str) -> list[str]:
    """The lines of a file; none where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
