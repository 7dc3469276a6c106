"""What is wrong with a data set: one finding for each kind of fault, with file, finding and cure."""

import json

import numpy as np
import pytest
from PIL import Image

from configs import default
from seg_jax import data
from seg_jax.curate import lint
from seg_jax.data.examples import Examples
from seg_jax.data.labels import IGNORE, LabelTable

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
    assert finding.cure == "Set config.data.size, which brings all to one size."
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
    assert found[0].cure == "Add the file that is missing, or remove this one."
    assert (found[1].finding, found[1].cure) == ("is not an image that can be decoded", "Replace or remove it.")


def test_empty_masks(root):
    put(root, "train", "n0", label=np.full((8, 12), IGNORE, np.uint8))
    label = np.zeros((8, 12), np.uint8)
    label[0] = IGNORE
    put(root, "val", "n1", label=label)
    where, (empty, single) = rows(root)
    assert where == [("all ignored", "train", "trainannot/n0.png"), ("one class", "val", "valannot/n1.png")]
    assert single.finding == "the only class is 'road', 87.5% of the pixels"
    assert lint.failed([empty])
    assert not lint.failed([single])  # which may be as it should be


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
