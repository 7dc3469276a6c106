"""All benchmarks of speed and memory as one table of ratios, and results/bench_MACHINE.json.

python -m benchmarks [--peer=PYTHON] [--data=CAMVID] [--only=NAME,...] [--isa=avx2] [--quick] [--out=DIR]

A ratio above 1 means that ours is faster or needs less. PYTHON is an interpreter with torch,
segmentation_models_pytorch, albumentations and OpenCV, CAMVID SegNet's layout of CamVid; what needs one that is not
given is left out, and said. --quick tries everything that needs neither on small arrays: it shows that the benchmarks
run, and its figures mean nothing. MACHINE is the processor or the accelerator.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seg_jax.runtime import process

if __name__ == "__main__":
    process.quiet()
    process.tune_malloc()

import jax

from benchmarks import augment, cards, cases, classes, export, input_pipeline, label_decode, layers, train_step
from benchmarks.table import ISAS, Row, limit_isa
from seg_jax.runtime import machine
from seg_jax.runtime.files import write_bytes


def of_layers(options: argparse.Namespace) -> Iterator[Row]:
    """Our formulations against XLA's own operations."""
    return layers.rows(quick=options.quick)


def of_augment(options: argparse.Namespace) -> Iterator[Row]:
    """Augmentation against JAX's general resampler."""
    return augment.rows(quick=options.quick)


def of_label_decode(options: argparse.Namespace) -> Iterator[Row]:
    """Colour masks to classes."""
    return label_decode.rows(quick=options.quick) if _has("tensorflow") else iter(())


def of_classes(options: argparse.Namespace) -> Iterator[Row]:
    """Memory with many classes."""
    return classes.rows(quick=options.quick)


def of_export(options: argparse.Namespace) -> Iterator[Row]:
    """A run directory as JAX computes it against its ONNX export."""
    if not _has("onnxruntime") or not _has("onnx"):
        return
    for name in ["toy"] if options.quick else ["unet_resnet34", "unet_mobilenetv2"]:
        side = cases.TOY.size[0] if options.quick else 256
        turns = {"turns": 1, "calls": 1} if options.quick else {}
        row = export.measure(name, formats=["onnx", "safetensors"], side=side, python=options.peer, **turns)
        for other, than in (("safetensors", "the run itself by JAX"), ("peer", row.get("peer", ""))):
            if other in row["ms"]:
                yield Row("export", f"{row['name']}, ONNX", row["ms"]["onnx"], row["ms"][other], than, "ms")


def of_train_step(options: argparse.Namespace) -> Iterator[Row]:
    """The training step against PyTorch."""
    on_cpu = jax.default_backend() == "cpu"
    names = ["unet_resnet34", "unet_mobilenetv2"] if on_cpu else list(cases.CASES)
    batch, steps = (4, 4) if on_cpu else (16, 30)
    if options.quick:
        names, batch, steps = ["toy"], 2, 1
    for name in names if options.peer else ():
        layout = train_step.LAYOUTS[not on_cpu]
        row = train_step.measure(name, batch=batch, steps=steps, python=options.peer, layout=layout)
        peer = row["peer"]
        yield Row("train_step", row["name"], row["rate"], peer["rate"], peer["versions"], "images/s")


def of_input_pipeline(options: argparse.Namespace) -> Iterator[Row]:
    """Reading and augmenting against PyTorch's."""
    return input_pipeline.rows(options.data, options.peer) if options.data and options.peer else iter(())


BENCHMARKS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "layers": of_layers,
    "augment": of_augment,
    "label_decode": of_label_decode,
    "classes": of_classes,
    "export": of_export,
    "train_step": of_train_step,
    "input_pipeline": of_input_pipeline,
}


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def record(rows: Sequence[Row], *, isa: str) -> dict[str, Any]:
    """The JSON content of results/bench_MACHINE.json."""
    return {
        "device": jax.devices()[0].device_kind,
        "processor": machine.processor(),
        "isa": isa,
        "versions": {name: machine.version(name) for name in ("jax", "jaxlib", "numpy", "onnxruntime")},
        "rows": [asdict(row) | {"ratio": row.ratio} for row in rows],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and writes; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--peer", default="", help="an interpreter with torch and segmentation_models_pytorch")
    parser.add_argument("--data", default="", help="CamVid in SegNet's layout")
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="comma-separated; default: %(default)s")
    parser.add_argument("--isa", choices=ISAS, default="native", help="instructions of both sides; %(default)s")
    parser.add_argument("--quick", action="store_true", help="only whether they run")
    parser.add_argument("--out", type=Path, default=cards.RESULTS, help="folder of the file; %(default)s")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        parser.error(f"--only={','.join(unknown)}: the benchmarks are {', '.join(BENCHMARKS)}")
    limit_isa(options.isa)
    print(f"{'benchmark':<16}{'':<30}{'ours':>12}{'other':>12} {'':<10}{'ratio':>7}  other")
    rows: list[Row] = []
    for name in names:
        before = len(rows)
        for row in BENCHMARKS[name](options):
            rows.append(row)
            print(row, flush=True)
        if len(rows) == before:
            print(f"{name:<16}left out: it needs --peer, --data or a package that is not there")
    content = record(rows, isa=options.isa)
    on_cpu = jax.default_backend() == "cpu"
    kind = content["processor"]["model"] if on_cpu else content["device"]
    path = options.out / f"bench_{re.sub('[^a-z0-9]+', '_', f'{kind} {options.isa}'.lower()).strip('_')}.json"
    if not options.quick:
        write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
