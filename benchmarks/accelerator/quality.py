"""configs/camvid_fast.py and camvid_fast_pretrained.py, each trained in its part of the minutes that are left.

The learning rate follows a cosine to the end, so the number of steps has to be known at the start: it follows from the
rate of the compiled steps, measured first, or recorded in results/ by an earlier run of the same configuration on such
a device. Should it be too slow all the same, the training stops in time and the best checkpoint so far counts.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.accelerator import page, prepare, record
from benchmarks.accelerator.record import NOT_RUN, Recorder
from seg_jax.config import Config, recipe, to_json
from seg_jax.export import FORMATS, certificate
from seg_jax.export.network import Network
from seg_jax.predict import artefacts
from seg_jax.run import pretrained, program
from seg_jax.run.length import Length
from seg_jax.runtime import sharding
from seg_jax.train.loop import train_and_evaluate

NAMES = ("camvid_fast", "camvid_fast_pretrained")
FILES = ("metrics.jsonl", "curves.png")  # with the weights three of each, that not too many have to travel
WEIGHT_BYTES = 16 * 2**20
EVALUATIONS = 6
UNTUNED, TUNED = 115.0, 80.0  # seconds that everything around the steps takes: compilation, evaluations, pictures
LOOP = 0.9  # of the rate of the bare program
ROUND = 10 * EVALUATIONS  # steps come in multiples: whole programs between evaluations

# Over a configuration for a trial on a CPU: a small network, from random weights, which need no package.
TINY: dict[str, Any] = {
    "model.name": "unet",
    "model.encoder.name": "plain",
    "model.encoder.weights": "",
    "model.encoder.norm": "",
    "model.encoder.width": 4,
    "model.encoder.depth": 2,
    "model.decoder_channels": (),
    "finetune.encoder_lr": 1.0,
    "loss.class_weights": (),
    "model.dtype": "float32",
    "augment.crop": (32, 32),
    "train.batch_size": 4,
    "eval.batch_size": 4,
    "optim.warmup_steps": 10,
}
SYNTHETIC: dict[str, Any] = {"data.source": "synthetic", "data.labels": "", "data.size": (48, 64)}
SYNTHETIC |= {"data.synthetic.train_scenes": 16, "data.synthetic.val_scenes": 8}
TINY_STEPS, TINY_EVALUATIONS = 20, 2


def configuration(name: str, *, tiny: bool, data: Path | None) -> Config:
    """That of a recipe before its length is known; without `data` on drawn scenes."""
    config = recipe(name)
    config.update_from_flattened_dict(
        {**(TINY if tiny else {}), **({"data.dir": str(data)} if data else SYNTHETIC), "train.steps": 0}
    )
    return config


def recorded_rate(name: str, config: Config) -> float | None:
    """Steps a second that results/ knows of this configuration on this kind of device."""
    path = page.RESULTS / page.file_name(jax.devices()[0].device_kind)
    case = record.read(path).get("steps", {}).get("quality", {}).get("cases", {}).get(name, {})
    if case.get("fields") != fields(config):
        return None
    return case.get("steps_per_second") or case.get("assumed_steps_per_second")


def fields(config: Config) -> dict[str, Any]:
    """What the rate depends on, as JSON has it."""
    content = json.loads(to_json(config))
    return {name: content[name] for name in ("augment", "model", "optim")} | {"batch": config.train.batch_size}


def measured_rate(config: Config, size: tuple[int, int], classes: int) -> tuple[float, float]:
    """(steps a second, seconds of compilation) of the program that the training runs, on noise."""
    mesh = sharding.make_mesh(1)
    functions = program.Functions(
        pretrained.resolve(config), classes=classes, mesh=mesh, length=Length(10_000, every=10_000)
    )
    dispatch = config.train.steps_per_dispatch
    begin = time.perf_counter()
    step = functions.train_step(size, steps=dispatch).compile()
    compile_s = time.perf_counter() - begin
    rng = np.random.default_rng(0)
    shape = (config.train.batch_size, *size)
    arrays = {"image": rng.integers(0, 256, (*shape, 3), np.uint8), "label": rng.integers(0, classes, shape, np.uint8)}
    batches = [sharding.place(arrays, mesh)] * dispatch
    state = functions.init()
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        state, metrics = step(state, batches, ())
        jax.block_until_ready((state, metrics))
        times.append(time.perf_counter() - begin)
    return dispatch / float(np.median(times[1:])), compile_s


def length(rate: float, seconds: float) -> int:
    """The number of steps that a training of so many seconds has at this rate."""
    return max(ROUND, int(rate * seconds) // ROUND * ROUND)


@contextmanager
def stopping_at(deadline: float) -> Iterator[None]:
    """Asks the training to stop, as a signal from outside would, once the time is over."""
    timer = threading.Timer(max(0.1, deadline - time.time()), os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def export(workdir: Path, target: Path) -> dict[str, Any]:
    """Writes the best weights as float16 and says how near they are to those of the run.

    Raises:
      RuntimeError: the file is too large to travel.
    """
    network = Network.load(workdir, full_precision=False)
    halves = jax.tree.map(lambda array: np.asarray(array).astype(np.float16), network.weights)
    FORMATS["safetensors"].write(replace(network, weights=halves), target)
    if (size := target.stat().st_size) > WEIGHT_BYTES:
        target.unlink()
        raise RuntimeError(f"the weights have {size} bytes as float16, of {WEIGHT_BYTES} that may travel")
    images = certificate.find_samples(network, workdir)
    compared = certificate.compare(network, artefacts.load(target), images, certificate.RESIZED)
    return {"bytes": size, "parameters": network.metadata["parameters"], "against_run": compared}


def train(
    name: str, result: dict[str, Any], recorder: Recorder, options: Mapping[str, Any], place: Path, *, deadline: float
) -> None:
    """One case, in the folder `place`, until the deadline in seconds of `time.time()`."""
    tiny, out, begin = options["tiny"], Path(options["out"]), time.perf_counter()
    data = prepare.unpack(Path(options["data"]), place / "data") if options["data"] else None
    config = configuration(name, tiny=tiny, data=data)
    result |= {"fields": fields(config), "unpack_s": time.perf_counter() - begin}
    if data is None:
        size, classes = config.data.size, 5
    else:
        height, width = np.load(data / "train_images.npy", mmap_mode="r").shape[1:3]
        size, classes = (height, width), 11
    rate, compile_s = recorded_rate(name, config), 0.0
    result["rate_from"] = "results/" if rate else "measured"
    if rate is None:
        rate, compile_s = measured_rate(config, size, classes)
    # The training compiles its own program, whose schedule has other numbers, evaluates, and draws. What has been
    # measured here has its kernels chosen already.
    overhead = 2.0 if tiny else UNTUNED if compile_s == 0.0 else TUNED
    left = deadline - time.time()
    if left < overhead:
        said = f"{left:.0f} s were left for a training, {overhead:.0f} s go to everything around its steps"
        result |= {"status": NOT_RUN, "error": said, "assumed_steps_per_second": rate, "compile_s": compile_s}
        return
    config.train.steps = min(length(LOOP * rate, left - overhead), TINY_STEPS if tiny else 10**9)
    config.eval.every_steps = config.train.steps // (TINY_EVALUATIONS if tiny else EVALUATIONS)
    result |= {"assumed_steps_per_second": rate, "compile_s": compile_s, "steps": config.train.steps}
    recorder.note()
    workdir, begin = place / "run", time.perf_counter()
    with stopping_at(deadline - (3.0 if tiny else 25.0)):
        state = train_and_evaluate(config, workdir)
    result |= {"train_s": time.perf_counter() - begin, "finished_steps": int(state.step)}
    result |= {"cut_short": int(state.step) < config.train.steps, **course(workdir)}
    for file in FILES:
        if (workdir / file).is_file():
            shutil.copy(workdir / file, out / f"{name}_{file}")
    recorder.note()
    result["weights"] = export(workdir, out / f"{name}.safetensors")


def course(workdir: Path) -> dict[str, Any]:
    """Speed and best scores of a run, which may have been stopped before it wrote a report."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    speeds = [line["train/steps_per_second"] for line in lines if "train/steps_per_second" in line]
    found: dict[str, Any] = {"steps_per_second": float(np.median(speeds)) if speeds else None}
    if (workdir / "report.json").is_file():
        report = json.loads((workdir / "report.json").read_text(encoding="utf-8"))
        found |= {"scores": report["scores"], "best_step": report["protocol"]["step"]}
        found["classes"] = {entry["name"]: entry["iou"] for entry in report["classes"]}
    elif evaluated := [line for line in lines if "val/miou" in line]:
        best = max(evaluated, key=lambda line: line["val/miou"])
        scores = {score: best[f"val/{score}"] for score in ("miou", "pixel_accuracy")}
        found |= {"scores": scores, "best_step": best["step"]}
    if (workdir / "run.json").is_file():
        found["run"] = json.loads((workdir / "run.json").read_text(encoding="utf-8"))
    return found


def run(recorder: Recorder, options: Mapping[str, Any]) -> None:
    """The step: a case for each recipe, with equal parts of the time that is left."""
    names = recorder.plan(list(NAMES))
    for i, name in enumerate(names):
        deadline = time.time() + recorder.left / (len(names) - i)

        def work(result: dict[str, Any], name: str = name, deadline: float = deadline) -> None:
            if not options["data"] and not options["tiny"]:
                result |= {"status": NOT_RUN, "error": "--data names no file of CamVid; --prepare makes it"}
                return
            with tempfile.TemporaryDirectory() as place:
                train(name, result, recorder, options, Path(place), deadline=deadline)

        recorder.case(name, work, needs=5.0)
