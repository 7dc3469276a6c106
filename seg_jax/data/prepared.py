"""Marker files of data sets that `prepare` writes: complete or unfinished."""

from __future__ import annotations

from pathlib import Path

from seg_jax.data.images import DataError

MANIFEST = "manifest.json"  # in a complete data set
UNFINISHED = "unfinished.json"  # in one that is being written


def refuse_unfinished(directory: Path) -> None:
    """Refuses a directory that contains only part of a data set.

    Raises:
      DataError: it is marked as unfinished and has no manifest.
    """
    if (directory / UNFINISHED).is_file() and not (directory / MANIFEST).is_file():
        raise DataError(
            f"{directory} contains part of a data set: `python -m seg_jax.data prepare` was interrupted. Run the same "
            "command to resume."
        )
