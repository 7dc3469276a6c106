"""The linter of data sets: decodes every file; a finding names the file, what is wrong, and the cure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from seg_jax.config import DataConfig
from seg_jax.curate import meanings, near
from seg_jax.curate.alignment import Fit, fit, misfits
from seg_jax.curate.tally import Tally, tally
from seg_jax.data.checking import in_parallel
from seg_jax.data.examples import Examples, class_counts
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelError
from seg_jax.data.orientation import OrientationError

# Kind of finding -> the cure, where the message has none.
CURES: Mapping[str, str] = {
    "unpaired": "Add the file that is missing, or remove this one.",
    "unusable": "Correct, replace or remove the file.",
    "labels": "Correct the mask or the label table.",
    "all ignored": "Label it, or remove it: nothing can be learned from it.",
    "constant": "Replace or remove the photograph.",
    "sizes": "Set config.data.size, which brings all to one size, or config.augment.crop, which takes any.",
    "duplicate": "Keep one of them.",
    "contradiction": "Keep the right mask, remove the others.",
    "near duplicate": "Keep both in one split, as data.group does with directories: a score on it says little.",
    "meaning": "Convert the masks to one form.",
    "ignored alone": "Correct the label table.",
    "class ignored": "Correct the label table.",
    "predictions": "Label the photographs.",
    "blended": "Export the masks again, resized by nearest neighbour.",
    "pose": "Save the masks as their photographs are.",
    "orientation": "Say with config.data.exif whether masks are turned as their photographs are.",
    "leakage": "Keep it in one split: a score on what was trained on says nothing.",
}
# The same for notes, which may be intended and do not fail the check.
NOTES: Mapping[str, str] = {
    "one class": "Check whether this mask is meant to be so.",
    "class missing": "Add examples, merge the class (config.data.merge), or ignore it (config.data.ignore_classes).",
}

MAX_FITTED = 64  # examples of a split whose masks are compared with the edges of their photographs
MAX_SHOWN = 20  # findings of a kind in the text


@dataclass(frozen=True)
class Finding:
    """One defect of a data set.

    Attributes:
      kind: a key of `CURES` or `NOTES`.
      split: the split.
      file: the file, or the name of the example where one file contains several.
      finding: what is wrong.
      cure: what to do.
    """

    kind: str
    split: str
    file: str
    finding: str
    cure: str


class Facts(NamedTuple):
    """The facts about one example.

    Attributes:
      pixels: number of pixels of each class, and last of ignored ones, int [k + 1].
      size: (height, width).
      constant: whether the photograph has only one colour.
      photo, label: digests of the decoded pixels.
      tally: the stored values of the mask; None where the source does not give them.
      fit: how the mask fits its photograph; None where that was not measured.
      small: the photograph as `near.reduced` gives it.
    """

    pixels: np.ndarray
    size: tuple[int, ...]
    constant: bool
    photo: bytes
    label: bytes
    tally: Tally | None
    fit: Fit | None
    small: np.ndarray


def lint(splits: Sequence[Examples], *, threads: int, data: DataConfig | None = None) -> list[Finding]:
    """Decodes every example of some splits; returns findings and notes in the order of splits and files.

    Args:
      splits: different splits of one data set.
      threads: number of examples read at once.
      data: its `group` tells which examples belong into one split.
    """
    findings: list[Finding] = []
    first: dict[bytes, tuple[str, str, bytes]] = {}  # photograph -> split, file and label of its first copy
    pixels = {examples.split: np.zeros(len(examples.table) + 1, np.int64) for examples in splits}
    tallies: dict[str, list[Tally]] = {examples.split: [] for examples in splits}
    small: list[near.Small] = []
    for examples in splits:
        findings += _unpaired(examples)
        sizes: dict[tuple[int, ...], list[str]] = {}
        fits: list[Fit] = []
        with closing(_examined(examples, threads)) as results:
            for i, facts in enumerate(results):
                if isinstance(facts, Finding):
                    findings.append(facts)
                    continue
                photo, mask = _file(examples, i, 0), _file(examples, i, -1)
                pixels[examples.split] += facts.pixels
                tallies[examples.split] += [facts.tally] if facts.tally else []
                fits += [facts.fit] if facts.fit else []
                small.append(near.Small(examples.split, photo, facts.photo, facts.small))
                sizes.setdefault(facts.size, []).append(photo)
                findings += _of_pixels(examples, facts, photo, mask)
                findings += _copies(examples.split, facts, photo, mask, first)
        findings += _sizes(examples, sizes)
        findings += [_finding(kind, examples.split, file, what) for kind, file, what in misfits(fits)]
    messages = [*meanings.of_tallies(splits[0].table, tallies), *meanings.of_splits(splits, pixels)]
    findings += [_finding(*message) for message in messages]
    shared = near.shared_groups(splits, data) if data and data.group else ()
    findings += [_finding("leakage", split, file, what) for split, file, what in shared]
    for pair in near.pairs(small):
        how = "mirrored, " * pair.mirrored + f"correlation {pair.correlation:.3f}"
        what = f"nearly the photograph {pair.other.file} of the split {pair.other.split!r} ({how})"
        findings.append(_finding("near duplicate", pair.one.split, pair.one.file, what))
    return [*findings, *_missing(splits, {split: counts > 0 for split, counts in pixels.items()})]


def failed(findings: Sequence[Finding]) -> bool:
    """Whether there are findings other than notes."""
    return any(finding.kind in CURES for finding in findings)


def _unpaired(examples: Examples) -> Iterator[Finding]:
    for bad in examples.bad:
        yield _finding("unpaired", examples.split, bad.name, bad.why)


def _examined(examples: Examples, threads: int):
    """The facts about each example, or the finding that makes it unusable."""
    step = -(-len(examples) // MAX_FITTED)

    def examine(i: int) -> Facts | Finding:
        try:
            image, label = examples.read(i)
        except (DataError, LabelError) as error:
            named = [str(path) for path in examples.files[i]] if examples.files else []
            file = next((path for path in named if path in str(error)), examples.names[i])
            kind = "orientation" if isinstance(error, OrientationError) else "unusable"
            return _finding("labels" if isinstance(error, LabelError) else kind, examples.split, file, str(error))
        pixels = class_counts(label, len(examples.table))
        constant = bool((image == image[0, 0]).all())
        photo, mask = _file(examples, i, 0), _file(examples, i, -1)
        counted = tally(mask, examples.mask(i)) if examples.mask else None
        fitted = fit(photo if examples.files else "", image, label) if i % step == 0 else None
        small = near.reduced(image)
        return Facts(pixels, label.shape, constant, _digest(image), _digest(label), counted, fitted, small)

    return in_parallel(examine, len(examples), threads=threads, title=f"decoding {examples.split}")


def _digest(array: np.ndarray) -> bytes:
    return hashlib.sha256(repr(array.shape).encode() + np.ascontiguousarray(array).data).digest()


def _file(examples: Examples, index: int, which: int) -> str:
    """The photograph (0) or mask (-1) of an example; the example itself where a file contains several."""
    files = examples.files
    shared = files and len(files) > 1 and files[index] == files[index - 1]
    return str(files[index][which]) if files and not shared else examples.names[index]


def _finding(kind: str, split: str, file: str, message: str) -> Finding:
    """An error message as a finding: messages begin with the file and often end with the cure."""
    what = re.sub(r"^[:\s]+", "", message.removeprefix(file))
    parts = re.fullmatch(r"(.*?)(?:; |\. )([A-Za-z].*)", what, re.DOTALL)
    what, cure = parts.groups() if parts else (what, {**CURES, **NOTES}[kind])
    return Finding(kind, split, file, what.removesuffix("."), cure[0].upper() + cure[1:])


def _of_pixels(examples: Examples, facts: Facts, photo: str, mask: str) -> Iterator[Finding]:
    if facts.constant:
        yield _finding("constant", examples.split, photo, "all pixels of the photograph have one colour")
    classes = np.flatnonzero(facts.pixels)
    ignored = len(facts.pixels) - 1
    if classes.tolist() == [ignored]:
        yield _finding("all ignored", examples.split, mask, "every pixel is ignored")
    elif len(labelled := classes[classes != ignored]) == 1:
        share = facts.pixels[labelled[0]] / facts.pixels.sum()
        name = examples.table.name(int(labelled[0]))
        yield _finding("one class", examples.split, mask, f"the only class is {name!r}, {share:.1%} of the pixels")


def _copies(
    split: str, facts: Facts, photo: str, mask: str, first: dict[bytes, tuple[str, str, bytes]]
) -> Iterator[Finding]:
    first_split, file, label = first.setdefault(facts.photo, (split, photo, facts.label))
    if (first_split, file) == (split, photo):
        return
    if first_split != split:
        yield _finding("leakage", split, photo, f"the same photograph as {file} of the split {first_split!r}")
    elif label == facts.label:
        yield _finding("duplicate", split, photo, f"the same photograph and mask as {file}")
    if label != facts.label:
        yield _finding("contradiction", split, mask, f"another mask than {file} has, which is the same photograph")


def _sizes(examples: Examples, sizes: Mapping[tuple[int, ...], Sequence[str]]) -> Iterator[Finding]:
    if len(sizes) > 1:
        by_frequency = sorted(sizes.items(), key=lambda item: -len(item[1]))
        shown = ", ".join(f"{len(files)} of {size[0]}x{size[1]}" for size, files in by_frequency[:4])
        more = f" and {len(by_frequency) - 4} more sizes" if len(by_frequency) > 4 else ""
        what = f"photographs differ in size (height x width): {shown}{more}"
        yield _finding("sizes", examples.split, by_frequency[-1][1][0], what)


def _missing(splits: Sequence[Examples], occurs: Mapping[str, np.ndarray]) -> Iterator[Finding]:
    for examples in splits:
        for i, name in enumerate(examples.table.names):
            if not occurs[examples.split][i]:
                where = [split for split, here in occurs.items() if here[i]]
                what = f"no pixel of the class {name!r}" + (f", which occurs in {', '.join(where)}" if where else "")
                yield _finding("class missing", examples.split, examples.split, what)


def text(findings: Sequence[Finding], splits: Sequence[Examples]) -> str:
    """The findings as a table of kind, split and file, each with the defect and the cure below it."""
    lines = []
    kinds = [kind for kind in (*CURES, *NOTES) if any(f.kind == kind for f in findings)]
    width = max((len(kind) for kind in kinds), default=0)
    split_width = max((len(f.split) for f in findings), default=0)
    for kind in kinds:
        same_kind = [f for f in findings if f.kind == kind]
        for f in same_kind[:MAX_SHOWN]:
            lines += [f"{kind:<{width}}  {f.split:<{split_width}}  {f.file}", f"    {f.finding}", f"    {f.cure}"]
        if len(same_kind) > MAX_SHOWN:
            lines.append(f"{kind:<{width}}  ... and {len(same_kind) - MAX_SHOWN} more; --json=FILE has them all")
    notes = sum(f.kind in NOTES for f in findings)
    n = ", ".join(f"{len(examples)} of {examples.split}" for examples in splits)
    lines.append(f"{len(findings) - notes} findings and {notes} notes in {n}")
    return "\n".join(lines)


def to_json(findings: Sequence[Finding], splits: Sequence[Examples]) -> str:
    """Findings and notes as JSON text."""
    rows: dict[str, list] = {"findings": [], "notes": []}
    for finding in findings:
        rows["notes" if finding.kind in NOTES else "findings"].append(asdict(finding))
    return json.dumps({"examples": {examples.split: len(examples) for examples in splits}, **rows}, indent=1) + "\n"
