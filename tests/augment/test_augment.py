"""Augmentation: known maps by slicing, the resampling against a plain reference, and what holds for every draw."""

import dataclasses
import math
import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from configs import default
from seg_jax import augment
from seg_jax.augment import Augmentation, make_augment
from seg_jax.augment.color import LUMA
from seg_jax.augment.geometry import affine, warp
from seg_jax.data.labels import IGNORE

H, W = 12, 17
FILL = (10, 200, 90)
VALUES = np.array([0, 1, 7, IGNORE], np.uint8)

EVERYTHING = Augmentation(
    crop=(16, 16),
    flip=0.5,
    scale=(0.5, 2.0),
    rotate=30.0,
    translate=0.2,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.2,
)
SPECS = {
    "nothing": Augmentation(),
    "flip": Augmentation(flip=0.5),
    "crop": Augmentation(crop=(8, 16)),
    "pad": Augmentation(crop=(24, 32)),
    "scale": Augmentation(scale=(0.3, 3.0)),
    "rotate": Augmentation(rotate=180.0),
    "translate": Augmentation(translate=1.5),
    "colour": Augmentation(brightness=0.9, contrast=0.9, saturation=0.9, hue=0.5),
    "everything": EVERYTHING,
    "flips": Augmentation(flip=0.5, vertical_flip=0.5),
    "shear": Augmentation(shear=60.0),
    "filters": Augmentation(grayscale=0.5, blur=0.5, noise=40.0),
    "randaugment": Augmentation(crop=(16, 16), randaugment=(3, 10)),
    "mixing": Augmentation(crop=(8, 16), cutmix=0.5, classmix=0.5),
}


def noise(shape=(H, W), seed=0):
    """A random image [h w 3] and label [h w]."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, 3), np.uint8), VALUES[rng.integers(0, len(VALUES), shape)]


def batch_of(b, shape=(H, W)):
    images, labels = zip(*(noise(shape, seed) for seed in range(b)), strict=True)
    return np.stack(images), np.stack(labels)


@cache
def compiled(spec, groups=1):
    return jax.jit(make_augment(spec, fill=FILL, groups=groups))


def warped(image, label, matrix, output=None):
    matrix = jnp.array(matrix, jnp.float32)
    image, label = jax.jit(warp, static_argnums=(3, 4))(image, label, matrix, output or label.shape, FILL)
    assert (image.dtype, label.dtype) == (jnp.float32, jnp.uint8)
    return np.asarray(image), np.asarray(label)


# ----- geometry by slicing


@pytest.mark.parametrize("shape", [(H, W), (1, 1), (2, 31), (33, 1)])
def test_nothing_drawn_changes_nothing(shape):
    images, labels = batch_of(2, shape)
    out, out_labels = compiled(Augmentation())(jax.random.key(3), images, labels)
    assert (out.dtype, out_labels.dtype) == (jnp.float32, jnp.uint8)
    np.testing.assert_array_equal(out, images)
    np.testing.assert_array_equal(out_labels, labels)


def test_flip():
    images, labels = batch_of(3)
    out, out_labels = compiled(Augmentation(flip=1.0))(jax.random.key(0), images, labels)
    np.testing.assert_array_equal(out, images[:, :, ::-1])
    np.testing.assert_array_equal(out_labels, labels[:, :, ::-1])


def test_vertical_flip():
    images, labels = batch_of(3)
    out, out_labels = compiled(Augmentation(vertical_flip=1.0))(jax.random.key(0), images, labels)
    np.testing.assert_array_equal(out, images[:, ::-1])
    np.testing.assert_array_equal(out_labels, labels[:, ::-1])


@pytest.mark.parametrize("output", [(H, W), (5, 6), (20, 30)])
@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (3, 4), (-2, 5), (-1, -1), (H - 1, 0), (H, 0), (0, -100), (1000, 1000)])
def test_whole_shifts_and_crops_are_slices(output, dy, dx):
    image, label = noise()
    got, got_label = warped(image, label, [[1, 0, dy], [0, 1, dx]], output)
    for r, c in np.ndindex(output):
        y, x = r + dy, c + dx
        inside = 0 <= y < H and 0 <= x < W
        assert got[r, c].tolist() == (image[y, x].tolist() if inside else list(FILL))
        assert got_label[r, c] == (label[y, x] if inside else IGNORE)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns(turns):
    n = 9
    image, label = noise((n, n))
    # The centre stays in place; a positive angle turns counter-clockwise, as np.rot90 does.
    cos, sin = math.cos(turns * math.pi / 2), math.sin(turns * math.pi / 2)
    linear = np.array([[cos, sin], [-sin, cos]])
    offset = (np.eye(2) - linear) @ np.full(2, (n - 1) / 2)
    got, got_label = warped(image, label, np.c_[linear, offset])
    np.testing.assert_allclose(got, np.rot90(image, turns), atol=1e-2)
    np.testing.assert_array_equal(got_label, np.rot90(label, turns))


def test_enlarging_by_hand():
    # Twice as large: pixel centres of the output lie at -0.25, 0.25, 0.75, 1.25 of the source's.
    image = np.repeat(np.array([[0, 100]], np.uint8)[..., None], 3, -1)
    label = np.array([[3, 4]], np.uint8)
    got, got_label = warped(image, label, [[1, 0, 0], [0, 0.5, -0.25]], (1, 4))
    np.testing.assert_allclose(got[0, :, 0], [0, 25, 75, 100], atol=1e-4)
    np.testing.assert_array_equal(got_label, [[3, 3, 4, 4]])


# ----- the resampling against its definition


def reference(image, label, matrix, output):
    """Bilinear image, nearest label, and where the nearest pixel is not a matter of rounding; in float64."""
    h, w = label.shape
    grid = np.stack([*np.indices(output), np.ones(output)], -1)
    y, x = np.moveaxis(grid @ np.asarray(matrix, np.float64).T, -1, 0)

    def at(rows, columns, array, outside):
        inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
        picked = array[np.clip(rows, 0, h - 1), np.clip(columns, 0, w - 1)]
        return np.where(inside[..., None] if array.ndim == 3 else inside, picked, outside)

    nearest = at(np.floor(y + 0.5).astype(int), np.floor(x + 0.5).astype(int), label, IGNORE)
    sure = (np.abs(y % 1 - 0.5) > 1e-3) & (np.abs(x % 1 - 0.5) > 1e-3)
    # The outermost pixels reach half a pixel beyond their centres; farther out is the fill.
    inside = (y > -0.5) & (y < h - 0.5) & (x > -0.5) & (x < w - 0.5)
    y, x = np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    colour = np.zeros((*output, 3))
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dy - (y - y0)) * np.abs(1 - dx - (x - x0))
            colour += weight[..., None] * at(y0 + dy, x0 + dx, image.astype(np.float64), np.array(FILL))
    return np.where(inside[..., None], colour, FILL), nearest, sure


entries = st.floats(-3, 3)


@given(st.tuples(entries, entries, entries, entries), st.tuples(st.floats(-30, 30), st.floats(-30, 30)))
@example((1.0, 0.0, 0.0, 1.0), (0.25, -0.75))
@example((0.0, 0.0, 0.0, 0.0), (3.3, 4.4))
@example((0.5, 0.0, 0.0, 0.5), (-0.25, -0.25))
@settings(max_examples=60)
def test_warp_is_bilinear_and_nearest(linear, offset):
    image, label = noise()
    matrix = np.c_[np.reshape(linear, (2, 2)), offset].astype(np.float32)
    got, got_label = warped(image, label, matrix, (11, 14))
    colour, nearest, sure = reference(image, label, matrix, (11, 14))
    np.testing.assert_allclose(got[sure], colour[sure], atol=0.02)
    np.testing.assert_array_equal(got_label[sure], nearest[sure])


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.5])
def test_bands_and_labels_of_16_bits_are_resampled_alike(angle):
    image, label = noise()
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = np.array([[cos, sin, -2.3], [-sin, cos, 5.6]], np.float32)
    got, got_label = warped(image, label, matrix, (11, 14))
    bands = np.concatenate([image / np.float32(1.0), image[..., :1] * np.float32(0.5)], -1)
    wide = np.where(label == IGNORE, 65535, label.astype(np.uint16) + 300).astype(np.uint16)
    found, found_label = map(np.asarray, warp(bands, wide, matrix, (11, 14), (*FILL, FILL[0] / 2)))
    assert (found.dtype, found_label.dtype) == (np.float32, np.uint16)
    np.testing.assert_allclose(found[..., :3], got, atol=1e-3)
    np.testing.assert_allclose(found[..., 3], got[..., 0] / 2, atol=1e-3)
    np.testing.assert_array_equal(found_label, np.where(got_label == IGNORE, 65535, got_label.astype(int) + 300))


def test_brightness_and_contrast_of_bands():
    spec = Augmentation(brightness=0.2, contrast=0.3)
    image = np.full((2, 4, 4, 5), 100, np.float32)
    change = make_augment(spec, fill=(100,) * 5, groups=2)
    changed, _ = change(jax.random.key(0), image, np.zeros((2, 4, 4), np.uint8))
    changed = np.asarray(changed)
    assert changed.shape == (2, 4, 4, 5) and (changed == changed[:, :1, :1, :1]).all()
    assert (abs(changed - 100) > 0.1).all() and (abs(changed - 100) <= 0.8 * 100).all()


def test_an_unscaled_crop_is_a_copy():
    images, labels = batch_of(4)
    out, out_labels = compiled(Augmentation(crop=(5, 8)))(jax.random.key(0), images, labels)
    for image, label, crop, crop_label in zip(images, labels, out, out_labels, strict=True):
        places = [
            (r, c)
            for r, c in np.ndindex(label.shape[0] - 4, label.shape[1] - 7)
            if (image[r : r + 5, c : c + 8] == crop).all() and (label[r : r + 5, c : c + 8] == crop_label).all()
        ]
        assert places


# ----- what holds for every draw


@pytest.mark.parametrize("name", SPECS)
def test_labels_are_never_invented_and_colours_stay_in_range(name):
    images, labels = batch_of(16)
    out, out_labels = compiled(SPECS[name])(jax.random.key(1), images, labels)
    size = SPECS[name].crop if any(SPECS[name].crop) else (H, W)
    assert (out.shape, out.dtype) == ((16, *size, 3), jnp.float32)
    assert (out_labels.shape, out_labels.dtype) == ((16, *size), jnp.uint8)
    assert set(np.unique(out_labels)) <= set(VALUES)
    assert np.isfinite(out).all()
    assert 0 <= out.min() <= out.max() <= 255


@given(
    st.builds(
        Augmentation,
        flip=st.floats(0, 1),
        scale=st.tuples(st.floats(0.2, 1), st.floats(1, 4)),
        rotate=st.floats(0, 180),
        translate=st.floats(0, 2),
    ),
    st.integers(0, 2**31),
)
@settings(max_examples=40)
def test_drawn_maps_invent_no_labels(spec, seed):
    # affine is compiled anew for every spec, warp is not: it takes most of the time.
    matrix = affine(jax.random.key(seed), spec, (H, W), (H, W))
    image, label = noise(seed=seed)
    label = np.where(label == IGNORE, 1, label)
    got, got_label = warped(image, label, matrix)
    assert set(np.unique(got_label)) <= {0, 1, 7, IGNORE}
    assert got.min() >= -1e-3
    assert got.max() <= 255 + 1e-3


def test_image_and_label_move_together():
    # A picture painted in the two classes of its label: wherever it is purely one of them, so is the label.
    y, x = np.mgrid[:64, :80]
    label = ((np.hypot(y - 20, x - 50) < 15) | ((y > 40) & (x < 30)) | (x > 74)).astype(np.uint8)
    image = np.repeat(255 * label[..., None], 3, -1)
    spec = Augmentation(crop=(48, 64), flip=0.5, scale=(0.7, 1.5), rotate=45.0, translate=0.2)
    images, labels = (np.stack([a] * 12) for a in (image, label))
    out, out_labels = jax.jit(make_augment(spec, fill=(128, 128, 128), groups=1))(jax.random.key(2), images, labels)
    out, out_labels = np.asarray(out)[..., 0], np.asarray(out_labels)
    np.testing.assert_array_equal(out_labels[out < 1], 0)
    np.testing.assert_array_equal(out_labels[out > 254], 1)
    known = out_labels != IGNORE
    pure = known & ((out < 1) | (out > 254))
    assert pure.sum() > 0.85 * known.sum()
    assert 0.05 < (out_labels[known] == 1).mean() < 0.95
    assert len({o.tobytes() for o in out}) == 12


def test_the_same_key_gives_the_same_pictures():
    images, labels = batch_of(4)
    one = compiled(EVERYTHING)(jax.random.key(5), images, labels)
    two = compiled(EVERYTHING)(jax.random.key(5), images, labels)
    jax.tree.map(np.testing.assert_array_equal, one, two)
    other = compiled(EVERYTHING)(jax.random.key(6), images, labels)
    for i in range(4):
        assert (np.asarray(one[0][i]) != np.asarray(other[0][i])).any()


@pytest.mark.parametrize("groups", [2, 4])
def test_grouping_changes_nothing(groups):
    images, labels = batch_of(4)
    one = compiled(EVERYTHING)(jax.random.key(5), images, labels)
    other = compiled(EVERYTHING, groups)(jax.random.key(5), images, labels)
    np.testing.assert_array_equal(other[1], one[1])
    np.testing.assert_allclose(other[0], one[0], atol=1e-3)  # the compiler may order sums differently


def test_an_example_does_not_depend_on_its_neighbours():
    images, labels = batch_of(4)
    whole = compiled(EVERYTHING)(jax.random.key(5), images, labels)
    part = compiled(EVERYTHING)(jax.random.key(5), images[:2], labels[:2])
    np.testing.assert_array_equal(part[1], whole[1][:2])
    np.testing.assert_allclose(part[0], whole[0][:2], atol=1e-3)


def test_examples_of_a_batch_are_drawn_apart():
    image, label = noise()
    out, _ = compiled(EVERYTHING)(jax.random.key(5), np.stack([image] * 4), np.stack([label] * 4))
    assert len({np.asarray(o).tobytes() for o in out}) == 4


# ----- the ranges of what is drawn


def drawn(spec, source=(100, 200), output=None, n=2000):
    """float64 [n 2 3]: the maps of n keys."""
    keys = jax.random.split(jax.random.key(0), n)
    return np.asarray(jax.vmap(lambda key: affine(key, spec, source, output or source))(keys), np.float64)


def test_scale_is_drawn_evenly_in_its_logarithm():
    linear = drawn(Augmentation(scale=(0.5, 4.0)))[:, :, :2]
    log = -np.log(np.linalg.det(linear)) / 2
    low, high = math.log(0.5), math.log(4.0)
    assert low - 1e-5 <= log.min() < low + 0.02
    assert high - 0.02 < log.max() <= high + 1e-5
    # A uniform draw: each quarter of the range gets 500 of 2000, +- 19 (one standard deviation).
    counts, _ = np.histogram(log, 4, (low - 1e-5, high + 1e-5))
    assert np.abs(counts - 500).max() < 100


def test_rotation_keeps_to_its_range():
    linear = drawn(Augmentation(rotate=20.0))[:, :, :2]
    np.testing.assert_allclose(np.linalg.det(linear), 1, atol=1e-5)
    angle = np.degrees(np.arctan2(linear[:, 0, 1], linear[:, 0, 0]))
    assert -20.001 <= angle.min() < -19.5
    assert 19.5 < angle.max() <= 20.001
    assert abs(angle.mean()) < 1.5  # 12 / sqrt(2000) = 0.26 is one standard deviation


def test_shear_keeps_to_its_range():
    linear = drawn(Augmentation(shear=30.0))[:, :, :2]
    # Rows stay rows, and a pixel farther down lies farther to one side.
    np.testing.assert_allclose(linear[:, :, 1], np.tile([0, 1], (len(linear), 1)), atol=1e-6)
    np.testing.assert_allclose(linear[:, 0, 0], 1, atol=1e-6)
    slant = np.degrees(np.arctan(linear[:, 1, 0]))
    assert -30.001 <= slant.min() < -29.5
    assert 29.5 < slant.max() <= 30.001
    assert abs(slant.mean()) < 2  # 17 / sqrt(2000) = 0.39 is one standard deviation


def test_shear_leaves_the_other_maps_of_a_draw_as_they_are():
    plain, sheared = (drawn(Augmentation(rotate=20.0, scale=(0.5, 2.0), shear=s)) for s in (0.0, 20.0))
    # A shear has the determinant 1 and moves nothing along its own direction.
    np.testing.assert_allclose(sheared[:, :, 1], plain[:, :, 1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(sheared[:, :, :2]), np.linalg.det(plain[:, :, :2]), rtol=1e-4)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_vertical_flips_are_as_frequent_as_said(probability):
    linear = drawn(Augmentation(vertical_flip=probability))[:, :, :2]
    upside_down = linear[:, 0, 0] < 0
    assert abs(upside_down.mean() - probability) <= (0.05 if 0 < probability < 1 else 0)
    np.testing.assert_array_equal(linear[:, 1, 1], 1)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flips_are_as_frequent_as_said(probability):
    mirrored = np.linalg.det(drawn(Augmentation(flip=probability))[:, :, :2]) < 0
    # One standard deviation is at most 0.011.
    assert abs(mirrored.mean() - probability) <= (0.05 if 0 < probability < 1 else 0)


def test_translation_is_a_share_of_the_output():
    # The whole image of 100x200 at half its size: a quarter of 50x100 is 25x50 pixels of the image.
    maps = drawn(Augmentation(translate=0.25, scale=(0.5, 0.5)), output=(50, 100))
    np.testing.assert_allclose(maps[:, :, :2], np.tile(2 * np.eye(2), (len(maps), 1, 1)))
    shift = maps[:, :, 2] - 0.5  # the centre of the first pixel lies between two of the image's
    np.testing.assert_allclose(np.abs(shift).max(0), [25, 50], rtol=0.02)
    np.testing.assert_allclose(shift.mean(0), 0, atol=2)  # 0.6 is one standard deviation of the larger one


@pytest.mark.parametrize(("scale", "output"), [(1.0, (40, 60)), (2.0, (100, 200)), (3.0, (50, 250)), (0.5, (50, 80))])
def test_a_window_that_fits_lies_inside(scale, output):
    maps = drawn(Augmentation(scale=(scale, scale)), output=output)
    for axis, size in enumerate((100, 200)):
        first = maps[:, axis, 2]
        last = first + maps[:, axis, axis] * (output[axis] - 1)
        # Half a source pixel belongs to the border pixels' own area.
        assert first.min() >= -0.5 - 1e-4
        assert last.max() <= size - 0.5 + 1e-4
        slack = size - output[axis] / scale
        assert first.max() - first.min() > 0.97 * slack - 1e-3  # anywhere, not only in the middle


def test_a_crop_takes_only_pixels_of_the_image():
    images, labels = batch_of(16)
    labels = np.where(labels == IGNORE, np.uint8(1), labels)
    _, out_labels = compiled(Augmentation(crop=(8, 12)))(jax.random.key(0), images, labels)
    assert IGNORE not in np.unique(out_labels).tolist()


def test_a_crop_larger_than_the_image_pads():
    images, _ = batch_of(16)
    labels = np.ones(images.shape[:3], np.uint8)
    out, out_labels = compiled(SPECS["pad"])(jax.random.key(0), images, labels)
    places = set()
    for colour, label in zip(np.asarray(out), np.asarray(out_labels), strict=True):
        rows, columns = np.flatnonzero((label == 1).any(1)), np.flatnonzero((label == 1).any(0))
        assert (len(rows), len(columns)) == (H, W)  # the whole image
        assert (label == 1).sum() == H * W  # a rectangle
        assert set(np.unique(label)) == {1, IGNORE}
        far = np.ones(label.shape, bool)
        far[max(rows[0] - 1, 0) : rows[-1] + 2, max(columns[0] - 1, 0) : columns[-1] + 2] = False
        np.testing.assert_array_equal(colour[far], np.broadcast_to(FILL, (far.sum(), 3)))
        places.add((rows[0], columns[0]))
    assert len(places) > 8


# ----- colour


@pytest.fixture(params=["low", "high"])
def extreme(request, monkeypatch):
    """Makes every uniform draw the lowest or the highest of its range; gives -1 or 1."""

    def uniform(key, shape=(), *, minval, maxval):
        return jnp.full(shape, minval if request.param == "low" else maxval)

    monkeypatch.setattr(jax.random, "uniform", uniform)
    return -1 if request.param == "low" else 1


def coloured(image, spec, key=0):
    """The image after its colours were changed."""
    image = np.asarray(image, np.uint8)
    out, _ = make_augment(spec, fill=FILL, groups=1)(
        jax.random.key(key), image[None], np.zeros((1, *image.shape[:2]), np.uint8)
    )
    return np.asarray(out[0], np.float64)


# No factor of the tests brings a channel out of 0..255.
PHOTO = np.array([[[60, 80, 120], [110, 90, 70]], [[90, 90, 90], [80, 130, 60]]], np.float64)
GREY = np.dot(FILL, LUMA)  # what is filled in is the data's mean


def test_tiny_strengths_change_next_to_nothing():
    spec = Augmentation(brightness=1e-6, contrast=1e-6, saturation=1e-6, hue=1e-7)
    np.testing.assert_allclose(coloured(PHOTO, spec), PHOTO, atol=1e-2)


def test_brightness_is_a_factor(extreme):
    got = coloured(PHOTO, Augmentation(brightness=0.4))
    np.testing.assert_allclose(got, PHOTO * (1 + 0.4 * extreme), rtol=1e-5)


def test_contrast_is_about_the_mean_of_the_data(extreme):
    got = coloured(PHOTO, Augmentation(contrast=0.5))
    np.testing.assert_allclose(got, GREY + (1 + 0.5 * extreme) * (PHOTO - GREY), atol=1e-3)


def test_saturation_is_about_the_luma_of_each_pixel(extreme):
    got = coloured(PHOTO, Augmentation(saturation=0.5))
    luma = (PHOTO @ LUMA)[..., None]
    np.testing.assert_allclose(got, luma + (1 + 0.5 * extreme) * (PHOTO - luma), atol=1e-3)


def test_a_third_of_the_hue_circle_permutes_the_channels(extreme):
    # Forward, red becomes green, green becomes blue, blue becomes red.
    got = coloured(PHOTO, Augmentation(hue=1 / 3))
    np.testing.assert_allclose(got, np.roll(PHOTO, extreme, axis=-1), atol=1e-3)


def test_all_of_them_compose(extreme):
    # Saturation, then hue, then brightness, then contrast.
    got = coloured(PHOTO, Augmentation(brightness=0.2, contrast=0.3, saturation=0.5, hue=1 / 3))
    luma = (PHOTO @ LUMA)[..., None]
    expected = np.roll(luma + (1 + 0.5 * extreme) * (PHOTO - luma), extreme, axis=-1) * (1 + 0.2 * extreme)
    np.testing.assert_allclose(got, GREY + (1 + 0.3 * extreme) * (expected - GREY), atol=1e-2)


def test_colours_are_clipped(extreme):
    got = coloured([[[0, 128, 255]]], Augmentation(brightness=0.9, contrast=0.9))
    assert 0 <= got.min() <= got.max() <= 255
    assert got.max() == 255 or extreme < 0


@pytest.mark.parametrize("key", range(3))
def test_grey_stays_grey_under_saturation_and_hue(key):
    grey = np.repeat(np.arange(0, 256, 15).reshape(1, -1, 1), 3, -1)
    np.testing.assert_allclose(coloured(grey, Augmentation(saturation=0.9, hue=0.5), key), grey, atol=1e-2)


def draws(pixels, spec, n=2000):
    """float64 [n pixels 3]: what becomes of a row of pixels under n draws."""
    images = np.tile(np.array(pixels, np.uint8), (n, 1, 1, 1))
    out, _ = compiled(spec)(jax.random.key(0), images, np.zeros(images.shape[:3], np.uint8))
    return np.asarray(out, np.float64)[:, 0]


def test_brightness_and_contrast_keep_to_their_ranges():
    low, high = draws([[60] * 3, [120] * 3], Augmentation(brightness=0.4, contrast=0.2))[:, :, 0].T
    # value -> contrast * brightness * value + (1 - contrast) * GREY
    slope = (high - low) / 60
    contrast = 1 - (low - 60 * slope) / GREY
    brightness = slope / contrast
    for factor, strength in ((brightness, 0.4), (contrast, 0.2)):
        assert 1 - strength - 1e-4 <= factor.min() < 1 - 0.95 * strength
        assert 1 + 0.95 * strength < factor.max() <= 1 + strength + 1e-4
        assert abs(factor.mean() - 1) < 0.05 * strength  # 0.013 is one standard deviation
    assert abs(np.corrcoef(brightness, contrast)[0, 1]) < 0.1  # drawn apart


def test_hue_keeps_to_its_range():
    pixel = np.array([60, 80, 130])
    out = draws([pixel], Augmentation(hue=0.1))[:, 0]
    chroma, turned = pixel - 90, out - 90  # from the grey axis
    # A rotation about it by at most a tenth of the circle.
    np.testing.assert_allclose(out.mean(-1), 90, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), np.linalg.norm(chroma), rtol=1e-4)
    angle = np.degrees(np.arccos(turned @ chroma / (chroma @ chroma)))
    assert 35 < angle.max() <= 36.01


def test_saturation_keeps_to_its_range():
    pixel = np.array([60, 80, 130])
    luma = pixel @ LUMA
    factor = (draws([pixel], Augmentation(saturation=0.3))[:, 0, 2] - luma) / (130 - luma)
    assert 0.7 - 1e-4 <= factor.min() < 0.72
    assert 1.28 < factor.max() <= 1.3 + 1e-4


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_grayscale_leaves_the_luma(probability):
    pixel = np.array([60, 80, 130])
    out = draws([pixel], Augmentation(grayscale=probability))[:, 0]
    grey = np.abs(out - pixel @ LUMA).max(-1) < 1e-2
    np.testing.assert_allclose(out[~grey], np.tile(pixel, ((~grey).sum(), 1)), atol=1e-2)
    assert abs(grey.mean() - probability) <= (0.05 if probability < 1 else 0)


# ----- what was drawn before, and what is switched off


def test_results_of_earlier_versions():
    # Runs that were begun with other versions go on with the same pictures.
    image = (np.arange(2 * 6 * 8 * 3).reshape(2, 6, 8, 3) * 5).astype(np.uint8)
    label = (np.arange(2 * 6 * 8).reshape(2, 6, 8) % 7).astype(np.uint8)
    spec = dataclasses.replace(EVERYTHING, crop=(4, 5))
    out, out_labels = compiled(spec)(jax.random.key(7), image, label)
    first = [[2, 3, 3, 5, 6], [3, 3, 4, 5, 6], [3, 4, 5, 5, 6], [3, 4, 5, 6, 0]]
    second = [[2, 3, 3, 4, 255], [3, 3, 4, 4, 5], [5, 5, 6, 6, 0], [6, 6, 0, 0, 1]]
    np.testing.assert_array_equal(out_labels, [first, second])
    reds = [[59.35, 103.26, 147.18, 191.1, 235.01], [109.43, 144.26, 26.8, 0.0, 24.12]]
    np.testing.assert_allclose(out[:, 0, :, 0], reds, atol=0.02)


def primitives(spec):
    """Names of the operations of the traced program, those of its loops and branches too."""
    images, labels = batch_of(2)
    text = str(jax.make_jaxpr(make_augment(spec, fill=FILL, groups=1))(jax.random.key(0), images, labels))
    return set(re.findall(r"\b(cond|sort|erf_inv|scatter|scatter-add|scatter_add|cumsum|roll|random_\w+)\b", text))


def test_what_is_switched_off_is_not_in_the_program():
    off = primitives(EVERYTHING)
    assert not off & {"cond", "sort", "erf_inv", "scatter", "scatter-add", "cumsum"}
    replaced = partial(dataclasses.replace, EVERYTHING)
    assert primitives(replaced(blur_sigma=(1.0, 9.0), randaugment=(0, 5))) == off
    for on, found in (
        (replaced(blur=0.5), "cond"),
        (replaced(noise=5.0), "erf_inv"),
        (replaced(randaugment=(1, 5)), "cumsum"),
        (replaced(classmix=0.5), "sort"),
    ):
        assert found in primitives(on)


# ----- the configuration


def test_build_reads_the_configuration():
    config = default.get_config().augment
    changes = {"crop": (32, 48), "flip": 1.0, "brightness": 0.5, "blur": 0.5, "randaugment": (2, 7), "cutmix": 0.7}
    config.update(changes)
    images, labels = batch_of(2)
    got = jax.jit(augment.build(config, mean=(0.5, 0.0, 1.0), groups=2, finish=jnp.negative))(
        jax.random.key(0), images, labels
    )
    spec = Augmentation(**changes)
    image, label = jax.jit(make_augment(spec, fill=(128, 0, 255), groups=2))(jax.random.key(0), images, labels)
    expected = (-image, label)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_the_defaults_flip_and_nothing_else():
    images, labels = batch_of(16)
    change = augment.build(default.get_config().augment, mean=(0, 0, 0), groups=1, finish=lambda image: image)
    out, _ = jax.jit(change)(jax.random.key(0), images, labels)
    same = (np.asarray(out) == images).all((1, 2, 3))
    flipped = (np.asarray(out) == images[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ flipped).all()
    assert same.any()
    assert flipped.any()
