"""Result cards, results/NAME.json, and docs/results.md, the table of all of them.

python -m benchmarks.cards [RUN ...] [--name=NAME]

RUN is a finished run directory, for the report that training wrote, or its RUN/eval/SPLIT-STEP. Each card has the
configuration, seed, digests of the examples, machine, versions, seconds, memory, and scores with their interval: all
of it as the run recorded it. Without a RUN the page alone is written.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
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
OTHERS = "accelerator_"  # how files of other benchmarks in results/ begin
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
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name) or name.startswith(OTHERS):
        raise CardError(
            f"--name={name}: a name has lower-case letters, digits and _.-, and does not begin with {OTHERS}."
        )
    path = RESULTS / f"{name}.json"
    write_bytes(path, (json.dumps(card(Run.load(source), name), indent=1, sort_keys=True) + "\n").encode())
    return path


def cards() -> list[dict[str, Any]]:
    """All cards, by name.

    Raises:
      CardError: one is damaged, or of another form.
    """
    paths = sorted(path for path in RESULTS.glob("*.json") if not path.name.startswith(OTHERS))
    return [
        documents.parse(path.read_bytes(), FORM, name=path, error=CardError, cure="make it again from its run")
        for path in paths
    ]


def render(found: Sequence[Mapping[str, Any]]) -> str:
    """The page of these cards."""
    if not found:
        return f"{HEAD}\n{NOTHING}"
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(row, found)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{HEAD}\n{table}\n"


def row(made: Mapping[str, Any]) -> list[str]:
    """The cells of one card."""
    config, cost, scores, interval = made["configuration"], made["cost"], made["scores"], made["interval"]
    processor = f"{cost['processor']['cores']} cores of {cost['processor']['model']}"
    machine = processor if cost["devices"].endswith(" cpu") else cost["devices"]
    miou = _score(scores.get("miou"))
    if interval and interval["low"] is not None and interval["high"] is not None:
        miou += f" ({interval['low']:.3f} to {interval['high']:.3f})"
    network = f"{config['model.name']} on {config['model.encoder.name']}, {cost['parameters'] / 1e6:.2f} M"
    cells = [made["name"], network, config["data.source"], f"{made['split']}, {made['images']} images"]
    cells += [str(made["seed"]), f"{cost['steps']:,d}", f"{cost['seconds'] / 60:.1f} min"]
    cells += [f"{cost['peak_memory_bytes'] / 2**20:,.0f} MiB", machine, miou, _score(scores.get("pixel_accuracy"))]
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
        write_bytes(PAGE, render(cards()).encode())
    except (SegJaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
