"""Where metrics go: `metrics.jsonl`, always, and TensorBoard events through CLU.

They are logs: a disk that refuses them costs a warning, never the training. What counts is in the checkpoints.
"""

from __future__ import annotations

import io
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from seg_jax.config import ConfigError
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime import process
from seg_jax.runtime.documents import fitting, number

FILE = RunDirectory("").metrics_file.name


@contextmanager
def warn_on_disk_error(what: str) -> Iterator[None]:
    """Around the writing of a file that a run can do without: an error of the disk becomes a warning."""
    try:
        yield
    except OSError as error:
        logging.warning("%s cannot be written (%s); training continues", what, error)


class Writer:
    """Writes the metrics of a run.

    Args:
      workdir: the run directory.
      start_step: lines of later steps, which a killed run left behind, are removed.
      tensorboard: also write TensorBoard events.

    Raises:
      ConfigError: what writes the events is not installed.
    """

    def __init__(self, workdir: Path, *, start_step: int, tensorboard: bool):
        if tensorboard and (missing := [name for name in ("clu", "tensorflow") if find_spec(name) is None]):
            raise ConfigError(
                f"config.log.tensorboard = True needs {' and '.join(missing)}. Install them, or leave the events out: "
                "--config.log.tensorboard=False."
            )
        kept = [line for line in read(workdir) if line["step"] <= start_step]
        path = RunDirectory(workdir).metrics_file
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        temporary.replace(path)
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._unwritten = b""  # lines that wait for space on the disk
        self._events: Any = None
        self._folder = str(workdir) if tensorboard else ""  # of the events
        self._early: list[Callable[[Any], None]] = []  # written when the events are opened

    def _append(self, text: str) -> None:
        """Lines go to the disk at once; what it refuses is tried again with the next ones, so that none is lost."""
        waited = bool(self._unwritten)
        self._unwritten += text.encode()
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[self._file.write(self._unwritten) :]
        except OSError as error:
            if not waited:
                logging.warning("%s cannot be written (%s); training continues, its lines wait in memory", FILE, error)

    def _show(self, write: Callable[[Any], None], *, early: bool = False) -> None:
        """Calls `write` with CLU's writer; its first error ends the events, not the training.

        The first call opens the events, which imports TensorFlow, for seconds. What comes before the first step is
        `early` and waits for another call.
        """
        if not self._folder:
            return
        if early and self._events is None:
            self._early.append(write)
            return
        try:
            if self._events is None:
                self._events = _open_events(self._folder)
                for waited in self._early:
                    waited(self._events)
            write(self._events)
        except Exception as error:  # CLU wraps what its thread met, and TensorFlow has its own kinds
            cause: BaseException = error
            while cause.__cause__:
                cause = cause.__cause__
            logging.warning("TensorBoard's events end here (%s); %s and training continue", cause, FILE)
            if self._events is not None:
                with suppress(Exception):
                    self._events.close()
            self._folder = ""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl, {"step", "time" (seconds since 1970), name: value or null}, and one event each."""
        line: dict[str, Any] = {"step": step, "time": round(time.time(), 3)}
        line |= {name: float(v) if math.isfinite(v) else None for name, v in values.items()}
        self._append(json.dumps(line) + "\n")
        finite = {name: v for name, v in values.items() if math.isfinite(v)}
        self._show(lambda events: events.write_scalars(step, finite))

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """uint8 [h w 3] each, to TensorBoard only."""
        batches = {name: image[None] for name, image in images.items()}
        self._show(lambda events: events.write_images(step, batches))

    def texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Shown as fixed-width text, to TensorBoard only."""
        indented = {n: "\n".join("    " + s for s in t.splitlines()) for n, t in texts.items()}
        self._show(lambda events: events.write_texts(step, indented), early=True)

    def hparams(self, values: Mapping[str, Any]) -> None:
        """Flat hyper-parameters, to TensorBoard only."""
        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in values.items()}
        self._show(lambda events: events.write_hparams(plain), early=True)

    def flush(self) -> None:
        """Everything written so far is on disk when this returns, but for what the disk refuses."""
        self._append("")
        self._show(lambda events: events.flush())

    def close(self) -> None:
        """Flushes and closes."""
        self._append("")
        self._file.close()
        self._show(lambda events: events.close())


class NullWriter(Writer):
    """A writer that writes nothing, for all processes but the first."""

    def __init__(self) -> None:
        self._file, self._unwritten, self._folder, self._early = io.BytesIO(), b"", "", []


def _open_events(folder: str) -> Any:
    """CLU's writer of TensorBoard events."""
    process.hide_accelerators_from_tensorflow()
    from clu import metric_writers

    return metric_writers.AsyncWriter(metric_writers.SummaryWriter(folder))


def read(workdir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, {"step": whole number, name: number or None}, without those that a crash tore."""
    path = RunDirectory(workdir).metrics_file
    lines = []
    for text in path.read_bytes().split(b"\n") if path.is_file() else ():
        if line := fitting(text, {"step": int, str: (number, None)}):
            lines.append(line)
    return lines
