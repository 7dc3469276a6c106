"""YOLO's segmentation labels: `data.yaml`, and for `images/.../NAME.jpg` the polygons in `labels/.../NAME.txt`.

A line is a class and the points of a polygon: `3 x y x y x y ...`, as shares of the width and the height. Without
`data.yaml`, `classes.txt` has the names, as Label Studio exports them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from seg_jax.config import Size
from seg_jax.data.examples import Bad
from seg_jax.data.images import DataError
from seg_jax.data.label_tools import raster
from seg_jax.data.label_tools.photographs import Photographs, split_of
from seg_jax.data.label_tools.raster import Patch
from seg_jax.data.label_tools.scene import Annotations, Scene, Thing
from seg_jax.data.labels import LabelError
from seg_jax.data.labels.text import YAML, parse_yaml

SPLITS = ("train", "val", "valid", "test")
CLASSES = "classes.txt"


def recognize(photographs: Photographs) -> list[Path]:
    """The YAML file with names and splits, or `classes.txt`, beside directories `labels` of texts."""
    texts = any(path.suffix == ".txt" and "labels" in path.parts for path in photographs.files)
    for path in photographs.files:
        if texts and path.suffix.lower() in YAML and path.parent == photographs.root and b"names:" in path.read_bytes():
            return [path]
    usual = photographs.root / CLASSES
    return [usual] if texts and usual.is_file() and (photographs.root / "images").is_dir() else []


def _document(path: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(path.read_text(encoding="utf-8-sig"))
    except (LabelError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}") from error
    if not isinstance(content, dict) or "names" not in content:
        raise DataError(f"{path} has no 'names'. Write the names of the classes there, such as names: [road, tree].")
    return content


def read(photographs: Photographs, files: list[Path]) -> Annotations:
    """The annotations of a data set; a photograph without a text is one that nobody has labelled.

    Raises:
      DataError: `data.yaml` has another form, or a list of photographs does not exist.
    """
    (file,) = files
    content = _document(file) if file.suffix.lower() in YAML else {}
    names = _names(file, content)
    scenes: dict[str, list[Scene]] = {}
    bad: dict[str, list[Bad]] = {}
    taken: set[Path] = set()
    for split, photos in _splits(photographs, file, content).items():
        for photo in photos:
            label = label_path(photo)
            taken.add(label)
            if label.is_file():
                scenes.setdefault(split, []).append(_scene(photo, label, names))
    for label in photographs.files:
        if label.suffix == ".txt" and "labels" in label.relative_to(photographs.root).parts and label not in taken:
            why = f"has no photograph {images_path(label).with_suffix('.*')}; add it, or remove the text."
            bad.setdefault(split_of(photographs.root, label), []).append(Bad(str(label), why))
    return Annotations(tuple(names.values()), scenes, bad, files=(file,))


def _names(file: Path, content: Mapping[str, Any]) -> dict[int, str]:
    if not content:
        lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        return dict(enumerate(line.strip() for line in lines if line.strip()))
    names = content["names"]
    names = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(names, dict) or not all(str(i).isdecimal() and isinstance(n, str) for i, n in names.items()):
        raise DataError(f"{file}: 'names' is no list of names, and no mapping of numbers to names. Correct it there.")
    return {int(i): name for i, name in names.items()}


def _splits(photographs: Photographs, file: Path, content: Mapping[str, Any]) -> dict[str, list[Path]]:
    """The photographs of each split, '' where nothing names splits."""
    splits: dict[str, list[Path]] = {}
    for split in SPLITS:
        named = content.get(split) or []
        for text in [named] if isinstance(named, str) else named:
            splits.setdefault(split, []).extend(_photos(photographs, file, content, split, str(text)))
    if not splits:
        for photo in photographs.images:
            splits.setdefault(split_of(photographs.root, photo), []).append(photo)
    return splits


def _photos(photographs: Photographs, file: Path, content: Mapping[str, Any], split: str, text: str) -> list[Path]:
    """The photographs of a directory or a list; the path may be that of another machine, or begin with '../'."""
    parts = [part for part in PurePosixPath(text.replace("\\", "/")).parts if part not in ("/", ".", "..")]
    tails = [photographs.root.joinpath(*parts[i:]) for i in range(len(parts))]
    candidates = [photographs.root / str(content.get("path", "")) / text, photographs.root / text, *tails]
    place = next((path for path in candidates if path.exists() and photographs.root in path.resolve().parents), None)
    if place is None:
        if split == "test":  # which many lists name although nobody has it
            return []
        raise DataError(
            f"{file}: {split}: {text} is neither a directory nor a list below {photographs.root}. Correct it there, "
            "or add the photographs."
        )
    place = place.resolve()
    if place.is_dir():
        return [path for path in photographs.images if place in path.resolve().parents]
    lines = place.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    found = [(line.strip(), photographs.find(line.strip(), place)) for line in lines if line.strip()]
    if missing := next((line for line, photo in found if photo is None), ""):
        raise DataError(f"{place} lists {missing}, which is not there. Add it, or remove the line.")
    return [photo for _, photo in found if photo]


def label_path(photo: Path) -> Path:
    """The text of a photograph: its path with the last `images` as `labels`."""
    return _moved(photo, "images", "labels").with_suffix(".txt")


def images_path(label: Path) -> Path:
    """The reverse of `label_path`, without the photograph's extension."""
    return _moved(label, "labels", "images")


def _moved(path: Path, old: str, new: str) -> Path:
    parts = [*path.parts]
    places = [i for i, part in enumerate(parts[:-1]) if part == old]
    if places:
        parts[places[-1]] = new
    return Path(*parts)


def _scene(photo: Path, label: Path, names: Mapping[int, str]) -> Scene:
    things: list[Thing] = []
    try:
        lines = label.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        return Scene(photo, label, fault=f"it is no text ({error.reason}); export it again")
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells:
            continue
        where = f"line {number}"
        try:
            kind, values = int(cells[0]), np.array(cells[1:], float)
        except ValueError:
            return Scene(photo, label, fault=f"{where}: {line[:60]!r} is no class with numbers; export it again")
        if kind not in names:
            known = ", ".join(f"{i} {name}" for i, name in [*names.items()][:10])
            return Scene(photo, label, fault=f"{where} has the class {kind}; the names are those of {known}")
        things.append(Thing(names[kind], partial(_draw, values), where))
    return Scene(photo, label, things=things)


def _draw(points: np.ndarray, size: Size) -> Patch:
    if len(points) == 4:
        raise DataError("4 numbers are a box, which does not say which pixels; export polygons (segmentation)")
    if len(points) % 2 or not np.isfinite(points).all():
        raise DataError(f"{len(points)} numbers are no pairs of finite x and y; correct them")
    return raster.polygon([points.reshape(-1, 2) * size[::-1]], size)
