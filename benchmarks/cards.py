"""Result cards, results/*.json: what is measured, for the tables of docs/results.md and README.

python -m benchmarks.cards [RUN ...] [--name=NAME]
python -m benchmarks.cards --comparison=DIR --name=NAME

RUN is a finished run directory, for the report that training wrote, or its RUN/eval/SPLIT-STEP. Each card has the
configuration, seed, digests of the examples, machine, versions, seconds, memory, and scores with their interval: all
of it as the run recorded it. DIR is what `seg-jax compare` or `seg-jax report` wrote. results/time_NAME.json are by
`benchmarks.time_to_quality`. The tables are written from all of them; without arguments that is all.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.pages import CardError, filled
from seg_jax.config import defaults, flatten
from seg_jax.metrics import plain
from seg_jax.report.comparison import Run
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime import documents
from seg_jax.runtime.documents import number
from seg_jax.runtime.errors import SegJaxError
from seg_jax.runtime.files import write_bytes

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "results"
PAGES = (REPOSITORY / "docs" / "results.md", REPOSITORY / "README.md")
OTHERS, TIMES, COMPARISONS = ("accelerator_", "bench_"), "time_", "compare_"  # how other files in results/ begin
NEEDED = ("steps", "seconds", "devices", "parameters", "peak_memory_bytes", "processor", "versions")

INTERVAL_FORM = ({"low": (number, None), "high": (number, None)}, None)
FORM: dict[str, Any] = {
    "name": str,
    "configuration": dict,
    "seed": int,
    "examples": {str: str},
    "split": str,
    "images": int,
    "step": int,
    "scores": {str: (number, None)},
    "interval": INTERVAL_FORM,
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

COMPARISON_FORM = {
    "name": str,
    "runs": [
        {"name": str, "scores": {str: (number, None)}, "interval": INTERVAL_FORM, "classes": {str: (number, None)}}
        | {"split": str, "images": int, "step": int, "cost": FORM["cost"]}
    ],
    "paired": {str: {"difference": number, "low": number, "high": number, "p": number}},
}


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


def comparison(place: Path, name: str) -> dict[str, Any]:
    """What is kept of the comparison in the directory `place`, JSON values.

    Raises:
      CardError: there is none, it is damaged, two of its runs have one name, or one is not finished.
    """
    if not (path := place / "report.json").is_file():
        raise CardError(f"{path} does not exist. --comparison is the directory that seg-jax compare or report wrote.")
    form = {"runs": [{"name": str, "scores": dict, "iou": dict, "protocol": dict, "facts": dict}], "paired": dict}
    found = documents.parse(path.read_bytes(), form, name=path, error=CardError, cure="write it again")
    runs = []
    for run in found["runs"]:
        if missing := [key for key in NEEDED if key not in run["facts"]]:
            raise CardError(f"{path}: {run['name']} has no {', '.join(missing)}. Let it finish, and compare again.")
        of_run = {"cost": {key: run["facts"][key] for key in NEEDED}, "classes": run["iou"]}
        of_run |= {key: run["protocol"][key] for key in ("split", "images", "step")}
        runs.append({"name": _last(run["name"]), "scores": run["scores"], "interval": run["interval"]} | of_run)
    names = [run["name"] for run in runs]
    if repeated := sorted({one for one in names if names.count(one) > 1}):
        raise CardError(f"{path}: several runs are called {', '.join(repeated)}. Give their directories other names.")
    return {"name": name, "runs": runs, "paired": {_last(key): value for key, value in found["paired"].items()}}


def _last(name: str) -> str:
    """A run's name without the directories that it is in: they say nothing to others."""
    return name.rpartition("/")[2]


def keep(content: Callable[[str], Mapping[str, Any]], name: str, *, prefix: str = "") -> Path:
    """Writes what `content` makes of `name` to results/NAME.json, with `prefix` before NAME."""
    reserved = (*OTHERS, TIMES, COMPARISONS)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name) or name.startswith(reserved):
        raise CardError(
            f"--name={name}: a name has lower-case letters, digits and _.-, and does not begin with "
            f"{' or '.join(reserved)}."
        )
    path = RESULTS / f"{prefix}{name}.json"
    write_bytes(path, (json.dumps(content(name), indent=1, sort_keys=True) + "\n").encode())
    return path


def cards() -> list[dict[str, Any]]:
    """All cards of runs, by name.

    Raises:
      CardError: one is damaged, or of another form.
    """
    others = (*OTHERS, TIMES, COMPARISONS)
    return _read((path for path in RESULTS.glob("*.json") if not path.name.startswith(others)), FORM)


def times() -> list[dict[str, Any]]:
    """What `benchmarks.time_to_quality` has kept, by name; raises as `cards`."""
    return _read(RESULTS.glob(f"{TIMES}*.json"), TIME_FORM)


def comparisons() -> dict[str, dict[str, Any]]:
    """The comparisons by name; raises as `cards`."""
    return {one["name"]: one for one in _read(RESULTS.glob(f"{COMPARISONS}*.json"), COMPARISON_FORM)}


def _read(paths: Iterable[Path], form: Any) -> list[dict[str, Any]]:
    return [
        documents.parse(path.read_bytes(), form, name=path, error=CardError, cure="make it again from its run")
        for path in sorted(paths)
    ]


def published(page: str) -> str:
    """The text of a page with the tables of `results/`; raises as `cards` and `filled`."""
    return filled(page, cards=cards(), times=times(), comparisons=comparisons())


def publish() -> None:
    """Writes the tables of `PAGES`; raises as `published`."""
    for path in PAGES:
        write_bytes(path, published(path.read_text(encoding="utf-8")).encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cards", description=__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="finished run directory, or RUN/eval/SPLIT-STEP")
    parser.add_argument("--comparison", type=Path, metavar="DIR", help="of seg-jax compare or report; needs a --name")
    parser.add_argument("--name", help="of the card of a single RUN (default: the run directory's)")
    options = parser.parse_args(arguments)
    try:
        if options.name and len(options.runs) + bool(options.comparison) != 1:
            raise CardError("--name is that of one card. Give one RUN or --comparison with it.")
        if options.comparison:
            print(keep(partial(comparison, options.comparison), options.name or "", prefix=COMPARISONS))
        for run in options.runs:
            print(keep(partial(card, Run.load(run)), options.name or Path(run).resolve().name))
        publish()
    except (SegJaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(*PAGES, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
