"""Masks of colours: exact, nearest, how far from the palette; and files of every kind read as class ids."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelError, LabelTable
from seg_jax.data.labels.masks import FORMATS, MaskReader
from seg_jax.data.labels.palettes import Distances, Palette

SKY, ROAD, LANE, VOID = (70, 130, 180), (128, 64, 128), (128, 0, 192), (0, 0, 0)
# The lane means road too, and void is ignored. Stored values: 7 sky, 2 road, 9 ignored.
TABLE = LabelTable(
    names=("sky", "road"),
    colors=(SKY, ROAD),
    values=((7,), (2,)),
    ignore=(9,),
    color_values=((SKY,), (ROAD, LANE)),
    ignore_colors=(VOID,),
)
COLORS = np.array([[SKY, ROAD, LANE], [VOID, ROAD, SKY]], np.uint8)
VALUES = np.array([[7, 2, 2], [9, 2, 7]], np.uint8)
LABEL = [[0, 1, 1], [IGNORE, 1, 0]]


def put(path, array, **options):
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(path, **options)
    return path


def indexed(values, palette):
    """A palette image; `palette` gives the colour of some values, the others are pink."""
    image = Image.fromarray(values).convert("P")
    image.putdata(values.reshape(-1).tolist())
    image.putpalette([c for i in range(256) for c in palette.get(i, (255, 0, 200))])
    return image


# ----- exact


@pytest.mark.parametrize("alpha", [None, 0, 128, 255])
def test_exact(alpha):
    mask = COLORS if alpha is None else np.concatenate([COLORS, np.full((2, 3, 1), alpha, np.uint8)], -1)
    label = Palette(TABLE).exact(mask)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, LABEL)


def test_unknown_colours_are_named_with_their_pixel_counts():
    mask = COLORS.copy()
    mask[0, :2], mask[1, 1] = (1, 2, 3), (70, 130, 181)
    with pytest.raises(LabelError) as error:
        Palette(TABLE).exact(mask)
    message = str(error.value)
    assert message.startswith("mask colour (1, 2, 3) (2 pixels), (70, 130, 181) (1 pixels) is not in the label table.")
    assert '"color_values" or to "ignore_colors" in class_names.json' in message
    assert "config.data.mask_format='nearest'" in message
    assert "channels" not in message


def test_many_unknown_colours_are_cut_short():
    mask = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    with pytest.raises(LabelError, match=r"\(0, 1, 2\) \(1 pixels\), .* and 4 more is not") as error:
        Palette(TABLE).exact(mask)
    assert str(error.value).count("pixels") == 8


def test_indices_in_three_channels_are_suspected():
    with pytest.raises(LabelError, match=r"\(2, 2, 2\) \(1 pixels\).* their channels are equal: .* class indices"):
        Palette(TABLE).exact(np.repeat(VALUES[:1, :2, None], 3, -1))


def test_a_colour_with_two_meanings():
    with pytest.raises(LabelError, match=re.escape(f"the colour {SKY} means both 'sky' and 'road'; keep one")):
        Palette(replace(TABLE, color_values=((SKY,), (SKY,))))
    with pytest.raises(LabelError, match=re.escape(f"the colour {ROAD} means both 'road' and 'ignore'")):
        Palette(replace(TABLE, ignore_colors=(ROAD,)))


def test_the_number_of_colours():
    many = tuple((i % 256, i // 256, 0) for i in range(257))
    with pytest.raises(LabelError, match="257 colours have a meaning in masks; there can be 1 to 256"):
        Palette(replace(TABLE, color_values=(many[:100], many[100:]), ignore_colors=()))
    with pytest.raises(LabelError, match="0 colours have a meaning"):
        Palette(replace(TABLE, color_values=((), ()), ignore_colors=()))
    full = Palette(replace(TABLE, color_values=(many[:100], many[100:255]), ignore_colors=(many[255],)))
    mask = np.array([many[:256]], np.uint8)
    expected = [[*[0] * 100, *[1] * 155, IGNORE]]
    np.testing.assert_array_equal(full.exact(mask), expected)
    np.testing.assert_array_equal(full.nearest(mask), expected)


def test_the_largest_table():
    # 255 classes and ignore are all 256 values of a label.
    table = LabelTable(
        names=tuple(map(str, range(255))), colors=tuple((i, 0, 7) for i in range(255)), ignore_colors=((255, 0, 7),)
    )
    mask = np.array([[(i, 0, 7) for i in range(256)]], np.uint8)
    np.testing.assert_array_equal(Palette(table).exact(mask), [np.arange(256)])
    np.testing.assert_array_equal(Palette(table).nearest(mask), [np.arange(256)])


colors = st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=2, max_size=9, unique=True)


@settings(max_examples=30)
@given(colors, st.data())
def test_what_is_drawn_is_read(drawn, data):
    # Classes in the first colours, an ignored one in the last.
    k = max(2, len(drawn) - 1)
    table = LabelTable(tuple(map(str, range(k))), tuple(drawn[:k]), ignore_colors=tuple(drawn[k:]))
    ids = [*range(k), *([IGNORE] if drawn[k:] else [])]
    label = np.array(data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=9)), np.uint8)[None]
    mask = table.colorize(label)
    mask[label == IGNORE] = drawn[-1]
    palette = Palette(table)
    np.testing.assert_array_equal(palette.exact(mask), label)
    np.testing.assert_array_equal(palette.nearest(mask), label)
    assert (palette.distance(mask) == 0).all()


# ----- nearest


def test_nearest():
    palette, pixels = Palette(TABLE), np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    differences = pixels[..., None, :].astype(int) - [SKY, ROAD, LANE, VOID]
    distances = np.sqrt(np.square(differences).sum(-1))
    np.testing.assert_array_equal(palette.nearest(pixels), np.array([0, 1, 1, IGNORE])[distances.argmin(-1)])
    distance = palette.distance(pixels)
    assert distance.dtype == np.float32
    np.testing.assert_allclose(distance, distances.min(-1), rtol=1e-6)


def test_the_first_of_equally_near_colours():
    table = LabelTable(names=("a", "b"), colors=((20, 0, 0), (10, 0, 0)))
    np.testing.assert_array_equal(Palette(table).nearest(np.array([[(15, 0, 0), (14, 0, 0)]], np.uint8)), [[0, 1]])


def test_distances_are_reported():
    near = COLORS.astype(np.int16)
    near[0, 0] += (3, 0, 4)
    near[1, 1] += (0, 30, 0)
    report = Distances.measure(Palette(TABLE), [COLORS, near.astype(np.uint8)])
    assert report.masks == 2
    assert (report.counts[0], report.counts[5], report.counts[30], report.counts.sum()) == (10, 1, 1, 12)
    assert (report.within(0), report.within(5), report.within(441)) == (10 / 12, 11 / 12, 1)
    assert report.mean == pytest.approx(35 / 12)
    assert str(report) == (
        "2 masks: 83.3% of the pixels have a colour of the table, 91.7% are within 20 of one in RGB; "
        "on average 2.9, at most 30"
    )
    assert "0 masks" in str(Distances.measure(Palette(TABLE), []))


def test_distances_are_rounded_up():
    mask = np.array([[(71, 131, 180), (255, 255, 0)]], np.uint8)  # sqrt(2), and the farthest there is from the four
    report = Distances.measure(Palette(TABLE), [mask])
    assert report.counts[2] == 1
    assert report.within(1) == 0


def test_other_pictures_are_refused():
    rng = np.random.default_rng(0)
    palette, mask = Palette(TABLE), np.tile(COLORS, (20, 20, 1))
    palette.check(mask)
    palette.check((mask + rng.integers(-10, 11, mask.shape)).clip(0, 255).astype(np.uint8))
    mask[: len(mask) // 2] = (255, 200, 0)
    with pytest.raises(LabelError, match=r"colours of the label table is \d+.* most of all \(255, 200, 0\)"):
        palette.check(mask)


# ----- files


@pytest.mark.parametrize("name", ["m.png", "m.bmp", "m.tif", "m.webp"])
@pytest.mark.parametrize("form", ["auto", "color", "nearest"])
def test_files_of_colours(tmp_path, name, form):
    path = put(tmp_path / name, COLORS, **({"lossless": True} if name == "m.webp" else {}))
    np.testing.assert_array_equal(MaskReader(TABLE, form).read(path), LABEL)


def test_files_of_colours_with_alpha(tmp_path):
    alpha = np.full((2, 3, 1), 255, np.uint8)
    path = put(tmp_path / "m.png", np.concatenate([COLORS, alpha], -1))
    np.testing.assert_array_equal(MaskReader(TABLE).read(path), LABEL)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("form", ["auto", "index"])
def test_files_of_values(tmp_path, dtype, form):
    np.testing.assert_array_equal(MaskReader(TABLE, form).read(put(tmp_path / "m.png", VALUES.astype(dtype))), LABEL)


@pytest.mark.parametrize("name", ["m.png", "m.gif"])
@pytest.mark.parametrize("form", ["auto", "index"])
def test_palette_files_are_values(tmp_path, name, form):
    path = put(tmp_path / name, indexed(VALUES, {7: (1, 2, 3), 2: (4, 5, 6), 9: (9, 9, 8)}), optimize=False)
    np.testing.assert_array_equal(MaskReader(TABLE, form).read(path), LABEL)


def test_palette_files_may_show_the_right_colours(tmp_path):
    path = put(tmp_path / "m.png", indexed(VALUES, {7: SKY, 2: LANE, 9: VOID}))
    for form in FORMATS.keys() - {"alpha"}:
        np.testing.assert_array_equal(MaskReader(TABLE, form).read(path), LABEL)


def test_palette_files_that_contradict_themselves(tmp_path):
    path = put(tmp_path / "m.png", indexed(VALUES, {7: ROAD, 2: SKY, 9: VOID}))
    with pytest.raises(
        LabelError, match=re.escape(f"{path}: the value 2 means 'road', but the file's palette")
    ) as error:
        MaskReader(TABLE).read(path)
    assert "in the colour of 'sky'. Set config.data.mask_format='color'" in str(error.value)
    np.testing.assert_array_equal(MaskReader(TABLE, "index").read(path), LABEL)
    np.testing.assert_array_equal(MaskReader(TABLE, "color").read(path), [[1, 0, 0], [IGNORE, 0, 1]])


def test_palette_files_of_colours(tmp_path):
    # What a program makes of a colour mask to save space: values in the order of their frequency.
    path = put(
        tmp_path / "m.png", indexed(np.array([[0, 1, 2], [3, 1, 0]], np.uint8), {0: SKY, 1: ROAD, 2: LANE, 3: VOID})
    )
    with pytest.raises(LabelError, match=r"value 0 \(1 pixels\).* All colours .* in the table, though.*='color'"):
        MaskReader(TABLE).read(path)
    np.testing.assert_array_equal(MaskReader(TABLE, "color").read(path), LABEL)


# A square, whose soft border has values below and above 128; transparent, half transparent, opaque.
SOFT = np.array([[0, 0, 100, 200, 255, 255]], np.uint8)
BINARY = LabelTable(names=("background", "lesion"), values=((0,), (255,)), ignore=())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("color", [0, 255, 77])
def test_content_in_alpha_alone(tmp_path, channels, color):
    pixels = np.concatenate([np.full((1, 6, channels), color, np.uint8), SOFT[..., None]], -1)
    path = put(tmp_path / "m.png", pixels)
    np.testing.assert_array_equal(MaskReader(BINARY, "alpha").read(path), [[0, 0, 0, 1, 1, 1]])
    for form in ("auto", "index"):
        with pytest.raises(LabelError, match=r"only the alpha channel differs. Set config.data.mask_format='alpha'"):
            MaskReader(BINARY, form).read(path)


def test_masks_that_are_transparent_or_opaque_everywhere(tmp_path):
    for alpha, label in ((0, 0), (255, 1)):
        path = put(tmp_path / "m.png", np.full((2, 3, 4), (9, 9, 9, alpha), np.uint8))
        assert (MaskReader(BINARY, "alpha").read(path) == label).all()


def test_alpha_that_cannot_be_meant(tmp_path):
    faint = put(tmp_path / "m.png", np.stack([SOFT, SOFT // 255], -1))
    with pytest.raises(LabelError, match="the alpha channel has values up to 1, all of which count as transparent"):
        MaskReader(BINARY, "alpha").read(faint)
    with pytest.raises(LabelError, match=r"has no alpha channel; set config.data.mask_format='auto'"):
        MaskReader(BINARY, "alpha").read(put(tmp_path / "n.png", SOFT))


@pytest.mark.parametrize("form", ["auto", "index"])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_values_in_several_channels(tmp_path, form, channels):
    """Grey with alpha, and three equal channels: class indices, though the table's colours are others."""
    pixels = np.repeat(VALUES[..., None], channels, -1)
    if channels != 3:
        pixels[..., -1] = 255
    np.testing.assert_array_equal(MaskReader(TABLE, form).read(put(tmp_path / "m.png", pixels)), LABEL)


@pytest.mark.parametrize("form", ["auto", "color", "nearest"])
def test_red_and_blue_exchanged(tmp_path, form):
    path = put(tmp_path / "m.png", np.tile(COLORS[..., ::-1], (8, 8, 1)))
    table = replace(TABLE, ignore_colors=((0, 200, 90),), color_values=((SKY,), (ROAD, LANE, VOID)))
    with pytest.raises(
        LabelError, match=re.escape(f"{path}: the colours of this mask are in the label table once red")
    ):
        MaskReader(table, form).read(path)
    other = put(tmp_path / "n.png", np.asarray(Image.open(path))[..., ::-1])  # what the message says
    np.testing.assert_array_equal(MaskReader(table, form).read(other)[:2, :3], [[0, 1, 1], [1, 1, 0]])


def test_unknown_contents_are_named_with_the_file(tmp_path):
    path = put(tmp_path / "m.png", COLORS + np.uint8(1))
    with pytest.raises(LabelError, match=re.escape(f"{path}: mask colour (")):
        MaskReader(TABLE).read(path)
    path = put(tmp_path / "v.png", VALUES + np.uint8(1))
    with pytest.raises(LabelError, match=re.escape(f"{path}: mask value 3 (")):
        MaskReader(TABLE).read(path)
    path = put(tmp_path / "photo.png", np.full((8, 8, 3), (255, 200, 0), np.uint8))
    with pytest.raises(LabelError, match=re.escape(f"{path}: the mean distance of this mask")):
        MaskReader(TABLE, "nearest").read(path)


def test_files_of_the_wrong_kind(tmp_path):
    path = put(tmp_path / "m.png", COLORS)
    with pytest.raises(DataError, match=re.escape(f"{path} is an image of mode RGB; a mask has one channel")):
        MaskReader(TABLE, "index").read(path)
    path = put(tmp_path / "m16.png", VALUES.astype(np.uint16))
    with pytest.raises(LabelError, match=re.escape(f"{path}: this is a mask of 16-bit values, not of colours")):
        MaskReader(TABLE, "color").read(path)


def test_grey_colours(tmp_path):
    table = LabelTable(names=("black", "white"), colors=((0, 0, 0), (255, 255, 255)))
    path = put(tmp_path / "m.png", np.array([[0, 255]], np.uint8))
    np.testing.assert_array_equal(MaskReader(table, "color").read(path), [[0, 1]])
    np.testing.assert_array_equal(MaskReader(table, "auto").read(path), [[0, IGNORE]])


def test_masks_damaged_by_jpeg(tmp_path):
    label = np.kron(np.array([[0, 1], [1, 0]], np.uint8), np.ones((16, 16), np.uint8))
    path = put(tmp_path / "m.jpg", TABLE.colorize(label), quality=90)
    with pytest.raises(LabelError, match="nearest"):
        MaskReader(TABLE).read(path)
    assert (MaskReader(TABLE, "nearest").read(path) == label).mean() > 0.9


@pytest.mark.parametrize("values", [VALUES, COLORS], ids=["values", "colours"])
def test_masks_come_upright(tmp_path, values):
    exif = Image.Exif()
    exif[274] = 6
    label = MaskReader(TABLE).read(put(tmp_path / "m.png", values, exif=exif))
    np.testing.assert_array_equal(label, np.rot90(LABEL, -1))


def test_large_masks_are_read_in_blocks():
    mask = np.tile(COLORS, (150, 200, 1))
    assert mask[..., 0].size > 65536
    np.testing.assert_array_equal(Palette(TABLE).exact(mask), np.tile(np.array(LABEL), (150, 200)))


def test_colours_are_looked_at_only_where_there_are_some(tmp_path):
    # A table whose colours have two meanings is fine for masks of values.
    table = replace(TABLE, color_values=((SKY,), (SKY,)))
    np.testing.assert_array_equal(MaskReader(table).read(put(tmp_path / "m.png", VALUES)), LABEL)
    with pytest.raises(LabelError, match="means both"):
        MaskReader(table).read(put(tmp_path / "c.png", COLORS))
