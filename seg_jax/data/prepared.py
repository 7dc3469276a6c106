"""Marks of a directory that `prepare` writes: whole, or in part."""

from __future__ import annotations

from pathlib import Path

from seg_jax.data.images import DataError

MANIFEST = "manifest.json"  # beside a data set that is whole
UNFINISHED = "unfinished.json"  # beside one that is being written


def refuse_unfinished(place: Path) -> None:
    """Refuses a directory in which a data set has been written in part.

    Raises:
      DataError: it is marked so, and has no manifest.
    """
    if (place / UNFINISHED).is_file() and not (place / MANIFEST).is_file():
        raise DataError(
            f"{place} holds part of a data set: `python -m seg_jax.data prepare` was interrupted. Run the same command "
            "to resume."
        )
