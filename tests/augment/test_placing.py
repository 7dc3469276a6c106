"""Crops of photographs of any sizes: drawn on the host from the step's key, the same from everywhere."""

from contextlib import closing
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from configs import default
from seg_jax import augment, data
from seg_jax.augment import Augmentation, keys
from seg_jax.augment.geometry import affine
from seg_jax.augment.placing import Crops, part_size
from seg_jax.data import feed, sampler
from seg_jax.data.labels import IGNORE
from seg_jax.runtime import sharding
from seg_jax.train.stream import Stream

SIZES = [(40, 30), (61, 35), (16, 200), (300, 301), (1000, 700), (4000, 3000), (30, 40), (48, 48)]  # height, width
SPEC = Augmentation(crop=(32, 48), flip=0.5, scale=(0.25, 2.0), rotate=10.0)
BALANCED = Augmentation(**{**SPEC.to_dict(), "crop_balance": 0.5, "cat_max_ratio": 0.6})


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Pairs of all sizes in SegNet's layout."""
    root = tmp_path_factory.mktemp("sizes")
    for folder in ("train", "trainannot"):
        (root / folder).mkdir()
    for i, (height, width) in enumerate(SIZES):
        rng = np.random.default_rng(i)
        coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
        image = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
        Image.fromarray(image).save(root / "train" / f"{i}.png", compress_level=1)
        Image.fromarray(image[..., 0] % 3).save(root / "trainannot" / f"{i}.png", compress_level=1)
    (root / "class_names.json").write_text('["a", "b", "c"]')
    return root


def batches(directory, tmp_path, mesh, *, start=0, stop=2, short_side=0, spec=SPEC, **fields):
    """The batches of some steps."""
    config = default.get_config()
    config.data.update({"source": "folder", "dir": str(directory), "short_side": short_side, **fields})
    examples = data.load(config, "train")
    record = tmp_path / "checked.json"
    prepared = feed.prepare(examples, config.data, mesh, record=record, any_size=True)
    assert prepared.sizes == tuple(SIZES)
    orders = sampler.training_order(3, start=start, stop=stop, batch_size=8, n=len(SIZES))
    crops = Crops(spec, seed=7, short_side=short_side, start=start, pixels=prepared.pixels)
    return list(feed.batches(prepared, orders, config.data, mesh, fit=crops))


@pytest.mark.parametrize(("short_side", "spec"), [(0, SPEC), (50, BALANCED)])
def test_the_same_bits_from_files_and_memory_on_any_number_of_devices_after_any_resume(
    directory, tmp_path, short_side, spec
):
    one, four = sharding.make_mesh(1), sharding.make_mesh(4)
    how = {"short_side": short_side, "spec": spec}
    given = {
        "files": batches(directory, tmp_path, one, cache="none", **how),
        "memory": batches(directory, tmp_path, one, **how),
        "some in memory": batches(directory, tmp_path, one, cache_bytes=10**6, **how),
        "four devices": batches(directory, tmp_path, four, **how),
    }
    expected = jax.device_get(given["files"])
    for name in given:
        np.testing.assert_equal(jax.device_get(given[name]), expected, err_msg=name)
    resumed = batches(directory, tmp_path, one, start=1, cache="none", **how)
    np.testing.assert_equal(jax.device_get(resumed), expected[1:])
    # And what the device makes of them.
    change = jax.jit(
        augment.make_augment(spec, fill=(1, 2, 3), groups=1),
    )
    seen = [
        jax.device_get(change(jax.random.key(0), batch["image"], batch["label"], batch["placed"]))
        for batch in (given["files"][0], given["four devices"][0])
    ]
    np.testing.assert_equal(seen[0], seen[1])
    image, label = seen[0]
    assert image.shape == (8, 32, 48, 3) and set(np.unique(label)) <= {0, 1, 2, IGNORE}
    assert (label != IGNORE).any((1, 2)).all(), "every crop shows something"


def test_jpeg_that_is_decoded_smaller_gives_the_same_bits_from_everywhere(tmp_path):
    """Crops show a quarter of these photographs at most, turned by EXIF or not, beside one that is not JPEG."""
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    y, x = np.mgrid[:320, :240]
    image = np.stack([y % 256, x, (x + y) // 3], axis=-1).astype(np.uint8)
    label = (y > x).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "train" / "0.jpg", quality=95)
    Image.fromarray(np.rot90(image)).save(tmp_path / "train" / "1.jpg", quality=95, exif=exif)
    Image.fromarray(image).save(tmp_path / "train" / "2.png")
    for i in range(3):
        Image.fromarray(label).save(tmp_path / "trainannot" / f"{i}.png")
    (tmp_path / "class_names.json").write_text('["a", "b"]')

    def made(enough=True, **fields):
        config = default.get_config()
        config.data.update(source="folder", dir=str(tmp_path), short_side=30, **fields)
        examples = data.load(config, "train")
        examples = examples.with_enough(30 * 2.0) if enough else examples
        mesh, record = sharding.make_mesh(1), tmp_path / "checked.json"
        prepared = feed.prepare(examples, config.data, mesh, record=record, any_size=True, seed=0)
        if enough and fields["check"] == "all":
            assert [prepared.read(i)[0].shape[:2] for i in range(3)] == [(80, 60), (80, 60), (320, 240)]
        orders = sampler.training_order(3, start=0, stop=2, batch_size=3, n=3)
        crops = Crops(Augmentation(crop=(32, 32), scale=(0.5, 2.0)), seed=7, short_side=30)
        return jax.device_get(list(feed.batches(prepared, orders, config.data, mesh, fit=crops)))

    expected = made(cache="none", check="all")
    np.testing.assert_equal(made(cache="host", check="all"), expected)
    np.testing.assert_equal(made(cache="host", check="use"), expected)
    for batch, whole in zip(expected, made(enough=False, cache="none", check="all"), strict=True):
        for name in ("label", "placed"):
            np.testing.assert_array_equal(batch[name], whole[name])
        assert np.abs(batch["image"].astype(int) - whole["image"]).mean() < 2


def test_where_labels_decide_the_host_places_crops_of_one_size_too(tmp_path):
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
    for i in range(3):
        label = np.zeros((60, 80), np.uint8)
        label[10 * i + 20, 40] = 1
        Image.fromarray(np.stack([label * 100 + i] * 3, axis=-1)).save(tmp_path / "train" / f"{i}.png")
        Image.fromarray(label).save(tmp_path / "trainannot" / f"{i}.png")
    (tmp_path / "class_names.json").write_text('["a", "b"]')

    def stream(cache, **fields):
        config = default.get_config()
        config.data.update(source="folder", dir=str(tmp_path), cache=cache, size=fields.pop("size", (0, 0)))
        config.augment.update(crop=(9, 9), **fields)
        config.train.batch_size = 4
        mesh = sharding.make_mesh(1)
        record = tmp_path / f"{cache}.json"
        examples = feed.prepare(data.load(config, "train"), config.data, mesh, record=record, any_size=True)
        assert not examples.sizes and sum(examples.pixels) == 3 * 60 * 80
        job = SimpleNamespace(config=config, splits=(examples,), mesh=mesh, functions=SimpleNamespace(members=1))
        with closing(Stream(job, start=0, stop=4).batches()) as made:
            return [jax.device_get(batch) for batch in made]

    from_files = stream("none", crop_balance=1.0)
    np.testing.assert_equal(stream("host", crop_balance=1.0), from_files)
    change = jax.jit(augment.make_augment(Augmentation(crop=(9, 9)), fill=(1, 2, 3), groups=1))
    rare = [(np.asarray(change(jax.random.key(0), **batch)[1]) == 1).any((1, 2)) for batch in from_files]
    assert np.mean(rare) > 0.8, (
        "class 1 is drawn with the probability 0.577 / (0.577 + 0.008), and is one pixel of 4800"
    )
    assert "placed" not in stream("host")[0]


def test_what_is_checked_once_is_known_by_its_record(directory, tmp_path):
    first = jax.device_get(batches(directory, tmp_path, sharding.make_mesh(1), cache="none", stop=1))
    again = jax.device_get(batches(directory, tmp_path, sharding.make_mesh(1), cache="none", stop=1))
    np.testing.assert_equal(first, again)


def test_the_map_is_that_which_the_device_would_draw():
    crops = Crops(SPEC, seed=7, short_side=0, start=4)
    key, _ = keys.of_step(7, 6)
    uses = keys.of_example(key, 3)
    expected = jax.jit(lambda: affine(uses[0], SPEC, (300, 400), (32, 48)))()
    np.testing.assert_array_equal(crops.matrix((300, 400), batch=2, row=3), expected)


def test_a_short_side_is_the_scale_1():
    """Half of the size: a crop pixel is two pixels of the photograph, and positions are whole ones of the small one."""
    plain = Augmentation(crop=(8, 8))
    small = Crops(plain, seed=0, short_side=0).matrix((20, 30), batch=0, row=0)
    large = Crops(plain, seed=0, short_side=20).matrix((40, 60), batch=0, row=0)
    np.testing.assert_allclose(large[:, :2], 2 * small[:, :2])
    np.testing.assert_allclose(large[:, 2], 2 * small[:, 2] + 0.5)


def test_members_and_processes_have_their_own_crops():
    """A batch of two processes is that of one, and the second member of an ensemble is one with the next seed."""
    whole = Crops(SPEC, seed=7, short_side=0)
    second = Crops(SPEC, seed=7, short_side=0, first=4)
    np.testing.assert_array_equal(whole.matrix((90, 80), batch=1, row=6), second.matrix((90, 80), batch=1, row=2))
    together = Crops(SPEC, seed=7, short_side=0, members=2)
    other = Crops(SPEC, seed=8, short_side=0)
    np.testing.assert_array_equal(together.matrix((90, 80), batch=3, row=0), other.matrix((90, 80), batch=1, row=0))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"crop": (32, 32)}, (40, 40)),  # 4 pixels around, in multiples of 8
        ({"crop": (60, 60)}, (64, 64)),
        ({"crop": (60, 60), "rotate": 45.0}, (96, 96)),  # 60 * sqrt(2) = 84.9
        ({"crop": (100, 50), "rotate": 90.0}, (120, 120)),  # the diagonal: 111.8
        ({"crop": (60, 60), "shear": 45.0}, (64, 128)),
        ({"crop": (60, 60), "randaugment": (2, 10)}, (96, 104)),
    ],
)
def test_the_part_has_room_for_the_crop(fields, expected):
    assert part_size(Augmentation(**fields)) == expected


def test_randaugment_turns_crops_too():
    spec = Augmentation(crop=(32, 32), randaugment=(1, 10))
    crops = Crops(spec, seed=0, short_side=0)
    maps = np.stack([crops.matrix((200, 200), batch=0, row=row) for row in range(30)])
    turned = np.abs(maps[:, 0, 1]) > 0.01
    assert 0 < turned.sum() < 30
