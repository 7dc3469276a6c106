"""From stored values to those that a network sees: the bands of a photograph, and the range that becomes 0..255.

Everything below the readers works on images [h w c] in 0..255: bytes, or float32 where `data.range` says what the ends
of that scale are. Float32 keeps all 16 bits of a photograph, also through resizing and augmentation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_jax.config import DataConfig
from seg_jax.data.decoder import DataError


@dataclass(frozen=True)
class Depth:
    """The bands and the range of a data set's photographs.

    Attributes:
      bands: which bands, counted from 1, in this order; (): the three of RGB, where grey is repeated.
      range: (low, high) of the stored values that become 0 and 255, of all bands, or one pair after the other for each;
        (): photographs are bytes, and stay so.
    """

    bands: tuple[int, ...] = ()
    range: tuple[float, ...] = ()

    @classmethod
    def of(cls, data: DataConfig) -> Depth:
        """The depth that a configuration names."""
        return cls(tuple(data.bands), tuple(data.range))

    @property
    def channels(self) -> int:
        """The number of channels of an image."""
        return len(self.bands) or 3

    @property
    def dtype(self) -> np.dtype:
        """The type of an image: uint8, or float32 in 0..255."""
        return np.dtype(np.float32 if self.range else np.uint8)

    @property
    def is_rgb(self) -> bool:
        """Whether images are RGB in bytes."""
        return not self.bands and not self.range

    def missing(self, values: np.ndarray, nodata: float | None) -> np.ndarray | None:
        """The pixels [h w] of stored values [h w n] where nothing was measured, bool; None without any.

        Those where one of the bands is `nodata`; all of them have to be, if it is a value that might be measured.
        """
        if nodata is None:
            return None
        chosen = values[..., [band - 1 for band in self.bands if band <= values.shape[-1]]] if self.bands else values
        equal = np.isnan(chosen) if np.isnan(nodata) else chosen == nodata
        pairs = np.array(self.range or (0, 255)).reshape(-1, 2)
        possible = bool(((pairs[:, 0] <= nodata) & (nodata <= pairs[:, 1])).any())
        missing = equal.all(-1) if possible else equal.any(-1)
        return missing if missing.any() else None

    def apply(self, values: np.ndarray, alpha: bool, name: object, *, missing: np.ndarray | None = None) -> np.ndarray:
        """An image [h w c] of stored values [h w n] of any type; clipped to the range.

        Args:
          values: as stored.
          alpha: whether the last band says what is transparent; it is dropped unless `bands` names it.
          name: of the file, for messages.
          missing: bool [h w], pixels without values, which become 0.

        Raises:
          DataError: it has not these bands; a value is NaN; or nobody said which values become 0 and 255.
        """
        chosen = self._chosen(values, name, alpha=alpha)
        if chosen.dtype.kind == "c":
            raise DataError(
                f"{name} contains complex numbers. Save their magnitude, and perhaps their phase, as bands."
            )
        _require_finite(chosen, name, missing)
        if not self.range:
            if chosen.dtype == bool:
                return chosen.astype(np.uint8) * np.uint8(255)
            if chosen.dtype != np.uint8:
                raise _without_range(chosen, name)
            return np.ascontiguousarray(chosen)
        low, high = np.array(self.range, np.float64).reshape(-1, 2).T
        exact: np.ndarray = chosen.astype(np.float64 if chosen.dtype.itemsize > 2 else np.float32)
        image = np.clip((exact - low) * (255 / (high - low)), 0, 255).astype(np.float32)
        if missing is not None:
            image[missing] = 0
        return image

    def _chosen(self, values: np.ndarray, name: object, *, alpha: bool) -> np.ndarray:
        n = values.shape[-1]
        if self.bands:
            if max(self.bands) > n:
                raise DataError(
                    f"{name} has {n} bands, and config.data.bands = {self.bands} asks for number {max(self.bands)}. "
                    "Take the file out (data.skip_bad=True does), or choose bands that all photographs have."
                )
            return values[..., [band - 1 for band in self.bands]]
        colors = n - alpha
        if colors not in (1, 3):
            raise DataError(
                f"{name} has {n} bands, which are no RGB. Say which ones the network is to see: "
                f"--config.data.bands={tuple(range(1, n + 1))} for all."
            )
        return np.repeat(values[..., :1], 3, axis=-1) if colors == 1 else values[..., :3]


def _require_finite(values: np.ndarray, name: object, missing: np.ndarray | None) -> None:
    if values.dtype.kind != "f":
        return
    bad = ~np.isfinite(values)
    if missing is not None:
        bad &= ~missing[..., None]
    if bad.any():
        y, x, band = (int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{name} has {int(bad.sum())} values that are NaN or infinite, the first in row {y}, column {x} of the "
            f"channel {band + 1}. Fill them, declare them as nodata in a GeoTIFF, or leave such files out with "
            "--config.data.skip_bad=True."
        )


def _without_range(values: np.ndarray, name: object) -> DataError:
    """The error for values of more than 8 bits that nobody gave a range."""
    low, high = float(values.min()), float(values.max())
    return DataError(
        f"{name} contains {values.dtype} values from {low:g} to {high:g}, not bytes, and nobody said which of them are "
        f"black and white. Set --config.data.range={proposed(values.dtype, low, high)}, or measure all photographs "
        "with python -m seg_jax.data inspect. A network that was trained on 8-bit photographs takes the same: image = "
        f"{scaling(low, high)}."
    )


def proposed(dtype: np.dtype, low: float, high: float) -> tuple[float, float]:
    """A range for measured values from `low` to `high`.

    Of unsigned integers it begins at 0 and ends at the bit depth (255, 1023, 4095, 16383, 65535...) that they need, so
    that the brightness of photographs stays comparable; of values in 0..1 it is that; otherwise what was measured.
    """
    if dtype.kind in "ui" and low >= 0:
        return 0, next(2**bits - 1 for bits in (8, 10, 12, 14, 16, 20, 24, 32, 64) if high < 2**bits)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return (float(f"{low:.6g}"), float(f"{high:.6g}")) if high > low else (low, low + 1)


def scaling(low: float, high: float, name: str = "image") -> str:
    """The expression of NumPy that brings the array `name`, with values from `low` to `high`, to 0..255 as uint8."""
    if low >= 0 and high <= 1:
        return f"({name} * 255).round().astype(np.uint8)"
    if low >= 0 and high <= 255:
        return f"{name}.round().astype(np.uint8)"
    return f"np.interp({name}, ({low:g}, {high:g}), (0, 255)).round().astype(np.uint8)"
