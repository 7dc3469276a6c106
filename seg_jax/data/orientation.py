"""EXIF's orientation of photographs, and of masks that were drawn on their stored or on their turned pixels.

A mask with an orientation of its own says how it is to be turned. Otherwise its size tells, and where it fits both ways
(squares; pictures that are mirrored or upside down) the user has to: never is one of both silently turned alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_jax.config import Size
from seg_jax.data.depth import Depth
from seg_jax.data.examples import Pair, check_sizes
from seg_jax.data.images import DataError, Encoded, Photograph, fit_label, read_photograph
from seg_jax.data.labels.masks import MaskReader
from seg_jax.data.pictures import RGB, turned


class OrientationError(DataError):
    """A photograph that EXIF turns, where nothing tells whether its mask was drawn on the stored or the turned one."""


def read_pair(
    photo: Path | Encoded,
    mask: Path | Encoded,
    reader: MaskReader,
    *,
    depth: Depth = RGB,
    exif: str,
    resize: bool | None = None,
) -> Pair:
    """A photograph, [h w c] in 0..255, and the class ids of its mask [h w], ignored where nothing was measured.

    Args:
      photo, mask: the files.
      reader: of the mask.
      depth: bands and range of the photograph.
      exif: `data.exif`.
      resize: whether a mask of another size is brought to that of its photograph, see `images.fit_label`; None: it
        is not, and the source has no option for it.

    Raises:
      DataError: a file cannot be read, sizes differ, or it is not known how the mask is to be turned.
      LabelError: the mask has values that the label table has not.
    """
    upright = exif != "ignore"
    picture = read_photograph(photo, depth, upright=upright)
    label, own = reader.oriented(mask, upright=upright)
    if on_stored(picture, label.shape, own=own, exif=exif, resize=bool(resize), photo=photo, mask=mask):
        label = turned(label, picture.turned)
    size = picture.size
    cure = ""
    if resize is not None and label.shape != size:
        fitted = fit_label(label, size, reader.table.ignored)
        cure = " Set config.data.resize_masks=True." if fitted.shape == size else ""
        label = fitted if resize else label
    check_sizes(size, label.shape, image_name=photo, mask_name=mask, cure=cure)
    return picture.pixels, reader.table.without_data(label, picture.missing)


def on_stored(
    picture: Photograph,
    size: tuple[int, ...] | None,
    *,
    own: int | None = None,
    exif: str,
    resize: bool = False,
    photo: object,
    mask: object,
) -> bool:
    """Whether a mask was drawn on the stored pixels of a photograph that EXIF turns, and is to be turned alike.

    Args:
      picture: the photograph.
      size: (height, width) of the mask, or at which polygons were drawn; None where they do not say.
      own: the orientation of the mask's own file; None where it has none.
      exif: `data.exif`.
      resize: whether masks of other sizes may fit.
      photo, mask: their names, for the message.

    Raises:
      OrientationError: both fit, and `exif` does not say which is meant.
    """
    if picture.turned == 1 or own not in (None, 1):
        return False
    upright = picture.size
    fits_turned, fits_stored = _fits(size, upright), _fits(size, picture.stored)
    if resize and size and not fits_turned and not fits_stored:
        blank = np.zeros(size, bool)
        fits_turned, fits_stored = (fit_label(blank, s, 0).shape == s for s in (upright, picture.stored))
    if not (fits_turned and fits_stored):
        return fits_stored
    if own == 1:
        return False
    if exif == "by_size":
        raise OrientationError(
            f"{photo} is turned by EXIF (orientation {picture.turned}), and its mask {mask} has no orientation of its "
            "own and fits the photograph both as stored and as turned; say which is meant with --config.data.exif: "
            "turn_both (the mask was drawn on the stored pixels), turn_image (it was drawn on the turned photograph), "
            "or ignore (EXIF is wrong, turn neither)."
        )
    return exif == "turn_both"


def _fits(size: tuple[int, ...] | None, other: Size) -> bool:
    return size is None or size == other
