"""How long exported networks take for an image, each format in its own runtime, beside the same network in PyTorch.

python -m benchmarks.export [--peer=PYTHON] [--only=unet_resnet34] [--formats=onnx,stablehlo] [--sizes=256,512]

A call is bytes [1 h w 3] -> probabilities [1 h w k], with weights that were drawn. Formats and the peer take turns, so
that what else the machine does hits all of them; the best call of all turns counts. `ratio` is the peer's time by ours.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from seg_jax.runtime import process

if __name__ == "__main__":
    process.quiet()
    process.tune_malloc(process.HUGE_PAGES)

import numpy as np

from benchmarks import cases, train_step
from seg_jax.data.labels import LabelTable
from seg_jax.export import FORMATS
from seg_jax.export.network import Network
from seg_jax.predict import artefacts
from seg_jax.run import pretrained, program
from seg_jax.runtime import sharding

TURNS, CALLS = 8, 5


def make_network(case: cases.Case, *, size: tuple[int, int] | None, dtype: str = "float32") -> Network:
    """One that the peer has too, with initial weights; `size` is that of formats that have a fixed one."""
    config = cases.configuration(case, batch=1)
    config.model.dtype = dtype
    mesh = sharding.make_mesh(1)
    functions = program.Functions(pretrained.resolve(config), classes=cases.CLASSES, mesh=mesh)
    state = functions.init()
    weights = sharding.to_host({"params": state.params, "model_state": state.model_state}, mesh)
    table = LabelTable(tuple(f"class{i}" for i in range(cases.CLASSES)))
    return Network.of(functions, weights, table, step=0, trained_size=case.size, size=size)


def seconds(artefact: artefacts.Artefact, image: np.ndarray, calls: int) -> list[float]:
    """Of each of a few calls."""
    times = []
    for _ in range(calls):
        begin = time.perf_counter()
        artefact(image)
        times.append(time.perf_counter() - begin)
    return times


def measure(
    name: str, *, formats: list[str], side: int, python: str = "", turns: int = TURNS, calls: int = CALLS
) -> dict[str, Any]:
    """A row of the table: milliseconds of each format and of the peer, and the bytes of the files."""
    case = cases.TOY if name == "toy" else cases.CASES[name]
    networks = {fixed: make_network(case, size=(side, side) if fixed else None) for fixed in (False, True)}
    image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    row: dict[str, Any] = {"name": name, "side": side, "bytes": {}}
    with tempfile.TemporaryDirectory() as place:
        loaded = {}
        for form in formats:
            path = Path(place) / form
            FORMATS[form].write(networks[FORMATS[form].fixed], path)
            files = path.rglob("*") if path.is_dir() else [path]
            row["bytes"][form] = sum(file.stat().st_size for file in files if file.is_file())
            loaded[form] = artefacts.load(path)
            loaded[form](image)  # compiles
        times: dict[str, list[float]] = {form: [] for form in formats}
        with contextlib.ExitStack() as stack:
            if python:
                asked = {**case.peer(), "height": side, "width": side, "batch": 1, "dtype": "float32"}
                asked |= {"output": "probabilities", "device": "cpu", "threads": train_step.CORES}
                peer = stack.enter_context(train_step.peer_process(python, "peer_inference.py", asked))
                hello = train_step.answer(peer)
                train_step.same_network(networks[False].metadata["parameters"], hello)
                times["peer"], row["peer"] = [], hello["versions"]
            for _ in range(turns):
                for form, artefact in loaded.items():
                    times[form] += seconds(artefact, image, calls)
                if python:
                    times["peer"] += train_step.ask(peer, calls)
    row["ms"] = {form: 1000 * min(each) for form, each in times.items()}
    return row


def line(row: dict[str, Any]) -> str:
    """A row as it is printed."""
    peer = row["ms"].get("peer")
    cells = [f"{row['ms'][form]:.1f}" + (f"  x {peer / row['ms'][form]:.2f}" if peer else "") for form in row["bytes"]]
    last = f"{peer:>10.1f}" if peer else f"{'-':>10}"
    return f"{row['name']:<28}{row['side']:>6}" + "".join(f"{cell:>20}" for cell in cells) + last


def main() -> None:
    """Measures and prints."""
    names = [name for name in cases.CASES if name.startswith("unet")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default="", help="an interpreter with torch and segmentation_models_pytorch")
    parser.add_argument("--only", default=",".join(names), help=f"networks: {', '.join(cases.CASES)}")
    parser.add_argument("--formats", default="onnx,stablehlo", help=f"of {', '.join(FORMATS)}")
    parser.add_argument("--sizes", default="256,512", help="sides of the images")
    options = parser.parse_args()
    formats, sizes = options.formats.split(","), [int(side) for side in options.sizes.split(",")]
    print(
        f"{train_step.CORES} cores, {os.uname().machine}; milliseconds an image, batch 1, and the peer's time by ours"
    )
    print(f"{'network':<28}{'side':>6}" + "".join(f"{form:>20}" for form in formats) + f"{'peer':>10}")
    for name in options.only.split(","):
        for side in sizes:
            row = measure(name, formats=formats, side=side, python=options.peer)
            print(line(row), flush=True)
        print("  " + ", ".join(f"{form} {size / 2**20:.1f} MiB" for form, size in row["bytes"].items()))
    if options.peer:
        print(f"peer: {row['peer']}")


if __name__ == "__main__":
    main()
