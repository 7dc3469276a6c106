"""Where metrics go: `metrics.jsonl`, always, and TensorBoard events through CLU."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

FILE = "metrics.jsonl"


class Writer:
    """Writes the metrics of a run.

    Args:
      workdir: the run directory.
      start_step: lines of later steps, which a killed run left behind, are removed.
      tensorboard: also write TensorBoard events.
    """

    def __init__(self, workdir: Path, *, start_step: int, tensorboard: bool):
        kept = [line for line in read(workdir) if line["step"] <= start_step]
        path = workdir / FILE
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        temporary.replace(path)
        self._file: IO[str] = path.open("a", encoding="utf-8")
        self._events: Any = None
        if tensorboard:
            from clu import metric_writers

            self._events = metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(workdir)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl, {"step", "time" (seconds since 1970), name: value or null}, and one event each."""
        line: dict[str, Any] = {"step": step, "time": round(time.time(), 3)}
        line |= {name: float(v) if math.isfinite(v) else None for name, v in values.items()}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._events:
            self._events.write_scalars(step, {name: v for name, v in values.items() if math.isfinite(v)})

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """uint8 [h w 3] each, to TensorBoard only."""
        if self._events:
            self._events.write_images(step, {name: image[None] for name, image in images.items()})

    def texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Shown as fixed-width text, to TensorBoard only."""
        if self._events:
            self._events.write_texts(step, {n: "\n".join("    " + s for s in t.splitlines()) for n, t in texts.items()})

    def hparams(self, values: Mapping[str, Any]) -> None:
        """Flat hyper-parameters, to TensorBoard only."""
        if self._events:
            plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in values.items()}
            self._events.write_hparams(plain)

    def flush(self) -> None:
        """Everything written so far is on disk when this returns."""
        self._file.flush()
        if self._events:
            self._events.flush()

    def close(self) -> None:
        """Flushes and closes."""
        self._file.close()
        if self._events:
            self._events.close()


class Silent(Writer):
    """What the processes have that do not write."""

    def __init__(self) -> None:
        self._file, self._events = io.StringIO(), None


def read(workdir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; one that was cut off by a crash is left out."""
    path = workdir / FILE
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
            line["step"] = int(line["step"])
        except (ValueError, TypeError, KeyError):
            continue
        lines.append(line)
    return lines
