"""Processing of pictures and videos by a predictor, with reading and writing in the background."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
from seg_jax.predict.predictor import Prediction, Predictor
from seg_jax.predict.video import Frames, VideoWriter
from seg_jax.runtime.errors import FULL
from seg_jax.runtime.quoting import printable


def _summary(line: dict[str, Any]) -> str:
    largest = sorted(line["shares"].items(), key=lambda pair: -pair[1])[:4]
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in largest if share > 0)
    return printable(f"{line['input']} ({line['width']}x{line['height']}) -> {', '.join(line['outputs'])}: {shares}")


class Work:
    """Processes pictures and videos; reading and writing run in threads beside the predictor.

    Args:
      predictor: the predictor.
      results: the directory of results.
      batch: number of images at once.
      quiet: whether to print no line for each input.
    """

    def __init__(self, predictor: Predictor, results: Results, *, batch: int, quiet: bool):
        self._predictor, self._results, self._batch, self._quiet = predictor, results, batch, quiet
        self._options = {kind: kind in results.kinds for kind in ("entropy", "probabilities")}
        self._pool = ThreadPoolExecutor(2)
        self.images = 0

    def fail(self, item: Input, error: Exception) -> None:
        """Records an input that cannot be used; a full or read-only disk, which no other input survives, is raised."""
        if isinstance(error, OSError) and error.errno in FULL:
            raise error
        self._results.failed[str(item)] = str(error)
        tqdm.write(f"error: {error}", file=sys.stderr)

    def _finish(
        self, name: str, item: Input, result: Prediction, shares: dict[str, float], frames: int | None = None
    ) -> None:
        self._record(name, item, result.label.shape, shares, frames)

    def _record(
        self,
        name: str,
        item: Input,
        shape: tuple[int, ...],
        shares: dict[str, float],
        frames: int | None = None,
        raster: str = "",
    ) -> None:
        self._results.done(name, item, shape, shares, frames, raster)
        self.images += frames or 1
        if not self._quiet:
            tqdm.write(_summary(self._results.lines[-1]), file=sys.stdout)

    def pictures(self, inputs: list[tuple[str, Input]], bar: Any) -> None:
        """Predicts pictures in batches, while threads read the next ones and write the last ones."""
        in_predictor: deque[tuple[str, Input]] = deque()  # inputs whose photograph the predictor has, in order

        def read() -> Iterator[Picture]:
            ahead: deque[tuple[str, Input, Future[Picture]]] = deque()
            todo = iter(inputs)
            while True:
                while len(ahead) < 2 * self._batch and (following := next(todo, None)):
                    ahead.append((*following, self._pool.submit(self._predictor.read, following[1])))  # type: ignore[arg-type]
                if not ahead:
                    return
                name, item, future = ahead.popleft()
                try:
                    image = future.result()
                except (DataError, OSError, MemoryError) as error:  # one input cannot end the others
                    self.fail(item, error)
                    bar.update()
                    continue
                in_predictor.append((name, item))
                yield image

        writing: deque[tuple[str, Input, Prediction, Future[None]]] = deque()

        def settle(limit: int) -> None:
            while len(writing) > limit:
                name, item, result, future = writing.popleft()
                try:
                    future.result()
                    self._finish(name, item, result, result.shares())
                except (OSError, MemoryError) as error:
                    self.fail(item, error)
                bar.update()

        for result in self._predictor.many(read(), batch=self._batch, **self._options):
            name, item = in_predictor.popleft()
            writing.append((name, item, result, self._pool.submit(self._results.write, name, result)))
            settle(2 * self._batch)
        settle(0)

    def alone(self, item: Input) -> Callable[..., None] | None:
        """What processes an input that is no picture among others: a video or a raster; None for pictures."""
        if is_video(item):
            return self.video
        try:
            return self.raster if geo.is_raster(item) else None
        except DataError as error:
            raised = error

            def refuse(*args: Any, **options: Any) -> None:
                raise raised

            return refuse

    def raster(self, name: str, path: Path, *, most: int, bar: Any) -> None:
        """Processes a GeoTIFF: its mask is one, with the same georeference; large ones are read and written in rows.

        Raises:
          DataError: it cannot be read; it is large, and there are no windows or the mask is not wanted.
        """
        del most
        table, results = self._predictor.table, self._results
        out = results.directory / f"{name}_mask.tif"
        with geo.opened(path, self._predictor.depth) as raster:
            height, width, _ = raster.shape
            if self._predictor.is_large((height, width)):
                if "mask" not in results.kinds:
                    raise DataError(
                        f"{path} has {height}x{width} pixels: only its mask can be written. Add --write=mask."
                    )
                if others := [kind for kind in results.kinds if kind != "mask"]:
                    tqdm.write(f"{path}: large, so without {', '.join(others)}", file=sys.stderr)
                counts = geo.write(out, path, self._predictor.rows(raster, batch=self._batch), table)
                shares = counts / max(counts.sum(), 1)
                named = dict(zip(table.names, shares.tolist(), strict=True))
                self._record(name, path, (height, width), named, raster=ROWS)
                bar.update()
                return
            whole = slice(0, height)
            picture = Picture(raster[whole], raster.missing(whole))
        result = next(self._predictor.many([picture], batch=self._batch, **self._options))
        if "mask" in results.kinds:
            geo.write(out, path, [(0, result.label)], table)
        results.write(name, result, without="mask")
        self._record(name, path, result.label.shape, result.shares(), raster=WHOLE)
        bar.update()

    def video(self, name: str, item: Path | int, *, most: int, bar: Any) -> None:
        """Processes the frames of a video file or a camera (until Ctrl-C), at most `most` (0: all)."""
        frames = Frames(item)
        bar.total += frames.count and (min(frames.count, most) if most else frames.count) - 1
        writers = {
            kind: VideoWriter(self._results.directory / f"{name}_{kind}.mp4", rate=frames.rate)
            for kind in self._results.kinds
            if kind in MOVING
        }
        stills = {
            kind: Results(self._results.directory / f"{name}_{kind}", [kind], "")
            for kind in self._results.kinds
            if kind not in MOVING
        }
        count, whole, result = 0, False, None
        totals = np.zeros(len(self._predictor.table))
        try:
            for result in self._predictor.many(iter(frames), batch=self._batch, **self._options):
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
        self._finish(name, item, result, dict(zip(self._predictor.table.names, totals / count, strict=True)), count)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(cancel_futures=True)


def _framed(result: Prediction) -> np.ndarray:
    picture = viz.overlay(result.image, result.label, result.table)
    return np.concatenate([picture, viz.legend(result.table, range(len(result.table)), picture.shape[1])])
