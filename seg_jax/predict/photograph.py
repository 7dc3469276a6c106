"""Whatever a photograph comes as -> uint8 [h w 3]."""

from __future__ import annotations

import http.client
import logging
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

from seg_jax.data.decoder import DataError, Encoded, opened, pages
from seg_jax.data.images import read_image, rgb

Photograph = np.ndarray | Image.Image | Path | Encoded | str

LARGEST = 2**28  # bytes of a file behind a URL; what sends more is no photograph
PATIENCE = 30  # seconds without an answer


def read(photograph: Photograph) -> np.ndarray:
    """uint8 [h w 3] of a file's path, an http or https URL, an image of Pillow, or an array of that form already.

    Of a file with several pages or frames the first one is read, and a warning says so.

    Raises:
      DataError: it is none of these, cannot be read or fetched, or is an array of another shape or type.
    """
    if isinstance(photograph, Image.Image):
        return rgb(photograph.copy())  # which turns it upright in place
    if isinstance(photograph, str) and photograph.startswith(("http://", "https://")):
        return _first(_fetch(photograph))
    if isinstance(photograph, Encoded):
        return _first(photograph)
    if isinstance(photograph, str | Path):
        return _first(Path(photograph).expanduser())
    if not isinstance(photograph, np.ndarray):
        raise DataError(
            f"a {type(photograph).__name__} is no photograph. Give a path, a URL, an image of Pillow, an array uint8 "
            "[height, width, 3], or a list of these."
        )
    if photograph.ndim != 3 or photograph.shape[-1] != 3 or photograph.dtype != np.uint8:
        raise DataError(
            f"an image of shape {photograph.shape} and type {photograph.dtype}: it must be uint8 [height, width, 3]. "
            "Several images are given as a list; paths of files and images of Pillow may have any form."
        )
    return photograph


def _first(path: Path | Encoded) -> np.ndarray:
    with opened(path) as image:
        count = pages(image)
    if count > 1:
        logging.warning("%s contains %d pages or frames: 1 of %d is segmented", path, count, count)
    return read_image(path)


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
