"""Statistics of a split: pixels of each class, class weights, mean and deviation of the colours or bands."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seg_jax.config import DataConfig, flatten, lookup
from seg_jax.data.checking import in_parallel, listing, try_read
from seg_jax.data.class_weights import SCHEMES, effective_number
from seg_jax.data.examples import Bad, Examples, class_counts
from seg_jax.data.images import DataError
from seg_jax.data.labels import ignored_in
from seg_jax.runtime import process
from seg_jax.runtime.files import write_bytes

VERSION = 2  # of the counting: part of the key of stored counts

# Fields of config.data that do not change an example, or whose effect is visible in the label table or the files.
WITHOUT_EFFECT = (
    *("dir", "labels", "merge", "ignore_classes", "list", "size", "tfds.data_dir"),
    *(
        "cache",
        "cache_bytes",
        "short_side",
        "threads",
        "prefetch",
        "skip_bad",
        "mean",
        "std",
        "train_split",
        "val_split",
    ),
)


@dataclass(frozen=True)
class Stats:
    """Counts over one split of k classes.

    Attributes:
      names: class names.
      images: number of examples.
      pixels: number of pixels of each class.
      files: for each class, the number of examples in which it occurs.
      present: for each class, the number of labelled pixels in those examples.
      ignored: number of ignored pixels.
      mean, std: mean and standard deviation of each channel (red, green and blue, or the bands) over all pixels where
        something was measured, in 0..1.
    """

    names: tuple[str, ...]
    images: int
    pixels: tuple[int, ...]
    files: tuple[int, ...]
    present: tuple[int, ...]
    ignored: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The classes that do not occur."""
        return tuple(name for name, n in zip(self.names, self.pixels, strict=True) if not n)


def class_weights(stats: Stats, scheme: str) -> tuple[float, ...]:
    """One weight for each class, rounded to six digits; `scheme` is a key of `SCHEMES`.

    Raises:
      ConfigError: there is no such scheme.
    """
    weights = lookup(SCHEMES, scheme, "loss.class_weights")(np.array(stats.pixels), np.array(stats.present))
    return _rounded(weights)


def _rounded(weights: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{w:.6g}") for w in weights)


def measure(examples: Examples, *, threads: int) -> tuple[Stats, tuple[Bad, ...]]:
    """The counts of one split, and the examples that cannot be read, which are not counted.

    Raises:
      DataError: no example can be read, or no pixel is labelled.
    """
    k = len(examples.table)

    def count(index: int) -> tuple[np.ndarray, np.ndarray] | Bad:
        pair = try_read(examples, index)
        return pair if isinstance(pair, Bad) else (class_counts(pair[1], k), _sums(*pair))

    pixels, files, present = np.zeros((3, k + 1), np.int64)
    sums: Any = 0
    bad = []
    with closing(in_parallel(count, len(examples), threads=threads, title=f"counting {examples.split}")) as counted:
        for result in counted:
            if isinstance(result, Bad):
                bad.append(result)
                continue
            labels, of_one = result
            pixels += labels
            files += labels > 0
            present += (labels > 0) * labels[:k].sum()
            sums = sums + of_one
    if len(bad) == len(examples):
        raise DataError(f"the split {examples.split!r} has no usable example:\n{listing((*examples.bad, *bad))}")
    if not pixels[:k].any():
        raise DataError(f"the split {examples.split!r} has no labelled pixel: its masks say 'ignore' everywhere.")
    n = np.maximum(sums[0], 1)
    mean = sums[1] / n
    std = np.sqrt(np.maximum(sums[2] / n - mean**2, 0))
    stats = Stats(
        names=examples.table.names,
        images=len(examples) - len(bad),
        pixels=tuple(pixels[:k].tolist()),
        files=tuple(files[:k].tolist()),
        present=tuple(present[:k].tolist()),
        ignored=int(pixels[-1]),
        mean=_rounded(mean / 255),
        std=_rounded(std / 255),
    )
    return stats, tuple(bad)


def _sums(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """[3 c]: of each channel the number of values, their sum and that of their squares.

    Whole numbers for bytes. Pixels of bands that are ignored and 0 everywhere are those without a measurement. The
    label may be larger, as of `Examples.with_enough`.
    """
    channels = image.shape[-1]
    if image.dtype == np.uint8 and channels == 3:
        counts = np.reshape(Image.fromarray(image).histogram(), (3, 256))
        return np.stack([counts @ np.arange(256) ** power for power in range(3)])
    factor = len(label) // len(image)
    measured = (label[::factor, ::factor] != ignored_in(label)) | image.any(-1)
    values = image[measured].astype(np.float64)
    return np.stack([np.full(channels, len(values)), values.sum(0), np.square(values).sum(0)])


def load(examples: Examples, data: DataConfig) -> Stats:
    """The counts of one split: stored ones if the files are unchanged, otherwise new ones.

    They are stored in `.seg_jax` in the data directory, or in the user's cache directory if the former is read-only.
    Data without files is counted every time.

    Args:
      examples: a split.
      data: reads `dir`, `threads` and `skip_bad`; other fields that change an example are part of the key.

    Raises:
      DataError: examples cannot be used, and `skip_bad` does not leave them out.
    """
    key = _key(examples, data)
    directories = [process.cache_directory() / "stats"]
    if data.dir and Path(data.dir).expanduser().is_dir():
        directories.insert(0, Path(data.dir).expanduser() / ".seg_jax")
    paths = [directory / f"stats-{key[:32]}.json" for directory in directories if key]
    for path in paths:
        if (known := _recall(path, key)) is not None:
            return known
    stats, bad = measure(examples, threads=data.threads)
    if bad and not data.skip_bad:
        raise DataError(
            f"{len(bad)} of {len(examples)} examples of the split {examples.split!r} cannot be used:\n{listing(bad)}\n"
            "Correct them, or leave them out with --config.data.skip_bad=True."
        )
    text = json.dumps({"key": key, **asdict(stats)}, indent=1)
    for path in paths:
        try:
            write_bytes(path, text.encode())
            break
        except OSError as error:
            logging.info("%s cannot be written (%s)", path, error.strerror)
    return stats


def _key(examples: Examples, data: DataConfig) -> str:
    """A digest of the files of a split, their order, and the way they are read; '' for data without files."""
    if not examples.files:
        return ""
    fields = {field: value for field, value in flatten(data).items() if field not in WITHOUT_EFFECT}
    digest = hashlib.sha256(repr((VERSION, examples.resized, examples.table.to_json(), fields)).encode())
    for name, paths in zip(examples.names, examples.files, strict=True):
        try:
            states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        except OSError:
            return ""  # the reader's error will say more
        digest.update(repr((name, states)).encode())
    return digest.hexdigest()


def _recall(path: Path, key: str) -> Stats | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored.pop("key") != key:
            return None
        fields: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in stored.items()}
        return Stats(**fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no file, or a damaged one
        return None


def to_json(stats: Stats, *, beta: float | None = None) -> str:
    """The counts and the weights of every scheme, as JSON text."""
    weights = {scheme: list(w) for scheme, w in _all_weights(stats, beta).items()}
    return json.dumps({**asdict(stats), "class_weights": weights}, indent=1) + "\n"


def _all_weights(stats: Stats, beta: float | None) -> dict[str, tuple[float, ...]]:
    weights = {scheme: class_weights(stats, scheme) for scheme in SCHEMES}
    return weights | {"effective_number": _rounded(effective_number(np.array(stats.pixels), beta))}


def table(stats: Stats, *, split: str, beta: float | None = None) -> str:
    """The counts and the weights of every scheme, as text."""
    weights = _all_weights(stats, beta)
    total = sum(stats.pixels)
    width = max(len("class"), *map(len, stats.names))
    lines = [
        f"{split}: {stats.images} images, {total:,d} labelled pixels, {stats.ignored:,d} ignored "
        f"({stats.ignored / (total + stats.ignored):.2%})",
        f"{'class':<{width}} {'pixels':>15} {'share':>8} {'images':>7}  {'  '.join(weights)}",
    ]
    for i, name in enumerate(stats.names):
        columns = "  ".join(f"{w[i]:>{len(scheme)}.4g}" for scheme, w in weights.items())
        lines.append(
            f"{name:<{width}} {stats.pixels[i]:>15,d} {stats.pixels[i] / total:>8.3%} {stats.files[i]:>7}  {columns}"
        )
    if stats.missing:
        lines.append(f"do not occur, so their weight is 0: {', '.join(stats.missing)}")
    channels = "red, green, blue" if len(stats.mean) == 3 else f"{len(stats.mean)} bands"
    lines.append(f"mean {_listed(stats.mean)}  deviation {_listed(stats.std)}  ({channels} in 0..1)")
    return "\n".join(lines)


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
