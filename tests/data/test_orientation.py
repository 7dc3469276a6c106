"""EXIF's orientation: a photograph and its mask are never turned against each other."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from configs import default
from seg_jax import data
from seg_jax.curate import formats
from seg_jax.data import checking
from seg_jax.data.images import DataError, Encoded, read_photograph
from seg_jax.data.labels import LabelTable
from seg_jax.data.labels.masks import MaskReader
from seg_jax.data.orientation import OrientationError, read_pair, turned

READER = MaskReader(LabelTable(names=("a", "b", "c")))
TAGS = range(1, 9)

# What viewers show of [[0 1 2] [1 2 2]] stored with each orientation, by hand (TIFF 6.0, tag 274).
STORED = np.array([[0, 1, 2], [1, 2, 2]], np.uint8)
SHOWN = {
    1: [[0, 1, 2], [1, 2, 2]],
    2: [[2, 1, 0], [2, 2, 1]],
    3: [[2, 2, 1], [2, 1, 0]],
    4: [[1, 2, 2], [0, 1, 2]],
    5: [[0, 1], [1, 2], [2, 2]],
    6: [[1, 0], [2, 1], [2, 2]],
    7: [[2, 2], [2, 1], [1, 0]],
    8: [[2, 2], [1, 2], [0, 1]],
}


def encoded(pixels, name="a.png", tag=None):
    """A file whose photograph has the class ids of its mask in each channel."""
    buffer, exif = io.BytesIO(), Image.Exif()
    if tag is not None:
        exif[0x0112] = tag
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    return Encoded(buffer.getvalue(), name)


def pair(photo, mask, tag, *, own=None, exif="by_size"):
    image, label = read_pair(encoded(photo, "p.png", tag), encoded(mask, "m.png", own), READER, exif=exif)
    return image[..., 0], label


@pytest.mark.parametrize("tag", TAGS)
def test_stored_pixels_come_upright(tag):
    np.testing.assert_array_equal(turned(STORED, tag), SHOWN[tag])
    np.testing.assert_array_equal(read_photograph(encoded(STORED, tag=tag)).pixels[..., 0], SHOWN[tag])


@pytest.mark.parametrize("tag", [5, 6, 7, 8])
@pytest.mark.parametrize("drawn", ["stored", "turned"])
@pytest.mark.parametrize("exif", ["by_size", "turn_both", "turn_image"])
def test_the_size_of_a_mask_tells(tag, drawn, exif):
    """Also where the field says what to do with masks that fit both ways: this one does not."""
    mask = STORED if drawn == "stored" else np.array(SHOWN[tag], np.uint8)
    image, label = pair(STORED, mask, tag, exif=exif)
    np.testing.assert_array_equal(image, SHOWN[tag])
    np.testing.assert_array_equal(label, SHOWN[tag])


@pytest.mark.parametrize("tag", [2, 3, 4])
def test_mirrored_and_upside_down_fit_both_ways(tag):
    shown = np.array(SHOWN[tag], np.uint8)
    message = (
        rf"p.png is turned by EXIF \(orientation {tag}\), and its mask m.png has no orientation of its own and fits .* "
        r"both as stored and as turned; .*data.exif: turn_both \(.*\), turn_image \(.*\), or ignore \("
    )
    with pytest.raises(OrientationError, match=message):
        pair(STORED, STORED, tag)
    for mask, exif in ((STORED, "turn_both"), (shown, "turn_image")):
        image, label = pair(STORED, mask, tag, exif=exif)
        np.testing.assert_array_equal(image, shown)
        np.testing.assert_array_equal(label, shown)
    for plain in pair(STORED, STORED, tag, exif="ignore"):
        np.testing.assert_array_equal(plain, STORED)


@pytest.mark.parametrize("tag", [2, 3, 4, 5, 6, 7, 8])
def test_squares_fit_both_ways(tag):
    square = np.array([[0, 1], [2, 1]], np.uint8)
    with pytest.raises(OrientationError):
        pair(square, square, tag)
    for mask, exif in ((square, "turn_both"), (turned(square, tag), "turn_image")):
        image, label = pair(square, mask, tag, exif=exif)
        np.testing.assert_array_equal(image, label)
        np.testing.assert_array_equal(image, turned(square, tag))


@pytest.mark.parametrize("exif", ["by_size", "turn_both", "turn_image"])
def test_an_orientation_of_its_own_counts(exif):
    square = np.array([[0, 1], [2, 1]], np.uint8)
    for mask, own in ((square, 6), (turned(square, 6), 1), (turned(turned(square, 6), 3), 3)):
        image, label = pair(square, mask, 6, own=own, exif=exif)
        np.testing.assert_array_equal(image, label)
    image, label = pair(STORED, STORED, 6, own=1, exif=exif)  # writers of TIFF state 1 without meaning it
    np.testing.assert_array_equal(image, label)


def test_what_is_ignored_is_ignored_in_both():
    for plain in pair(STORED, STORED, 6, own=8, exif="ignore"):
        np.testing.assert_array_equal(plain, STORED)
    with pytest.raises(DataError, match=r"2x3 pixels .* 3x2; they must agree"):
        pair(STORED, np.array(SHOWN[6], np.uint8), 6, exif="ignore")


@pytest.fixture
def root(tmp_path):
    """Three photographs with masks drawn on the stored pixels; EXIF turns the second one upside down."""
    for i, tag in enumerate([1, 3, 6]):
        for name in ("train", "trainannot"):
            (tmp_path / name).mkdir(exist_ok=True)
        file = encoded(np.tile(STORED, (4, 4)), tag=tag if tag > 1 else None)
        (tmp_path / "train" / f"n{i}.png").write_bytes(file.getvalue())
        (tmp_path / "trainannot" / f"n{i}.png").write_bytes(encoded(np.tile(STORED, (4, 4))).getvalue())
    (tmp_path / "class_names.json").write_text('["a", "b", "c"]', encoding="utf-8")
    return tmp_path


def load(root, **fields):
    config = default.get_config()
    config.data.update(source="folder", dir=str(root), **fields)
    return data.load(config, "train")


def check(examples, root, **options):
    record = root / "checked.json"
    return checking.prepare(examples, cache="none", threads=2, record=record, one_size=False, **options)


def test_an_error_before_the_first_step(root):
    message = r"1 of 3 examples .*\n.*n1.png .*orientation 3.*turn_both.*turn_image.*ignore"
    with pytest.raises(DataError, match=message):
        check(load(root), root, skip_bad=False)
    assert [bad.name for bad in check(load(root), root, skip_bad=True).bad] == ["train/n1.png + trainannot/n1.png"]
    examples = check(load(root, exif="turn_both"), root, skip_bad=False)  # what the message says; not the old record
    for i in range(3):
        image, label = examples.read(i)
        np.testing.assert_array_equal(image[..., 0], label)


@pytest.mark.parametrize("exif", ["turn_both", "ignore"])
def test_prepared_photographs_keep_their_masks(root, tmp_path, exif):
    """The files of photographs stay as they are; their masks say how they are turned, so that nobody has to ask."""
    out = tmp_path / "out"
    write = formats.FORMATS["folder"].write
    write(formats.Job(out, (load(root, exif=exif),), formats.ORIGINAL, 2, upright=exif != "ignore"))
    shutil.copy(root / "class_names.json", out)
    examples = load(out)
    assert len(examples) == 3
    for i in range(3):
        image, label = examples.read(i)
        np.testing.assert_array_equal(image[..., 0], label)
    assert examples.read(2)[1].shape == (12, 8)
