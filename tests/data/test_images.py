"""Reading, resizing and writing image files: what each kind of file gives, and what is refused."""

import io
import os
import re
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from seg_jax.data import probabilities as bands_of
from seg_jax.data.depth import Depth
from seg_jax.data.images import EXTENSIONS, DataError, read_image, read_mask, resize, write_image
from seg_jax.runtime.files import write_bytes

RED, GREEN, BLUE = (200, 10, 20), (30, 180, 40), (50, 60, 220)
# Two rows, three columns; no two rotations or mirrorings of it are equal.
PHOTO = np.array([[RED, GREEN, BLUE], [BLUE, BLUE, RED]], np.uint8)
GREY = np.array([[0, 100, 255], [7, 50, 200]], np.uint8)


def save(path, image, **options):
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def smooth(h=40, w=48):
    """A photograph that JPEG hardly changes."""
    y, x = np.mgrid[:h, :w]
    return np.stack([100 + y, 90 + x, 200 - y - x], -1).astype(np.uint8)


def indexed(indices, colours):
    """A palette image."""
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([c for colour in colours for c in colour])
    return image


# ----- read_image


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.tiff", "A.PNG", "a.webp"])
def test_rgb(tmp_path, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    image = read_image(save(tmp_path / name, PHOTO, **options))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, PHOTO)


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg"])
def test_jpeg(tmp_path, name):
    image = read_image(save(tmp_path / name, smooth(), quality=95, subsampling=0))
    assert np.abs(image.astype(int) - smooth()).max() <= 3


def test_grey_is_repeated(tmp_path):
    image = read_image(save(tmp_path / "a.png", GREY))
    np.testing.assert_array_equal(image, np.stack([GREY] * 3, -1))


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_alpha_is_dropped(tmp_path, alpha):
    rgba = np.concatenate([PHOTO, np.full((2, 3, 1), alpha, np.uint8)], -1)
    np.testing.assert_array_equal(read_image(save(tmp_path / "rgba.png", rgba)), PHOTO)
    grey = np.stack([GREY, np.full_like(GREY, alpha)], -1)
    np.testing.assert_array_equal(read_image(save(tmp_path / "la.png", grey))[..., 1], GREY)


@pytest.mark.parametrize("transparency", [None, 1, bytes([255, 0, 128])])
def test_palette_photographs_give_colours(tmp_path, transparency):
    indices = np.array([[0, 1, 2], [2, 2, 0]], np.uint8)
    options = {} if transparency is None else {"transparency": transparency}
    path = save(tmp_path / "a.png", indexed(indices, [RED, GREEN, BLUE]), **options)
    np.testing.assert_array_equal(read_image(path), PHOTO)


def test_16_bit_grey_needs_a_range(tmp_path):
    path = save(tmp_path / "a.png", np.array([[0, 255, 256], [0x0234, 0x0F00, 0x0FFF]], np.uint16))
    with pytest.raises(DataError, match=re.escape("uint16 values from 0 to 4095, not bytes")) as error:
        read_image(path)
    assert "--config.data.range=(0, 4095)" in str(error.value)
    image = read_image(path, Depth(range=(0, 4095)))
    assert image.dtype == np.float32
    scaled = np.array([[0, 255, 256], [0x0234, 0x0F00, 0x0FFF]]) / 4095 * 255
    np.testing.assert_allclose(image, np.stack([scaled] * 3, -1), rtol=1e-6)


def test_cmyk_jpeg(tmp_path):
    path = save(tmp_path / "a.jpg", Image.fromarray(smooth()).convert("CMYK"), quality=95)
    assert np.abs(read_image(path).astype(int) - smooth()).max() <= 8


# EXIF orientation: how the stored picture turns into the upright one (TIFF 6.0, tag 274).
ORIENTATIONS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.jpg"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_photographs_come_upright(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"a.webp": {"lossless": True}, "a.jpg": {"quality": 95, "subsampling": 0}}.get(name, {})
    path = save(tmp_path / name, smooth(), exif=exif, **options)
    image, expected = read_image(path), ORIENTATIONS[orientation](smooth())
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= (3 if name == "a.jpg" else 0)


@pytest.mark.parametrize("name", ["a.tif", "a.webp"])
def test_the_first_of_several_pictures(tmp_path, name):
    options = {"lossless": True} if name == "a.webp" else {}
    path = save(tmp_path / name, PHOTO, save_all=True, append_images=[Image.fromarray(255 - PHOTO)], **options)
    np.testing.assert_array_equal(read_image(path), PHOTO)
    with pytest.raises(DataError, match=re.escape(f"{path} contains 2 pages or frames, of which all but the first")):
        read_image(path, pages=False)
    with pytest.raises(DataError, match="contains 2 pages or frames"):
        read_mask(path)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (-3, 5), (0.25, 60000)])
def test_photographs_of_floating_point_are_refused_with_a_cure(tmp_path, low, high):
    image = np.linspace(low, high, 12, dtype=np.float32).reshape(3, 4)
    path = save(tmp_path / "a.tif", image)
    with pytest.raises(DataError, match=r"contains float32 values from .* to .*, not bytes") as error:
        read_image(path)
    cure = re.search(r"image = (.*)\.$", str(error.value))[1]
    mended = read_image(save(tmp_path / "a.png", eval(cure, {"np": np, "image": image})))
    assert (mended.min(), mended.max()) == (0, 255)


def test_damaged_exif_does_not_lose_the_photograph(tmp_path):
    path = save(tmp_path / "a.jpg", smooth(), quality=95, subsampling=0, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05broken")
    with warnings.catch_warnings(action="ignore"):  # Pillow may warn of the damage
        assert read_image(path).shape == smooth().shape


@pytest.mark.parametrize(("name", "kind"), [("a.jpg", "PNG"), ("a.png", "BMP"), ("a.bmp", "TIFF")])
def test_the_content_counts_not_the_extension(tmp_path, name, kind):
    np.testing.assert_array_equal(read_image(save(tmp_path / name, PHOTO, format=kind)), PHOTO)


def test_extensions_are_lower_case_and_readable():
    readable = Image.registered_extensions()
    assert all(e == e.lower() and e in readable for e in EXTENSIONS)


# ----- what cannot be read


@pytest.fixture(params=[read_image, read_mask])
def read(request):
    return request.param


def test_missing(tmp_path, read):
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'a.png'} does not exist.")):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"", b"this is a text\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"BM"])
def test_not_an_image(tmp_path, read, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*replace or remove it"):
        read(path)


def test_directory(tmp_path, read):
    path = tmp_path / "a.png"
    path.mkdir()
    with pytest.raises(DataError, match=re.escape(f"{path} cannot be read")):
        read(path)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("WEBP", {}),
    ],
    ids=str,
)
def test_truncated_files_are_refused_wherever_they_end(tmp_path, kind, options):
    buffer = io.BytesIO()
    Image.fromarray(smooth()).save(buffer, kind, **options)
    whole = buffer.getvalue()
    path = tmp_path / "a.img"
    path.write_bytes(whole)
    image = read_image(path)
    refused = 0
    lengths = {*range(60), *range(60, len(whole), len(whole) // 60), *range(len(whole) - 30, len(whole))}
    with warnings.catch_warnings(action="ignore"):  # Pillow warns of some of them
        for length in lengths:
            path.write_bytes(whole[:length])
            try:
                # Some formats end in bytes that contain no pixels.
                np.testing.assert_array_equal(read_image(path), image)
            except DataError as error:
                assert str(path) in str(error)
                refused += 1
    assert refused > 0.75 * len(lengths)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_damaged_bytes_give_a_picture_or_a_data_error(tmp_path, kind):
    buffer = io.BytesIO()
    Image.fromarray(smooth()).save(buffer, kind)
    whole = np.frombuffer(buffer.getvalue(), np.uint8)
    path = tmp_path / "a.img"
    rng = np.random.default_rng(0)
    refused = 0
    with warnings.catch_warnings(action="ignore"):
        for _ in range(150):
            damaged = whole.copy()
            places = rng.integers(0, len(whole), 3)
            # The header more often than the pixels.
            places[0] = rng.integers(0, min(200, len(whole)))
            damaged[places] = rng.integers(0, 256, 3)
            path.write_bytes(damaged.tobytes())
            try:
                read_image(path)
            except DataError as error:
                refused += 1
                assert str(path) in str(error)
    assert refused > 0


# ----- read_mask


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_grey_masks(tmp_path, name):
    mask = read_mask(save(tmp_path / name, GREY))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, GREY)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_masks_give_indices_not_colours(tmp_path, bits):
    indices = np.array([[0, 1, 1], [1, 0, 0]], np.uint8) * (2**bits - 1)
    image = indexed(indices, [RED, GREEN] * 128)
    mask = read_mask(save(tmp_path / "a.png", image, bits=bits))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, indices)


def test_black_and_white_masks_give_0_and_1(tmp_path):
    bits = np.array([[True, False], [False, True]])
    mask = read_mask(save(tmp_path / "a.png", bits))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, bits)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_masks(tmp_path, name):
    values = np.array([[0, 255, 256], [26001, 65534, 65535]], np.uint16)
    mask = read_mask(save(tmp_path / name, values))
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask, values)


def test_32_bit_masks(tmp_path):
    values = np.array([[0, 300], [65535, 7]], np.int32)
    mask = read_mask(save(tmp_path / "a.tif", values))
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask, values)
    with pytest.raises(DataError, match=r"a.tif has mask values from -1 to 70000; they must be in 0..65535"):
        read_mask(save(tmp_path / "a.tif", np.array([[-1, 70000]], np.int32)))


@pytest.mark.parametrize(
    ("name", "image", "mode"),
    [
        ("a.png", PHOTO, "RGB"),
        ("a.png", np.concatenate([PHOTO, PHOTO[..., :1]], -1), "RGBA"),
        ("a.jpg", PHOTO, "RGB"),
        ("a.tif", GREY.astype(np.float32), "F"),
    ],
)
def test_colour_masks_are_refused(tmp_path, name, image, mode):
    path = save(tmp_path / name, image)
    with pytest.raises(DataError, match=re.escape(f"{path} is an image of mode {mode}; a mask has one channel")):
        read_mask(path)


@pytest.mark.parametrize(
    ("stored", "values"),
    [
        ([[0, 1], [2, 255]], [[0, 1], [2, 255]]),
        ([[0, 1], [300, 7]], [[0, 1], [300, 7]]),
        ([[0, 0.2], [0.7, 1]], [[0, 0], [1, 1]]),
    ],
)
def test_the_cure_of_masks_of_floating_point(tmp_path, stored, values):
    path = save(tmp_path / "a.tif", np.array(stored, np.float32))
    with pytest.raises(DataError, match="is an image of mode F") as error:
        read_mask(path)
    cure = re.search(r"indices first: (.*)\.$", str(error.value))[1]
    mended = eval(cure, {"np": np, "mask": np.array(stored, np.float32)})
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", mended)), values)


# ----- resize


def test_resize_by_hand():
    label = np.array([[1, 2], [3, 255]], np.uint8)
    image, bigger = resize(np.full((2, 2, 3), 9, np.uint8), label, (4, 6))
    assert (image.shape, image.dtype) == ((4, 6, 3), np.uint8)
    assert (image == 9).all()
    assert bigger.dtype == np.uint8
    np.testing.assert_array_equal(bigger, np.kron(label, np.ones((2, 3), np.uint8)))


def test_resize_averages_the_photograph():
    # Antialiased: a fine chessboard becomes grey; picking every other pixel would leave it black or white.
    board = np.stack([np.indices((64, 64)).sum(0) % 2 * 255] * 3, -1).astype(np.uint8)
    image, _ = resize(board, board[..., 0], (16, 16))
    assert np.abs(image[2:-2, 2:-2].astype(int) - 127.5).max() < 3


def by_pillow(probabilities, size):
    """Each class by itself, whole: first its rows, then its columns. Left alone, some versions choose the order."""
    for axes in ((size[1], len(probabilities)), (size[1], size[0])):
        planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(probabilities, -1, 0)]
        resized = [np.asarray(plane.resize(axes, Image.Resampling.BILINEAR)) for plane in planes]
        probabilities = np.stack(resized, axis=-1)
    return probabilities


@pytest.mark.parametrize("small", [(5, 7), (90, 40), (150, 200), (1, 1)])
@pytest.mark.parametrize("size", [(150, 200), (67, 90), (1, 3)])
def test_probabilities_in_bands_are_those_of_the_whole(small, size):
    probabilities = np.random.default_rng(0).random((*small, 3)).astype(np.float32)
    bands = list(bands_of.resized_bands(probabilities, size))
    assert all(0 < len(band) <= bands_of.MAX_BAND for band in bands)
    found = np.concatenate(bands)
    np.testing.assert_array_equal(found, bands_of.resize_probabilities(probabilities, size))
    assert found.dtype == np.float32 and found.shape == (*size, 3)
    # A processor that multiplies and adds at once may round the last bit otherwise.
    np.testing.assert_array_max_ulp(found, by_pillow(probabilities, size), maxulp=1)


def test_resized_probabilities_by_hand():
    column = np.array([0, 1], np.float32)[:, None, None]
    (band,) = bands_of.resized_bands(column, (4, 1))
    assert band[:, 0, 0].tolist() == [0, 0.25, 0.75, 1]
    (band,) = bands_of.resized_bands(np.arange(4, dtype=np.float32)[:, None, None], (2, 1))
    # Middles at 1 and 3, triangles that reach 2 pixels: weights 3, 3, 1 of seven, and the same from below.
    np.testing.assert_allclose(band[:, 0, 0], [5 / 7, 16 / 7])


def test_resize_to_the_same_size_changes_nothing():
    image, label = resize(PHOTO, GREY, (2, 3))
    assert image is PHOTO
    assert label is GREY


sides = st.integers(1, 12)


@given(st.data(), sides, sides, sides, sides)
def test_resized_labels_invent_no_values(data, h, w, new_h, new_w):
    label = data.draw(arrays(np.uint8, (h, w), elements=st.sampled_from([0, 1, 10, 255])))
    image = np.stack([label] * 3, -1)
    new_image, new_label = resize(image, label, (new_h, new_w))
    assert new_image.shape == (new_h, new_w, 3)
    assert new_label.shape == (new_h, new_w)
    # Each pixel is the one that its centre falls on, or a neighbour where the centre falls on an edge.
    rows, columns = ((np.arange(n) + 0.5) * old / n for n, old in ((new_h, h), (new_w, w)))
    choices = [
        label[np.clip(np.floor(rows + dy), 0, h - 1).astype(int)][
            :, np.clip(np.floor(columns + dx), 0, w - 1).astype(int)
        ]
        for dy in (-1e-6, 1e-6)
        for dx in (-1e-6, 1e-6)
    ]
    assert np.any([choice == new_label for choice in choices], axis=0).all()


# ----- writing


@pytest.mark.parametrize("array", [PHOTO, GREY, GREY.astype(np.uint16) * 257], ids=["rgb", "grey", "16 bit"])
def test_written_images_read_back(tmp_path, array):
    path = tmp_path / "new" / "folder" / "a.png"
    write_image(path, array)
    if array.ndim == 3:
        np.testing.assert_array_equal(read_image(path), array)
    else:
        mask = read_mask(path)
        assert mask.dtype == array.dtype
        np.testing.assert_array_equal(mask, array)
    assert os.listdir(path.parent) == ["a.png"]


def test_files_are_replaced_whole(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, smooth())
    before = path.open("rb")  # a reader that is at work keeps the old file
    write_image(path, PHOTO)
    with before:
        np.testing.assert_array_equal(np.asarray(Image.open(before)), smooth())
    np.testing.assert_array_equal(read_image(path), PHOTO)
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("failing", ["replace", "chmod"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="disk full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "a", b"x")
        assert os.umask(umask) == umask  # left as it was
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask
