"""docs/accelerators.md, from the files in results/: one section for each device."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accelerator import record

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "results"
PAGE = REPOSITORY / "docs" / "accelerators.md"

HEAD = """# On accelerators

Written by `python -m benchmarks.accelerator --page` from the files in `results/`; change those, not this page.

```bash
python -m benchmarks.accelerator --prepare=DIR --data=CAMVID        # here: what has to travel, at most 60 MiB
bash DIR/run.sh --minutes=9 --out=OUT                               # there, in this repository
python -m benchmarks.accelerator --page OUT/accelerator_DEVICE.json # here again
```

The second command needs a machine with JAX and, for the comparison, PyTorch, timm and transformers; no TensorFlow and
no network. Where `ml_collections` is installed, `python -m benchmarks.accelerator --minutes=9 --out=OUT` does the same
without the folder, except for the training, which needs the data. `--only=smoke,train_step` takes some of the steps,
`--tiny` tries everything on a CPU. What each step does is in the heads of the files in `benchmarks/accelerator/`.
"""

NOTHING = """
## Results

Not measured yet. The commands above fill this page.
"""


class PageError(ValueError):
    """A file is not what a run has written; the message says why."""


def file_name(device: str) -> str:
    """The name of the results of a kind of device."""
    return f"accelerator_{re.sub(r'[^A-Za-z0-9]+', '_', device).strip('_')}.json"


def write(found: Sequence[Path] = ()) -> str:
    """Keeps the results in `found`, then writes the page; returns what was done, in words.

    Steps that a file in results/ has, and the new one has not, stay.

    Raises:
      PageError: a file is missing, none of results, or of toy sizes.
    """
    for path in found:
        keep(path)
    PAGE.write_text(render(), encoding="utf-8")
    return f"{PAGE}: {len(list(RESULTS.glob('accelerator_*.json')))} device(s)"


def keep(path: Path) -> None:
    """Puts the steps of one file into results/."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind = content["device"]["kind"]
        steps = content["steps"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PageError(f"{path} has no results of python -m benchmarks.accelerator ({error!r}).") from error
    if content.get("tiny"):
        raise PageError(f"{path} is of toy sizes (--tiny), which say nothing about {kind}. Run it without.")
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / file_name(kind)
    before = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {"steps": {}}
    stamped = {name: {**step, "begun": content["begun"]} for name, step in steps.items()}
    record.write(target, {**content, "steps": {**before["steps"], **stamped}})


def render() -> str:
    """The text of the page."""
    files = sorted(RESULTS.glob("accelerator_*.json"))
    sections = [section(json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return HEAD + ("\n".join(["", *sections]) if sections else NOTHING)


def section(content: Mapping[str, Any]) -> str:
    """What was found on one device."""
    device = content["device"]
    lines = [f"## {device['kind']}", ""]
    smi = f", nvidia-smi: {device['nvidia_smi']}" if device.get("nvidia_smi") else ""
    lines += [f"jax {device['jax']}, Python {device['python']}, {device['cores']} CPU cores{smi}.", ""]
    for name, write_step in WRITERS.items():
        if step := content["steps"].get(name):
            lines += [f"### {name}", "", f"{step.get('begun', content['begun'])} UTC, {step['seconds']:.0f} s.", ""]
            lines += [*write_step(step), ""]
    return "\n".join(lines).rstrip() + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def unfinished(step: Mapping[str, Any]) -> list[str]:
    """Lines for the cases, and parts of cases, that have no figures, with the reasons."""
    lines = [f"- {step['error']}"] if "error" in step else []
    not_run: Counter[str] = Counter()
    for name, case in step["cases"].items():
        if case["status"] == record.NOT_RUN:
            not_run[shortened(case["error"])] += 1
        elif case["status"] != record.OK:
            lines.append(f"- {name}: {case['status']}. {shortened(case.get('error', ''))}".rstrip())
        for part, error in case.items():
            if part.startswith("error_"):
                lines.append(f"- {name}, {part.removeprefix('error_')}: {shortened(error)}")
        if "note" in case:
            lines.append(f"- {name}: {case['note']}")
    lines += [f"- {count} not run: {reason}" for reason, count in not_run.items()]
    return ["", *lines] if lines else []


def shortened(error: str) -> str:
    """The beginning of a message, on one line."""
    return " ".join(error.split())[:300]


def number(value: Any, digits: int = 1, *, unit: str = "") -> str:
    """A figure as text; '-' for none."""
    return f"{value:,.{digits}f}{unit}" if isinstance(value, int | float) else "-"


def smoke(step: Mapping[str, Any]) -> list[str]:
    """Counts, and the largest errors."""
    fine = [case for case in step["cases"].values() if case["status"] == record.OK]
    rows = []
    for dtype in ("float32", "bfloat16"):
        of_type = [case["errors"] for name, case in step["cases"].items() if case in fine and name.endswith(dtype)]
        worst = {name: max((errors[name] for errors in of_type), default=None) for name in ("loss", "logits")}
        rows.append([dtype, str(len(of_type)), *(f"{v:.1e}" if v is not None else "-" for v in worst.values())])
    head = f"{len(fine)} of {len(step['cases'])} cases agree with float32 on the CPU of the machine; float32 at the "
    head += f"precision '{step.get('precision', 'highest')}'. Two steps of each network, the largest relative errors:"
    return [head, "", *table(("type", "networks that agree", "loss", "logits"), rows), *unfinished(step)]


def train_step(step: Mapping[str, Any]) -> list[str]:
    """Rates, memory and profile of each network."""
    rows, profiles = [], []
    for name, case in step["cases"].items():
        if "images_per_second" not in case:
            continue
        rates, mfu, peer = case["images_per_second"], case.get("mfu", {}), case.get("peer", {})
        best = max((rate, key) for key, rate in rates.items() if key != "torch.compile")[1]
        cells = [f"`{name}`", f"{case['size'][0]}x{case['size'][1]}, {case['batch']}"]
        cells += [number(rates.get(key)) for key in ("1 step a program", "10 steps a program", "torch.compile")]
        cells += [number(case.get("ratio", {}).get("best"), 2)]
        cells += [number(100 * mfu[key], unit=" %") if key in mfu else "-" for key in (best, "torch.compile")]
        cells += [number(case["planned_bytes"] / 2**30, 2), number(peer["peak_bytes"] / 2**30, 2) if peer else "-"]
        rows.append([*cells, number(case["compile_s"], 0), number(peer.get("first_step_s"), 0)])
        if profile := case.get("profile"):
            profiles.append([f"`{name}`", *(f"{100 * share:.1f} %" for share in profile["shares"].values())])
    header: tuple[str, ...] = (
        "network",
        "size, batch",
        "images/s",
        "10 steps a program",
        "torch.compile",
        "ratio",
        "MFU",
        "its MFU",
    )
    header += ("peak GiB", "its peak GiB", "compile s", "its first step s")
    lines = table(header, rows)
    if ceilings := step["cases"].get("ceilings", {}):
        flops, rate = ceilings.get("bfloat16_flops_per_second"), ceilings.get("bytes_per_second")
        if flops and rate:
            said = f"A bfloat16 product of 8192x8192 matrices reaches {flops / 1e12:.0f} TFLOP/s here, a copy "
            lines += ["", f"{said}{rate / 1e12:.2f} TB/s. Both sides compiled at the same time."]
    if profiles:
        kinds = next(case["profile"]["shares"] for case in step["cases"].values() if "profile" in case)
        lines += ["", "Where the time of ten steps goes, one step a program:", ""]
        lines += table(("network", *kinds), profiles)
    return [*lines, *unfinished(step)]


def infer(step: Mapping[str, Any]) -> list[str]:
    """Milliseconds of a call."""
    rows = []
    for name, case in step["cases"].items():
        if ms := case.get("ms"):
            ours = ms.get("seg_jax", ms.get("stablehlo", ms.get("onnx")))
            other = ms.get("torch.compile", ms.get("run"))
            rows.append([name, number(ours, 3), number(other, 3), number(other / ours if other else None, 2)])
    head = (
        f"`{step.get('network')}` at {'x'.join(str(side) for side in step.get('size', []))}, milliseconds of a call; "
    )
    head += "artefacts from and to the host, beside the run itself."
    lines = [head, "", *table(("case", "ours", "torch.compile, or the run", "ratio"), rows)]
    if passed := step["cases"].get("StableHLO", {}).get("certificate"):
        said = "passed" if passed["passed"] else "failed"
        lines += ["", f"Certificate of the StableHLO artefact: {said}, {passed['largest_difference']:.1e} at most."]
    return [*lines, *unfinished(step)]


def memory(step: Mapping[str, Any]) -> list[str]:
    """Planned GiB and milliseconds of each program."""
    rows = [
        [name, number(case["planned_bytes"] / 2**30, 2), number(1000 * case["seconds_of_call"])]
        for name, case in step["cases"].items()
        if "seconds_of_call" in case
    ]
    return [*table(("case", "planned GiB", "milliseconds"), rows), *unfinished(step)]


def quality(step: Mapping[str, Any]) -> list[str]:
    """Scores of the training."""
    lines = []
    for name, case in step["cases"].items():
        if scores := case.get("scores"):
            said = f"`configs/{name}.py`: val mIoU {scores['miou']:.4f}, pixel accuracy {scores['pixel_accuracy']:.4f}"
            lines.append(f"{said}, the best of the evaluations, after {case['best_step']} of {case['steps']} steps.")
            facts = f"{number(case.get('steps_per_second'))} steps/s of {case['fields']['batch']} images, "
            lines.append(f"{facts}{case['train_s']:.0f} s with compilation and evaluations.")
    return [*lines, *unfinished(step)]


WRITERS: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "smoke": smoke,
    "train_step": train_step,
    "infer": infer,
    "memory": memory,
    "quality": quality,
}
