"""From a directory to a configuration: what is recognised, and that the file that is written trains on it."""

import json

import numpy as np
import pytest
from PIL import Image

from configs import default
from seg_jax import data
from seg_jax.config import flatten
from seg_jax.curate import propose
from seg_jax.curate.__main__ import configuration
from seg_jax.data.images import DataError
from seg_jax.data.labels.cityscapes import LABELS
from seg_jax.run import program

# How ml_collections loads a configuration file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

RNG = np.random.default_rng(0)


def put(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path)


def photo(size=(24, 32)):
    return RNG.integers(0, 256, (*size, 3), np.uint8)


def mask(size=(24, 32), values=(0, 1)):
    return np.repeat(np.array(values, np.uint8), size[1] // len(values))[None].repeat(size[0], axis=0)


def pairs(root, images, masks, *, size=(24, 32), values=(0, 1), splits=(("train", 5), ("val", 2))):
    for split, count in splits:
        for i in range(count):
            put(root / images.format(s=split, i=i), photo(size))
            put(root / masks.format(s=split, i=i), mask(size, values))
    return root


def written(root, out):
    """The configuration that is proposed for a directory, read back, checked as by training."""
    proposal = propose.propose(root)
    propose.write(proposal, out)
    config = configuration([f"--config={out}"])
    program.check(config, devices=1)
    assert {key: flatten(config)[key] for key in proposal.fields} == dict(proposal.fields)
    return config, proposal


def counts(config):
    return [len(data.load(config, split)) for split in (config.data.train_split, config.data.val_split)]


def assert_readable(config):
    for split in (config.data.train_split, config.data.val_split):
        examples = data.load(config, split)
        assert not examples.bad
        for i in range(len(examples)):
            examples.read(i)


# ----- two directories


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{s}/{i}.png", "{s}annot/{i}.png"),
        ("images/{s}/{i}.jpg", "masks/{s}/{i}_mask.png"),
        ("{s}/{i}.jpg", "{s}/{i}.png"),
        ("{s}/{i}.png", "{s}/{i}_L.png"),
        ("x/{s}/{i}/photo.jpg", "x/{s}/{i}/truth.png"),
        ("a/{s}/c{i}/{i}.jpg", "b/{s}/c{i}/{i}.png"),
    ],
)
def test_splits(tmp_path, images, masks):
    root = pairs(tmp_path / "d", images, masks)
    config, proposal = written(root, tmp_path / "my.py")
    assert counts(config) == [5, 2]
    assert_readable(config)
    assert proposal.table.names == ("background", "foreground")
    assert (tmp_path / "my_class_names.json").is_file()


def test_two_directories(tmp_path):
    root = pairs(tmp_path / "d", "photos/{s}{i}.jpg", "truth/{s}{i}.png", splits=(("a", 20),), values=(0, 255))
    config, proposal = written(root, tmp_path / "my.py")
    assert counts(config) == [18, 2]
    assert_readable(config)
    assert proposal.table.values == ((0,), (255,))
    assert "a tenth of them is held out" in proposal.summary
    assert "255 is a class" in proposal.summary


def test_training_split_alone(tmp_path):
    root = pairs(tmp_path / "d", "x/{s}/{i}.jpg", "y/{s}/{i}.png", splits=(("train", 10),))
    config, _ = written(root, tmp_path / "my.py")
    assert (config.data.images, config.data.val_share, counts(config)) == ("x/train", 0.1, [9, 1])


def test_test_split_without_masks(tmp_path):
    root = pairs(tmp_path / "d", "x/{s}/{i}.jpg", "y/{s}/{i}.png")
    put(root / "x" / "test" / "0.jpg", photo())
    config, proposal = written(root, tmp_path / "my.py")
    assert counts(config) == [5, 2]
    assert "1 other image files are not used" in proposal.summary


def test_names_of_classes_that_are_there(tmp_path):
    root = pairs(tmp_path / "d", "{s}/{i}.png", "{s}annot/{i}.png")
    (root / "class_names.json").write_text(json.dumps(["road", "car"]))
    config, proposal = written(root, tmp_path / "my.py")
    assert proposal.table is None
    assert not (tmp_path / "my_class_names.json").exists()
    assert data.load(config, "train").table.names == ("road", "car")


def test_colour_masks_with_their_table(tmp_path):
    root = tmp_path / "d"
    colors = np.array([(200, 0, 0), (0, 0, 200)], np.uint8)
    for i in range(6):
        put(root / "images" / f"{i}.jpg", photo())
        put(root / "labels" / f"{i}_L.png", colors[mask()])
    (root / "label_colors.txt").write_text("200 0 0\troad\n0 0 200\tcar")
    config, _ = written(root, tmp_path / "my.py")
    assert (config.data.mask_format, data.load(config, "train").table.names) == ("auto", ("road", "car"))
    assert_readable(config)


def test_sizes_that_differ(tmp_path):
    root = pairs(tmp_path / "d", "{s}/{i}.png", "{s}annot/{i}.png", size=(60, 90))
    pairs(root, "{s}/x{i}.png", "{s}annot/x{i}.png", size=(70, 104))
    pairs(root, "{s}/y{i}.png", "{s}annot/y{i}.png", size=(1000, 2000), splits=(("train", 1),))
    config, proposal = written(root, tmp_path / "my.py")
    assert tuple(config.data.size) == (64, 96)  # the median, in multiples of 32
    assert "photographs of 3 sizes" in proposal.summary
    assert data.load(config, "train").read(0)[0].shape == (64, 96, 3)


# ----- what its names give away


def test_pets(tmp_path):
    root = tmp_path / "pets"
    for i in range(4):
        put(root / "images" / f"cat_{i}.jpg", photo())
        put(root / "annotations" / "trimaps" / f"cat_{i}.png", mask(values=(1, 2)))
    for name in ("trainval", "test"):
        (root / "annotations" / f"{name}.txt").write_text("".join(f"cat_{i} 1 1 1\n" for i in range(4)))
    config, proposal = written(root, tmp_path / "my.py")
    assert (config.data.source, counts(config), proposal.table) == ("pets", [3, 1], None)


def test_cityscapes(tmp_path):
    root = tmp_path / "c"
    for split in ("train", "val"):
        name = f"{split}/aachen/aachen_000000_000019"
        put(root / "leftImg8bit" / f"{name}_leftImg8bit.png", photo())
        put(root / "gtFine" / f"{name}_gtFine_labelIds.png", mask(values=(7, 8)))
    config, _ = written(root, tmp_path / "my.py")
    assert (config.data.source, config.data.cityscapes.coarse, counts(config)) == ("cityscapes", False, [1, 1])


def test_side_by_side(tmp_path):
    root = tmp_path / "p"
    color = {x.name: x.color for x in LABELS}
    colors = np.array([color["road"], color["sky"], color["car"], color["building"]], np.uint8)
    for split in ("train", "val"):
        for i in range(2):
            right = colors[mask((64, 64), (0, 1, 2, 3))]
            put(root / split / f"{i}.jpg", np.concatenate([photo((64, 64)), right], axis=1))
    config, _ = written(root, tmp_path / "my.py")
    assert (config.data.source, counts(config)) == ("pairs", [2, 2])
    assert_readable(config)


def test_arrays(tmp_path):
    root = tmp_path / "a"
    root.mkdir()
    for split in ("train", "test"):
        np.savez(root / f"{split}.npz", images=np.stack([photo()] * 2), labels=np.stack([mask()] * 2))
    with pytest.raises(DataError, match=r"arrays \(test, train\) without the names of their classes"):
        propose.propose(root)
    (root / "class_names.json").write_text(json.dumps(["a", "b"]))
    config, _ = written(root, tmp_path / "my.py")
    assert (config.data.source, config.data.val_split, counts(config)) == ("arrays", "test", [2, 2])


def test_lists(tmp_path):
    root = pairs(tmp_path / "d", "all/{s}{i}.jpg", "truth/{s}{i}.png", splits=(("x", 9),))
    for split, rows in (("train", range(6)), ("val", range(6, 9))):
        (root / f"{split}.txt").write_text("".join(f"/old/all/x{i}.jpg /old/truth/x{i}.png\n" for i in rows))
    (root / "README.txt").write_text("photographs and masks\n")
    config, _ = written(root, tmp_path / "my.py")
    assert (config.data.list, counts(config)) == ("{split}.txt", [6, 3])
    assert_readable(config)


# ----- what cannot be done


def test_nothing_to_recognise(tmp_path):
    with pytest.raises(DataError, match="is not a directory"):
        propose.propose(tmp_path / "nowhere")
    with pytest.raises(DataError, match="of 0 image files 0 look like photographs and 0 like masks"):
        propose.propose(tmp_path)
    put(tmp_path / "a" / "x.png", photo())
    put(tmp_path / "b" / "y.png", mask())
    with pytest.raises(DataError, match=r"of 2 image files 1 look like .* 1 like masks \(such as y.png\)"):
        propose.propose(tmp_path)


def test_nothing_is_overwritten(tmp_path):
    proposal = propose.propose(pairs(tmp_path / "d", "{s}/{i}.png", "{s}annot/{i}.png"))
    with pytest.raises(DataError, match=r"Use --out=.*my\.py"):
        propose.write(proposal, tmp_path / "my.txt")
    assert not (tmp_path / "my_class_names.json").exists()
    propose.write(proposal, tmp_path / "my.py")
    before = (tmp_path / "my.py").read_text()
    with pytest.raises(DataError, match=r"my\.py exists already"):
        propose.write(proposal, tmp_path / "my.py")
    assert (tmp_path / "my.py").read_text() == before
    (tmp_path / "my.py").unlink()
    with pytest.raises(DataError, match=r"my_class_names\.json exists already"):
        propose.write(proposal, tmp_path / "my.py")
    propose.write(proposal, tmp_path / "other.py")  # another data set beside it has a table of its own
    assert (tmp_path / "other_class_names.json").is_file()


def test_strange_names_of_directories(tmp_path):
    root = pairs(tmp_path / 'a "b" \\ c\'', "{s}/{i}.png", "{s}annot/{i}.png")
    config, _ = written(root, tmp_path / "my config.py")
    assert counts(config) == [5, 2]


def test_braces_in_names(tmp_path):
    root = pairs(tmp_path / "d", "{{x}}/{s}/{i}.png", "{{}}/{s}annot/{i}.png")
    config, _ = written(root, tmp_path / "my.py")
    assert counts(config) == [5, 2]
    assert_readable(config)


@pytest.mark.parametrize("content", ["{", "[]", '{"splits": [{"num": 1}]}', '{"splits": []}', "{}"])
def test_a_damaged_description_of_tfds(tmp_path, content):
    (tmp_path / "a" / "1.0").mkdir(parents=True)
    for name in ("dataset_info.json", "features.json"):
        (tmp_path / "a" / "1.0" / name).write_text(content)
    with pytest.raises(DataError, match=r"dataset_info\.json.*; prepare the data set again\."):
        propose.propose(tmp_path)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"Name the directory that contains the photographs and masks\."):
        propose.propose(tmp_path)
    put(tmp_path / "x.png", photo())
    with pytest.raises(DataError, match="Add the masks, an image of class indices for each photograph"):
        propose.propose(tmp_path)
    put(tmp_path / "x.png", mask())
    with pytest.raises(DataError, match="Add the photographs of these masks"):
        propose.propose(tmp_path)


def test_fields_are_those_of_the_defaults(tmp_path):
    known = flatten(default.get_config())
    proposal = propose.propose(pairs(tmp_path, "{s}/{i}.png", "{s}annot/{i}.png"))
    assert set(proposal.fields) <= set(known)


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("camvid", "folder", [367, 101]),
        ("camvid32", "folder", [6, 1]),
        ("cityscapes", "cityscapes", [3, 1]),
        ("cityscapes_pairs", "pairs", [3, 1]),
        ("pets", "pets", [135, 15]),
    ],
)
def test_real_data(real_data, tmp_path, name, source, expected):
    config, proposal = written(real_data / name, tmp_path / "my.py")
    assert (config.data.source, counts(config), proposal.table) == (source, expected, None)
    assert config.data.labels == ("camvid" if name == "camvid" else "")
    data.load(config, config.data.train_split).read(0)
