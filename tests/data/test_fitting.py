"""The part of a photograph that a crop shows, and whole photographs with padding."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image

from seg_jax.augment.geometry import warp
from seg_jax.data import fitting
from seg_jax.data.labels import IGNORE

FILL = (10, 20, 30)


@functools.partial(jax.jit, static_argnums=3)
def warped(image, label, matrix, output, inside=None):
    return warp(image, label, matrix, output, FILL, inside=inside)


def photograph(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), np.uint8), rng.integers(0, 5, (height, width), np.uint8)


def shown(part, output):
    """What the device makes of a part."""
    image, label, placed = part
    image, label = warped(image, label, placed[:, :3], output, placed[:, 3:])
    return np.asarray(image), np.asarray(label)


def test_pixels_are_copied_where_nothing_shrinks():
    image, label = photograph(20, 30)
    matrix = np.array([[1.0, 0, 5], [0, 1, 7]])
    made, classes = shown(fitting.part(image, label, matrix, output=(8, 8), size=(16, 16)), (8, 8))
    np.testing.assert_array_equal(made, image[5:13, 7:15])
    np.testing.assert_array_equal(classes, label[5:13, 7:15])


def test_outside_of_the_photograph_is_fill_and_ignored():
    image, label = photograph(6, 5)
    matrix = np.array([[1.0, 0, -2], [0, 1, -1]])  # two rows above, one column to the left
    made, classes = shown(fitting.part(image, label, matrix, output=(10, 8), size=(16, 16)), (10, 8))
    np.testing.assert_array_equal(made[2:8, 1:6], image)
    np.testing.assert_array_equal(classes[2:8, 1:6], label)
    outside = np.ones((10, 8), bool)
    outside[2:8, 1:6] = False
    assert (made[outside] == FILL).all() and (classes[outside] == IGNORE).all()


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_a_crop_that_shrinks_shows_the_photograph_as_pillow_reduces_it(factor):
    image, label = photograph(24 * factor, 20 * factor)
    matrix = np.array([[factor, 0, (factor - 1) / 2 + 3 * factor], [0, factor, (factor - 1) / 2 + 2 * factor]])
    made, classes = shown(fitting.part(image, label, matrix.astype(float), output=(16, 16), size=(24, 24)), (16, 16))
    small = Image.fromarray(image).resize((20, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(made, np.asarray(small)[3:19, 2:18])
    rows, columns = (np.floor(factor * np.arange(16) + (factor - 1) / 2 + 0.5 + k * factor).astype(int) for k in (3, 2))
    np.testing.assert_array_equal(classes, label[rows][:, columns])


@pytest.mark.parametrize("turn", [1, -1])
def test_a_photograph_that_was_decoded_smaller_is_where_the_whole_one_is(turn):
    """On a plane, whose interpolation is exact: a shift of half a pixel would be seen."""
    y, x = np.mgrid[:96, :128]
    image = np.stack([2 * y, 255 - x, y + x], axis=-1).astype(np.uint8)
    label = (y // 8 % 4).astype(np.uint8)
    small = image.reshape(48, 2, 64, 2, 3).mean((1, 3)).round().astype(np.uint8)
    matrix = np.array([[turn * 2.3, 0.2, 14.3 if turn > 0 else 70.2], [-0.2, 2.3, 20.6]])
    (whole, classes), (less, same) = (
        shown(fitting.part(one, label, matrix, output=(24, 32), size=(40, 48)), (24, 32)) for one in (image, small)
    )
    np.testing.assert_allclose(less, whole, atol=1.2)
    np.testing.assert_array_equal(same, classes)
    rows, columns = np.mgrid[:24, :32]
    expected = 2 * (matrix[0, 0] * rows + matrix[0, 1] * columns + matrix[0, 2])
    np.testing.assert_allclose(less[..., 0], expected, atol=1.2)


def test_mirrored_and_reduced():
    image, label = photograph(40, 40)
    plain = np.array([[2.0, 0, 0.5], [0, 2, 0.5]])
    mirrored = np.array([[2.0, 0, 0.5], [0, -2, 38.5]])
    first, second = (
        shown(fitting.part(image, label, matrix, output=(20, 20), size=(24, 24)), (20, 20))
        for matrix in (plain, mirrored)
    )
    np.testing.assert_array_equal(first[0], second[0][:, ::-1])


@pytest.mark.parametrize("size", [(1, 1), (40, 30), (7, 60)])
def test_a_part_shows_what_the_whole_photograph_would(size):
    image, label = photograph(*size)
    rng = np.random.default_rng(1)
    for _ in range(20):
        angle, scale, place = rng.uniform(-3, 3), rng.uniform(1, 3), rng.uniform(-20, 40, 2)
        cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
        matrix = np.array([[cos, sin, place[0]], [-sin, cos, place[1]]], np.float32)
        made, classes = shown(
            fitting.part(image, label, matrix.astype(float), output=(12, 16), size=(24, 24)), (12, 16)
        )
        whole, truth = jax.device_get(warped(image, label, matrix, (12, 16)))
        # Positions are rounded elsewhere: a pixel may be another one where it is half-way between two.
        same = classes == truth
        assert same.mean() > 0.97
        np.testing.assert_allclose(made[same], whole[same], atol=0.1)


def test_a_crop_that_needs_more_than_the_part_is_reduced_further():
    image, label = photograph(100, 100)
    matrix = np.array([[1.0, 0, 10], [0, 1, 10]])
    made, classes = shown(fitting.part(image, label, matrix, output=(40, 40), size=(24, 24)), (40, 40))
    assert (classes != IGNORE).all() and abs(made.mean() - image[10:50, 10:50].mean()) < 5


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [((300, 400), 0, (300, 400)), ((300, 400), 150, (150, 200)), ((401, 300), 100, (134, 100)), ((1, 9), 2, (2, 18))],
)
def test_the_size_that_a_network_sees(size, short_side, expected):
    assert fitting.network_size(size, short_side) == expected


def test_whole_photographs_are_padded_by_their_border_and_labels_by_ignore():
    pair = photograph(3, 4)
    arrays = fitting.Padded((5, 6), (5, 6), 0)(pair, index=0, batch=0, row=0)
    np.testing.assert_array_equal(arrays["image"], np.pad(pair[0], ((0, 2), (0, 2), (0, 0)), mode="edge"))
    assert (arrays["label"][:3, :4] == pair[1]).all() and (arrays["label"] == IGNORE).sum() == 30 - 12
    assert arrays.keys() == {"image", "label"}


def test_at_a_short_side_labels_keep_their_size():
    fit = fitting.Padded((8, 8), (16, 16), 4)
    arrays = fit(photograph(12, 15), index=0, batch=0, row=0)
    np.testing.assert_array_equal(arrays["sizes"], [[4, 5], [12, 15]])
    assert {name: (array.shape, array.dtype) for name, array in arrays.items()} == fit.arrays
    blank = fitting.blank(fit.arrays)
    assert (blank["label"] == IGNORE).all() and not blank["image"].any() and not blank["sizes"].any()
