"""The command line: python -m seg_jax.doctor [--json] describes this installation for a bug report, with advice."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from seg_jax.doctor.advice import GIB, advise
from seg_jax.doctor.facts import collect
from seg_jax.runtime import extras


def text(facts: Mapping[str, Any], advice: Sequence[str]) -> str:
    """The report for people.

    Args:
      facts: from `facts.collect`.
      advice: from `advise`.
    """
    jax, memory = facts["jax"], facts["memory"]
    amounts = {name: _size(memory[name]) for name in ("total", "available", "limit") if memory[name]}
    sections: dict[str, Mapping[str, Any]] = {
        "python": facts["python"],
        "packages": facts["packages"],
        "extras": {name: _extra(name, there) for name, there in facts["extras"].items()},
        "jax": {name.replace("_", " "): value for name, value in jax.items() if name != "devices"}
        | {f"device {d['id']}": f"{d['kind']}, {_size(d['memory'])}" for d in jax.get("devices", ())},
        "gpu": {f"nvidia {i}": gpu for i, gpu in enumerate(facts["nvidia"])}
        | {"TensorFlow takes it": facts["tensorflow_gpu"]},
        "environment": facts["environment"] or {"none": "no variable that matters is set"},
        "cpu": facts["cpu"] | {"features": " ".join(facts["cpu"]["features"])},
        "memory": amounts | {"huge pages": memory["huge_pages"] or "unknown"},
        "caches": {name: f"{_size(cache['bytes'])} in {cache['place']}" for name, cache in facts["caches"].items()},
        "free disk": {place: _size(free) for place, free in facts["disk"].items()},
    }
    lines = [f"seg_jax {facts['seg_jax']['version']} in {facts['seg_jax']['place']}"]
    for title, rows in sections.items():
        width = max(18, *map(len, rows))
        lines += ["", title, *(f"  {name:<{width}}  {value}" for name, value in rows.items())]
    lines += ["", "advice", *(f"  {line}" for line in advice or ["none: nothing here looks wrong"])]
    return "\n".join(lines)


def _extra(name: str, installed: bool) -> str:
    purpose = extras.EXTRAS[name].purpose
    return f"installed  {purpose}" if installed else f"missing    {purpose}; {extras.install_command(name)}"


def _size(number: int | None) -> str:
    if number is None:
        return "size unknown"
    return f"{number / GIB:.1f} GiB" if number >= GIB else f"{number / 2**20:.1f} MiB"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m seg_jax.doctor",
        description="Prints what a bug report about this installation needs, and what could be better.",
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    options = parser.parse_args(arguments)
    facts = collect()
    advice = advise(facts)
    print(json.dumps({**facts, "advice": advice}, indent=1) if options.json else text(facts, advice))
    return 0


if __name__ == "__main__":
    sys.exit(main())
