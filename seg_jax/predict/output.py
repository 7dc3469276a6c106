"""The output of prediction: pictures in a directory, and a record of finished inputs, which are not repeated."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.data.images import DataError, Encoded, write_image
from seg_jax.data.prepared import PREDICTIONS
from seg_jax.predict.predictor import Prediction
from seg_jax.runtime.files import write_bytes

Input = Path | Encoded | int  # a file, a picture from standard input, or the number of a camera

RECORD = PREDICTIONS  # in the directory of results: one line for each finished input


def _grey(values: np.ndarray) -> np.ndarray:
    return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)


def _entropy(result: Prediction) -> np.ndarray:
    assert result.entropy is not None
    return _grey(result.entropy / np.log(len(result.table)))


def _confidence(result: Prediction) -> np.ndarray:
    if result.confidence is None:
        raise DataError("this export gives labels only: there is no confidence. Export with --output=probabilities.")
    return _grey(result.confidence)


# Kinds of pictures that can be written.
PICTURES: dict[str, Callable[[Prediction], np.ndarray]] = {
    "mask": lambda result: result.label,
    "color": lambda result: result.color(),
    "overlay": lambda result: result.overlay(),
    "confidence": _confidence,
    "entropy": _entropy,
}
KINDS = (*PICTURES, "probabilities")
MOVING = ("color", "overlay")  # for a video these are videos, the others folders with one file for each frame


def _state(item: Input) -> list[Any]:
    """The state of an input, which changes with it: a file's name, size and time, or the checksum of a picture."""
    if isinstance(item, Path):
        stat = item.stat()
        return [str(item.resolve()), stat.st_size, stat.st_mtime_ns]
    if isinstance(item, Encoded):
        return [item.name, hashlib.sha256(item.getvalue()).hexdigest()]
    return [f"camera {item}", time.time()]


@dataclass
class Results:
    """The directory of results, with the record of finished inputs.

    Attributes:
      directory: the directory.
      kinds: the `KINDS` to write.
      identity: identifies the network and the options that change its results.
      lines: the inputs finished by this process, in order.
      failed: inputs that could not be used -> reason.
      skipped: number of inputs that were finished before.
    """

    directory: Path
    kinds: Sequence[str]
    identity: str
    lines: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: int = 0

    def __post_init__(self) -> None:
        self._done: dict[str, dict[str, Any]] = {}
        record = self.directory / RECORD
        if record.is_file():
            for text in record.read_text(encoding="utf-8").splitlines():
                try:
                    line = json.loads(text)
                except ValueError:
                    continue  # incomplete since the program was killed: that input is repeated
                self._done[line["name"]] = line

    def has(self, name: str, item: Input) -> bool:
        """Whether all results of this unchanged file by this network exist."""
        line = self._done.get(name)
        if line is None or line["identity"] != self.identity or line["state"] != _state(item):
            return False
        return all((self.directory / path).exists() for path in self._outputs(name, line["frames"]))

    def _outputs(self, name: str, frames: int | None) -> list[str]:
        def suffix(kind: str) -> str:
            if frames is not None:
                return ".mp4" if kind in MOVING else ""
            return ".npz" if kind == "probabilities" else ".png"

        return [f"{name}_{kind}{suffix(kind)}" for kind in self.kinds]

    def write(self, name: str, result: Prediction) -> None:
        """Writes the files of one image; `name` may contain a folder."""
        for kind in self.kinds:
            path = self.directory / f"{name}_{kind}"
            if kind == "probabilities":
                assert result.probabilities is not None
                content = io.BytesIO()
                np.savez_compressed(content, probabilities=result.probabilities.astype(np.float16))
                write_bytes(path.with_name(f"{path.name}.npz"), content.getvalue())
            else:
                write_image(path.with_name(f"{path.name}.png"), PICTURES[kind](result))

    def done(
        self, name: str, item: Input, shape: tuple[int, ...], shares: dict[str, float], frames: int | None
    ) -> None:
        """Records that all files of an input are written."""
        line = {
            "name": name,
            "input": str(item),
            "outputs": self._outputs(name, frames),
            "height": shape[0],
            "width": shape[1],
            "frames": frames,
            "shares": {key: round(share, 6) for key, share in shares.items()},
        }
        self.lines.append(line)
        record = json.dumps(line | {"identity": self.identity, "state": _state(item)})
        with (self.directory / RECORD).open("a", encoding="utf-8") as file:
            file.write(record + "\n")
