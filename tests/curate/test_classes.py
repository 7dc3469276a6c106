"""Unknown masks: what every value or colour is proposed to mean, and in which form a known table reads them."""

import io

import numpy as np
import pytest
from PIL import Image

from seg_jax.curate import classes, groups, known
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelTable
from seg_jax.data.labels.builtin import CAMVID32
from seg_jax.data.labels.cityscapes import LABELS
from seg_jax.data.labels.masks import MaskReader


def save(tmp_path, arrays, *, name="m{}.png", palette=None):
    paths = []
    for i, array in enumerate(arrays):
        picture = Image.fromarray(np.asarray(array))
        if palette is not None:
            picture.putpalette(np.asarray(palette, np.uint8).reshape(-1).tolist())
        paths.append(tmp_path / name.format(i))
        picture.save(paths[-1])
    return paths


def proposed(paths):
    return classes.classes(groups.survey(paths, threads=2))


def blocks(*stored, dtype=np.uint8):
    """A mask with a square of each value or colour."""
    return np.concatenate([np.broadcast_to(np.array(v, dtype), (24, 24, *np.shape(v))) for v in stored], axis=1)


def test_bdd100k_has_the_train_ids_of_cityscapes(tmp_path):
    folder = tmp_path / "labels/sem_seg/masks/train"
    folder.mkdir(parents=True)
    found = proposed(save(folder, [blocks(*range(12), 255), blocks(0, 1, *range(5, 19))]))
    assert found.table.names[:2] == ("road", "sidewalk") and len(found.table) == 19
    assert found.table.values == tuple((i,) for i in range(19)) and found.table.ignore == (255,)
    few = proposed(save(folder, [blocks(0, 1, 2, 255)]))  # some other data in the same directories
    assert few.table.names == ("class_0", "class_1", "class_2")


@pytest.mark.parametrize(
    ("stored", "names", "kept", "ignore"),
    [
        ((0, 1), ("background", "foreground"), ((0,), (1,)), (255,)),
        ((0, 255), ("background", "foreground"), ((0,), (255,)), ()),
        ((0, 1, 255), ("background", "foreground"), ((0,), (1,)), (255,)),
        ((0, 3, 7, 255), ("class_0", "class_3", "class_7"), ((0,), (3,), (7,)), (255,)),
        ((1, 2, 3), ("class_1", "class_2", "class_3"), ((1,), (2,), (3,)), (255,)),
        ((0, 128, 255), ("class_0", "class_128", "class_255"), ((0,), (128,), (255,)), ()),
        ((1, 2), ("class_1", "class_2"), ((1,), (2,)), (255,)),
    ],
)
def test_values(tmp_path, stored, names, kept, ignore):
    paths = save(tmp_path, [blocks(*stored), blocks(stored[0])])
    found = proposed(paths)
    assert (found.table.names, found.table.values, found.table.ignore) == (names, kept, ignore)
    assert (found.labels, found.mask_format) == ("", "auto")
    assert bool(found.notes) == (255 in stored)  # what was assumed of 255 is said
    for path in paths:
        MaskReader(found.table).read(path)


def test_sixteen_bits(tmp_path):
    paths = save(tmp_path, [blocks(0, 1000, 2000, dtype=np.uint16)])
    assert proposed(paths).table.values == ((0,), (1000,), (2000,))


def test_palette_files_bring_their_colors(tmp_path):
    paths = save(tmp_path, [blocks(0, 1, 2)], palette=[(0, 0, 0), (128, 0, 0), (0, 128, 0)])
    found = proposed(paths)
    assert found.table.colors == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    assert MaskReader(found.table).read(paths[0]).max() == 2


def test_palettes_of_one_color_are_not_taken(tmp_path):
    paths = save(tmp_path, [blocks(0, 1)], palette=[(9, 9, 9), (9, 9, 9)])
    found = proposed(paths)
    assert len(set(found.table.colors)) == 2
    assert MaskReader(found.table).read(paths[0]).max() == 1


def test_colors(tmp_path):
    paths = save(tmp_path, [blocks((10, 0, 0), (0, 250, 0)), blocks((0, 250, 0), (0, 0, 60))])
    found = proposed(paths)
    assert found.table.names == ("color_0_0_60", "color_0_250_0", "color_10_0_0")
    assert [MaskReader(found.table).read(path)[0, 0] for path in paths] == [2, 1]


def test_grey_as_colors(tmp_path):
    paths = save(tmp_path, [blocks((0, 0, 0), (1, 1, 1), (2, 2, 2), (255, 255, 255))])
    found = proposed(paths)
    assert found.table.names == ("class_0", "class_1", "class_2")
    assert MaskReader(found.table).read(paths[0])[0, ::24].tolist() == [0, 1, 2, 255]


def test_known_colors(tmp_path):
    paths = save(tmp_path, [blocks(*CAMVID32.colors[:20])])
    assert proposed(paths).labels == "camvid32"
    road, sky, car = ((x.color, x.name) for x in LABELS if x.name in ("road", "sky", "car"))
    found = proposed(save(tmp_path, [blocks(sky[0], car[0], road[0])]))
    assert found.table.names == ("road", "sky", "car")  # in the order of Cityscapes


def test_known_names_of_files(tmp_path):
    paths = save(tmp_path, [blocks(*range(12))], name="0001TP_{}.png")
    assert proposed(paths).labels == "camvid"
    assert proposed(save(tmp_path, [blocks(*range(12))])).labels == ""


@pytest.mark.parametrize("colors", [((0, 0, 0), (255, 255, 255)), ((200, 30, 30), (20, 20, 200), (30, 200, 30))])
def test_damaged_masks(tmp_path, colors):
    mask = np.roll(np.kron(blocks(*colors), np.ones((4, 4, 1), np.uint8)), 3, axis=1)  # not along JPEG's blocks
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "JPEG", quality=85)
    path = tmp_path / "a.jpg"
    path.write_bytes(buffer.getvalue())
    found = proposed([path])
    assert found.mask_format == "nearest"
    assert len(found.table) == len(colors)
    label = MaskReader(found.table, "nearest").read(path)
    truth = found.table.colorize(label).astype(int)
    assert (np.abs(truth - mask).max(-1) < 40).mean() > 0.95


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([blocks(7)], r"the masks contain 1 value\(s\).*Were they saved"),
        ([np.arange(900, dtype=np.uint16).reshape(30, 30)], r"the masks contain 900 value\(s\).*Are they ids"),
        (
            [np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)],
            "1600 colours, too many to be classes",
        ),
        ([blocks(0, 1), blocks((0, 0, 0), (1, 2, 3))], "m0.png contains values and .*m1.png colours"),
    ],
)
def test_what_cannot_be_proposed(tmp_path, arrays, message):
    paths = save(tmp_path, arrays)
    with pytest.raises(DataError, match=message):
        proposed(paths)


def test_damaged_files_are_passed_over(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")
    good = save(tmp_path, [blocks(0, 1)])
    assert proposed([tmp_path / "broken.png", *good]).table.names == ("background", "foreground")
    with pytest.raises(DataError, match=r"no mask can be decoded: .*broken.png"):
        groups.survey([tmp_path / "broken.png"])


TABLE = LabelTable(names=("a", "b"), colors=((200, 0, 0), (0, 0, 200)))


def test_form_of_known_masks(tmp_path):
    assert known.mask_format(TABLE, save(tmp_path, [blocks(0, 1, 255)])) == "auto"
    assert known.mask_format(TABLE, save(tmp_path, [blocks((200, 0, 0), (0, 0, 200))])) == "auto"
    shown = save(tmp_path, [blocks(5, 6)], palette=[(0, 0, 0)] * 5 + [(200, 0, 0), (0, 0, 200)])
    assert known.mask_format(TABLE, shown) == "color"
    noise = np.random.default_rng(0).integers(-8, 9, (24, 48, 3))
    damaged = np.clip(blocks((200, 0, 0), (0, 0, 200)).astype(int) + noise, 0, 255).astype(np.uint8)
    assert known.mask_format(TABLE, save(tmp_path, [damaged])) == "nearest"


def test_a_colour_without_a_class_is_not_hidden(tmp_path):
    # Nearest colours would give it a class without a word.
    assert known.mask_format(TABLE, save(tmp_path, [blocks((200, 0, 0), (205, 0, 0))])) == "auto"
