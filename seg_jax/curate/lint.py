"""What is wrong with a data set: every file is decoded; a finding names the file, what is wrong, and the cure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from seg_jax.data.checking import in_parallel
from seg_jax.data.examples import Examples
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelError

# Kind of finding -> what to do where the message does not say it.
CURES: Mapping[str, str] = {
    "unpaired": "Add the file that is missing, or remove this one.",
    "unusable": "Correct, replace or remove the file.",
    "labels": "Correct the mask or the label table.",
    "all ignored": "Label it, or remove it: it teaches nothing.",
    "constant": "Replace or remove the photograph.",
    "sizes": "Set config.data.size, which brings all to one size.",
    "duplicate": "Keep one of them.",
    "contradiction": "Keep the right mask, remove the others.",
    "leakage": "Keep it in one split: a score on what was trained on says nothing.",
}
# The same for what may be as it should be; it fails no check.
NOTES: Mapping[str, str] = {
    "one class": "Look whether this mask is meant to be so.",
    "class missing": "Add examples, merge the class (config.data.merge), or ignore it (config.data.ignore_classes).",
}

SHOWN = 20  # findings of a kind in the text


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
      kind: of `CURES` or `NOTES`.
      split: where.
      file: or the name of the example, where one file holds several.
      finding: what is wrong.
      cure: what to do.
    """

    kind: str
    split: str
    file: str
    finding: str
    cure: str


class Seen(NamedTuple):
    """What was found out about one example: pixels of each class id, size, whether the photograph is of one colour,
    and digests of the decoded pixels."""

    pixels: np.ndarray
    size: tuple[int, ...]
    constant: bool
    photo: bytes
    label: bytes


def lint(splits: Sequence[Examples], *, threads: int) -> list[Finding]:
    """Decodes every example of some splits; what is wrong, in the order of splits and files, and notes.

    Args:
      splits: of one data set, each once.
      threads: how many examples are read at once.
    """
    findings: list[Finding] = []
    first: dict[bytes, tuple[str, str, bytes]] = {}  # photograph -> split, file and label of its first copy
    occurs = {}
    for examples in splits:
        findings += _unpaired(examples)
        sizes: dict[tuple[int, ...], list[str]] = {}
        pixels = np.zeros(256, np.int64)
        with closing(_looked_at(examples, threads)) as results:
            for i, seen in enumerate(results):
                if isinstance(seen, Finding):
                    findings.append(seen)
                    continue
                photo, mask = _file(examples, i, 0), _file(examples, i, -1)
                pixels += seen.pixels
                sizes.setdefault(seen.size, []).append(photo)
                findings += _of_pixels(examples, seen, photo, mask)
                findings += _copies(examples.split, seen, photo, mask, first)
        occurs[examples.split] = pixels > 0
        findings += _sizes(examples, sizes)
    return [*findings, *_missing(splits, occurs)]


def failed(findings: Sequence[Finding]) -> bool:
    """Whether there is more than notes."""
    return any(finding.kind in CURES for finding in findings)


def _unpaired(examples: Examples) -> Iterator[Finding]:
    for bad in examples.bad:
        yield _finding("unpaired", examples.split, bad.name, bad.why)


def _looked_at(examples: Examples, threads: int):
    """For each example what was seen of it, or why it cannot be used."""

    def look(i: int) -> Seen | Finding:
        try:
            image, label = examples.read(i)
        except (DataError, LabelError) as error:
            named = [str(path) for path in examples.files[i]] if examples.files else []
            file = next((path for path in named if path in str(error)), examples.names[i])
            return _finding("labels" if isinstance(error, LabelError) else "unusable", examples.split, file, str(error))
        pixels = np.array(Image.fromarray(label).histogram())
        constant = bool((image == image[0, 0]).all())
        return Seen(pixels, label.shape, constant, _digest(image), _digest(label))

    return in_parallel(look, len(examples), threads=threads, title=f"decoding {examples.split}")


def _digest(array: np.ndarray) -> bytes:
    return hashlib.sha256(repr(array.shape).encode() + np.ascontiguousarray(array).data).digest()


def _file(examples: Examples, index: int, which: int) -> str:
    """The photograph (0) or mask (-1) of an example; the example itself where a file holds several."""
    files = examples.files
    shared = files and len(files) > 1 and files[index] == files[index - 1]
    return str(files[index][which]) if files and not shared else examples.names[index]


def _finding(kind: str, split: str, file: str, message: str) -> Finding:
    """A message of ours as a finding: it begins with the file, and often ends with the cure."""
    what = re.sub(r"^[:\s]+", "", message.removeprefix(file))
    parts = re.fullmatch(r"(.*?)(?:; |\. )([A-Za-z].*)", what, re.DOTALL)
    what, cure = parts.groups() if parts else (what, {**CURES, **NOTES}[kind])
    return Finding(kind, split, file, what.removesuffix("."), cure[0].upper() + cure[1:])


def _of_pixels(examples: Examples, seen: Seen, photo: str, mask: str) -> Iterator[Finding]:
    if seen.constant:
        yield _finding("constant", examples.split, photo, "all pixels of the photograph have one colour")
    classes = np.flatnonzero(seen.pixels)
    if classes.tolist() == [IGNORE]:
        yield _finding("all ignored", examples.split, mask, "every pixel is ignored")
    elif len(labelled := classes[classes != IGNORE]) == 1:
        share = seen.pixels[labelled[0]] / seen.pixels.sum()
        name = examples.table.name(int(labelled[0]))
        yield _finding("one class", examples.split, mask, f"the only class is {name!r}, {share:.1%} of the pixels")


def _copies(
    split: str, seen: Seen, photo: str, mask: str, first: dict[bytes, tuple[str, str, bytes]]
) -> Iterator[Finding]:
    there, file, label = first.setdefault(seen.photo, (split, photo, seen.label))
    if (there, file) == (split, photo):
        return
    if there != split:
        yield _finding("leakage", split, photo, f"the same photograph as {file} of the split {there!r}")
    elif label == seen.label:
        yield _finding("duplicate", split, photo, f"the same photograph and mask as {file}")
    if label != seen.label:
        yield _finding("contradiction", split, mask, f"another mask than {file} has, which is the same photograph")


def _sizes(examples: Examples, sizes: Mapping[tuple[int, ...], Sequence[str]]) -> Iterator[Finding]:
    if len(sizes) > 1:
        most = sorted(sizes.items(), key=lambda item: -len(item[1]))
        shown = ", ".join(f"{len(files)} of {size[0]}x{size[1]}" for size, files in most[:4])
        more = f" and {len(most) - 4} more sizes" if len(most) > 4 else ""
        what = f"photographs differ in size (height x width): {shown}{more}"
        yield _finding("sizes", examples.split, most[-1][1][0], what)


def _missing(splits: Sequence[Examples], occurs: Mapping[str, np.ndarray]) -> Iterator[Finding]:
    for examples in splits:
        for i, name in enumerate(examples.table.names):
            if not occurs[examples.split][i]:
                where = [split for split, here in occurs.items() if here[i]]
                what = f"no pixel of the class {name!r}" + (f", which occurs in {', '.join(where)}" if where else "")
                yield _finding("class missing", examples.split, examples.split, what)


def text(findings: Sequence[Finding], splits: Sequence[Examples]) -> str:
    """The findings as a table of kind, split and file, each with what is wrong and the cure below."""
    lines = []
    kinds = [kind for kind in (*CURES, *NOTES) if any(f.kind == kind for f in findings)]
    width = max((len(kind) for kind in kinds), default=0)
    places = max((len(f.split) for f in findings), default=0)
    for kind in kinds:
        here = [f for f in findings if f.kind == kind]
        for f in here[:SHOWN]:
            lines += [f"{kind:<{width}}  {f.split:<{places}}  {f.file}", f"    {f.finding}", f"    {f.cure}"]
        if len(here) > SHOWN:
            lines.append(f"{kind:<{width}}  ... and {len(here) - SHOWN} more; --json=FILE has them all")
    notes = sum(f.kind in NOTES for f in findings)
    n = ", ".join(f"{len(examples)} of {examples.split}" for examples in splits)
    lines.append(f"{len(findings) - notes} findings and {notes} notes in {n}")
    return "\n".join(lines)


def to_json(findings: Sequence[Finding], splits: Sequence[Examples]) -> str:
    """The findings as JSON text: those that fail the check, and the notes."""
    rows: dict[str, list] = {"findings": [], "notes": []}
    for finding in findings:
        rows["notes" if finding.kind in NOTES else "findings"].append(asdict(finding))
    return json.dumps({"examples": {examples.split: len(examples) for examples in splits}, **rows}, indent=1) + "\n"
