"""What a device was busy with, from the trace that jax.profiler writes: shares of a window of time.

The trace is JSON in the format of Chrome's trace viewer. An event of phase X is a span on a thread of a process, times
in microseconds; events of phase M name processes and threads. A GPU is a process '/device:GPU:N', its kernels are on
threads 'Stream #...', beside threads that show the same time by module, operation or source line. On CPU the work is
on threads of '/host:CPU', where spans of an operation name it as `hlo_op`.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

PRODUCTS, MEMORY, COPIES = "convolutions and matrix products", "memory-bound operations", "copies"
GRAPHS = "CUDA graphs as a whole"  # where the profiler does not see the kernels in them

# The first that fits the name of a kernel or operation. cuDNN's changes of layout move memory; 'convert' is a change of
# type; libraries' kernels begin with the name of the chip that they are for.
KINDS = (
    (GRAPHS, re.compile(r"cuda.?graph|command_?buffer", re.I)),
    (COPIES, re.compile(r"memcpy|memset|^copy|\bcopy_start|d2d|h2d|d2h", re.I)),
    (MEMORY, re.compile(r"nchwtonhwc|nhwctonchw|transpose|convert_element|cudnn.*(reorder|layout|pad)", re.I)),
    (
        PRODUCTS,
        re.compile(
            r"conv(?!ert)|gemm|\bdot|_dot|cudnn|cutlass|cublas|xmma|nvjet|wgrad|dgrad|fprop|winograd|matmul|fmha|"
            r"flash|^sm\d\d_|^ampere_|^hopper_|ynn_fusion|onednn",
            re.I,
        ),
    ),
)

Span = tuple[float, float, str]  # begin and end in microseconds, name


def record(work: Callable[[], Any], directory: Path) -> dict[str, Any]:
    """Runs `work`, which has to wait for the device, under the profiler; see `shares`."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # it would slow down the side that the device waits for
    jax.profiler.start_trace(str(directory), profiler_options=options)
    try:
        work()
    finally:
        jax.profiler.stop_trace()
    files = sorted(directory.rglob("*.trace.json.gz"))
    if not files:
        raise RuntimeError(f"jax.profiler has left no trace in {directory}")
    with gzip.open(files[-1], "rt", encoding="utf-8") as file:
        return shares(json.load(file)["traceEvents"])


def spans(events: Iterable[Mapping[str, Any]]) -> tuple[str, list[Span]]:
    """(name of the process, its spans of work): those of the first GPU in the trace, of the CPU if there is none."""
    processes: dict[Any, str] = {}
    threads: dict[Any, str] = {}
    complete = []
    for event in events:
        if event.get("ph") == "M" and event["name"] == "process_name":
            processes[event["pid"]] = event["args"]["name"]
        elif event.get("ph") == "M" and event["name"] == "thread_name":
            threads[event["pid"], event["tid"]] = event["args"]["name"]
        elif event.get("ph") == "X":
            complete.append(event)
    gpus = sorted((name, pid) for pid, name in processes.items() if name.startswith("/device:GPU:"))
    found = []
    for event in complete:
        if gpus:
            wanted = event["pid"] == gpus[0][1] and threads.get((event["pid"], event["tid"]), "").startswith("Stream")
        else:
            wanted = "hlo_op" in event.get("args", {})
        if wanted:
            begin = float(event["ts"])
            found.append((begin, begin + float(event.get("dur", 0)), str(event["name"])))
    return (gpus[0][0] if gpus else "/host:CPU"), sorted(found)


def kind(name: str) -> str:
    """What sort of work a kernel or operation does, by its name."""
    return next((kind for kind, pattern in KINDS if pattern.search(name)), MEMORY)


def busy(found: Iterable[Span]) -> float:
    """Microseconds in which at least one span is open; the spans are sorted."""
    total, until = 0.0, float("-inf")
    for begin, end, _ in found:
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def shares(events: Iterable[Mapping[str, Any]], *, top: int = 12) -> dict[str, Any]:
    """How the time from the first to the last span of a device divides.

    Returns:
      JSON values: 'device', 'milliseconds', 'shares' of each kind of work and of 'idle', which add up to 1 (work that
      overlaps counts in proportion), 'kernels', and under 'top' those with the most time: name, share of the work, how
      often.

    Raises:
      RuntimeError: there is no work in the trace.
    """
    device, found = spans(events)
    if not found:
        raise RuntimeError("the trace shows no work of a device: is CUPTI installed and allowed?")
    window = max(end for _, end, _ in found) - found[0][0]
    times: dict[str, float] = dict.fromkeys((PRODUCTS, MEMORY, COPIES, GRAPHS), 0.0)
    by_name: dict[str, list[float]] = defaultdict(list)
    for begin, end, name in found:
        times[kind(name)] += end - begin
        by_name[re.sub(r"[._]?\d+$", "", name)[:120]].append(end - begin)
    work = sum(times.values())
    active = busy(found) / window
    most = sorted(by_name.items(), key=lambda item: -sum(item[1]))[:top]
    return {
        "device": device,
        "milliseconds": window / 1000,
        "shares": {**{name: active * time / work for name, time in times.items()}, "idle": 1 - active},
        "kernels": len(found),
        "top": [
            {"name": name, "kind": kind(name), "share": sum(each) / work, "count": len(each)} for name, each in most
        ],
    }
