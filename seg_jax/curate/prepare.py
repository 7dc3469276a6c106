"""Writes a data set in another size and format: as a folder, NumPy arrays, TFRecords, or for Hugging Face.

The directory contains the file `UNFINISHED` from the beginning to the end of the writing. `MANIFEST`, with the SHA-256
of every file, is written when all files are complete. So half a data set is never taken for a whole one, and the same
command resumes after an interruption.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from seg_jax.config import Config, ConfigError, flatten, lookup
from seg_jax.curate.formats import FORMATS, ORIGINAL, Job
from seg_jax.data import checking
from seg_jax.data.examples import Examples
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelTable
from seg_jax.data.prepared import CHECKED, MANIFEST, PREDICTED, SOURCE, UNFINISHED
from seg_jax.runtime.files import remove_partial, write_bytes

WITH_FILES = ("annotated", "cityscapes", "folder")  # sources with a file for each photograph


def prepare(
    splits: Sequence[Examples],
    config: Config,
    *,
    to: str,
    out: Path,
    photos: str = "jpeg",
    labels: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Writes some splits of a data set, or resumes an interrupted writing.

    Args:
      splits: the splits, at `config.data.size`.
      config: reads `seed` and `data`; all fields that change an example are recorded.
      to: the format, a key of `formats.FORMATS`.
      out: a new or empty directory, or one that this function has begun to write with the same arguments.
      photos: the encoding of photographs, one of `formats.PHOTOS` or `formats.ORIGINAL`; arrays contain pixels.
      labels: JSON values that say what made the labels, for the manifest; {}: they are those of the data set.

    Returns:
      The manifest: the request, the number of examples, the examples left out, and size and SHA-256 of each file.

    Raises:
      ConfigError: there is no such format, a library that it needs is not installed, or photographs cannot be kept.
      DataError: examples cannot be used, photographs have other bands or more bits than the format, or `out` contains
        something else, or files that were changed.
    """
    write = lookup(FORMATS, to, "to").write
    with_files = config.data.source in WITH_FILES
    original = photos == ORIGINAL and to == "folder" and with_files and not all(config.data.size)
    for depth in () if original else (examples.depth for examples in splits):
        if depth.dtype != np.uint8 or depth.channels != 3:
            cure = "Use --to=folder --photos=original and no data.size, which copies the files"
            raise DataError(
                f"photographs of {depth.channels} bands in {depth.dtype} (config.data.bands = {depth.bands}, "
                f"config.data.range = {depth.range}) cannot be written with --to={to} --photos={photos}, whose "
                f"photographs are RGB of 8 bits. {cure if with_files else 'Train on the data set as it is'}."
            )
    if photos == ORIGINAL and not original:
        raise ConfigError(
            f"--photos=original keeps the files of photographs, for --to=folder, a source of {' or '.join(WITH_FILES)} "
            f"and no data.size; here are --to={to}, {config.data.source} and {config.data.size}. Use --photos=png."
        )
    request = _request(splits, config, to, photos, labels)
    manifest = _begin(out, request)
    if manifest:
        return manifest
    checked = tuple(
        checking.prepare(
            examples,
            cache="none",
            skip_bad=config.data.skip_bad,
            threads=config.data.threads,
            record=out / CHECKED / f"{examples.split}.json",
            one_size=to == "arrays",
        )
        for examples in splits
    )
    table = LabelTable(names=checked[0].table.names, colors=checked[0].table.colors)
    write_bytes(out / "class_names.json", table.to_json().encode())
    written = write(Job(out, checked, photos, config.data.threads, upright=config.data.exif != "ignore"))
    for name in (CHECKED, PREDICTED, SOURCE):
        shutil.rmtree(out / name, ignore_errors=True)
    remove_partial(out)
    files = sorted((out / "class_names.json", *written))
    with closing(checking.in_parallel(lambda i: _entry(files[i]), len(files), threads=4, title="hashing")) as entries:
        digests = {path.relative_to(out).as_posix(): entry for path, entry in zip(files, entries, strict=True)}
    manifest = {
        "request": request,
        "examples": {examples.split: len(examples) for examples in checked},
        "left_out": {e.split: [{"name": bad.name, "why": bad.why} for bad in e.bad] for e in checked if e.bad},
        "files": digests,
    }
    write_bytes(out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    (out / UNFINISHED).unlink()
    return manifest


def _request(
    splits: Sequence[Examples], config: Config, to: str, photos: str, labels: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that determines the files, as JSON values."""
    without_effect = ("cache", "threads", "prefetch", "skip_bad", "mean", "std")
    fields = {field: value for field, value in flatten(config.data).items() if field not in without_effect}
    keys = {examples.split: checking.content_key(examples) or examples.digest for examples in splits}
    request = {"to": to, "photos": photos, "seed": config.seed, "data": fields, "splits": keys}
    return json.loads(json.dumps(request | ({"labels": dict(labels)} if labels else {})))


def _begin(out: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Marks a directory as being written; returns its manifest if it is complete already.

    Raises:
      DataError: it contains something else, or files that differ from its manifest.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"--out={out} is a file; name a directory.")
    present = sorted(path.name for path in out.iterdir() if path.name[0] != ".") if out.is_dir() else []
    if present and not {MANIFEST, UNFINISHED} & set(present):
        raise DataError(
            f"--out={out} contains {', '.join(present[:3])} and was not written by this command, whose files would mix "
            "with it. Name a new directory."
        )
    records = [_read(out / name) for name in (MANIFEST, UNFINISHED) if name in present]
    if records and (changed := _changes(request, records[0].get("request", {}))):
        raise DataError(
            f"--out={out} contains {'a data set' if MANIFEST in present else 'part of one'} that was prepared from "
            f"other values of: {changed}. Name a new directory, or remove it."
        )
    if MANIFEST in present:
        files = records[0]["files"]
        there = [name for name in files if (out / name).is_file()]
        if different := _different(out, files, there):
            raise DataError(
                f"--out={out}: {len(different)} of {len(files)} files differ from {MANIFEST}, such as "
                f"{', '.join(different[:3])}. If they are corrections, keep them: nothing has to be prepared again, "
                "train on the directory as it is. If they are damaged, delete them and run the command again."
            )
        if len(there) == len(files):
            (out / UNFINISHED).unlink(missing_ok=True)  # left by a process that was killed just before this step
            return records[0]
    if not records:
        shutil.rmtree(out / PREDICTED, ignore_errors=True)  # of another data set, of which the rest was removed
    write_bytes(out / UNFINISHED, (json.dumps({"request": request}, indent=1) + "\n").encode())
    (out / MANIFEST).unlink(missing_ok=True)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    except (OSError, ValueError):
        pass
    raise DataError(f"{path} was not written by this command, or is damaged. Name a new directory.")


def _changes(request: Mapping[str, Any], recorded: Mapping[str, Any]) -> str:
    one, two = flatten(request), flatten(recorded)
    return ", ".join(key for key in sorted(one.keys() | two.keys()) if one.get(key) != two.get(key))


def _different(out: Path, files: Mapping[str, Mapping[str, Any]], there: Sequence[str]) -> list[str]:
    """The files that differ from the manifest, among those that are there."""

    def intact(i: int) -> bool:
        return _entry(out / there[i]) == files[there[i]]

    with closing(checking.in_parallel(intact, len(there), threads=4, title="verifying")) as results:
        return [name for name, good in zip(there, results, strict=True) if not good]


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
