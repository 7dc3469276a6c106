"""The stored values of a photograph file: all bits and all bands, as [h w n] of the type in the file.

Pillow reduces colours of 16 bits to their high byte, takes signed bytes for unsigned ones and drops a fourth band that
is no alpha channel, all without a word. `is_plain` says of a header whether a picture of Pillow is all that a file has.
What Pillow cannot read whole is read by tifffile and imagecodecs, and `.npy` by NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from seg_jax.data import decoder
from seg_jax.data.decoder import DataError, Encoded
from seg_jax.data.pictures import ORIENTATION, SINGLE, UPRIGHT, tag, turned
from seg_jax.runtime.extras import install_command

ARRAYS, TIFF = (".npy",), (".tif", ".tiff")
BITS, COMPRESSION, SAMPLES, FORMAT, NODATA = 258, 259, 277, 339, 42113  # tags of TIFF; the last one is GDAL's
UNSIGNED, SIGNED, UNKNOWN = 1, 2, 4  # values of the last one
COMMON = (1, 5, 7, 8, 32773, 32946)  # compressions that every Pillow decodes: none, LZW, JPEG, Deflate, PackBits


@dataclass(frozen=True)
class Values:
    """The content of a photograph file.

    Attributes:
      pixels: as stored, of any type [h w n].
      alpha: whether the last band is an alpha channel.
      nodata: the value of pixels without a measurement; None: there are none.
      turned: EXIF's orientation, 1 (upright) to 8, which is not applied; TIFF is upright, as Pillow reads it.
    """

    pixels: np.ndarray
    alpha: bool = False
    nodata: float | None = None
    turned: int = 1


def bits(image: Image.Image) -> int:
    """Bits of a band of an open file, as far as they matter: PNG has at most 8, or 16; other formats than TIFF 8."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(BITS, (1,)))  # type: ignore[attr-defined]
    return 16 if image.format == "PNG" and ";16" in _raw(image) else 8


def is_plain(image: Image.Image) -> bool:
    """Whether the picture that Pillow makes of an open file has all of its bands and bits."""
    if bits(image) > 8:
        return False
    if image.format != "TIFF":
        return True
    tags = image.tag_v2  # type: ignore[attr-defined]
    kinds = {*tags.get(FORMAT, (UNSIGNED,))} - {UNSIGNED, UNKNOWN}
    whole = tags.get(SAMPLES, 1) == len(image.getbands()) or image.mode == "P"
    return tags.get(COMPRESSION, 1) in COMMON and not kinds and whole


class Plain(NamedTuple):
    """A photograph whose values are those that Pillow gives: its picture, loaded, and by what it was reduced.

    Attributes:
      picture: the picture.
      factor: see `decoder.reduce`.
    """

    picture: Image.Image
    factor: int = 1


def read(path: Path | Encoded, *, pages: bool = True) -> Values | Plain:
    """The stored values of a photograph.

    Args:
      path: the file.
      pages: whether to read the first picture of several, instead of refusing the file.

    Raises:
      DataError: it cannot be read, has more pixels than `decoder.at_most` allows, or needs packages that are not there.
    """
    suffix = Path(str(path)).suffix.lower()
    if suffix in ARRAYS:
        return Values(_array(path))
    try:
        with decoder.opened(path) as image:
            if not pages and (count := decoder.pages(image)) > 1:
                raise _pages(path, count)
            plain, form = is_plain(image), image.format
            if plain or image.mode in SINGLE:
                raw, nodata = _raw(image), _nodata(image)
                signed = form == "TIFF" and SIGNED in image.tag_v2.get(FORMAT, ())  # type: ignore[attr-defined]
                factor = decoder.reduce(image) if plain else 1
                image.load()
                if plain and (nodata is None or image.mode not in ("L", "RGB", "RGBA")):
                    return Plain(image, factor)
                pixels = np.asarray(image)
                pixels = pixels.view(np.uint32) if "32" in raw and image.mode == "I" and not signed else pixels
                pixels = pixels if pixels.ndim == 3 else pixels[..., None]
                return Values(pixels, image.mode in ("LA", "RGBA"), nodata, tag(image) or 1)
            orientation = tag(image) or 1
    except decoder.NoImageError:
        if suffix not in TIFF:
            raise
        return _tiff(path, pages=pages)
    return _tiff(path, pages=pages) if form == "TIFF" else _png(path, orientation)


def size(path: Path) -> tuple[int, int]:
    """(height, width) of a TIFF that Pillow does not know, from its header.

    Raises:
      DataError: it is none, or needs packages that are not there.
    """
    if path.suffix.lower() not in TIFF:
        raise DataError(f"{path} is not an image that can be decoded; replace or remove it.")
    with _reading(path):
        import tifffile

        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            return page.imagelength, page.imagewidth


def _pages(path: Path | Encoded, count: int) -> DataError:
    return DataError(
        f"{path} contains {count} pages or frames, of which all but the first would be lost. Save each as a file of "
        "its own, those of photographs and masks under the same names."
    )


def _raw(image: Image.Image) -> str:
    """How the pixels of an open file are stored, in Pillow's words."""
    return " ".join(str(tile[3]) for tile in image.tile)  # type: ignore[attr-defined]


def _nodata(image: Image.Image) -> float | None:
    """GDAL's tag of an open TIFF."""
    text = image.tag_v2.get(NODATA) if image.format == "TIFF" else None  # type: ignore[attr-defined]
    return _number(text) if text else None


def _number(text: str) -> float | None:
    try:
        return float(str(text).strip("\0 "))
    except ValueError:
        return None


def _array(path: Path | Encoded) -> np.ndarray:
    """The array of a `.npy` file, mapped into memory: [h w] or [h w n]."""
    try:
        pixels = np.lib.format.open_memmap(str(path), mode="r")
    except Exception as error:
        raise DataError(f"{path} cannot be read ({error}); write it again with np.save.") from error
    if pixels.ndim not in (2, 3) or pixels.dtype.kind not in "fiub" or 0 in pixels.shape:
        raise DataError(
            f"{path} contains {pixels.dtype} {list(pixels.shape)}; a photograph has numbers [h w] or [h w n]. "
            "Save one file for each photograph, bands last."
        )
    if pixels.ndim == 3 and pixels.shape[0] < 16 <= min(pixels.shape[1:]):
        raise DataError(f"{path} is {list(pixels.shape)}: bands come last. Save np.moveaxis(array, 0, -1).")
    decoder.require_pixels(path, pixels.shape[1], pixels.shape[0])
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _png(path: Path | Encoded, orientation: int) -> Values:
    with _reading(path):
        import imagecodecs

        pixels = imagecodecs.png_decode(path.getvalue() if isinstance(path, Encoded) else path.read_bytes())
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return Values(pixels, alpha=pixels.shape[-1] in (2, 4), turned=orientation)


def _tiff(path: Path | Encoded, *, pages: bool) -> Values:
    with _reading(path):
        import tifffile

        if isinstance(path, Encoded):
            path.seek(0)
        with tifffile.TiffFile(path) as file:
            whole = [page for page in file.pages if not getattr(page, "is_reduced", False)]
            if not pages and len(whole) > 1:
                raise _pages(path, len(whole))
            page: Any = whole[0]
            decoder.require_pixels(path, page.imagewidth, page.imagelength)
            pixels, axes = page.asarray(), page.axes
            if axes not in ("YX", "YXS", "SYX"):
                raise DataError(
                    f"{path} has the axes {axes} of {list(pixels.shape)}; a photograph has rows, columns and bands. "
                    "Save each plane as a file of its own."
                )
            pixels = {"YX": lambda a: a[..., None], "YXS": lambda a: a, "SYX": lambda a: np.moveaxis(a, 0, -1)}[axes](
                pixels
            )
            alpha = bool({1, 2} & {int(kind) for kind in page.extrasamples[-1:]})
            nodata = _number(page.tags[NODATA].value) if NODATA in page.tags else None
            orientation = page.tags[ORIENTATION].value if ORIENTATION in page.tags else 1
    return Values(turned(pixels, orientation if orientation in UPRIGHT else 1), alpha, nodata)


@contextmanager
def _reading(path: Path | Encoded) -> Iterator[None]:
    """Errors of tifffile and imagecodecs, which have types of their own for each codec, become ours."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise DataError(
            f"{path} has more than 8 bits or three colours, which are read by tifffile and imagecodecs. Add them: "
            f"{install_command('deep')}"
        ) from error
    except (MemoryError, DataError):
        raise
    except Exception as error:
        codec = "imagecodecs" in str(error) or "COMPRESSION" in str(error)
        cure = "it is compressed in an unknown way: save it with LZW or Deflate" if codec else "replace or remove it"
        raise DataError(f"{path} cannot be read ({str(error)[:200]}); {cure}.") from error
