"""The bands and the values of photographs: what they are, and the fields `data.bands` and `data.range` for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.data import rasters
from seg_jax.data.decoder import DataError
from seg_jax.data.depth import proposed
from seg_jax.data.examples import Examples
from seg_jax.data.sampler import spread

MOST = 64  # photographs that are measured
DEEP = (".png", *rasters.TIFF, *rasters.ARRAYS)  # files that may have more than RGB in bytes
SAMPLED = 1 << 16  # values of a band that are taken from each
PERCENTILES = (0.1, 1, 50, 99, 99.9)
WIDE = 4  # times as wide as between the outer percentiles: single values far out would decide a measured range


@dataclass(frozen=True)
class Measured:
    """The values of some photographs of a data set.

    Attributes:
      photographs: number of those measured.
      counts: numbers of bands -> a photograph with it.
      dtype: the type that takes in all of theirs.
      alpha: whether the last band is an alpha channel.
      ends: the smallest and largest value of each band, [n 2].
      percentiles: `PERCENTILES` of each band, [n p].
    """

    photographs: int
    counts: dict[int, Path]
    dtype: np.dtype
    alpha: bool
    ends: np.ndarray
    percentiles: np.ndarray

    @property
    def fields(self) -> dict[str, Any]:
        """What a configuration needs to see all bands in their range; {} for RGB and grey in bytes."""
        n = len(self.ends)
        found: dict[str, Any] = {} if n - self.alpha in (1, 3) else {"data.bands": tuple(range(1, n + 1))}
        if self.dtype == np.uint8:
            return found
        pairs = [self._range(i) for i in range(n if found else n - self.alpha)]
        if (not found and len(pairs) == 1) or len(set(pairs)) == 1:
            return found | {"data.range": pairs[0]}
        return found | {"data.range": tuple(end for pair in pairs for end in pair)}

    def _range(self, i: int) -> tuple[float, float]:
        low, high = self.ends[i]
        first, last = self.percentiles[i, 0], self.percentiles[i, -1]
        if self.dtype.kind == "f" and last > first and high - low > WIDE * (last - first):
            low, high = first, last
        return proposed(self.dtype, float(low), float(high))

    def text(self) -> str:
        """A table of the bands."""
        head = "  ".join(f"{f'{p:g} %':>10}" for p in PERCENTILES)
        lines = [
            f"photographs: {len(self.ends)} bands of {self.dtype}{', the last one alpha' if self.alpha else ''} "
            f"(measured on {self.photographs})",
            f"  band    smallest  {head}     largest",
        ]
        for i, (ends, row) in enumerate(zip(self.ends, self.percentiles, strict=True), start=1):
            values = "  ".join(f"{value:>10.6g}" for value in (ends[0], *row, ends[1]))
            lines.append(f"  {i:>4}  {values}")
        if len(self.counts) > 1:
            shown = ", ".join(f"{n} bands such as {path.name}" for n, path in sorted(self.counts.items()))
            lines.append(f"error: photographs differ in their bands: {shown}. Choose data.bands that all of them have.")
        return "\n".join(lines)


def measure(splits: Sequence[Examples]) -> Measured | None:
    """The values of photographs, spread over the splits; None where no file that can be read may have more than RGB
    in bytes."""
    paths = [files[0] for examples in splits for files in examples.files if files[0].suffix.lower() in DEEP]
    content = []
    for i in spread(len(paths), MOST):
        try:
            content.append((paths[i], *_values(paths[i])))
        except DataError:  # the check of all examples reports it
            continue
    if not content:
        return None
    counts = {pixels.shape[-1]: path for path, pixels, _ in content}
    n = min(counts)
    samples = [_sample(pixels[..., :n]) for _, pixels, _ in content]
    dtype = np.result_type(*(pixels.dtype for _, pixels, _ in content))
    every = np.concatenate(samples)
    ends = np.stack([every.min(0), every.max(0)], -1)
    for _, pixels, _ in content:
        flat = pixels[..., :n].reshape(-1, n)
        if flat.dtype.kind != "f":  # of floating-point numbers the sample does: some may be NaN
            ends[:, 0], ends[:, 1] = np.minimum(ends[:, 0], flat.min(0)), np.maximum(ends[:, 1], flat.max(0))
    percentiles = np.percentile(every, PERCENTILES, axis=0).T
    return Measured(len(content), counts, dtype, content[0][2], ends, percentiles)


def _values(path: Path) -> tuple[np.ndarray, bool]:
    """Stored values [h w n], and whether the last band is alpha."""
    content = rasters.read(path)
    if isinstance(content, rasters.Values):
        return content.pixels, content.alpha
    picture = content.picture
    plain = picture if picture.mode in ("L", "RGB", "RGBA", "LA") else picture.convert("RGB")
    pixels = np.asarray(plain)
    return pixels if pixels.ndim == 3 else pixels[..., None], plain.mode in ("RGBA", "LA")


def _sample(pixels: np.ndarray) -> np.ndarray:
    """Finite values [m n] of an image, evenly spread, float64."""
    flat = pixels.reshape(-1, pixels.shape[-1])
    flat = flat[:: max(1, len(flat) // SAMPLED)].astype(np.float64)
    finite = flat[np.isfinite(flat).all(-1)]
    return finite if len(finite) else np.zeros((1, flat.shape[-1]))
