"""Cityscapes: the published table, the official directories, and predictions for the evaluation server."""

import re

import numpy as np
import pytest
from PIL import Image

from configs import default
from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.data.images import DataError, read_mask
from seg_jax.data.labels import IGNORE, LabelError, LabelTable
from seg_jax.data.labels.cityscapes import LABELS, TABLES, write_prediction
from seg_jax.data.sources import cityscapes

# ----- the table

# trainId -> id, as published (cityscapesScripts, helpers/labels.py).
TRAIN_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
NINETEEN = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
CATEGORIES = {
    "void": range(7),
    "flat": range(7, 11),
    "construction": range(11, 17),
    "object": range(17, 21),
    "nature": range(21, 23),
    "sky": [23],
    "human": range(24, 26),
    "vehicle": range(26, 34),
}
EVERY_ID = np.arange(34, dtype=np.uint8)[None]


def test_labels():
    assert len(LABELS) == 35
    assert [x.id for x in LABELS] == [*range(34), -1]
    assert [x.id for x in sorted(LABELS, key=lambda x: x.train_id) if 0 <= x.train_id < 255] == TRAIN_IDS
    assert LABELS[-1] == ("license plate", -1, -1, "vehicle", (0, 0, 142))
    assert {x.train_id for x in LABELS if x.id not in TRAIN_IDS} == {255, -1}
    for category, ids in CATEGORIES.items():
        assert [x.id for x in LABELS if x.category == category and x.id >= 0] == list(ids)
    named = {x.name: x for x in LABELS}
    assert len(named) == 35
    for name, number, color in (
        ("unlabeled", 0, (0, 0, 0)),
        ("static", 4, (0, 0, 0)),
        ("ground", 6, (81, 0, 81)),
        ("road", 7, (128, 64, 128)),
        ("polegroup", 18, (153, 153, 153)),
        ("traffic sign", 20, (220, 220, 0)),
        ("sky", 23, (70, 130, 180)),
        ("person", 24, (220, 20, 60)),
        ("train", 31, (0, 80, 100)),
        ("bicycle", 33, (119, 11, 32)),
    ):
        assert (named[name].id, named[name].color) == (number, color)


def test_trainids():
    table = TABLES["trainids"]
    assert table.names == NINETEEN
    expected = np.full(34, IGNORE)
    expected[TRAIN_IDS] = range(19)
    np.testing.assert_array_equal(table.encode(EVERY_ID), [expected])
    np.testing.assert_array_equal(table.decode(np.arange(19)), TRAIN_IDS)
    assert table.colors[13] == (0, 0, 142)


def test_ids():
    np.testing.assert_array_equal(TABLES["ids"].encode(EVERY_ID), EVERY_ID)
    assert TABLES["ids"].names[11] == "building"


def test_thirty():
    table = TABLES["thirty"]
    assert len(table) == 30
    assert (table.names[:3], table.names[-1]) == (("static", "dynamic", "ground"), "bicycle")
    np.testing.assert_array_equal(table.encode(EVERY_ID), [[IGNORE] * 4 + list(range(30))])


def test_categories():
    table = TABLES["categories"]
    assert table.names == tuple(CATEGORIES)
    expected = [i for i, ids in enumerate(CATEGORIES.values()) for _ in ids]
    np.testing.assert_array_equal(table.encode(EVERY_ID), [expected])
    seven = table.without(("void",))
    assert seven.names == tuple(CATEGORIES)[1:]
    np.testing.assert_array_equal(seven.encode(EVERY_ID), [[i - 1 if i else IGNORE for i in expected]])


@pytest.mark.parametrize("mode", TABLES)
def test_every_table_ignores_255_and_refuses_other_values(mode):
    assert TABLES[mode].encode(np.array([255]))[0] == IGNORE
    with pytest.raises(LabelError, match="mask value 34 "):
        TABLES[mode].encode(np.array([34]))


@pytest.mark.parametrize("mode", TABLES)
def test_every_colour_has_one_meaning(mode):
    # The first label with a colour decides: black is 'unlabeled', grey a pole and the dark blue a car.
    table = TABLES[mode]
    meanings = dict((color, i) for i, color in table.color_meanings())
    assert len(meanings) == len(table.color_meanings()) == len({x.color for x in LABELS})
    for color in meanings:
        first = next(x for x in LABELS if x.color == color)
        assert meanings[color] == table.encode(np.array([first.id]))[0]


# ----- directories

CITIES = {"train": {"aachen": 2, "bochum": 1}, "val": {"lindau": 1}}
SIZE = (5, 34)


def truth(frame):
    """labelIds that differ by frame; all 34 are in each."""
    return np.tile(np.roll(np.arange(34), sum(map(ord, frame))), (SIZE[0], 1)).astype(np.uint8)


def put(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def encoded(ids, kind):
    """What a file of this kind contains for labelIds."""
    if kind == "labelIds":
        return ids
    if kind == "labelTrainIds":
        lut = np.array([x.train_id % 256 for x in LABELS], np.uint8)
        return lut[ids]
    lut = np.array([(*x.color, 255) for x in LABELS], np.uint8)
    return lut[ids]


def dataset(root, kinds=("labelIds",), gt="gtFine"):
    for split, cities in CITIES.items():
        for city, count in cities.items():
            for i in range(count):
                frame = f"{city}_{i:06d}_000019"
                image = np.full((*SIZE, 3), len(frame) + i, np.uint8)
                put(root / "leftImg8bit" / split / city / f"{frame}_leftImg8bit.png", image)
                for kind in kinds:
                    put(root / gt / split / city / f"{frame}_{gt}_{kind}.png", encoded(truth(frame), kind))
                put(root / gt / split / city / f"{frame}_{gt}_instanceIds.png", truth(frame).astype(np.uint16) * 1000)
    return root


def load(root, split="train", **fields):
    config = default.get_config()
    config.data.update({"source": "cityscapes", "dir": str(root)})
    config.data.cityscapes.update(fields)
    return cityscapes.load(config.data, split, seed=0)


def assert_frames(examples, frames, table):
    assert examples.names == tuple(frames)
    assert examples.bad == ()
    for i, frame in enumerate(frames):
        image, label = examples.read(i)
        assert (image.shape, image.dtype, label.dtype) == ((*SIZE, 3), np.uint8, np.uint8)
        np.testing.assert_array_equal(label, table.encode(truth(frame)))


TRAIN = ["aachen_000000_000019", "aachen_000001_000019", "bochum_000000_000019"]


@pytest.mark.parametrize("mode", TABLES)
def test_modes(tmp_path, mode):
    examples = load(dataset(tmp_path), labels=mode)
    assert_frames(examples, TRAIN, TABLES[mode])
    assert examples.table is TABLES[mode]
    assert examples.split == "train"
    assert [path.name for path in examples.files[0]] == [
        f"{TRAIN[0]}_leftImg8bit.png",
        f"{TRAIN[0]}_gtFine_labelIds.png",
    ]


def test_splits(tmp_path):
    assert_frames(load(dataset(tmp_path), "val"), ["lindau_000000_000019"], TABLES["trainids"])


def test_train_ids_serve_where_there_are_no_ids(tmp_path):
    root = dataset(tmp_path, ["labelTrainIds"])
    examples = load(root)
    assert_frames(examples, TRAIN, TABLES["trainids"])
    # Predictions go back to ids all the same.
    assert examples.table.decode(np.array([0])) == [7]
    examples = load(root, labels="categories")
    assert len(examples) == 0
    assert len(examples.bad) == 3
    assert examples.bad[0].why.endswith("aachen_000000_000019_gtFine_labelIds|color.png")


@pytest.mark.parametrize("mode", TABLES)
def test_colours_serve_where_there_are_no_ids(tmp_path, mode):
    examples = load(dataset(tmp_path, ["color"]), labels=mode)
    table = TABLES[mode]
    first = {x.color: x.id for x in reversed(LABELS)}
    for i, frame in enumerate(TRAIN):
        ids = np.array([first[LABELS[j].color] for j in range(34)], np.uint8)[truth(frame)]
        np.testing.assert_array_equal(examples.read(i)[1], table.encode(ids))


def test_ids_are_preferred(tmp_path):
    examples = load(dataset(tmp_path, ["color", "labelTrainIds", "labelIds"]))
    assert {files[1].name.rsplit("_", 1)[1] for files in examples.files} == {"labelIds.png"}


def test_instances_where_every_frame_has_them(tmp_path):
    root = dataset(tmp_path)
    examples = load(root)
    for i, frame in enumerate(examples.names):
        np.testing.assert_array_equal(examples.instances(i), truth(frame).astype(int) * 1000)
    next((root / "gtFine" / "train").glob("*/*instanceIds.png")).unlink()
    assert load(root).instances is None


def test_coarse(tmp_path):
    root = dataset(tmp_path, gt="gtCoarse")
    assert_frames(load(root, coarse=True), TRAIN, TABLES["trainids"])
    with pytest.raises(DataError, match=r"gtFine/train is not a directory; .* contains: gtCoarse, leftImg8bit"):
        load(root)


def test_train_extra(tmp_path):
    root = dataset(tmp_path, gt="gtCoarse")
    for kind in ("leftImg8bit", "gtCoarse"):
        (root / kind / "train").rename(root / kind / "train_extra")
    assert_frames(load(root, "train_extra", coarse=True), TRAIN, TABLES["trainids"])


def test_cities(tmp_path):
    root = dataset(tmp_path)
    assert_frames(load(root, cities=("bochum", "lindau")), TRAIN[2:], TABLES["trainids"])
    assert_frames(load(root, "val", cities=("bochum", "lindau")), ["lindau_000000_000019"], TABLES["trainids"])
    with pytest.raises(
        DataError, match=r"there is no city 'bohum' in .* aachen, bochum, lindau\. Did you mean 'bochum'"
    ):
        load(root, cities=("bohum",))
    with pytest.raises(DataError, match=r"none of them is in the split 'val', which contains: lindau\."):
        load(root, "val", cities=("bochum",))


def test_a_missing_directory_says_what_is_there(tmp_path):
    with pytest.raises(DataError, match=r"nowhere/leftImg8bit/train is not a directory; .* --config.data.dir"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"leftImg8bit/vall is not a directory; .*leftImg8bit contains: train, val\."):
        load(dataset(tmp_path), "vall")


def test_the_classes_are_checked(tmp_path):
    with pytest.raises(ConfigError, match=r"config.data.cityscapes.labels = 'trainid' .* Did you mean 'trainids'\?"):
        load(tmp_path, labels="trainid")


def test_unpaired_files_are_reported(tmp_path):
    root = dataset(tmp_path)
    (root / "gtFine/train/aachen" / f"{TRAIN[0]}_gtFine_labelIds.png").unlink()
    (root / "leftImg8bit/train/bochum" / f"{TRAIN[2]}_leftImg8bit.png").unlink()
    examples = load(root)
    assert examples.names == (TRAIN[1],)
    assert [bad.name.rsplit("/", 1)[1] for bad in examples.bad] == [
        f"{TRAIN[0]}_leftImg8bit.png",
        f"{TRAIN[2]}_gtFine_labelIds.png",
    ]
    assert examples.bad[0].why.startswith("has no mask ")
    assert examples.bad[1].why.startswith("is a mask without a photograph ")


def test_wrong_files_are_named(tmp_path):
    root = dataset(tmp_path)
    paths = [root / "gtFine/train/aachen" / f"{frame}_gtFine_labelIds.png" for frame in TRAIN[:2]]
    put(paths[0], np.full(SIZE, 77, np.uint8))
    put(paths[1], np.zeros((4, 4), np.uint8))
    examples = load(root)
    with pytest.raises(LabelError, match=re.escape(f"{paths[0]}: mask value 77 (170 pixels)")):
        examples.read(0)
    with pytest.raises(DataError, match=re.escape(f"has 5x34 pixels (height x width) but its mask {paths[1]} has 4x4")):
        examples.read(1)


# ----- predictions


@pytest.mark.parametrize("mode", TABLES)
def test_predictions_come_back(tmp_path, mode):
    table = TABLES[mode]
    label = np.arange(len(table), dtype=np.uint8)[None].repeat(3, 0)
    path = write_prediction(tmp_path / "new", "aachen_000000_000019", label, table)
    assert path == tmp_path / "new" / "aachen_000000_000019_pred_labelIds.png"
    with Image.open(path) as image:
        assert image.mode == "L"
    np.testing.assert_array_equal(table.encode(read_mask(path)), label)


def test_predictions_by_hand(tmp_path):
    label = np.array([[0, 13, 18, IGNORE]], np.uint8)
    stored = read_mask(write_prediction(tmp_path, "x", label, TABLES["trainids"]))
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, [[7, 26, 33, 0]])
    # A category is written as its first label.
    np.testing.assert_array_equal(
        read_mask(write_prediction(tmp_path, "x", np.arange(8, dtype=np.uint8)[None], TABLES["categories"])),
        [[0, 7, 11, 17, 21, 23, 24, 26]],
    )
    # Seven categories: the void is left out, and 255 is unlabeled.
    seven = TABLES["categories"].without(("void",))
    np.testing.assert_array_equal(read_mask(write_prediction(tmp_path, "x", label[:, :1], seven)), [[7]])


def test_predictions_of_other_data_are_refused(tmp_path):
    table = LabelTable(names=("a", "b"), values=((300,), (34,)))
    with pytest.raises(LabelError, match="the stored values of a, b are no ids of Cityscapes"):
        write_prediction(tmp_path, "x", np.zeros((2, 2), np.uint8), table)


def test_predictions_of_a_merged_table(tmp_path):
    table = TABLES["trainids"].merge({"other": NINETEEN[:13], "vehicle": NINETEEN[13:]})
    path = write_prediction(tmp_path, "x", np.array([[0, 1]], np.uint8), table)
    np.testing.assert_array_equal(read_mask(path), [[7, 26]])


# ----- the frames themselves


@pytest.mark.parametrize(("split", "count"), [("train", 3), ("val", 1)])
@pytest.mark.parametrize("mode", TABLES)
def test_frames(real_data, split, count, mode, tmp_path):
    config = default.get_config()
    config.data.update({"source": "cityscapes", "dir": str(real_data / "cityscapes")})
    config.data.cityscapes.labels = mode
    examples = data.load(config, split)
    assert (len(examples), examples.bad) == (count, ())
    image, label = examples.read(0)
    assert (image.shape, label.shape) == ((1024, 2048, 3), (1024, 2048))
    stored = read_mask(examples.files[0][1])
    # Where a class has one label, a perfect prediction is the truth, but for what is ignored.
    path = write_prediction(tmp_path, examples.names[0], label, examples.table)
    written = read_mask(path)
    assert written.shape == stored.shape
    np.testing.assert_array_equal(examples.table.encode(written)[label != IGNORE], label[label != IGNORE])
    if mode != "categories":
        np.testing.assert_array_equal(written[label != IGNORE], stored[label != IGNORE])
    assert (written[label == IGNORE] == 0).all()
    # The road is where it should be: the most frequent label of the lower half.
    ids = np.bincount(written[600:900].reshape(-1), minlength=34)
    assert ids.argmax() == 7
