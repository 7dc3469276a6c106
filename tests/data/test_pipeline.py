"""From examples to batches: the check before the first step, its record, the host cache and the stream."""

import json
import logging
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from configs import default
from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.data import checking, pipeline, sampler
from seg_jax.data.examples import Bad, Examples
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelError, LabelTable
from seg_jax.data.pipeline import PAD
from seg_jax.data.sources import python

TABLE = LabelTable(names=("sky", "road", "car"))
N = 7
SIZE = (4, 6)


def pair(i, size=SIZE):
    """A picture that tells which example it is of."""
    return np.full((*size, 3), 20 * i + 1, np.uint8), np.full(size, i % 3, np.uint8)


class Source:
    """Generated examples that count how often each is read; `broken` maps an index to an error or another pair."""

    def __init__(self, n=N, broken=()):
        self.n, self.broken, self.reads, self.lock = n, dict(broken), [0] * n, threading.Lock()

    def read(self, i):
        with self.lock:
            self.reads[i] += 1
        what = self.broken.get(i, pair(i))
        if isinstance(what, Exception):
            raise what
        return what

    def examples(self, **fields):
        return Examples("train", tuple(f"e{i}" for i in range(self.n)), self.read, TABLE, **fields)


def on_disk(directory, n=N):
    """The same pictures as files; returns the configuration that reads them."""
    for i in range(n):
        for name, array in zip(("train", "trainannot"), pair(i), strict=True):
            (directory / name).mkdir(exist_ok=True)
            Image.fromarray(array).save(directory / name / f"e{i}.png")
    (directory / "class_names.json").write_text(json.dumps(TABLE.names), encoding="utf-8")
    config = default.get_config()
    config.data.update({"source": "folder", "dir": str(directory)})
    return config


def prepare(examples, tmp_path, *, cache="none", skip_bad=False, threads=2, **fields):
    record = tmp_path / "checked" / "train.json"
    return checking.prepare(examples, cache=cache, skip_bad=skip_bad, threads=threads, record=record, **fields)


def counted(examples):
    """The examples, and a list that grows with each index that is read."""
    reads = []

    def read(i):
        reads.append(i)
        return examples.read(i)

    return replace(examples, read=read), reads


def batches(examples, orders):
    orders = [np.array(order, np.int64) for order in orders]
    return list(pipeline.batches(examples, orders, threads=2, prefetch=2))


def which(batch):
    """The examples in a batch, by their pictures; PAD where the image is black."""
    return [(int(v) - 1) // 20 if v else PAD for v in batch["image"][:, 0, 0, 0]]


# ----- the check


@pytest.mark.parametrize("cache", ["none", "host"])
@pytest.mark.parametrize("threads", [1, 4])
def test_good_examples_pass(tmp_path, cache, threads):
    source = Source()
    examples = prepare(source.examples(), tmp_path, cache=cache, threads=threads)
    assert source.reads == [1] * N
    assert len(examples) == N
    assert (examples.split, examples.names, examples.bad) == ("train", tuple(f"e{i}" for i in range(N)), ())
    assert (examples.arrays is not None) == (cache == "host")
    for i in range(N):
        np.testing.assert_equal(examples.read(i), pair(i))
    assert source.reads == [1 if cache == "host" else 2] * N
    assert examples.size == SIZE
    assert not (tmp_path / "checked").exists()  # there are no files whose change could be noticed


BROKEN = {
    1: DataError("a/1.png cannot be read"),
    4: LabelError("a/4.png: mask value 9 (3 pixels)"),
    5: pair(5, (6, 4)),
}
REPORTED = (
    Bad("e1", "a/1.png cannot be read"),
    Bad("e4", "a/4.png: mask value 9 (3 pixels)"),
    Bad(
        "e5",
        "has 6x4 pixels (height x width) where the first one has 4x6; set config.data.size to bring all to one size, "
        "or config.augment.crop to train in crops of any",
    ),
)


@pytest.mark.parametrize("cache", ["none", "host"])
def test_bad_examples_stop_with_all_their_names(tmp_path, cache):
    unmatched = Bad("photo.png", "has no mask")
    with pytest.raises(DataError) as error:
        prepare(Source(broken=BROKEN).examples(bad=(unmatched,)), tmp_path, cache=cache)
    lines = str(error.value).splitlines()
    assert lines[0] == "4 of 8 examples of the split 'train' cannot be used:"
    assert lines[1:-1] == [f"  {bad.name}: {bad.why}" for bad in (unmatched, *REPORTED)]
    assert lines[-1] == "Correct them, or leave them out with --config.data.skip_bad=True."


@pytest.mark.parametrize("cache", ["none", "host"])
def test_skip_bad_leaves_out_and_lists(tmp_path, cache, caplog):
    unmatched = Bad("photo.png", "has no mask")
    source = Source(broken=BROKEN)
    beside = {"stored": lambda i: pair(i, (8, 12)), "instances": lambda i: np.full(SIZE, i, np.uint16)}
    with caplog.at_level(logging.WARNING):
        examples = prepare(source.examples(bad=(unmatched,), **beside), tmp_path, cache=cache, skip_bad=True)
    assert examples.bad == (unmatched, *REPORTED)
    assert examples.names == ("e0", "e2", "e3", "e6")
    for k, i in enumerate((0, 2, 3, 6)):
        np.testing.assert_equal(examples.read(k), pair(i))
        np.testing.assert_equal(examples.original(k), pair(i, (8, 12)))
        np.testing.assert_equal(examples.instances(k), np.full(SIZE, i))
    assert [which(b) for b in batches(examples, [[3, 2, 1, 0]])] == [[6, 3, 2, 0]]
    [record] = caplog.records
    assert "left out 4 of the split 'train'" in record.message
    for name in ("photo.png", "e1", "e4", "e5"):
        assert f"  {name}: " in record.message


def test_other_errors_are_not_hidden(tmp_path):
    with pytest.raises(ZeroDivisionError):
        prepare(Source(broken={2: ZeroDivisionError("a defect")}).examples(), tmp_path, skip_bad=True)


@pytest.mark.parametrize("skip_bad", [False, True])
def test_nothing_usable(tmp_path, skip_bad):
    broken = {i: DataError(f"file {i} is broken") for i in range(N)}
    with pytest.raises(DataError, match="file 3 is broken") as error:
        prepare(Source(broken=broken).examples(), tmp_path, skip_bad=skip_bad)
    assert ("has no usable example" in str(error.value)) == skip_bad


def test_an_empty_split(tmp_path):
    with pytest.raises(DataError, match="the split 'train' has no usable example"):
        prepare(Source(0).examples(), tmp_path)


def test_long_lists_are_cut_short():
    text = checking.listing(Bad(f"e{i}", "why") for i in range(25))
    assert text.splitlines() == [*(f"  e{i}: why" for i in range(20)), "  ... and 5 more"]
    assert checking.listing([Bad("e", "why")] * 20).count("\n") == 19


# ----- labels


BLANK = {i: (pair(i)[0], np.full(SIZE, IGNORE, np.uint8)) for i in range(N)}


@pytest.mark.parametrize("cache", ["none", "host"])
def test_a_split_says_whether_it_has_labels(tmp_path, cache):
    blank = Source(broken=BLANK).examples()
    assert not prepare(blank, tmp_path, cache=cache).labelled
    one = np.full(SIZE, IGNORE, np.uint8)
    one[2, 3] = 1
    assert prepare(Source(broken={**BLANK, 5: (pair(5)[0], one)}).examples(), tmp_path, cache=cache).labelled


def test_labels_that_another_process_has_seen(tmp_path):
    last = {i: what for i, what in BLANK.items() if i != N - 1}
    ends = together([Source(broken=last).examples() for _ in range(3)], [tmp_path] * 3)
    assert [examples.labelled for examples in ends] == [True] * 3
    ends = together([Source(broken=BLANK).examples() for _ in range(3)], [tmp_path] * 3)
    assert [examples.labelled for examples in ends] == [False] * 3


# ----- several processes


def together(splits, places, **fields):
    """What processes with a split and a run directory each end with: examples, or the text of an error."""
    barrier, said = threading.Barrier(len(splits), timeout=60), [""] * len(splits)

    def end(process):
        def exchange(text):
            said[process] = text
            barrier.wait()
            everyone = list(said)
            barrier.wait()
            return everyone

        whose = {"process": process, "processes": len(splits), "exchange": exchange}
        try:
            return prepare(splits[process], places[process], **whose, **fields)
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(len(splits)) as pool:
        return list(pool.map(end, range(len(splits))))


@pytest.mark.parametrize("processes", [2, 3, N + 1])
def test_processes_share_the_files(tmp_path, processes):
    sources = [Source() for _ in range(processes)]
    ends = together([source.examples() for source in sources], [tmp_path] * processes)
    for p, source in enumerate(sources):
        assert source.reads == [int(i % processes == p) for i in range(N)]
    assert all(len(examples) == N for examples in ends)


def test_for_a_cache_each_process_reads_all(tmp_path):
    sources = [Source(broken=BROKEN) for _ in range(2)]
    ends = together([source.examples() for source in sources], [tmp_path] * 2, cache="host", skip_bad=True)
    assert [source.reads for source in sources] == [[1] * N] * 2
    assert [len(examples.arrays[0]) for examples in ends] == [4, 4] and ends[0].bad == ends[1].bad == REPORTED


SMALL = {0: DataError("a/0.png cannot be read"), 1: pair(1, (2, 2))}  # it is the first that can be read


@pytest.mark.parametrize("broken", [BROKEN, SMALL, {3: DataError("a/3.png cannot be read")}, {0: pair(0, (2, 2))}])
def test_processes_know_what_one_has_found(tmp_path, broken):
    for processes in (2, 3):
        splits = [Source(broken=broken).examples() for _ in range(processes)]
        with pytest.raises(DataError) as alone:
            prepare(Source(broken=broken).examples(), tmp_path)
        assert together(splits, [tmp_path] * processes) == [str(alone.value)] * processes
        left = prepare(Source(broken=broken).examples(), tmp_path, skip_bad=True)
        for examples in together(splits, [tmp_path] * processes, skip_bad=True):
            assert (examples.names, examples.bad) == (left.names, left.bad)


def test_a_record_that_one_process_lacks_is_of_no_use(tmp_path):
    config = on_disk(tmp_path)
    (tmp_path / "train" / "e3.png").write_bytes(b"")  # process 1 reads it
    places = [tmp_path / "first", tmp_path / "second"]
    recalled = [[3], [3]]  # what could not be read is read again
    said = []
    for expected in ([[0, 2, 4, 6], [1, 3, 5]], recalled, [[0, 2, 3, 4, 6], [1, 3, 5]]):
        splits, reads = zip(*(counted(data.load(config, "train")) for _ in places), strict=True)
        said += together(splits, places)
        assert [sorted(indices) for indices in reads] == expected
        if expected == recalled:
            (places[1] / "checked" / "train.json").unlink()
    assert len(set(said)) == 1 and "e3.png is not an image" in said[0]
    alone, reads = counted(data.load(config, "train"))
    with pytest.raises(DataError, match=r"e3\.png"):
        prepare(alone, places[0])
    assert reads == [3]  # it contains what all have found


# ----- the host cache


def labelled(*files):
    """Examples whose labels have the values of each file, a row each, under two names."""
    pairs = [(np.zeros((len(values), 4, 3), np.uint8), np.repeat(np.array(values)[:, None], 4, 1)) for values in files]
    return python.examples(pairs, "train", LabelTable(names=("background", "lesion")))


@pytest.mark.parametrize("cache", ["none", "host"])
def test_a_class_that_is_ignored_everywhere_stops_the_run(tmp_path, cache):
    """Two names beside masks of 0 and 255."""
    with pytest.raises(DataError, match=r"in train\[1\], all labelled pixels are 'background', and 37.5% are ignored"):
        prepare(labelled((0, 0, 0, 0), (0, 255, 255, 255)), tmp_path, cache=cache)
    assert len(prepare(labelled((0, 0, 0, 0), (0, 0, 0, 0)), tmp_path, cache=cache)) == 2  # nothing is ignored


def test_photographs_to_evaluate_on_may_show_one_class(tmp_path, caplog):
    assert len(prepare(labelled((0, 255, 255, 0), (0, 0, 0, 0)), tmp_path, learned=False)) == 2
    assert "the ignored value is the only one beside a class in train[0]" in caplog.text


def test_files_of_two_scales_are_warned_of(tmp_path, caplog):
    prepare(labelled((0, 1, 0, 0), (0, 255, 255, 255)), tmp_path)
    assert "the only one beside a class in train[1] and beside several in none" in caplog.text
    caplog.clear()
    prepare(labelled((0, 1, 255, 0), (0, 255, 255, 255)), tmp_path)
    assert "ignored" not in caplog.text


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_know_the_classes_of_all(tmp_path, processes):
    good = [labelled((0, 0), (0, 255), (0, 1), (1, 1)) for _ in range(processes)]
    places = [tmp_path / f"{i}" for i in range(processes)]
    assert [len(each) for each in together(good, places)] == [4] * processes


def test_the_cache_must_fit_into_memory(tmp_path, monkeypatch):
    # 7 images of 4x6 with 3 + 1 bytes a pixel are 672 bytes; this machine has 800, of which 80 % may be taken.
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 2, "SC_PAGE_SIZE": 400}.get)
    with pytest.raises(DataError, match=r"config.data.cache = 'host' needs .* GiB for 7 images of 4x6") as error:
        prepare(Source().examples(), tmp_path, cache="host")
    assert "Use --config.data.cache=none or a smaller data.size" in str(error.value)
    assert prepare(Source().examples(), tmp_path, cache="none").arrays is None
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 2, "SC_PAGE_SIZE": 420}.get)  # exactly 80 %
    images, labels = prepare(Source().examples(), tmp_path, cache="host").arrays
    assert images.nbytes + labels.nbytes == 672


# ----- the record of a check


@pytest.mark.parametrize("room", [0, 3 * 96])
def test_a_cache_of_any_size_keeps_what_fits(tmp_path, room):
    """Examples of 4x6 pixels have 96 bytes; where all have one size after all and fit, they are two arrays."""
    source = Source()
    examples = prepare(source.examples(), tmp_path, cache="host", one_size=False, cache_bytes=room)
    assert (examples.arrays is None) == bool(room) and examples.sizes == ()
    order = [[3, 0, 6], [5, PAD, 1]]
    np.testing.assert_equal(batches(examples, order), batches(Source().examples(), order))
    assert source.reads[:3] == [1] * 3 and source.reads[5:7] == [2 if room else 1] * 2


def test_sizes_are_known_after_the_check_and_from_its_record(tmp_path):
    source = Source()
    source.broken[5] = pair(5, (6, 4))
    expected = ((4, 6),) * 5 + ((6, 4),) + ((4, 6),) * (N - 6)
    for cache in ("none", "none", "host"):
        examples = prepare(source.examples(), tmp_path, cache=cache, one_size=False)
        assert examples.sizes == expected and examples.described_size.endswith("4x6")
    assert examples.take([5, 0]).sizes == ((6, 4), (4, 6))
    assert prepare(Source().examples(), tmp_path, one_size=False, own_scale=True).sizes == ((4, 6),) * N


def test_unchanged_files_are_not_checked_again(tmp_path):
    config = on_disk(tmp_path)
    for expected in ([*range(N)], []):
        examples, reads = counted(data.load(config, "train"))
        assert len(prepare(examples, tmp_path)) == N
        assert sorted(reads) == expected
    examples, reads = counted(data.load(config, "train"))
    prepare(examples, tmp_path, cache="host")  # to be cached, everything is read
    assert sorted(reads) == [*range(N)]


def touch(directory):
    path = directory / "trainannot" / "e2.png"
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))


def relabel(directory):
    (directory / "class_names.json").write_text('["a", "b", "c", "d"]', encoding="utf-8")


def rename(directory):
    for name in ("train", "trainannot"):
        (directory / name / "e2.png").rename(directory / name / "e9.png")


def add(directory):
    for name in ("train", "trainannot"):
        (directory / name / "e9.png").write_bytes((directory / name / "e1.png").read_bytes())


def damage_record(directory):
    (directory / "checked" / "train.json").write_text("{", encoding="utf-8")


def strange_record(directory):
    (directory / "checked" / "train.json").write_text("[]", encoding="utf-8")


@pytest.mark.parametrize("change", [touch, relabel, rename, add, damage_record, strange_record])
def test_changed_files_are_checked_again(tmp_path, change):
    config = on_disk(tmp_path)
    prepare(data.load(config, "train"), tmp_path)
    change(tmp_path)
    examples, reads = counted(data.load(config, "train"))
    prepare(examples, tmp_path)
    assert sorted(reads) == [*range(len(examples))]


def test_the_record_keeps_what_was_bad(tmp_path):
    config = on_disk(tmp_path)
    (tmp_path / "train" / "e3.png").write_bytes(b"")
    errors = []
    for expected in ([*range(N)], [3]):
        examples, reads = counted(data.load(config, "train"))
        with pytest.raises(DataError) as error:
            prepare(examples, tmp_path)
        errors.append(str(error.value))
        assert sorted(reads) == expected
    assert errors[0] == errors[1]
    assert str(tmp_path / "train" / "e3.png") in errors[0]
    examples = prepare(data.load(config, "train"), tmp_path, skip_bad=True)
    assert [bad.name for bad in examples.bad] == ["train/e3.png + trainannot/e3.png"]
    assert [which(b) for b in batches(examples, [[2, 3]])] == [[2, 4]]


def test_what_could_not_be_read_is_read_again(tmp_path):
    """No file has changed, but the cure need not be in a file: a raised limit, a package that was added."""
    config = on_disk(tmp_path)

    def failing(i):
        raise DataError(f"{i}: raise the limit")

    with pytest.raises(DataError, match="raise the limit"):
        prepare(replace(data.load(config, "train"), read=failing), tmp_path)
    assert len(prepare(data.load(config, "train"), tmp_path)) == N


def test_another_size_is_checked_again(tmp_path):
    # The cure that the first error names must not be met by the record of that error.
    config = on_disk(tmp_path)
    Image.fromarray(pair(2, (8, 8))[0]).save(tmp_path / "train" / "e2.png")
    Image.fromarray(pair(2, (8, 8))[1]).save(tmp_path / "trainannot" / "e2.png")
    with pytest.raises(DataError, match=r"e2.png: has 8x8 pixels .* first one has 4x6; set config.data.size"):
        prepare(data.load(config, "train"), tmp_path)
    config.data.size = (8, 10)
    assert len(prepare(data.load(config, "train"), tmp_path)) == N
    config.data.size = (0, 0)
    with pytest.raises(DataError, match=r"set config\.data\.size"):
        prepare(data.load(config, "train"), tmp_path)


# ----- batches


ORDERS = {
    "training": list(sampler.training_order(5, start=0, stop=6, batch_size=3, n=N)),
    "larger than the split": list(sampler.training_order(5, start=2, stop=4, batch_size=10, n=N)),
    "evaluation": list(sampler.evaluation_order(4, N, pad=PAD)),
    "padding alone": [np.array([PAD, PAD], np.int64)],
    "none": [],
}


@pytest.mark.parametrize("kind", ORDERS)
def test_stream_and_cache_give_the_same_batches(tmp_path, kind):
    orders = ORDERS[kind]
    streamed = batches(prepare(Source().examples(), tmp_path), orders)
    cached = batches(prepare(Source().examples(), tmp_path, cache="host"), orders)
    np.testing.assert_equal(streamed, cached)
    assert [which(batch) for batch in streamed] == [order.tolist() for order in orders]
    for batch, order in zip(streamed, orders, strict=True):
        assert sorted(batch) == ["image", "label"]
        assert (batch["image"].shape, batch["image"].dtype) == ((len(order), *SIZE, 3), np.uint8)
        assert (batch["label"].shape, batch["label"].dtype) == ((len(order), *SIZE), np.uint8)
        for k, i in enumerate(order):
            image, label = pair(i) if i != PAD else (np.uint8(0), np.uint8(IGNORE))
            assert (batch["image"][k] == image).all()
            assert (batch["label"][k] == label).all()


def test_the_stream_keeps_the_order_whatever_is_read_first():
    # Even examples take longer to read than odd ones.
    def read(i):
        time.sleep(0.02 * (i % 2 == 0))
        return pair(i)

    examples = Examples("train", tuple(f"e{i}" for i in range(N)), read, TABLE)
    orders = [np.array([0, 1, 2], np.int64), np.array([4, 3, 6], np.int64)] * 3
    stream = pipeline.batches(examples, orders, threads=4, prefetch=2)
    assert [which(batch) for batch in stream] == [[0, 1, 2], [4, 3, 6]] * 3


def test_batches_may_be_written_to(tmp_path):
    examples = prepare(Source().examples(), tmp_path, cache="host")
    batches(examples, [[0, 1]])[0]["image"][:] = 0
    assert which(batches(examples, [[0, 1]])[0]) == [0, 1]


def test_the_stream_is_lazy():
    # Endless orders are fine, and no more is read ahead than was asked for.
    source = Source()

    def endless():
        while True:
            yield np.array([1, 2], np.int64)

    stream = pipeline.batches(source.examples(), endless(), threads=2, prefetch=2)
    assert [which(next(stream)) for _ in range(3)] == [[1, 2]] * 3
    stream.close()
    assert source.reads[1] < 20


def test_a_file_that_vanishes_is_named(tmp_path):
    config = on_disk(tmp_path)
    examples = prepare(data.load(config, "train"), tmp_path)
    (tmp_path / "trainannot" / "e4.png").unlink()
    stream = pipeline.batches(examples, iter(np.arange(N)[:, None]), threads=1, prefetch=1)
    seen = []
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'trainannot' / 'e4.png'} does not exist.")):
        for batch in stream:
            seen += which(batch)
    assert seen == [0, 1, 2, 3]


def test_a_picture_that_changes_its_size_is_named():
    source = Source()
    source.broken[5] = pair(5, (6, 4))
    with pytest.raises(DataError, match=re.escape("e5 changed its size during the run.")):
        batches(source.examples(), [[0, 5]])


def test_unexpected_errors_come_through_the_stream():
    source = Source(broken={3: ZeroDivisionError("a defect")})
    with pytest.raises(ZeroDivisionError, match="a defect"):
        batches(source.examples(), [[0, 3]])


# ----- data.load


def test_load_resizes(tmp_path):
    config = on_disk(tmp_path)
    config.data.size = (8, 3)
    examples = data.load(config, "train")
    assert examples.size == (8, 3)
    for i in range(N):
        np.testing.assert_equal(examples.read(i), pair(i, (8, 3)))
    [batch] = batches(prepare(examples, tmp_path), [[6, PAD]])
    assert batch["image"].shape == (2, 8, 3, 3)
    assert batch["label"].shape == (2, 8, 3)


def test_load_keeps_the_stored_size(tmp_path):
    assert data.load(on_disk(tmp_path), "train").size == SIZE


def test_load_knows_its_sources():
    config = default.get_config()
    config.data.source = "foldr"
    with pytest.raises(ConfigError, match=r"config.data.source = 'foldr' is not one of: .*folder.*'folder'\?"):
        data.load(config, "train")
