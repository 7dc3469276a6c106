"""Images of Pillow -> arrays, and EXIF's orientation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from seg_jax.data.depth import Depth

RGB = Depth()
SINGLE = ("I;16", "I;16B", "I;16L", "I", "F")  # modes of one band with all of its bits
ORIENTATION = 0x0112  # EXIF's tag

# EXIF's orientation -> what brings the stored pixels [h w ...] upright (TIFF 6.0, tag 274).
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels [h w ...] of an EXIF `orientation`, 1 to 8, upright."""
    return np.ascontiguousarray(UPRIGHT[orientation](array)) if orientation > 1 else array


def upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation, as viewers do."""
    with contextlib.suppress(ValueError, SyntaxError, OSError):  # damaged EXIF must not lose a good photograph
        ImageOps.exif_transpose(image, in_place=True)  # otherwise it copies images that are upright already
    return image


def tag(image: Image.Image) -> int | None:
    """EXIF's orientation of an image whose pixels were decoded, 1 to 8; None where it does not say."""
    with contextlib.suppress(ValueError, SyntaxError, OSError):
        value = image.getexif().get(ORIENTATION)
        return value if value in range(1, 9) else None
    return None


def rgb(image: Image.Image) -> np.ndarray:
    """uint8 [h w 3] RGB of an image of bytes: grey repeated, alpha dropped."""
    image.info.pop("transparency", None)  # dropped, without Pillow's warning that it cannot be kept
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def array(image: Image.Image, depth: Depth = RGB, name: object = "the image") -> np.ndarray:
    """[h w c] in 0..255 of the type of `depth`.

    Args:
      image: as it is to be seen, with EXIF's orientation applied or not.
      depth: bands and range.
      name: of the file, for messages.

    Raises:
      DataError: its values or bands are others than `depth` says.
    """
    if image.mode in SINGLE:
        return depth.apply(np.asarray(image)[..., None], False, name)
    if depth.is_rgb and not _is_band(image):
        return rgb(image)
    return depth.apply(*_bands(image), name)


def _is_band(image: Image.Image) -> bool:
    """Whether the fourth channel of a TIFF is called alpha but has more than two values: a band, such as infrared.

    Some writers name every fourth channel so.
    """
    return image.format == "TIFF" and image.mode == "RGBA" and len(image.getchannel(3).getcolors() or "many") > 2


def _bands(image: Image.Image) -> tuple[np.ndarray, bool]:
    """The channels of a picture of bytes, uint8 [h w n], and whether the last one is alpha."""
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[..., None], False
    if image.mode in ("RGBA", "LA"):
        return np.asarray(image), not _is_band(image)
    return rgb(image), False
