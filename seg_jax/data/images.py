"""Image files -> uint8 arrays and back: one decoder for training, evaluation and prediction.

Pillow, not tf.image: it reads palette masks as indices, it is there without TensorFlow, and a model then
sees the same bytes in training and in prediction (decoders differ by a few grey levels for JPEG).
"""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


class DataError(ValueError):
    """A file or data set that cannot be used; the message names the file, the rule and the cure."""


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:  # a file of several pictures would stay open: the first one counts
            image.load()
        return image
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not an image that can be decoded; replace or remove it.") from error
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except (
        Exception
    ) as error:  # Pillow's decoders raise many kinds for damaged files: OSError, SyntaxError, EOFError...
        raise DataError(f"{path} cannot be read ({error}); replace or remove it.") from error


def read_image(path: Path) -> np.ndarray:
    """A photograph as uint8 [h w 3] RGB, upright: EXIF orientation applied, grey repeated, alpha dropped.

    Raises:
      DataError: missing, truncated, or not an image.
    """
    image = _open(path)
    try:
        upright = ImageOps.exif_transpose(image)
    except (ValueError, SyntaxError, OSError):  # damaged EXIF must not lose a good photograph
        upright = image
    if upright.mode.startswith("I"):  # 16-bit grey: keep the high byte; Pillow would clip at 255
        return np.repeat((np.asarray(upright).astype(np.uint32) >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    upright.info.pop("transparency", None)  # dropped, without Pillow's warning that it cannot be kept
    return np.asarray(upright.convert("RGB"))


def read_mask(path: Path) -> np.ndarray:
    """A mask as stored values, uint8 or uint16 [h w]; a palette PNG gives its indices.

    Raises:
      DataError: missing, truncated, not an image, or a colour image.
    """
    image = _open(path)
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode in ("L", "P"):
        return np.asarray(image)
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"{path} has mask values from {values.min()} to {values.max()}; they lie in 0..65535.")
        return values.astype(np.uint16)
    raise DataError(
        f"{path} is a {image.mode} image; a mask has one channel whose values are class indices, "
        "as grey or palette PNG. Convert colours to indices first."
    )


def resize(image: np.ndarray, label: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Image (bilinear, antialiased) and label (nearest) at `size` = (height, width); same dtypes."""
    if image.shape[:2] == tuple(size):
        return image, label
    box = (size[1], size[0])
    return (
        np.asarray(Image.fromarray(image).resize(box, Image.Resampling.BILINEAR)),
        np.asarray(Image.fromarray(label).resize(box, Image.Resampling.NEAREST)),
    )


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        # mkstemp makes private files; the umask that the user set is what counts.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_image(path: Path, array: np.ndarray) -> None:
    """uint8 [h w 3], uint8 [h w] or uint16 [h w] -> PNG, written atomically."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())
