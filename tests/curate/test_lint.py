"""What is wrong with a data set: one finding for each kind of fault, with file, finding and cure."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from configs import default
from seg_jax import data
from seg_jax.curate import alignment, lint
from seg_jax.data.examples import Examples
from seg_jax.data.labels import IGNORE, LabelTable
from seg_jax.data.sources import python

RNG = np.random.default_rng(0)


def photo(size=(8, 12)):
    return RNG.integers(0, 256, (*size, 3), np.uint8)


def mask(size=(8, 12)):
    label = np.zeros(size, np.uint8)
    label[:, size[1] // 2 :] = 1
    return label


@pytest.fixture
def root(tmp_path):
    """Four good training pairs, two good validation pairs."""
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            put(tmp_path, split, f"n{i}", photo(), mask())
    (tmp_path / "class_names.json").write_text(json.dumps(["road", "car"]))
    return tmp_path


def put(root, split, name, image=None, label=None):
    for place, array in ((split, image), (f"{split}annot", label)):
        if array is not None:
            (root / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / place / f"{name}.png")


def load(root, *splits, **fields):
    config = default.get_config()
    config.data.update({"source": "folder", "dir": str(root), **fields})
    return [data.load(config, split) for split in splits or ("train", "val")]


def rows(root, *splits, **fields):
    """(kind, split, file below the root) of every finding."""
    found = lint.lint(load(root, *splits, **fields), threads=2)
    assert all(f.finding and f.cure[0].isupper() and f.cure.endswith(".") for f in found)
    return [(f.kind, f.split, f.file.removeprefix(f"{root}/")) for f in found], found


def test_nothing_is_wrong(root):
    assert rows(root) == ([], [])
    assert lint.text([], load(root)) == "0 findings and 0 notes in 4 of train, 2 of val"
    assert not lint.failed([])


def test_unknown_values(root):
    label = mask()
    label[0, :3] = 7
    put(root, "train", "n1", label=label)
    where, (finding,) = rows(root)
    assert where == [("labels", "train", "trainannot/n1.png")]
    assert finding.finding == "mask value 7 (3 pixels) is not in the label table, which knows 0-1, 255"
    assert finding.cure.startswith('Add it to a class\'s "values" or to "ignore" in class_names.json')
    assert lint.failed([finding])


def test_sizes_of_photograph_and_mask(root):
    put(root, "val", "n0", label=mask((8, 13)))
    where, (finding,) = rows(root)
    assert where == [("unusable", "val", "val/n0.png")]
    assert finding.finding == f"has 8x12 pixels (height x width) but its mask {root}/valannot/n0.png has 8x13"


def test_sizes_of_examples(root):
    put(root, "train", "n3", photo((9, 12)), mask((9, 12)))
    where, (finding,) = rows(root)
    assert where == [("sizes", "train", "train/n3.png")]
    assert finding.finding == "photographs differ in size (height x width): 3 of 8x12, 1 of 9x12"
    assert (
        finding.cure == "Set config.data.size, which brings all to one size, or config.augment.crop, which takes any."
    )
    assert rows(root, size=(8, 12)) == ([], [])


def test_unpaired_and_undecodable_files(root):
    (root / "trainannot" / "n0.png").unlink()
    (root / "train" / "n1.png").write_bytes(b"no image")
    (root / "val" / "n0.png").write_bytes((root / "val" / "n0.png").read_bytes()[:100])
    where, found = rows(root)
    assert where == [
        ("unpaired", "train", "train/n0.png"),
        ("unusable", "train", "train/n1.png"),
        ("unusable", "val", "val/n0.png"),
    ]
    assert found[0].finding == f"has no mask {root}/trainannot/n0.png"
    assert found[0].cure.startswith("Add it, or set --config.data.missing_mask=background if the photograph")
    assert found[1].finding.startswith("is not an image that can be decoded")
    assert found[1].cure == "Replace or remove it."


def test_empty_masks(root):
    put(root, "train", "n0", label=np.full((8, 12), IGNORE, np.uint8))
    label = np.zeros((8, 12), np.uint8)
    label[0] = IGNORE
    put(root, "val", "n1", label=label)
    where, (empty, single, alone) = rows(root)
    assert where == [
        ("all ignored", "train", "trainannot/n0.png"),
        ("one class", "val", "valannot/n1.png"),
        ("ignored alone", "val", "valannot/n1.png"),
    ]
    assert alone.finding.startswith("the values are 0, 255, of which 255 is ignored, the only one beside a class in 1")
    assert single.finding == "the only class is 'road', 87.5% of the pixels"
    assert lint.failed([empty])
    assert not lint.failed([single])  # which may be as it should be


# ----- what the values mean


def test_a_class_that_is_ignored(root):
    """Two names beside masks of 0 and 255."""
    for split, n in (("train", 4), ("val", 2)):
        for i in range(n):
            put(root, split, f"n{i}", label=mask() * 255)
    where, found = rows(root)
    assert [row for row in where if row[0] not in ("one class", "class missing")] == [
        ("ignored alone", "train", "trainannot/n0.png"),
        ("class ignored", "train", "train"),
    ]
    (hidden,) = (f for f in found if f.kind == "class ignored")
    assert hidden.finding == "no split has a pixel of 'car', while 50.0% of the pixels are ignored (255)"
    assert lint.failed([hidden])
    names = {"classes": [{"name": "road", "values": [0]}, {"name": "car", "values": [255]}], "ignore": []}
    (root / "class_names.json").write_text(json.dumps(names))  # what the cure says
    assert rows(root) == ([], [])


def test_masks_of_two_scales(root):
    for i in (1, 3):
        put(root, "train", f"n{i}", label=mask() * 255)
    where, found = rows(root)
    assert [row for row in where if row[0] != "one class"] == [("ignored alone", "train", "trainannot/n1.png")]
    assert f"in 2 files, while {root}/trainannot/n0.png has the values 0, 1" in found[-1].finding


def test_ignored_borders_of_most_files_are_no_finding(root):
    for i in range(4):
        label = mask()
        label[:, :2] = IGNORE
        put(root, "train", f"n{i}", label=label)
    where, _ = rows(root)
    assert where == []
    put(root, "train", "n3", label=np.where(mask(), IGNORE, 0).astype(np.uint8))
    assert [row[0] for row in rows(root)[0]] == ["one class", "ignored alone"]
    for i in range(4, 7):
        put(root, "train", f"n{i}", photo(), label)
    assert [row[0] for row in rows(root)[0]] == ["one class"]  # beside several classes in six files, alone in one


@pytest.mark.parametrize("source", ["arrays", "python"])
def test_values_in_arrays_mean_what_they_do_in_files(tmp_path, source):
    images, labels = np.stack([photo() for _ in range(4)]), np.stack([mask() * (255 if i % 2 else 1) for i in range(4)])
    if source == "arrays":
        np.savez(tmp_path / "train.npz", images=images, labels=labels)
        (tmp_path / "class_names.json").write_text(json.dumps(["road", "car"]))
        splits = load(tmp_path, "train", source="arrays")
    else:
        splits = [python.examples((images, labels), "train", LabelTable(names=("road", "car")))]
    found = lint.lint(splits, threads=1)
    assert [(f.kind, f.file) for f in found if f.kind in lint.CURES] == [("ignored alone", "train[1]")]


def test_blended_values(root):
    """A table that gives classes to the grey borders of resized masks."""
    values = [0, 40, 90, 130, 255]
    for i in range(4):
        label = np.zeros((24, 36), np.uint8)
        label[:, 10 + i :] = 255
        label[:, 10 + i : 13 + i] = (40, 90, 130)
        put(root, "train", f"n{i}", photo((24, 36)), label)
    names = [{"name": f"class {v}", "values": [v]} for v in values]
    (root / "class_names.json").write_text(json.dumps({"classes": names, "ignore": []}))
    (finding,) = lint.lint(load(root, "train"), threads=1)
    assert finding.kind == "blended"
    assert re.match(r"40, 90, 130 \(8\.33% of the pixels\) occur only between others", finding.finding)
    two = [{"name": "road", "color_values": [[0, 0, 0]]}, {"name": "car", "color_values": [[255, 255, 255]]}]
    (root / "class_names.json").write_text(json.dumps({"classes": two}))
    assert lint.lint(load(root, "train", mask_format="nearest"), threads=1) == []


def indexed(values, colors):
    image = Image.fromarray(values).convert("P")
    image.putdata(values.reshape(-1).tolist())
    image.putpalette(np.asarray(colors, np.uint8).reshape(-1).tolist())
    return image


def test_palettes_that_differ(root):
    red, blue = [(0, 0, 0), (200, 0, 0)], [(0, 0, 0), (0, 0, 200)]
    for i, colors in enumerate((red, red, blue, red)):
        indexed(mask(), colors).save(root / "trainannot" / f"n{i}.png")
    where, (finding,) = rows(root, "train")
    assert where == [("meaning", "train", "trainannot/n2.png")]
    assert f"of {root}/trainannot/n0.png show a value in different colours" in finding.finding
    assert rows(root, "train", mask_format="index") == ([], [])  # for somebody who knows that values count


def test_palettes_beside_plain_values(root):
    indexed(mask(), [(0, 0, 0), (200, 0, 0)]).save(root / "trainannot" / "n2.png")
    where, (finding,) = rows(root, "train")
    assert where == [("meaning", "train", "trainannot/n0.png")]
    assert f"{root}/trainannot/n2.png a palette of colours" in finding.finding


@pytest.mark.parametrize("record", [True, False])
def test_predictions_as_labels(root, record):
    """What python -m seg_jax.predict wrote: told by its record, or by the three pictures that it writes by default."""
    for i in range(4):
        label = mask()
        kinds = {"mask": label} if record else {"mask": label, "color": photo(), "overlay": photo()}
        for kind, array in kinds.items():
            (root / "out").mkdir(exist_ok=True)
            Image.fromarray(array).save(root / "out" / f"n{i}_{kind}.png")
    if record:
        (root / "out" / "predictions.jsonl").write_text("{}\n")
    where, (finding,) = rows(root, "train", images="train/*.png", masks="out/*_mask.png")
    assert where == [("predictions", "train", "train")]
    assert finding.finding.startswith("4 masks, such as n0_mask.png, were written by python -m seg_jax.predict")
    assert lint.failed([finding])


def test_masks_that_are_named_like_predictions_are_none(root):
    (root / "trainannot").rename(root / "out")
    for path in sorted((root / "out").iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    assert rows(root, "train", images="train/*.png", masks="out/*_mask.png") == ([], [])


# ----- how masks fit their photographs


def disc(i, size=(60, 60)):
    """A photograph of a bright disc, not in the middle, and its mask."""
    y, x = np.mgrid[: size[0], : size[1]]
    label = (np.hypot(y - 12 - i, x - 37 - i % 2) < 9).astype(np.uint8)
    noise = RNG.integers(0, 20, (*size, 3))
    return (60 + 120 * label[..., None] + noise).astype(np.uint8), label


@pytest.mark.parametrize("pose", [name for name in alignment.POSES if name != "as they are"])
def test_masks_in_another_pose(root, pose):
    for i in range(6):
        image, label = disc(i)
        # A mask is stored in the pose that the named one undoes.
        undone = next(p for p in alignment.POSES.values() if (alignment.POSES[pose](p(label)) == label).all())
        put(root, "train", f"n{i}", image, np.ascontiguousarray(undone(label)))
    where, found = rows(root, "train")
    assert where == [("pose", "train", "train/n0.png")]
    assert re.match(rf"6 of 6 masks fit their photographs \d+\.\d times better {pose} \(", found[0].finding)


def test_masks_that_fit(root):
    for i in range(6):
        put(root, "train", f"n{i}", *disc(i))
    assert rows(root, "train") == ([], [])
    image, label = disc(2)
    put(root, "train", "n2", image, np.ascontiguousarray(label.T))  # one of six is no evidence of a habit
    assert rows(root, "train") == ([], [])


@pytest.mark.parametrize("tag", alignment.UPRIGHT)
def test_photographs_that_exif_turns(root, tag):
    """A square photograph whose mask was drawn on the pixels as they are stored."""
    for i in range(4):
        put(root, "train", f"n{i}", *disc(i))
    image, label = disc(5)
    exif = Image.Exif()
    exif[0x0112] = tag
    (root / "train" / "n3.png").unlink()
    Image.fromarray(image).save(root / "train" / "n3.jpg", quality=95, exif=exif)
    put(root, "train", "n3", label=label)
    where, (finding,) = rows(root, "train")
    assert where == [("orientation", "train", "train/n3.jpg")]
    assert finding.finding.startswith(f"is turned by EXIF (orientation {tag}), and its mask ")
    assert finding.cure.startswith("Say which is meant with --config.data.exif: turn_both (")
    where, (finding,) = rows(root, "train", exif="turn_image")  # and the edges under its borders say otherwise
    assert where == [("orientation", "train", "train/n3.jpg")]
    assert f"(orientation {tag}), and its mask fits" in finding.finding
    assert rows(root, "train", exif="turn_both") == rows(root, "train", exif="ignore") == ([], [])
    Image.fromarray(label).save(root / "trainannot" / "n3.png", exif=exif)  # turned as the photograph is
    assert rows(root, "train") == ([], [])


def test_classes_that_occur_nowhere(root):
    (root / "class_names.json").write_text(json.dumps(["road", "car", "tree"]))
    for i in range(2):
        put(root, "val", f"n{i}", label=mask() * 0)
    where, found = rows(root)
    assert [row for row in where if row[0] == "class missing"] == [
        ("class missing", "train", "train"),
        ("class missing", "val", "val"),
        ("class missing", "val", "val"),
    ]
    assert [f.finding for f in found[-3:]] == [
        "no pixel of the class 'tree'",
        "no pixel of the class 'car', which occurs in train",
        "no pixel of the class 'tree'",
    ]
    assert not lint.failed(found)


def test_constant_photographs(root):
    put(root, "train", "n2", image=np.full((8, 12, 3), 9, np.uint8))
    assert rows(root)[0] == [("constant", "train", "train/n2.png")]


def test_copies(root):
    image, label = photo(), mask()
    other = label.copy()
    other[0, 0] = 1
    put(root, "train", "n0", image, label)
    put(root, "train", "n1", image, label)  # the same
    put(root, "train", "n2", image, other)  # another truth
    put(root, "val", "n0", image, label)  # in both splits
    put(root, "val", "n1", image, other)  # both
    where, found = rows(root)
    assert where == [
        ("duplicate", "train", "train/n1.png"),
        ("contradiction", "train", "trainannot/n2.png"),
        ("leakage", "val", "val/n0.png"),
        ("leakage", "val", "val/n1.png"),
        ("contradiction", "val", "valannot/n1.png"),
    ]
    assert found[2].finding == f"the same photograph as {root}/train/n0.png of the split 'train'"
    assert lint.failed(found)


def test_copies_are_found_by_content(root):
    # Another file format, another name: the pixels count.
    Image.open(root / "train" / "n0.png").save(root / "val" / "copy.bmp")
    Image.fromarray(mask()).save(root / "valannot" / "copy.png")
    assert rows(root)[0] == [("leakage", "val", "val/copy.bmp")]


def test_examples_of_one_file_are_told_apart():
    images = np.stack([photo(), np.zeros((8, 12, 3), np.uint8)])
    examples = Examples(
        split="train",
        names=("train[0]", "train[1]"),
        read=lambda i: (images[i], mask()),
        table=LabelTable(names=("road", "car")),
        files=(("all.npz",), ("all.npz",)),
    )
    assert [(f.kind, f.file) for f in lint.lint([examples], threads=1)] == [("constant", "train[1]")]


def test_text_and_json(root):
    put(root, "train", "n0", label=np.full((8, 12), IGNORE, np.uint8))
    put(root, "train", "n1", label=np.zeros((8, 12), np.uint8))
    splits = load(root)
    found = lint.lint(splits, threads=1)
    text = lint.text(found, splits)
    assert text.splitlines()[:3] == [
        f"all ignored  train  {root}/trainannot/n0.png",
        "    every pixel is ignored",
        "    Label it, or remove it: nothing can be learned from it.",
    ]
    assert text.splitlines()[-1] == "1 findings and 1 notes in 4 of train, 2 of val"
    content = json.loads(lint.to_json(found, splits))
    assert content["examples"] == {"train": 4, "val": 2}
    (finding,), (note,) = content["findings"], content["notes"]
    assert finding["file"] == f"{root}/trainannot/n0.png"
    assert (set(finding), note["kind"]) == ({"kind", "split", "file", "finding", "cure"}, "one class")


def test_long_lists_are_cut(root):
    for i in range(30):
        put(root, "train", f"x{i}", photo(), np.zeros((8, 12), np.uint8))
    splits = load(root, "train")
    found = lint.lint(splits, threads=2)
    lines = lint.text(found, splits).splitlines()
    assert len(lines) == 3 * lint.MAX_SHOWN + 2
    assert lines[-2] == "one class  ... and 10 more; --json=FILE has them all"
    assert len(json.loads(lint.to_json(found, splits))["notes"]) == 30


def test_camvid(real_data):
    splits = load(real_data / "camvid", "val", labels="camvid")
    assert lint.lint(splits, threads=2) == []
