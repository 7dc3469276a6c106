"""Batches on the devices: the same bits from files, from host memory and from device memory."""

import jax
import numpy as np
import pytest

from configs import default
from seg_jax.data import feed, sampler
from seg_jax.data.examples import Examples
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelTable
from seg_jax.data.pipeline import PAD
from seg_jax.runtime import sharding

TABLE = LabelTable(names=("sky", "road", "car"))
N, SIZE = 7, (4, 6)
ORDERS = {
    "training": list(sampler.training_order(5, start=0, stop=4, batch_size=4, n=N)),
    "larger than the split": list(sampler.training_order(5, start=2, stop=3, batch_size=16, n=N)),
    "evaluation": list(sampler.evaluation_order(4, N, pad=PAD)),
    "none": [],
}


def pair(i):
    rng = np.random.default_rng(i)
    return rng.integers(0, 256, (*SIZE, 3), np.uint8), rng.choice(np.array([0, 1, 2, IGNORE], np.uint8), SIZE)


def prepared(tmp_path, mesh, cache, read=pair):
    data = default.get_config().data
    data.cache = cache
    examples = Examples("train", tuple(f"e{i}" for i in range(N)), read, TABLE)
    return feed.prepare(examples, data, mesh, record=tmp_path / "checked.json"), data


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("kind", ORDERS)
def test_every_cache_gives_the_same_bits(tmp_path, kind, devices):
    mesh = sharding.make_mesh(devices)
    given = {}
    for cache in ("none", "host", "device"):
        examples, data = prepared(tmp_path, mesh, cache)
        given[cache] = list(feed.batches(examples, ORDERS[kind], data, mesh))
        for batch, order in zip(given[cache], ORDERS[kind], strict=True):
            assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
                "image": ((len(order), *SIZE, 3), np.uint8),
                "label": ((len(order), *SIZE), np.uint8),
            }
            assert all(array.sharding.is_equivalent_to(sharding.split(mesh), array.ndim) for array in batch.values())
    given = {cache: jax.device_get(batches) for cache, batches in given.items()}
    np.testing.assert_equal(given["host"], given["none"])
    np.testing.assert_equal(given["device"], given["none"])
    for batch, order in zip(given["device"], ORDERS[kind], strict=True):
        for k, i in enumerate(order):
            image, label = pair(i) if i != PAD else (np.uint8(0), np.uint8(IGNORE))
            assert (batch["image"][k] == image).all() and (batch["label"][k] == label).all()


def test_a_split_in_device_memory(tmp_path):
    mesh = sharding.make_mesh(2)
    reads = []

    def read(i):
        reads.append(i)
        return pair(i)

    examples, data = prepared(tmp_path, mesh, "device", read)
    for array in examples.arrays:
        assert array.dtype == np.uint8 and array.sharding.is_equivalent_to(sharding.replicated(mesh), array.ndim)
    for i in range(N):
        image, label = examples.read(i)
        assert isinstance(image, np.ndarray) and isinstance(label, np.ndarray)
        np.testing.assert_equal((image, label), pair(i))
    list(feed.batches(examples, ORDERS["training"], data, mesh))
    assert sorted(reads) == [*range(N)]  # once, for the check
    assert examples.size == SIZE


def test_the_gather_is_compiled_once(tmp_path, caplog):
    jax.clear_caches()  # other tests of this module may have compiled it
    mesh = sharding.make_mesh(1)
    examples, data = prepared(tmp_path, mesh, "device")
    compiled = []
    for _ in range(2):
        caplog.clear()
        with jax.log_compiles():
            jax.block_until_ready(list(feed.batches(examples, ORDERS["training"], data, mesh)))
        compiled.append(sum("Compiling jit(gather)" in record.getMessage() for record in caplog.records))
    assert compiled == [1, 0]


def test_the_split_must_fit_into_the_device(tmp_path, monkeypatch):
    # 7 images of 4x6 with 3 + 1 bytes a pixel are 672 bytes, of which 80 % of what is free may be taken.
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 1000, "bytes_in_use": self.used}

    device = Device()
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    device.used = 1000 - 839
    mesh = sharding.make_mesh(1)
    with pytest.raises(DataError, match=r"config.data.cache = 'device' needs .* GiB for the 7 examples of 'train'"):
        prepared(tmp_path, mesh, "device")
    device.used = 1000 - 840
    assert prepared(tmp_path, mesh, "device")[0].arrays is not None


def test_the_stream_ends_with_its_reader(tmp_path):
    mesh = sharding.make_mesh(1)
    examples, data = prepared(tmp_path, mesh, "none")
    stream = feed.batches(examples, ORDERS["training"], data, mesh)
    next(stream)
    stream.close()
    with pytest.raises(StopIteration):
        next(stream)
