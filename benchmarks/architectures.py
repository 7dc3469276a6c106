"""Trains every architecture for the same short time on CamVid and prints a table: size, cost, speed, score.

python -m benchmarks.architectures --data=CAMVID --weights=WEIGHTS --runs=runs/architectures [--train] [--only=unet]

CAMVID is SegNet's layout of CamVid (480x360), WEIGHTS a MobileNetV2 1.0 of torchvision. With `--train` unfinished runs
are started or resumed; without it the table is made from the finished ones. Protocol: MobileNetV2 with frozen batch
norm, decoders of 128 channels, output stride 16 for the atrous architectures and 32 for the others, crops of 256x256,
batches of 8, 2 epochs of the 367 training images, AdamW, seed 0; scores on the 101 validation images at 480x360. FLOPs
and milliseconds are those of predicting one 256x256 image in float32.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

from seg_jax.runtime import process

if __name__ == "__main__":
    process.tune_malloc()

import jax
import numpy as np

from configs import zoo
from seg_jax import models
from seg_jax.config import Config
from seg_jax.run import pretrained, program
from seg_jax.runtime import sharding

SIZE = (256, 256)
REPEATS = 7
# Atrous architectures at stride 8 would take hours on two cores.
STRIDE_16 = ("deeplabv3", "deeplabv3plus", "danet", "pspnet")
SCRATCH = "unet, random weights"


def overrides(name: str, options: argparse.Namespace) -> dict[str, object]:
    """The fields that a run changes in `configs/zoo.py:NAME,mobilenetv2,camvid`."""
    fields: dict[str, object] = {
        "data.dir": options.data,
        "augment.crop": SIZE,
        "model.channels": 128,
        "model.encoder.output_stride": 16 if name in STRIDE_16 else 0,
        "train.batch_size": 8,
        "train.epochs": 2.0,
        "eval.every_epochs": 0.0,
        "eval.batch_size": 4,
        "optim.warmup_steps": 20,
        "log.tensorboard": False,
    }
    if name != SCRATCH:
        fields |= {
            "model.encoder.weights": options.weights,
            "model.encoder.norm": "frozen",
            "finetune.encoder_lr": 0.25,
        }
    if name == "unet" or name == SCRATCH:
        fields["model.decoder_channels"] = (128, 64, 48, 32)
    return fields


def train(name: str, options: argparse.Namespace) -> None:
    """Runs one training to its end in a separate process."""
    spec = f"configs/zoo.py:{name.split(',')[0]},mobilenetv2,camvid"
    flags = [f"--config.{field}={value}" for field, value in overrides(name, options).items()]
    command = [sys.executable, "-m", "seg_jax.main", f"--config={spec}", f"--workdir={workdir(name, options)}", *flags]
    subprocess.run(command, check=True)


def workdir(name: str, options: argparse.Namespace) -> Path:
    """The run directory of one row."""
    return Path(options.runs) / name.replace(", ", "_").replace(" ", "_")


def row(name: str, options: argparse.Namespace) -> str:
    """One line of the table, in Markdown."""
    config: Config = zoo.get_config(f"{name.split(',')[0]},mobilenetv2,camvid")
    config.update_from_flattened_dict(overrides(name, options))
    functions = program.Functions(pretrained.resolve(config), classes=11, mesh=sharding.make_mesh(1))
    state = functions.init()
    image = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)
    lowered = functions.predict().lower(state.params, state.model_state, image)
    flops = lowered.cost_analysis()["flops"]
    predict = lowered.compile()
    times = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        jax.block_until_ready(predict(state.params, state.model_state, image))
        times.append(time.perf_counter() - begin)
    decoder = models.count(state.params["decoder"]) / 1e6
    size = models.count(state.params) / 1e6
    cells = [name, f"{size:.2f} ({decoder:.2f})", f"{flops / 1e9:.1f}", f"{1000 * min(times[1:]):.0f}"]
    report = workdir(name, options) / "report.json"
    if report.is_file():
        content = json.loads(report.read_text())
        cells += [f"{content['scores']['miou']:.3f}", f"{content['scores']['pixel_accuracy']:.3f}"]
    else:
        cells += ["-", "-"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Trains the requested runs, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CamVid in SegNet's layout")
    parser.add_argument("--weights", required=True, help="MobileNetV2 1.0 of torchvision")
    parser.add_argument("--runs", required=True, help="directory of the runs")
    parser.add_argument("--train", action="store_true", help="start or resume unfinished runs")
    parser.add_argument("--only", default="", help="comma-separated rows to print")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.WARNING)
    names = [*sorted(models.MODELS), SCRATCH]
    if options.only:
        names = [name for name in names if name in options.only.split(",") or name.replace(", ", " ") in options.only]
    if options.train:
        for name in names:
            train(name, options)
    print("| architecture | parameters, M (decoder) | GFLOPs | ms per image | val mIoU | pixel accuracy |")
    print("|---|---|---|---|---|---|")
    for name in names:
        print(row(name, options), flush=True)


if __name__ == "__main__":
    main()
