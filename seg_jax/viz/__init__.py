"""Pictures: panels of image, truth, prediction and error; overlays; contact sheets. Plots are those of `plots`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seg_jax.data.images import pictured, resize, resize_label
from seg_jax.data.labels import LabelTable, ignored_in
from seg_jax.viz.plots import class_curves, confusion, curves, distribution, rates

__all__ = [
    "class_curves",
    "confusion",
    "contacts",
    "curves",
    "distribution",
    "error_map",
    "legend",
    "overlay",
    "panel",
    "parts",
    "rates",
    "row",
    "sheet",
    "squares",
]

RIGHT, WRONG, IGNORED = (40, 40, 40), (235, 64, 52), (255, 255, 255)  # of the error picture
TITLES = ("image", "truth", "prediction", "error")
GAP = 4  # pixels between pictures
MAX_SIDE = 2048  # pixels of the longer side of a picture in a panel


def overlay(image: np.ndarray, label: np.ndarray, table: LabelTable, *, opacity: float = 0.55) -> np.ndarray:
    """The class colours over a photograph with `opacity` in 0..1, uint8 [h w 3]; ignored pixels show the photograph."""
    image, colors = pictured(image), table.colorize(label).astype(np.float32)
    mixed = np.round((1 - opacity) * image + opacity * colors).astype(np.uint8)
    return np.where((label == ignored_in(label))[..., None], image, mixed)


def error_map(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """uint8 [h w 3]: wrong pixels red, right ones dark, ignored ones white."""
    picture = np.where((truth == prediction)[..., None], RIGHT, WRONG).astype(np.uint8)
    return np.where((truth == ignored_in(truth))[..., None], np.array(IGNORED, np.uint8), picture)


def panel(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, table: LabelTable) -> np.ndarray:
    """image | truth | prediction | error side by side, uint8 [h 4w+gaps 3]; large ones are reduced to `MAX_SIDE`."""
    scale = min(1.0, MAX_SIDE / max(truth.shape))
    size = (max(1, round(scale * truth.shape[0])), max(1, round(scale * truth.shape[1])))
    (image, truth), prediction = resize(image, truth, size), resize_label(prediction, size)
    return row([pictured(image), table.colorize(truth), table.colorize(prediction), error_map(truth, prediction)])


def parts(picture: np.ndarray) -> list[np.ndarray]:
    """Cuts a `panel` into its four pictures: image, truth, prediction, error."""
    width = (picture.shape[1] - 3 * GAP) // 4
    return [picture[:, i * (width + GAP) : i * (width + GAP) + width] for i in range(4)]


def row(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one height side by side, uint8 [h w+gaps 3]."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([p for picture in pictures for p in (picture, gap)][:-1], axis=1)


def sheet(panels: Sequence[np.ndarray], table: LabelTable, titles: Sequence[str] = TITLES) -> np.ndarray:
    """Panels stacked under a line of titles, with legends of classes and error picture below; uint8 [h w 3].

    Narrow panels are enlarged to the width of the widest, so that titles stand above their columns.
    """
    width = max(picture.shape[1] for picture in panels)
    size = max(12, width // 64)
    font = _font(size)
    head = Image.new("RGB", (width, size + 10), "white")
    draw = ImageDraw.Draw(head)
    for i, title in enumerate(titles):
        draw.text((i * width // len(titles) + 4, 3), title, fill="black", font=font)
    gap = np.full((4, width, 3), 255, np.uint8)
    rows = [np.asarray(head)]
    for picture in panels:
        enlarged = (width, round(picture.shape[0] * width / picture.shape[1]))
        rows += [np.asarray(Image.fromarray(picture).resize(enlarged, Image.Resampling.NEAREST)), gap]
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
      pairs: images [h w c] and labels [h w], of any size.
      table: names and colours of the classes.
      height: height of every picture, in pixels.
      columns: number of pairs in a row.
    """
    cells = []
    for image, label in pairs:
        width = max(1, round(height * image.shape[1] / image.shape[0]))
        photo = Image.fromarray(pictured(image)).resize((width, height), Image.Resampling.BILINEAR)
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
