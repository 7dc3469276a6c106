"""What lies in a directory: photographs told from masks, and the patterns by which they find one another."""

import numpy as np
import pytest
from PIL import Image

from seg_jax.curate import kinds, layout

RNG = np.random.default_rng(0)


def photo(path, size=(24, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (*size, 3), np.uint8)).save(path)


def mask(path, size=(24, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    label = np.zeros(size, np.uint8)
    label[:, size[1] // 2 :] = 1
    Image.fromarray(label).save(path)


def found(root):
    return layout.find(root, *kinds.tell_apart(root, layout.image_files(root)))


# Photograph and mask of example i of a split -> patterns, and whether splits were found.
LAYOUTS = {
    "SegNet": ("{s}/n{i}.png", "{s}annot/n{i}.png", "{split}", "{split}annot", True),
    "images and masks": ("images/{s}/n{i}.jpg", "masks/{s}/n{i}.png", "images/{split}", "masks/{split}", True),
    "split above": ("{s}/rgb/n{i}.jpg", "{s}/gt/n{i}.png", "{split}/rgb", "{split}/gt", True),
    "suffix": ("x/{s}/n{i}.jpg", "y/{s}/n{i}_mask.png", "x/{split}", "y/{split}/*_mask", True),
    "two suffixes": ("x/{s}/n{i}_sat.jpg", "y/{s}/n{i}_gt.png", "x/{split}/*_sat", "y/{split}/*_gt", True),
    "prefixes": ("x/{s}/img_{i}.jpg", "y/{s}/label_{i}.png", "x/{split}/img_*", "y/{split}/label_*", True),
    "nested": ("x/{s}/c{i}/n.jpg", "y/{s}/c{i}/n.png", "x/{split}/**/*", "y/{split}/**/*", True),
    "nested, with a tail": ("c{i}/{s}/x/n.jpg", "c{i}/{s}/y/n.png", "**/{split}/x/*", "**/{split}/y/*", True),
    "sequences of their own": ("{s}/q{s}{i}/x/n.jpg", "{s}/q{s}{i}/y/n.png", "{split}/**/x/*", "{split}/**/y/*", True),
    "one directory, extensions": ("{s}/n{i}.jpg", "{s}/n{i}.png", "{split}/*.jpg", "{split}/*.png", True),
    "one directory, suffix": ("{s}/n{i}.png", "{s}/n{i}_L.png", "{split}/*.png", "{split}/*_L.png", True),
    "two directories": ("photos/n{s}{i}.jpg", "truth/n{s}{i}.png", "photos", "truth", False),
    "all together": ("n{s}{i}.jpg", "n{s}{i}_m.png", "*.jpg", "*_m.png", False),
    "validation alone": ("x/valley/n{s}{i}.jpg", "y/valley/n{s}{i}.png", "x/valley", "y/valley", False),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(tmp_path, name):
    image, label, images, masks, splits = LAYOUTS[name]
    for split, count in (("train", 5), ("val", 3)):
        for i in range(count):
            photo(tmp_path / image.format(s=split, i=i))
            mask(tmp_path / label.format(s=split, i=i))
    got = found(tmp_path)
    assert (got.images, got.masks) == (images, masks)
    assert {split: len(pairs) for split, pairs in got.pairs.items()} == ({"train": 5, "val": 3} if splits else {"": 8})
    expected = {
        (image.format(s=s, i=i), label.format(s=s, i=i)) for s, n in (("train", 5), ("val", 3)) for i in range(n)
    }
    pairs = [pair for part in got.pairs.values() for pair in part]
    assert {tuple(path.relative_to(tmp_path).as_posix() for path in pair) for pair in pairs} == expected


@pytest.mark.parametrize(
    "names", [("training", "validation"), ("Train", "Val"), ("train", "test"), ("trainval", "test")]
)
def test_names_of_splits(tmp_path, names):
    for split in names:
        for i in range(3):
            photo(tmp_path / "x" / split / f"{i}.jpg")
            mask(tmp_path / "y" / split / f"{i}.png")
    got = found(tmp_path)
    assert (got.images, got.masks) == ("x/{split}", "y/{split}")
    assert {split: len(pairs) for split, pairs in got.pairs.items()} == dict.fromkeys(names, 3)


def test_photographs_without_masks_beside(tmp_path):
    for i in range(4):
        photo(tmp_path / "train" / f"n{i}.jpg")
        mask(tmp_path / "trainannot" / f"n{i}.png")
        photo(tmp_path / "test" / f"n{i}.jpg")
        photo(tmp_path / "more" / f"n{i}.jpg")
    got = found(tmp_path)
    assert (got.images, got.masks, len(got)) == ("{split}", "{split}annot", 4)


def test_nothing_matches(tmp_path):
    photo(tmp_path / "a" / "x.jpg")
    mask(tmp_path / "b" / "y.png")
    assert found(tmp_path) is None
    assert layout.find(tmp_path, [], []) is None


def test_hidden_files_and_other_files_are_passed_over(tmp_path):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / ".cache" / "b.jpg")
    (tmp_path / "._a.jpg").write_bytes(b"Mac OS X")
    (tmp_path / "a.txt").write_text("")
    assert layout.image_files(tmp_path) == [tmp_path / "a.jpg"]


def test_damaged_files_do_not_decide(tmp_path):
    for i in range(5):
        photo(tmp_path / "x" / f"{i}.png")
        mask(tmp_path / "y" / f"{i}.png")
    for place in ("x", "y"):
        (tmp_path / place / "0.png").write_bytes(b"")
    photos, masks = kinds.tell_apart(tmp_path, layout.image_files(tmp_path))
    assert {p.parent.name for p in photos} == {"x"}
    assert {p.parent.name for p in masks} == {"y"}
    assert len(photos) == len(masks) == 5


@pytest.mark.parametrize(
    ("array", "extension", "told"),
    [
        (RNG.integers(0, 256, (40, 40, 3), np.uint8), "png", False),
        (RNG.integers(0, 256, (40, 40), np.uint8), "png", False),  # a grey photograph
        (np.arange(1600, dtype=np.uint8).reshape(40, 40) % 20, "png", True),
        (np.arange(1600, dtype=np.uint16).reshape(40, 40) % 20 * 1000, "png", True),
        (np.zeros((40, 40, 3), np.uint8), "png", True),
        (np.kron(np.eye(5, dtype=np.uint8), np.full((32, 32), 255, np.uint8)), "jpg", True),
        (np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8), "jpg", False),
    ],
)
def test_kinds_of_files(tmp_path, array, extension, told):
    path = tmp_path / f"a.{extension}"
    Image.fromarray(array).save(path)
    assert kinds.is_mask(path) is told


def test_peaks():
    colors = [(10, 20, 30), (200, 100, 0), (0, 255, 255)]
    mask = np.repeat(np.array(colors, np.uint8), [600, 300, 300], axis=0).reshape(30, 40, 3)
    noisy = np.clip(mask + np.rint(RNG.normal(size=mask.shape)), 0, 255).astype(np.uint8)
    assert kinds.peaks([mask])[0] == colors[0]
    assert set(kinds.peaks([mask])) == set(colors)
    assert len(kinds.peaks([noisy])) == 3
    assert kinds.peaks([RNG.integers(0, 256, (40, 40, 3), np.uint8)]) is None
    assert kinds.peaks([]) is None
