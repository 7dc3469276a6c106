"""The same numbers however the work is split over the devices."""

from functools import cache

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils
from jax.sharding import AxisType

from seg_jax.config import ConfigError
from seg_jax.run import opening, pretrained, program
from seg_jax.run.length import Length
from seg_jax.runtime import sharding

CLASSES = 3
SIZE = (32, 32)
# (devices, of these `model`, `space`), the first for comparison; each with the networks below.
SPLITS = ((1, 1, 1), (2, 1, 1), (8, 1, 1), (4, 1, 4), (4, 4, 1), (8, 2, 2))
NETWORKS = {
    "batch norm": {"model.dropout": 0.2},
    "attention": {"model.name": "danet", "model.channels": 16},
}


@pytest.fixture(scope="module", autouse=True)
def enough_devices():
    """Eight, over which even the parameters of tiny networks are split."""
    if jax.device_count() < 8:
        pytest.skip(f"needs 8 devices, there are {jax.device_count()}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "MIN_SPLIT", 256)
        yield


def batches(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        label = rng.integers(CLASSES, size=(8, 4, 4), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
        # Examples differ in how many pixels count, so a mean of the devices' means would be another number.
        label[np.arange(8)[:, None, None] * 4 > np.arange(32)[None, :, None] + 0 * label] = 255
        yield {"image": rng.integers(256, size=(8, *SIZE, 3), dtype=np.uint8), "label": label}


@pytest.fixture(scope="module", params=["batch norm", pytest.param("attention", marks=pytest.mark.slow)])
def results(request, tiny_config):
    """(initial state, run): run(split) trains two steps with augmentation, statistics and dropout, then evaluates."""
    config = tiny_config(
        {
            **NETWORKS[request.param],
            "augment.crop": SIZE,
            "augment.scale": (0.5, 2.0),
            "augment.rotate": 10.0,
            "augment.brightness": 0.3,
            "augment.saturation": 0.3,
            "optim.ema": 0.9,
            "augment.blur": 0.5,
            "augment.randaugment": (2, 9),
            "augment.cutmix": 0.5,
            "augment.classmix": 0.5,
            # Adam would turn a difference of one bit in a gradient near zero into a whole step.
            "optim.name": "sgd",
            "optim.lr": 0.1,
            "optim.schedule": "constant",
        }
    )
    config = pretrained.resolve(config)

    def build(devices, model, space):
        mesh = sharding.make_mesh(devices, model=model, space=space)
        return program.Functions(config, classes=CLASSES, mesh=mesh, length=Length(10, every=10))

    start = jax.device_get(build(*SPLITS[0]).init())

    @cache
    def run(split):
        devices, model, _ = split
        built = build(*split)
        state = sharding.to_devices(start, built.mesh)
        train_step, history = built.train_step(SIZE).compile(), []
        for batch in batches(2):
            state, measured = train_step(state, sharding.place(batch, built.mesh), ())
            history.append(jax.device_get(measured))
        for leaf in jax.tree.leaves(state):
            large = leaf.size >= 256 and model > 1
            assert leaf.sharding.is_fully_replicated != large and len(leaf.sharding.device_set) == devices
            if large:
                assert leaf.addressable_data(0).size == leaf.size // model
        placed = sharding.place(next(batches(1)), built.mesh)
        weights = sharding.to_devices((start.params, start.model_state), built.mesh)
        counts = built.eval_step(SIZE).compile()(*weights, placed, ())
        return jax.device_get((state, history, counts))

    return start, run


# Data alone, and all three axes at once, of which the others are parts.
COMPARED = [
    split if split in ((8, 1, 1), (8, 2, 2)) else pytest.param(split, marks=pytest.mark.slow) for split in SPLITS[1:]
]


@pytest.mark.parametrize("split", COMPARED)
def test_training_does_not_depend_on_the_split(results, split):
    start, run = results
    (one, one_history, _), (many, many_history, _) = run(SPLITS[0]), run(split)
    assert int(many.step) == 2
    before = jax.tree_util.tree_leaves_with_path(start)
    for (path, a), b, c in zip(before, jax.tree.leaves(one), jax.tree.leaves(many), strict=True):
        # Against how far the steps moved it: sums in another order make 1e-3 of that at most.
        name = jax.tree_util.keystr(path)
        moved, apart = np.abs(b - a).max(), np.abs(c - b).max()
        still = any(part in name for part in ("lr_scale", "skipped"))
        # Some biases have a gradient of zero but for rounding: those of attention's keys, or in front of a norm.
        assert (moved > 0) != still and apart <= 5e-3 * moved + 1e-7, name
    for b, c in zip(one_history, many_history, strict=True):
        for name in ("loss", "grad_norm", "lr"):
            assert float(c[name]) == pytest.approx(float(b[name]), rel=1e-4), name


@pytest.mark.parametrize("split", COMPARED)
def test_evaluation_counts_exactly_the_same(results, split):
    one, many = (results[1](s)[2] for s in (SPLITS[0], split))
    np.testing.assert_array_equal(many["confusion"], one["confusion"])
    np.testing.assert_array_equal(many["images"], one["images"])
    assert int(one["confusion"].sum()) == sum((b["label"] != 255).sum() for b in batches(1)) == int(many["weights"][0])
    assert float(many["totals"][0]) == pytest.approx(float(one["totals"][0]), rel=1e-5)


@pytest.mark.parametrize("devices", [1, 2, 8, None])
def test_a_batch_is_split_in_order(devices):
    mesh = sharding.make_mesh(devices)
    assert mesh.size == (devices or jax.device_count()) and mesh.axis_names == ("data", "model", "space")
    assert mesh.axis_types == (AxisType.Auto,) * 3
    batch = next(batches(1))
    placed = sharding.place(batch, mesh)
    assert placed.keys() == batch.keys()
    for name, array in placed.items():
        assert array.dtype == batch[name].dtype
        np.testing.assert_array_equal(array, batch[name])
        np.testing.assert_array_equal(sharding.local_rows(array), batch[name])
        shares = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        assert [shard.data.shape[0] for shard in shares] == [8 // mesh.size] * mesh.size
        assert [shard.device for shard in shares] == list(mesh.devices.ravel())


def test_rows_are_split_over_neighbours():
    mesh = sharding.make_mesh(8, model=2, space=2)
    batch = next(batches(1))
    placed = sharding.place(batch, mesh)
    for name, array in placed.items():
        np.testing.assert_array_equal(array, batch[name])
        np.testing.assert_array_equal(sharding.local_rows(array), batch[name])
        for part, device in enumerate(mesh.devices.ravel()):
            (mine,) = (shard.data for shard in array.addressable_shards if shard.device == device)
            example, row = divmod(part, 2)
            np.testing.assert_array_equal(mine, batch[name][2 * example : 2 * example + 2, 16 * row : 16 * row + 16])


def test_sums_over_processes_are_exact(monkeypatch):
    mine = {"counts": np.array([[2**53 + 1, 2], [3, 4]]), "scores": np.array([0.5])}
    assert sharding.sum_over_processes(mine) == mine  # of one process
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(multihost_utils, "process_allgather", lambda part: np.stack([part] * 3))
    found = sharding.sum_over_processes(mine)
    assert found["counts"].tolist() == [[3 * 2**53 + 3, 6], [9, 12]] and found["counts"].dtype == np.int64
    assert found["scores"].tolist() == [1.5]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"model": 3}, r"config\.mesh\.model = 3: mesh\.data x mesh\.model x mesh\.space are the 8 devices"),
        ({"data": 3}, r"config\.mesh\.data = 3: .*Use --config\.mesh\.data=-1"),
        ({"data": 2, "space": 2}, r"config\.mesh\.data = 2: .* are the 8 devices"),
    ],
)
def test_axes_that_do_not_fit_the_devices_are_refused(tiny_config, axes, message):
    config = tiny_config({f"mesh.{axis}": n for axis, n in axes.items()})
    with pytest.raises(ConfigError, match=message):
        opening.configured_mesh(config)
    assert dict(opening.configured_mesh(tiny_config({"mesh.space": 4})).shape) == {"data": 2, "model": 1, "space": 4}


def test_the_state_is_copied_to_every_device():
    mesh = sharding.make_mesh(8)
    placed = sharding.to_devices({"w": np.arange(3.0, dtype=np.float32)}, mesh)
    assert len(placed["w"].addressable_shards) == 8
    for shard in placed["w"].addressable_shards:
        np.testing.assert_array_equal(shard.data, [0, 1, 2])
