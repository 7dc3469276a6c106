"""Prediction: python -m seg_jax.predict RUN INPUT... --out=DIR, and the Predictor behind it.

Needs a run directory and nothing else; TensorFlow is not imported.
"""

from __future__ import annotations

import argparse
import glob
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_jax import process

if __name__ == "__main__":
    process.use_huge_pages()  # before the imports that cost time: it starts the program anew

import jax
import numpy as np
from PIL import Image

from seg_jax import program, sharding, viz
from seg_jax.checkpoint import CheckpointError, Checkpoints
from seg_jax.config import Config, ConfigError, load
from seg_jax.data.images import EXTENSIONS, DataError, read_image, write_image
from seg_jax.data.labels import LabelError, LabelTable

BUCKET = 32  # sides of unusual proportions are rounded to this, so that few shapes are compiled


@dataclass(frozen=True)
class Prediction:
    """What was seen in one image.

    Attributes:
      image: the photograph, uint8 [h w 3].
      label: class ids, uint8 [h w].
      confidence: probability of that class, float32 [h w].
      table: what the class ids mean.
    """

    image: np.ndarray
    label: np.ndarray
    confidence: np.ndarray
    table: LabelTable

    def shares(self) -> dict[str, float]:
        """Share of the pixels of each class, in the order of the table; sums to 1."""
        counts = np.bincount(self.label.reshape(-1), minlength=len(self.table))
        return {name: float(n) / self.label.size for name, n in zip(self.table.names, counts, strict=True)}

    def color(self) -> np.ndarray:
        """The mask in class colours, uint8 [h w 3]."""
        return self.table.colorize(self.label)

    def overlay(self, *, opacity: float = 0.55) -> np.ndarray:
        """The colours over the photograph with a legend of the classes below, uint8 [h+legend w 3]."""
        picture = viz.overlay(self.image, self.label, self.table, opacity=opacity)
        present = np.unique(self.label)
        return np.concatenate([picture, viz.legend(self.table, present.tolist(), picture.shape[1])])


class Predictor:
    """A trained network, ready for photographs of any size.

    Args:
      functions: of the run.
      weights: {'params', 'model_state'}, host arrays.
      table: what its classes mean.
      trained_size: (height, width) at which the network was evaluated.
    """

    def __init__(self, functions: program.Program, weights: dict, table: LabelTable, trained_size: tuple[int, int]):
        self.table = table
        self.trained_size = trained_size
        self._predict = functions.predict
        self._weights = jax.device_put(weights)

    @classmethod
    def load(cls, run: str | Path, *, checkpoint: str = "best") -> Predictor:
        """The network of a run directory.

        Args:
          run: the run directory.
          checkpoint: 'best', 'last' or a step.

        Raises:
          ConfigError, CheckpointError, LabelError: it is not a run directory, or damaged.
        """
        run = Path(run).expanduser()
        config: Config = load(run / "config.json")
        table = LabelTable.load(run / "class_names.json")
        functions = program.Program(config, classes=len(table), mesh=sharding.make_mesh(1))
        checkpoints = Checkpoints(run / "checkpoints", create=False)
        step = checkpoints.choose(checkpoint)
        weights = checkpoints.weights(step, program.weights_of(functions.abstract_state))
        height, width = checkpoints.meta(step)["image_size"]
        return cls(functions, weights, table, (height, width))

    def __call__(self, image: np.ndarray) -> Prediction:
        """Segments a photograph, uint8 [h w 3]; the result has its size.

        The network works at the scale that it was trained at: the photograph is resized so that its shorter side is
        the training images' shorter side, the probabilities are resized back (both bilinear).
        """
        if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
            raise DataError(
                f"an image of shape {image.shape} and type {image.dtype}: it must be uint8 [height, width, 3]. "
                "seg_jax.data.images.read_image brings any file to that form."
            )
        size = working_size((image.shape[0], image.shape[1]), self.trained_size)
        small = image if size == image.shape[:2] else np.asarray(_resized(Image.fromarray(image), size))
        probabilities = np.asarray(self._predict(self._weights["params"], self._weights["model_state"], small[None])[0])
        label, confidence = _argmax(probabilities, (image.shape[0], image.shape[1]))
        return Prediction(image=image, label=label, confidence=confidence, table=self.table)


def working_size(size: tuple[int, int], trained: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) at which the network sees an image of `size`.

    The shorter side becomes that of the training images; proportions are kept to within half a bucket, and images
    shaped like the training images get exactly their size.
    """
    scale = min(trained) / min(size)
    height, width = size[0] * scale, size[1] * scale
    if abs(height / trained[0] - 1) < 0.02 and abs(width / trained[1] - 1) < 0.02:
        return trained
    short, long = min(trained), max(BUCKET, round(max(height, width) / BUCKET) * BUCKET)
    long = max(long, short)
    return (short, long) if size[0] <= size[1] else (long, short)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def _argmax(probabilities: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """[h w k] -> (class ids uint8, probability float32) at `size`; one class after the other, to save memory."""
    if probabilities.shape[:2] == size:
        return probabilities.argmax(-1).astype(np.uint8), probabilities.max(-1)
    label, best = np.zeros(size, np.uint8), np.full(size, -1, np.float32)
    for k in range(probabilities.shape[-1]):
        plane = np.asarray(_resized(Image.fromarray(np.ascontiguousarray(probabilities[..., k])), size))
        label[plane > best] = k
        np.maximum(best, plane, out=best)
    return label, best


def find(inputs: Sequence[str]) -> Iterator[Path]:
    """The image files that files, folders (searched below) and glob patterns name, each once.

    Raises:
      DataError: an input names nothing.
    """
    seen: set[Path] = set()
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
        elif path.exists():
            found = [path]
        else:
            found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
        if not found:
            raise DataError(f"{text!r} is no image file, no folder with images, and no pattern that matches one.")
        for image in found:
            if image.resolve() not in seen:
                seen.add(image.resolve())
                yield image


def output_names(paths: Sequence[Path]) -> list[str]:
    """A name for each result: the file's stem, numbered where it occurs again."""
    taken: set[str] = set()
    names = []
    for path in paths:
        name, number = path.stem, 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name)
        names.append(name)
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 if any input could not be used."""
    parser = argparse.ArgumentParser(prog="python -m seg_jax.predict", description="Segments photographs.")
    parser.add_argument("run", help="run directory of a training")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image, folder, or quoted glob pattern")
    parser.add_argument("--out", required=True, metavar="DIR", type=Path, help="where masks and overlays go")
    parser.add_argument("--checkpoint", default="best", help="best (default), last, or a step")
    options = parser.parse_args(arguments)
    process.quiet()
    process.use_compilation_cache()
    try:
        paths = list(find(options.inputs))
        predictor = Predictor.load(options.run, checkpoint=options.checkpoint)
    except (ConfigError, CheckpointError, DataError, LabelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failed = 0
    for path, name in zip(paths, output_names(paths), strict=True):
        begin = time.perf_counter()
        try:
            result = predictor(read_image(path))
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            failed += 1
            continue
        for kind, picture in (("mask", result.label), ("color", result.color()), ("overlay", result.overlay())):
            write_image(options.out / f"{name}_{kind}.png", picture)
        shares = sorted(result.shares().items(), key=lambda item: -item[1])
        height, width = result.label.shape
        print(f"{path} ({width}x{height}, {time.perf_counter() - begin:.2f} s) -> {options.out / name}_*.png")
        for class_name, share in shares:
            print(f"  {class_name:<24} {100 * share:6.2f} %")
    if failed:
        logging.error("%d of %d inputs could not be used", failed, len(paths))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
