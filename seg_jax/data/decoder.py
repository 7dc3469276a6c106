"""Opening of image files that nobody vouches for: six formats, a limit of pixels, and one kind of error.

A header of a few bytes may announce gigapixels, and Pillow passes some formats on to other programs (EPS to
Ghostscript), whatever the file is called. Both are refused before anything is decoded.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from seg_jax.runtime.errors import ANSWERS, MachineError, SegJaxError

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP")
PAGED = ("PNG", "TIFF", "WEBP", "GIF")  # formats of several pages or frames; a phone's JPEG has previews
NEW_SUBFILE_TYPE, REDUCED, TRANSPARENCY = 254, 1, 4  # a tag of TIFF's pages, and bits of it: no pictures of their own

MEGAPIXELS = 80  # below the 89 of Pillow's own warning; 240 MB once decoded
_limit: ContextVar[int] = ContextVar("megapixels", default=MEGAPIXELS)
_enough: ContextVar[float] = ContextVar("short_side", default=0.0)  # 0: all pixels are needed


class DataError(SegJaxError, ValueError):
    """A file or data set that cannot be used; the message names the file, the rule and the cure."""


class NoImageError(DataError):
    """A file of another format than those of `FORMATS`, or in a variant that Pillow does not know."""


class Encoded(io.BytesIO):
    """An image file in memory, as record formats store it; messages refer to it by `name`."""

    def __init__(self, content: bytes, name: str):
        super().__init__(content)
        self.name = name

    def __str__(self) -> str:
        return self.name


@contextmanager
def at_most(megapixels: int) -> Iterator[None]:
    """Inside, in this thread, images of more than `megapixels` million pixels are refused from their header."""
    before = _limit.set(megapixels)
    if megapixels > MEGAPIXELS and Image.MAX_IMAGE_PIXELS is not None:  # Pillow's own limit must not come first
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, megapixels * 10**6)
    try:
        yield
    finally:
        _limit.reset(before)


@contextmanager
def enough(short_side: float) -> Iterator[None]:
    """Inside, in this thread, `short_side` pixels along the shorter side of a photograph are enough, see `reduce`."""
    before = _enough.set(short_side)
    try:
        yield
    finally:
        _enough.reset(before)


def reduce(image: Image.Image) -> int:
    """Lets libjpeg decode an open JPEG at 1/2, 1/4 or 1/8 of its size, as `enough` allows; returns 2, 4, 8, or else 1.

    A factor divides both sides, so that pixels of the reduced photograph are whole blocks of the stored one.
    """
    if image.format != "JPEG" or not (least := _enough.get()):
        return 1
    width, height = image.size
    for factor in (8, 4, 2):
        if min(width, height) >= factor * least and width % factor == height % factor == 0:
            image.draft(image.mode, (width // factor, height // factor))
            return factor
    return 1


@contextmanager
def opened(path: Path | Encoded) -> Iterator[Image.Image]:
    """An image file of Pillow whose header has been read; errors of decoding inside are those of the file.

    Raises:
      DataError: the file is missing, damaged, of another format, or has more pixels than `at_most` allows.
      MachineError: the machine could not read it: too few descriptors, a share that stalls.
    """
    # By its handle: Pillow 13 maps uncompressed TIFF into memory by its name, and scrambles it where EXIF turns it.
    with reading(path), _handle(path) as file, Image.open(file, formats=FORMATS) as image:
        require_pixels(path, image.width, image.height)
        yield image


def require_pixels(path: Path | Encoded, width: int, height: int) -> None:
    """Refuses an image that has more pixels than `at_most` allows.

    Raises:
      DataError: with the size and the cure.
    """
    if width * height > _limit.get() * 10**6:
        raise _too_many(path, f"{width}x{height}")


def _handle(path: Path | Encoded) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(path) if isinstance(path, Encoded) else path.open("rb")


@contextmanager
def reading(path: Path | Encoded) -> Iterator[None]:
    """Around what Pillow does with an image file: its errors become ours; see `opened`."""
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise NoImageError(
            f"{path} is not an image that can be decoded ({', '.join(FORMATS)}); replace or remove it."
        ) from error
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many(path, "".join(re.findall(r"\d+", str(error))[:1])) from error
    except MemoryError as error:
        raise DataError(f"{path} does not fit into the memory that is free. Reduce it, or free memory.") from error
    except Exception as error:  # for damaged files decoders raise OSError, SyntaxError, EOFError...
        if isinstance(error, OSError) and error.errno and error.errno not in (*ANSWERS, errno.EACCES, errno.EPERM):
            raise MachineError(
                f"{path} could not be read ({os.strerror(error.errno)}). Mend that, and run the same command again."
            ) from error
        raise DataError(f"{path} cannot be read ({error}); replace or remove it.") from error


def _too_many(path: Path | Encoded, size: str) -> DataError:
    return DataError(
        f"{path} has {size} pixels; at most {_limit.get()} million are decoded. Reduce it or cut it into tiles, or "
        "raise the limit: config.data.megapixels in training; in prediction --megapixels, best with --window=512x512."
    )


def pages(image: Image.Image) -> int:
    """The number of pictures in an open file, without the reduced copies and transparency masks of a TIFF."""
    if image.format not in PAGED or (count := getattr(image, "n_frames", 1)) == 1:
        return 1
    if image.format == "TIFF":
        for page in range(count - 1, 0, -1):
            image.seek(page)
            count -= bool(image.tag_v2.get(NEW_SUBFILE_TYPE, 0) & (REDUCED | TRANSPARENCY))  # type: ignore[attr-defined]
        image.seek(0)
    return count
