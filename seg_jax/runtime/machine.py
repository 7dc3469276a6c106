"""The memory of the machine, as Linux tells it; elsewhere nothing is known."""

from __future__ import annotations

import re
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


def lines(path: str) -> list[str]:
    """The lines of a file; none where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
