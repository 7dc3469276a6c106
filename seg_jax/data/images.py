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
from PIL import Image, ImageOps

from seg_jax.config import Size
from seg_jax.data import decoder
from seg_jax.data.decoder import DataError, Encoded
from seg_jax.runtime.files import write_bytes

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")

ORIENTATION = 0x0112  # EXIF's tag


def _open(path: Path | Encoded, *, pages: bool = True) -> Image.Image:
    """The first picture of a file; without `pages` a file of several pictures is refused."""
    with decoder.opened(path) as image:  # `with`, since files of several pictures stay open
        count = 1 if pages else decoder.pages(image)
        image.load()
    if count > 1:
        raise DataError(
            f"{path} contains {count} pages or frames, of which all but the first would be lost. Save each as a file "
            "of its own, those of photographs and masks under the same names."
        )
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation, as viewers do."""
    with contextlib.suppress(ValueError, SyntaxError, OSError):  # damaged EXIF must not lose a good photograph
        ImageOps.exif_transpose(image, in_place=True)  # otherwise it copies images that are upright already
    return image


def _tag(image: Image.Image) -> int | None:
    """EXIF's orientation of an image whose pixels were decoded, 1 to 8; None where it does not say."""
    with contextlib.suppress(ValueError, SyntaxError, OSError):
        tag = image.getexif().get(ORIENTATION)
        return tag if tag in range(1, 9) else None
    return None


class Photograph(NamedTuple):
    """A photograph that was read.

    Attributes:
      pixels: uint8 [h w 3] RGB.
      stored: (height, width) of the file, before EXIF's orientation.
      turned: the orientation that was applied to `pixels`, 2 to 8; 1: none.
    """

    pixels: np.ndarray
    stored: Size
    turned: int


def read_image(path: Path | Encoded, *, pages: bool = True) -> np.ndarray:
    """A photograph as uint8 [h w 3] RGB, see `read_photograph`."""
    return read_photograph(path, pages=pages).pixels


def read_photograph(path: Path | Encoded, *, pages: bool = False, upright: bool = True) -> Photograph:
    """A photograph, see `rgb`.

    Args:
      path: the file.
      pages: whether to read the first picture of a file of several, as prediction does, instead of refusing the file.
      upright: whether EXIF's orientation is applied.

    Raises:
      DataError: the file is missing, truncated, or not an image; its pixels are floating-point numbers.
    """
    image = _open(path, pages=pages)
    if image.mode == "F":  # Pillow would clip at 0 and 255: values in 0..1 would become a black picture
        low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
        raise DataError(
            f"{path} contains floating-point values from {low:g} to {high:g}; a photograph has 8 bits. "
            f"Scale it: image = {scaling(low, high)}."
        )
    stored = (image.height, image.width)
    tag = (upright and _tag(image)) or 1
    with decoder.reading(path):
        return Photograph(rgb(image, upright=upright), stored, tag)


def scaling(low: float, high: float, name: str = "image") -> str:
    """The expression of NumPy that brings the array `name`, with values from `low` to `high`, to 0..255 as uint8."""
    if low >= 0 and high <= 1:
        return f"({name} * 255).round().astype(np.uint8)"
    if low >= 0 and high <= 255:
        return f"{name}.round().astype(np.uint8)"
    return f"np.interp({name}, ({low:g}, {high:g}), (0, 255)).round().astype(np.uint8)"


def orientation(path: Path | Encoded) -> int:
    """EXIF's orientation of an image file, 1 (upright) to 8; 1 where the file does not say."""
    with contextlib.suppress(Exception), decoder.opened(path) as image:  # the reader of the pixels reports damage
        return int(image.getexif().get(ORIENTATION, 1))
    return 1


def rgb(image: Image.Image, *, upright: bool = True) -> np.ndarray:
    """uint8 [h w 3] RGB of an image of Pillow: EXIF orientation applied (to `image` too) if `upright`, grey repeated,
    alpha dropped.
    """
    image = _upright(image) if upright else image
    if image.mode.startswith("I"):  # 16-bit grey: keep the high byte; Pillow would clip at 255
        return np.repeat((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    image.info.pop("transparency", None)  # dropped, without Pillow's warning that it cannot be kept
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


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
    turned = _tag(image)
    return _content(path, _upright(image) if upright else image, colors=colors)._replace(turned=turned)


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
    """Resizes an image uint8 [h w 3] to `size` = (height, width); bilinear, antialiased."""
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


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
