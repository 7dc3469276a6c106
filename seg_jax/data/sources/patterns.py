"""Patterns of file names with stars, for the source `folder`."""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from seg_jax.data.images import EXTENSIONS, PHOTOGRAPHS, DataError
from seg_jax.data.rasters import ARRAYS

SPLIT = re.compile(r"(?<![a-z])(train(?:ing|val)?|val(?:id(?:ation)?)?|test(?:ing)?)", re.IGNORECASE)
WORD = re.compile(rf"{SPLIT.pattern}(?![^\W\d_])", re.IGNORECASE)  # alone or before a number, as in train_1 and val2017

Key = tuple[str, ...]  # the texts that the stars of a pattern match


def loose(key: Iterable[str]) -> str:
    """A form of a key in which other spellings are equal: Unicode's forms, cases, zeros before numbers, separators.

    ('berlin', '007') and ('Berlin_7',) give 'berlin_7'.
    """
    text = unicodedata.normalize("NFC", "/".join(key)).casefold()
    return re.sub(r"[/_\-. ]+", "_", re.sub(r"(?<!\d)0+(?=\d)", "", text)).strip("_")


def split_in(text: str) -> str:
    """The name of a split that is a word in a path, as in 'train_1' and not in 'valley'; '' for none."""
    match = WORD.search(text)
    return match[0] if match else ""


def walk(base: Path) -> list[Path]:
    """Everything below a directory, sorted; links to directories are followed, each directory is read once.

    `Path.rglob` passes over such links, and a data set whose parts are linked from several disks lost them silently.
    A directory comes under its own name, but if that is hidden, rather under the name of a link to it.
    """
    seen = {os.fspath(parent) for parent in Path(os.path.realpath(base)).parents}  # a link upwards is a circle
    paths: list[Path] = []
    folders: list[Path] = [base]
    links: list[Path] = []
    hidden: list[Path] = []
    while ahead := folders or links or hidden:
        here = ahead.pop()
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        with contextlib.suppress(PermissionError), os.scandir(here) as entries:
            for entry in entries:
                paths.append(here / entry.name)
                if entry.is_dir():
                    kind = links if entry.is_symlink() else folders
                    (hidden if ahead is hidden or entry.name.startswith(".") else kind).append(here / entry.name)
    return sorted(paths)


@dataclass(frozen=True)
class Pattern:
    """A pattern of file names.

    Attributes:
      base: the directory above the first star.
      rest: the pattern below it; its last component names files, with or without an extension.
      field: the field of the configuration, for messages.
    """

    base: Path
    rest: str
    field: str

    @classmethod
    def parse(cls, root: Path, text: str, field: str) -> Pattern:
        """A pattern from its text; a directory stands for all of its files."""
        parts = Path(text).parts
        first = next((i for i, part in enumerate(parts) if "*" in part), len(parts))
        below = parts[first:]
        if not below or below[-1] == "**":
            below = (*below, "*")
        return cls(root.joinpath(*parts[:first]), "/".join(below), field)

    @property
    def stars(self) -> int:
        """The number of stars, counting ** as one."""
        return len(re.findall(r"\*+", self.rest))

    def fill(self, key: Key) -> Path:
        """The path with `key` in place of the stars; .png if the pattern has no extension."""
        parts = iter(key)
        name = re.sub(r"\*+/?", lambda star: (next(parts) + star[0].lstrip("*")).lstrip("/"), self.rest)
        return self.base / (name if PurePosixPath(name).suffix.lower() in PHOTOGRAPHS else f"{name}.png")

    def find(self) -> dict[Key, Path]:
        """The matching image files by the texts under the stars, sorted by path.

        Raises:
          DataError: there is no such directory, it has no such files, or two of them have the same key.
        """
        if not self.base.is_dir():
            above = self.base.parent
            siblings = sorted(p.name for p in above.glob("*") if p.is_dir())
            there = f" {above} contains: {', '.join(siblings) or 'no directories'}." if above.is_dir() else ""
            raise DataError(
                f"{self.base} is not a directory (config.{self.field}).{there} "
                "Set config.data.images and config.data.masks to your layout; '{split}' stands for the split."
            )
        extension = PurePosixPath(self.rest).suffix.lower()
        named = extension in PHOTOGRAPHS
        stem = self.rest[: -len(extension)] if named else self.rest
        extensions = (extension,) if named else EXTENSIONS
        files = self._matching(stem, extensions)
        if not files and not named:  # arrays beside pictures are something else, such as depths
            files = self._matching(stem, ARRAYS)
        if not files:
            which = "" if self.rest == "*" else f" that match {self.rest!r}"
            raise DataError(
                f"{self.base} contains no image files ({', '.join(extensions)}){which}. Correct "
                f"config.{self.field}, or add the files."
            )
        return files

    def _matching(self, stem: str, extensions: tuple[str, ...]) -> dict[Key, Path]:
        parts = {"**/": "(?:(.*)/)?", "*": "([^/]*)"}
        expression = re.compile("".join(parts.get(part) or re.escape(part) for part in re.split(r"(\*\*/|\*)", stem)))
        files: dict[Key, Path] = {}
        for path in walk(self.base) if "/" in self.rest else sorted(self.base.iterdir()):
            below = path.relative_to(self.base)
            match = expression.fullmatch(below.with_suffix("").as_posix())
            if not match or path.suffix.lower() not in extensions or any(part.startswith(".") for part in below.parts):
                continue
            key = tuple(group or "" for group in match.groups())
            if key in files:
                raise DataError(
                    f"{files[key].relative_to(self.base)} and {below} in {self.base} have the same stem, so it is "
                    "unclear which one to use. Remove or rename one of them."
                )
            files[key] = path
        return files
