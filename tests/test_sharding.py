"""The same numbers on one, two and eight devices."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from seg_jax import pretrained, program, sharding

CLASSES = 3
SIZE = (32, 32)
DEVICES = (1, 2, 8)


@pytest.fixture(autouse=True)
def enough_devices():
    if jax.device_count() < 8:
        pytest.skip(f"needs 8 devices, there are {jax.device_count()}")


def batches(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        label = rng.integers(CLASSES, size=(8, 4, 4), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
        # Examples differ in how many pixels count, so a mean of the devices' means would be another number.
        label[np.arange(8)[:, None, None] * 4 > np.arange(32)[None, :, None] + 0 * label] = 255
        yield {"image": rng.integers(256, size=(8, *SIZE, 3), dtype=np.uint8), "label": label}


@pytest.fixture(scope="module")
def results(tiny_config):
    """By number of devices: two training steps with augmentation, batch norm and dropout, then an evaluation."""
    config = tiny_config(
        {
            "augment.crop": SIZE,
            "augment.scale": (0.5, 2.0),
            "augment.rotate": 10.0,
            "augment.brightness": 0.3,
            "augment.saturation": 0.3,
            "model.dropout": 0.2,
            # Adam would turn a difference of one bit in a gradient near zero into a whole step.
            "optim.name": "sgd",
            "optim.lr": 0.1,
            "optim.schedule": "constant",
        }
    )
    config = pretrained.resolve(config)
    found = {}
    start = None
    for devices in DEVICES:
        built = program.Program(config, classes=CLASSES, mesh=sharding.make_mesh(devices), steps=10)
        if start is None:
            start = jax.device_get(built.init())
        state = program.to_devices(start, built.mesh)
        train_step, history = built.train_step(SIZE), []
        for batch in batches(2):
            state, measured = train_step(state, sharding.place(batch, built.mesh), ())
            history.append(jax.device_get(measured))
        for leaf in jax.tree.leaves(state):
            assert leaf.sharding.is_fully_replicated and len(leaf.sharding.device_set) == devices
        placed = sharding.place(next(batches(1)), built.mesh)
        counts = built.eval_step(SIZE)(*program.to_devices((start.params, start.model_state), built.mesh), placed, ())
        found[devices] = jax.device_get((state, history, counts))
    return start, found


@pytest.mark.parametrize("devices", DEVICES[1:])
def test_training_does_not_depend_on_the_number_of_devices(results, devices):
    start, found = results
    (one, one_history, _), (many, many_history, _) = found[1], found[devices]
    assert int(many.step) == 2
    before = jax.tree_util.tree_leaves_with_path(start)
    for (path, a), b, c in zip(before, jax.tree.leaves(one), jax.tree.leaves(many), strict=True):
        # Against how far the steps moved it: sums in another order make 1e-3 of that at most.
        name = jax.tree_util.keystr(path)
        moved, apart = np.abs(b - a).max(), np.abs(c - b).max()
        assert moved > 0 and apart <= 5e-3 * moved, name
    for b, c in zip(one_history, many_history, strict=True):
        for name in ("loss", "grad_norm", "lr"):
            assert float(c[name]) == pytest.approx(float(b[name]), rel=1e-4), name


@pytest.mark.parametrize("devices", DEVICES[1:])
def test_evaluation_counts_exactly_the_same(results, devices):
    one, many = results[1][1][2], results[1][devices][2]
    np.testing.assert_array_equal(many["confusion"], one["confusion"])
    assert int(one["confusion"].sum()) == sum((b["label"] != 255).sum() for b in batches(1)) == int(many["weights"][0])
    assert float(many["totals"][0]) == pytest.approx(float(one["totals"][0]), rel=1e-5)


@pytest.mark.parametrize("devices", [*DEVICES, None])
def test_a_batch_is_split_in_order(devices):
    mesh = sharding.make_mesh(devices)
    assert mesh.size == (devices or jax.device_count()) and mesh.axis_names == ("data",)
    assert mesh.axis_types == (AxisType.Auto,)
    batch = next(batches(1))
    placed = sharding.place(batch, mesh)
    assert placed.keys() == batch.keys()
    for name, array in placed.items():
        assert array.dtype == batch[name].dtype
        np.testing.assert_array_equal(array, batch[name])
        shares = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        assert [shard.data.shape[0] for shard in shares] == [8 // mesh.size] * mesh.size
        assert [shard.device for shard in shares] == list(mesh.devices)


def test_the_state_is_copied_to_every_device():
    mesh = sharding.make_mesh(8)
    placed = program.to_devices({"w": np.arange(3.0, dtype=np.float32)}, mesh)
    assert len(placed["w"].addressable_shards) == 8
    for shard in placed["w"].addressable_shards:
        np.testing.assert_array_equal(shard.data, [0, 1, 2])
