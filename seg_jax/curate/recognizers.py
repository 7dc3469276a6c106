"""Recognisers of data sets: each looks at a directory and returns a proposal, or None if it is something else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from seg_jax.curate import (
    annotated,
    archives,
    beside,
    candidates,
    classes,
    groups,
    known,
    layout,
    listed,
    objects,
    roles,
)
from seg_jax.curate.proposal import (
    Proposal,
    common_size,
    first_split,
    resize_masks,
    split_fields,
    try_size,
)
from seg_jax.data.images import DataError, read_image
from seg_jax.data.labels import LabelError, builtin
from seg_jax.data.labels.cityscapes import TABLES as CITYSCAPES
from seg_jax.data.labels.palettes import Palette
from seg_jax.runtime.documents import parse as parse_json

# ----- recognised by file names


def pets(root: Path) -> Proposal | None:
    """Oxford-IIIT Pets, unpacked."""
    if not (root / "annotations" / "trainval.txt").is_file() or not (root / "annotations" / "trimaps").is_dir():
        return None
    fields = {"data.source": "pets", "data.dir": str(root), "data.size": (256, 256)}
    return Proposal(root, "Oxford-IIIT Pets from its archives", fields)


def cityscapes(root: Path) -> Proposal | None:
    """Cityscapes, unpacked."""
    if zipped := archives.found(root):
        raise DataError(
            f"{root} has archives of Cityscapes ({', '.join(path.name for path in zipped)}). Unpack them there, or let "
            f"`python -m seg_jax.data prepare {root} --to=folder --out=OUT` unpack what is needed."
        )
    photos = sorted((root / "leftImg8bit").glob("*/*/*_leftImg8bit.png"))
    truth = next((name for name in ("gtFine", "gtCoarse") if (root / name).is_dir()), "")
    if not photos or not truth:
        return None
    fields = {"data.source": "cityscapes", "data.dir": str(root), "data.cityscapes.coarse": truth == "gtCoarse"}
    fields |= {"data.cache": "none"} if len(photos) > 200 else {}
    return Proposal(root, f"Cityscapes ({truth}), {len(photos)} frames", fields)


def huggingface(root: Path) -> Proposal | None:
    """A folder saved by Hugging Face's datasets."""
    if not any((root / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return None
    if not any((root / name).is_file() for name in builtin.FILES):
        raise DataError(
            f"{root} is a data set of Hugging Face without the names of its classes. Write {root / builtin.FILES[0]}, "
            'such as ["background", "road", "car"].'
        )
    fields = {"data.source": "huggingface", "data.dir": str(root)}
    return Proposal(root, "a folder that Hugging Face's datasets saved", fields)


def tfds(root: Path) -> Proposal | None:
    """A data set prepared by TensorFlow Datasets."""
    infos = sorted(root.glob("*/*/dataset_info.json"))
    if len(infos) != 1 or not infos[0].with_name("features.json").is_file():
        return None
    cure = "prepare the data set again"
    form = {"splits?": [{"name": str}]}
    info = parse_json(infos[0].read_bytes(), form, name=infos[0], error=DataError, cure=cure)
    splits = [split["name"] for split in info.get("splits", [])]
    if not splits:
        raise DataError(f"{infos[0]} names no split; {cure}.")
    name = f"{infos[0].parts[-3]}:{infos[0].parts[-2]}"
    fields = {"data.source": "tfds", "data.dir": str(root), "data.tfds.name": name, "data.tfds.data_dir": str(root)}
    return Proposal(root, f"{name}, prepared by TensorFlow Datasets", fields | split_fields(splits))


def arrays(root: Path) -> Proposal | None:
    """NumPy files."""
    splits = [path.stem for path in sorted(root.glob("*.npz"))]
    splits += [path.stem.removesuffix("_labels") for path in sorted(root.glob("*_labels.npy"))]
    if not splits:
        return None
    if not any((root / name).is_file() for name in builtin.FILES):
        raise DataError(
            f"{root} contains arrays ({', '.join(splits)}) without the names of their classes. Write "
            f'{root / builtin.FILES[0]}, such as ["background", "road", "car"].'
        )
    return Proposal(root, "NumPy arrays", {"data.source": "arrays", "data.dir": str(root)} | split_fields(splits))


# ----- recognised by the content of files


def folder(root: Path, *, images: str = "", masks: str = "") -> Proposal | None:
    """Photographs and masks in directories, matched by name or named in lists.

    Args:
      root: the directory.
      images, masks: patterns of the photographs and masks, where there are several candidates.

    Raises:
      DataError: several kinds of files may be the photographs, or the masks; or their classes are unclear.
    """
    documents, files = beside.documents(root), layout.image_files(root)
    photos, labels = roles.tell_apart(root, files)
    objects.refuse(root, photos, labels)
    photos, labels, notes = candidates.choose(root, photos, labels, images=images, masks=masks)
    matched = layout.find(root, photos, labels)
    named = None if images or masks else listed.find(root, documents, matched)
    if named is None and matched is None:
        return None
    fields: dict[str, Any] = {"data.list": named.template} if named else {}
    summary = f"photographs and masks in the lists {named.template}" if named else ""
    if matched and (named is None or named.stems):
        fields |= {"data.images": matched.images, "data.masks": matched.masks}
        summary = f"photographs {matched.images} with masks {matched.masks}"
        summary += f", those in the lists {named.template}" if named else ""
    pairs = named.splits if named else matched.pairs if matched else {}
    used = {path for part in pairs.values() for pair in part for path in pair}
    odd = roles.odd_masks(sorted({mask for part in pairs.values() for _, mask in part}))
    odd |= roles.odd_photographs(sorted({photo for part in pairs.values() for photo, _ in part}))
    pairs = {split: [pair for pair in part if not {*pair} & odd.keys()] for split, part in pairs.items()}
    notes += [f"{path.relative_to(root)} {why}: left out until it is replaced" for path, why in odd.items()]
    # Patterns would match the files of other kinds, or an odd one, again.
    surpassed = {*files} - {*photos, *labels}
    exactly = bool(odd) or (named is None and matched is not None and layout.matches(matched, surpassed))
    train, val = first_split(pairs, "train"), first_split(pairs, "val") or first_split(pairs, "test")
    if train and val:
        fields |= {"data.train_split": train, "data.val_split": val}
        parts = {train: pairs[train], val: pairs[val]}
    else:
        train = train or max(pairs, key=lambda split: len(pairs[split]))
        fields = {field: text.replace("{split}", train) for field, text in fields.items()} | {"data.val_share": 0.1}
        parts = {"": pairs[train]}
        group, note = listed.groups(root, [photo for photo, _ in parts[""]])
        fields |= {"data.group": group} if group else {}
        notes += [note] if note else []
    if exactly:
        fields = {field: value for field, value in fields.items() if field not in ("data.images", "data.masks")}
    unpaired = {*photos, *labels} - used
    summary += f"; {len(unpaired)} other image files are not used" if unpaired else ""
    if not (train and val):
        summary += "; whole directories" if "data.group" in fields else "; a tenth of them"
        summary += " are held out to evaluate on" if "data.group" in fields else " is held out to evaluate on"
    proposal = _labelled(root, summary, fields, list(parts.values()), notes, documents, named.files if named else ())
    known = len(used) + len(unpaired - _without_truth(root, unpaired, used))
    return replace(proposal, files=(known, len(used) - 2 * len(odd)), pairs=parts if exactly else {})


def _without_truth(root: Path, unpaired: Iterable[Path], used: Iterable[Path]) -> set[Path]:
    """The photographs of a test split that has no masks, which nobody expects to be used."""
    folders = {path.parent for path in used}
    places = {path: path.parent.relative_to(root).as_posix() for path in unpaired if path.parent not in folders}
    return {path for path, place in places.items() if re.search(r"(?<![a-z])test", place, re.IGNORECASE)}


def _labelled(
    root: Path,
    summary: str,
    fields: dict[str, Any],
    parts: Sequence[Sequence[layout.Paths]],
    notes: Sequence[str],
    documents: Sequence[Path],
    lists: Sequence[Path],
) -> Proposal:
    """The proposal for the source `folder`, with the classes that its masks show."""
    fields = {"data.source": "folder", "data.dir": str(root), **fields}
    photos = [photo for part in parts for photo, _ in part]
    masks = [mask for part in parts for _, mask in part]
    summary += f" ({', '.join(str(len(part)) for part in parts)} pairs)"
    summary += "".join(f"\n{note}" for note in notes)
    values = groups.survey(masks)
    present = beside.table_file(root, documents, values.sample)
    if present:
        summary += f"\n{present.relative_to(root)} tells the classes"
        fields |= {"data.labels": str(present)} if present not in [root / name for name in builtin.FILES] else {}
        proposed = known.known(builtin.label_table(None, str(present)), values)
    else:
        proposed = classes.classes(values)
    table = proposed.table
    fields |= {"data.labels": proposed.labels} if proposed.labels else {}
    fields |= {"data.mask_format": proposed.mask_format} if proposed.mask_format != "auto" else {}
    summary += "".join(f"\n{note}" for note in proposed.notes)
    if table and not present:
        summary += f"\nclasses: {', '.join(table.names)}; name them in the class_names.json beside the configuration"
    if table:
        fields.pop("data.labels", None)  # it is written beside the configuration
    lines, differ = beside.unused(root, documents, [*lists, *([present] if present else [])], values.sample)
    summary += "".join(["\ndocuments that are not used:", *(f"\n  {line}" for line in lines)]) if lines else ""
    faults = ("the tables of classes in the directories differ",) if differ else ()
    of_photos, of_masks = [try_size(photo) for photo in photos], {one.name: one.size for one in values.tallies}
    resized, note = resize_masks(zip(photos, of_photos, (of_masks.get(str(mask)) for mask in masks), strict=True))
    fields |= resized
    summary += f"\n{note}" if note else ""
    sizes = [size for size in of_photos if size]
    if len(set(sizes)) > 1:
        size = common_size(sizes)
        fields["data.size"] = size
        summary += f"\nphotographs of {len(set(sizes))} sizes are brought to {size[0]}x{size[1]} (height x width)"
    return Proposal(root, summary, fields, table, faults=faults)


def side_by_side(root: Path) -> Proposal | None:
    """Files that contain a photograph and its mask side by side, in a directory for each split."""
    groups: dict[str, list[Path]] = {}
    for path in layout.image_files(root):
        if path.parent.parent == root:
            groups.setdefault(path.parent.name, []).append(path)
    train, val = first_split(groups, "train"), first_split(groups, "val") or first_split(groups, "test")
    if not train or not val:
        return None
    try:
        known = any((root / name).is_file() for name in builtin.FILES)
        palette = Palette(builtin.label_table(root, "") if known else CITYSCAPES["thirty"])
        for path in groups[train][:3]:
            both = read_image(path)
            palette.check(both[:, both.shape[1] // 2 :])
    except (DataError, LabelError):
        return None
    fields = {"data.source": "pairs", "data.dir": str(root), "data.train_split": train, "data.val_split": val}
    summary = f"photographs and masks side by side in one file ({len(groups[train])}, {len(groups[val])})"
    return Proposal(root, summary, fields)


# In the order in which they are tried; the more specific ones first.
RECOGNIZERS: Sequence[Callable[[Path], Proposal | None]] = (
    pets,
    cityscapes,
    huggingface,
    tfds,
    arrays,
    annotated.tagged,
    annotated.united,
    folder,
    annotated.drawn,
    side_by_side,
)
