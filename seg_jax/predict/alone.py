"""Inputs that are predicted alone, not in batches with others: videos, and rasters with a georeference."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from seg_jax import viz
from seg_jax.data.decoder import DataError
from seg_jax.predict import geo
from seg_jax.predict.inputs import Input, is_video
from seg_jax.predict.output import MOVING, ROWS, WHOLE, Results
from seg_jax.predict.photograph import Picture
from seg_jax.predict.predictor import Prediction
from seg_jax.predict.video import Frames, VideoWriter
from seg_jax.predict.work import Work


def is_alone(item: Input) -> bool:
    """Whether an input is a video or a raster.

    Raises:
      DataError: it is a raster, and rasterio is not installed.
    """
    return is_video(item) or geo.is_raster(item)


def predict_alone(work: Work, name: str, item: Input, *, most: int, bar: Any) -> None:
    """Processes a video or a raster.

    Args:
      work: what predicts and records.
      name: of the results.
      item: the input.
      most: number of frames of a video; 0: all.
      bar: of the progress.

    Raises:
      DataError: it cannot be read, or not with what is asked for.
    """
    if is_video(item):
        _video(work, name, item, most=most, bar=bar)
    else:
        assert isinstance(item, Path)
        _raster(work, name, item, bar=bar)


def _raster(work: Work, name: str, path: Path, *, bar: Any) -> None:
    """Processes a GeoTIFF: its mask is one, with the same georeference; large ones are read and written in rows."""
    table, results = work.predictor.table, work.results
    out = results.directory / f"{name}_mask.tif"
    with geo.opened(path, work.predictor.depth) as raster:
        height, width, _ = raster.shape
        if work.predictor.is_large((height, width)):
            if "mask" not in results.kinds:
                raise DataError(f"{path} has {height}x{width} pixels: only its mask can be written. Add --write=mask.")
            if others := [kind for kind in results.kinds if kind != "mask"]:
                tqdm.write(f"{path}: large, so without {', '.join(others)}", file=sys.stderr)
            counts = geo.write(out, path, work.predictor.rows(raster, batch=work.batch), table)
            shares = counts / max(counts.sum(), 1)
            named = dict(zip(table.names, shares.tolist(), strict=True))
            work.record(name, path, (height, width), named, raster=ROWS)
            bar.update()
            return
        whole = slice(0, height)
        picture = Picture(raster[whole], raster.missing(whole))
    result = next(work.predictor.many([picture], batch=work.batch, **work.options))
    if "mask" in results.kinds:
        geo.write(out, path, [(0, result.label)], table)
    results.write(name, result, without="mask")
    work.record(name, path, result.label.shape, result.shares(), raster=WHOLE)
    bar.update()


def _video(work: Work, name: str, item: Path | int, *, most: int, bar: Any) -> None:
    """Processes the frames of a video file or a camera (until Ctrl-C), at most `most` (0: all)."""
    frames = Frames(item)
    bar.total += frames.count and (min(frames.count, most) if most else frames.count) - 1
    writers = {
        kind: VideoWriter(work.results.directory / f"{name}_{kind}.mp4", rate=frames.rate)
        for kind in work.results.kinds
        if kind in MOVING
    }
    stills = {
        kind: Results(work.results.directory / f"{name}_{kind}", [kind], "")
        for kind in work.results.kinds
        if kind not in MOVING
    }
    count, whole, result = 0, False, None
    totals = np.zeros(len(work.predictor.table))
    try:
        for result in work.predictor.many(iter(frames), batch=work.batch, **work.options):
            count += 1
            bar.update()
            totals += list(result.shares().values())
            for kind, writer in writers.items():
                # With the legend of all classes, so that all frames have one size.
                picture = result.color() if kind == "color" else _framed(result)
                writer.write(picture)
            for still in stills.values():
                still.write(f"{count:06}", result)
            if count == most:
                break
        whole = count > 0
    except KeyboardInterrupt:
        if not isinstance(item, int):
            raise
        whole = count > 0  # Ctrl-C is how a camera's video ends
    finally:
        frames.close()
        for writer in writers.values():
            writer.close(whole=whole)
    if result is None:
        raise DataError(f"{item} has no frame.")
    work.record(
        name, item, result.label.shape, dict(zip(work.predictor.table.names, totals / count, strict=True)), count
    )


def _framed(result: Prediction) -> np.ndarray:
    picture = viz.overlay(result.image, result.label, result.table)
    return np.concatenate([picture, viz.legend(result.table, range(len(result.table)), picture.shape[1])])
