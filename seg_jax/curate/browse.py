"""One HTML page of a data set: photographs under their masks, by class, the rarest first, with the linter's findings.

The page embeds everything, so that it opens offline and can be sent. It has at most `PICTURES` pictures and `BYTES`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from contextlib import closing

import numpy as np
from PIL import Image

from seg_jax.curate import lint
from seg_jax.curate.lint import Finding
from seg_jax.data.checking import in_parallel, try_read
from seg_jax.data.examples import Bad, Examples, Pair
from seg_jax.data.images import DataError, pictured, resize
from seg_jax.data.labels import LabelError, LabelTable, ignored_in
from seg_jax.data.sampler import spread
from seg_jax.report import html

PICTURES = 150
OF_CLASS = 6  # photographs of a class, from those that show most of it to those that show least
OF_FINDINGS = 30  # photographs with findings
SIDE = 360  # pixels of the longer side
BYTES = 24 * 2**20  # of all pictures

_STYLE = (
    ".all{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0;width:22em}figcaption{overflow-wrap:anywhere}"
    ".both{position:relative;line-height:0}.both img{width:100%}"
    ".both img+img{position:absolute;left:0;top:0;opacity:.55;image-rendering:pixelated}.both:hover img+img{opacity:0}"
    "i{display:inline-block;width:.9em;height:.9em;border:1px solid #000;margin-right:.4em}"
    "th,td{white-space:normal;vertical-align:top;text-align:left}"
)

Key = tuple[str, int]  # split and index of an example


class Gallery:
    """Photographs as HTML, each embedded once; later places link to the first.

    Args:
      splits: all examples that may be shown.
    """

    def __init__(self, splits: Sequence[Examples]):
        self._splits = {examples.split: examples for examples in splits}
        self._shown: set[Key] = set()
        self._bytes = 0
        self.left_out = 0

    def figures(self, captions: Iterable[tuple[Key, str]]) -> str:
        """A row of figures, an example with its caption each; examples that cannot be read are left out."""
        return '<div class="all">' + "\n".join(self._figure(*key, caption) for key, caption in captions) + "</div>"

    def pictures(self, pairs: Iterable[tuple[str, Pair]], table: LabelTable) -> str:
        """The same of pixels with their captions."""
        return '<div class="all">' + "\n".join(self._embedded("", pair, table, text) for text, pair in pairs) + "</div>"

    def _figure(self, split: str, index: int, caption: str) -> str:
        examples = self._splits[split]
        text = f"{split}: {examples.names[index]}{caption and f', {caption}'}"
        name = f"{list(self._splits).index(split)}-{index}"
        if (split, index) in self._shown:
            return f'<figure><figcaption><a href="#{name}">above</a>: {html.quote(text)}</figcaption></figure>'
        if len(self._shown) >= PICTURES or self._bytes > BYTES:
            self.left_out += 1
            return ""
        try:
            pair = examples.original(index)
        except (DataError, LabelError):
            return ""  # a finding says so
        self._shown.add((split, index))
        return self._embedded(f' id="{name}"', pair, examples.table, text)

    def _embedded(self, attributes: str, pair: Pair, table: LabelTable, text: str) -> str:
        photo, mask = _layers(*pair, table)
        self._bytes += len(photo) + len(mask)
        layers = html.picture(photo, "jpeg", text) + html.picture(mask, "png", "")
        return (
            f'<figure{attributes}><div class="both">{layers}</div><figcaption>{html.quote(text)}</figcaption></figure>'
        )


def page(
    title: str, splits: Sequence[Examples], findings: Sequence[Finding], *, threads: int, crops: Sequence = ()
) -> str:
    """The page.

    Args:
      title: of the page.
      splits: the splits of a data set.
      findings: those of `lint.lint`.
      threads: number of examples read at once.
      crops: (name, (image uint8 [h w 3], label [h w])) of training crops, which get a section of their own.
    """
    table, gallery = splits[0].table, Gallery(splits)
    pixels = {examples.split: _pixels(examples, threads) for examples in splits}
    counts = ", ".join(f"{len(examples)} of {examples.split}" for examples in splits)
    notes = sum(finding.kind in lint.NOTES for finding in findings)
    parts = [
        f"<p>{html.quote(counts)}; {len(findings) - notes} findings and {notes} notes. Ignored pixels have no colour. "
        "Point at a picture to see the photograph alone.</p>",
        *_classes(table, pixels),
        *_findings(splits, findings, gallery),
    ]
    for k in _rarest_first(pixels, len(table)):
        captions = _of_class(pixels, k)
        if not captions:
            continue
        parts += [f'<h2 id="class-{k}">{_square(table, k)}{html.quote(table.names[k])}</h2>', gallery.figures(captions)]
    if gallery.left_out:
        limits = f"{PICTURES} photographs and {BYTES >> 20} MiB"
        parts.append(f"<p>{gallery.left_out} more photographs are left out: a page has at most {limits}.</p>")
    if crops:
        parts += ['<h2 id="crops">Training crops</h2>', _CROPS, gallery.pictures(crops, table)]
    return html.document(title, parts, _STYLE)


_CROPS = (
    "<p>Batches of the first steps as training draws them, with geometry and colours changed, before the "
    "normalisation. Outside of a photograph all is ignored.</p>"
)


def _pixels(examples: Examples, threads: int) -> np.ndarray:
    """int64 [n k], number of pixels of each class in each example; 0 for those that cannot be read."""

    def count(index: int) -> np.ndarray | None:
        pair = try_read(examples, index)
        return None if isinstance(pair, Bad) else np.bincount(pair[1].ravel(), minlength=k)[:k]

    k = len(examples.table)
    pixels = np.zeros((len(examples), k), np.int64)
    with closing(in_parallel(count, len(examples), threads=threads, title=f"counting {examples.split}")) as counted:
        for i, row in enumerate(counted):
            if row is not None:
                pixels[i] = row
    return pixels


def _rarest_first(pixels: dict[str, np.ndarray], k: int) -> list[int]:
    totals = np.sum([counts.sum(axis=0) for counts in pixels.values()], axis=0)
    return sorted(range(k), key=lambda i: (totals[i], i))


def _of_class(pixels: dict[str, np.ndarray], k: int) -> list[tuple[Key, str]]:
    """Examples that show class `k`, evenly spread from those with the largest share of it to those with the least."""
    shares = [
        (float(counts[i, k] / counts[i].sum()), (split, int(i)))
        for split, counts in pixels.items()
        for i in np.flatnonzero(counts[:, k])
    ]
    shares.sort(key=lambda item: -item[0])
    return [(key, f"{share:.2%}") for share, key in (shares[i] for i in spread(len(shares), OF_CLASS))]


def _classes(table: LabelTable, pixels: dict[str, np.ndarray]) -> list[str]:
    """The table of classes, the rarest first, with their share of the labelled pixels and number of files."""
    head = "".join(f"<th>{html.quote(split)}</th><th>files</th>" for split in pixels)
    lines = []
    for k in _rarest_first(pixels, len(table)):
        name = f"{_square(table, k)}{html.quote(table.names[k])}"
        occurs = any(counts[:, k].any() for counts in pixels.values())
        cells = "".join(
            f"<td>{counts[:, k].sum() / max(counts.sum(), 1):.3%}</td><td>{np.count_nonzero(counts[:, k])}</td>"
            for counts in pixels.values()
        )
        lines.append(f'<tr><td>{f"""<a href="#class-{k}">{name}</a>""" if occurs else name}</td>{cells}</tr>')
    rows = "\n".join(lines)
    return ["<h2>Classes</h2>", f"<table><thead><tr><th>class</th>{head}</tr></thead><tbody>{rows}</tbody></table>"]


def _findings(splits: Sequence[Examples], findings: Sequence[Finding], gallery: Gallery) -> list[str]:
    """The table of findings, a few of each kind, and the photographs that they name."""
    if not findings:
        return []
    shown: list[Finding] = []
    rows = []
    for kind in (*lint.CURES, *lint.NOTES):
        alike = [finding for finding in findings if finding.kind == kind]
        shown += alike[: lint.MAX_SHOWN]
        rows += [(f.kind, f.split, f.file, f.finding, f.cure) for f in alike[: lint.MAX_SHOWN]]
        if more := len(alike) - lint.MAX_SHOWN:
            rows += [(kind, "", f"... and {more} more", "", "lint --json=FILE has them all")] if more > 0 else []
    keys: dict[str, Key] = {}
    for examples in splits:
        for i, name in enumerate(examples.names):
            keys |= dict.fromkeys([name, *(map(str, examples.files[i]) if examples.files else ())], (examples.split, i))
    captions: dict[Key, str] = {}
    for finding in shown:
        if key := keys.get(finding.file):
            captions[key] = "; ".join(filter(None, [captions.get(key, ""), f"{finding.kind}: {finding.finding}"]))
    parts = ["<h2>Findings</h2>", html.rows(html.Table("", ("kind", "split", "file", "finding", "cure"), rows))]
    return [*parts, gallery.figures(list(captions.items())[:OF_FINDINGS])] if captions else parts


def _square(table: LabelTable, k: int) -> str:
    return '<i style="background:rgb({},{},{})"></i>'.format(*table.colors[k])


def _layers(image: np.ndarray, label: np.ndarray, table: LabelTable) -> tuple[bytes, bytes]:
    """A photograph as JPEG, and its mask in class colours as PNG, transparent where it is ignored."""
    scale = min(1.0, SIDE / max(label.shape))
    size = (max(1, round(scale * label.shape[0])), max(1, round(scale * label.shape[1])))
    image, label = resize(pictured(image), label, size)
    opaque = np.where(label == ignored_in(label), 0, 255).astype(np.uint8)
    layers = (
        (Image.fromarray(image), "JPEG", {"quality": 80}),
        (Image.fromarray(np.dstack([table.colorize(label), opaque])), "PNG", {"optimize": True}),
    )
    contents = []
    for picture, form, options in layers:
        buffer = io.BytesIO()
        picture.save(buffer, form, **options)
        contents.append(buffer.getvalue())
    return contents[0], contents[1]
