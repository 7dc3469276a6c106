"""Validation photographs with their predictions, one file for each evaluation, and an animation of all of them."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from seg_jax import viz
from seg_jax.data import sampler
from seg_jax.data.labels import LabelTable
from seg_jax.report import PANEL_WIDTH
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime.files import write_bytes

PHOTOGRAPHS = 4  # in one picture
PANEL_HEIGHT = 600  # pixels to which tall panels are reduced, as wide ones are to PANEL_WIDTH
MOST_PICTURES = 60
FRAME_SIDE = 960  # pixels of the longer side in the animation
FRAME = 400  # milliseconds of one evaluation
LAST_FRAME = 3000


def write(run: RunDirectory, step: int, panels: Mapping[int, np.ndarray], table: LabelTable, *, miou: float) -> None:
    """Writes `pictures/STEP.jpg`; beyond `MOST_PICTURES` it removes the one whose neighbours are nearest.

    Args:
      run: the run directory.
      step: the training steps before the evaluation.
      panels: {index of an example: its `viz.panel`}. A few are shown; without any there is no file.
      table: names and colours of the classes.
      miou: the evaluation's mean IoU, for the title.
    """
    if not panels:
        return
    every = list(panels.values())
    shown = [_fitted(every[i]) for i in sampler.spread(len(every), PHOTOGRAPHS)]
    titles = ("image", "truth", f"step {step:,d}, mIoU {miou:.3f}", "error")
    buffer = io.BytesIO()
    Image.fromarray(viz.sheet(shown, table, titles)).save(buffer, "JPEG", quality=85)
    write_bytes(run.picture(step), buffer.getvalue())
    stored = run.pictures()
    while len(stored) > MOST_PICTURES:
        steps = list(stored)
        gaps = {middle: after - before for before, middle, after in zip(steps, steps[1:], steps[2:], strict=False)}
        stored.pop(min(gaps, key=lambda step: gaps[step])).unlink(missing_ok=True)


def _fitted(panel: np.ndarray) -> np.ndarray:
    """A panel, enlarged by a whole factor or reduced to `PANEL_WIDTH` and `PANEL_HEIGHT`."""
    times = min(PANEL_WIDTH // panel.shape[1], PANEL_HEIGHT // panel.shape[0])
    if times:
        return panel.repeat(times, axis=0).repeat(times, axis=1)
    image = Image.fromarray(panel)
    image.thumbnail((PANEL_WIDTH, PANEL_HEIGHT))
    return np.asarray(image)


def remove_after(run: RunDirectory, step: int) -> None:
    """Removes the pictures of later steps, which a killed run left behind: they are drawn again."""
    for drawn, path in run.pictures().items():
        if drawn > step:
            path.unlink(missing_ok=True)


def animate(run: RunDirectory) -> None:
    """Writes all pictures as one animation, `pictures/training.webp`; a damaged picture is left out."""
    frames = []
    for path in run.pictures().values():
        try:
            with Image.open(path) as picture:
                frame = picture.convert("RGB")
            frame.thumbnail((FRAME_SIDE, FRAME_SIDE))
            frames.append(frame)
        except (OSError, ValueError, SyntaxError):  # cut off, or no picture
            continue
    same = [frame for frame in frames if frame.size == frames[-1].size]
    if not same:
        return
    buffer = io.BytesIO()
    durations = [*[FRAME] * (len(same) - 1), LAST_FRAME]
    same[0].save(
        buffer, "WEBP", save_all=True, append_images=same[1:], duration=durations, loop=0, quality=70, method=0
    )
    write_bytes(run.animation_file, buffer.getvalue())
