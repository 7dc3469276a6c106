"""Which of an example's files is the photograph and which the mask, where each example has several.

Overlays, predictions, heights, other bands and other annotators' masks are beside them in many data sets. Kinds of
files of the same examples are ranked, by bands and by names; where two remain, somebody has to choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from seg_jax.curate import file_kinds
from seg_jax.curate.file_kinds import MASK, OTHER, PHOTO, Kind
from seg_jax.data.images import DataError

ENOUGH = 0.75  # share of the files of one role up to which there are too few of the other for all of them


def choose(
    root: Path, photos: Sequence[Path], labels: Sequence[Path], *, images: str = "", masks: str = ""
) -> tuple[list[Path], list[Path], list[str]]:
    """(photographs, masks, notes): without the files of kinds that others surpass.

    Args:
      root: directory of the data set.
      photos, labels: the files that look like photographs and like masks.
      images, masks: patterns of the kinds that the user has chosen; '' for none.

    Raises:
      DataError: a pattern has no file, or two kinds of the same examples rank alike, so that somebody has to choose.
    """
    every = [*photos, *labels]
    chosen = [_chosen(root, every, images, "--images"), _chosen(root, every, masks, "--masks")]
    taken = {path for paths in chosen for path in paths}
    rest = [[path for path in paths if path not in taken] for paths in (photos, labels)]
    found = [file_kinds.group(root, paths or rest[mask], mask=bool(mask)) for mask, paths in enumerate(chosen)]
    notes: list[str] = []
    results: list[list[Path]] = []
    others = sum(len(kind.files) for kind in found[1] if not kind.derived)  # photographs find their counterparts there
    for role, these, pattern in zip(("photographs", "masks"), found, (images, masks), strict=True):
        kept = these if pattern else _kept(these, others)
        if len(kept) < len(these):
            notes += [f"  {role:<11}  {_line(kind)}{'' if kind in kept else '; not used'}" for kind in these]
        results.append(sorted(path for kind in kept for path in kind.files.values()))
        others = len(results[-1])
    return results[0], results[1], ["examples have several files:", *notes] if notes else []


def _chosen(root: Path, paths: Iterable[Path], pattern: str, option: str) -> list[Path]:
    if not pattern:
        return []
    spelled = pattern.replace("{split}", "*").replace("**/", "*")
    files = [path for path in paths if fnmatchcase(path.relative_to(root).as_posix(), spelled)]
    if not files:
        raise DataError(
            f"{option}={pattern}: no image file below {root} matches it. Use a pattern such as 'images/*.png'."
        )
    return sorted(files)


def _kept(found: Sequence[Kind], counterparts: int) -> list[Kind]:
    """The kinds that no other kind of the same examples surpasses.

    Raises:
      DataError: two of them rank alike, and there are too few files of the other role for both.
    """
    kept: list[Kind] = []
    for kind in sorted(found, key=lambda kind: kind.rank(), reverse=True):
        rivals = [other for other in kept if _same_examples(kind, other)]
        few = counterparts <= ENOUGH * sum(len(other.files) for other in (*rivals, kind))
        if any(other.rank() > kind.rank() for other in rivals) and (few or kind.derived):
            continue
        # Photographs without masks are usual beside others; of masks of one photograph one is wrong.
        told = [
            other
            for other in rivals
            if kind.mask or other.has(PHOTO, MASK, OTHER) or _directory(other) == _directory(kind)
        ]
        if told and few:
            role, option = ("mask", "--masks") if kind.mask else ("photograph", "--images")
            beside = [other for other in found if other is kind or _same_examples(kind, other)]
            rows = "\n".join(f"  {option}='{other.pattern}'  {_line(other)}" for other in beside)
            raise DataError(
                f"each example has {len(beside)} files that may be its {role}:\n{rows}\nChoose one of them."
            )
        kept.append(kind)
    return [kind for kind in found if kind in kept]


def _directory(kind: Kind) -> str:
    return kind.pattern.rpartition("/")[0]


def _same_examples(one: Kind, other: Kind) -> bool:
    return 2 * len(one.files.keys() & other.files.keys()) >= min(len(one.files), len(other.files))


def _line(kind: Kind) -> str:
    forms = {"RGB": "colours", "RGBA": "colours and alpha", "L": "one band", "P": "a palette", "1": "one bit"}
    same = ", (nearly) the same in all files" if kind.mask and kind.constant else ""
    return f"{kind.pattern}: {len(kind.files)} files, {forms.get(kind.mode, kind.mode or 'unreadable')}{same}"
