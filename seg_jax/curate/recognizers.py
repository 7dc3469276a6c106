"""Recognisers of data sets: each looks at a directory and returns a proposal, or None if it is something else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seg_jax.curate import classes, groups, kinds, known, layout
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

# ----- recognised by file names


def pets(root: Path) -> Proposal | None:
    """Oxford-IIIT Pets, unpacked."""
    if not (root / "annotations" / "trainval.txt").is_file() or not (root / "annotations" / "trimaps").is_dir():
        return None
    fields = {"data.source": "pets", "data.dir": str(root), "data.size": (256, 256)}
    return Proposal(root, "Oxford-IIIT Pets from its archives", fields)


def cityscapes(root: Path) -> Proposal | None:
    """Cityscapes, unpacked."""
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
    splits = [split["name"] for split in json.loads(infos[0].read_text(encoding="utf-8")).get("splits", [])]
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


def lists(root: Path) -> Proposal | None:
    """List files of 'image mask' lines."""
    lists: dict[str, dict[str, list[layout.Paths]]] = {}
    for path in sorted([*root.glob("*.txt"), *root.glob("*/*.txt")])[:50]:
        if (match := layout.SPLIT.search(path.stem)) and (pairs := _listed(root, path)):
            template = path.relative_to(root).as_posix().replace(match[0], "{split}")
            lists.setdefault(template, {})[match[0]] = pairs
    for template, splits in lists.items():
        train, val = first_split(splits, "train"), first_split(splits, "val") or first_split(splits, "test")
        if train and val and "{split}" in template:
            fields = {"data.list": template, "data.train_split": train, "data.val_split": val}
            return _labelled(
                root, f"photographs and masks in the lists {template}", fields, [splits[train], splits[val]]
            )
    return None


def _listed(root: Path, path: Path) -> list[layout.Paths]:
    """The pairs of a list file; [] if it is another kind of text file."""
    pairs = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        parts = re.split(r"\t|,", line) if re.search(r"[\t,]", line) else line.split()
        if len(parts) != 2:
            return []
        below = [Path(part.strip().lstrip("/")) for part in parts]
        candidates = [[root / name, root.joinpath(*name.parts[-2:])] for name in below]
        photo, mask = (next((file for file in two if file.is_file()), None) for two in candidates)
        if photo and mask:
            pairs.append((photo, mask))
    return pairs


def folder(root: Path) -> Proposal | None:
    """Photographs and masks in directories, matched by name."""
    photos, masks = kinds.tell_apart(root, layout.image_files(root))
    matched = layout.find(root, photos, masks)
    if not matched:
        return None
    fields: dict[str, Any] = {"data.images": matched.images, "data.masks": matched.masks}
    train, val = (
        first_split(matched.pairs, "train"),
        first_split(matched.pairs, "val") or first_split(matched.pairs, "test"),
    )
    if train and val:
        fields |= {"data.train_split": train, "data.val_split": val}
        parts = [matched.pairs[train], matched.pairs[val]]
    else:
        train = train or max(matched.pairs, key=lambda split: len(matched.pairs[split]))
        fields = {field: text.replace("{split}", train) for field, text in fields.items()} | {"data.val_share": 0.1}
        parts = [matched.pairs[train]]
    left = len(photos) + len(masks) - 2 * sum(map(len, parts))
    summary = f"photographs {matched.images} with masks {matched.masks}"
    summary += f"; {left} other image files are not used" if left else ""
    summary += "" if train and val else "; a tenth of them is held out to evaluate on"
    return _labelled(root, summary, fields, parts)


def _labelled(root: Path, summary: str, fields: dict[str, Any], parts: Sequence[Sequence[layout.Paths]]) -> Proposal:
    """The proposal for the source `folder`, with the classes that its masks show."""
    fields = {"data.source": "folder", "data.dir": str(root), **fields}
    photos = [photo for part in parts for photo, _ in part]
    masks = [mask for part in parts for _, mask in part]
    summary += f" ({', '.join(str(len(part)) for part in parts)} pairs)"
    present = next((name for name in builtin.FILES if (root / name).is_file()), "")
    values = groups.survey(masks)
    if present:
        summary += f"\n{present} tells the classes"
        proposed = known.known(builtin.label_table(root, ""), values, masks)
    else:
        proposed = classes.classes(values, masks)
    table = proposed.table
    fields |= {"data.labels": proposed.labels} if proposed.labels else {}
    fields |= {"data.mask_format": proposed.mask_format} if proposed.mask_format != "auto" else {}
    summary += "".join(f"\n{note}" for note in proposed.notes)
    if table and not present:
        summary += f"\nclasses: {', '.join(table.names)}; give them their names in class_names.json"
    resized, note = resize_masks(photos, masks)
    fields |= resized
    summary += f"\n{note}" if note else ""
    sizes = [size for path in photos if (size := try_size(path))]
    if len(set(sizes)) > 1:
        size = common_size(sizes)
        fields["data.size"] = size
        summary += f"\nphotographs of {len(set(sizes))} sizes are brought to {size[0]}x{size[1]} (height x width)"
    return Proposal(root, summary, fields, table)


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
    lists,
    folder,
    side_by_side,
)
