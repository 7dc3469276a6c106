"""Image files that nobody vouches for: what is refused before anything is decoded, and by which error."""

import errno
import io
import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from seg_jax import data
from seg_jax.data import decoder, images
from seg_jax.data.decoder import DataError, Encoded, at_most, opened, pages
from seg_jax.data.images import read_image, read_mask
from seg_jax.data.orientation import turned
from seg_jax.runtime.errors import MachineError

EMPTY = Image.new("L", (1, 1))


def png(width, height):
    """A PNG whose header announces a size and whose pixels are missing."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def gif(width, height):
    """A whole GIF of one colour, a few hundred bytes."""
    buffer = io.BytesIO()
    EMPTY.save(buffer, "GIF")
    content = bytearray(buffer.getvalue())
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


BOMBS = {"PNG": png(10_000, 8_001), "GIF": gif(20_000, 4_001), "a GIF beyond Pillow's limit": gif(65_535, 65_535)}


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("case", BOMBS)
def test_too_many_pixels_are_refused_before_they_are_decoded(case, read):
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"bomb has \d+(x\d+)? pixels; at most 80 .*--megapixels"):
            read(Encoded(BOMBS[case], "bomb"))
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_the_limit_is_the_number_of_pixels_itself():
    whole = io.BytesIO()
    Image.new("L", (1000, 1000)).save(whole, "PNG")
    with at_most(1):
        assert read_image(Encoded(whole.getvalue(), "a")).shape == (1000, 1000, 3)
        with pytest.raises(DataError, match=r"a has 1000x1001 pixels; at most 1 million"):
            read_image(Encoded(png(1000, 1001), "a"))


def test_a_raised_limit_comes_before_that_of_pillow(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # restored afterwards
    with at_most(500), opened(Encoded(png(20_000, 20_000), "a")) as image:
        assert image.size == (20_000, 20_000)


def test_the_field_reaches_the_threads_that_read(folder, tiny_config):
    """Pairs of 32x40; one of them replaced by a larger one."""
    Image.new("RGB", (1100, 1000)).save(folder / "train" / "00.png")
    fields = {"data.source": "folder", "data.dir": str(folder), "data.size": (0, 0)}
    examples = data.load(tiny_config({**fields, "data.megapixels": 1}), "train")
    with ThreadPoolExecutor(1) as pool, pytest.raises(DataError, match="has 1100x1000 pixels; at most 1 million"):
        pool.submit(examples.read, 0).result()
    Image.new("L", (1100, 1000)).save(folder / "trainannot" / "00.png")
    with pytest.raises(DataError, match=r"00\.png has 1100x1000 pixels; at most 1 million"):
        examples.mask(0)
    assert examples.read(1)[0].shape == (32, 40, 3)
    assert read_image(folder / "train" / "00.png").shape == (1000, 1100, 3)  # the limit was that of the examples


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def saved(form):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize("form", decoder.FORMATS)
def test_six_formats_are_read(form):
    assert read_image(Encoded(saved(form), "a")).shape == (8, 8, 3)


@pytest.mark.parametrize("form", ["PPM", "TGA", "ICO", "PCX", "SGI", "JPEG2000", "DDS", "EPS"])
def test_no_other_format_is_read_whatever_the_name(form, tmp_path, monkeypatch):
    def interpreter(*_, **__):
        raise AssertionError("another program was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", interpreter)
    path = tmp_path / "photo.png"
    path.write_bytes(EPS if form == "EPS" else saved(form))
    with pytest.raises(DataError, match=r"photo\.png is not an image that can be decoded"):
        read_image(path)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            OSError(errno.EMFILE, "x"),
            MachineError,
            r"a could not be read \(Too many open files\).*the same command",
        ),
        (OSError(errno.ESTALE, "x"), MachineError, r"a could not be read \(Stale file handle\)"),
        (OSError(errno.EACCES, "Permission denied"), DataError, r"a cannot be read .*Permission denied.*; replace"),
        (OSError("broken data stream"), DataError, r"a cannot be read \(broken data stream\); replace"),
        (MemoryError(), DataError, r"a does not fit into the memory that is free"),
    ],
)
def test_errors_of_the_machine_are_not_those_of_the_file(error, kind, text):
    with pytest.raises(kind, match=text), opened(Encoded(saved("PNG"), "a")):
        raise error


def test_memory_that_runs_out_after_decoding_is_named(monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr(images.pictures, "array", exhausted)
    with pytest.raises(DataError, match="a does not fit into the memory that is free"):
        read_image(Encoded(saved("PNG"), "a"))


def test_pages_by_hand(tmp_path):
    small, frames = Image.new("L", (4, 4)), [Image.new("L", (8, 8), 60 * i) for i in range(4)]
    counts = {}
    for form in ("PNG", "GIF", "WEBP", "TIFF"):
        frames[0].save(tmp_path / f"a.{form}", form, save_all=True, append_images=frames[1:])
        with opened(tmp_path / f"a.{form}") as image:
            counts[form] = pages(image)
            assert np.asarray(image.convert("L")).max() <= 1  # the first one is still the current one
    assert counts == dict.fromkeys(counts, 4)
    for form in decoder.FORMATS:
        with opened(Encoded(saved(form), "a")) as image:
            assert pages(image) == 1
    # A TIFF with a reduced copy of its picture is one picture.
    small.encoderinfo = {"tiffinfo": {254: 1}}
    frames[0].save(tmp_path / "b.tif", save_all=True, append_images=[small])
    with opened(tmp_path / "b.tif") as image:
        assert pages(image) == 1


def jpeg(pixels, orientation=1):
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0, exif=exif)
    return Encoded(buffer.getvalue(), "a.jpg")


@pytest.mark.parametrize(
    ("size", "least", "factor"),
    [
        ((48, 64), 48, 1),
        ((48, 64), 24, 2),
        ((48, 64), 25, 1),
        ((48, 64), 12, 4),
        ((48, 64), 1, 8),
        ((64, 40), 10, 4),
        ((44, 64), 1, 4),  # 8 does not divide the height
        ((45, 64), 1, 1),
        ((48, 64), 0, 1),  # nobody said what is enough
    ],
)
def test_jpeg_is_decoded_as_far_as_is_needed(size, least, factor):
    blocks = np.random.default_rng(0).integers(0, 256, (-(-size[0] // 8), -(-size[1] // 8), 3), np.uint8)
    pixels = blocks.repeat(8, axis=0).repeat(8, axis=1)[: size[0], : size[1]]
    with decoder.enough(least):
        for tag in (1, 6):
            picture = images.read_photograph(jpeg(pixels, tag))
            assert (picture.factor, picture.stored, picture.size) == (factor, size, size if tag == 1 else size[::-1])
            expected = turned(pixels[factor // 2 :: factor, factor // 2 :: factor], tag)
            assert picture.pixels.shape == expected.shape
            # Blocks of 8 pixels have one colour, so that a decoder has nothing to average.
            assert np.abs(picture.pixels.astype(int) - expected).max() <= 4
    assert images.read_photograph(jpeg(pixels)).factor == 1


def test_masks_and_other_formats_are_decoded_whole(tmp_path):
    pixels = np.zeros((64, 64), np.uint8)
    with decoder.enough(1):
        assert read_mask(jpeg(pixels)).shape == (64, 64)
        for name in ("a.png", "a.webp", "a.bmp"):
            Image.fromarray(pixels).save(tmp_path / name)
            assert read_image(tmp_path / name).shape == (64, 64, 3)
