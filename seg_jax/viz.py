"""Pictures: panels of image, truth, prediction and error; overlays; contact sheets; curves and other plots."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seg_jax.data.images import resize, resize_label
from seg_jax.data.labels import IGNORE, LabelTable
from seg_jax.runtime.quoting import plotted

RIGHT, WRONG, IGNORED = (40, 40, 40), (235, 64, 52), (255, 255, 255)  # of the error picture
TITLES = ("image", "truth", "prediction", "error")
GAP = 4  # pixels between pictures
MAX_SIDE = 2048  # pixels of the longer side of a picture in a panel
PAPER = 300  # dots an inch of the plots that go into papers
MAX_NUMBERS = 40  # classes up to which a confusion matrix has its shares as numbers
Series = Sequence[tuple[int, float]]  # (step, value)
WORDS = {"lr": "learning rate", "grad_norm": "gradient norm", "miou": "mean IoU", "pixel_accuracy": "pixel accuracy"}


def overlay(image: np.ndarray, label: np.ndarray, table: LabelTable, *, opacity: float = 0.55) -> np.ndarray:
    """The class colours over a photograph with `opacity` in 0..1, uint8 [h w 3]; ignored pixels show the photograph."""
    colors = table.colorize(label).astype(np.float32)
    mixed = np.round((1 - opacity) * image + opacity * colors).astype(np.uint8)
    return np.where((label == IGNORE)[..., None], image, mixed)


def error_map(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """uint8 [h w 3]: wrong pixels red, right ones dark, ignored ones white."""
    picture = np.where((truth == prediction)[..., None], RIGHT, WRONG).astype(np.uint8)
    return np.where((truth == IGNORE)[..., None], np.array(IGNORED, np.uint8), picture)


def panel(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, table: LabelTable) -> np.ndarray:
    """image | truth | prediction | error side by side, uint8 [h 4w+gaps 3]; large ones are reduced to `MAX_SIDE`."""
    scale = min(1.0, MAX_SIDE / max(truth.shape))
    size = (max(1, round(scale * truth.shape[0])), max(1, round(scale * truth.shape[1])))
    (image, truth), prediction = resize(image, truth, size), resize_label(prediction, size)
    return row([image, table.colorize(truth), table.colorize(prediction), error_map(truth, prediction)])


def parts(picture: np.ndarray) -> list[np.ndarray]:
    """Cuts a `panel` into its four pictures: image, truth, prediction, error."""
    width = (picture.shape[1] - 3 * GAP) // 4
    return [picture[:, i * (width + GAP) : i * (width + GAP) + width] for i in range(4)]


def row(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one height side by side, uint8 [h w+gaps 3]."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([p for picture in pictures for p in (picture, gap)][:-1], axis=1)


def sheet(panels: Sequence[np.ndarray], table: LabelTable, titles: Sequence[str] = TITLES) -> np.ndarray:
    """Panels stacked under a line of titles, with legends of classes and error picture below; uint8 [h w 3]."""
    width = panels[0].shape[1]
    size = max(12, width // 64)
    font = _font(size)
    head = Image.new("RGB", (width, size + 10), "white")
    draw = ImageDraw.Draw(head)
    for i, title in enumerate(titles):
        draw.text((i * width // len(titles) + 4, 3), title, fill="black", font=font)
    gap = np.full((4, width, 3), 255, np.uint8)
    rows = [np.asarray(head)]
    for picture in panels:
        rows += [picture, gap]
    return np.concatenate([*rows, *_keys(table, width, error="error" in titles)], axis=0)


def _keys(table: LabelTable, width: int, *, error: bool = False) -> list[np.ndarray]:
    """The legend of all classes and of ignored pixels, and that of the error picture."""
    classes = [*zip(table.names, table.colors, strict=True), ("ignored", table.ignored_color)]
    errors = [("error: right", RIGHT), ("wrong", WRONG), ("ignored", IGNORED)]
    return [squares(entries, width) for entries in (classes, errors)[: 1 + error]]


def contacts(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], table: LabelTable, *, height: int = 160, columns: int = 2
) -> np.ndarray:
    """A grid of photographs beside their coloured masks, with the legend at the bottom; uint8 [h w 3].

    Args:
      pairs: images uint8 [h w 3] and labels uint8 [h w], of any size.
      table: names and colours of the classes.
      height: height of every picture, in pixels.
      columns: number of pairs in a row.
    """
    cells = []
    for image, label in pairs:
        width = max(1, round(height * image.shape[1] / image.shape[0]))
        photo = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        mask = Image.fromarray(table.colorize(label)).resize((width, height), Image.Resampling.NEAREST)
        cells.append(np.concatenate([np.asarray(photo), np.asarray(mask)], axis=1))
    columns = min(columns, len(cells))
    widest = max(cell.shape[1] for cell in cells)
    gap = 4
    grid = np.full((-(-len(cells) // columns) * (height + gap), columns * (widest + gap), 3), 255, np.uint8)
    for i, cell in enumerate(cells):
        y, x = i // columns * (height + gap), i % columns * (widest + gap)
        grid[y : y + height, x : x + cell.shape[1]] = cell
    return np.concatenate([grid, *_keys(table, grid.shape[1])], axis=0)


def legend(table: LabelTable, classes: Sequence[int], width: int) -> np.ndarray:
    """Coloured squares with class names, wrapped at `width` pixels; uint8 [h width 3]."""
    return squares([(table.names[i], table.colors[i]) for i in classes], width)


def squares(entries: Sequence[tuple[str, tuple[int, int, int]]], width: int) -> np.ndarray:
    """Squares of a colour, each with its name, wrapped at `width` pixels; uint8 [h width 3]."""
    size = max(12, min(20, width // 40))
    font = _font(size)
    line, x, y, positions = size + 8, 6, 4, []
    for name, _ in entries:
        needed = line + int(font.getlength(name)) + 12
        if x > 6 and x + needed > width:
            x, y = 6, y + line
        positions.append((x, y))
        x += needed
    picture = Image.new("RGB", (width, y + line + 4), "white")
    draw = ImageDraw.Draw(picture)
    for (name, color), (x, y) in zip(entries, positions, strict=True):
        draw.rectangle((x, y, x + line - 8, y + line - 8), fill=color, outline="black")
        draw.text((x + line - 2, y - 2), name, fill="black", font=font)
    return np.asarray(picture)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow built without FreeType has one size only
        raise RuntimeError("Pillow lacks FreeType support; install a binary wheel of Pillow.")
    return font


def curves(*runs: Mapping[str, Series], labels: Sequence[str] = (), epoch: float = 0.0, form: str = "png") -> bytes:
    """A picture of (step, value) series: a plot for each quantity, with a line for each run and split that has it.

    Args:
      runs: for each run, {name: series}; 'train/miou' and 'val/miou' are lines of one plot, 'mean IoU'.
      labels: names of the runs for the legend, where there are several.
      epoch: steps in an epoch, for a second axis; 0: none.
      form: 'png' or 'pdf'.
    """
    from matplotlib.figure import Figure

    splits: dict[str, list[str]] = {}  # by quantity
    for name in dict.fromkeys(name for series in runs for name in series):
        split, _, kind = name.rpartition("/")
        splits.setdefault(kind, []).append(split)
    rows, columns = -(-len(splits) // 3), min(3, len(splits))
    figure = Figure(figsize=(3.4 * columns, 2.6 * rows), layout="constrained")
    for i, (kind, parts) in enumerate(splits.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        several = len(parts) > 1
        for run, series in enumerate(runs):
            for j, split in enumerate(parts):
                points = series.get(f"{split}/{kind}" if split else kind, ())
                label, color = plotted(labels[run]) if labels else "", f"C{run if labels else j}"
                label = ", ".join(filter(None, [label, split if several else ""]))
                line = "--" if labels and several and split == "train" else "-"
                marker = "." if len(points) < 40 else None
                steps, values = np.reshape(points, (-1, 2)).T
                axes.plot(steps, values, color, linestyle=line, linewidth=1.2, marker=marker, label=label)
        if labels or several:
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
    return _picture(figure, form=form, dpi=PAPER)


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
