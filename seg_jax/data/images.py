"""Image files -> uint8 arrays and back: one decoder for training, evaluation and prediction.

Pillow, not tf.image: it reads palette masks as indices and needs no TensorFlow, and a model sees the same bytes in
training and in prediction (decoders differ by a few grey levels for JPEG).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from seg_jax.data.decoder import DataError, Encoded, opened
from seg_jax.runtime.files import write_bytes

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")

MAX_BAND = 64  # rows of a band of probabilities


def _open(path: Path | Encoded) -> Image.Image:
    with opened(path) as image:  # `with`, since files of several pictures stay open; only the first is read
        image.load()
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation, as viewers do."""
    with contextlib.suppress(ValueError, SyntaxError, OSError):  # damaged EXIF must not lose a good photograph
        ImageOps.exif_transpose(image, in_place=True)  # otherwise it copies images that are upright already
    return image


def read_image(path: Path | Encoded) -> np.ndarray:
    """A photograph as uint8 [h w 3] RGB, see `rgb`.

    Raises:
      DataError: the file is missing, truncated, or not an image.
    """
    return rgb(_open(path))


def rgb(image: Image.Image) -> np.ndarray:
    """uint8 [h w 3] RGB of an image of Pillow, upright: EXIF orientation applied (to `image` too), grey repeated, alpha
    dropped.
    """
    upright = _upright(image)
    if upright.mode.startswith("I"):  # 16-bit grey: keep the high byte; Pillow would clip at 255
        return np.repeat((np.asarray(upright).astype(np.uint32) >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    upright.info.pop("transparency", None)  # dropped, without Pillow's warning that it cannot be kept
    return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))


class Stored(NamedTuple):
    """The content of a mask file.

    Attributes:
      pixels: one value for each pixel, uint8 or uint16 [h w], or colours, uint8 [h w 3].
      palette: the palette of a palette file, uint8 [n 3]; None for other files.
    """

    pixels: np.ndarray
    palette: np.ndarray | None = None


def read_stored(path: Path | Encoded, *, colors: bool = True) -> Stored:
    """The stored content of a mask file, upright: values of one channel, or colours (RGB, or RGBA without alpha).

    Args:
      path: the file.
      colors: whether to accept masks of colours.

    Raises:
      DataError: the file is missing, truncated, not an image, or an image of another kind.
    """
    image = _upright(_open(path))
    if image.mode == "1":
        return Stored(np.asarray(image).astype(np.uint8))
    if image.mode == "L":
        return Stored(np.asarray(image))
    if image.mode == "P":
        return Stored(np.asarray(image), np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3))
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"{path} has mask values from {values.min()} to {values.max()}; they must be in 0..65535.")
        return Stored(values.astype(np.uint16))
    if colors and image.mode in ("RGB", "RGBA"):
        return Stored(np.asarray(image)[..., :3])
    raise DataError(
        f"{path} is a {image.mode} image; a mask has one channel whose values are class indices, as grey or palette "
        f"PNG{', or RGB colours' if colors else ''}. Convert it to class indices first."
    )


def read_mask(path: Path | Encoded) -> np.ndarray:
    """The stored values of a mask file, uint8 or uint16 [h w]; of a palette PNG its indices.

    Raises:
      DataError: the file is missing, truncated, not an image, or a colour image.
    """
    return read_stored(path, colors=False).pixels


def resize(image: np.ndarray, label: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Resizes image (bilinear, antialiased) and label (nearest) to `size` = (height, width); dtypes are kept."""
    if image.shape[:2] == tuple(size):
        return image, label
    resized = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized), resize_label(label, size)


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes class ids [h w] to `size` = (height, width) by nearest neighbour."""
    return np.asarray(Image.fromarray(label).resize((size[1], size[0]), Image.Resampling.NEAREST))


def resize_probabilities(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes class probabilities, float32 [h w k], to `size` = (height, width); bilinear, antialiased."""
    if probabilities.shape[:2] == tuple(size):
        return probabilities
    resized = np.empty((*size, probabilities.shape[-1]), np.float32)
    top = 0
    for band in resized_bands(probabilities, size):
        resized[top : top + len(band)] = band
        top += len(band)
    return resized


def resized_bands(probabilities: np.ndarray, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """`resize_probabilities` in bands of at most `MAX_BAND` rows from the top, float32 [rows w k], to save memory.

    Pillow resizes the rows. Resized in parts, columns would get other numbers than resized as a whole, so they are
    resized here by Pillow's method: where an image grows, every number equals Pillow's.
    """
    if probabilities.shape[:2] == tuple(size):
        yield from (probabilities[top : top + MAX_BAND] for top in range(0, size[0], MAX_BAND))
        return
    rows, weights = _triangles(probabilities.shape[0], size[0])
    for top in range(0, size[0], MAX_BAND):
        band, shares = rows[top : top + MAX_BAND], weights[top : top + MAX_BAND]
        first, last = band.min(), band.max()
        wide = np.empty((last + 1 - first, size[1], probabilities.shape[-1]), np.float32)
        for k in range(probabilities.shape[-1]):
            plane = Image.fromarray(np.ascontiguousarray(probabilities[first : last + 1, :, k]))
            wide[..., k] = np.asarray(plane.resize((size[1], len(wide)), Image.Resampling.BILINEAR))
        resized = np.empty((len(band), *wide.shape[1:]), np.float32)
        for i, (sources, factors) in enumerate(zip(band - first, shares, strict=True)):
            total = np.zeros(wide.shape[1:])
            for source, factor in zip(sources[factors > 0], factors[factors > 0], strict=True):
                total += wide[source] * factor
            resized[i] = total
        yield resized


def _triangles(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """(indices, weights), [new n] each, of the at most n old pixels that make up each new one along an axis.

    The weights form a triangle around the new pixel's centre, two pixels wide in the smaller of the two images.
    """
    scale = old / new
    reach = max(scale, 1.0)
    middle = (np.arange(new) + 0.5) * scale
    first = np.maximum(middle - reach + 0.5, 0).astype(int)
    stop = np.minimum(middle + reach + 0.5, old).astype(int)
    indices = first[:, None] + np.arange((stop - first).max())
    weights = np.maximum(1 - np.abs((indices - middle[:, None] + 0.5) * (1 / reach)), 0)
    weights[indices >= stop[:, None]] = 0
    # cumsum adds one after the other, as Pillow does; sum has another order.
    return np.minimum(indices, old - 1), weights / np.cumsum(weights, axis=1)[:, -1:]


def write_image(path: Path, array: np.ndarray) -> None:
    """uint8 [h w 3], uint8 [h w] or uint16 [h w] -> PNG, written atomically."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())
