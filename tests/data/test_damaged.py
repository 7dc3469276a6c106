"""Data sets with one bad pair among good ones: each is named with its reason, or left out and counted; never a
traceback, a hang, or a wrong label without a word. What is odd but sound is read."""

import io
import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from configs import default
from seg_jax import data
from seg_jax.data import checking
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelError

SIZE = (24, 32)
MASK = np.repeat(np.arange(3, dtype=np.uint8), 8)[:, None].repeat(32, axis=1)
PHOTO = np.stack([MASK * 80, 255 - MASK * 60, MASK + 7], -1).astype(np.uint8)

pytestmark = pytest.mark.timeout(60)


def encoded(array, form="PNG", **options):
    buffer = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, content=b"", *, depth=8, colour=2):
    """A PNG whose header says anything."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def of_16_bits(array, *, bands, colour):
    """A PNG whose bands are all these values, in two bytes each."""
    rows = np.repeat(array[..., None], bands, -1).astype(">u2")
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    return png(array.shape[1], array.shape[0], zlib.compress(lines), depth=16, colour=colour)


def with_value(value, dtype=np.uint8):
    mask = MASK.astype(dtype)
    mask[3, 4:6] = value
    return encoded(mask)


def with_preview(array):
    """A TIFF whose second page says that it is the first one reduced, as geographical programs write it."""
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, new=True) as file:
        Image.fromarray(array).save(file, "TIFF")
        file.newFrame()
        Image.fromarray(np.ascontiguousarray(array[::2, ::2])).save(file, "TIFF", tiffinfo={254: 1})
    return buffer.getvalue()


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def half(content):
    return content[: len(content) // 2]


JPEG = encoded(PHOTO, "JPEG", quality=90)
OTHER = [Image.fromarray(255 - PHOTO)]
PALETTE = Image.fromarray(MASK).convert("P")
UNREADABLE = r"cannot be read|is not an image|truncated"

# What lies in the place of the photograph, and why it cannot be used.
PHOTOGRAPHS = {
    "no bytes": (b"", "is not an image"),
    "a text": (b"not here\n", "is not an image"),
    "a web page": (b"<!DOCTYPE html><html>404</html>", "is not an image"),
    "zeros": (bytes(4096), "is not an image"),
    "a PNG's signature": (b"\x89PNG\r\n\x1a\n", UNREADABLE),
    "half a PNG": (half(encoded(PHOTO)), UNREADABLE),
    "half a JPEG": (half(JPEG), UNREADABLE),
    "half a TIFF": (half(encoded(PHOTO, "TIFF", compression="tiff_lzw")), UNREADABLE),
    "half a WebP": (half(encoded(PHOTO, "WEBP", lossless=True)), UNREADABLE),
    "half a BMP": (half(encoded(PHOTO, "BMP")), UNREADABLE),
    "a GIF's header": (encoded(PALETTE, "GIF")[:20], UNREADABLE),
    "a PNG without pixels": (png(32, 24), UNREADABLE),
    "a PNG with rubbish for pixels": (png(32, 24, b"rubbish"), UNREADABLE),
    "a PNG of no width": (png(0, 24, zlib.compress(b"\0")), UNREADABLE),
    "a PNG of 100,000 x 100,000": (
        png(100_000, 100_000, zlib.compress(b"\0")),
        r"has 1\d+ pixels; at most 80",
    ),
    "a PNG of 2**31 - 1 columns": (
        png(2**31 - 1, 2**31 - 1, zlib.compress(b"\0")),
        r"has \d+ pixels; at most 80",
    ),
    "a PNG of 10,001 x 8,000": (png(10_001, 8_000, zlib.compress(b"\0")), "has 10001x8000 pixels; at most 80 million"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 24\n", "is not an image that can be decoded .PNG"),
    "a PPM": (b"P6 32 24 255\n" + PHOTO.tobytes(), "is not an image that can be decoded .PNG"),
    "a PNG of an unknown kind": (png(32, 24, zlib.compress(b"\0"), depth=3, colour=5), UNREADABLE),
    "a PNG with a damaged header": (flipped(encoded(PHOTO), 18), UNREADABLE),
    "a JPEG's start": (JPEG[:3], "is not an image"),
    "a JPEG without its tables": (JPEG[:2] + JPEG[-200:], UNREADABLE),
    "an archive": (b"PK\x03\x04" + bytes(100), "is not an image"),
    "a NumPy array": (b"\x93NUMPY\x01\x00", "is not an image"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "is not an image"),
    "another size": (encoded(PHOTO[:, :16]), "24x16.*24x32|24x32.*24x16"),
    "turned on its side": (encoded(PHOTO.swapaxes(0, 1)), "32x24.*24x32|24x32.*32x24"),
    "one pixel": (encoded(PHOTO[:1, :1]), "1x1"),
    "pages": (encoded(PHOTO, "TIFF", save_all=True, append_images=OTHER), "contains 2 pages or frames"),
    "an animated PNG": (encoded(PHOTO, save_all=True, append_images=OTHER), "contains 2 pages or frames"),
    "an animated GIF": (encoded(PHOTO, "GIF", save_all=True, append_images=OTHER), "contains 2 pages or frames"),
    "an animated WebP": (encoded(PHOTO, "WEBP", save_all=True, append_images=OTHER), "contains 2 pages or frames"),
    "floating point in 0..1": (encoded(Image.fromarray(PHOTO[..., 0] / np.float32(255)), "TIFF"), r"image \* 255"),
    "nothing": (None, "is a mask without a photograph"),
}
# The same for the mask.
MASKS = {
    "no bytes": (b"", "is not an image"),
    "a text": (b"1 2 3\n", "is not an image"),
    "half a PNG": (half(encoded(MASK)), UNREADABLE),
    "a damaged PNG": (flipped(encoded(MASK), 18), UNREADABLE),
    "an unknown value": (with_value(9), r"mask value 9 \(2 pixels\) is not in the label table"),
    "a value of 254": (with_value(254), r"mask value 254 \(2 pixels\)"),
    "a 16-bit value": (with_value(300, np.uint16), r"mask value 300 \(2 pixels\)"),
    "a 32-bit value": (encoded(Image.fromarray(np.full(SIZE, 70_000, np.int32)), "TIFF"), "70000"),
    "a negative value": (encoded(Image.fromarray(np.full(SIZE, -1, np.int32)), "TIFF"), "-1"),
    "floating point": (encoded(Image.fromarray(MASK.astype(np.float32)), "TIFF"), "is an image of mode F"),
    "several pages": (encoded(MASK, "TIFF", save_all=True, append_images=[Image.fromarray(MASK)]), "contains 2 pages"),
    "content in alpha alone": (encoded(np.stack([MASK * 0, MASK], -1)), "mask_format='alpha'"),
    "colours without a table of them": (encoded(PHOTO), "colour"),
    "a JPEG of class indices": (encoded(MASK * 100, "JPEG", quality=30), r"mask value .* is not in the label table"),
    "CMYK": (encoded(Image.fromarray(PHOTO).convert("CMYK"), "TIFF"), "is an image of mode CMYK"),
    "colours of 16 bits": (of_16_bits(MASK, bands=3, colour=2), "has several bands of 16 bits"),
    "grey of 16 bits with alpha": (of_16_bits(MASK, bands=2, colour=4), "has several bands of 16 bits"),
    "another size": (encoded(MASK[:12]), "12x32.*24x32|24x32.*12x32"),
    "0 and 255 for a binary mask": (encoded(np.where(MASK > 0, 200, 0).astype(np.uint8)), r"mask value 200"),
    "nothing": (None, "has no mask"),
}
# Odd, but sound: photograph and mask.
SOUND = {
    "a JPEG called PNG": (encoded(PHOTO, "JPEG", quality=98, subsampling=0), encoded(MASK)),
    "a TIFF called PNG": (encoded(PHOTO, "TIFF"), encoded(MASK, "TIFF")),
    "a BMP called PNG": (encoded(PHOTO, "BMP"), encoded(MASK, "BMP")),
    "CMYK": (encoded(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=95), encoded(MASK)),
    "grey with alpha": (encoded(PHOTO), encoded(np.stack([MASK, MASK], -1))),
    "three equal channels": (encoded(PHOTO), encoded(np.repeat(MASK[..., None], 3, -1))),
    "TIFFs with a preview": (with_preview(PHOTO), with_preview(MASK)),
    "a phone's JPEG with a preview": (
        encoded(PHOTO, "MPO", quality=98, subsampling=0, save_all=True, append_images=OTHER),
        encoded(MASK),
    ),
    "grey": (encoded(PHOTO[..., 0]), encoded(MASK)),
    "alpha": (encoded(np.concatenate([PHOTO, PHOTO[..., :1]], -1)), encoded(MASK)),
    "16-bit mask": (encoded(PHOTO), encoded(MASK.astype(np.uint16))),
    "palette": (encoded(Image.fromarray(PHOTO).quantize(16)), encoded(PALETTE)),
    "interlaced text chunks": (encoded(PHOTO, pnginfo=PngImagePlugin.PngInfo()), encoded(MASK, optimize=True)),
    "bytes after the end": (encoded(PHOTO) + b"more", encoded(MASK) + bytes(64)),
    "ignored values": (encoded(PHOTO), with_value(255)),
}


def write(path, content):
    if content is not None:
        path.write_bytes(content)


@pytest.fixture
def folder(tmp_path):
    """A function (photograph, mask) -> the configuration of three pairs, the second of which is made of these bytes."""
    for name in ("train", "trainannot"):
        (tmp_path / name).mkdir()
    (tmp_path / "class_names.json").write_text(json.dumps(["a", "b", "c"]))

    def make(photo=None, mask=None, name="middle.png"):
        pairs = {
            "first.png": (encoded(PHOTO), encoded(MASK)),
            name: (photo, mask),
            "z.png": (encoded(PHOTO), encoded(MASK)),
        }
        for file, contents in pairs.items():
            for place, content in zip(("train", "trainannot"), contents, strict=True):
                write(tmp_path / place / file, content)
        config = default.get_config()
        config.data.source, config.data.dir = "folder", str(tmp_path)
        return config

    return make


def prepared(config, tmp_path, *, cache="host", skip_bad=False):
    examples = data.load(config, "train")
    return checking.prepare(
        examples, cache=cache, skip_bad=skip_bad, threads=2, record=tmp_path / "checked" / f"{cache}.json"
    )


def assert_named_and_left_out(config, tmp_path, reason):
    """It stops the run by name; told to, the program leaves it out, counts it, and keeps the others."""
    with pytest.raises((DataError, LabelError), match=reason) as error:
        prepared(config, tmp_path)
    assert "middle" in str(error.value) and "1 of 3" in str(error.value)
    for cache in ("host", "none"):
        left = prepared(config, tmp_path, cache=cache, skip_bad=True)
        assert len(left) == 2 and len(left.bad) == 1 and "middle" in left.bad[0].name
        for i in range(2):
            np.testing.assert_array_equal(left.read(i)[1], MASK)


def test_the_corpus_is_large():
    assert len(PHOTOGRAPHS) + len(MASKS) >= 40


@pytest.mark.parametrize("case", PHOTOGRAPHS)
def test_bad_photographs(folder, tmp_path, case):
    content, reason = PHOTOGRAPHS[case]
    assert_named_and_left_out(folder(content, encoded(MASK)), tmp_path, reason)


@pytest.mark.parametrize("case", MASKS)
def test_bad_masks(folder, tmp_path, case):
    content, reason = MASKS[case]
    assert_named_and_left_out(folder(encoded(PHOTO), content), tmp_path, reason)


@pytest.mark.parametrize("place", ["train", "trainannot"])
def test_a_directory_where_a_file_should_be(folder, tmp_path, place):
    config = folder(encoded(PHOTO), encoded(MASK))
    (tmp_path / place / "middle.png").unlink()
    (tmp_path / place / "middle.png").mkdir()
    assert_named_and_left_out(config, tmp_path, "cannot be read")


@pytest.mark.parametrize("place", ["train", "trainannot"])
def test_a_link_to_nowhere(folder, tmp_path, place):
    config = folder(encoded(PHOTO), encoded(MASK))
    (tmp_path / place / "middle.png").unlink()
    (tmp_path / place / "middle.png").symlink_to(tmp_path / "gone.png")
    assert_named_and_left_out(config, tmp_path, "does not exist|without a photograph|has no mask")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("place", ["train", "trainannot"])
def test_no_permission(folder, tmp_path, place):
    config = folder(encoded(PHOTO), encoded(MASK))
    (tmp_path / place / "middle.png").chmod(0)
    assert_named_and_left_out(config, tmp_path, "cannot be read")


@pytest.mark.parametrize("case", SOUND)
def test_odd_files_are_read(folder, tmp_path, case):
    examples = prepared(folder(*SOUND[case]), tmp_path)
    assert len(examples) == 3 and not examples.bad
    image, label = examples.read(1)
    expected = np.where(label == MASK, MASK, 255)  # 255 where the mask says so
    np.testing.assert_array_equal(label, expected)
    assert (label == 255).sum() == (2 if case == "ignored values" else 0)
    if case != "grey":  # which shows the red channel alone
        assert np.abs(image.astype(int) - PHOTO).max() <= 12


@pytest.mark.parametrize(
    "name", [b"caf\xe9.png", "straße.png".encode(), b" two  words .png", b"-dash.png", b"%d{x}*.png"]
)
def test_file_names_may_be_any_bytes(folder, tmp_path, name):
    try:
        (tmp_path / os.fsdecode(name)).touch()
    except OSError:
        pytest.skip("this file system refuses the name")
    examples = prepared(folder(encoded(PHOTO), encoded(MASK), os.fsdecode(name)), tmp_path)
    assert len(examples) == 3
    assert all((examples.read(i)[1] == MASK).all() for i in range(3))


@pytest.mark.parametrize("name", [b"caf\xe9.png"])
def test_a_bad_file_of_any_name_is_named(folder, tmp_path, name):
    config = folder(b"", encoded(MASK), os.fsdecode(name))
    with pytest.raises(DataError, match="caf"):
        prepared(config, tmp_path)
