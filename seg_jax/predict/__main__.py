"""Prediction: python -m seg_jax.predict MODEL INPUT... [--out=DIR].

MODEL is a run directory, an exported file, or the name of a network in the package (python -m seg_jax.models lists
them). TensorFlow is imported only for a SavedModel, and JAX not for ONNX.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from seg_jax.runtime import process

if __name__ == "__main__":
    process.tune_malloc(process.HUGE_PAGES)  # before slow imports: it restarts the program

from tqdm import tqdm

from seg_jax import shipped
from seg_jax.data.decoder import MEGAPIXELS, DataError
from seg_jax.predict.alone import is_alone, predict_alone
from seg_jax.predict.inputs import Input, find
from seg_jax.predict.output import KINDS, Results
from seg_jax.predict.predictor import Predictor
from seg_jax.predict.runtimes import RUNTIMES
from seg_jax.predict.work import Work
from seg_jax.runtime.errors import SegJaxError
from seg_jax.runtime.files import numbered_folder

FOLDER = Path("predictions")  # below which results are numbered where no --out names another


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 if any input could not be used."""
    options = _parser().parse_args(arguments)
    process.quiet()
    process.collect_rarely()
    process.use_compilation_cache()
    begin = time.perf_counter()
    try:
        inputs = find(options.inputs, options.out)
        predictor = Predictor.load(
            options.model,
            checkpoint=options.checkpoint,
            flip=options.flip,
            scales=options.scales,
            runtime=options.runtime,
            window=options.window,
            overlap=options.overlap,
            megapixels=options.megapixels,
        )
        if options.out is None:
            options.out = numbered_folder(FOLDER)
        identity = f"{predictor.identity} {options.window} {options.overlap} {options.frames}"
        results = Results(options.out, options.write, identity)
        named = results.named(inputs)
        results.begin(named, overwrite=options.overwrite)
    except (SegJaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not options.overwrite:
        named, every = [pair for pair in named if not results.has(pair[0])], len(named)
        results.skipped = every - len(named)
    if results.skipped:
        print(f"{results.skipped} are finished already (--overwrite repeats them)", file=sys.stderr)
    started = time.perf_counter()
    work = Work(predictor, results, batch=options.batch, quiet=options.json)
    with tqdm(total=len(named), unit="image", file=sys.stderr, disable=None) as bar:
        try:
            pictures: list[tuple[str, Input]] = []
            others: list[tuple[str, Input]] = []
            for name, item in named:
                try:
                    (others if is_alone(item) else pictures).append((name, item))
                except DataError as error:
                    work.fail(item, error)
            work.pictures(pictures, bar)
            for name, item in others:
                try:
                    predict_alone(work, name, item, most=options.frames, bar=bar)
                except (DataError, OSError) as error:
                    work.fail(item, error)
            results.end()
        except (SegJaxError, OSError) as error:  # an error of the request or the disk, not of one input
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            resume = f"run the command with --out={shlex.quote(str(options.out))} to resume"
            print(f"interrupted after {work.images} images; {resume}", file=sys.stderr)
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
        description="Segments photographs and videos. Finished inputs are skipped.",
    )
    kinds = shipped.choices("run directory or file of seg_jax.export")
    parser.add_argument("model", metavar="MODEL", help=kinds)
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="image, folder, quoted glob, video, camera number, or - for stdin"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help=f"directory for the results, whose finished inputs are skipped (default: a new one, {FOLDER}/1, 2, ...)",
    )
    parser.add_argument(
        "--write",
        type=_kinds,
        default=("mask", "color", "overlay"),
        metavar="KIND,...",
        help=f"files to write, from {', '.join(KINDS)} (default: mask,color,overlay)",
    )
    parser.add_argument("--checkpoint", default="best", help="for a run: best (default), last, or a step")
    parser.add_argument("--flip", action="store_true", help="for a run: average over the image and its mirror image")
    parser.add_argument(
        "--scales",
        type=_scales,
        default=(1.0,),
        metavar="S,...",
        help="for a run: average over sizes, such as 0.75,1,1.25",
    )
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        default="auto",
        help="for a run: what computes the network; onnx exports it first, once, and auto takes that export where it "
        "is there (default: auto)",
    )
    parser.add_argument(
        "--window",
        type=_size,
        metavar="HxW",
        help="keep the image's own scale (or the run's data.short_side) and slide a window of this size over it",
    )
    parser.add_argument(
        "--overlap", type=_share, default=0.25, metavar="SHARE", help="overlap of neighbouring windows (default: 0.25)"
    )
    parser.add_argument(
        "--batch", type=_positive, default=1, metavar="N", help="images at once (default: 1; more is for accelerators)"
    )
    parser.add_argument(
        "--megapixels",
        type=_positive,
        default=MEGAPIXELS,
        metavar="N",
        help=f"refuse images of more million pixels before they are decoded (default: {MEGAPIXELS})",
    )
    parser.add_argument(
        "--frames", type=int, default=0, metavar="N", help="largest number of frames of a video; 0: all"
    )
    parser.add_argument("--overwrite", action="store_true", help="repeat finished inputs")
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
