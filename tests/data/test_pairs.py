"""Photograph and mask side by side in one JPEG: splits, classes, damage, and what is recovered of the real ones."""

import json
import logging
import re

import numpy as np
import pytest
from PIL import Image

from configs import default
from seg_jax.data import load
from seg_jax.data.images import DataError, read_mask
from seg_jax.data.labels import IGNORE, LabelError, cityscapes
from seg_jax.data.labels.palettes import Palette
from seg_jax.data.sources import pairs

THIRTY = cityscapes.TABLES["thirty"]
SKY, ROAD, CAR = (THIRTY.names.index(name) for name in ("sky", "road", "car"))


def scene(i, h=48, w=64):
    """A photograph and its label: sky over road, a car that moves with `i`, and an ignored border."""
    label = np.full((h, w), SKY, np.uint8)
    label[h // 2 :] = ROAD
    label[h // 2 : h - 8, 4 + i % 32 : 20 + i % 32] = CAR
    label[-4:] = IGNORE
    y, x = np.mgrid[:h, :w]
    return np.stack([y + i, x, 200 - y - x], -1).astype(np.uint8), label


def side_by_side(i, table=THIRTY, **size):
    image, label = scene(i, **size)
    mask = np.where((label == IGNORE)[..., None], np.uint8(0), table.colorize(label))  # black, as in Cityscapes
    return np.concatenate([image, mask], axis=1)


def put(path, array, quality=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **({"quality": quality} if path.suffix == ".jpg" else {}))
    return path


def dataset(root, counts=(("train", 12), ("val", 3)), extension=".jpg", table=THIRTY):
    for split, count in counts:
        for i in range(count):
            put(root / split / f"{i + 1}{extension}", side_by_side(i, table))
    return root


def config(root, **fields):
    c = default.get_config()
    c.data.update({"source": "pairs", "dir": str(root)})
    c.update_from_flattened_dict({f"data.{key}": value for key, value in fields.items()})
    return c


def source(root, split="train", seed=0, **fields):
    return pairs.load(config(root, **fields).data, split, seed=seed)


def test_halves(tmp_path):
    examples = source(dataset(tmp_path, extension=".png"))
    assert examples.names == ("1.png", "10.png", "11.png", "12.png", *(f"{i}.png" for i in range(2, 10)))
    assert examples.table is THIRTY
    assert examples.files[0] == (tmp_path / "train" / "1.png",)
    image, label = examples.read(1)
    assert (image.dtype, label.dtype) == (np.uint8, np.uint8)
    np.testing.assert_array_equal(image, scene(9)[0])
    np.testing.assert_array_equal(label, scene(9)[1])


@pytest.mark.parametrize("cleanup", [False, True])
def test_damaged_masks(tmp_path, cleanup):
    examples = source(dataset(tmp_path), **{"pairs.cleanup": cleanup})
    for k, name in enumerate(examples.names):
        image, label = examples.read(k)
        expected = scene(int(name[:-4]) - 1)
        assert np.abs(image.astype(int) - expected[0]).mean() < 4
        assert (label == expected[1]).mean() > (0.97 if cleanup else 0.93)
    assert [len(source(tmp_path, split)) for split in ("train", "val")] == [12, 3]


def test_plain_decoding_is_nearest_colour(tmp_path):
    examples = source(dataset(tmp_path))
    pixels = np.asarray(Image.open(tmp_path / "train" / "1.jpg").convert("RGB"))[:, 64:].astype(int)
    meanings = THIRTY.color_meanings()
    nearest = np.square(pixels[:, :, None] - [color for _, color in meanings]).sum(-1).argmin(-1)
    np.testing.assert_array_equal(examples.read(0)[1], np.array([i for i, _ in meanings])[nearest])


def test_cleanup_keeps_what_is_certain():
    # A pole one pixel wide survives where its colour is true; a pixel in doubt follows its neighbours.
    palette = Palette(THIRTY)
    pole = THIRTY.names.index("pole")
    label = np.full((9, 9), SKY, np.uint8)
    label[:, 4] = pole
    mask = THIRTY.colorize(label)
    np.testing.assert_array_equal(pairs.Repair(palette)(mask), label)
    mask[2, 1] = (180, 60, 60)
    assert palette.nearest(mask)[2, 1] not in (SKY, pole)
    np.testing.assert_array_equal(pairs.Repair(palette)(mask), label)


def test_cleanup_in_the_corners():
    mask = THIRTY.colorize(np.full((2, 1), ROAD, np.uint8))
    mask[0, 0] = (180, 60, 60)
    repaired = pairs.Repair(Palette(THIRTY))(mask)  # it meets itself four times, and the other pixel three times
    assert repaired[1, 0] == ROAD
    assert repaired.shape == (2, 1)


# ----- classes


def test_class_names(tmp_path):
    dataset(tmp_path, extension=".png")
    content = {name: THIRTY.colors[THIRTY.names.index(name)] for name in ("road", "sky", "car")}
    (tmp_path / "class_names.json").write_text(json.dumps({**content, "nothing": [0, 0, 0]}))
    examples = source(tmp_path)
    assert examples.table.names == ("road", "sky", "car", "nothing")
    assert sorted(np.unique(examples.read(0)[1])) == [0, 1, 2, 3]


@pytest.mark.parametrize("labels", ["trainids", "ids", "categories", "thirty"])
def test_tables_of_cityscapes(tmp_path, labels):
    # Even beside another file.
    (tmp_path / "class_names.json").write_text('["a", "b"]')
    table = cityscapes.TABLES[labels]
    label = source(dataset(tmp_path, extension=".png"), labels=labels).read(0)[1]
    np.testing.assert_array_equal(label, Palette(table).exact(side_by_side(0)[:, 64:]))


def test_a_table_without_the_colours_is_noticed(tmp_path):
    dataset(tmp_path)
    (tmp_path / "class_names.json").write_text('{"a": [255, 255, 255], "b": [255, 0, 255]}')
    path = tmp_path / "train" / "1.jpg"
    with pytest.raises(LabelError, match=re.escape(f"{path}: the mean distance of this mask")):
        source(tmp_path).read(0)


def test_swapped_halves_are_noticed(tmp_path):
    dataset(tmp_path)
    both = np.random.default_rng(0).integers(0, 256, (48, 128, 3), np.uint8)
    path = put(tmp_path / "train" / "5.jpg", both)
    with pytest.raises(LabelError, match=re.escape(f"{path}: the mean distance of this mask")):
        source(tmp_path).read(7)


# ----- a part of the training split


def test_train_size(tmp_path):
    dataset(tmp_path)
    few, more = (source(tmp_path, **{"pairs.train_size": n}).names for n in (4, 8))
    assert (len(few), len(more)) == (4, 8)
    assert set(few) < set(more)
    assert list(few) == sorted(few)
    assert source(tmp_path, **{"pairs.train_size": 4}).names == few
    assert {source(tmp_path, seed=seed, **{"pairs.train_size": 4}).names for seed in range(5)} != {few}
    assert len(source(tmp_path, "val", **{"pairs.train_size": 2})) == 3
    assert len(source(tmp_path, **{"pairs.train_size": 12})) == 12


def test_a_train_size_that_is_too_large(tmp_path):
    dataset(tmp_path)
    with pytest.raises(DataError, match=r"config.data.pairs.train_size = 13: .*train has 12 files. Use 0 for all."):
        source(tmp_path, **{"pairs.train_size": 13})


# ----- what is wrong


def test_missing_directories(tmp_path):
    with pytest.raises(DataError, match=r"vall is not a directory; .* contains: train, val. Pass the directory"):
        source(dataset(tmp_path), "vall")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty contains no image files \(.jpg, "):
        source(tmp_path, "empty")


def test_odd_widths(tmp_path):
    path = put(dataset(tmp_path) / "train" / "1.jpg", np.zeros((48, 127, 3), np.uint8))
    with pytest.raises(DataError, match=re.escape(f"{path} is 127 pixels wide")):
        source(tmp_path).read(0)


def test_the_distance_from_the_palette_is_told(tmp_path, caplog):
    dataset(tmp_path)
    (tmp_path / "train" / "3.jpg").write_bytes(b"nothing")  # told of when it is read
    with caplog.at_level(logging.INFO):
        source(tmp_path)
    assert re.search(r"train: 11 masks: \d+\.\d% of the pixels have a colour of the table, 9\d\.\d% are", caplog.text)


# ----- the real ones


def truth(real_data, name, table):
    """What the mask said before JPEG, as far as colours can tell."""
    ids = read_mask(real_data / "cityscapes_pairs" / "truth" / name.replace(".jpg", "_labelIds_256.png"))
    colors = np.array([x.color for x in cityscapes.LABELS], np.uint8)
    return Palette(table).exact(colors[ids])


# Pixels recovered of each file by plain nearest colour, and with the clean-up.
RECOVERED = {
    "1.jpg": (0.956, 0.973),
    "2.jpg": (0.945, 0.963),
    "3.jpg": (0.970, 0.978),
    "4.jpg": (0.972, 0.981),
}


@pytest.mark.parametrize("cleanup", [False, True])
def test_real_pairs(real_data, cleanup):
    place = str(real_data / "cityscapes_pairs")
    seen = {}
    for split in ("train", "val"):
        examples = load(config(place, **{"pairs.cleanup": cleanup}), split)
        for k, name in enumerate(examples.names):
            image, label = examples.read(k)
            assert (image.shape, label.shape) == ((256, 256, 3), (256, 256))
            seen[name] = (label == truth(real_data, name, THIRTY)).mean()
    assert set(seen) == set(RECOVERED)
    for name, share in seen.items():
        assert share > RECOVERED[name][cleanup]


def test_cleanup_recovers_every_class_better(real_data):
    ids = cityscapes.TABLES["ids"]
    scores = []
    for cleanup in (False, True):
        each = []
        for split in ("train", "val"):
            examples = load(
                config(real_data / "cityscapes_pairs", **{"pairs.cleanup": cleanup, "labels": "ids"}), split
            )
            for k, name in enumerate(examples.names):
                label, true = examples.read(k)[1], truth(real_data, name, ids)
                classes = np.unique(true)
                each.append(
                    np.mean([((label == c) & (true == c)).sum() / ((label == c) | (true == c)).sum() for c in classes])
                )
        scores.append(np.mean(each))
    plain, repaired = scores
    assert plain == pytest.approx(0.680, abs=0.002)
    assert repaired == pytest.approx(0.739, abs=0.002)
