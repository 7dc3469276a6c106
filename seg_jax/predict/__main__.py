"""Prediction: python -m seg_jax.predict MODEL INPUT... --out=DIR.

MODEL is a run directory or an exported file; TensorFlow is imported for a SavedModel only, JAX not for ONNX.
"""

from __future__ import annotations

import argparse
import glob
import json
import logging
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from seg_jax import process

if __name__ == "__main__":
    process.tune_malloc(process.HUGE_PAGES)  # before the imports that cost time: it starts the program anew

import numpy as np
from tqdm import tqdm

from seg_jax import viz
from seg_jax.data.images import EXTENSIONS, DataError, Encoded, read_image
from seg_jax.predict.output import KINDS, MOVING, Input, Results
from seg_jax.predict.predictor import Prediction, Predictor
from seg_jax.predict.video import SUFFIXES, Frames, VideoWriter


def find(inputs: Sequence[str]) -> list[Input]:
    """What files, folders (searched below), glob patterns, camera numbers and `-` name, each once.

    Raises:
      DataError: an input names nothing.
    """
    found: dict[Any, Input] = {}
    for text in inputs:
        path = Path(text).expanduser()
        if text == "-":
            content = sys.stdin.buffer.read()
            found["-"] = Encoded(content, "stdin")
        elif path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.suffix.lower() in (*EXTENSIONS, *SUFFIXES) and p.is_file())
            if not files:
                raise DataError(f"the folder {text!r} holds no image and no video.")
            found |= {p.resolve(): p for p in files if p.resolve() not in found}
        elif path.exists():
            found.setdefault(path.resolve(), path)
        elif text.isdecimal():
            found[text] = int(text)
        else:
            files = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
            if not files:
                raise DataError(f"{text!r} is no image file, no folder with images, and no pattern that matches one.")
            found |= {p.resolve(): p for p in files if p.resolve() not in found}
    return list(found.values())


def output_names(inputs: Sequence[Input]) -> list[str]:
    """A name for each result: the file's stem, numbered where it occurs again."""
    taken: set[str] = set()
    names = []
    for item in inputs:
        stem = f"camera{item}" if isinstance(item, int) else Path(item.name).stem
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        names.append(name)
    return names


def _summary(line: dict[str, Any]) -> str:
    largest = sorted(line["shares"].items(), key=lambda pair: -pair[1])[:4]
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in largest if share > 0)
    return f"{line['input']} ({line['width']}x{line['height']}) -> {', '.join(line['outputs'])}: {shares}"


class Work:
    """Pictures and videos through a predictor into results; reading and writing run beside it.

    Args:
      predictor: sees one batch after the other.
      results: where they go.
      batch: images at once.
      quiet: no line for each input.
    """

    def __init__(self, predictor: Predictor, results: Results, *, batch: int, quiet: bool):
        self._predictor, self._results, self._batch, self._quiet = predictor, results, batch, quiet
        self._wanted = {kind: kind in results.kinds for kind in ("entropy", "probabilities")}
        self._pool = ThreadPoolExecutor(2)
        self.images = 0

    def fail(self, item: Input, error: Exception) -> None:
        """Notes an input that could not be used."""
        self._results.failed[str(item)] = str(error)
        tqdm.write(f"error: {error}", file=sys.stderr)

    def _finish(
        self, name: str, item: Input, result: Prediction, shares: dict[str, float], frames: int | None = None
    ) -> None:
        self._results.done(name, item, result.label.shape, shares, frames)
        self.images += frames or 1
        if not self._quiet:
            tqdm.write(_summary(self._results.lines[-1]), file=sys.stdout)

    def pictures(self, inputs: list[tuple[str, Input]], bar: Any) -> None:
        """Reads ahead, predicts in batches, writes behind."""
        kept: deque[tuple[str, Input]] = deque()  # inputs whose photograph the predictor has, in order

        def read() -> Iterator[np.ndarray]:
            ahead: deque[tuple[str, Input, Future[np.ndarray]]] = deque()
            todo = iter(inputs)
            while True:
                while len(ahead) < 2 * self._batch and (following := next(todo, None)):
                    ahead.append((*following, self._pool.submit(read_image, following[1])))  # type: ignore[arg-type]
                if not ahead:
                    return
                name, item, future = ahead.popleft()
                try:
                    image = future.result()
                except DataError as error:
                    self.fail(item, error)
                    bar.update()
                    continue
                kept.append((name, item))
                yield image

        behind: deque[tuple[str, Input, Prediction, Future[None]]] = deque()

        def settle(most: int) -> None:
            while len(behind) > most:
                name, item, result, future = behind.popleft()
                future.result()
                self._finish(name, item, result, result.shares())
                bar.update()

        for result in self._predictor.many(read(), batch=self._batch, **self._wanted):
            name, item = kept.popleft()
            behind.append((name, item, result, self._pool.submit(self._results.write, name, result)))
            settle(2 * self._batch)
        settle(0)

    def video(self, name: str, item: Path | int, *, most: int, bar: Any) -> None:
        """Every frame of a video file or a camera, of a camera until Ctrl-C or `most` frames (0: all)."""
        frames = Frames(item)
        bar.total += frames.count and (min(frames.count, most) if most else frames.count) - 1
        writers = {
            kind: VideoWriter(self._results.directory / f"{name}_{kind}.mp4", rate=frames.rate)
            for kind in self._results.kinds
            if kind in MOVING
        }
        stills = {
            kind: Results(self._results.directory / f"{name}_{kind}", [kind], "")
            for kind in self._results.kinds
            if kind not in MOVING
        }
        count, whole, result = 0, False, None
        totals = np.zeros(len(self._predictor.table))
        try:
            for result in self._predictor.many(iter(frames), batch=self._batch, **self._wanted):
                count += 1
                bar.update()
                totals += list(result.shares().values())
                for kind, writer in writers.items():
                    # The legend of all classes: frames of one size.
                    picture = result.color() if kind == "color" else _framed(result)
                    writer.write(picture)
                for still in stills.values():
                    still.write(f"{count:06}", result)
                if count == most:
                    break
            whole = count > 0
        except KeyboardInterrupt:
            if not isinstance(item, int):
                raise
            whole = count > 0  # that is how a camera ends
        finally:
            frames.close()
            for writer in writers.values():
                writer.close(whole=whole)
        if result is None:
            raise DataError(f"{item} has no frame.")
        self._finish(name, item, result, dict(zip(self._predictor.table.names, totals / count, strict=True)), count)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(cancel_futures=True)


def _framed(result: Prediction) -> np.ndarray:
    picture = viz.overlay(result.image, result.label, result.table)
    return np.concatenate([picture, viz.legend(result.table, range(len(result.table)), picture.shape[1])])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 if any input could not be used."""
    options = _parser().parse_args(arguments)
    process.quiet()
    process.use_compilation_cache()
    begin = time.perf_counter()
    try:
        inputs = find(options.inputs)
        predictor = Predictor.load(
            options.model,
            checkpoint=options.checkpoint,
            flip=options.flip,
            scales=options.scales,
            window=options.window,
            overlap=options.overlap,
        )
        identity = f"{predictor.identity} {options.window} {options.overlap} {options.frames}"
        results = Results(options.out, options.write, identity)
    except ValueError as error:  # all errors of ours: what is wrong, and the cure
        print(f"error: {error}", file=sys.stderr)
        return 1
    named = list(zip(output_names(inputs), inputs, strict=True))
    if not options.overwrite:
        named, every = [pair for pair in named if not results.has(*pair)], len(named)
        results.skipped = every - len(named)
    if results.skipped:
        print(f"{results.skipped} are done already (--overwrite does them again)", file=sys.stderr)
    is_video = [isinstance(i, int) or (isinstance(i, Path) and i.suffix.lower() in SUFFIXES) for _, i in named]
    started = time.perf_counter()
    work = Work(predictor, results, batch=options.batch, quiet=options.json)
    with tqdm(total=len(named), unit="image", file=sys.stderr, disable=None) as bar:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
            work.pictures([pair for pair, video in zip(named, is_video, strict=True) if not video], bar)
            for (name, item), video in zip(named, is_video, strict=True):
                if video:
                    try:
                        work.video(name, item, most=options.frames, bar=bar)  # type: ignore[arg-type]
                    except DataError as error:
                        work.fail(item, error)
        except (DataError, OSError) as error:  # of what was asked for or of the disk, not of one input
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"interrupted after {work.images} images; the same command goes on", file=sys.stderr)
            return 130
        finally:
            work.close()
    seconds = time.perf_counter() - started
    summary = {
        "model": str(options.model),
        "images": work.images,
        "skipped": results.skipped,
        "failed": results.failed,
        "seconds_to_load": round(started - begin, 3),
        "seconds": round(seconds, 3),
        "images_per_second": round(work.images / max(seconds, 1e-9), 3),
        "results": results.lines,
    }
    if options.json:
        print(json.dumps(summary, indent=1))
    else:
        speed = summary["images_per_second"]
        print(f"{work.images} images in {seconds:.2f} s ({speed} images/s), results in {options.out}")
    if results.failed:
        logging.error("%d of %d inputs could not be used", len(results.failed), len(inputs))
    return 1 if results.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m seg_jax.predict",
        description="Segments photographs and videos. Inputs that are done already are skipped.",
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="run directory, or a file of seg_jax.export")
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="image, folder, quoted glob, video, camera number, or - for stdin"
    )
    parser.add_argument("--out", required=True, metavar="DIR", type=Path, help="where the results go")
    parser.add_argument(
        "--write",
        type=_kinds,
        default=("mask", "color", "overlay"),
        metavar="KIND,...",
        help=f"of {', '.join(KINDS)} (default: mask,color,overlay)",
    )
    parser.add_argument("--checkpoint", default="best", help="of a run: best (default), last, or a step")
    parser.add_argument("--flip", action="store_true", help="of a run: mean over the image and its mirror image")
    parser.add_argument(
        "--scales",
        type=_scales,
        default=(1.0,),
        metavar="S,...",
        help="of a run: mean over sizes, such as 0.75,1,1.25",
    )
    parser.add_argument(
        "--window",
        type=_size,
        metavar="HxW",
        help="keep the image's own scale and slide a window of so many pixels over it",
    )
    parser.add_argument(
        "--overlap", type=_share, default=0.25, metavar="SHARE", help="of neighbouring windows (default: 0.25)"
    )
    parser.add_argument(
        "--batch", type=_positive, default=1, metavar="N", help="images at once (default: 1; more is for accelerators)"
    )
    parser.add_argument("--frames", type=int, default=0, metavar="N", help="of a video or a camera at most; 0: all")
    parser.add_argument("--overwrite", action="store_true", help="do what is done already again")
    parser.add_argument("--json", action="store_true", help="print a JSON summary instead of lines")
    return parser


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(text.split(",")))
    if wrong := [kind for kind in kinds if kind not in KINDS]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is not one of {', '.join(KINDS)}")
    return kinds


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0.1 <= scale <= 4 for scale in scales):
        raise argparse.ArgumentTypeError(f"{text!r}: numbers from 0.1 to 4, such as 0.75,1,1.25")
    return scales


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) >= 32 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: HEIGHTxWIDTH in pixels, at least 32x32, such as 512x512")
    return int(parts[0]), int(parts[1])


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a share from 0 to below 1, such as 0.25")
    return share


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
