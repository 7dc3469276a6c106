"""The photographs that annotations name, whose paths may be those of another machine, server or tool."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from seg_jax.data.images import PHOTOGRAPHS, DataError
from seg_jax.data.sources.patterns import split_in, walk


class Photographs:
    """The image files below a directory, found by the names that annotations give them."""

    def __init__(self, root: Path):
        self.root = root
        self.files = walk(root)
        self.files = [path for path in self.files if not any(p.startswith(".") for p in path.relative_to(root).parts)]
        self.images = [path for path in self.files if path.suffix.lower() in PHOTOGRAPHS]
        self._by_name: dict[str, list[Path]] = {}
        for path in self.images:
            self._by_name.setdefault(_plain(path.name), []).append(path)

    def find(self, name: str, near: Path) -> Path | None:
        """The photograph of a name; None if there is none.

        Args:
          name: a path of this or of another machine, or a URL.
          near: the file that names it.

        Raises:
          DataError: several files below the directory have the name, and nothing tells which is meant.
        """
        text = name.replace("\\", "/")
        for base in (near.parent, self.root):
            place = Path(os.path.normpath(base / text))  # as `walk` spells it, where a name begins with '../'
            if place.suffix.lower() in PHOTOGRAPHS and place.is_file():
                return place
        parts = [_plain(part) for part in PurePosixPath(text).parts if part not in ("/", ".", "..")]
        found = self._by_name.get(parts[-1], []) if parts else []
        if len(found) < 2:
            return found[0] if found else None
        best = max(_shared(path, parts) for path in found)
        found = [path for path in found if _shared(path, parts) == best]
        split = split_of(self.root, near)
        same = [path for path in found if split_of(self.root, path) == split]
        found = same if len(same) == 1 else [path for path in found if near.parent in path.parents] or found
        if len(found) > 1:
            shown = " and ".join(str(path.relative_to(self.root)) for path in found[:2])
            raise DataError(f"the photograph {name!r} may be {shown}; give photographs different names")
        return found[0]

    def find_url(self, text: str, near: Path) -> Path | None:
        """The same of a URL as Label Studio has them, whose files may have a number and '-' before their names."""
        url = urlsplit(text)
        path = unquote(parse_qs(url.query).get("d", [url.path])[0])
        short = re.sub(r"^[0-9a-f]{8}-", "", PurePosixPath(path).name)
        return self.find(path, near) or (self.find(short, near) if short else None)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _shared(path: Path, parts: Sequence[str]) -> int:
    """How many parts two paths have in common, from their ends."""
    count = 0
    for one, other in zip(reversed(path.parts), reversed(parts), strict=False):
        if _plain(one) != other:
            break
        count += 1
    return count


def split_of(root: Path, path: Path) -> str:
    """The split that a directory below the data set's names, else the file's stem; '' for none."""
    below = path.relative_to(root)
    return split_in("/".join(below.parent.parts)) or split_in(path.stem)
