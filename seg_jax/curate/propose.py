"""From a directory to a configuration that trains on it: the source, the classes, and fields that fit its images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seg_jax.curate import kinds, layout, recognizers
from seg_jax.curate.proposal import Proposal
from seg_jax.data.images import DataError
from seg_jax.runtime.files import write_bytes

NAMES = "class_names.json"  # beside a configuration that needs a label table


def propose(root: Path) -> Proposal:
    """A configuration for the data set in a directory.

    Raises:
      DataError: no source can read the directory; the message says what was found and what to do.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a directory.")
    root = root.resolve()
    for recognize in recognizers.RECOGNIZERS:
        if proposal := recognize(root):
            return proposal
    files = layout.image_files(root)
    photos, masks = kinds.tell_apart(root, files)
    raise DataError(
        f"{root} is not a data set of a known kind: of {len(files)} image files {len(photos)} look like "
        f"photographs and {len(masks)} like masks{_example(masks)}, and none of them has a counterpart. docs/data.md "
        "shows the layouts; for another one start from `--config=default` with data.source='folder' and set "
        "data.images and data.masks."
    )


def _example(masks: Sequence[Path]) -> str:
    return f" (such as {masks[0].name})" if masks else ""


def write(proposal: Proposal, out: Path) -> None:
    """Writes the configuration file, and class_names.json beside it if there is a label table to write.

    Raises:
      DataError: one of the files exists, and may have been edited.
    """
    names = out.with_name(NAMES)
    for path in (out, *((names,) if proposal.table else ())):
        if path.exists():
            raise DataError(f"{path} exists already; name another place with --out=FILE.py, or remove it.")
    if out.suffix != ".py":
        raise DataError(f"--out={out}: a configuration is a Python file. Use --out={out.with_suffix('.py')}.")
    if proposal.table:
        write_bytes(names, proposal.table.to_json().encode())
    write_configuration(proposal, out)


def write_configuration(proposal: Proposal, out: Path) -> None:
    """Writes the configuration file alone, over what is there."""
    lines = [f"    c.{field} = {value!r}" for field, value in proposal.fields.items()]
    imports = "from seg_jax.config import Config, default\n"
    if proposal.table:
        imports = f"from pathlib import Path\n\n{imports}"
        lines.append(f'    c.data.labels = str(Path(__file__).resolve().with_name("{NAMES}"))')
    summary = proposal.summary.replace("\\", "\\\\").replace('"""', "'''")
    text = (
        f'"""{summary}\n\nProposed by python -m seg_jax.data inspect.\n\n'
        f'python -m seg_jax.main --config={out} --workdir=runs/{out.stem}\n"""\n\n{imports}\n\n'
        'def get_config() -> Config:\n    """The defaults with the fields that this data set needs."""\n'
        "    c = default.get_config()\n" + "\n".join(lines) + "\n    return c\n"
    )
    write_bytes(out, text.encode("utf-8", "backslashreplace"))
