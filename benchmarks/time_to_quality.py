"""Seconds until a training reaches a quality, compilation apart.

python -m benchmarks.time_to_quality --data=DIR [--config=RECIPE] [--targets=0.60,0.65,0.70,0.75] [--name=NAME]
    [--workdir=DIR] [--config.GROUP.FIELD=VALUE ...]

Trains the recipe from its first step (without --config camvid_fast on an accelerator, camvid_cpu on a CPU) and prints
when the validation score, mIoU unless `checkpoint.metric` says otherwise, first was at least each target. A score is
known at the end of an evaluation, so targets are met no more precisely than `eval.every_steps` allows. The clock starts
when data and network begin to be read, and runs through evaluations, pictures and checkpoints. What JAX spent on
tracing and compiling until then is told apart: a second start has it in the cache.

--name keeps the figures as results/time_NAME.json, with configuration, seed and machine; `python -m benchmarks.cards`
shows them in docs/results.md.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seg_jax.runtime import process

if __name__ == "__main__":
    process.tune_malloc()
    process.quiet()
    process.use_compilation_cache()

import jax

from seg_jax.config import checked, defaults, flatten, with_fields
from seg_jax.config import flags as config_flags
from seg_jax.report.comparison import Run
from seg_jax.run import log
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime.errors import SegJaxError
from seg_jax.runtime.files import write_bytes
from seg_jax.train.loop import train_and_evaluate

RESULTS = Path(__file__).resolve().parents[1] / "results"
TARGETS = "0.60,0.65,0.70,0.75"
COMPILING = "/jax/core/compile/"  # how the events of tracing, lowering and compiling begin

Spans = list[tuple[float, float]]  # (begin, end) in seconds since 1970


class MeasurementError(SegJaxError, ValueError):
    """What was asked for cannot be measured; the message says why, and what to do."""


@contextmanager
def compiling() -> Iterator[Spans]:
    """The spans of time in which JAX traced, lowered or compiled inside of the block."""
    spans: Spans = []

    def note(event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith(COMPILING):
            spans.append(((now := time.time()) - duration_secs, now))

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield spans
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def covered(spans: Spans, *, begin: float, until: float) -> float:
    """Seconds from `begin` to `until` that lie in any of the spans; those that overlap count once."""
    total, reached = 0.0, begin
    for start, end in sorted(spans):
        start, end = max(start, reached), min(end, until)
        total += max(end - start, 0.0)
        reached = max(reached, end)
    return total


def reached(
    lines: Sequence[Mapping[str, Any]], entry: str, targets: Sequence[float], spans: Spans, *, begin: float
) -> list[dict[str, Any]]:
    """For each target {target, step, seconds, compile_s}: when the score was first at least that; None for never.

    Args:
      lines: of metrics.jsonl.
      entry: of the score, 'val/miou'.
      targets: scores.
      spans: in which JAX compiled.
      begin: of the training, in seconds since 1970.
    """
    rows, scored = [], [line for line in lines if line.get(entry) is not None]
    for target in targets:
        first = next((line for line in scored if line[entry] >= target), None)
        row: dict[str, Any] = {"target": target, "step": None, "seconds": None, "compile_s": None}
        if first is not None:
            compile_s = covered(spans, begin=begin, until=first["time"])
            row |= {"step": first["step"], "seconds": first["time"] - begin - compile_s, "compile_s": compile_s}
        rows.append(row)
    return rows


def measure(config: Any, workdir: Path, targets: Sequence[float]) -> dict[str, Any]:
    """Trains and says when; the figures and what they are of, as JSON values.

    Raises:
      MeasurementError: there is a run in `workdir` already, or a lower score is the better one.
      SegJaxError: the training cannot be.
    """
    run = RunDirectory(workdir)
    if run.has_checkpoints:
        raise MeasurementError(f"{run} holds a run, and the time before its start is unknown. Use a new --workdir.")
    if config.checkpoint.metric == "loss":
        raise MeasurementError("config.checkpoint.metric = 'loss' falls. Use --config.checkpoint.metric=miou.")
    entry = f"{config.data.val_split}/{config.checkpoint.metric}"
    begin = time.time()
    with compiling() as spans:
        train_and_evaluate(config, workdir)
    seconds = time.time() - begin
    rows = reached(log.read(workdir), entry, targets, spans, begin=begin)
    done, recorded = Run.load(str(workdir)), flatten(run.config())
    changed = {field: value for field, value in recorded.items() if value != defaults()[field]}
    return {
        "configuration": {f: v for f, v in changed.items() if not (isinstance(v, str) and re.search(r"[/\\~]", v))},
        "seed": recorded["seed"],
        "metric": entry,
        "targets": rows,
        "best": done.report["scores"][config.checkpoint.metric],
        "compile_s": covered(spans, begin=begin, until=begin + seconds),
        "cost": {key: done.facts[key] for key in ("steps", "seconds", "devices", "processor", "versions")},
    }


def table(measured: Mapping[str, Any]) -> str:
    """The figures for people."""
    cost = measured["cost"]
    lines = [
        f"{cost['steps']} steps on {cost['devices']} in {cost['seconds']:.0f} s, {measured['compile_s']:.0f} s of "
        f"compilation; best {measured['metric']} {measured['best']:.3f}",
        f"{'target':>8}{'seconds':>10}{'compilation':>13}{'step':>8}",
    ]
    for row in measured["targets"]:
        if row["step"] is None:
            lines.append(f"{row['target']:>8.2f}{'not reached':>31}")
        else:
            lines.append(f"{row['target']:>8.2f}{row['seconds']:>10.1f}{row['compile_s']:>13.1f}{row['step']:>8}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.time_to_quality", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--data", default="", metavar="DIR", help="config.data.dir")
    parser.add_argument("--targets", default=TARGETS, help="scores, with commas between them (default: %(default)s)")
    parser.add_argument(
        "--workdir", type=Path, metavar="DIR", help="keeps the run (default: a directory that is removed)"
    )
    parser.add_argument("--name", default="", help="keeps the figures as results/time_NAME.json")
    options, rest = parser.parse_known_args(arguments)
    if not any(text.partition("=")[0] in ("--config", "-config") for text in rest):
        rest = [f"--config={'camvid_fast' if process.has_accelerator() else 'camvid_cpu'}", *rest]
    try:
        if not re.fullmatch(r"[a-z0-9_.-]*", options.name):
            raise MeasurementError(f"--name={options.name}: a name has lower-case letters, digits and _.-.")
        try:
            targets = sorted(float(text) for text in options.targets.split(","))
        except ValueError as error:
            raise MeasurementError(f"--targets={options.targets}: they are numbers, such as {TARGETS}.") from error
        draft, unknown = config_flags.read(rest)
        if unknown:
            raise MeasurementError(f"unknown argument {unknown[0]!r}. Fields are --config.GROUP.FIELD=VALUE.")
        config = checked(draft)
        if options.data:
            config = with_fields(config, {"data.dir": options.data})
        with tempfile.TemporaryDirectory() as place:
            measured = measure(config, options.workdir or Path(place) / "run", targets)
        if options.name:
            text = json.dumps({"name": options.name, **measured}, indent=1, sort_keys=True) + "\n"
            write_bytes(RESULTS / f"time_{options.name}.json", text.encode())
    except (SegJaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
