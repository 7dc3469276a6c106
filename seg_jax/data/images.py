"""Image files -> uint8 arrays and back: one decoder for training, evaluation and prediction.

Pillow, not tf.image: it reads palette masks as indices and needs no TensorFlow, and a model sees the same bytes in
training and in prediction (decoders differ by a few grey levels for JPEG).
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from seg_jax.config import Size
from seg_jax.data import decoder, pictures, rasters
from seg_jax.data.decoder import DataError, Encoded
from seg_jax.data.depth import Depth
from seg_jax.data.pictures import ORIENTATION, RGB
from seg_jax.runtime.files import write_bytes

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
PHOTOGRAPHS = (*EXTENSIONS, *rasters.ARRAYS)


def _open(path: Path | Encoded, *, pages: bool = True) -> Image.Image:
    """The first picture of a mask file; one whose bits Pillow cuts off is refused, without `pages` also several."""
    with decoder.opened(path) as image:  # `with`, since files of several pictures stay open
        count = 1 if pages else decoder.pages(image)
        bits = rasters.bits(image)
        image.load()
    if bits > 8 and image.mode in ("LA", "RGB", "RGBA"):  # Pillow gives the upper eight of them
        raise DataError(
            f"{path} has several bands of {bits} bits; a mask has one band of 8 or 16 bits, the class indices, or RGB "
            "colours of 8 bits. Save it as one of these."
        )
    if count > 1:
        raise DataError(
            f"{path} contains {count} pages or frames, of which all but the first would be lost. Save each as a file "
            "of its own, those of photographs and masks under the same names."
        )
    return image


class Photograph(NamedTuple):
    """A photograph that was read.

    Attributes:
      pixels: [h w c] in 0..255, uint8 RGB unless a `Depth` says otherwise.
      stored: (height, width) of the file, before EXIF's orientation.
      turned: the orientation that was applied to `pixels`, 2 to 8; 1: none.
      missing: bool [h w], where nothing was measured, as GDAL's nodata says; None: nowhere.
      factor: how often it was reduced along each side, see `decoder.reduce`.
    """

    pixels: np.ndarray
    stored: Size
    turned: int
    missing: np.ndarray | None = None
    factor: int = 1

    @property
    def size(self) -> Size:
        """(height, width) as turned, but not reduced."""
        return self.stored[::-1] if self.turned >= 5 else self.stored


def read_image(path: Path | Encoded, depth: Depth = RGB, *, pages: bool = True) -> np.ndarray:
    """The pixels of a photograph, see `read_photograph`."""
    return read_photograph(path, depth, pages=pages).pixels


def read_photograph(
    path: Path | Encoded, depth: Depth = RGB, *, pages: bool = False, upright: bool = True
) -> Photograph:
    """A photograph.

    Args:
      path: the file.
      depth: its bands, and the range that becomes 0..255; without both the photograph is RGB in bytes, see `rgb`.
      pages: whether to read the first picture of a file of several, as prediction does, instead of refusing the file.
      upright: whether EXIF's orientation is applied.

    Raises:
      DataError: the file is missing, truncated, or not an image; its values or bands are others than `depth` says.
    """
    content = rasters.read(path, pages=pages)
    if isinstance(content, rasters.Plain):
        picture, factor = content
        stored, turned = (factor * picture.height, factor * picture.width), (upright and pictures.tag(picture)) or 1
        with decoder.reading(path):
            picture = pictures.upright(picture) if upright else picture
            return Photograph(pictures.array(picture, depth, path), stored, turned, factor=factor)
    turned = content.turned if upright else 1
    pixels = pictures.turned(content.pixels, turned)
    missing = depth.missing(pixels, content.nodata)
    image = depth.apply(pixels, content.alpha, path, missing=missing)
    return Photograph(image, content.pixels.shape[:2], turned, missing)


def orientation(path: Path | Encoded) -> int:
    """EXIF's orientation of an image file, 1 (upright) to 8; 1 where the file does not say."""
    with contextlib.suppress(Exception), decoder.opened(path) as image:  # the reader of the pixels reports damage
        return int(image.getexif().get(ORIENTATION, 1))
    return 1


class Stored(NamedTuple):
    """The content of a mask file.

    Attributes:
      pixels: one value for each pixel, uint8 or uint16 [h w], or colours, uint8 [h w 3].
      palette: the palette of a palette file, uint8 [n 3]; None for other files.
      alpha: the alpha channel, uint8 [h w]; None for files without one.
      turned: EXIF's orientation as the file states it, 1 to 8; None where it does not.
    """

    pixels: np.ndarray
    palette: np.ndarray | None = None
    alpha: np.ndarray | None = None
    turned: int | None = None


def read_stored(path: Path | Encoded, *, colors: bool = True, pages: bool = False, upright: bool = True) -> Stored:
    """The stored content of a mask file: values of one channel, or colours.

    Args:
      path: the file.
      colors: whether to accept masks of colours; those with three equal channels are masks of values.
      pages: whether to read the first picture of a file of several, instead of refusing the file.
      upright: whether EXIF's orientation is applied.

    Raises:
      DataError: the file is missing, truncated, not an image, or an image of another kind.
    """
    image = _open(path, pages=pages)
    turned = pictures.tag(image)
    return _content(path, pictures.upright(image) if upright else image, colors=colors)._replace(turned=turned)


def _content(path: Path | Encoded, image: Image.Image, *, colors: bool) -> Stored:
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
    if image.mode == "LA":
        values, alpha = np.moveaxis(np.asarray(image), -1, 0)
        return Stored(values, alpha=alpha)
    if image.mode in ("RGB", "RGBA"):
        pixels = np.asarray(image)
        alpha = pixels[..., 3] if image.mode == "RGBA" else None
        if colors:
            return Stored(pixels[..., :3], alpha=alpha)
        if is_grey(pixels):
            return Stored(pixels[..., 0], alpha=alpha)
    raise DataError(
        f"{path} is an image of mode {image.mode}; a mask has one channel whose values are class indices, as grey or "
        f"palette PNG{', or RGB colours' if colors else ''}. Convert it to class indices first{_whole(image)}."
    )


def _whole(image: Image.Image) -> str:
    """How to convert a mask of floating-point numbers, the array `mask`; '' for other images."""
    if image.mode != "F":
        return ""
    values = np.asarray(image)
    if (values == np.round(values)).all() and values.min() >= 0 and values.max() <= 65535:
        return f": mask.astype(np.{'uint8' if values.max() <= 255 else 'uint16'})"
    return ": (mask >= 0.5).astype(np.uint8)" if values.min() >= 0 and values.max() <= 1 else ""


def is_grey(pixels: np.ndarray) -> bool:
    """Whether the first three channels of an image [h w c] are equal."""
    return bool((pixels[..., 1:3] == pixels[..., :1]).all())


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
    return resize_image(image, size), resize_label(label, size)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image [h w c], uint8 or float32, to `size` = (height, width); bilinear, antialiased."""
    return resample(image, size)


def resample(
    image: np.ndarray, size: tuple[int, int], *, box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """`resize_image` of a part, `box` = (left, upper, right, lower) in pixels; None: of all."""
    if image.shape[:2] == tuple(size) and box is None:
        return image

    def pillow(array: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(array).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box))

    if image.dtype == np.uint8 and image.shape[-1] == 3:
        return pillow(image)
    # Pillow knows no colours of floating-point numbers, and no more than four channels.
    return np.stack([pillow(np.ascontiguousarray(image[..., i])) for i in range(image.shape[-1])], axis=-1)


def pictured(image: np.ndarray) -> np.ndarray:
    """An image [h w c] in 0..255 as a picture for people, uint8 [h w 3]: its first three channels, or the first one."""
    chosen = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)
    return chosen if chosen.dtype == np.uint8 else np.clip(np.round(chosen), 0, 255).astype(np.uint8)


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes class ids [h w] to `size` = (height, width) by nearest neighbour."""
    return np.asarray(Image.fromarray(label).resize((size[1], size[0]), Image.Resampling.NEAREST))


def fit_label(label: np.ndarray, size: tuple[int, int], outside: int) -> np.ndarray:
    """Brings class ids [h w] to the `size` = (height, width) of their photograph, if it was resized.

    A size that differs by a pixel comes from halving and doubling an odd one: the pixel is cut off, or it is `outside`.
    Otherwise nearest neighbour, where the proportions are the same up to rounding; other labels stay as they are.
    """
    height, width = label.shape
    if max(abs(height - size[0]), abs(width - size[1])) <= 1:
        fitted = np.full(size, outside, label.dtype)
        fitted[:height, :width] = label[: size[0], : size[1]]
        return fitted
    same = abs(height * size[1] - width * size[0]) <= max(height, width, *size)
    return resize_label(label, size) if same else label


def write_image(path: Path, array: np.ndarray) -> None:
    """uint8 [h w 3], uint8 [h w] or uint16 [h w] -> PNG, written atomically."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())
