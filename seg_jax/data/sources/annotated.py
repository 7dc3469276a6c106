"""Photographs with the annotations of a label tool, drawn into masks as they are read; see docs/formats.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from seg_jax.config import DataConfig, lookup, require
from seg_jax.data import label_tools, orientation
from seg_jax.data.depth import Depth
from seg_jax.data.examples import Bad, Examples, Pair
from seg_jax.data.images import DataError, read_photograph
from seg_jax.data.label_tools import raster
from seg_jax.data.label_tools.photographs import Photographs
from seg_jax.data.label_tools.scene import BACKGROUND, Annotations, Scene
from seg_jax.data.labels import LabelTable, palette
from seg_jax.data.labels.builtin import FILES, label_table
from seg_jax.data.labels.forms import NOT_COUNTED


def load(data: DataConfig, split: str, *, seed: int) -> Examples:
    """The annotated photographs of one split, in the order of the annotations.

    Objects are drawn in the order of their file, later ones over earlier ones. Pixels outside of all objects are of the
    class 'background', and ignored if the label table has none.

    Args:
      data: reads `dir`; `labels`, a table with the names of the classes in the order of their ids, '': a file in `dir`,
        else the background and then the classes as the annotations list them; `missing_mask`, what a photograph without
        annotations beside annotated ones is; `val_share`, where the annotations have no splits.
      split: its name.
      seed: unused.

    Raises:
      ConfigError: there is no such split.
      DataError: the directory has no annotations of a known layout, or they are damaged.
      LabelError: the label table is invalid.
    """
    del seed
    root = Path(data.dir).expanduser().resolve()  # annotations may name absolute paths
    if not root.is_dir():
        raise DataError(f"config.data.dir = {data.dir!r} is not a directory. Pass --config.data.dir=DIR.")
    name, photographs, found = label_tools.read(root)
    table = table_of(root, data.labels, found)
    complete = divided(checked(found, photographs, missing_as_background=data.missing_mask == "background"))
    key = _split(data, split, complete)
    bad = [*complete.bad.get(key, ()), *(unclaimed(complete) if key and split == data.train_split else ())]
    scenes = complete.scenes.get(key, ())
    ids = class_ids(table, found)
    outside = table.names.index(BACKGROUND) if BACKGROUND in table.names else table.ignored
    depth = Depth.of(data)

    return Examples(
        split=split,
        names=tuple(_below(root, scene.photo) for scene in scenes),
        read=lambda index: _read(scenes[index], ids, outside, data.exif, table, depth),
        table=table,
        files=tuple(tuple(dict.fromkeys((scene.photo, scene.file))) for scene in scenes),
        reading=f"annotations={name}, missing_mask={data.missing_mask}, {depth}",
        bad=tuple(Bad(one.name.removeprefix(f"{root}/"), one.why) for one in bad),
    )


def table_of(root: Path, labels: str, found: Annotations) -> LabelTable:
    """The table that the field `data.labels` names, or else: the background, then the annotations' classes.

    Raises:
      DataError: the annotations have no class.
      LabelError: there is no such table, or it is invalid.
    """
    if labels or any((root / name).is_file() for name in FILES):
        return label_table(root, labels)
    names = [name for name in dict.fromkeys(found.names) if _plain(name) not in (BACKGROUND, *NOT_COUNTED)]
    if not names:
        faults = [f"{one.file}: {one.fault}." for part in found.scenes.values() for one in part if one.fault]
        faults += [f"{bad.name}: {bad.why}" for part in found.bad.values() for bad in part]
        raise DataError(
            f"the annotations in {root} have no class. {faults[0] if faults else 'Annotate an object first.'}"
        )
    colors = [(0, 0, 0), *palette(len(names) + 1)[1:]]
    colors = [found.colors.get(name, color) for name, color in zip((BACKGROUND, *names), colors, strict=True)]
    return LabelTable(names=(BACKGROUND, *names), colors=tuple(colors))


def class_ids(table: LabelTable, found: Annotations) -> Mapping[str, int]:
    """Name in the annotations -> class id, or `ignored`; names that the table does not have are missing."""
    ids = {name: i for i, name in enumerate(table.names)}
    names = {*found.names, *(thing.name for part in found.scenes.values() for one in part for thing in one.things)}
    for name in names - ids.keys():
        if _plain(name) == BACKGROUND:
            ids[name] = ids.get(BACKGROUND, table.ignored)
        elif _plain(name) in NOT_COUNTED:
            ids[name] = table.ignored
    return ids


def checked(found: Annotations, photographs: Photographs, *, missing_as_background: bool = False) -> Annotations:
    """The annotations without those that another file has, and with photographs beside annotated ones that have none.

    Args:
      found: the annotations.
      photographs: all image files.
      missing_as_background: whether photographs without annotations show nothing, rather than being bad.
    """
    scenes = {split: [*part] for split, part in found.scenes.items()}
    bad = {split: [*part] for split, part in found.bad.items()}
    first: dict[Path, Scene] = {}
    folders: dict[Path, str] = {}
    for split, part in found.scenes.items():
        scenes[split] = []
        for scene in part:
            if other := first.get(scene.photo):
                why = f"annotates {scene.photo}, as {other.file} does; remove one of them."
                bad.setdefault(split, []).append(Bad(str(scene.file), why))
            else:
                first[scene.photo] = scene
                scenes[split].append(scene)
            folders.setdefault(scene.photo.parent, split)
    for photo in sorted({*photographs.images} - {*found.files}):
        if photo in first or photo.parent not in folders:
            continue
        split = folders[photo.parent]
        if missing_as_background:
            scenes[split].append(Scene(photo, photo))
        else:
            why = "has no annotations; annotate it, or set --config.data.missing_mask=background if it shows nothing."
            bad.setdefault(split, []).append(Bad(str(photo), why))
    return replace(found, scenes=scenes, bad=bad)


def divided(found: Annotations) -> Annotations:
    """The annotations, without splits where there is none to train on or none to evaluate on."""
    names = [split.lower() for split, part in found.scenes.items() if part]
    if any(name.startswith("train") for name in names) and any(name.startswith(("val", "test")) for name in names):
        return found

    def joined(parts: Mapping[str, Sequence]) -> Mapping[str, Sequence]:
        return {"": [item for part in parts.values() for item in part]}

    return replace(found, scenes=joined(found.scenes), bad=joined(found.bad))


def unclaimed(found: Annotations) -> list[Bad]:
    """What is in none of several splits. It may be meant for training, so it is reported there."""
    splits = ", ".join(sorted(name for name in found.scenes if name))
    why = (
        f"is in no split, while others are in {splits}; move it into the directory of one, name it so (train_1), give "
        "it a subset in CVAT, or leave it out with --config.data.skip_bad=True."
    )
    return [*found.bad.get("", ()), *(Bad(str(scene.photo), why) for scene in found.scenes.get("", ()))]


def _split(data: DataConfig, split: str, found: Annotations) -> str:
    """The key of a split in the annotations, which may have none."""
    if "" not in found.scenes or len(found.scenes) > 1:
        lookup(found.scenes, split, "data.val_split" if split == data.val_split else "data.train_split")
        return split
    require(
        split == data.train_split or split != data.val_split or data.val_split == data.train_split,
        data,
        "data.val_share",
        "the annotations name no splits, so the validation split would be the training split",
        "Use 0.1 to hold a tenth of the photographs out",
    )
    return ""


def _read(scene: Scene, ids: Mapping[str, int], outside: int, exif: str, table: LabelTable, depth: Depth) -> Pair:
    if scene.fault:
        raise DataError(f"{scene.file}: {scene.fault}.")
    picture = read_photograph(scene.photo, depth, upright=exif != "ignore")
    # Where there are no objects, nothing can be turned the wrong way.
    on_stored = scene.things and orientation.on_stored(
        picture, scene.size, exif=exif, photo=scene.photo, mask=scene.file
    )
    image = picture.pixels
    size = picture.stored if on_stored else picture.size
    if scene.size and scene.size != size:
        raise DataError(
            f"{scene.photo} has {size[0]}x{size[1]} pixels (height x width), its annotations in {scene.file} were "
            f"drawn at {scene.size[0]}x{scene.size[1]}; use the one they are of."
        )
    label = np.full(size, outside, table.dtype)
    for thing in scene.things:
        where = f"{scene.file}: {thing.where} ({thing.name})"
        if thing.name not in ids:
            raise DataError(
                f"{where} is of a class that the label table has not: {', '.join(ids)}; add it to class_names.json, or "
                "correct the annotation."
            )
        try:
            raster.paint(label, thing.draw(size), ids[thing.name])
        except DataError as error:
            raise DataError(f"{where}: {error}.") from error
    label = orientation.turned(label, picture.turned) if on_stored else label
    return image, table.without_data(label, picture.missing)


def _plain(name: str) -> str:
    return name.strip("_ ").lower()


def _below(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
