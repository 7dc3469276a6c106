"""Recognisers of data sets that label tools have annotated; the masks are drawn by the source `annotated`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_jax.curate import listed
from seg_jax.curate.proposal import Proposal, common_size, split_fields, try_size
from seg_jax.data import label_tools
from seg_jax.data.images import DataError
from seg_jax.data.label_tools.photographs import Photographs
from seg_jax.data.label_tools.scene import BACKGROUND
from seg_jax.data.labels import builtin
from seg_jax.data.sources import annotated


def drawn(root: Path) -> Proposal | None:
    """Photographs with the annotations of a label tool, whose objects are drawn into masks."""
    photographs = Photographs(root)
    name, files = label_tools.recognized(photographs)
    return _drawn(root, name, photographs, files) if name else None


def tagged(root: Path) -> Proposal | None:
    """Binary masks of Label Studio, one for each tag; one alone would be taken for the mask of its photograph."""
    photographs = Photographs(root)
    files = label_tools.LAYOUTS["tags"].recognize(photographs)
    return _drawn(root, "tags", photographs, files) if files else None


def united(root: Path) -> Proposal | None:
    """Binary masks of one class each; one alone would call the others background."""
    photographs = Photographs(root)
    files = label_tools.LAYOUTS["layers"].recognize(photographs)
    # Annotations beside the masks count, since the source would read them.
    known = bool(files) and label_tools.recognized(photographs)[0] == "layers"
    return _drawn(root, "layers", photographs, files) if known else None


def _drawn(root: Path, name: str, photographs: Photographs, files: list[Path]) -> Proposal:
    """The proposal for the source `annotated`."""
    layout = label_tools.LAYOUTS[name]
    found = layout.read(photographs, files)
    table = annotated.table_of(root, "", found)
    complete = annotated.divided(annotated.checked(found, photographs))
    scenes = {split: part for split, part in complete.scenes.items() if part}
    if not scenes:
        first = next((f"{bad.name}: {bad.why}" for part in complete.bad.values() for bad in part), "")
        raise DataError(f"{root} has annotations ({layout.title}), but none of a photograph that is there. {first}")
    fields: dict[str, Any] = {"data.source": "annotated", "data.dir": str(root)}
    counts = ", ".join(f"{len(part)} of {split}" if split else str(len(part)) for split, part in scenes.items())
    summary = f"photographs with annotations: {layout.title} ({counts})"
    photos = [scene.photo for part in scenes.values() for scene in part]
    if "" in scenes and len(scenes) == 1:
        fields["data.val_share"] = 0.1
        group, note = listed.groups(root, photos)
        fields |= {"data.group": group} if group else {}
        summary += "; whole directories are held out" if group else "; a tenth of them is held out"
        summary += f" to evaluate on\n{note}" if note else " to evaluate on"
    else:
        fields |= split_fields(list(scenes))
    above = {"cvat": "one with the greater z_order", "layers": "later class in the alphabet"}.get(name, "")
    summary += (
        f"\nclasses: {', '.join(table.names)}"
        f"\nwhere objects overlap, the {above or 'later one in the file'} counts"
        f"\npixels outside of all objects are {BACKGROUND!r}; without that class in the label table they are ignored"
    )
    sizes = [size for photo in photos if (size := try_size(photo))]
    if len(set(sizes)) > 1:
        size = common_size(sizes)
        fields["data.size"] = size
        summary += f"\nphotographs of {len(set(sizes))} sizes are brought to {size[0]}x{size[1]} (height x width)"
    present = any((root / name).is_file() for name in builtin.FILES)
    return Proposal(root, summary, fields, None if present else table)
