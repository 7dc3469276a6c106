"""Runs a step in a process of its own: it may crash, hang or be killed, and the results so far and the rest stay.

A process that dies takes the cases with it that it was working on. Where that was one, it is to blame and the others
are taken up by a new process; where it was several at once, each of them is tried again by itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from benchmarks.accelerator import record

GRACE = 5.0  # seconds between the request to end and the end
RETRIES = 8  # processes of a step, after which what is left is not tried again


def run_step(
    step: str,
    path: Path,
    options: Mapping[str, Any],
    *,
    deadline: float,
    log: IO[bytes],
    environment: Mapping[str, str],
    program: tuple[str, ...] = ("-m", "benchmarks.accelerator.child"),
) -> dict[str, Any]:
    """The results of a step, which are in the file `path` too, whatever became of its processes.

    Args:
      step: its name.
      path: its file.
      options: JSON values for the step.
      deadline: when its process is ended, in seconds of `time.time()`.
      log: takes what the processes print.
      environment: of the processes.
      program: what Python runs, before the name of the step.
    """
    begin, alone = time.time(), False
    for _ in range(RETRIES):
        given = json.dumps({**options, "path": str(path), "deadline": deadline, "alone": alone})
        process = subprocess.Popen(
            [sys.executable, *program, step, given],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=dict(environment),
            process_group=0,
        )
        try:
            code = process.wait(max(0.1, deadline - time.time()))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(process)
        content = record.read(path)
        if code == 0 or content.get("finished"):
            break
        running = list(content["running"])
        if code is None:
            record.abandon(path, record.TIMED_OUT, "the time of the step was over while it was worked on", running)
            break
        said = died(code)
        if "planned" not in content or not (running or record.without_result(content)):
            content |= {"error": f"its process {said} outside of the cases; the log has more"}
            record.write(path, content)
            break
        if len(running) <= 1 or alone:
            # One that dies between cases would do so again and again: its next case is given up.
            record.abandon(path, record.CRASHED, f"its process {said}", running or record.without_result(content)[:1])
        else:
            alone = True
            content["running"] = {}
            record.write(path, content)
        content = record.read(path)
        if not record.without_result(content) or deadline - time.time() < GRACE:
            break
    content = record.read(path)
    if left := record.without_result(content):
        content = record.abandon(path, record.NOT_RUN, "out of time before its turn", left)
    if not content["cases"] and "error" not in content:
        content["error"] = "its time was over before its first case"
    content["seconds"] = round(time.time() - begin, 1)
    record.write(path, content)
    return content


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and all that it has started; asks first."""
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 10.0)):
        try:
            # Its children outlive it where it was killed.
            _signal_group(process.pid, number)
            process.wait(patience)
            break
        except subprocess.TimeoutExpired:
            continue
    _signal_group(process.pid, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def died(code: int) -> str:
    """How a process with this exit code ended, in words."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
