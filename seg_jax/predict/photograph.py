"""Whatever a photograph comes as -> uint8 [h w 3]."""

from __future__ import annotations

import contextlib
import http.client
import logging
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from seg_jax.config import Size
from seg_jax.data import pictures
from seg_jax.data.decoder import DataError, Encoded, NoImageError, opened, pages
from seg_jax.data.depth import Depth
from seg_jax.data.images import read_photograph
from seg_jax.data.pictures import RGB

Photograph = np.ndarray | Image.Image | Path | Encoded | str

LARGEST = 2**28  # bytes of a file behind a URL; what sends more is no photograph
PATIENCE = 30  # seconds without an answer


class Picture(NamedTuple):
    """A photograph as a network sees it: [h w c] in 0..255, and bool [h w], where nothing was measured, if anywhere."""

    pixels: np.ndarray
    missing: np.ndarray | None = None

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.pixels.shape[0], self.pixels.shape[1]


def read(photograph: Photograph, depth: Depth = RGB) -> Picture:
    """The picture of a file's path, an http or https URL, an image of Pillow, or an array.

    An array is of that form already, or has stored values [h w n] where `depth` says what they mean.

    Of a file with several pages or frames the first one is read, and a warning says so.

    Raises:
      DataError: it is none of these, cannot be read or fetched, or is an array of another shape or type.
    """
    if isinstance(photograph, Image.Image):
        return Picture(pictures.array(pictures.upright(photograph.copy()), depth))  # turned upright in place
    if isinstance(photograph, str) and photograph.startswith(("http://", "https://")):
        return _first(_fetch(photograph), depth)
    if isinstance(photograph, Encoded):
        return _first(photograph, depth)
    if isinstance(photograph, str | Path):
        return _first(Path(photograph).expanduser(), depth)
    if not isinstance(photograph, np.ndarray):
        raise DataError(
            f"a {type(photograph).__name__} is no photograph. Give a path, a URL, an image of Pillow, an array uint8 "
            "[height, width, 3], or a list of these."
        )
    if not depth.is_rgb and photograph.ndim == 3 and photograph.dtype.kind in "fiu" and photograph.size:
        return Picture(depth.apply(photograph, False, "the array"))
    if photograph.ndim != 3 or photograph.shape[-1] != 3 or photograph.dtype != np.uint8:
        raise DataError(
            f"an image of shape {photograph.shape} and type {photograph.dtype}: it must be uint8 [height, width, 3]. "
            "Several images are given as a list; paths of files and images of Pillow may have any form."
        )
    return Picture(photograph)


def _first(path: Path | Encoded, depth: Depth) -> Picture:
    with contextlib.suppress(NoImageError), opened(path) as image:  # the reader knows more formats
        count = pages(image)
        if count > 1:
            logging.warning("%s contains %d pages or frames: 1 of %d is segmented", path, count, count)
    picture = read_photograph(path, depth, pages=True)
    return Picture(picture.pixels, picture.missing)


def _fetch(url: str) -> Encoded:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            content = answer.read(LARGEST + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DataError(
            f"{url} cannot be fetched ({error}). Save the photograph and give the path of its file."
        ) from error
    if len(content) > LARGEST:
        raise DataError(f"{url} sends more than {LARGEST // 2**20} MiB. Save the photograph and give its path.")
    return Encoded(content, url)
