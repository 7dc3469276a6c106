"""Pictures: panels of image, truth, prediction and error; overlays; contact sheets; curves and other plots."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seg_jax.data.images import resize, resize_label
from seg_jax.data.labels import IGNORE, LabelTable

RIGHT, WRONG = (40, 40, 40), (235, 64, 52)
TITLES = ("image", "truth", "prediction", "error")
GAP = 4  # pixels between pictures
MAX_SIDE = 2048  # pixels of the longer side of a picture in a panel


def overlay(image: np.ndarray, label: np.ndarray, table: LabelTable, *, opacity: float = 0.55) -> np.ndarray:
    """The class colours over a photograph with `opacity` in 0..1, uint8 [h w 3]; ignored pixels show the photograph."""
    colors = table.colorize(label).astype(np.float32)
    mixed = np.round((1 - opacity) * image + opacity * colors).astype(np.uint8)
    return np.where((label == IGNORE)[..., None], image, mixed)


def error_map(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """uint8 [h w 3]: wrong pixels red, right ones dark, ignored ones white."""
    picture = np.where((truth == prediction)[..., None], RIGHT, WRONG).astype(np.uint8)
    return np.where((truth == IGNORE)[..., None], np.uint8(255), picture)


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
    """Panels stacked under a line of titles, with the legend at the bottom; uint8 [h w 3]."""
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
    return np.concatenate([*rows, legend(table, range(len(table)), width)], axis=0)


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
    return np.concatenate([grid, legend(table, range(len(table)), grid.shape[1])], axis=0)


def legend(table: LabelTable, classes: Sequence[int], width: int) -> np.ndarray:
    """Coloured squares with class names, wrapped at `width` pixels; uint8 [h width 3]."""
    size = max(12, min(20, width // 40))
    font = _font(size)
    line, x, y, positions = size + 8, 6, 4, []
    for i in classes:
        needed = line + int(font.getlength(table.names[i])) + 12
        if x > 6 and x + needed > width:
            x, y = 6, y + line
        positions.append((i, x, y))
        x += needed
    picture = Image.new("RGB", (width, y + line + 4), "white")
    draw = ImageDraw.Draw(picture)
    for i, x, y in positions:
        draw.rectangle((x, y, x + line - 8, y + line - 8), fill=table.colors[i], outline="black")
        draw.text((x + line - 2, y - 2), table.names[i], fill="black", font=font)
    return np.asarray(picture)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow built without FreeType has one size only
        raise RuntimeError("Pillow lacks FreeType support; install a binary wheel of Pillow.")
    return font


def curves(*runs: Mapping[str, Sequence[tuple[int, float]]], labels: Sequence[str] = ()) -> bytes:
    """PNG of (step, value) series: one small plot for each name, with one line for each run that has it.

    Args:
      runs: for each run, {name: series}.
      labels: names of the runs for the legend, where there are several.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for series in runs for name in series))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(5 * columns, 3.2 * rows), layout="constrained")
    for i, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, i + 1)
        for run, series in enumerate(runs):
            points = series.get(name, ())
            label, color = labels[run] if labels else None, f"C{run}"
            marker = "." if len(points) < 40 else None
            axes.plot(
                *(zip(*points, strict=True) if points else ((), ())), color, linewidth=1.2, marker=marker, label=label
            )
        if labels:
            axes.legend(fontsize=7)
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    return _png(figure)


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
    return _png(figure)


def confusion(matrix: np.ndarray, names: Sequence[str]) -> bytes:
    """PNG of a confusion matrix [k k], each row as shares of its true class."""
    from matplotlib.figure import Figure

    truth = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, truth, out=np.zeros(matrix.shape), where=truth > 0)
    k = len(names)
    side = max(5.0, 0.55 * k + 2)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(k), names, rotation=90)
    axes.set_yticks(range(k), names)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    if k <= 40:
        for i, j in np.ndindex(k, k):
            if shares[i, j] >= 0.005:
                color = "white" if shares[i, j] > 0.5 else "black"
                axes.text(j, i, f"{shares[i, j]:.2f}", ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    return _png(figure)


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
    axes.set_yticks(range(k), table.names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(min((v for values in shares.values() for v in values if v), default=0.1) / 2, 4)
    axes.set_xlabel("share of the labelled pixels")
    return _png(figure)


def _png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
