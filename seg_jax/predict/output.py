"""The output of prediction: pictures in a directory, and a record of finished inputs, which are not repeated."""

from __future__ import annotations

import glob
import hashlib
import io
import json
import logging
import os
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from seg_jax.data.decoder import DataError, Encoded
from seg_jax.data.images import write_image
from seg_jax.data.prepared import PREDICTIONS
from seg_jax.data.rasters import TIFF
from seg_jax.predict.inputs import Found, Input, is_video
from seg_jax.predict.predictor import Prediction
from seg_jax.runtime.documents import fitting, number
from seg_jax.runtime.files import write_bytes

# Of the record of results.
LINE = {"name": str, "identity": str, "state": [(str, number)], "frames": (int, None), "raster?": str}
BEGUN = ".begun"  # names of a call that was killed or failed, whose files may be there without a line in the record
MAX_NAME = 200  # bytes of the name of a result, without the suffixes of its files


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
WHOLE, ROWS = "whole", "rows"  # how a raster was read; of one that is read in rows there is only the mask
MOVING = ("color", "overlay")  # for a video these are videos, the others folders with one file for each frame


def _state(item: Input) -> list[Any]:
    """The state of an input, which changes with it: a file's name, size and time, or the checksum of a picture."""
    if isinstance(item, Path):
        stat = item.stat()
        return [str(item.resolve()), stat.st_size, stat.st_mtime_ns]
    if isinstance(item, Encoded):
        return [item.name, hashlib.sha256(item.getvalue()).hexdigest()]
    return [f"camera {item}", time.time()]


def _key(state: Sequence[Any]) -> tuple[Any, ...]:
    """What makes an input the same one although its content may have changed: the path of a file.

    Pictures of standard input and recordings of a camera have nothing that lasts: each is an input of its own.
    """
    return tuple(state[:1] if len(state) == 3 else state)


def _folded(name: str) -> str:
    """A name as those file systems see it that tell neither upper from lower case nor two forms of an accent apart."""
    return unicodedata.normalize("NFC", name).casefold()


def shortened(name: str) -> str:
    """`name` with at most `MAX_NAME` bytes after the last slash; what is cut off counts in a checksum.

    File systems take 255 bytes, and suffixes such as `_probabilities.npz` follow.
    """
    folder, slash, last = name.rpartition("/")
    content = os.fsencode(last)
    if len(content) <= MAX_NAME:
        return name
    checksum = hashlib.sha256(content).hexdigest()[:8]
    return f"{folder}{slash}{content[: MAX_NAME - 9].decode(errors='ignore')}-{checksum}"


def read_record(directory: Path) -> dict[str, dict[str, Any]]:
    """{name: its line} of the record of results; lines that are damaged, or cut off by a kill, are left out."""
    lines = {}
    path = directory / PREDICTIONS
    for text in path.read_bytes().split(b"\n") if path.is_file() else ():
        line = fitting(text, LINE)
        if line and line["state"] and _is_inside(line["name"]):
            lines[line["name"]] = line
    return lines


def _is_inside(name: str) -> bool:
    """Whether a name can be that of a file below a folder."""
    try:
        sound = b"\0" not in os.fsencode(name)
    except ValueError:  # half of a character
        return False
    return sound and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts


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
        self._done = read_record(self.directory)
        self._states: dict[str, list[Any]] = {}  # of the inputs of this process, before they were read

    def named(self, inputs: Sequence[Found]) -> list[tuple[str, Input]]:
        """The inputs with the names of their results; no name is that of another input, of this call or an earlier one.

        An input that was here before keeps its name, whatever joins it.
        """
        owners = {_folded(name): _key(line["state"]) for name, line in self._done.items()}
        known = {_key(line["state"]): name for name, line in self._done.items()}
        pairs = []
        for found in inputs:
            try:
                state = _state(found.item)
            except OSError as error:
                self.failed[str(found.item)] = str(error)
                logging.error("error: %s", error)
                continue
            key = _key(state)
            name = known.get(key)
            if name is None:
                first = owners.get(_folded(shortened(next(found.names(beside=False)))), ("",))
                beside = Path(str(first[0])).parent == Path(str(key[0])).parent
                free = (shortened(n) for n in found.names(beside=beside))
                name = next(n for n in free if owners.get(_folded(n), key) == key)
            owners[_folded(name)], known[key] = key, name
            self._states[name] = state
            pairs.append((name, found.item))
        return pairs

    def begin(self, named: Sequence[tuple[str, Input]], *, overwrite: bool) -> None:
        """Makes the directory and its record.

        Raises:
          DataError: a file that is no result would be overwritten.
          OSError: the directory cannot be written.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        known = self._done.keys() | self._begun()
        new = [(name, item) for name, item in named if name not in known]
        for name, item in () if overwrite else new:
            outputs = self._outputs(name, 0 if is_video(item) else None)
            if isinstance(item, Path) and item.suffix.lower() in TIFF:
                outputs += self._outputs(name, None, WHOLE)
            if path := next((p for output in outputs if (p := self.directory / output).exists()), None):
                raise DataError(
                    f"{path} exists, and no line of {PREDICTIONS} says that it is a result of this program. Pass "
                    "--overwrite, or name another --out."
                )
        with (self.directory / BEGUN).open("a", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(name)}\n" for name, _ in new)
        (self.directory / PREDICTIONS).touch()

    def _begun(self) -> set[str]:
        path = self.directory / BEGUN
        return {fitting(text, str) for text in path.read_bytes().split(b"\n")[:-1]} if path.is_file() else set()

    def end(self) -> None:
        """All inputs have passed: what is there is in the record, but for what a failed one has left."""
        left = self._begun() - self._done.keys() - {line["name"] for line in self.lines}
        if not any(path for name in left if name for path in self.directory.glob(f"{glob.escape(name)}_*")):
            (self.directory / BEGUN).unlink(missing_ok=True)

    def has(self, name: str) -> bool:
        """Whether all results of this unchanged input by this network exist."""
        line = self._done.get(name)
        if line is None or line["identity"] != self.identity or line["state"] != self._states[name]:
            return False
        outputs = self._outputs(name, line["frames"], line.get("raster", ""))
        return all((self.directory / path).exists() for path in outputs)

    def _outputs(self, name: str, frames: int | None, raster: str = "") -> list[str]:
        kinds = [kind for kind in self.kinds if raster != ROWS or kind == "mask"]

        def suffix(kind: str) -> str:
            if frames is not None:
                return ".mp4" if kind in MOVING else ""
            if raster and kind == "mask":
                return ".tif"
            return ".npz" if kind == "probabilities" else ".png"

        return [f"{name}_{kind}{suffix(kind)}" for kind in kinds]

    def write(self, name: str, result: Prediction, *, without: str = "") -> None:
        """Writes the files of one image, but for the kind `without`; `name` may contain a folder."""
        for kind in self.kinds:
            if kind == without:
                continue
            path = self.directory / f"{name}_{kind}"
            if kind == "probabilities":
                assert result.probabilities is not None
                content = io.BytesIO()
                np.savez_compressed(content, probabilities=result.probabilities.astype(np.float16))
                write_bytes(path.with_name(f"{path.name}.npz"), content.getvalue())
            else:
                write_image(path.with_name(f"{path.name}.png"), PICTURES[kind](result))

    def done(
        self,
        name: str,
        item: Input,
        shape: tuple[int, ...],
        shares: dict[str, float],
        frames: int | None,
        raster: str = "",
    ) -> None:
        """Records that all files of an input are written; `raster` is `WHOLE` or `ROWS` where the mask is a GeoTIFF."""
        line = {
            "name": name,
            "input": str(item),
            "outputs": self._outputs(name, frames, raster),
            "height": shape[0],
            "width": shape[1],
            "frames": frames,
            **({"raster": raster} if raster else {}),
            "shares": {key: round(share, 6) for key, share in shares.items()},
        }
        self.lines.append(line)
        record = json.dumps(line | {"identity": self.identity, "state": self._states[name]})
        with (self.directory / PREDICTIONS).open("a", encoding="utf-8") as file:
            file.write(record + "\n")
