"""Oxford-IIIT Pets from the official archives: splits, what the border means, and what is wrong with files."""

import re

import numpy as np
import pytest
from PIL import Image

from configs import default
from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelError

N = 20
PET, BACKGROUND, BORDER = 1, 2, 3
TRIMAP = np.array([[PET, PET, BORDER], [BORDER, BACKGROUND, BACKGROUND]], np.uint8).repeat(2, 0).repeat(2, 1)  # [4 6]
HEADER = "#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37 Class ids\n"


def photo(i):
    return np.full((4, 6, 3), 10 * i, np.uint8)


@pytest.fixture
def root(tmp_path):
    """20 listed under trainval, 5 under test; the other files of the archives are beside them."""
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations" / "trimaps").mkdir(parents=True)
    for i in range(N + 5):
        Image.fromarray(photo(i)).save(tmp_path / "images" / f"cat_{i}.jpg", quality=100)
        Image.fromarray(TRIMAP).save(tmp_path / "annotations" / "trimaps" / f"cat_{i}.png")
        (tmp_path / "annotations" / "trimaps" / f"._cat_{i}.png").write_bytes(b"Mac OS X")
    Image.fromarray(photo(0)).save(tmp_path / "images" / "unlisted_1.jpg")
    (tmp_path / "images" / "cat_1.mat").write_bytes(b"MATLAB")
    lines = [f"cat_{i} 1 1 1\n" for i in range(N + 5)]
    (tmp_path / "annotations" / "trainval.txt").write_text(HEADER + "".join(lines[:N]))
    (tmp_path / "annotations" / "test.txt").write_text(HEADER + "\n" + "".join(lines[N:]))
    (tmp_path / "annotations" / "list.txt").write_text("".join(lines))
    return tmp_path


def load(root, split="trainval", *, seed=0, **fields):
    config = default.get_config()
    config.seed = seed
    config.data.update({"source": "pets", "dir": str(root), "size": (4, 6)})
    config.update_from_flattened_dict({f"data.{key.replace('__', '.')}": value for key, value in fields.items()})
    return data.load(config, split)


# ----- splits


def test_official_splits(root):
    assert load(root, "trainval").names == tuple(f"cat_{i}" for i in range(N))
    examples = load(root, "test")
    assert examples.names == tuple(f"cat_{i}" for i in range(N, N + 5))
    assert examples.bad == ()
    assert examples.files[0] == (root / "images" / "cat_20.jpg", root / "annotations" / "trimaps" / "cat_20.png")


@pytest.mark.parametrize(("share", "count"), [(0.1, 2), (0.25, 5), (0.001, 1), (0.999, N - 1)])
def test_a_part_of_trainval_validates(root, share, count):
    train, val = (load(root, split, pets__val_share=share).names for split in ("train", "val"))
    assert len(val) == count
    assert not set(train) & set(val)
    whole = load(root, "trainval").names
    assert sorted(train + val, key=whole.index) == list(whole)
    for part in (train, val):  # in the order of the list
        assert list(part) == sorted(part, key=whole.index)


def test_the_part_depends_on_the_seed_alone(root):
    parts = [load(root, "val", seed=seed, pets__val_share=0.25).names for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


def test_no_validation_part(root):
    assert load(root, "train", pets__val_share=0.0).names == load(root, "trainval").names
    with pytest.raises(ConfigError, match=r"config.data.pets.val_share = 0.0: the split 'val' .* --config.data.val_sp"):
        load(root, "val", pets__val_share=0.0)


def test_unknown_split(root):
    with pytest.raises(ConfigError, match=r"config.data.val_split = 'vall' is not one of: test, .*'val'\?"):
        load(root, "vall", val_split="vall")


# ----- the border


@pytest.mark.parametrize(
    ("border", "names", "pet", "background", "edge"),
    [
        ("class", ("pet", "background", "border"), 0, 1, 2),
        ("pet", ("background", "pet"), 1, 0, 1),
        ("background", ("background", "pet"), 1, 0, 0),
        ("ignore", ("background", "pet"), 1, 0, IGNORE),
    ],
)
def test_what_the_border_is(root, border, names, pet, background, edge):
    examples = load(root, pets__border=border)
    assert examples.table.names == names
    image, label = examples.read(3)
    np.testing.assert_allclose(image, photo(3), atol=1)
    for value, meaning in ((PET, pet), (BACKGROUND, background), (BORDER, edge)):
        assert (label[value == TRIMAP] == meaning).all()


def test_unknown_choice_for_the_border(root):
    with pytest.raises(ConfigError, match=r"config.data.pets.border = 'pett' is not one of: .*'pet'\?"):
        load(root, pets__border="pett")


@pytest.mark.parametrize("value", [0, 4, 255])
def test_other_values_are_named(root, value):
    trimap = TRIMAP.copy()
    trimap[0, 0] = value
    path = root / "annotations" / "trimaps" / "cat_2.png"
    Image.fromarray(trimap).save(path)
    with pytest.raises(LabelError, match=re.escape(f"{path}: mask value {value} (1 pixels) is not in the label table")):
        load(root).read(2)


# ----- files


def test_sizes_are_brought_to_one(root):
    Image.fromarray(np.zeros((9, 7, 3), np.uint8)).save(root / "images" / "cat_0.jpg")
    Image.fromarray(np.full((9, 7), PET, np.uint8)).save(root / "annotations" / "trimaps" / "cat_0.png")
    examples = load(root, size=(8, 12))
    assert [examples.read(i)[0].shape for i in (0, 1)] == [(8, 12, 3)] * 2
    assert load(root, size=(0, 0)).read(0)[0].shape == (9, 7, 3)


@pytest.mark.parametrize("kind", ["png", "gif", "cmyk", "grey", "palette"])
def test_photographs_that_are_no_plain_jpeg(root, kind):
    # Some of the official .jpg files are PNG or GIF; others are grey or CMYK.
    image = Image.fromarray(np.full((4, 6, 3), 102, np.uint8))  # a grey of the GIF palette
    mode, form = {"cmyk": ("CMYK", "JPEG"), "grey": ("L", "JPEG"), "gif": ("P", "GIF")}.get(kind, ("RGB", "PNG"))
    if kind == "palette":
        mode = "P"
    image.convert(mode).save(root / "images" / "cat_1.jpg", format=form)
    image, label = load(root).read(1)
    np.testing.assert_allclose(image, 102, atol=2)
    assert (image.shape, image.dtype, label.shape) == ((4, 6, 3), np.uint8, (4, 6))


def test_missing_files_are_reported(root):
    photo, trimap = root / "images" / "cat_1.jpg", root / "annotations" / "trimaps" / "cat_4.png"
    photo.unlink()
    trimap.unlink()
    examples = load(root)
    assert len(examples) == N - 2
    assert [(bad.name, bad.why) for bad in examples.bad] == [
        ("cat_1", f"is listed, but there is no {photo}"),
        ("cat_4", f"is listed, but there is no {trimap}"),
    ]


@pytest.mark.parametrize("part", ["images", "annotations/trimaps"])
def test_archives_that_are_not_unpacked(root, part):
    (root / part).rename(root / "elsewhere")
    with pytest.raises(DataError, match=re.escape(f"{root / part} is not a directory. Unpack images.tar.gz and anno")):
        load(root)


def test_missing_and_empty_lists(root):
    path = root / "annotations" / "trainval.txt"
    path.write_text(HEADER)
    with pytest.raises(DataError, match=re.escape(f"{path} lists no photographs")):
        load(root)
    path.unlink()
    with pytest.raises(DataError, match=re.escape(f"there is no list {path}")):
        load(root)


# ----- the photographs themselves


def test_pets(real_data):
    root = real_data / "pets"
    assert [len(load(root, split)) for split in ("trainval", "train", "val", "test")] == [150, 135, 15, 30]
    share = np.zeros(3)
    for split in ("trainval", "test"):
        examples = load(root, split, size=(64, 64))
        assert examples.bad == ()
        for i in range(len(examples)):
            image, label = examples.read(i)
            assert image.shape == (64, 64, 3)
            share += np.bincount(label.ravel(), minlength=3)
    # Background is the most, the border the least: what the authors report, too.
    assert share.argsort().tolist() == [2, 0, 1]
    assert share[1] > 0.5 * share.sum()
