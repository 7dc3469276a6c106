"""The check of all examples before the first step: an unusable example stops a run at once, and by name.

It also fills the host cache, and it records its outcome so that unchanged files are checked only once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from seg_jax.data.examples import Bad, Examples, Pair, refuse_one_class
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelError
from seg_jax.runtime.files import write_bytes

T = TypeVar("T")


def prepare(
    examples: Examples,
    *,
    cache: str,
    skip_bad: bool,
    threads: int,
    record: Path,
    one_size: bool = True,
    process: int = 0,
    processes: int = 1,
    exchange: Callable[[str], list[str]] = lambda text: [text],
) -> Examples:
    """Reads every example once before training, so that no bad file stops a run half-way.

    Several processes divide the files among them, except for a cache, of which each needs the whole. They exchange
    their findings: all stop with the same error, or leave out the same examples.

    Args:
      examples: one split.
      cache: 'none' reads from files at every step; 'host' keeps the examples in memory; 'device' does too, and
        `data.feed` then moves them to the devices.
      skip_bad: whether to leave unusable examples out (they stay listed in `bad`) instead of stopping.
      threads: number of files read at once.
      record: file for the outcome, so that unchanged files are not checked again when a run resumes.
      one_size: whether examples of another size than the first one are bad; a cache needs one size.
      process, processes: number of this process, and of all processes.
      exchange: see `sharding.exchange`.

    Returns:
      The usable examples; `labelled` says whether any of their pixels has a class.

    Raises:
      DataError: examples cannot be read, have unknown mask values or another size, or none is left.
    """

    def everyone(value: Any) -> list[Any]:
        return [json.loads(text) for text in exchange(json.dumps(value))]

    n = len(examples)
    fingerprint = content_key(examples)
    if cache == "none":
        known = everyone(_recall(record, fingerprint))
        if None not in known:  # with separate disks only some processes may have a record: then all check again
            examples = replace(examples, labelled=any(one["labelled"] for one in known))
            return _without(examples, _united(one["bad"] for one in known), skip_bad)

    def check(index: int) -> tuple[tuple[int, ...], list[int], Pair | None] | Bad:
        result = try_read(examples, index)
        if isinstance(result, Bad):
            return result
        counts = Image.fromarray(result[1]).histogram()
        return result[1].shape, counts, None if cache == "none" else result  # without a cache no pixels are needed

    mine = range(process, n, processes) if cache == "none" else range(n)
    bad: dict[int, Bad] = {}
    sizes: dict[tuple[int, ...], list[int]] = {}
    pixels = np.zeros(256, np.int64)
    alone: dict[bool, str] = {}  # whether ignored pixels are beside one class alone -> an example
    arrays: Pair | None = None
    with closing(
        in_parallel(lambda k: check(mine[k]), len(mine), threads=threads, title=f"checking {examples.split}")
    ) as results:
        for i, result in zip(mine, results, strict=True):
            if isinstance(result, Bad):
                bad[i] = result
                continue
            size, counts, pair = result
            pixels += counts
            if counts[IGNORE] and any(counts[:IGNORE]):
                alone.setdefault(sum(map(bool, counts[:IGNORE])) == 1, examples.names[i])
            sizes.setdefault(size, []).append(i)
            if pair is not None:
                arrays = arrays or _allocate(n, size, cache)
                if size == arrays[1].shape[1:]:
                    arrays[0][i], arrays[1][i] = pair
    if one_size:
        firsts = everyone([[indices[0], *size] for size, indices in sizes.items()])
        _, *first = min((entry for entries in firsts for entry in entries), default=[0])
        for size, indices in sizes.items():
            why = (
                f"has {size[0]}x{size[1]} pixels (height x width) where the first one has "
                f"{first[0]}x{first[1]}; set config.data.size to bring all to one size"
            )
            bad |= {i: Bad(examples.names[i], why) for i in indices if [*size] != first}
    found = everyone(
        {
            "bad": {i: {"name": b.name, "why": b.why} for i, b in bad.items()},
            "pixels": pixels.tolist(),
            "alone": [*alone.items()],
        }
    )
    pixels = np.sum([one["pixels"] for one in found], axis=0)
    refuse_one_class(examples, pixels, {beside: name for one in found for beside, name in one["alone"]})
    bad, labelled = _united(one["bad"] for one in found), bool(pixels[:IGNORE].any())
    if fingerprint:
        entries = {i: {"name": b.name, "why": b.why} for i, b in bad.items()}
        text = json.dumps({"fingerprint": fingerprint, "bad": entries, "labelled": labelled}, indent=1)
        write_bytes(record, text.encode())
    return _without(replace(examples, arrays=arrays, labelled=labelled), bad, skip_bad)


def _united(findings: Iterable[dict[str, dict[str, str]]]) -> dict[int, Bad]:
    """The findings of several processes, in the order of the examples."""
    bad = {int(i): Bad(**entry) for finding in findings for i, entry in finding.items()}
    return dict(sorted(bad.items()))


def in_parallel(function: Callable[[int], T], n: int, *, threads: int, title: str) -> Generator[T]:
    """Yields function(0), function(1), ... function(n - 1), computed by several threads, under a progress bar.

    The threads run only a little ahead of the consumer. Closing the generator cancels calls that have not begun, so an
    error does not wait for the rest.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        ahead = deque(pool.submit(function, i) for i in range(min(n, 4 * threads)))
        for i in tqdm(range(n), desc=title, unit="img", file=sys.stderr, mininterval=1.0):
            result = ahead.popleft().result()
            if i + 4 * threads < n:
                ahead.append(pool.submit(function, i + 4 * threads))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def try_read(examples: Examples, index: int) -> Pair | Bad:
    """An example, or why it cannot be used."""
    try:
        return examples.read(index)
    except (DataError, LabelError) as error:
        return Bad(examples.names[index], str(error))


def _without(examples: Examples, bad: dict[int, Bad], skip_bad: bool) -> Examples:
    """The examples without the bad ones, which are an error unless `skip_bad`."""
    all_bad = (*examples.bad, *bad.values())
    if all_bad and not skip_bad:
        raise DataError(
            f"{len(all_bad)} of {len(examples) + len(examples.bad)} examples of the split {examples.split!r} cannot be "
            f"used:\n{listing(all_bad)}\nCorrect them, or leave them out with --config.data.skip_bad=True."
        )
    if all_bad:
        logging.warning(
            "data.skip_bad: left out %d of the split %r:\n%s", len(all_bad), examples.split, listing(all_bad)
        )
    good = [i for i in range(len(examples)) if i not in bad]
    if not good:
        raise DataError(f"the split {examples.split!r} has no usable example:\n{listing(all_bad)}")
    chosen = replace(examples.take(good), bad=all_bad)
    if examples.arrays is None:
        return chosen
    images, labels = examples.arrays if not bad else (array[good] for array in examples.arrays)
    return replace(chosen, arrays=(images, labels), read=lambda i: (images[i], labels[i]))


def listing(bad: Iterable[Bad], limit: int = 20) -> str:
    """One line for each bad example, at most `limit`."""
    lines = [f"  {b.name}: {b.why}" for b in bad]
    more = [f"  ... and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n".join(lines[:limit] + more)


def _allocate(n: int, size: tuple[int, ...], cache: str) -> Pair:
    """Arrays for the cache; raises DataError before the machine would start to swap."""
    needed = n * size[0] * size[1] * 4
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed > 0.8 * memory:
            raise DataError(
                f"config.data.cache = {cache!r} needs {needed / 2**30:.1f} GiB for {n} images of {size[0]}x{size[1]}, "
                f"this machine has {memory / 2**30:.1f} GiB. Use --config.data.cache=none or a smaller data.size."
            )
    return np.zeros((n, *size, 3), np.uint8), np.full((n, *size), IGNORE, np.uint8)


def content_key(examples: Examples) -> str:
    """A digest of the files, the meaning of their values, and the way they are read; '' for data without files."""
    if not examples.files:
        return ""
    digest = hashlib.sha256(f"{examples.resized}{examples.reading}{examples.table.to_json()}".encode())
    for paths in examples.files:
        for path in paths:
            try:
                stat = path.stat()
            except OSError:
                return ""  # the reader's error will say more
            line = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}\n"
            digest.update(line.encode(errors="surrogateescape"))  # file names may be any bytes
    return digest.hexdigest()


def _recall(record: Path, fingerprint: str) -> dict[str, Any] | None:
    """{'bad', 'labelled'} of an earlier check of the same unchanged files, or None."""
    try:
        recorded = json.loads(record.read_text(encoding="utf-8"))
        findings = {name: recorded[name] for name in ("bad", "labelled")}
        return findings if fingerprint and recorded["fingerprint"] == fingerprint else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
