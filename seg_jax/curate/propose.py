"""From a directory to a configuration that trains on it: the source, the classes, and fields that fit its images."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

from PIL import Image

from seg_jax.curate import classes, layout
from seg_jax.data.images import DataError, read_image
from seg_jax.data.labels import LabelError, LabelTable, builtin
from seg_jax.data.labels.cityscapes import TABLES as CITYSCAPES
from seg_jax.data.labels.masks import Palette
from seg_jax.files import write_bytes

PIXELS = 512 * 512  # larger images are trained on in crops
BATCH = 16 * 256 * 256  # pixels of a batch


@dataclass(frozen=True)
class Proposal:
    """What a directory seems to be.

    Attributes:
      root: the directory.
      summary: that in words, with what was assumed.
      fields: of the configuration, as far as they are no defaults.
      table: a label table that has to be written for it; None if there is one already.
    """

    root: Path
    summary: str
    fields: Mapping[str, Any]
    table: LabelTable | None = None


def propose(root: Path) -> Proposal:
    """Looks at a directory.

    Raises:
      DataError: it holds nothing that a source reads; says what was found and what to do.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a directory.")
    root = root.resolve()
    for look in (_pets, _cityscapes, _huggingface, _tfds, _arrays, _lists, _folder, _side_by_side):
        if found := look(root):
            return found
    files = layout.image_files(root)
    photos, masks = layout.tell_apart(root, files)
    raise DataError(
        f"{root} is no data set that can be recognised: of {len(files)} image files {len(photos)} look like "
        f"photographs and {len(masks)} like masks{_example(masks)}, and none of them has a counterpart. docs/data.md "
        "shows the layouts; for another one start from `--config=default` with data.source='folder' and set "
        "data.images and data.masks."
    )


def _example(masks: Sequence[Path]) -> str:
    return f" (such as {masks[0].name})" if masks else ""


def write(proposal: Proposal, out: Path) -> None:
    """Writes the configuration file, and class_names.json beside it where it is needed.

    Raises:
      DataError: one of them exists, and may have been edited.
    """
    names = out.with_name("class_names.json")
    for path in (out, *((names,) if proposal.table else ())):
        if path.exists():
            raise DataError(f"{path} exists already; name another place with --out=FILE.py, or remove it.")
    if out.suffix != ".py":
        raise DataError(f"--out={out}: a configuration is a Python file. Use --out={out.with_suffix('.py')}.")
    if proposal.table:
        write_bytes(names, proposal.table.to_json().encode())
    lines = [f"    c.{field} = {value!r}" for field, value in proposal.fields.items()]
    imports = "from seg_jax.config import Config, default\n"
    if proposal.table:
        imports = f"from pathlib import Path\n\n{imports}"
        lines.append(f'    c.data.labels = str(Path(__file__).resolve().with_name("{names.name}"))')
    summary = proposal.summary.replace("\\", "\\\\").replace('"""', "'''")
    text = (
        f'"""{summary}\n\nProposed by python -m seg_jax.data inspect.\n\n'
        f'python -m seg_jax.main --config={out} --workdir=runs/{out.stem}\n"""\n\n{imports}\n\n'
        'def get_config() -> Config:\n    """The defaults with the fields that this data set needs."""\n'
        "    c = default.get_config()\n" + "\n".join(lines) + "\n    return c\n"
    )
    write_bytes(out, text.encode("utf-8", "backslashreplace"))


# ----- what is recognised by the names of files


def _pets(root: Path) -> Proposal | None:
    if not (root / "annotations" / "trainval.txt").is_file() or not (root / "annotations" / "trimaps").is_dir():
        return None
    fields = {"data.source": "pets", "data.dir": str(root), "data.size": (256, 256)}
    n = len((root / "annotations" / "trainval.txt").read_text(encoding="utf-8-sig").splitlines())
    return Proposal(root, "Oxford-IIIT Pets from its archives", fields | _training((256, 256), n))


def _cityscapes(root: Path) -> Proposal | None:
    photos = sorted((root / "leftImg8bit").glob("*/*/*_leftImg8bit.png"))
    truth = next((name for name in ("gtFine", "gtCoarse") if (root / name).is_dir()), "")
    if not photos or not truth:
        return None
    fields = {"data.source": "cityscapes", "data.dir": str(root), "data.cityscapes.coarse": truth == "gtCoarse"}
    n = len([path for path in photos if path.parts[-3] == "train"])
    fields |= {"data.cache": "none"} if len(photos) > 200 else {}
    return Proposal(root, f"Cityscapes ({truth}), {len(photos)} frames", fields | _training(_size(photos[0]), n))


def _huggingface(root: Path) -> Proposal | None:
    if not any((root / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return None
    if not any((root / name).is_file() for name in builtin.FILES):
        raise DataError(
            f"{root} is a data set of Hugging Face without the names of its classes. Write {root / builtin.FILES[0]}, "
            'such as ["background", "road", "car"].'
        )
    fields = {"data.source": "huggingface", "data.dir": str(root)}
    return Proposal(root, "a folder that Hugging Face's datasets saved", fields)


def _tfds(root: Path) -> Proposal | None:
    infos = sorted(root.glob("*/*/dataset_info.json"))
    if len(infos) != 1 or not infos[0].with_name("features.json").is_file():
        return None
    splits = [split["name"] for split in json.loads(infos[0].read_text(encoding="utf-8")).get("splits", [])]
    name = f"{infos[0].parts[-3]}:{infos[0].parts[-2]}"
    fields = {"data.source": "tfds", "data.dir": str(root), "data.tfds.name": name, "data.tfds.data_dir": str(root)}
    return Proposal(root, f"{name}, prepared by TensorFlow Datasets", fields | _splits(splits))


def _arrays(root: Path) -> Proposal | None:
    splits = [path.stem for path in sorted(root.glob("*.npz"))]
    splits += [path.stem.removesuffix("_labels") for path in sorted(root.glob("*_labels.npy"))]
    if not splits:
        return None
    if not any((root / name).is_file() for name in builtin.FILES):
        raise DataError(
            f"{root} holds arrays ({', '.join(splits)}) without the names of their classes. Write "
            f'{root / builtin.FILES[0]}, such as ["background", "road", "car"].'
        )
    return Proposal(root, "NumPy arrays", {"data.source": "arrays", "data.dir": str(root)} | _splits(splits))


def _splits(there: Sequence[str]) -> dict[str, str]:
    """`data.train_split` and `data.val_split` of what a data set has; its only split serves as both."""
    train = _first(there, "train") or there[0]
    val = _first(there, "val") or _first(there, "test") or next((s for s in there if s != train), train)
    return {"data.train_split": train, "data.val_split": val}


def _first(splits: Iterable[str], start: str) -> str:
    return min((split for split in splits if split.lower().startswith(start)), key=len, default="")


# ----- what is recognised by looking into files


def _lists(root: Path) -> Proposal | None:
    """List files of 'image mask' lines, where they say more than the directories do."""
    lists: dict[str, dict[str, list[layout.Paths]]] = {}
    for path in sorted([*root.glob("*.txt"), *root.glob("*/*.txt")])[:50]:
        if (match := layout.SPLIT.search(path.stem)) and (pairs := _listed(root, path)):
            template = path.relative_to(root).as_posix().replace(match[0], "{split}")
            lists.setdefault(template, {})[match[0]] = pairs
    for template, splits in lists.items():
        train, val = _first(splits, "train"), _first(splits, "val") or _first(splits, "test")
        if train and val and "{split}" in template:
            fields = {"data.list": template, "data.train_split": train, "data.val_split": val}
            return _labelled(
                root, f"photographs and masks in the lists {template}", fields, [splits[train], splits[val]]
            )
    return None


def _listed(root: Path, path: Path) -> list[layout.Paths]:
    """The pairs of a list file; none if it is another kind of text."""
    pairs = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        parts = re.split(r"\t|,", line) if re.search(r"[\t,]", line) else line.split()
        if len(parts) != 2:
            return []
        below = [Path(part.strip().lstrip("/")) for part in parts]
        places = [[root / name, root.joinpath(*name.parts[-2:])] for name in below]
        found = [next((place for place in two if place.is_file()), None) for two in places]
        if found[0] and found[1]:
            pairs.append((found[0], found[1]))
    return pairs


def _folder(root: Path) -> Proposal | None:
    photos, masks = layout.tell_apart(root, layout.image_files(root))
    found = layout.find(root, photos, masks)
    if not found:
        return None
    fields: dict[str, Any] = {"data.images": found.images, "data.masks": found.masks}
    train, val = _first(found.pairs, "train"), _first(found.pairs, "val") or _first(found.pairs, "test")
    if train and val:
        fields |= {"data.train_split": train, "data.val_split": val}
        parts = [found.pairs[train], found.pairs[val]]
    else:
        train = train or max(found.pairs, key=lambda split: len(found.pairs[split]))
        fields = {field: text.replace("{split}", train) for field, text in fields.items()} | {"data.val_share": 0.1}
        parts = [found.pairs[train]]
    left = len(photos) + len(masks) - 2 * sum(map(len, parts))
    summary = f"photographs {found.images} with masks {found.masks}"
    summary += f"; {left} other image files are not used" if left else ""
    summary += "" if train and val else "; a tenth of them is held out to evaluate on"
    return _labelled(root, summary, fields, parts)


def _labelled(root: Path, summary: str, fields: dict[str, Any], parts: Sequence[Sequence[layout.Paths]]) -> Proposal:
    """The proposal for the source `folder`, with the classes that its masks show."""
    fields = {"data.source": "folder", "data.dir": str(root), **fields}
    photos = [photo for part in parts for photo, _ in part]
    masks = [mask for part in parts for _, mask in part]
    summary += f" ({', '.join(str(len(part)) for part in parts)} pairs)"
    table = None
    present = next((name for name in builtin.FILES if (root / name).is_file()), "")
    if present:
        summary += f"\n{present} tells the classes"
        form = classes.mask_format(builtin.label_table(root, ""), masks)
        fields |= {"data.mask_format": form} if form != "auto" else {}
    else:
        found = classes.classes(classes.survey(masks), masks)
        table = found.table
        fields |= {"data.labels": found.labels} if found.labels else {}
        fields |= {"data.mask_format": found.mask_format} if found.mask_format != "auto" else {}
        summary += "".join(f"\n{note}" for note in found.notes)
        if table:
            summary += f"\nclasses: {', '.join(table.names)}; give them their names in class_names.json"
    sizes = [size for path in photos if (size := _try_size(path))]
    size = sizes[0] if sizes else (256, 256)
    if len(set(sizes)) > 1:
        size = _common(sizes)
        fields["data.size"] = size
        summary += f"\nphotographs of {len(set(sizes))} sizes are brought to {size[0]}x{size[1]} (height x width)"
    return Proposal(root, summary, fields | _training(size, len(parts[0])), table)


def _side_by_side(root: Path) -> Proposal | None:
    """Files that hold a photograph and its mask, in a directory for each split."""
    groups: dict[str, list[Path]] = {}
    for path in layout.image_files(root):
        if path.parent.parent == root:
            groups.setdefault(path.parent.name, []).append(path)
    train, val = _first(groups, "train"), _first(groups, "val") or _first(groups, "test")
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
    size = both.shape[0], both.shape[1] // 2
    fields = {"data.source": "pairs", "data.dir": str(root), "data.train_split": train, "data.val_split": val}
    summary = f"photographs and masks side by side in one file ({len(groups[train])}, {len(groups[val])})"
    return Proposal(root, summary, fields | _training(size, len(groups[train])))


# ----- fields that fit the images


def _try_size(path: Path) -> tuple[int, int] | None:
    try:
        return _size(path)
    except DataError:
        return None


def _size(path: Path) -> tuple[int, int]:
    """(height, width) as the photograph is shown, from its header alone."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientation: on its side
            return image.size if turned else image.size[::-1]
    except Exception as error:
        raise DataError(f"{path} cannot be read ({error}).") from error


def _common(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The median size, at most 512 on the longer side, in multiples of 32."""
    height, width = (median_low(side) for side in zip(*sizes, strict=True))
    scale = min(1.0, 512 / max(height, width))
    return max(32, round(height * scale / 32) * 32), max(32, round(width * scale / 32) * 32)


def _training(size: tuple[int, int], n: int) -> dict[str, Any]:
    """Crop, batch sizes and length that suit `n` photographs of (height, width); about a thousand steps or more."""
    fields: dict[str, Any] = {}
    crop = size
    if size[0] * size[1] > PIXELS:
        crop = min(size[0] // 32 * 32, 512), min(size[1] // 32 * 32, 512)
        fields["augment.crop"] = crop
    for field, (height, width) in (("train.batch_size", crop), ("eval.batch_size", size)):
        fields[field] = 1 << max(0, min(16, BATCH // (height * width)).bit_length() - 1)
    epochs = max(20, -(-1000 * fields["train.batch_size"] // max(n, 1)))
    return fields | {"train.epochs": float(epochs), "eval.every_epochs": float(max(1, epochs // 10))}
