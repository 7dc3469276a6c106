"""A data set written in another size and format: as a folder, as NumPy arrays, as TFRecords, or for Hugging Face.

What is being written holds the file `UNFINISHED` from the first moment to the last, and `MANIFEST` with the SHA-256 of
every file is written when all of them are there. So half of a data set is never taken for a whole one, and the same
command goes on where it was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from seg_jax.config import Config, flatten, lookup
from seg_jax.curate.formats import FORMATS, Job
from seg_jax.data import checking
from seg_jax.data.examples import Examples
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelTable
from seg_jax.data.prepared import MANIFEST, UNFINISHED
from seg_jax.files import write_bytes


def prepare(splits: Sequence[Examples], config: Config, *, to: str, out: Path, photos: str = "jpeg") -> dict[str, Any]:
    """Writes some splits of a data set, or goes on where this was interrupted.

    Args:
      splits: at `config.data.size`.
      config: reads `seed` and `data`, of which everything that changes an example is noted.
      to: of `formats.FORMATS`.
      out: a directory, which must be new, empty, or one that this function has begun to write with the same arguments.
      photos: of `formats.PHOTOS`; the arrays hold pixels.

    Returns:
      The manifest: what was asked for, how many examples there are, what was left out, and size and SHA-256 of files.

    Raises:
      ConfigError: no such format, or a library that it needs is not installed.
      DataError: examples cannot be used, or `out` holds something else.
    """
    write = lookup(FORMATS, to, "to").write
    request = _request(splits, config, to, photos)
    whole = _begin(out, request)
    if whole:
        return whole
    checked = tuple(
        checking.prepare(
            examples,
            cache="none",
            skip_bad=config.data.skip_bad,
            threads=config.data.threads,
            record=out / ".checked" / f"{examples.split}.json",
            one_size=to == "arrays",
        )
        for examples in splits
    )
    table = LabelTable(names=checked[0].table.names, colors=checked[0].table.colors)
    write_bytes(out / "class_names.json", table.to_json().encode())
    write(Job(out, checked, photos, config.data.threads))
    for path in out.glob(".*"):  # the record of the check, and what a kill left of half a file
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != UNFINISHED)
    with closing(checking.in_parallel(lambda i: _entry(files[i]), len(files), threads=4, title="hashing")) as entries:
        noted = {path.relative_to(out).as_posix(): entry for path, entry in zip(files, entries, strict=True)}
    manifest = {
        "request": request,
        "examples": {examples.split: len(examples) for examples in checked},
        "left_out": {e.split: [{"name": bad.name, "why": bad.why} for bad in e.bad] for e in checked if e.bad},
        "files": noted,
    }
    write_bytes(out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    (out / UNFINISHED).unlink()
    return manifest


def _request(splits: Sequence[Examples], config: Config, to: str, photos: str) -> dict[str, Any]:
    """All that decides what is written, as JSON has it."""
    own = ("cache", "threads", "prefetch", "skip_bad", "mean", "std")
    fields = {field: value for field, value in flatten(config.data).items() if field not in own}
    keys = {examples.split: checking.content_key(examples) or examples.digest for examples in splits}
    return json.loads(json.dumps({"to": to, "photos": photos, "seed": config.seed, "data": fields, "splits": keys}))


def _begin(out: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Marks a directory as being written; the manifest if it is whole already.

    Raises:
      DataError: it holds something else.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"--out={out} is a file; name a directory.")
    there = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if there and not {MANIFEST, UNFINISHED} & set(there):
        raise DataError(
            f"--out={out} holds {', '.join(there[:3])} and was not written by this command, which would mix with that. "
            "Name a new directory."
        )
    noted = [_read(out / name) for name in (MANIFEST, UNFINISHED) if name in there]
    if noted and (changed := _changes(request, noted[0].get("request", {}))):
        raise DataError(
            f"--out={out} holds {'a data set' if MANIFEST in there else 'part of one'} that was prepared from other "
            f"values of: {changed}. Name a new directory, or remove it."
        )
    if MANIFEST in there:
        damaged = _damaged(out, noted[0]["files"])
        if not damaged:
            (out / UNFINISHED).unlink(missing_ok=True)  # the last step of a run that was killed just before it
            return noted[0]
        for name in damaged:
            (out / name).unlink(missing_ok=True)
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


def _changes(request: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    one, two = flatten(request), flatten(there)
    return ", ".join(key for key in sorted(one.keys() | two.keys()) if one.get(key) != two.get(key))


def _damaged(out: Path, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The files that are missing, or not what the manifest says."""
    names = list(files)

    def sound(i: int) -> bool:
        path = out / names[i]
        return path.is_file() and _entry(path) == files[names[i]]

    with closing(checking.in_parallel(sound, len(names), threads=4, title="verifying")) as results:
        return [name for name, good in zip(names, results, strict=True) if not good]


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
