"""Plots: curves, learning rates, the confusion matrix, the distribution of the classes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from seg_jax.data.labels import LabelTable
from seg_jax.runtime.quoting import plotted

PAPER = 300  # dots an inch of the plots that go into papers
LEGEND_WIDTH, LEGEND_LINE = 50, 0.16  # characters below a plot, and inches of a line of them
MAX_NUMBERS = 40  # classes up to which a confusion matrix has its shares as numbers
CLASS_COLUMNS = 5  # plots of single classes side by side
CLASS_DOTS = 150  # dots an inch of these
Series = Sequence[tuple[int, float]]  # (step, value)
WORDS = {"lr": "learning rate", "grad_norm": "gradient norm", "miou": "mean IoU", "pixel_accuracy": "pixel accuracy"}


def curves(
    *runs: Mapping[str, Series], labels: Sequence[str] = (), epoch: float = 0.0, best: int = 0, form: str = "png"
) -> bytes:
    """A picture of (step, value) series: a plot for each quantity, with a line for each run and split that has it.

    Args:
      runs: for each run, {name: series}; 'train/miou' and 'val/miou' are lines of one plot, 'mean IoU'.
      labels: names of the runs for the legend, where there are several.
      epoch: steps in an epoch, for a second axis; 0: none.
      best: the step of the best evaluation, for a line in every plot; 0: none.
      form: 'png' or 'pdf'.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    splits: dict[str, list[str]] = {}  # by quantity
    for name in dict.fromkeys(name for series in runs for name in series):
        split, _, kind = name.rpartition("/")
        splits.setdefault(kind, []).append(split)
    rows, columns = -(-len(splits) // 3), min(3, len(splits))
    # Names of runs may be long and many: their lines of text have a place of their own, below all plots.
    names = ["\n".join(map(plotted, textwrap.wrap(label, LEGEND_WIDTH * columns))) for label in labels]
    height = 2.6 * rows + LEGEND_LINE * sum(name.count("\n") + 1 for name in names)
    figure = Figure(figsize=(3.4 * columns, height), layout="constrained")
    for i, (kind, parts) in enumerate(splits.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        several = len(parts) > 1
        for run, series in enumerate(runs):
            for j, split in enumerate(parts):
                points = series.get(f"{split}/{kind}" if split else kind, ())
                line = "--" if labels and several and split == "train" else "-"
                label = split if several and run == 0 else ""
                _line(axes, points, color=f"C{run if labels else j}", linestyle=line, label=label)
        _mark(axes, best)
        if several or best:
            axes.legend(fontsize=7)
        axes.set_title(WORDS.get(kind, kind) + ("" if several or not parts[0] else f" ({parts[0]})"), fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        if epoch:
            above = axes.secondary_xaxis(
                "top", functions=(partial(np.multiply, 1 / epoch), partial(np.multiply, epoch))
            )
            above.set_xlabel("epoch", fontsize=8)
            above.tick_params(labelsize=7)
    if labels:
        lines = [Line2D([], [], color=f"C{run}", label=name) for run, name in enumerate(names)]
        figure.legend(handles=lines, loc="outside lower left", fontsize=7)
    return _picture(figure, form=form, dpi=PAPER)


def class_curves(splits: Mapping[str, Mapping[str, Series]], names: Sequence[str], *, best: int = 0) -> bytes:
    """PNG of the IoU of every class: a small plot for each, 0 to 1, with a line for each split.

    Args:
      splits: {split: {class: series}}.
      names: of the classes, in the order of the plots.
      best: the step of the best evaluation, for a line in every plot; 0: none.
    """
    from matplotlib.figure import Figure

    columns = min(CLASS_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(1.7 * columns + 0.4, 1.5 * rows + 0.5), layout="constrained")
    # The tick labels of plots that share their axes stand at the edge: with 34 classes they were most of the time.
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for axes, name in zip(grid, names, strict=False):
        for i, (split, series) in enumerate(splits.items()):
            _line(axes, series.get(name, ()), color=f"C{i}", label=split)
        _mark(axes, best)
        axes.set_title(plotted(name), fontsize=8)
        axes.set_ylim(0, 1)
        axes.tick_params(labelsize=6)
        axes.grid(alpha=0.3)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    for axes in grid[max(0, len(names) - columns) : len(names)]:  # with no plot below them
        axes.tick_params(labelbottom=True)
    figure.supxlabel("step", fontsize=8)
    figure.supylabel("IoU", fontsize=8)
    lines, labels = grid[0].get_legend_handles_labels()
    figure.legend(lines, labels, fontsize=7, ncols=len(labels), loc="outside upper right")
    return _picture(figure, dpi=CLASS_DOTS)


def _line(axes: Any, points: Series, **style: Any) -> None:
    steps, values = np.reshape(points, (-1, 2)).T
    axes.plot(steps, values, linewidth=1.2, marker="." if len(points) < 40 else None, **style)


def _mark(axes: Any, best: int) -> None:
    if best:
        axes.axvline(best, color="0.4", linestyle=":", linewidth=1, label=f"best, step {best:,d}")


def rates(lr: Sequence[float], loss: Sequence[float], smoothed: Sequence[float], suggestion: float | None) -> bytes:
    """PNG of the loss over the learning rate, with the suggested rate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.semilogx(lr, loss, linewidth=0.8, alpha=0.4, label="loss of the batch")
    axes.semilogx(lr, smoothed, linewidth=1.6, label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color="tab:green", linestyle="--", label=f"falls fastest: {suggestion:.2g}")
    axes.set_xlabel("learning rate")
    axes.grid(alpha=0.3)
    axes.legend()
    return _picture(figure)


def confusion(matrix: np.ndarray, names: Sequence[str], *, form: str = "png") -> bytes:
    """A picture ('png' or 'pdf') of a confusion matrix [k k], each row as shares of its true class."""
    from matplotlib.figure import Figure

    truth = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, truth, out=np.zeros(matrix.shape), where=truth > 0)
    k, names = len(names), list(map(plotted, names))
    cell = min(0.34, 18 / k)  # inches; the picture has at most 6,100 x 5,800 pixels
    side, size = max(2.6, cell * k + 1.4), min(7, 60 * cell)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(k), names, rotation=90, fontsize=size)
    axes.set_yticks(range(k), names, fontsize=size)
    axes.set_xlabel("predicted class", fontsize=9)
    axes.set_ylabel("true class", fontsize=9)
    if k <= MAX_NUMBERS:
        for i, j in np.ndindex(k, k):
            if shares[i, j] >= 0.005:
                color = "white" if shares[i, j] > 0.5 else "black"
                axes.text(j, i, f"{shares[i, j]:.2f}", ha="center", va="center", fontsize=6, color=color)
    bar = figure.colorbar(image, shrink=0.8)
    bar.set_label("share of the true class's pixels", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return _picture(figure, form=form, dpi=PAPER)


def distribution(shares: Mapping[str, Sequence[float]], table: LabelTable) -> bytes:
    """PNG of each class's share of the pixels in each split, on a logarithmic scale.

    Args:
      shares: split -> share (0..1) of each class.
      table: names and colours of the classes.
    """
    from matplotlib.figure import Figure

    k, thickness = len(table), 0.8 / len(shares)
    figure = Figure(figsize=(8, 1.5 + 0.25 * k * max(1, len(shares) / 1.5)), layout="constrained")
    axes = figure.add_subplot()
    colors = [tuple(c / 255 for c in color) for color in table.colors]
    for i, (split, values) in enumerate(shares.items()):
        positions = [j + (i + 0.5) * thickness - 0.4 for j in range(k)]
        bars = axes.barh(positions, values, thickness, color=colors, edgecolor="black", linewidth=0.5)
        axes.bar_label(bars, [f"{split} {value:.2%}" for value in values], padding=3, fontsize=7)
    axes.set_yticks(range(k), map(plotted, table.names))
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(min((v for values in shares.values() for v in values if v), default=0.1) / 2, 4)
    axes.set_xlabel("share of the labelled pixels")
    return _picture(figure)


def _picture(figure: Any, *, form: str = "png", dpi: int = 100) -> bytes:
    """The figure as a file; a PDF has TrueType fonts, as publishers demand, and no date: equal data are equal files."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(buffer, format=form, dpi=dpi, metadata={"CreationDate": None} if form == "pdf" else None)
    return buffer.getvalue()
