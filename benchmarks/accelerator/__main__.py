"""Everything that is to be known about an accelerator, in the minutes that one has it: correctness, speed, a training.

    python -m benchmarks.accelerator --minutes=9 --out=DIR [--data=ARRAYS] [--only=STEP,...] [--peer=PYTHON]
    python -m benchmarks.accelerator --prepare=DIR --data=CAMVID
    python -m benchmarks.accelerator --page [RESULTS ...]

The first runs five steps, one after the other, each in a process of its own and with a share of the time:

- smoke: every family of encoders and every decoder, a training step in float32 and bfloat16 at the output strides that
  the network has, augmentation, losses, confusion matrix and distance maps, all against the CPU of the same machine
- train_step: the training step beside PyTorch with torch.compile, with one and ten steps a program, and a profile
- infer: prediction beside the same, exported artefacts, ONNX Runtime
- memory: a training step of 150 classes and evaluation of 1024x2048, whole and in parts
- quality: configs/camvid_fast.py and configs/camvid_fast_pretrained.py in the minutes that are left, half each

While a step runs its results are in OUT/STEP.json, then in OUT/accelerator_DEVICE.json; a failure is recorded and the
next one runs. It needs no TensorFlow and no network. --prepare makes a folder of what has to travel to a machine
without one: data, wheels, and run.sh, which is started in this repository as `bash DIR/run.sh --minutes=9 --out=OUT`.
--page keeps the RESULTS of such runs, OUT/accelerator_DEVICE.json, in results/, and writes docs/accelerators.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.accelerator import page, prepare, record, supervisor
from benchmarks.accelerator.child import STEPS
from seg_jax.runtime import process

# Shares of the time. What a step leaves over goes to those after it.
SHARES = {"smoke": 4, "train_step": 8, "infer": 3, "memory": 3, "quality": 8}
RESERVE = 8.0  # seconds for the end
# Of smoke: looking for the fastest kernels takes most of the compilation of a network that takes two small steps.
UNTUNED = "--xla_gpu_autotune_level=0 --xla_gpu_experimental_enable_fusion_autotuner=false"
LOG_BYTES = 4 * 2**20  # what is kept of the log
LOG = "accelerator.log"


def environment(step: str) -> dict[str, str]:
    """That of a step."""
    own = {**os.environ, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    if process.has_accelerator():
        # The CPU beside the GPU is what results are compared with.
        own.setdefault("JAX_PLATFORMS", "cuda,cpu")
        # The peer needs its part of a GPU's memory.
        own.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        if step == "smoke":
            own["XLA_FLAGS"] = f"{own.get('XLA_FLAGS', '')} {UNTUNED}".strip()
    return own


def interpreter(peer: str) -> str:
    """The peer's Python: the one that was named, or this one, where it has PyTorch; '' for none."""
    return peer or (sys.executable if importlib.util.find_spec("torch") else "")


def run(options: argparse.Namespace) -> int:
    """Runs the steps; returns 0 if all came to an end without a failure."""
    begin = time.time()
    stop = begin + 60 * options.minutes - RESERVE
    out = Path(options.out).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    steps = [step for step in STEPS if step in options.only]
    given: dict[str, Any] = {
        "tiny": options.tiny,
        "out": str(out),
        "data": options.data,
        "peer": interpreter(options.peer),
        "accelerator": process.has_accelerator(),
    }
    results: dict[str, Any] = {"tiny": options.tiny, "minutes": options.minutes, "steps": {}}
    results["begun"] = time.strftime("%Y-%m-%d %H:%M", time.gmtime(begin))
    target: Path | None = None
    with (out / LOG).open("ab") as log:
        for i, step in enumerate(steps):
            share = SHARES[step] / sum(SHARES[later] for later in steps[i:])
            deadline = time.time() + max(5.0, (stop - time.time()) * share)
            print(f"{step}: {deadline - time.time():.0f} s at most", flush=True)
            found = supervisor.run_step(
                step,
                out / f"{step}.json",
                given,
                deadline=deadline,
                log=log,
                environment=environment(step),
            )
            results["steps"][step] = {key: value for key, value in found.items() if key not in ("running", "planned")}
            device = found.get("device", {}).get("kind") or (target and results["device"]["kind"])
            if device:
                results.setdefault("device", found.get("device"))
                target = out / page.file_name(device)
                record.write(target, results)
                (out / f"{step}.json").unlink()
            print(summary(step, found), flush=True)
    shorten(out / LOG)
    print(f"{time.time() - begin:.0f} s; {target or out}")
    return int(any(bad(found) for found in results["steps"].values()))


def bad(found: dict[str, Any]) -> bool:
    """Whether something in a step failed; what was left out for lack of time did not."""
    statuses = {case["status"] for case in found["cases"].values()}
    return "error" in found or bool(statuses & {record.WRONG, record.FAILED, record.CRASHED})


def summary(step: str, found: dict[str, Any]) -> str:
    """What became of a step, in a few lines."""
    counts = {status: 0 for status in record.STATUSES}
    lines = []
    for name, case in found["cases"].items():
        counts[case["status"]] += 1
        if case["status"] in (record.WRONG, record.FAILED, record.CRASHED, record.TIMED_OUT):
            lines.append(f"  {case['status']}: {name}: {case.get('error', '')[:200]}")
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "no result"
    lines += [f"  {found['error']}"] if "error" in found else []
    return "\n".join([f"{step}: {said}, {found['seconds']:.0f} s", *lines])


def shorten(log: Path) -> None:
    """Leaves the first and the last part of a log that is too long to travel."""
    content = log.read_bytes()
    if len(content) > LOG_BYTES:
        half = LOG_BYTES // 2
        log.write_bytes(content[:half] + b"\n... left out ...\n" + content[-half:])


def parse() -> argparse.Namespace:
    """The flags; ends the program where they do not fit."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accelerator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything; %(default)s")
    parser.add_argument("--out", default="", help="folder for at most eight files")
    parser.add_argument("--data", default="", help="CamVid: with --prepare SegNet's folders, else the file it made")
    parser.add_argument("--only", default=",".join(STEPS), help="steps; %(default)s")
    parser.add_argument("--peer", default="", help="an interpreter with torch; default: this one, where it has it")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, to try the whole on a CPU")
    parser.add_argument("--prepare", default="", help="folder for what has to travel")
    parser.add_argument("--page", action="store_true", help="write docs/accelerators.md from results/")
    parser.add_argument("results", nargs="*", help="with --page: results to keep first")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := sorted(set(options.only) - set(STEPS)):
        parser.error(f"--only={','.join(unknown)}: the steps are {', '.join(STEPS)}")
    if sum((bool(options.out), bool(options.prepare), options.page)) != 1:
        parser.error("one of --out=DIR, --prepare=DIR and --page is needed")
    if options.results and not options.page:
        parser.error(f"{' '.join(options.results)}: results belong to --page")
    if options.minutes <= 0:
        parser.error(f"--minutes={options.minutes}: use a number above 0")
    if options.prepare and not options.data:
        parser.error("--prepare needs --data=CAMVID, CamVid in SegNet's folders")
    if options.data and not options.prepare and not Path(options.data).is_file():
        parser.error(f"--data={options.data} is not a file; --prepare makes it")
    return options


def main() -> int:
    """Runs, prepares, or writes the page."""
    options = parse()
    # The time limit of whoever started this ends the steps too.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.prepare:
            print(prepare.prepare(Path(options.data), Path(options.prepare)))
            return 0
        if options.page:
            print(page.write([Path(name) for name in options.results]))
            return 0
        return run(options)
    except (prepare.PrepareError, page.PageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
