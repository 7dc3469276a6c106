"""From mask files to class ids: stored values by the label table, colours by its palette."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from seg_jax.data.images import Encoded, Stored, is_grey, read_stored
from seg_jax.data.labels import LabelError, LabelTable
from seg_jax.data.labels.palettes import Palette

FORMATS: Mapping[str, str] = {
    "auto": "values where the file has one channel, colours where it has three",
    "index": "values, and colours are refused",
    "color": "colours, also those of a palette file",
    "nearest": "colours, and each pixel means the nearest one, for masks damaged by JPEG or resizing",
    "alpha": "the alpha channel: 255 where it is 128 or more, 0 elsewhere",
}


class MaskReader:
    """Reads mask files as class ids.

    Args:
      table: the meaning of values and colours.
      form: the format of the files, a key of `FORMATS`.
    """

    def __init__(self, table: LabelTable, form: str = "auto"):
        self.table, self.form = table, form

    @cached_property
    def palette(self) -> Palette:
        """The colours of the table, created (and checked) for the first mask of colours only."""
        return Palette(self.table)

    def read(self, path: Path | Encoded) -> np.ndarray:
        """The class ids of a mask file, [h w] of the table's type; upright where EXIF gives an orientation.

        Raises:
          DataError: the file cannot be read, or is not a mask.
          LabelError: it has values or colours that are not in the table; the message names the path.
        """
        return self.oriented(path)[0]

    def oriented(self, path: Path | Encoded, *, upright: bool = True) -> tuple[np.ndarray, int | None]:
        """The class ids as `read` gives them, and EXIF's orientation as the file states it, None if it does not.

        Args:
          path: the file.
          upright: whether that orientation is applied.

        Raises:
          DataError, LabelError: as for `read`.
        """
        stored = read_stored(path, colors=self.form != "index", upright=upright)
        try:
            return self._label(stored), stored.turned
        except LabelError as error:
            raise LabelError(f"{path}: {error}") from error

    def stored(self, path: Path | Encoded) -> Stored:
        """The values or colours of a mask file that the label table is asked for; nearest ones are those of the table.

        Raises:
          DataError, LabelError: as for `read`.
        """
        stored = read_stored(path, colors=self.form != "index")
        if self.form == "alpha":
            return Stored(_opaque(stored))
        if self.form == "color":
            return Stored(_colors(stored))
        if self.form == "nearest":
            return Stored(self.palette.restored(_colors(stored)))
        return stored if self.form == "auto" else Stored(stored.pixels)

    def _label(self, stored: Stored) -> np.ndarray:
        if self.form in ("color", "nearest"):
            pixels = _colors(stored)
            if self.form == "color":
                return self.palette.exact(pixels)
            self.palette.check(pixels)
            return self.palette.nearest(pixels)
        if self.form == "alpha":
            return self.table.encode(_opaque(stored))
        if stored.alpha is not None:
            _refuse_alpha(stored.pixels, stored.alpha)
        if stored.pixels.ndim == 3:
            return self._of_colors(stored.pixels)
        if stored.palette is not None and self.form == "auto":
            self._compare(stored.pixels, stored.palette)
        return self.table.encode(stored.pixels)

    def _of_colors(self, pixels: np.ndarray) -> np.ndarray:
        """Class ids of colours, or of values that were stored in three equal channels."""
        try:
            return self.palette.exact(pixels)
        except LabelError:
            if is_grey(pixels):
                with contextlib.suppress(LabelError):
                    return self.table.encode(pixels[..., 0])
            raise

    def _compare(self, pixels: np.ndarray, palette: np.ndarray) -> None:
        """Refuses a palette file whose colours and values have different meanings."""
        used = np.flatnonzero(np.bincount(pixels.reshape(-1), minlength=256)[: len(palette)])
        meaning = {color: i for i, color in self.table.color_meanings()}
        by_color = [meaning.get(tuple(palette[value].tolist())) for value in used]
        if None in by_color or pixels.max() >= len(palette):
            return
        cure = "Set config.data.mask_format='color' to go by the palette"
        try:
            by_value = self.table.encode(used)
        except LabelError as error:
            raise LabelError(f"{error} All colours of the file's palette are in the table, though. {cure}.") from error
        for value, one, other in zip(used, by_value.tolist(), by_color, strict=True):
            if other is not None and one != other:
                raise LabelError(
                    f"the value {value} means {self.table.name(one)!r}, but the file's palette shows it in the colour "
                    f"of {self.table.name(other)!r}. {cure}, or 'index' to go by the values."
                )


def _opaque(stored: Stored) -> np.ndarray:
    """255 where a mask is opaque and 0 where it is transparent, uint8 [h w]."""
    if stored.alpha is None:
        raise LabelError("this mask has no alpha channel; set config.data.mask_format='auto'.")
    if 0 < stored.alpha.max() < 128:
        raise LabelError(
            f"the alpha channel has values up to {stored.alpha.max()}, all of which count as transparent. Multiply it "
            "so that what is meant has 255."
        )
    return np.where(stored.alpha >= 128, np.uint8(255), np.uint8(0))


def _refuse_alpha(pixels: np.ndarray, alpha: np.ndarray) -> None:
    """Refuses a mask of a single colour whose content is in its alpha channel."""
    if (alpha != alpha[0, 0]).any() and (pixels == pixels[0, 0]).all():
        raise LabelError(
            "all pixels have one colour, and only the alpha channel differs. Set config.data.mask_format='alpha', "
            'which reads 255 where a pixel is opaque and 0 elsewhere, with "values": [0] and [255] in class_names.json.'
        )


def _colors(stored: Stored) -> np.ndarray:
    """A mask as colours, uint8 [h w 3]."""
    pixels, palette = stored.pixels, stored.palette
    if pixels.ndim == 3:
        return pixels
    if palette is not None:
        if pixels.max() >= len(palette):
            raise LabelError(f"the file's palette has {len(palette)} colours, none for the value {pixels.max()}.")
        return palette[pixels]
    if pixels.dtype != np.uint8:
        raise LabelError("this is a mask of 16-bit values, not of colours; set config.data.mask_format='auto'.")
    return np.repeat(pixels[..., None], 3, axis=-1)
