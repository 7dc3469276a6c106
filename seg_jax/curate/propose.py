"""From a directory to a configuration that trains on it: the source, the classes, and fields that fit its images."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from seg_jax.curate import beside, layout, recognizers, roles
from seg_jax.curate.proposal import Proposal
from seg_jax.data.images import DataError
from seg_jax.runtime.files import write_bytes

NAMES = "{}_class_names.json"  # beside a configuration that needs a label table, whose name it carries


def propose(root: Path, *, images: str = "", masks: str = "") -> Proposal:
    """A configuration for the data set in a directory.

    Args:
      root: the directory.
      images, masks: patterns of the photographs and masks, which tell them from other files of the same examples.

    Raises:
      DataError: no source can read the directory; the message says what was found and what to do.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a directory. Name that of a data set, with its photographs and masks.")
    root = root.resolve()
    chosen = partial(recognizers.folder, images=images, masks=masks)
    for recognize in (chosen,) if images or masks else recognizers.RECOGNIZERS:
        if proposal := recognize(root):
            return proposal
    files = layout.image_files(root)
    photos, labels = roles.tell_apart(root, files)
    lines, _ = beside.unused(root, beside.documents(root), (), ())
    raise DataError(
        f"{root} is not a data set of a known kind: of {len(files)} image files {len(photos)} look like "
        f"photographs and {len(labels)} like masks{_example(labels)}, and none of them has a counterpart. "
        f"{_cure(photos, labels)}" + "".join(["\nAlso there:", *(f"\n  {line}" for line in lines)] if lines else [])
    )


def _csv(root: Path, pairs: Sequence[tuple[Path, Path]]) -> str:
    """A list of pairs with a header, paths below the directory of the data set."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("image", "mask"))
    rows.writerows([path.relative_to(root).as_posix() for path in pair] for pair in pairs)
    return text.getvalue()


def _cure(photos: Sequence[Path], masks: Sequence[Path]) -> str:
    if not photos and not masks:
        return "Name the directory that contains the photographs and masks."
    if not photos or not masks:
        missing = "masks, an image of class indices for each photograph" if photos else "photographs of these masks"
        return f"Add the {missing}; docs/data.md shows the layouts."
    return (
        "docs/data.md shows the layouts; for another one start from `--config=default` with data.source='folder' and "
        "set data.images and data.masks."
    )


def _example(masks: Sequence[Path]) -> str:
    return f" (such as {masks[0].name})" if masks else ""


def write(proposal: Proposal, out: Path) -> None:
    """Writes the configuration file; beside it the label table and lists of pairs, if there are any to write.

    Raises:
      DataError: one of the files exists, and may have been edited.
    """
    names = out.with_name(NAMES.format(out.stem))
    lists = {out.with_name(f"{out.stem}_{split or 'pairs'}.csv"): pairs for split, pairs in proposal.pairs.items()}
    for path in (out, *((names,) if proposal.table else ()), *lists):
        if path.exists():
            raise DataError(f"{path} exists already; name another place with --out=FILE.py, or remove it.")
    if out.suffix != ".py":
        raise DataError(f"--out={out}: a configuration is a Python file. Use --out={out.with_suffix('.py')}.")
    if proposal.table:
        write_bytes(names, proposal.table.to_json().encode())
    for path, pairs in lists.items():
        write_bytes(path, _csv(proposal.root, pairs).encode("utf-8", "surrogateescape"))
    write_configuration(proposal, out)


def write_configuration(proposal: Proposal, out: Path) -> None:
    """Writes the configuration file alone, over what is there."""
    lines = [f"    c.{field} = {value!r}" for field, value in proposal.fields.items()]
    imports = "from seg_jax.config import Config, default\n"
    if proposal.table or proposal.pairs:
        imports = f"from pathlib import Path\n\n{imports}"
    beside = "str(Path(__file__).resolve().with_name({!r}))"
    if proposal.table:
        lines.append(f"    c.data.labels = {beside.format(NAMES.format(out.stem))}")
    if proposal.pairs:
        name = f"{out.stem}_pairs.csv" if "" in proposal.pairs else f"{out.stem}_{{split}}.csv"
        lines.append(f"    c.data.list = {beside.format(name)}")
    summary = proposal.summary.replace("\\", "\\\\").replace('"""', "'''")
    text = (
        f'"""{summary}\n\nProposed by python -m seg_jax.data inspect.\n\n'
        f'python -m seg_jax.main --config={out} --workdir=runs/{out.stem}\n"""\n\n{imports}\n\n'
        'def get_config() -> Config:\n    """The defaults with the fields that this data set needs."""\n'
        "    c = default.get_config()\n" + "\n".join(lines) + "\n    return c\n"
    )
    write_bytes(out, text.encode("utf-8", "backslashreplace"))
