"""The results of a step: one JSON file that is whole at every moment, written after every case.

A step works on its cases and writes what it found, or why there is nothing, under their names. What watches the step
from outside reads the same file after a crash, and knows which cases were being worked on.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# What became of a case: found what it should have, or was measured; its figures are off; the program refused such a
# network, which is no defect; it raised; it took the process with it; no time was left during or before it.
OK, WRONG, REFUSED, FAILED, CRASHED, TIMED_OUT, NOT_RUN = (
    "ok",
    "wrong",
    "refused",
    "failed",
    "crashed",
    "out of time",
    "not run",
)
# After these a process cannot use its GPU any more: every case that follows would fail too.
LOST = re.compile(
    r"illegal memory access|ILLEGAL_ADDRESS|LAUNCH_FAILED|launch failure|MISALIGNED_ADDRESS|misaligned address|"
    r"device-side assert|ECC_UNCORRECTABLE|HARDWARE_STACK|ILLEGAL_INSTRUCTION"
)
LOST_CODE = 70

STATUSES = (OK, WRONG, REFUSED, FAILED, CRASHED, TIMED_OUT, NOT_RUN)


class RefusedError(Exception):
    """The program does not have what a case asks for, and says so."""


def write(path: Path, content: dict[str, Any]) -> None:
    """Replaces a JSON file at once; NaN and infinities, which JSON does not have, become text."""
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text(json.dumps(_plain(content), indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


class Recorder:
    """The file of one step, for the threads of the process that runs it.

    Args:
      path: the file; an earlier process of the same step may have begun it.
      deadline: when the step has to be over, in seconds of `time.time()`.
    """

    def __init__(self, path: Path, *, deadline: float):
        self.deadline = deadline
        self._path, self._lock = path, threading.RLock()
        self.content = read(path)

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.time()

    def note(self, **facts: Any) -> None:
        """Adds facts about the whole step, and writes what the cases in work have found so far."""
        with self._lock:
            self.content |= facts
            write(self._path, self.content)

    def plan(self, cases: list[str]) -> list[str]:
        """Writes down all cases in the order of their importance; those that have no result yet."""
        self.note(planned=cases)
        return without_result(self.content)

    def announce(self, cases: list[str]) -> None:
        """Says that these are being worked on from now, though `case` is called later."""
        with self._lock:
            self.content["running"] |= {name: {} for name in cases}
            self.note()

    def case(self, name: str, work: Callable[[dict[str, Any]], None], *, needs: float = 0.0) -> None:
        """Works on a case; what is raised is recorded and ends here.

        Args:
          name: of the case.
          work: puts the figures into the dict that it is given. They count as fine unless it sets another 'status'.
          needs: seconds that it takes at least; with less left it is not begun.
        """
        result: dict[str, Any] = {"status": OK}
        begin = time.perf_counter()
        with self._lock:
            self.content["running"][name] = result
            self.note()
        try:
            if self.left < needs:
                result |= {"status": NOT_RUN, "error": f"{self.left:.0f} s were left, {needs:.0f} s are needed"}
            else:
                work(result)
        except RefusedError as error:
            result |= {"status": REFUSED, "error": str(error)}
        except Exception as error:
            result |= {"status": FAILED, "error": f"{type(error).__name__}: {error}"[:2000]}
            result["traceback"] = traceback.format_exc()[-6000:]
            if LOST.search(str(error)):
                with self._lock:
                    self.note()
                    os._exit(LOST_CODE)
        result["seconds"] = round(time.perf_counter() - begin, 2)
        with self._lock:
            self.content["cases"][name] = self.content["running"].pop(name)
            self.note()
        print(f"  {name}: {result['status']}, {result['seconds']:.1f} s {result.get('error', '')[:300]}", flush=True)

    def finish(self) -> None:
        """Writes that the step has come to its end."""
        self.note(finished=True)


def abandon(path: Path, status: str, reason: str, cases: Iterable[str]) -> dict[str, Any]:
    """Gives cases of a step whose process is gone a result, with what they had found; returns the file's content."""
    content = read(path)
    for name in cases:
        found = content["running"].get(name, {})
        said = f"{reason}; {found['error']}" if "error" in found else reason
        content["cases"][name] = {**found, "status": status, "error": said}
    content["running"] = {}
    write(path, content)
    return content


def read(path: Path) -> dict[str, Any]:
    """The content of a step's file, which need not be there yet."""
    begun = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {"cases": {}, "running": {}} | begun


def without_result(content: dict[str, Any]) -> list[str]:
    """Planned cases that have none yet."""
    return [name for name in content.get("planned", []) if name not in content["cases"]]
