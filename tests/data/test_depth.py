"""Photographs of more bits and bands than RGB in bytes: every value as stored, the range, and what is refused."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from seg_jax import data
from seg_jax.config import ConfigError, checked
from seg_jax.data import depth, rasters, stats
from seg_jax.data.decoder import DataError, Encoded, at_most
from seg_jax.data.depth import Depth
from seg_jax.data.examples import Examples
from seg_jax.data.images import pictured, read_image, read_photograph, resize_image
from seg_jax.data.labels import LabelTable

VALUES = np.array([[0, 300, 4095], [1024, 2048, 7]], np.uint16)
COLOURS = np.stack([VALUES, VALUES // 2, 4095 - VALUES], -1)
FULL = Depth(range=(0, 4095))


def scaled(values, low=0, high=4095):
    return np.clip((values.astype(np.float64) - low) / (high - low) * 255, 0, 255)


def tiff(path, array, **options):
    tifffile = pytest.importorskip("tifffile", reason="tifffile reads TIFF of more than 8 bits; it is not installed")
    tifffile.imwrite(path, array, **options)
    return path


def png(path, array):
    codecs = pytest.importorskip("imagecodecs", reason="imagecodecs reads PNG of 16-bit colours; it is not installed")
    path.write_bytes(codecs.png_encode(np.ascontiguousarray(array)))
    return path


# ----- what files hold


def test_16_bit_grey_of_pillow_has_all_bits(tmp_path):
    for name in ("a.png", "a.tif"):
        Image.fromarray(VALUES).save(tmp_path / name)
        image = read_image(tmp_path / name, FULL)
        np.testing.assert_allclose(image, np.stack([scaled(VALUES)] * 3, -1), rtol=1e-6)


def test_16_bit_colours_are_not_reduced_to_bytes(tmp_path):
    for path in (png(tmp_path / "a.png", COLOURS), tiff(tmp_path / "a.tif", COLOURS, photometric="rgb")):
        assert np.asarray(Image.open(path)).max() == 4095 >> 8  # what Pillow makes of it
        np.testing.assert_allclose(read_image(path, FULL), scaled(COLOURS), rtol=1e-6)
        with pytest.raises(DataError, match="uint16 values from 0 to 4095, not bytes"):
            read_image(path)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "float16", "float32", "float64"])
def test_types_that_pillow_takes_for_others(tmp_path, dtype):
    stored = np.array([[-100, 0], [5, 120]]) if dtype[0] != "u" else np.array([[0, 2**31], [2**32 - 1, 7]])
    low, high = (0, 2**32 - 1) if dtype[0] == "u" else (-100, 120)
    path = tiff(tmp_path / "a.tif", stored.astype(dtype))
    image = read_image(path, Depth(bands=(1,), range=(low, high)))
    np.testing.assert_allclose(image[..., 0], scaled(stored, low, high), rtol=1e-5)
    with pytest.raises(DataError, match="nobody said which of them are black and white"):
        read_image(path)


@pytest.mark.parametrize(
    ("options", "planar"),
    [
        ({"photometric": "minisblack", "planarconfig": "contig"}, False),
        ({"photometric": "minisblack", "planarconfig": "separate"}, True),
        ({"photometric": "rgb"}, False),  # where the fourth band is called alpha
        ({"photometric": "rgb", "extrasamples": ("unspecified",)}, False),
    ],
)
def test_a_fourth_band_does_not_vanish(tmp_path, options, planar):
    stored = np.random.default_rng(0).integers(0, 256, (5, 6, 4), np.uint8)
    path = tiff(tmp_path / "a.tif", np.moveaxis(stored, -1, 0) if planar else stored, **options)
    with pytest.raises(DataError, match=re.escape("has 4 bands, which are no RGB")) as error:
        read_image(path)
    assert "--config.data.bands=(1, 2, 3, 4)" in str(error.value)
    image = read_image(path, Depth(bands=(4, 1, 2, 3)))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, stored[..., [3, 0, 1, 2]])
    with pytest.raises(DataError, match=re.escape("has 4 bands, and config.data.bands = (1, 5) asks for number 5")):
        read_image(path, Depth(bands=(1, 5)))


def test_alpha_of_a_tiff_is_dropped_where_it_is_one(tmp_path):
    rgba = np.full((4, 5, 4), 7, np.uint8)
    rgba[:2, :, 3] = 255
    rgba[2:, :, 3] = 0
    np.testing.assert_array_equal(read_image(tiff(tmp_path / "a.tif", rgba, photometric="rgb")), rgba[..., :3])


@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd", "lerc", "jpegxl", "webp"])
def test_compressions(tmp_path, compression):
    stored = COLOURS.astype(np.uint8) if compression in ("webp", "jpegxl") else COLOURS
    options = {"compressionargs": {"lossless": True}} if compression in ("webp", "jpegxl") else {}
    path = tiff(tmp_path / "a.tif", stored, photometric="rgb", compression=compression, **options)
    image = read_image(path, Depth() if stored.dtype == np.uint8 else FULL)
    np.testing.assert_allclose(image, stored if stored.dtype == np.uint8 else scaled(stored), rtol=1e-6)


def test_an_unknown_compression(tmp_path):
    path = tiff(tmp_path / "a.tif", COLOURS, photometric="rgb")
    content = path.read_bytes()
    entry = (259).to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little")
    at = content.index(entry) + len(entry)
    path.write_bytes(content[:at] + (64999).to_bytes(2, "little") + content[at + 2 :])
    with pytest.raises(DataError, match=r"a.tif cannot be read .*compressed in an unknown way: save it with LZW or"):
        read_image(path, FULL)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "int32"])
def test_arrays(tmp_path, dtype):
    stored = np.arange(24).reshape(4, 3, 2).astype(dtype)
    np.save(tmp_path / "a.npy", stored)
    image = read_image(tmp_path / "a.npy", Depth(bands=(2,), range=(0, 23)))
    np.testing.assert_allclose(image, scaled(stored[..., 1:], 0, 23), rtol=1e-6)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(4), r"float64 \[4\]; a photograph has numbers \[h w\] or \[h w n\]"),
        (np.zeros((3, 20, 20)), "bands come last"),
        (np.array(["text"]), "a photograph has numbers"),
        (np.zeros((4, 4, 2), complex), "a photograph has numbers"),
    ],
)
def test_arrays_that_are_no_photographs(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        read_image(tmp_path / "a.npy", FULL)
    (tmp_path / "b.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"b\.npy cannot be read"):
        read_image(tmp_path / "b.npy", FULL)


def test_a_picture_in_memory(tmp_path):
    content = png(tmp_path / "a.png", COLOURS).read_bytes()
    np.testing.assert_allclose(read_image(Encoded(content, "x"), FULL), scaled(COLOURS), rtol=1e-6)
    buffer = io.BytesIO()
    tiff(buffer, COLOURS, photometric="rgb")
    np.testing.assert_allclose(read_image(Encoded(buffer.getvalue(), "x"), FULL), scaled(COLOURS), rtol=1e-6)


def test_the_limit_of_pixels_holds_for_all_readers(tmp_path):
    big = np.zeros((1200, 1000, 2), np.uint16)
    np.save(tmp_path / "a.npy", big)
    for path in (tmp_path / "a.npy", tiff(tmp_path / "a.tif", big, photometric="minisblack", planarconfig="contig")):
        with at_most(1), pytest.raises(DataError, match=re.escape("1000x1200 pixels; at most 1 million")):
            read_image(path, Depth(bands=(1,), range=(0, 1)))


def test_bands_of_ordinary_files(tmp_path):
    grey = np.array([[1, 2], [3, 250]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", Depth(bands=(1,))), grey[..., None])
    rgba = np.random.default_rng(0).integers(0, 255, (4, 4, 4), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_image(tmp_path / "b.png", Depth(bands=(4, 2))), rgba[..., [3, 1]])
    image = read_image(tmp_path / "b.png", Depth(range=(0, 255)))
    np.testing.assert_allclose(image, rgba[..., :3], rtol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_readers_turn_alike(tmp_path, orientation):
    small = (VALUES >> 4).astype(np.uint8)  # what Pillow reads, as it turns masks
    Image.fromarray(small).save(tmp_path / "plain.tif", tiffinfo={274: orientation})
    Image.fromarray(VALUES).save(tmp_path / "grey.tif", tiffinfo={274: orientation})
    upright = read_image(tmp_path / "plain.tif")[..., 0]
    grey = read_image(tmp_path / "grey.tif", FULL)[..., 0]
    np.testing.assert_array_equal(np.round(grey / 255 * 4095).astype(int) >> 4, upright)
    tags = [(274, "H", 1, orientation, True)]
    colours = read_image(tiff(tmp_path / "a.tif", COLOURS, photometric="rgb", extratags=tags), FULL)[..., 0]
    np.testing.assert_array_equal(colours, grey)


# ----- values


def test_a_pair_for_each_band_and_clipping(tmp_path):
    stored = np.array([[[0.0, -5.0], [1.0, 5.0]], [[2.0, 0.0], [-1.0, 10.0]]], np.float32)
    np.save(tmp_path / "a.npy", stored)
    image = read_image(tmp_path / "a.npy", Depth(bands=(1, 2), range=(0, 1, -5, 5)))
    np.testing.assert_allclose(image, [[[0, 0], [255, 255]], [[255, 127.5], [0, 255]]], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path, bad):
    stored = np.ones((3, 4, 2), np.float32)
    stored[1, 2, 1] = stored[2, 3, 0] = bad
    np.save(tmp_path / "a.npy", stored)
    with pytest.raises(DataError, match="has 2 values that are NaN or infinite, the first in row 1, column 2"):
        read_image(tmp_path / "a.npy", Depth(bands=(1, 2), range=(0, 1)))


def test_no_data_of_gdal(tmp_path):
    stored = np.array([[1.0, np.nan], [0.5, 0.0]], np.float32)
    path = tiff(tmp_path / "a.tif", stored, extratags=[(42113, "s", 4, "nan", True)])
    photo = read_photograph(path, Depth(bands=(1,), range=(0, 1)))
    np.testing.assert_array_equal(photo.missing, [[False, True], [False, False]])
    np.testing.assert_allclose(photo.pixels[..., 0], [[255, 0], [127.5, 0]])


def test_which_pixels_have_no_data():
    values = np.array([[[0, 0], [0, 3], [5, 9]]])
    assert Depth((1, 2)).missing(values, None) is None
    np.testing.assert_array_equal(Depth((1, 2)).missing(values, 0), [[True, False, False]])  # 0 may be measured
    np.testing.assert_array_equal(Depth((1, 2), (1, 9)).missing(values, 0), [[True, True, False]])
    assert Depth((1, 2)).missing(values, 77) is None


@pytest.mark.parametrize(
    ("dtype", "low", "high", "expected"),
    [
        ("uint16", 0, 200, (0, 255)),
        ("uint16", 3, 3100, (0, 4095)),
        ("uint16", 0, 65535, (0, 65535)),
        ("int16", -3, 50, (-3, 50)),
        ("float32", 0.1, 0.9, (0, 1)),
        ("float32", -2, 3.5, (-2, 3.5)),
        ("float32", 7, 7, (7, 8)),
    ],
)
def test_proposed_ranges(dtype, low, high, expected):
    assert depth.proposed(np.dtype(dtype), low, high) == expected


def test_resizing_and_pictures():
    image = np.random.default_rng(0).random((6, 8, 5)).astype(np.float32) * 255
    small = resize_image(image, (3, 4))
    assert small.shape == (3, 4, 5) and small.dtype == np.float32
    alone = np.asarray(Image.fromarray(image[..., 4]).resize((4, 3), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(small[..., 4], alone)
    np.testing.assert_array_equal(pictured(image), np.round(image[..., :3]).astype(np.uint8))
    assert pictured(image[..., :2]).shape == (6, 8, 3)


# ----- a data set of them


def config_of(root, **fields):
    return checked({"data": {"source": "folder", "dir": str(root), **fields}})


@pytest.fixture
def multispectral(tmp_path):
    """Photographs of four bands, whose last one is the class."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for folder in (split, f"{split}annot"):
            (tmp_path / folder).mkdir()
        for i in range(3):
            mask = rng.integers(0, 2, (8, 10)).astype(np.uint8)
            image = rng.integers(0, 1000, (8, 10, 4))
            image[..., 3] = mask * np.int64(9000)
            np.save(tmp_path / split / f"{i}.npy", image.astype(np.uint16))
            Image.fromarray(mask).save(tmp_path / f"{split}annot" / f"{i}.png")
    (tmp_path / "class_names.json").write_text('["no", "yes"]')
    return tmp_path


def test_statistics_of_each_band(multispectral):
    examples = data.load(config_of(multispectral, bands=(1, 4), range=(0, 1000, 0, 9000)), "train")
    assert (examples.depth.channels, examples.depth.dtype) == (2, np.float32)
    counted, bad = stats.measure(examples, threads=1)
    stored = np.stack([np.load(multispectral / "train" / f"{i}.npy") for i in range(3)]).astype(float)
    values = np.stack([stored[..., 0] / 1000, stored[..., 3] / 9000], -1).reshape(-1, 2)
    assert not bad
    np.testing.assert_allclose(counted.mean, values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(counted.std, values.std(0), rtol=1e-5)
    assert "(2 bands in 0..1)" in stats.table(counted, split="train")


def test_pixels_without_data_do_not_count(tmp_path):
    image, label = np.full((2, 2, 1), 100, np.uint8), np.array([[0, 1], [255, 0]], np.uint8)
    image[1, 0] = 0
    examples = Examples("s", ("a",), lambda i: (image, label), LabelTable(("a", "b")), depth=Depth((1,)))
    counted, _ = stats.measure(examples, threads=1)
    np.testing.assert_allclose((*counted.mean, *counted.std), (100 / 255, 0), atol=1e-6)


def test_other_band_counts_are_errors_or_left_out(multispectral):
    np.save(multispectral / "train" / "1.npy", np.zeros((8, 10, 3), np.uint16))
    config = config_of(multispectral, bands=(1, 4), range=(0, 1000))
    examples = data.load(config, "train")
    with pytest.raises(DataError, match=re.escape("1.npy has 3 bands, and config.data.bands = (1, 4)")):
        examples.read(1)
    _, bad = stats.measure(examples, threads=1)
    assert len(bad) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data": {"bands": (0, 1)}}, "bands are counted from 1"),
        ({"data": {"bands": (1, 1)}}, "each is named once"),
        ({"data": {"range": (5, 5)}}, "pairs of a value and a higher one"),
        ({"data": {"range": (0, 1, 0)}}, "pairs of a value and a higher one"),
        ({"data": {"bands": (1, 2), "range": (0, 1, 0, 1, 0, 1)}}, "a pair for all, or one for each of 2"),
        ({"data": {"bands": (1, 2), "mean": (0.5, 0.5, 0.5)}}, "one number for each of 2 channels"),
        ({"data": {"range": (0, 1)}, "augment": {"randaugment": (2, 5)}}, "its operations are those of RGB in bytes"),
        ({"data": {"bands": (1, 2)}, "augment": {"hue": 0.1}}, "this changes colours"),
    ],
)
def test_fields_that_do_not_fit(fields, message):
    with pytest.raises(ConfigError, match=message):
        checked(fields)


def test_sources_of_rgb_alone():
    config = checked({"data": {"source": "synthetic", "range": (0, 1)}})
    with pytest.raises(ConfigError, match="the source 'synthetic' has RGB photographs of 8 bits"):
        data.check(config.data)


def test_what_is_plain():
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(buffer, "TIFF")
    assert rasters.is_plain(Image.open(buffer))
    tiff(buffer := io.BytesIO(), COLOURS, photometric="rgb")
    assert not rasters.is_plain(Image.open(buffer))
