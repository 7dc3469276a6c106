"""Result cards, results/NAME.json, and docs/results.md, the table of all of them.

python -m benchmarks.cards [RUN ...] [--name=NAME]

RUN is a finished run directory, for the report that training wrote, or its RUN/eval/SPLIT-STEP. Each card has the
configuration, seed, digests of the examples, machine, versions, seconds, memory, and scores with their interval: all
of it as the run recorded it. results/time_NAME.json are those of `benchmarks.time_to_quality`. The page, and README's
table, are written from all of them; without a RUN that is all.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_jax.config import defaults, flatten
from seg_jax.metrics import plain
from seg_jax.report.comparison import Run
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime import documents
from seg_jax.runtime.documents import number
from seg_jax.runtime.errors import SegJaxError
from seg_jax.runtime.files import write_bytes
from seg_jax.runtime.quoting import markdown

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "results"
PAGE = REPOSITORY / "docs" / "results.md"
README = REPOSITORY / "README.md"
MARKS = ("<!-- cards: python -m benchmarks.cards -->\n", "<!-- end of cards -->\n")  # around README's table
OTHERS, TIMES = ("accelerator_", "bench_"), "time_"  # how files of other benchmarks in results/ begin
NEEDED = ("steps", "seconds", "devices", "parameters", "peak_memory_bytes", "processor", "versions")

FORM = {
    "name": str,
    "configuration": dict,
    "seed": int,
    "examples": {str: str},
    "split": str,
    "images": int,
    "step": int,
    "scores": {str: (number, None)},
    "interval": ({"low": (number, None), "high": (number, None)}, None),
    "classes": {str: (number, None)},
    "cost": {
        "steps": int,
        "seconds": number,
        "devices": str,
        "parameters": int,
        "peak_memory_bytes": int,
        "processor": {"model": str, "cores": (int, None)},
        "versions": {str: (str, None)},
    },
}

TIME_FORM = {
    "name": str,
    "configuration": dict,
    "seed": int,
    "metric": str,
    "targets": [{"target": number, "step": (int, None), "seconds": (number, None), "compile_s": (number, None)}],
    "cost": {"devices": str, "processor": {"model": str, "cores": (int, None)}},
}

HEAD = """# Results

Written by `python -m benchmarks.cards` from the cards in `results/`; change those, not this page. A card has everything
that its run recorded: configuration, seed, digests of the examples, machine, versions, scores of every class.

```bash
python -m benchmarks.cards RUN --name=NAME      # a card from a finished run, or from RUN/eval/SPLIT-STEP
```

Time is that of the whole run, with compilation and evaluations. Memory is what XLA plans for a training step on a
device. The interval is the 95 % bootstrap interval over the images. Scores follow the
[protocol](evaluation.md#protocol).
"""
NOTHING = "There are no cards yet.\n"
TIME_HEAD = """## Seconds to a quality

Without compilation, which `results/time_NAME.json` has too.
`python -m benchmarks.time_to_quality --data=CAMVID --name=NAME` makes one.
"""
BALANCE = """## Class balance

What the literature does about rare classes is one setting each: class weights by a
[scheme](data.md#inspect-lint-browse-stats-prepare) such as ENet's or median frequency, crops around rare classes, the
hardest pixels alone (OHEM), the IoU itself beside cross-entropy (Lovász). This command trains each of them beside equal
weights and compares them on the test split:

```bash
seg-jax compare --config=camvid_unet --config.data.dir=CAMVID --split=test --workdir=runs/balance \\
    --over="loss.class_weights=(),('inverse_log',),('median_frequency',),('effective_number',)" \\
    --run="loss.class_weights=() augment.crop_balance=0.5" \\
    --run="loss.class_weights=() loss.weights.ohem=1.0 loss.weights.cross_entropy=0.0" \\
    --run="loss.class_weights=() loss.weights.lovasz=1.0"
```

Its figures are above once their cards are in `results/`.
"""
SHORT = ("result", "network", "data", "time", "mIoU")  # in README
COLUMNS = ("result", "network", "data", "split", "seed", "steps", "time", "memory", "machine", "mIoU", "accuracy")


class CardError(SegJaxError, ValueError):
    """A run or a card lacks something; the message says what, and what to do."""


def card(run: Run, name: str) -> dict[str, Any]:
    """The card of a finished run, JSON values.

    Fields that name places on a disk are left out: they say nothing to others.

    Raises:
      CardError: the run is not finished, or of a version that did not record its machine.
      SegJaxError: its configuration or checkpoints cannot be read.
    """
    if missing := [key for key in NEEDED if key not in run.facts]:
        raise CardError(
            f"{run.name}: its run.json has no {', '.join(missing)}. Let the run finish; one of an earlier version has "
            "to be trained again."
        )
    directory = RunDirectory(run.root)
    config = flatten(directory.config())
    changed = {field: value for field, value in config.items() if value != defaults()[field]}
    places = {field for field, value in changed.items() if isinstance(value, str) and re.search(r"[/\\~]", value)}
    protocol = run.report["protocol"]
    made = {
        "name": name,
        "configuration": {field: value for field, value in changed.items() if field not in places},
        "seed": config["seed"],
        "examples": dict(directory.checkpoints().newest_meta().get("examples", {})),
        "split": protocol["split"],
        "images": protocol["images"],
        "step": protocol["step"],
        "scores": run.report["scores"],
        "interval": run.report.get("interval"),
        "classes": run.iou,
        "cost": {key: run.facts[key] for key in NEEDED},
    }
    made["configuration"] |= {field: config[field] for field in ("model.name", "model.encoder.name", "data.source")}
    return plain(made)


def keep(source: str, name: str) -> Path:
    """Writes the card of a run to results/NAME.json."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name) or name.startswith((*OTHERS, TIMES)):
        raise CardError(
            f"--name={name}: a name has lower-case letters, digits and _.-, and does not begin with "
            f"{' or '.join((*OTHERS, TIMES))}."
        )
    path = RESULTS / f"{name}.json"
    write_bytes(path, (json.dumps(card(Run.load(source), name), indent=1, sort_keys=True) + "\n").encode())
    return path


def cards() -> list[dict[str, Any]]:
    """All cards, by name.

    Raises:
      CardError: one is damaged, or of another form.
    """
    paths = [path for path in RESULTS.glob("*.json") if not path.name.startswith((*OTHERS, TIMES))]
    return _read(paths, FORM)


def times() -> list[dict[str, Any]]:
    """What `benchmarks.time_to_quality` has kept, by name; raises as `cards`."""
    return _read(RESULTS.glob(f"{TIMES}*.json"), TIME_FORM)


def _read(paths: Iterable[Path], form: Any) -> list[dict[str, Any]]:
    return [
        documents.parse(path.read_bytes(), form, name=path, error=CardError, cure="make it again from its run")
        for path in sorted(paths)
    ]


def render(found: Sequence[Mapping[str, Any]], timed: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page of these cards, and of these times."""
    parts = [HEAD, _table(COLUMNS, map(row, found)) if found else NOTHING]
    if timed:
        targets = sorted({each["target"] for one in timed for each in one["targets"]})
        titles = ["result", "machine", "metric", *(f"{target:g}" for target in targets)]
        parts += [TIME_HEAD, _table(titles, (time_row(one, targets) for one in timed))]
    return "\n".join([*parts, BALANCE])


def render_short(found: Sequence[Mapping[str, Any]]) -> str:
    """README's table of these cards; '' without any."""
    chosen = [COLUMNS.index(title) for title in SHORT]
    return _table(SHORT, ([row(one)[index] for index in chosen] for one in found)) if found else ""


def with_table(readme: str, table: str) -> str:
    """README's text with this table between its marks.

    Raises:
      CardError: there are no marks.
    """
    begin, end = readme.find(MARKS[0]), readme.find(MARKS[1])
    if not 0 <= begin < end:
        raise CardError(f"{README} lacks the lines {MARKS[0].strip()!r} and {MARKS[1].strip()!r}. Add them.")
    return readme[: begin + len(MARKS[0])] + table + readme[end:]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def time_row(made: Mapping[str, Any], targets: Sequence[float]) -> list[str]:
    """The cells of one measured training."""
    seconds = {each["target"]: each["seconds"] for each in made["targets"]}
    cells = [made["name"], machine(made["cost"]), made["metric"]]
    cells += ["-" if seconds.get(target) is None else f"{seconds[target]:,.0f}" for target in targets]
    return [markdown(cell) for cell in cells]


def machine(cost: Mapping[str, Any]) -> str:
    """The processor of a training on a CPU, or its devices."""
    processor = f"{cost['processor']['cores']} cores of {cost['processor']['model']}"
    return processor if cost["devices"].endswith(" cpu") else cost["devices"]


def row(made: Mapping[str, Any]) -> list[str]:
    """The cells of one card."""
    config, cost, scores, interval = made["configuration"], made["cost"], made["scores"], made["interval"]
    miou = _score(scores.get("miou"))
    if interval and interval["low"] is not None and interval["high"] is not None:
        miou += f" ({interval['low']:.3f} to {interval['high']:.3f})"
    network = f"{config['model.name']} on {config['model.encoder.name']}, {cost['parameters'] / 1e6:.2f} M"
    cells = [made["name"], network, config["data.source"], f"{made['split']}, {made['images']} images"]
    cells += [str(made["seed"]), f"{cost['steps']:,d}", f"{cost['seconds'] / 60:.1f} min"]
    cells += [
        f"{cost['peak_memory_bytes'] / 2**20:,.0f} MiB",
        machine(cost),
        miou,
        _score(scores.get("pixel_accuracy")),
    ]
    return [markdown(cell) for cell in cells]


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cards", description=__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="finished run directory, or RUN/eval/SPLIT-STEP")
    parser.add_argument("--name", help="of the card of a single RUN (default: the run directory's)")
    options = parser.parse_args(arguments)
    try:
        if options.name and len(options.runs) != 1:
            raise CardError("--name is that of one card. Give one RUN with it.")
        for run in options.runs:
            print(keep(run, options.name or Path(run).resolve().name))
        write_bytes(PAGE, render(cards(), times()).encode())
        write_bytes(README, with_table(README.read_text(encoding="utf-8"), render_short(cards())).encode())
    except (SegJaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
