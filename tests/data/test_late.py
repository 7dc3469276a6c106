"""Examples that are not all read before the first step: `data.check`."""

import logging
from contextlib import closing
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from configs import default
from seg_jax.config import ConfigError, checked
from seg_jax.data import feed, late
from seg_jax.data.examples import Examples
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelError, LabelTable
from seg_jax.runtime import sharding
from seg_jax.train.stream import Stream

N = 12
BAD = {
    3: DataError("e3.png cannot be read (truncated)"),
    4: LabelError("e4.png: value 9"),
    11: DataError("e11.png is bad"),
}


class Files:
    """Reads examples, notes which, and cannot read some; the image says which example it is."""

    def __init__(self, bad=(), odd=()):
        self.bad, self.odd, self.seen = {i: BAD[i] for i in bad}, odd, []

    def __call__(self, index):
        self.seen.append(index)
        if index in self.bad:
            raise self.bad[index]
        size = (6, 8) if index not in self.odd else (8, 6)
        return np.full((*size, 3), index, np.uint8), np.full(size, index % 2, np.uint8)


def config_of(check, **fields):
    config = default.get_config()
    config.data.update(check=check, **{"cache": "none", "threads": 1, **fields})
    config.train.batch_size = 4
    return config


def prepared(tmp_path, files, check, *, any_size=False, **fields):
    examples = Examples("train", tuple(f"e{i}" for i in range(N)), files, LabelTable(names=("a", "b")))
    mesh, data = sharding.make_mesh(1), config_of(check, **fields).data
    return feed.prepare(examples, data, mesh, record=tmp_path / "checked.json", any_size=any_size, seed=5)


def shown(examples, config, *, start=0, stop=6):
    """Which examples are in the batches of some steps."""
    job = SimpleNamespace(
        config=config, splits=(examples,), mesh=sharding.make_mesh(1), functions=SimpleNamespace(members=1)
    )
    with closing(Stream(job, start=start, stop=stop).batches()) as batches:
        return [jax.device_get(batch["image"])[:, 0, 0, 0].tolist() for batch in batches]


def test_what_is_read_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(late, "SAMPLED", 5)
    for check, count in (("auto", N), ("all", N), ("sample", 6), ("use", 1)):  # the first one tells the size
        files = Files()
        examples = prepared(tmp_path, files, check)
        assert len(files.seen) == count and len(examples) == N and not examples.bad, check
        assert examples.labelled
        assert sum(examples.pixels) == 48 * {"sample": 5, "use": 0}.get(check, N)
    monkeypatch.setattr(late, "LARGE", N - 1)
    assert len(late.chosen("auto", N, seed=5, cache="host")) == 5
    assert late.chosen("auto", N, seed=5, cache="device") is None
    assert late.chosen("sample", N, seed=5, cache="none") != late.chosen("sample", N, seed=6, cache="none")
    assert late.chosen("sample", 3, seed=5, cache="none") == [0, 1, 2]


def test_a_bad_file_of_the_sample_is_named_before_the_first_step(tmp_path):
    with pytest.raises(DataError, match=r"3 of 12 examples .*\n  e3: e3.png cannot be read.*\n  e4: .*value 9"):
        prepared(tmp_path, Files(bad=BAD), "sample")
    examples = prepared(tmp_path, Files(bad=BAD), "sample", skip_bad=True)
    assert len(examples) == N - 3 and [bad.name for bad in examples.bad] == ["e3", "e4", "e11"]


def test_a_bad_file_stops_the_run_when_it_is_read(tmp_path):
    examples = prepared(tmp_path, Files(bad=[4]), "use")
    assert examples.read(3)[0][0, 0, 0] == 3
    with pytest.raises(LabelError, match=r"e4.png: value 9"):
        examples.read(4)
    with pytest.raises(LabelError, match=r"e4.png: value 9"):
        shown(examples, config_of("use"))


def test_the_next_one_takes_the_place_of_a_bad_file(tmp_path, caplog):
    files = Files(bad=BAD, odd=[7])
    examples = prepared(tmp_path, files, "use", skip_bad=True)
    with caplog.at_level(logging.WARNING):
        read = [int(examples.read(i)[0][0, 0, 0]) for i in range(N)]
    assert read == [0, 1, 2, 5, 5, 5, 6, 8, 8, 9, 10, 0]
    assert [bad.name for bad in examples.bad] == ["e3", "e4", "e7", "e11"]
    assert "has 8x6 pixels (height x width) where the first one has 6x8" in examples.bad[2].why
    assert [record.message for record in caplog.records if "e4.png: value 9" in record.message]
    before = len(files.seen)
    assert int(examples.read(3)[0][0, 0, 0]) == 5 and files.seen[before:] == [5], "bad ones are not read again"


@pytest.mark.parametrize("any_size", [False, True])
def test_the_same_bits_from_files_and_memory_and_after_any_resume(tmp_path, any_size):
    def batches(start=0, **fields):
        config = config_of("use", skip_bad=True, **fields)
        if any_size:
            config.augment.crop = (4, 4)
        examples = prepared(tmp_path, Files(bad=BAD), "use", any_size=any_size, skip_bad=True, **fields)
        assert bool(examples.sizes) == any_size
        return shown(examples, config, start=start)

    expected = batches()
    assert not {3, 4, 11} & {i for batch in expected for i in batch}
    assert batches(cache="host") == batches(cache="host", cache_bytes=500) == batches(threads=3) == expected
    for start in (1, 4):
        assert batches(start=start) == expected[start:]


def test_examples_are_kept_once_they_were_read(tmp_path):
    files = Files()
    examples = prepared(tmp_path, files, "use", cache="host", cache_bytes=3 * 48 * 4)
    for _ in range(2):
        for i in range(4):
            examples.read(i)
    assert files.seen == [0, 1, 2, 3, 3], "there is room for three"


def test_a_split_without_a_usable_example(tmp_path):
    with pytest.raises(DataError, match="the split 'train' has no usable example"):
        files = Files()
        files.bad = {i: DataError(f"e{i}.png is bad") for i in range(N)}
        prepared(tmp_path, files, "use", skip_bad=True)


def test_devices_keep_what_was_checked():
    config = config_of("use", cache="device")
    with pytest.raises(ConfigError, match=r"data.check = 'use': a cache on devices .*Use all, or data.cache=host"):
        checked(config)
