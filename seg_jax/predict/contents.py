"""What an exported file says about itself, checked before anything is computed with it."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

from seg_jax.runtime import documents
from seg_jax.runtime.documents import number
from seg_jax.runtime.errors import SegJaxError

VERSION = 1  # version of the fields of metadata.json
DOCUMENTS = ("metadata.json", "class_names.json")
OUTPUTS = ("probabilities", "label")
CURE = "it is damaged, or not written by python -m seg_jax.export; export it again"


class ArtefactError(SegJaxError, ValueError):
    """A file that is not an artefact, or an image that it cannot process; the message says what to do."""


def size(value: Any) -> bool:
    """[height, width] of at most 67 million pixels"""
    return documents.size(value) and math.prod(value) <= 2**26


def side(value: Any) -> bool:
    """a number of pixels from 0 to 8192"""
    return type(value) is int and 0 <= value <= 2**13


def output(value: Any) -> bool:
    """'probabilities' or 'label'"""
    return value in OUTPUTS


FORM = {
    "output": output,
    "size": (size, None),
    "trained_size": (size, None),
    "classes?": [str],
    "bands?": [int],
    "range?": [number],
    "parameters": int,
    "config": {"model": {"name": str, "encoder": {"name": str}}, "data?": {"short_side?": side}},
}


def members(path: Path, *names: str) -> dict[str, bytes]:
    """{name: content} of members of a zip archive, which exports store uncompressed; no other member is read.

    Raises:
      ArtefactError: a member is larger than the whole file, that is, compressed.
    """
    with zipfile.ZipFile(path) as archive:
        for name in names:
            if archive.getinfo(name).file_size > path.stat().st_size:
                raise ArtefactError(f"{path}: {name} would be larger than the file; {CURE}.")
        return {name: archive.read(name) for name in names}


def metadata(text: str | bytes, path: Path) -> dict[str, Any]:
    """The content of metadata.json.

    Raises:
      ArtefactError: it has another form, or was written by a newer version.
    """
    version = {"format": int, "seg_jax": str}
    known = documents.parse(text, version, name=f"{path}: metadata.json", error=ArtefactError, cure=CURE)
    if known["format"] > VERSION:
        raise ArtefactError(f"{path} was written by seg_jax {known['seg_jax']}, which is newer. Update seg_jax.")
    return documents.parse(text, FORM, name=f"{path}: metadata.json", error=ArtefactError, cure=CURE)
