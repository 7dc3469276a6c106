"""The check of all examples before the first step: an unusable example stops a run at once, and by name.

It also fills the host cache, and it records its outcome so that unchanged files are checked only once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from seg_jax.data.cache import Cache
from seg_jax.data.examples import Bad, Examples, Pair, class_counts, refuse_one_class
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelError
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
    own_scale: bool = False,
    cache_bytes: int = 0,
    only: Sequence[int] | None = None,
    learned: bool = True,
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
      one_size: whether examples of another size than the first one are bad.
      own_scale: whether examples pass at their own scale even if all have one size.
      cache_bytes: see `cache.Cache`.
      only: the examples to read, of which none is kept; None: all.
      learned: see `examples.refuse_one_class`.
      process, processes: number of this process, and of all processes.
      exchange: see `sharding.exchange`.

    Returns:
      The usable examples; `labelled` says whether any of their pixels has a class, `pixels` how many have each, `sizes`
      that they have several.

    Raises:
      DataError: examples cannot be read, have unknown mask values or another size, or none is left.
    """

    def everyone(value: Any) -> list[Any]:
        return [json.loads(text) for text in exchange(json.dumps(value))]

    n, complete = len(examples), only is None
    cache = cache if complete else "none"
    fingerprint = content_key(examples) if complete else ""
    if fingerprint and not one_size:
        fingerprint += " of any size" + " at its own scale" * own_scale
    if cache == "none":
        known = everyone(_recall(record, fingerprint, examples))
        if None not in known:  # with separate disks only some processes may have a record: then all check again
            sizes = tuple((height, width) for height, width in known[0]["sizes"])
            counted = tuple(known[0]["pixels"])
            examples = replace(examples, labelled=any(counted), sizes=sizes, pixels=counted)
            return _without(examples, _united(one["bad"] for one in known), skip_bad)

    def check(index: int) -> tuple[tuple[int, ...], np.ndarray, Pair | None] | Bad:
        result = try_read(examples, index)
        if isinstance(result, Bad):
            return result
        counts = class_counts(result[1], len(examples.table))
        return result[1].shape, counts, None if cache == "none" else result  # without a cache no pixels are needed

    which = range(n) if only is None else only
    mine = which[process::processes] if cache == "none" else which
    bad: dict[int, Bad] = {}
    alike: dict[tuple[int, ...], list[int]] = {}  # size -> examples
    pixels = np.zeros(len(examples.table) + 1, np.int64)
    alone: dict[bool, str] = {}  # whether ignored pixels are beside one class alone -> an example
    kept = Cache(n, cache, one_size=one_size, most=cache_bytes)
    with closing(
        in_parallel(lambda k: check(mine[k]), len(mine), threads=threads, title=f"checking {examples.split}")
    ) as results:
        for i, result in zip(mine, results, strict=True):
            if isinstance(result, Bad):
                bad[i] = result
                continue
            size, counts, pair = result
            pixels += counts
            if counts[-1] and counts[:-1].any():
                alone.setdefault(int((counts[:-1] > 0).sum()) == 1, examples.names[i])
            alike.setdefault(size, []).append(i)
            if pair is not None:
                kept.keep(i, pair)
    unread = list(bad)
    if one_size:
        firsts = everyone([[indices[0], *size] for size, indices in alike.items()])
        _, *first = min((entry for entries in firsts for entry in entries), default=[0])
        for size, indices in alike.items():
            why = another_size(size, first)
            bad |= {i: Bad(examples.names[i], why) for i in indices if [*size] != first}
    found = everyone(
        {
            "bad": {i: {"name": b.name, "why": b.why} for i, b in bad.items()},
            "unread": unread,
            "pixels": pixels.tolist(),
            "alone": [*alone.items()],
            "alike": [] if one_size else [*alike.items()],
        }
    )
    sizes = _sizes(n, [entry for one in found for entry in one["alike"]], own_scale=own_scale)
    pixels = np.sum([one["pixels"] for one in found], axis=0)
    refuse_one_class(examples, pixels, dict(entry for one in found for entry in one["alone"]), learned=learned)
    bad, counted = _united(one["bad"] for one in found), tuple(pixels[:-1].tolist())
    if fingerprint:
        entries = {i: {"name": b.name, "why": b.why} for i, b in bad.items()}
        findings = {"fingerprint": fingerprint, "bad": entries, "pixels": counted, "sizes": sizes}
        findings["unread"] = [i for one in found for i in one["unread"]]
        write_bytes(record, json.dumps(findings, indent=1).encode())
    if not complete:  # what was not read may have labels, and another size
        sizes = () if one_size else ((0, 0),) * n
    labelled = any(counted)
    examples = replace(examples, labelled=labelled or not complete, sizes=sizes, pixels=counted if labelled else ())
    return _without(kept.of(examples), bad, skip_bad)


def _sizes(n: int, alike: list[tuple[tuple[int, int], list[int]]], *, own_scale: bool) -> tuple[tuple[int, int], ...]:
    """The (height, width) of each of `n` examples, (0, 0) for bad ones, from the examples of each size; () where all
    have one size and are to share it."""
    if len({tuple(size) for size, _ in alike}) < 2 and not own_scale:
        return ()
    sizes = [(0, 0)] * n
    for (height, width), indices in alike:
        for i in indices:
            sizes[i] = (height, width)
    return tuple(sizes)


def another_size(size: Sequence[int], first: Sequence[int]) -> str:
    """Why an example of one `size` cannot be used beside others of that of the `first` one, and what to do."""
    return (
        f"has {size[0]}x{size[1]} pixels (height x width) where the first one has {first[0]}x{first[1]}; set "
        "config.data.size to bring all to one size, or config.augment.crop to train in crops of any"
    )


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


def _recall(record: Path, fingerprint: str, examples: Examples) -> dict[str, Any] | None:
    """{'bad', 'pixels', 'sizes'} of an earlier check of the same unchanged files, or None.

    What could not be read then is read again: a package may have been added, a limit raised.
    """
    try:
        recorded = json.loads(record.read_text(encoding="utf-8"))
        findings = {name: recorded[name] for name in ("bad", "pixels", "sizes")}
        same = bool(fingerprint) and recorded["fingerprint"] == fingerprint
        return findings if same and all(isinstance(try_read(examples, i), Bad) for i in recorded["unread"]) else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
