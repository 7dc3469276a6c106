"""Files that tell what wrote a directory: `prepare`, whose data sets are complete or unfinished, or `predict`."""

from __future__ import annotations

from pathlib import Path

from seg_jax.data.images import DataError

MANIFEST = "manifest.json"  # in a complete data set
UNFINISHED = "unfinished.json"  # in one that is being written
CHECKED = ".seg_jax-checked"  # directories in one that is being written: the record of the check,
PREDICTED = ".seg_jax-predicted"  # finished pseudo-labels,
SOURCE = ".seg_jax-source"  # and the configuration that is being read
PREDICTIONS = "predictions.jsonl"  # in a directory of predictions


def is_prediction(mask: Path) -> bool:
    """Whether a mask is one that `python -m seg_jax.predict` wrote: its record or other pictures are beside it."""
    if (mask.parent / PREDICTIONS).is_file():
        return True
    name, _, kind = mask.stem.rpartition("_")
    others = (mask.with_name(f"{name}_{other}.png") for other in ("color", "overlay", "mask") if other != kind)
    return kind in ("mask", "color") and sum(other.is_file() for other in others) == 2


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
