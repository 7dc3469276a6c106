"""From masks of all kinds to right labels: the proposed configuration reads them as they are meant."""

import json
import re

import numpy as np
import pytest
from PIL import Image, ImageFilter

from seg_jax import data
from seg_jax.curate import objects, propose
from seg_jax.curate.__main__ import configuration
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE

# How ml_collections loads a configuration file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

SIZE, N = (80, 112), 8
SHADES = np.array([[60, 90, 200], [130, 100, 60], [200, 60, 50], [40, 160, 70]], np.uint8)  # of photographs
COLORS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [0, 0, 128]], np.uint8)  # of masks


def scene(i, classes):
    """Class 0 with a disc of class 1, and of more classes: ground of class 2, a box of class 3."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    label = np.zeros(SIZE, np.uint8)
    if classes > 2:
        label[50 + i % 3 :] = 2
    label[np.hypot(y - 28 - i % 4, x - 28 - 5 * i) < 17] = 1
    if classes > 3:
        label[55:76, 60 - 2 * i % 9 : 100] = 3
    return label


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def dataset(root, mask, *, classes=2, names=None, extension="png", **options):
    """Photographs and masks `mask(label, i)` in two directories, and the truth by file name."""
    truth, rng = {}, np.random.default_rng(0)
    for i in range(N):
        label = scene(i, classes)
        photo = np.clip(SHADES[label] + rng.integers(-12, 13, (*SIZE, 3)), 0, 255).astype(np.uint8)
        save(root / "images" / f"s{i}.jpg", photo, quality=95)
        save(root / "masks" / f"s{i}.{extension}", mask(label, i), **options)
        truth[f"s{i}"] = label
    if names:
        (root / "class_names.json").write_text(json.dumps(names))
    return truth


def inspected(root, tmp_path):
    """The splits of the configuration that is proposed, and the proposal."""
    proposal = propose.propose(root)
    out = tmp_path / "proposed" / "my.py"
    propose.write(proposal, out)
    config = configuration([f"--config={out}"])
    return [data.load(config, split) for split in (config.data.train_split, config.data.val_split)], proposal


def assert_true(splits, truth, *, order=None, exact=1.0):
    """Labels are the truth, whose class i is the class order[i] of the table."""
    order = np.arange(256) if order is None else np.asarray(order)
    read = 0
    for examples in splits:
        assert not examples.bad
        for i, (photo, _) in enumerate(examples.files):
            label = examples.read(i)[1]
            assert (label == order[truth[photo.stem]]).mean() >= exact, photo
            read += 1
    assert read == N


def binary(label, high=255):
    return (label > 0).astype(np.uint8) * high


def palette_file(values, palette):
    image = Image.fromarray(values.astype(np.uint8)).convert("P")
    image.putdata(values.reshape(-1).tolist())
    image.putpalette(np.asarray(palette, np.uint8).reshape(-1).tolist())
    return image


def resized(image):
    """Half the size and back with interpolation, as programs do that treat masks as photographs."""
    image = Image.fromarray(image)
    half = image.resize((SIZE[1] // 2, SIZE[0] // 2), Image.Resampling.BILINEAR)
    return half.resize(image.size, Image.Resampling.BICUBIC)


def overshot(image):
    """Twice the size and back: beside borders colours go beyond their own."""
    image = Image.fromarray(image)
    return image.resize((SIZE[1] * 2, SIZE[0] * 2), Image.Resampling.BICUBIC).resize(
        image.size, Image.Resampling.BILINEAR
    )


def bgr(label, i):
    return COLORS[label][..., ::-1]


# ----- values decided by looking at the files


@pytest.mark.parametrize("names", [["background", "lesion"], {"background": [0, 0, 0], "lesion": [200, 0, 0]}])
@pytest.mark.parametrize("form", ["grey", "three channels", "palette", "jpeg"])
def test_two_names_beside_0_and_255(tmp_path, names, form):
    make = {
        "grey": lambda y, i: binary(y),
        "three channels": lambda y, i: np.repeat(binary(y)[..., None], 3, -1),
        "palette": lambda y, i: palette_file(binary(y), np.repeat(np.arange(256)[:, None], 3, 1)),
        "jpeg": lambda y, i: binary(y),
    }[form]
    truth = dataset(tmp_path / "d", make, names=names, extension="jpg" if form == "jpeg" else "png")
    splits, proposal = inspected(tmp_path / "d", tmp_path)
    assert splits[0].table.names == ("background", "lesion")
    assert_true(splits, truth, exact=0.97 if form == "jpeg" else 1)
    assert "0 is 'background', 255 is 'lesion'" in proposal.summary


@pytest.mark.parametrize("names", [None, ["background", "lesion"]])
@pytest.mark.parametrize("order", [(1, 255), (255, 1)])
def test_masks_of_two_scales(tmp_path, names, order):
    truth = dataset(tmp_path / "d", lambda y, i: binary(y, order[i % 2]), names=names)
    splits, proposal = inspected(tmp_path / "d", tmp_path)
    assert_true(splits, truth)
    assert re.search(r"1 and 255 .*s[01]\.png contains 0 and 1, .*s[01]\.png contains 0 and 255", proposal.summary)


@pytest.mark.parametrize("names", [None, ["background", "lesion"]])
def test_255_beside_two_classes_stays_ignored(tmp_path, names):
    def mask(y, i):
        mask = binary(y, 1)
        mask[:, :3] = IGNORE
        return mask

    truth = dataset(tmp_path / "d", mask, names=names)
    for label in truth.values():
        label[:, :3] = IGNORE
    assert_true(inspected(tmp_path / "d", tmp_path)[0], truth)


def test_255_alone_beside_one_class_is_a_class(tmp_path):
    """Each file shows one of three objects; the third is stored as 255."""
    values = np.array([0, 1, 2, 255], np.uint8)
    truth = dataset(tmp_path / "d", lambda y, i: values[binary(y, 1 + i % 3)])
    truth = {f"s{i}": binary(label, 1 + i % 3) for i, label in enumerate(truth.values())}
    splits, proposal = inspected(tmp_path / "d", tmp_path)
    assert_true(splits, truth)
    assert re.search("255 is a class: it is the only value beside another in .*s2.png", proposal.summary)


@pytest.mark.parametrize("stored", [(0, 50, 100, 150), (1, 2, 3, 4), (7, 11, 21, 26), (0, 1000, 2000, 3000)])
def test_names_for_values_with_gaps(tmp_path, stored):
    values = np.array(stored, np.uint8 if max(stored) < 256 else np.uint16)
    truth = dataset(tmp_path / "d", lambda y, i: values[y], classes=4, names=["sky", "disc", "ground", "box"])
    splits, _ = inspected(tmp_path / "d", tmp_path)
    assert splits[0].table.values == tuple((value,) for value in stored)
    assert_true(splits, truth)


# ----- groups of files that disagree


@pytest.mark.parametrize("names", [None, ["sky", "disc", "ground", "box"]])
def test_values_beside_palettes_of_another_order(tmp_path, names):
    order = np.array([0, 2, 1, 3])
    dataset(
        tmp_path / "d",
        lambda y, i: y if i % 2 else palette_file(order[y], COLORS[np.argsort(order)]),
        classes=4,
        names=names,
    )
    with pytest.raises(DataError, match=r"s1.png contains values without a palette and .*s0.png a palette of colours"):
        propose.propose(tmp_path / "d")


def test_the_cure_of_palettes_beside_values(tmp_path):
    truth = dataset(tmp_path / "d", lambda y, i: y if i % 2 else palette_file(y, COLORS), classes=4)
    with pytest.raises(DataError, match=re.escape("Image.fromarray(np.asarray(image)).save(path)")):
        propose.propose(tmp_path / "d")
    for path in (tmp_path / "d" / "masks").iterdir():
        with Image.open(path) as image:
            content = np.asarray(image)
        Image.fromarray(content).save(path)
    assert_true(inspected(tmp_path / "d", tmp_path)[0], truth)


def test_palettes_of_another_order_in_each_file(tmp_path):
    def mask(y, i):
        order = np.roll(np.arange(4), i)
        return palette_file(order[y], COLORS[np.argsort(order)])

    truth = dataset(tmp_path / "d", mask, classes=4)
    splits, proposal = inspected(tmp_path / "d", tmp_path)
    assert [splits[0].table.colors.index(tuple(c)) for c in COLORS.tolist()] == [0, 3, 2, 1]
    assert_true(splits, truth, order=[0, 3, 2, 1])
    assert re.search(r"palettes differ, such as those of .*s0.png and .*s1.png", proposal.summary)


@pytest.mark.parametrize("names", [None, ["unlabelled", "sky", "disc", "ground", "box"]])
def test_masks_that_count_from_another_value(tmp_path, names):
    dataset(tmp_path / "d", lambda y, i: y + np.uint8(i % 2), classes=4, names=names)
    with pytest.raises(DataError, match=r"s0.png and .*s1.png count their classes from different values"):
        propose.propose(tmp_path / "d")


@pytest.mark.parametrize("names", [None, ["sky", "disc", "ground", "box"]])
@pytest.mark.parametrize("factor", [10, 85])
def test_masks_of_two_scales_of_several_classes(tmp_path, names, factor):
    dataset(tmp_path / "d", lambda y, i: y * np.uint8(factor if i % 2 else 1), classes=4, names=names)
    with pytest.raises(
        DataError, match=r"s0.png and .*s1.png have the same number of classes in about the same shares"
    ):
        propose.propose(tmp_path / "d")


def test_files_of_other_classes_do_not_disagree(tmp_path):
    """Half of the files have a disc alone, the other half ground and a box."""

    def mask(y, i):
        return np.where(y > 1 if i % 2 else y == 1, y, 0).astype(np.uint8)

    truth = dataset(tmp_path / "d", mask, classes=4)
    truth = {name: mask(label, i) for i, (name, label) in enumerate(truth.items())}
    assert_true(inspected(tmp_path / "d", tmp_path)[0], truth)


def test_files_without_the_first_or_the_last_class_do_not_disagree(tmp_path):
    truth = dataset(tmp_path / "d", lambda y, i: np.clip(y, i % 2, 2 + i % 2).astype(np.uint8), classes=4)
    truth = {name: np.clip(label, i % 2, 2 + i % 2) for i, (name, label) in enumerate(truth.items())}
    assert_true(inspected(tmp_path / "d", tmp_path)[0], truth)


# ----- values between classes


BLUR = {
    "resized": lambda y, i: resized(binary(y)),
    "blurred": lambda y, i: Image.fromarray(binary(y)).filter(ImageFilter.GaussianBlur(1.2)),
    "antialiased": lambda y, i: Image.fromarray(np.kron(binary(y), np.ones((4, 4), np.uint8))).resize(SIZE[::-1], 1),
}


@pytest.mark.parametrize("names", [None, ["background", "lesion"]])
@pytest.mark.parametrize("kind", BLUR)
def test_soft_borders(tmp_path, kind, names):
    truth = dataset(tmp_path / "d", BLUR[kind], names=names)
    splits, proposal = inspected(tmp_path / "d", tmp_path)
    assert len(splits[0].table) == 2
    assert_true(splits, truth, exact=0.96)
    if kind != "antialiased":
        assert "only between others" in proposal.summary
        assert proposal.fields["data.mask_format"] == "nearest"


@pytest.mark.parametrize("names", [None, ["sky", "disc", "ground", "box"]])
def test_soft_borders_of_several_values(tmp_path, names):
    values = np.array([0, 80, 160, 240], np.uint8)

    def mask(y, i):
        image = Image.fromarray(values[y])
        return image.resize((SIZE[1] // 2, SIZE[0] // 2), Image.Resampling.BILINEAR).resize(
            image.size, Image.Resampling.BILINEAR
        )

    truth = dataset(tmp_path / "d", mask, classes=4, names=names)
    splits, _ = inspected(tmp_path / "d", tmp_path)
    assert len(splits[0].table) == 4
    assert_true(splits, truth, exact=0.9)


@pytest.mark.parametrize("names", [None, {name: c for name, c in zip("abcd", COLORS.tolist(), strict=True)}])
@pytest.mark.parametrize("blend", [resized, overshot, Image.fromarray])
def test_blended_colours(tmp_path, names, blend):
    """Resized PNG, also with overshoot beside borders, and JPEG."""
    options = (
        {"extension": "png"} if blend is not Image.fromarray else {"extension": "jpg", "subsampling": 0, "quality": 92}
    )
    truth = dataset(tmp_path / "d", lambda y, i: blend(COLORS[y]), classes=4, names=names, **options)
    splits, proposal = inspected(tmp_path / "d", tmp_path)
    table = splits[0].table
    assert (len(table), proposal.fields["data.mask_format"]) == (4, "nearest")
    distance = np.abs(np.array(table.colors)[None] - COLORS[:, None].astype(int)).sum(-1)
    assert_true(splits, truth, order=distance.argmin(1), exact=0.9)


@pytest.mark.parametrize("names", [None, ["sky", "disc", "ground", "box"]])
def test_class_indices_in_jpeg_are_lost(tmp_path, names):
    dataset(tmp_path / "d", lambda y, i: y, classes=4, names=names, extension="jpg", quality=75)
    with pytest.raises(DataError, match=r"the masks are JPEG files.* Export the masks again as PNG"):
        propose.propose(tmp_path / "d")


@pytest.mark.parametrize("names", [None, ["sky", "disc", "ground", "box"]])
def test_interpolated_class_indices_are_lost(tmp_path, names):
    values = np.array([0, 1, 2, 60], np.uint8)
    dataset(tmp_path / "d", lambda y, i: resized(values[y]), classes=4, names=names)
    with pytest.raises(DataError, match=r"resized with interpolation: .* too close to tell .* by nearest neighbour"):
        propose.propose(tmp_path / "d")


@pytest.mark.parametrize("names", [None, ["background", "lesion"]])
def test_soft_borders_of_16_bits(tmp_path, names):
    def mask(y, i):
        return np.asarray(resized(binary(y))).astype(np.uint16) * 257

    dataset(tmp_path / "d", mask, names=names)
    with pytest.raises(DataError, match=r"the masks of 16 bits were resized with interpolation.* by nearest neighbour"):
        propose.propose(tmp_path / "d")


def test_close_values_in_jpeg_stay_apart(tmp_path):
    values = np.array([0, 30, 60, 90], np.uint8)
    truth = dataset(tmp_path / "d", lambda y, i: values[y], classes=4, extension="jpg")
    splits, _ = inspected(tmp_path / "d", tmp_path)
    assert len(splits[0].table) == 4
    assert_true(splits, truth, exact=0.95)


@pytest.mark.parametrize("width", [1, 2])
def test_thin_objects_are_classes(tmp_path, width):
    """A pole between sky and ground has no area, and is rare, but is no blend of the two."""

    def mask(y, i):
        mask = np.array([10, 40, 90], np.uint8)[y]
        mask[5:78, 105 - i : 105 - i + width] = 60
        return mask

    dataset(tmp_path / "d", mask, classes=3)
    splits, _ = inspected(tmp_path / "d", tmp_path)
    assert splits[0].table.values == ((10,), (40,), (60,), (90,))


# ----- content elsewhere than in one channel


@pytest.mark.parametrize("names", [None, ["background", "lesion"]])
@pytest.mark.parametrize("channels", [1, 3])
def test_alpha(tmp_path, names, channels):
    def mask(y, i):
        return np.concatenate([np.full((*SIZE, channels), 255, np.uint8), binary(y)[..., None]], -1)

    truth = dataset(tmp_path / "d", mask, names=names)
    splits, proposal = inspected(tmp_path / "d", tmp_path)
    assert proposal.fields["data.mask_format"] == "alpha"
    assert_true(splits, truth)


def test_soft_alpha_over_colours_is_not_looked_at(tmp_path):
    def mask(y, i):
        return np.concatenate([COLORS[y], np.asarray(resized(binary(y)))[..., None]], -1)

    truth = dataset(tmp_path / "d", mask, classes=4)
    assert_true(inspected(tmp_path / "d", tmp_path)[0], truth, order=[0, 3, 2, 1])


@pytest.mark.parametrize("names", [None, ["sky", "disc", "ground", "box"]])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_values_in_several_channels(tmp_path, names, channels):
    def mask(y, i):
        pixels = np.repeat(y[..., None], channels, -1)
        if channels != 3:
            pixels[..., -1] = 255
        return pixels

    truth = dataset(tmp_path / "d", mask, classes=4, names=names)
    assert_true(inspected(tmp_path / "d", tmp_path)[0], truth)


def test_red_and_blue_exchanged(tmp_path):
    names = {"sky": [70, 130, 180], "disc": [220, 20, 60], "ground": [128, 64, 0], "box": [0, 0, 142]}
    colors = np.array(list(names.values()), np.uint8)
    truth = dataset(tmp_path / "d", lambda y, i: colors[y][..., ::-1], classes=4, names=names)
    splits, proposal = inspected(tmp_path / "d", tmp_path)
    assert "red and blue are exchanged" in proposal.summary
    assert splits[0].table.colors[0] == (70, 130, 180)  # shown as before
    assert_true(splits, truth)


# ----- several pages


def test_pages(tmp_path):
    def pages(y, i):
        return Image.fromarray(y)

    more = [Image.fromarray(scene(i, 2)) for i in range(3)]
    dataset(tmp_path / "d", pages, extension="tif", save_all=True, append_images=more)
    with pytest.raises(
        DataError, match=r"s\d.tif contains 4 pages or frames, of which all but the first would be lost"
    ):
        propose.propose(tmp_path / "d")


# ----- sizes


@pytest.mark.parametrize(("rows", "columns"), [(0, 1), (1, 0), (1, 1)])
def test_masks_that_are_a_pixel_smaller(tmp_path, rows, columns):
    """Of an odd size, halved and doubled: the last pixel is unknown, the others stay where they are."""

    def smaller(y, i):
        return y[: SIZE[0] - rows, : SIZE[1] - columns] if i % 3 == 0 else y

    truth = dataset(tmp_path / "d", smaller, classes=4)
    for i in range(0, N, 3):
        truth[f"s{i}"][SIZE[0] - rows :] = truth[f"s{i}"][:, SIZE[1] - columns :] = IGNORE
    splits, proposal = inspected(tmp_path / "d", tmp_path)
    assert "3 masks have another size than their photographs, such as s0.jpg of 80x112" in proposal.summary
    assert_true(splits, truth)


def test_masks_that_are_a_pixel_larger(tmp_path):
    truth = dataset(tmp_path / "d", lambda y, i: np.pad(y, (0, 1), mode="edge"), classes=4)
    assert_true(inspected(tmp_path / "d", tmp_path)[0], truth)


def test_masks_of_half_the_size(tmp_path):
    truth = dataset(tmp_path / "d", lambda y, i: y[::2, ::2], classes=4)
    assert_true(inspected(tmp_path / "d", tmp_path)[0], truth, exact=0.95)


def test_masks_of_other_proportions_are_not_resized(tmp_path):
    dataset(tmp_path / "d", lambda y, i: y[:, :60] if i == 3 else y, classes=4)
    assert "data.resize_masks" not in propose.propose(tmp_path / "d").fields


# ----- several masks for one photograph


OBJECTS = {
    "a directory for each photograph": ("{0}/images/{0}.png", "{0}/masks/{1}{0}.png"),
    "numbers in a directory": ("{0}/photo.png", "{0}/masks/{1}.png"),
    "numbered names": ("images/{0}.png", "masks/{0}_{1}.png"),
    "directories of masks": ("images/{0}.png", "masks/{0}/{1}.png"),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_mask_for_each_object(tmp_path, kind):
    root, (photos, masks), truth = tmp_path / "d", OBJECTS[kind], {}
    for i in range(N):
        name, label = f"p{i * 7919:06x}q", scene(i, 4)
        truth[name] = (label > 0).astype(np.uint8)
        noise = np.random.default_rng(i).integers(0, 40, (*SIZE, 3))
        save(root / photos.format(name), (SHADES[label] + noise.astype(np.uint8)).astype(np.uint8))
        for k in (1, 2, 3):
            save(root / masks.format(name, k), binary(label == k))
    with pytest.raises(DataError, match=r"has 3 masks, .*: one alone would call the others background") as error:
        propose.propose(root)
    cure = re.search(r"of its own: (.*)\.$", str(error.value))[1]
    for name in truth:  # what the message says
        (photo,) = root.glob(photos.format(name))
        save(tmp_path / "united" / "images" / f"{name}.png", Image.open(photo))
        found = sorted(root.glob(masks.format(name, "*")))
        save(tmp_path / "united" / "masks" / f"{name}.png", eval(cure, {"np": np, "Image": Image, "masks": found}))
    assert_true(inspected(tmp_path / "united", tmp_path)[0], truth)


def test_several_kinds_of_masks_are_no_objects(tmp_path):
    for i in range(N):
        label = scene(i, 2)
        save(tmp_path / f"p{i}" / "photo.jpg", np.random.default_rng(i).integers(0, 255, (*SIZE, 3), np.uint8))
        save(tmp_path / f"p{i}" / "label.png", label)
        save(tmp_path / f"p{i}" / "edges.png", np.abs(np.diff(label, axis=0, append=label[-1:])))
    objects.refuse(tmp_path, *[sorted(tmp_path.rglob(pattern)) for pattern in ("*.jpg", "*.png")])


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_masks_of_floating_point_numbers_are_named(tmp_path, scale):
    dataset(tmp_path / "d", lambda y, i: Image.fromarray(y.astype(np.float32) * scale), classes=4, extension="tif")
    with pytest.raises(
        DataError, match=r"no mask can be decoded: .* is an image of mode F; a mask has one channel"
    ) as error:
        propose.propose(tmp_path / "d")
    assert ("mask.astype(np.uint8)" in str(error.value)) == (scale == 1.0)
