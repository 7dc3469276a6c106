"""Processing of pictures by a predictor, with reading and writing in the background."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tqdm import tqdm

from seg_jax.data.decoder import DataError
from seg_jax.predict.inputs import Input
from seg_jax.predict.output import Results
from seg_jax.predict.photograph import Picture
from seg_jax.predict.predictor import Prediction, Predictor
from seg_jax.runtime.errors import FULL
from seg_jax.runtime.quoting import printable


def _summary(line: dict[str, Any]) -> str:
    largest = sorted(line["shares"].items(), key=lambda pair: -pair[1])[:4]
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in largest if share > 0)
    return printable(f"{line['input']} ({line['width']}x{line['height']}) -> {', '.join(line['outputs'])}: {shares}")


class Work:
    """Processes pictures; reading and writing run in threads beside the predictor. `alone` has what is no picture.

    Args:
      predictor: the predictor.
      results: the directory of results.
      batch: number of images at once.
      quiet: whether to print no line for each input.
    """

    def __init__(self, predictor: Predictor, results: Results, *, batch: int, quiet: bool):
        self.predictor, self.results, self.batch, self._quiet = predictor, results, batch, quiet
        self.options = {kind: kind in results.kinds for kind in ("entropy", "probabilities")}
        self._pool = ThreadPoolExecutor(2)
        self.images = 0

    def fail(self, item: Input, error: Exception) -> None:
        """Records an input that cannot be used; a full or read-only disk, which no other input survives, is raised."""
        if isinstance(error, OSError) and error.errno in FULL:
            raise error
        self.results.failed[str(item)] = str(error)
        tqdm.write(f"error: {error}", file=sys.stderr)

    def record(
        self,
        name: str,
        item: Input,
        shape: tuple[int, ...],
        shares: dict[str, float],
        frames: int | None = None,
        raster: str = "",
    ) -> None:
        """Records the results of an input, and prints a line.

        Args:
          name: of the results.
          item: the input.
          shape: (height, width) of the mask.
          shares: of the classes, by name.
          frames: of a video.
          raster: how a raster was processed.
        """
        self.results.done(name, item, shape, shares, frames, raster)
        self.images += frames or 1
        if not self._quiet:
            tqdm.write(_summary(self.results.lines[-1]), file=sys.stdout)

    def pictures(self, inputs: list[tuple[str, Input]], bar: Any) -> None:
        """Predicts pictures in batches, while threads read the next ones and write the last ones."""
        in_predictor: deque[tuple[str, Input]] = deque()  # inputs whose photograph the predictor has, in order

        def read() -> Iterator[Picture]:
            ahead: deque[tuple[str, Input, Future[Picture]]] = deque()
            todo = iter(inputs)
            while True:
                while len(ahead) < 2 * self.batch and (following := next(todo, None)):
                    ahead.append((*following, self._pool.submit(self.predictor.read, following[1])))  # type: ignore[arg-type]
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
                    self.record(name, item, result.label.shape, result.shares())
                except (OSError, MemoryError) as error:
                    self.fail(item, error)
                bar.update()

        for result in self.predictor.many(read(), batch=self.batch, **self.options):
            name, item = in_predictor.popleft()
            writing.append((name, item, result, self._pool.submit(self.results.write, name, result)))
            settle(2 * self.batch)
        settle(0)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(cancel_futures=True)
