"""The tables of measured results in README and docs/results.md, from the cards in `results/`.

A page has its own text, and where a table belongs these two lines, between which `filled` writes it:

    <!-- table: NAME -->
    <!-- end of table -->

NAME is a key of `TABLES`, or the name of a comparison.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from seg_jax.runtime.errors import SegJaxError
from seg_jax.runtime.quoting import markdown

BLOCK = re.compile(r"(<!-- table: (.+?) -->\n)(?:.*?\n)?(<!-- end of table -->\n)", re.DOTALL)
NOTHING = "Not measured yet.\n"
COLUMNS = ("result", "network", "data", "split", "seed", "steps", "time", "memory", "machine", "mIoU", "accuracy")
SHORT = ("result", "network", "time", "mIoU")

Card = Mapping[str, Any]


class CardError(SegJaxError, ValueError):
    """A run, a card or a page lacks something; the message says what, and what to do."""


def filled(page: str, *, cards: Sequence[Card], times: Sequence[Card], comparisons: Mapping[str, Card]) -> str:
    """The page with its tables.

    Args:
      page: Markdown with blocks, see above.
      cards, times: as `benchmarks.cards` reads them.
      comparisons: by name.

    Raises:
      CardError: a block is open, or the page has none.
    """
    opened, blocks = page.count("<!-- table: "), list(BLOCK.finditer(page))
    if not blocks or len(blocks) != opened:
        raise CardError(
            f"the page has {opened} lines '<!-- table: NAME -->', {len(blocks)} of them with a line "
            "'<!-- end of table -->'. Give each its end."
        )

    def table(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        if name in TABLES:
            made = TABLES[name](times if name == "times" else cards)
        else:
            made = compared(comparisons[name]) if name in comparisons else ""
        return begin + (made or NOTHING) + end

    return BLOCK.sub(table, page)


def whole(cards: Sequence[Card]) -> str:
    """All columns of all cards; '' without any."""
    return _table(COLUMNS, map(row, cards)) if cards else ""


def short(cards: Sequence[Card]) -> str:
    """The columns of README."""
    chosen = [COLUMNS.index(title) for title in SHORT]
    return _table(SHORT, ([row(one)[index] for index in chosen] for one in cards)) if cards else ""


def timed(times: Sequence[Card]) -> str:
    """Seconds until each quality."""
    targets = sorted({each["target"] for one in times for each in one["targets"]})
    titles = ["result", "machine", "metric", *(f"{target:g}" for target in targets)]
    return _table(titles, (time_row(one, targets) for one in times)) if times else ""


TABLES: Mapping[str, Callable[[Sequence[Card]], str]] = {"cards": whole, "cards in short": short, "times": timed}


def compared(comparison: Card) -> str:
    """Runs against the first of them."""
    rows = []
    for run in comparison["runs"]:
        paired = comparison["paired"].get(run["name"])
        difference = f"{paired['difference']:+.3f} ({paired['low']:+.3f} to {paired['high']:+.3f})" if paired else "-"
        known = {name: iou for name, iou in run["classes"].items() if iou is not None}
        worst = min(known, key=known.__getitem__, default="-")
        cells = [run["name"], _scored(run), difference, f"{worst} {_score(known.get(worst))}"]
        rows.append([markdown(cell) for cell in (*cells, f"{run['cost']['seconds'] / 60:.1f} min")])
    return _table(["run", "mIoU", "minus the first", "worst class", "time"], rows)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def time_row(made: Card, targets: Sequence[float]) -> list[str]:
    """The cells of one measured training."""
    seconds = {each["target"]: each["seconds"] for each in made["targets"]}
    cells = [made["name"], machine(made["cost"]), made["metric"]]
    cells += ["-" if seconds.get(target) is None else f"{seconds[target]:,.0f}" for target in targets]
    return [markdown(cell) for cell in cells]


def machine(cost: Mapping[str, Any]) -> str:
    """The processor of a training on a CPU, or its devices."""
    processor = f"{cost['processor']['cores']} cores of {cost['processor']['model']}"
    return processor if cost["devices"].endswith(" cpu") else cost["devices"]


def row(made: Card) -> list[str]:
    """The cells of one card."""
    config, cost = made["configuration"], made["cost"]
    network = f"{config['model.name']} on {config['model.encoder.name']}, {cost['parameters'] / 1e6:.2f} M"
    data = config.get("data.labels") or config["data.source"]  # a folder may hold anything
    cells = [made["name"], network, data, f"{made['split']}, {made['images']} images"]
    cells += [str(made["seed"]), f"{cost['steps']:,d}", f"{cost['seconds'] / 60:.1f} min"]
    cells += [
        f"{cost['peak_memory_bytes'] / 2**20:,.0f} MiB",
        machine(cost),
        _scored(made),
        _score(made["scores"].get("pixel_accuracy")),
    ]
    return [markdown(cell) for cell in cells]


def _scored(made: Card) -> str:
    """mIoU, with its interval where there is one."""
    miou, interval = _score(made["scores"].get("miou")), made["interval"]
    if interval and interval["low"] is not None and interval["high"] is not None:
        miou += f" ({interval['low']:.3f} to {interval['high']:.3f})"
    return miou


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
