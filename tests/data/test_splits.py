"""Splits that are shares of the training split: by hand, their properties, and for every source."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seg_jax import data
from seg_jax.config import ConfigError, checked, default
from seg_jax.data import splits
from seg_jax.data.checking import content_key
from seg_jax.data.images import DataError
from seg_jax.data.sampler import held_out


def loaded(names=("train", "val", "test"), **fields):
    config = default.get_config()
    config.data.update_from_flattened_dict(fields)
    config = checked(config)
    return [data.load(config, name) for name in names]


def pairs(root, names):
    for name in names:
        for kind, array in (("images", np.zeros((4, 4, 3), np.uint8)), ("masks", np.zeros((4, 4), np.uint8))):
            path = root / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    (root / "class_names.json").write_text(json.dumps(["a", "b"]))
    stars = "/**/*" if "/" in names[0] else ""
    return {"source": "folder", "dir": str(root), "images": f"images{stars}", "masks": f"masks{stars}"}


# ----- by hand


def test_groups_are_not_divided():
    groups = ["a", "b", "a", "c", "c", "c", "d", "d"]
    parts = splits.assign(0, groups, [0.25, 0.25])
    assert sorted(set(parts)) == [0, 1, 2]
    assert len({(g, p) for g, p in zip(groups, parts, strict=True)}) == 4
    for number in (1, 2):  # two of eight examples: a group of three is as near as none of them and one
        assert (parts == number).sum() in (1, 2, 3)


def test_single_examples_are_sampled_as_without_groups():
    for seed in range(5):
        parts = splits.assign(seed, [str(i) for i in range(20)], [0.2])
        np.testing.assert_array_equal(parts == 1, held_out(seed, 20, 0.2))


def test_a_large_group_is_passed_over():
    groups = ["large"] * 90 + [f"{i}" for i in range(10)]
    for seed in range(10):
        assert (splits.assign(seed, groups, [0.1]) == 1).sum() == 10


@given(
    st.lists(st.integers(0, 8), min_size=3, max_size=40),
    st.integers(0, 5),
    st.floats(0.01, 0.45),
    st.floats(0.01, 0.45),
)
def test_every_part_has_whole_groups(numbers, seed, val, test):
    groups = [str(n) for n in numbers]
    if len(set(groups)) < 3:
        with pytest.raises(DataError, match=r"group\(s\) cannot be divided into 3 splits"):
            splits.assign(seed, groups, [val, test])
        return
    parts = splits.assign(seed, groups, [val, test])
    assert set(parts) == {0, 1, 2}
    assert len(set(zip(groups, parts, strict=True))) == len(set(groups))
    np.testing.assert_array_equal(parts, splits.assign(seed, groups, [val, test]))


# ----- of a folder


def test_three_ways(tmp_path):
    fields = pairs(tmp_path, [f"{i:02}" for i in range(20)])
    parts = loaded(**fields, val_share=0.2, test_share=0.1)
    assert [len(part) for part in parts] == [14, 4, 2]
    assert [part.split for part in parts] == ["train", "val", "test"]
    assert len({name for part in parts for name in part.names}) == 20
    # The validation split is that of a division into two.
    assert loaded(("val",), **fields, val_share=0.2)[0].names == parts[1].names
    with pytest.raises(ConfigError, match=r"test_share = 0.6: with data.val_share = 0.5 nothing is left"):
        loaded(**fields, val_share=0.5, test_share=0.6)
    with pytest.raises(ConfigError, match=r"'test' is not one of: train, val"):
        loaded(**fields, val_share=0.5)


def test_the_test_split_is_evaluated_as_the_validation_split(tmp_path):
    fields = pairs(tmp_path, [f"{i:02}" for i in range(20)])
    shares = {"val_share": 0.2, "test_share": 0.1}
    _, val, test = loaded(**fields, **shares)
    (evaluated,) = loaded(("test",), **fields, **shares, val_split="test")
    assert evaluated.names == test.names and not set(test.names) & set(val.names)
    # Without a share there is no such split; it is not the validation part, nor everything.
    with pytest.raises(ConfigError, match=r"data\.test_share = 0\.0: no directory or list names a split 'test'"):
        loaded(("test",), **fields, val_share=0.2, val_split="test")


def test_whole_directories(tmp_path):
    fields = pairs(tmp_path, [f"patient{p}/{i}" for p in range(6) for i in range(4)])
    parts = loaded(**fields, val_share=0.2, test_share=0.2, group="^images/([^/]+)/")
    patients = [{name.split("/")[1] for name in part.names} for part in parts]
    assert [len(found) for found in patients] == [4, 1, 1]
    assert not set.intersection(*patients) and len(set.union(*patients)) == 6
    assert [len(part) for part in parts] == [16, 4, 4]
    with pytest.raises(DataError, match=r"data\.group = '\^x' finds no group in 'images/patient0/0.png'"):
        loaded(**fields, val_share=0.2, group="^x")
    with pytest.raises(ConfigError, match=r"data\.group = '\(' is no regular expression"):
        loaded(**fields, val_share=0.2, group="(")


def test_a_test_split_beside_directories(tmp_path):
    fields = pairs(tmp_path, [f"{s}/{i}" for s, n in (("train", 8), ("val", 3)) for i in range(n)])
    fields |= {"images": "images/{split}", "masks": "masks/{split}"}
    assert [len(part) for part in loaded(**fields, test_share=0.25)] == [6, 3, 2]


def test_a_pair_that_is_listed_twice_is_in_one_split(tmp_path):
    fields = pairs(tmp_path, [str(i) for i in range(6)])
    rows = [f"images/{i}.png masks/{i}.png" for i in (0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5)]
    (tmp_path / "all.txt").write_text("\n".join(rows))
    for seed_of_share in (0.1, 0.3, 0.5):
        train, val = loaded(("train", "val"), **fields, list="all.txt", val_share=seed_of_share)
        assert not set(train.names) & set(val.names)
        assert len(train) + len(val) == 12


# ----- of other sources


def test_of_arrays(tmp_path):
    np.savez(
        tmp_path / "train.npz",
        images=np.zeros((10, 4, 4, 3), np.uint8),
        labels=np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8) % 2,
    )
    (tmp_path / "class_names.json").write_text(json.dumps(["a", "b"]))
    parts = loaded(source="arrays", dir=str(tmp_path), val_share=0.2, test_share=0.2)
    assert [len(part) for part in parts] == [6, 2, 2]
    for part in parts:
        for i, name in enumerate(part.names):
            assert part.read(i)[1].max() == int(name[len("train[") : -1]) % 2


def test_caches_know_which_examples_of_a_file_are_meant(tmp_path):
    images = np.zeros((10, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "train.npz", images=images, labels=images[..., 0])
    (tmp_path / "class_names.json").write_text(json.dumps(["a", "b"]))
    parts = loaded(("train", "val", "test"), source="arrays", dir=str(tmp_path), val_share=0.2, test_share=0.2)
    assert len(parts[1]) == len(parts[2]) and len({content_key(part) for part in parts}) == 3


def test_of_synthetic_scenes():
    parts = loaded(source="synthetic", val_share=0.25, test_share=0.25, **{"synthetic.train_scenes": 8})
    assert [len(part) for part in parts] == [4, 2, 2]
    assert len({name for part in parts for name in part.names}) == 8


def test_of_cityscapes_by_city(tmp_path):
    for city in ("aachen", "bonn", "ulm"):
        for i in range(2):
            name = f"train/{city}/{city}_{i:06}_000019"
            for kind, end, array in (
                ("leftImg8bit", "leftImg8bit", np.zeros((4, 8, 3), np.uint8)),
                ("gtFine", "gtFine_labelIds", np.full((4, 8), 7, np.uint8)),
            ):
                path = tmp_path / kind / f"{name}_{end}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    fields = {
        "source": "cityscapes",
        "dir": str(tmp_path),
        "val_share": 0.3,
        "test_share": 0.3,
        "group": "/train/([^/]+)/",
    }
    parts = loaded(**fields)
    cities = [{name.split("_")[0] for name in part.names} for part in parts]
    assert [len(found) for found in cities] == [1, 1, 1] and len(set.union(*cities)) == 3


def test_of_pets_the_shares_are_not_taken_twice(tmp_path):
    for i in range(10):
        for path, array in (
            (f"images/cat_{i}.jpg", np.zeros((8, 8, 3), np.uint8)),
            (f"annotations/trimaps/cat_{i}.png", np.full((8, 8), 1 + i % 3, np.uint8)),
        ):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / path)
    for name in ("trainval", "test"):
        (tmp_path / "annotations" / f"{name}.txt").write_text("".join(f"cat_{i} 1 1 1\n" for i in range(10)))
    fields = {"source": "pets", "dir": str(tmp_path), "size": (8, 8), "pets.val_share": 0.5}
    assert [len(part) for part in loaded(("train", "val"), **fields)] == [5, 5]
    assert [len(part) for part in loaded(("train", "val"), **fields, val_share=0.2)] == [8, 2]
