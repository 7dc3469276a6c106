"""python -m seg_jax.export RUN --format=FORMAT --out=FILE: writes an artefact that agrees with its run."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = "cpu"  # a GPU multiplies float32 with 10 bits less

from seg_jax.config import ConfigError
from seg_jax.export import FORMATS, certificate, int8, safetensors
from seg_jax.export.network import OUTPUTS, Network
from seg_jax.predict import artefacts
from seg_jax.runtime import process, seal
from seg_jax.runtime.errors import SegJaxError
from seg_jax.runtime.extras import install_command
from seg_jax.runtime.files import write_bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 if nothing was written."""
    parser = argparse.ArgumentParser(prog="python -m seg_jax.export", description="Exports a trained network.")
    parser.add_argument("run", type=Path, help="run directory of a training")
    parser.add_argument("--format", required=True, choices=sorted(FORMATS), help="format of the artefact")
    parser.add_argument("--out", required=True, metavar="FILE", type=Path, help="file to write")
    parser.add_argument("--checkpoint", default="best", help="best (default), last, or a step")
    parser.add_argument(
        "--size", type=_size, metavar="HxW", help="resize every image to this size inside (default: no resizing)"
    )
    parser.add_argument("--output", default=OUTPUTS[0], choices=OUTPUTS, help="output for every pixel")
    parser.add_argument("--int8", action="store_true", help="onnx: 8-bit integers, calibrated on training images")
    parser.add_argument("--half", action="store_true", help="safetensors: kernels in float16, half of the bytes")
    options = parser.parse_args(arguments)
    process.quiet()
    process.collect_rarely()
    process.use_compilation_cache()
    try:
        return export(options)
    except (SegJaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def export(options: argparse.Namespace) -> int:
    """Writes the artefact that the command line describes; returns the exit code.

    Raises:
      ArtefactError, CheckpointError, ConfigError, DataError, LabelError: the options, the run or its data are unusable.
    """
    form = FORMATS[options.format]
    if options.int8 and options.format != "onnx":
        raise ConfigError(f"--int8 with --format={options.format}: only ONNX has 8-bit integers. Use --format=onnx.")
    if options.half and options.format != "safetensors":
        raise ConfigError(
            f"--half with --format={options.format}: only the archive has float16. Use --format=safetensors."
        )
    if missing := [name for name in form.needs if importlib.util.find_spec(name) is None]:
        raise ConfigError(
            f"--format={options.format} needs {' and '.join(missing)}. Add it: {install_command(options.format)}"
        )
    out = options.out.expanduser()
    if out.is_dir():
        raise ConfigError(f"--out={out} is a directory that exists already. Remove it, or choose another name.")
    run = options.run.expanduser()
    network = Network.load(
        run,
        checkpoint=options.checkpoint,
        size=options.size,
        output=options.output,
        fixed=form.fixed,
        full_precision=not form.archive,
    )
    samples = certificate.find_samples(network, run, resized=form.fixed)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.partial")
    try:
        form.write(safetensors.halved(network) if options.half else network, temporary)
        artefact = artefacts.load(temporary)
        inside = network.metadata["size"] and not form.fixed and not form.archive
        tolerance = certificate.RESIZED if inside else certificate.HALF if options.half else certificate.EXACT
        if options.int8:
            exact, tolerance = artefact, certificate.INT8
            int8.quantize(temporary, temporary, int8.calibration_images(network))
            artefact = artefacts.load(temporary)
            image = samples.pairs[0][0]
            times = [certificate.seconds(each, image) for each in (exact, artefact)]
            print(f"int8: {1000 * times[1]:.1f} ms instead of {1000 * times[0]:.1f} ms, x {times[0] / times[1]:.2f}")
        parity = certificate.compare(network, artefact, samples, tolerance)
        print(summary(parity))
        if not parity["passed"]:
            print(f"error: {out} is not written: it would disagree with {run}.", file=sys.stderr)
            return 1
        parity |= {"artefact": out.name, "sha256": seal.digest(temporary), "versions": certificate.versions()}
        os.replace(temporary, out)
        write_bytes(out.with_name(f"{out.name}.parity.json"), (json.dumps(parity, indent=1) + "\n").encode())
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)
    print(f"{out}  {_bytes(out) / 2**20:.1f} MiB, parity in {out.name}.parity.json")
    return 0


def summary(parity: dict[str, Any]) -> str:
    """A certificate (see `certificate.compare`) in a few lines."""
    miou, tolerance = parity["miou"], parity["tolerance"]
    lines = [f"compared on {parity['images']}"]
    if parity["largest_difference"] is not None:
        lines.append(
            f"  largest difference   {parity['largest_difference']:.2g}  (at most {tolerance['difference']:g})"
        )
    lines.append(
        f"  same class           {100 * parity['agreement']:.3f} %  (at least {100 * tolerance['agreement']:g} %)"
    )
    if miou["run"] is not None:
        change = miou["artefact"] - miou["run"]
        lines.append(f"  mIoU                 {miou['artefact']:.4f}, the run's {miou['run']:.4f} ({change:+.4f})")
    return "\n".join(lines)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not height x width in pixels, such as 512x1024")
    return int(match[1]), int(match[2])


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    sys.exit(main())
