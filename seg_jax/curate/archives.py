"""Cityscapes' archives as they are downloaded: what training needs is unpacked, and what is missing is named."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from seg_jax.data.checking import in_parallel
from seg_jax.data.images import DataError
from seg_jax.runtime.files import write_bytes

PHOTOS = "leftImg8bit"
TRUTHS = ("gtFine", "gtCoarse")  # the first one that is there counts
NEEDED = re.compile(r"(leftImg8bit|gtFine|gtCoarse)/(train|val)/[^/\\]+/[^/\\]+_(leftImg8bit|labelIds)\.png")


def found(root: Path) -> list[Path]:
    """The archives in a directory in which nothing is unpacked; [] if there are none.

    Raises:
      DataError: those of the photographs, or of the annotations, are missing.
    """
    archives = [path for path in sorted(root.glob("*.zip")) if path.name.startswith((PHOTOS, *TRUTHS))]
    if not archives or (root / PHOTOS).is_dir():
        return []
    photos = [path for path in archives if path.name.startswith(PHOTOS)]
    masks = next((these for truth in TRUTHS if (these := [p for p in archives if p.name.startswith(truth)])), [])
    if not photos or not masks:
        missing = f"{PHOTOS}_trainvaltest.zip" if not photos else "gtFine_trainvaltest.zip"
        raise DataError(
            f"{root} has {archives[0].name}, but no {missing} of Cityscapes. Download it to that directory."
        )
    return [*photos, *masks]


def unpack(archives: list[Path], out: Path) -> str:
    """Unpacks photographs and masks of train and val, except those that are there already; says how many.

    Raises:
      DataError: an archive is damaged, or has none of them.
    """
    count = 0
    for archive in archives:
        try:
            with zipfile.ZipFile(archive) as content:
                names = [info for info in content.infolist() if NEEDED.fullmatch(info.filename)]
                if not names:
                    raise DataError(f"{archive} has no photographs or masks of train and val. Download it again.")
                count += len(names)
                for _ in _written(content, names, out):
                    pass
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{archive} is damaged ({error}). Download it again.") from error
    return (
        f"unpacked {count} files from {', '.join(path.name for path in archives)} to {out}, which may be removed later"
    )


def _written(content: zipfile.ZipFile, infos: list[zipfile.ZipInfo], out: Path) -> Iterator[None]:
    def write(i: int) -> None:
        path = out / infos[i].filename
        if not path.is_file() or path.stat().st_size != infos[i].file_size:
            write_bytes(path, content.read(infos[i]))

    with closing(in_parallel(write, len(infos), threads=4, title="unpacking")) as done:
        yield from done
