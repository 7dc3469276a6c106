"""Directories of photographs and masks: layouts, list files, and everything that can be wrong with them."""

import json
import os
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from configs import default
from seg_jax.config import ConfigError
from seg_jax.data import splits
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelError, LabelTable
from seg_jax.data.labels.builtin import CAMVID
from seg_jax.data.pictures import UPRIGHT
from seg_jax.data.sources import folder

NAMES = ["sky", "road", "car"]


def picture(i):
    """A photograph of one colour and a mask of two values, told apart by `i`; 4 rows, 6 columns."""
    mask = np.full((4, 6), i % 3, np.uint8)
    mask[0, 0] = IGNORE
    return np.full((4, 6, 3), 10 * i + 1, np.uint8), mask


def put(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def dataset(root, images="train", masks="trainannot", *, count=3, suffix="", extension=".png"):
    """Pairs n0, n1... in two directories, and their class names."""
    for i in range(count):
        image, mask = picture(i)
        put(root / images / f"n{i}{extension}", image)
        put(root / masks / f"n{i}{suffix}.png", mask)
    (root / "class_names.json").write_text(json.dumps(NAMES), encoding="utf-8")
    return root


def load(root, split="train", **fields):
    """What the source gives for `root` under the default layout, with some fields of config.data changed."""
    data = default.get_config().data
    data.update({"source": "folder", "dir": str(root), **fields})
    return splits.load(folder.load, data, split, seed=0)


def assert_pairs(examples, order):
    """Example by example the pictures `order`."""
    assert len(examples) == len(order)
    for k, i in enumerate(order):
        image, label = examples.read(k)
        assert (image.dtype, label.dtype) == (np.uint8, np.uint8)
        np.testing.assert_array_equal(image, picture(i)[0])
        np.testing.assert_array_equal(label, picture(i)[1])


# ----- layouts


@pytest.mark.parametrize(
    ("made", "fields"),
    [
        ({}, {}),
        ({"images": "images/train", "masks": "masks/train"}, {"images": "images/{split}", "masks": "masks/{split}"}),
        ({"images": "photos", "masks": "truth"}, {"images": "photos", "masks": "truth"}),
        ({"suffix": "_mask"}, {"mask_suffix": "_mask"}),
        ({"suffix": "_L", "masks": "a/b/c/train_L"}, {"mask_suffix": "_L", "masks": "a/b/c/{split}_L"}),
    ],
)
def test_layouts(tmp_path, made, fields):
    examples = load(dataset(tmp_path, **made), **fields)
    assert_pairs(examples, [0, 1, 2])
    assert examples.split == "train"
    assert examples.table.names == tuple(NAMES)
    assert examples.bad == ()
    assert examples.size == (4, 6)
    images, masks = made.get("images", "train"), made.get("masks", "trainannot")
    assert examples.names[1] == f"{images}/n1.png + {masks}/n1{made.get('suffix', '')}.png"
    assert examples.files[1] == (tmp_path / images / "n1.png", tmp_path / masks / f"n1{made.get('suffix', '')}.png")


def test_splits(tmp_path):
    dataset(tmp_path)
    dataset(tmp_path, "val", "valannot", count=2)
    assert [len(load(tmp_path, split)) for split in ("train", "val")] == [3, 2]


@pytest.mark.parametrize("extension", [".JPG", ".jpeg", ".bmp", ".tiff", ".webp"])
def test_photographs_and_masks_of_different_kinds(tmp_path, extension):
    examples = load(dataset(tmp_path, extension=extension))
    assert len(examples) == 3
    np.testing.assert_allclose(examples.read(2)[0], picture(2)[0], atol=2)
    np.testing.assert_array_equal(examples.read(2)[1], picture(2)[1])


def test_order_is_that_of_the_names(tmp_path):
    # 11 comes before 2: as text, the same on every file system.
    dataset(tmp_path, count=12)
    assert_pairs(load(tmp_path), [0, 1, 10, 11, *range(2, 10)])


def test_other_files_are_passed_over(tmp_path):
    dataset(tmp_path)
    for name in ("notes.txt", ".n0.png", "._n1.png", "Thumbs.db"):
        (tmp_path / "train" / name).write_bytes(b"x")
    (tmp_path / "trainannot" / "old").mkdir()
    examples = load(tmp_path)
    assert_pairs(examples, [0, 1, 2])
    assert examples.bad == ()


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_names_that_are_no_text(tmp_path):
    dataset(tmp_path)
    for directory in ("train", "trainannot"):
        os.rename(tmp_path / directory / "n1.png", os.fsencode(tmp_path / directory) + b"/n1\xff.png")
    examples = load(tmp_path)
    assert_pairs(examples, [0, 1, 2])
    assert len(examples.digest) == 64
    os.remove(os.fsencode(tmp_path / "trainannot") + b"/n1\xff.png")
    assert [bad.name for bad in load(tmp_path).bad] == [os.fsdecode(os.fsencode(tmp_path) + b"/train/n1\xff.png")]


def test_home_directory(tmp_path, monkeypatch):
    dataset(tmp_path / "scenes")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert_pairs(load("~/scenes"), [0, 1, 2])


# ----- patterns


PATTERNS = {
    # images, masks, where picture i lies
    "suffix": ("{split}/*_photo", "truth/*_L", "train/n{i}_photo.png", "truth/n{i}_L.png"),
    "prefix": ("{split}/img_*", "{split}/mask_*", "train/img_n{i}.png", "train/mask_n{i}.png"),
    "extension": ("{split}/*.jpg", "{split}/*.png", "train/n{i}.JPG", "train/n{i}.png"),
    "one directory, looser photographs": ("{split}", "{split}/*_L", "train/n{i}.png", "train/n{i}_L.png"),
    "one directory, looser masks": ("{split}/*_photo", "{split}", "train/n{i}_photo.png", "train/n{i}.png"),
    "nested": ("images/**", "masks/**", "images/a/b{i}/n.png", "masks/a/b{i}/n.png"),
    "nested, partly": ("images/**/*.png", "masks/**/*_L.png", "images/n{i}.png", "masks/n{i}_L.png"),
    "one level": (
        "images/{split}/*/*.png",
        "masks/{split}/*/*.png",
        "images/train/c{i}/n.png",
        "masks/train/c{i}/n.png",
    ),
    "a star in a directory": ("*/photo", "*/mask", "scene{i}/photo.png", "scene{i}/mask.png"),
    "Cityscapes": (
        "leftImg8bit/{split}/*/*_leftImg8bit.png",
        "gtFine/{split}/*/*_gtFine_labelIds.png",
        "leftImg8bit/train/ulm/ulm_{i}_leftImg8bit.png",
        "gtFine/train/ulm/ulm_{i}_gtFine_labelIds.png",
    ),
    "brackets": ("[photos]/*", "(masks)+/*", "[photos]/n{i}.png", "(masks)+/n{i}.png"),
    "dots": ("{split}/*.rgb.png", "{split}/*.label.png", "train/n.{i}.rgb.png", "train/n.{i}.label.png"),
}


@pytest.mark.parametrize("kind", PATTERNS)
def test_patterns(tmp_path, kind):
    images, masks, photo, mask = PATTERNS[kind]
    for i in range(3):
        path = put_as(tmp_path / photo.format(i=i), picture(i)[0])
        put(tmp_path / mask.format(i=i), picture(i)[1])
    (tmp_path / "class_names.json").write_text(json.dumps(NAMES), encoding="utf-8")
    examples = load(tmp_path, images=images, masks=masks)
    assert examples.bad == ()
    assert [files[0].name for files in examples.files] == [photo.format(i=i).split("/")[-1] for i in range(3)]
    assert examples.files[2][0] == path
    for i in range(3):
        np.testing.assert_allclose(examples.read(i)[0], picture(i)[0], atol=2)
        np.testing.assert_array_equal(examples.read(i)[1], picture(i)[1])


def put_as(path, array):
    """A PNG whatever the name says: the content counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, format="PNG")
    return path


def test_directories_keep_equal_names_apart(tmp_path):
    for i, name in enumerate(("a/x", "b/x", "x")):
        put(tmp_path / "images" / f"{name}.png", picture(i)[0])
        put(tmp_path / "masks" / f"{name}.png", picture(i)[1])
    put(tmp_path / "images" / ".cache" / "x.png", picture(0)[0])
    (tmp_path / "class_names.json").write_text(json.dumps(NAMES), encoding="utf-8")
    assert_pairs(load(tmp_path, images="images/**", masks="masks/**"), [0, 1, 2])


def test_unpaired_files_of_patterns_are_reported(tmp_path):
    dataset(tmp_path, "images/a", "masks/a", suffix="_L")
    (tmp_path / "masks/a/n1_L.png").unlink()
    put(tmp_path / "masks/b/n1_L.png", picture(1)[1])
    put(tmp_path / "masks/a/n5.png", picture(1)[1])  # not of the pattern
    examples = load(tmp_path, images="images/**/*.png", masks="masks/**/*_L.png")
    assert_pairs(examples, [0, 2])
    assert [(bad.name, bad.why.split("; add it, or set --config")[0]) for bad in examples.bad] == [
        (str(tmp_path / "images/a/n1.png"), f"has no mask {tmp_path / 'masks/a/n1_L.png'}"),
        (str(tmp_path / "masks/b/n1_L.png"), f"is a mask without a photograph in {tmp_path / 'images'}"),
    ]


def test_a_pattern_without_files(tmp_path):
    dataset(tmp_path)
    with pytest.raises(DataError, match=r"trainannot contains no image files \(.png\) that match '\*_L.png'\."):
        load(tmp_path, masks="trainannot/*_L.png")
    with pytest.raises(
        DataError, match=r"truth is not a directory \(config.data.masks\).* contains: train, trainannot"
    ):
        load(tmp_path, masks="truth/*_L.png")


def test_two_files_of_one_name_in_a_pattern(tmp_path):
    dataset(tmp_path)
    put(tmp_path / "train" / "n1.bmp", picture(1)[0])
    assert_pairs(load(tmp_path, images="{split}/*.png"), [0, 1, 2])
    with pytest.raises(DataError, match=r"n1.bmp and n1.png in .* have the same stem"):
        load(tmp_path, images="{split}/*")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"images": "**/*.png"},
            "config.data.masks = '{split}annot': it has 1 stars and data.images = '**/*.png' has 2",
        ),
        ({"masks": "{split}annot/*_L", "mask_suffix": "_L"}, "config.data.mask_suffix = '_L': data.masks = "),
        ({"masks": "{split}"}, "config.data.masks = '{split}': it has the same files as data.images = '{split}'"),
        ({"val_share": 0.5}, "config.data.val_share = 0.5: a validation split is held out of one set of pairs"),
        ({"val_share": 0.5, "list": "{split}.txt"}, "config.data.val_share = 0.5: a validation split is held out"),
    ],
)
def test_fields_that_contradict_one_another(tmp_path, fields, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(dataset(tmp_path), **fields)


# ----- names that are spelled otherwise


def other_names(root, photos, masks):
    for i, (photo, mask) in enumerate(zip(photos, masks, strict=True)):
        put(root / "images" / photo, picture(i)[0])
        put(root / "masks" / mask, picture(i)[1])
    (root / "class_names.json").write_text(json.dumps(NAMES), encoding="utf-8")


@pytest.mark.parametrize(
    ("photos", "masks", "fields"),
    [
        (("1.jpg", "2.jpg", "10.jpg"), ("001.png", "002.png", "010.png"), {}),
        (("007.bmp", "010.bmp"), ("7.png", "10.png"), {}),
        (("a1_b02.bmp", "a1_b10.bmp"), ("A01-B2.png", "A01-B10.png"), {}),
        (("caf\u00e9.bmp", "stra\u00dfe.bmp"), ("cafe\u0301.png", "stra\u00dfe.png"), {}),
        (("1.bmp", "2.bmp"), ("01_mask.png", "02_mask.png"), {"masks": "masks/*_mask"}),
        (("bonn/0.bmp", "ulm/0.bmp"), ("bonn_0.png", "ulm_0.png"), {"images": "images/**/*"}),
        (("bonn_0.bmp", "ulm_0.bmp"), ("bonn/0.png", "ulm/0.png"), {"masks": "masks/**/*"}),
        (("b/1.bmp", "b/2.bmp"), ("b/01.png", "b/02.png"), {"images": "images/**/*", "masks": "masks/**/*"}),
    ],
)
def test_names_that_are_spelled_otherwise(tmp_path, photos, masks, fields):
    other_names(tmp_path, photos, masks)
    examples = load(tmp_path, **{"images": "images", "masks": "masks", **fields})
    assert examples.bad == ()
    for k, (photo, mask) in enumerate(examples.files):
        i = photos.index(photo.relative_to(tmp_path / "images").as_posix())
        assert mask.relative_to(tmp_path / "masks").as_posix() == masks[i]
        np.testing.assert_array_equal(examples.read(k)[1], picture(i)[1])


def test_the_same_spelling_comes_first_and_nothing_is_guessed(tmp_path):
    other_names(tmp_path, ("1.bmp", "01.bmp", "2.bmp", "02.bmp"), ("01.png", "x.png", "2.png", "02.png"))
    examples = load(tmp_path, images="images", masks="masks")
    assert [name.split(" + ")[0] for name in examples.names] == ["images/01.bmp", "images/02.bmp", "images/2.bmp"]
    assert [bad.name for bad in examples.bad] == [str(tmp_path / "images" / "1.bmp"), str(tmp_path / "masks" / "x.png")]


# ----- linked directories


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights")
def test_linked_directories_are_read(tmp_path):
    root, disk = tmp_path / "data", tmp_path / "disk"
    for i, place in enumerate(("a", "a", "b", "b")):
        for kind, array in zip(("images", "masks"), picture(i), strict=True):
            put((root if place == "a" else disk) / kind / place / f"{i}.png", array)
    for kind in ("images", "masks"):
        (root / kind / "b").symlink_to(disk / kind / "b", target_is_directory=True)
        (root / kind / "again").symlink_to(root / kind / "a", target_is_directory=True)
        (root / kind / "up").symlink_to(root, target_is_directory=True)
        (root / kind / "gone").symlink_to(root / "nowhere")
    (root / "class_names.json").write_text(json.dumps(NAMES), encoding="utf-8")
    examples = load(root, images="images/**/*", masks="masks/**/*")
    assert_pairs(examples, [0, 1, 2, 3])
    assert examples.bad == ()


# ----- a validation split held out of one directory

ONE = {"images": "train", "masks": "trainannot"}


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.25, 3), (0.5, 6), (0.99, 11)])
def test_held_out(tmp_path, share, count):
    dataset(tmp_path, count=12)
    train, val = (load(tmp_path, split, val_share=share, **ONE) for split in ("train", "val"))
    assert (len(train), len(val)) == (12 - count, count)
    assert sorted(train.names + val.names) == sorted(load(tmp_path, **ONE).names)
    assert list(train.names) == [name for name in load(tmp_path, **ONE).names if name in train.names]
    assert load(tmp_path, "val", val_share=share, **ONE).names == val.names
    for examples in (train, val):
        for k, name in enumerate(examples.names):
            i = int(re.match(r"train/n(\d+)", name)[1])
            np.testing.assert_array_equal(examples.read(k)[0], picture(i)[0])


def test_the_seed_draws_what_is_held_out(tmp_path):
    data = default.get_config().data
    data.update({"source": "folder", "dir": str(dataset(tmp_path, count=12)), "val_share": 0.25, **ONE})
    assert len({splits.load(folder.load, data, "val", seed=seed).names for seed in range(8)}) > 4


def test_held_out_of_a_list(tmp_path):
    dataset(tmp_path)
    (tmp_path / "all.txt").write_text("".join(f"train/n{i}.png\ttrainannot/n{i}.png\n" for i in range(3)))
    parts = [load(tmp_path, split, val_share=0.3, list="all.txt").names for split in ("train", "val")]
    assert sorted(map(len, parts)) == [1, 2]
    assert len(set(parts[0] + parts[1])) == 3


def test_bad_examples_are_told_of_once(tmp_path):
    dataset(tmp_path)
    (tmp_path / "trainannot" / "n1.png").unlink()
    assert [len(load(tmp_path, split, val_share=0.5, **ONE).bad) for split in ("train", "val")] == [1, 0]


def test_validation_is_never_the_training_split(tmp_path):
    dataset(tmp_path)
    assert_pairs(load(tmp_path, **ONE), [0, 1, 2])
    with pytest.raises(ConfigError, match=r"config.data.val_share = 0.0: .*the validation split would be the training"):
        load(tmp_path, "val", **ONE)
    # Unless that is what was asked for.
    assert_pairs(load(tmp_path, val_split="train", **ONE), [0, 1, 2])
    with pytest.raises(ConfigError, match=r"config.data.val_split = 'test' is not one of: train, val"):
        load(tmp_path, "test", val_share=0.5, **ONE)


# ----- list files


LISTS = {
    "tab": "train/n2.png\ttrainannot/n2.png\ntrain/n0.png\ttrainannot/n0.png\n",
    "comma": "train/n2.png, trainannot/n2.png\ntrain/n0.png,trainannot/n0.png",
    "space": "train/n2.png trainannot/n2.png\n  train/n0.png    trainannot/n0.png  \n",
    "comments": "# photographs, masks\n\ntrain/n2.png trainannot/n2.png\n\n# the end\ntrain/n0.png trainannot/n0.png\n",
    "windows": "train/n2.png trainannot/n2.png\r\ntrain/n0.png trainannot/n0.png\r\n",
    "byte order mark": "\ufefftrain/n2.png trainannot/n2.png\ntrain/n0.png trainannot/n0.png\n",
    "SegNet": "/SegNet/CamVid/train/n2.png /SegNet/CamVid/trainannot/n2.png\n"
    "/SegNet/CamVid/train/n0.png /SegNet/CamVid/trainannot/n0.png\n",
    "leading slash": "/train/n2.png /trainannot/n2.png\n/train/n0.png /trainannot/n0.png\n",
    "absolute": "{root}/train/n2.png {root}/trainannot/n2.png\n{root}/train/n0.png {root}/trainannot/n0.png\n",
}


@pytest.mark.parametrize("kind", LISTS)
def test_list_files(tmp_path, kind):
    dataset(tmp_path)
    text = LISTS[kind].replace("{root}", str(tmp_path))
    (tmp_path / "train.txt").write_text(text, encoding="utf-8", newline="")
    examples = load(tmp_path, list="{split}.txt")
    assert_pairs(examples, [2, 0])
    assert examples.names[0] == "train/n2.png + trainannot/n2.png"
    assert examples.bad == ()


def test_names_with_spaces_are_separated_by_tabs(tmp_path):
    image, mask = picture(1)
    put(tmp_path / "my photos" / "a, b.png", image)
    put(tmp_path / "my masks" / "a, b.png", mask)
    (tmp_path / "pairs.txt").write_text("my photos/a, b.png\tmy masks/a, b.png", encoding="utf-8")
    (tmp_path / "class_names.json").write_text(json.dumps(NAMES), encoding="utf-8")
    assert_pairs(load(tmp_path, list="pairs.txt"), [1])


MORE_LISTS = {
    "header": "image,mask\ntrain/n2.png,trainannot/n2.png\ntrain/n0.png,trainannot/n0.png\n",
    "columns in another order": "id,label,photo\n7,trainannot/n2.png,train/n2.png\n8,trainannot/n0.png,train/n0.png\n",
    "quotes": 'image;mask\n"train/n2.png";"trainannot/n2.png"\n"train/n0.png";"trainannot/n0.png"',
    "quotes and spaces": '"train/n2.png" "trainannot/n2.png"\n"train/n0.png" "trainannot/n0.png"',
    "backslashes": "train\\n2.png trainannot\\n2.png\ntrain\\n0.png trainannot\\n0.png",
    "another machine": "D:\\a\\train\\n2.png,D:\\a\\trainannot\\n2.png\nD:\\a\\train\\n0.png,D:\\a\\trainannot\\n0.png",
    "deep in another machine": "/m/x/y/train/n2.png,/trainannot/n2.png\nC:\\d\\e\\train\\n0.png,/b/c/trainannot/n0.png",
    "without extensions": "train/n2 trainannot/n2\ntrain/n0 trainannot/n0",
    "stems": "n2\nn0\n",
    "stems with a header": "ImageId\nn2\nn0\n",
    "names": "n2.png\nn0.png",
    "paths": "train/n2.png\ntrain\\n0.png\n",
}


@pytest.mark.parametrize("kind", MORE_LISTS)
def test_lists_of_other_forms(tmp_path, kind):
    dataset(tmp_path)
    (tmp_path / "train.txt").write_text(MORE_LISTS[kind], encoding="utf-8", newline="")
    examples = load(tmp_path, list="{split}.txt")
    assert_pairs(examples, [2, 0])
    assert examples.bad == ()


@pytest.mark.parametrize("between", ["\t", " ", "   "])
def test_names_with_spaces(tmp_path, between):
    names = ("my photos/a 1.png", "my masks/a 1.png")
    for name, array in zip(names, picture(1), strict=True):
        put(tmp_path / name, array)
    (tmp_path / "pairs.txt").write_text(between.join(names) + "\r\n\r\n", encoding="utf-8", newline="")
    (tmp_path / "class_names.json").write_text(json.dumps(NAMES), encoding="utf-8")
    assert_pairs(load(tmp_path, list="pairs.txt"), [1])


def test_paths_from_the_directory_of_the_list(tmp_path):
    dataset(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "train.txt").write_text("../train/n1.png ../trainannot/n1.png\n")
    examples = load(tmp_path, list="lists/{split}.txt")
    assert_pairs(examples, [1])


def test_stems_that_are_not_there_are_reported(tmp_path):
    dataset(tmp_path)
    put(tmp_path / "train" / "sub" / "n1.png", picture(1)[0])
    put(tmp_path / "trainannot" / "sub" / "n1.png", picture(1)[1])
    (tmp_path / "train.txt").write_text("n0\nn1\nnine\nsub/n1")
    examples = load(tmp_path, list="{split}.txt", images="{split}/**/*", masks="{split}annot/**/*")
    assert [name.split(" + ")[0] for name in examples.names] == ["train/n0.png", "train/sub/n1.png"]
    assert "'n1' names 2 photographs" in examples.bad[0].why
    assert examples.bad[1].why == "'nine' names no photograph of config.data.images"


def test_a_pair_is_not_in_two_splits(tmp_path):
    dataset(tmp_path)
    (tmp_path / "train.txt").write_text("train/n0.png trainannot/n0.png\ntrain/n1.png trainannot/n1.png\n")
    (tmp_path / "val.txt").write_text("train/n1.png trainannot/n1.png\ntrain/n2.png trainannot/n2.png\n")
    for split in ("train", "val"):
        with pytest.raises(DataError, match=r"n1\.png is in the lists of .* Remove it from"):
            load(tmp_path, split, list="{split}.txt")
    assert len(load(tmp_path, list="{split}.txt", val_split="train")) == 2  # what was asked for


def test_a_list_that_is_no_text(tmp_path):
    dataset(tmp_path)
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"train\.txt is not UTF-8 text"):
        load(tmp_path, list="{split}.txt")


def test_missing_files_of_a_list_are_reported(tmp_path):
    dataset(tmp_path)
    lines = ["train/n0.png trainannot/n0.png", "train/gone.png trainannot/n1.png", "/x/y/no.png /x/y/no2.png"]
    (tmp_path / "train.txt").write_text("\n".join(lines), encoding="utf-8")
    examples = load(tmp_path, list="{split}.txt")
    assert_pairs(examples, [0])
    assert [bad.name for bad in examples.bad] == [f"{tmp_path / 'train.txt'}, line {n}" for n in (2, 3)]
    assert examples.bad[0].why == f"names a file that does not exist: {tmp_path / 'train' / 'gone.png'}"
    assert examples.bad[1].why.count("no.png") == examples.bad[1].why.count("no2.png") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "config.data.list: there is no list file"),
        ("", "train.txt lists no pairs."),
        ("# nothing\n\n", "train.txt lists no pairs."),
        ("a.png b.png\nc.png\n", "train.txt, line 2: 'c.png' is not 'image mask'; separate two paths by a tab."),
        ("a b.png c.png\n", "line 1: 'a b.png c.png' is not 'image mask'"),
    ],
)
def test_unusable_lists(tmp_path, text, message):
    dataset(tmp_path)
    if text is not None:
        (tmp_path / "train.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(message)) as error:
        load(tmp_path, list="{split}.txt")
    assert str(tmp_path) in str(error.value)


# ----- what is wrong with directories


def test_the_directory_must_exist(tmp_path):
    with pytest.raises(
        DataError, match=r"config.data.dir = '.*nowhere' is not a directory. Pass --config.data.dir=DIR"
    ):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("fields", "field", "there"),
    [
        ({"images": "photos"}, "data.images", "contains: train, trainannot."),
        ({"masks": "truth/{split}"}, "data.masks", ""),  # not even 'truth' is there
    ],
)
def test_a_missing_directory_says_what_is_there(tmp_path, fields, field, there):
    dataset(tmp_path)
    with pytest.raises(DataError) as error:
        load(tmp_path, **fields)
    message = str(error.value)
    wrong = tmp_path / next(iter(fields.values())).format(split="train")
    assert message.startswith(f"{wrong} is not a directory (config.{field}).")
    assert there in message
    assert "Set config.data.images and config.data.masks to your layout" in message


def test_a_misspelled_split(tmp_path):
    dataset(tmp_path)
    with pytest.raises(DataError, match=r"vall is not a directory .* contains: train, trainannot\."):
        load(tmp_path, "vall")


@pytest.mark.parametrize("directory", ["train", "trainannot"])
def test_an_empty_directory(tmp_path, directory):
    dataset(tmp_path)
    shutil.rmtree(tmp_path / directory)
    (tmp_path / directory).mkdir()
    (tmp_path / directory / "readme.txt").touch()
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / directory} contains no image files (.jpg, ")):
        load(tmp_path)


def test_unpaired_files_are_reported(tmp_path):
    dataset(tmp_path, suffix="_L")
    (tmp_path / "trainannot" / "n1_L.png").unlink()
    put(tmp_path / "trainannot" / "n7_L.png", picture(0)[1])
    put(tmp_path / "trainannot" / "n0.png", picture(0)[1])  # the suffix is missing
    examples = load(tmp_path, mask_suffix="_L")
    assert_pairs(examples, [0, 2])
    photos, masks = tmp_path / "train", tmp_path / "trainannot"
    assert [(bad.name, bad.why.split("; add it, or set --config")[0]) for bad in examples.bad] == [
        (str(photos / "n1.png"), f"has no mask {masks / 'n1_L'}.png"),
        (str(masks / "n0.png"), f"is a mask without a photograph in {photos}"),
        (str(masks / "n7_L.png"), f"is a mask without a photograph in {photos}"),
    ]


@pytest.mark.parametrize("directory", ["train", "trainannot"])
def test_two_files_of_one_stem(tmp_path, directory):
    dataset(tmp_path)
    put(tmp_path / directory / "n1.bmp", picture(1)[1])
    with pytest.raises(DataError, match=re.escape(f"n1.bmp and n1.png in {tmp_path / directory} have the same stem")):
        load(tmp_path)


# ----- what is wrong with pairs


def test_sizes_must_agree(tmp_path):
    dataset(tmp_path)
    mask = put(tmp_path / "trainannot" / "n1.png", np.zeros((6, 4), np.uint8))
    examples = load(tmp_path)
    message = f"{tmp_path / 'train' / 'n1.png'} has 4x6 pixels (height x width) but its mask {mask} has 6x4"
    with pytest.raises(DataError, match=re.escape(message)):
        examples.read(1)


def test_unknown_mask_values_are_named_with_file_and_count(tmp_path):
    dataset(tmp_path)
    values = picture(1)[1]
    values[1, :5] = 7
    mask = put(tmp_path / "trainannot" / "n1.png", values)
    examples = load(tmp_path)
    with pytest.raises(LabelError, match=re.escape(f"{mask}: mask value 7 (5 pixels) is not in the label table")):
        examples.read(1)
    np.testing.assert_array_equal(examples.read(0)[1], picture(0)[1])


def test_unreadable_files_are_named(tmp_path):
    dataset(tmp_path)
    (tmp_path / "train" / "n0.png").write_bytes(b"")
    (tmp_path / "trainannot" / "n2.png").unlink()
    put(tmp_path / "trainannot" / "n2.png", picture(2)[0])
    examples = load(tmp_path)
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "train" / "n0.png"))):
        examples.read(0)
    with pytest.raises(LabelError, match=re.escape(f"{tmp_path / 'trainannot' / 'n2.png'}: mask colour (21, 21, 21)")):
        examples.read(2)
    with pytest.raises(LabelError, match=r"n2.png: mask value 21 \(\d+ pixels\) is not in the label table"):
        load(tmp_path, mask_format="index").read(2)  # its three channels are equal


# ----- kinds of files


def test_photographs_of_every_kind(tmp_path):
    kinds = ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"]
    y, x = np.mgrid[:32, :48]
    photo = np.stack([100 + y, 90 + x, 200 - y - x], -1).astype(np.uint8)
    mask = (x // 16).astype(np.uint8)
    for i, kind in enumerate(kinds):
        (tmp_path / "train").mkdir(exist_ok=True)
        claimed = ["png", "gif", "jpg", "bmp", "webp", "tif"][i]
        Image.fromarray(photo).save(tmp_path / "train" / f"n{i}.{claimed}", format=kind)
        put(tmp_path / "trainannot" / f"n{i}.png", mask)
    (tmp_path / "class_names.json").write_text(json.dumps(NAMES), encoding="utf-8")
    examples = load(tmp_path)
    assert len(examples) == len(kinds)
    for i in range(len(kinds)):
        image, label = examples.read(i)
        assert np.abs(image.astype(int) - photo).mean() < 8  # GIF has 256 colours
        np.testing.assert_array_equal(label, mask)


def test_photographs_grey_with_alpha_and_turned(tmp_path):
    photo, mask = np.arange(24, dtype=np.uint8).reshape(4, 6), picture(0)[1]
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    (tmp_path / "train").mkdir()
    Image.fromarray(photo).save(tmp_path / "train" / "a.png")
    Image.fromarray(np.stack([photo] * 3 + [photo], -1)).save(tmp_path / "train" / "b.png")
    Image.fromarray(np.rot90(photo)).save(tmp_path / "train" / "c.png", exif=exif)
    for name in "abc":
        put(tmp_path / "trainannot" / f"{name}.png", mask)
    (tmp_path / "class_names.json").write_text(json.dumps(NAMES), encoding="utf-8")
    examples = load(tmp_path)
    for i in range(3):
        image, label = examples.read(i)
        np.testing.assert_array_equal(image, np.stack([photo] * 3, -1))
        np.testing.assert_array_equal(label, mask)


COLORS = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]


def colored(root, mode="RGB", **options):
    """`dataset` with masks of colours and the table for them."""
    dataset(root)
    for i in range(3):
        mask = picture(i)[1]
        rgb = np.array([*COLORS, [0, 0, 0]], np.uint8)[np.minimum(mask, 3)]
        Image.fromarray(rgb).convert(mode).save(root / "trainannot" / f"n{i}.png", **options)
    classes = [{"name": name, "color": color} for name, color in zip(NAMES, COLORS, strict=True)]
    table = {"classes": classes, "ignore_colors": [[0, 0, 0]]}
    (root / "class_names.json").write_text(json.dumps(table), encoding="utf-8")
    return root


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("form", ["auto", "color", "nearest"])
def test_masks_of_colours(tmp_path, mode, form):
    assert_pairs(load(colored(tmp_path, mode), mask_format=form), [0, 1, 2])


def test_masks_of_16_bits(tmp_path):
    dataset(tmp_path)
    for i in range(3):
        mask = picture(i)[1].astype(np.uint16)
        put(tmp_path / "trainannot" / f"n{i}.png", np.where(mask == IGNORE, 65535, mask * 1000).astype(np.uint16))
    classes = [{"name": name, "values": [1000 * i]} for i, name in enumerate(NAMES)]
    (tmp_path / "class_names.json").write_text(json.dumps({"classes": classes, "ignore": [65535]}), encoding="utf-8")
    assert_pairs(load(tmp_path), [0, 1, 2])


def test_masks_of_another_size(tmp_path):
    dataset(tmp_path)
    small = np.array([[0, 1, 2], [255, 1, 2]], np.uint8)
    put(tmp_path / "trainannot" / "n0.png", small)
    mask = put(tmp_path / "trainannot" / "n1.png", np.zeros((6, 4), np.uint8))
    with pytest.raises(DataError, match="they must agree"):
        load(tmp_path).read(0)
    examples = load(tmp_path, resize_masks=True)
    np.testing.assert_array_equal(examples.read(0)[1], np.kron(small, np.ones((2, 2), np.uint8)))
    np.testing.assert_array_equal(examples.read(2)[1], picture(2)[1])
    # Other proportions are another picture, such as a photograph that was turned.
    with pytest.raises(DataError, match=re.escape(f"its mask {mask} has 6x4; they must agree")):
        examples.read(1)


def test_masks_that_differ_by_a_pixel(tmp_path):
    dataset(tmp_path)
    image, label = picture(0)
    put(tmp_path / "trainannot" / "n0.png", label[:-1])
    with pytest.raises(DataError, match=r"they must agree. Set config.data.resize_masks=True.$"):
        load(tmp_path).read(0)
    found = load(tmp_path, resize_masks=True).read(0)[1]  # what the message says
    np.testing.assert_array_equal(found[:-1], label[:-1])
    assert (found[-1] == IGNORE).all() and found.shape == image.shape[:2]


@pytest.mark.parametrize("tag", [5, 6, 7, 8])
def test_photographs_that_exif_turns(tmp_path, tag):
    """Where the mask was drawn on the pixels as they are stored, the sizes tell."""
    dataset(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = tag
    (tmp_path / "train" / "n0.png").unlink()
    Image.new("RGB", (64, 40)).save(tmp_path / "train" / "n0.jpg", exif=exif)
    stored = np.arange(40 * 64, dtype=np.uint8).reshape(40, 64) % 3
    mask = put(tmp_path / "trainannot" / "n0.png", stored)
    np.testing.assert_array_equal(load(tmp_path).read(0)[1], UPRIGHT[tag](stored))
    put(mask, UPRIGHT[tag](stored))
    np.testing.assert_array_equal(load(tmp_path).read(0)[1], UPRIGHT[tag](stored))
    put(mask, np.repeat(np.repeat(stored, 2, axis=0), 2, axis=1))
    np.testing.assert_array_equal(load(tmp_path, resize_masks=True).read(0)[1], UPRIGHT[tag](stored))
    with pytest.raises(DataError, match=r"has 40x64 pixels .* 64x40; they must agree"):
        put(mask, UPRIGHT[tag](stored))
        load(tmp_path, exif="ignore").read(0)


@pytest.mark.parametrize(("size", "mask"), [((375, 500), (256, 341)), ((720, 960), (360, 480)), ((5, 7), (10, 14))])
def test_proportions_up_to_rounding(tmp_path, size, mask):
    dataset(tmp_path)
    put(tmp_path / "train" / "n0.png", np.zeros((*size, 3), np.uint8))
    examples = load(tmp_path, resize_masks=True)
    put(tmp_path / "trainannot" / "n0.png", np.zeros(mask, np.uint8))
    assert examples.read(0)[1].shape == size
    for other in (mask[::-1], (mask[0], mask[1] + max(4, mask[1] // 50))):
        put(tmp_path / "trainannot" / "n0.png", np.zeros(other, np.uint8))
        with pytest.raises(DataError, match="they must agree"):
            examples.read(0)


# ----- photographs without a mask


@pytest.mark.parametrize("names", [["sound", "scratch", "dent"], ["scratch", "background", "dent"]])
def test_missing_masks_are_background(tmp_path, names):
    """A set of defects: photographs of what has none have no mask."""
    dataset(tmp_path)
    (tmp_path / "class_names.json").write_text(json.dumps(names))
    put(tmp_path / "train" / "sound.png", picture(0)[0])
    assert [bad.name for bad in load(tmp_path).bad] == [str(tmp_path / "train" / "sound.png")]
    assert "config.data.missing_mask=background" in load(tmp_path).bad[0].why
    examples = load(tmp_path, missing_mask="background")
    assert (len(examples), examples.bad) == (4, ())
    image, label = examples.read(3)
    assert image.shape[:2] == label.shape and (label == (names[1] == "background")).all()
    np.testing.assert_array_equal(examples.read(2)[1], picture(2)[1])
    assert examples.files[3] == (tmp_path / "train" / "sound.png",)
    assert (np.asarray(examples.mask(3).pixels) == examples.table.values[label[0, 0]][0]).all()


def test_the_background_of_missing_masks_must_be_a_class(tmp_path):
    dataset(tmp_path)
    put(tmp_path / "train" / "sound.png", picture(0)[0])
    names = {"classes": [{"name": "a", "values": [1]}, {"name": "b", "values": [2]}], "ignore": [0, 255]}
    (tmp_path / "class_names.json").write_text(json.dumps(names))
    with pytest.raises(ConfigError, match=r"config.data.missing_mask = 'background': .* no class 'background'"):
        load(tmp_path, missing_mask="background")


# ----- label tables


def test_class_names_are_used(tmp_path):
    dataset(tmp_path)
    text = (
        '{"classes": [{"name": "a", "values": [2]}, {"name": "b", "values": [0]}, {"name": "c", "values": [1]}], '
        '"ignore": [255]}'
    )
    (tmp_path / "class_names.json").write_text(text, encoding="utf-8")
    examples = load(tmp_path)
    assert examples.table == LabelTable.from_json(text)
    assert [examples.read(i)[1][1, 1] for i in range(3)] == [1, 2, 0]
    assert examples.read(0)[1][0, 0] == IGNORE


def test_class_names_from_elsewhere(tmp_path):
    dataset(tmp_path / "data")
    path = tmp_path / "names.json"
    path.write_text('["x", "y", "z"]', encoding="utf-8")
    assert load(tmp_path / "data", labels=str(path)).table.names == ("x", "y", "z")


def test_built_in_tables(tmp_path):
    dataset(tmp_path)
    (tmp_path / "class_names.json").unlink()
    assert load(tmp_path, labels="camvid").table is CAMVID


@pytest.mark.parametrize(("labels", "missing"), [("", "class_names.json"), ("camvod", "camvod")])
def test_missing_class_names(tmp_path, labels, missing):
    dataset(tmp_path)
    (tmp_path / "class_names.json").unlink()
    with pytest.raises(LabelError) as error:
        load(tmp_path, labels=labels)
    message = str(error.value)
    assert message.startswith(f"config.data.labels = {labels!r}: there is no ")
    assert f"{missing}. Name a built-in table (camvid, camvid32, camvid32_to_11)" in message
    assert 'write a class_names.json such as ["background", "road", "car"]' in message


def test_wrong_class_names_carry_their_path(tmp_path):
    dataset(tmp_path)
    (tmp_path / "class_names.json").write_text('["sky", "sky"]', encoding="utf-8")
    with pytest.raises(LabelError, match=re.escape(f"{tmp_path / 'class_names.json'}: class names repeat: sky")):
        load(tmp_path)


# ----- CamVid itself


@pytest.mark.parametrize(("split", "count"), [("train", 367), ("val", 101)])
def test_camvid(real_data, split, count):
    examples = load(real_data / "camvid", split, labels="camvid")
    assert len(examples) == count
    assert examples.bad == ()
    seen = np.zeros(256, np.int64)
    for i in range(count):
        image, label = examples.read(i)
        assert (image.shape, image.dtype) == ((360, 480, 3), np.uint8)
        assert (label.shape, label.dtype) == ((360, 480), np.uint8)
        seen += np.bincount(label.ravel(), minlength=256)
    assert set(np.flatnonzero(seen)) == {*range(11), IGNORE}
    # The order of the classes shows in their frequency: most pixels are sky, building, road or tree.
    assert set(np.argsort(seen)[-4:]) == {CAMVID.names.index(n) for n in ("sky", "building", "road", "tree")}


def test_camvid32(real_data):
    # Seven frames in one directory, masks of colours with a suffix, united into the 11 classes.
    place = real_data / "camvid32"
    fields = {"images": "701_StillsRaw_full", "masks": "LabeledApproved_full/*_L", "val_share": 0.3}
    train, val = (load(place, split, labels="camvid32_to_11", **fields) for split in ("train", "val"))
    assert (len(train), len(val), train.bad, val.bad) == (5, 2, (), ())
    assert train.table.names == CAMVID.names
    image, label = train.read(0)
    assert (image.shape, label.shape) == ((720, 960, 3), (720, 960))
    assert {*np.unique(label)} <= {*range(11), IGNORE}
    # The file of the data set itself: 32 classes.
    assert len(load(place, **fields).table) == 32
    for i in range(len(val)):
        assert (val.read(i)[1] != IGNORE).mean() > 0.95
