"""Crops that labels decide on: centred on rare classes, and not of one class alone."""

import numpy as np
import pytest

from seg_jax.augment import Augmentation, balance
from seg_jax.augment.placing import Crops
from seg_jax.data.labels import IGNORE

HERE = np.eye(2, 3)  # a crop from the upper left corner


def test_the_class_and_the_pixel_by_hand():
    label = np.array([[0, 0, IGNORE], [0, 1, 1]], np.uint8)

    def drawn(*draws):
        return balance.class_pixel(label, (4, 1), draws)

    # 1 / sqrt(4) and 1 / sqrt(1): a third for class 0, two thirds for class 1, in the order of rows.
    assert [drawn(0.33, u) for u in (0.0, 0.34, 0.67, 0.99)] == [(0, 0), (0, 1), (1, 0), (1, 0)]
    assert [drawn(0.34, u) for u in (0.0, 0.49, 0.51, 0.99)] == [(1, 1), (1, 1), (1, 2), (1, 2)]
    # Without numbers of the training split, every class is as rare.
    assert [balance.class_pixel(label, (), (u, 0.0)) for u in (0.49, 0.51)] == [(0, 0), (1, 1)]
    assert balance.class_pixel(np.full((2, 3), IGNORE, np.uint8), (4, 1), (0.5, 0.5)) is None


def test_every_pixel_of_a_class_is_as_likely():
    label = np.random.default_rng(0).integers(0, 3, (7, 9), np.uint8)
    where = np.argwhere(label == 2)
    drawn = [balance.class_pixel(label, (10**9, 10**9, 1), (0.5, (i + 0.5) / len(where))) for i in range(len(where))]
    np.testing.assert_array_equal(drawn, where)


@pytest.mark.parametrize(
    ("rows", "most", "expected"),
    [
        ([[0, 0, 1, 1]] * 4, 0.5, True),
        ([[0, 0, 1, 1]] * 4, 0.51, False),
        ([[0, IGNORE, IGNORE, 1]] * 4, 0.75, False),  # ignored pixels do not count
        ([[0, 0, 0, 1]] * 4, 0.75, True),
        ([[0, 0, 0, 0]] * 4, 0.99, True),
        ([[IGNORE] * 4] * 4, 0.99, True),
        ([[0, 1], [0, 1]], 0.51, False),  # nor do those outside of the photograph
    ],
)
def test_crops_of_one_class(rows, most, expected):
    assert balance.dominated(np.array(rows, np.uint8), HERE, (4, 4), most) == expected


def test_the_part_that_the_crop_shows_counts():
    label = np.zeros((8, 8), np.uint8)
    label[4:] = 1
    shifted = HERE + np.array([[0, 0, 2], [0, 0, 2]])
    assert not balance.dominated(label, shifted, (4, 4), 0.51)
    assert balance.dominated(label, HERE, (4, 4), 0.51)
    assert not balance.dominated(label.repeat(40, 0).repeat(40, 1), HERE * 40, (8, 8), 0.51)
    large = label.repeat(40, 0).repeat(40, 1)  # counted on a grid
    assert balance.dominated(large, HERE, (240, 320), 0.66) and not balance.dominated(large, HERE, (240, 320), 0.67)


def choose(spec, label, *, short_side=0, pixels=(), n=60):
    """The maps of some examples, and what they would be if labels did not decide."""
    crops = Crops(spec, seed=3, short_side=short_side, pixels=pixels)
    maps = [crops.choose(label, batch=0, row=row) for row in range(n)]
    return np.stack(maps), np.stack([crops.matrix(label.shape, batch=0, row=row) for row in range(n)])


def shown(matrix, point):
    """The place in the crop where a point of the photograph is."""
    return np.linalg.solve(matrix[:, :2], np.array(point) - matrix[:, 2])


@pytest.mark.parametrize("short_side", [0, 150])
def test_crops_are_centred_on_a_rare_pixel(short_side):
    label = np.zeros((300, 400), np.uint8)
    label[140, 210] = 1
    spec = Augmentation(crop=(33, 33), crop_balance=1.0, scale=(0.5, 2.0), rotate=20.0, flip=0.5, translate=0.2)
    maps, free = choose(spec, label, short_side=short_side, pixels=(10**12, 1))
    for matrix in maps:
        np.testing.assert_allclose(shown(matrix, (140, 210)), 16, atol=1.6)
    np.testing.assert_array_equal(maps[:, :, :2], free[:, :, :2])  # scale, rotation and flip stay
    assert len(np.unique(free[:, :, 2], axis=0)) > 50


def test_at_the_border_crops_stay_in_the_photograph():
    label = np.zeros((300, 400), np.uint8)
    label[298, 3] = 1
    for matrix in choose(Augmentation(crop=(32, 48), crop_balance=1.0), label, pixels=(10**12, 1))[0]:
        np.testing.assert_allclose(matrix[:, 2], (300 - 32, 0), atol=0.51)
    small = np.zeros((20, 20), np.uint8)  # smaller than the crop: all of it is shown
    small[0, 19] = 1
    for matrix in choose(Augmentation(crop=(32, 32), crop_balance=1.0), small, pixels=(10**12, 1))[0]:
        assert (matrix[:, 2] >= -12.5).all() and (matrix[:, 2] <= 0.5).all()


def test_a_share_of_the_crops_is_balanced():
    label = np.zeros((200, 200), np.uint8)
    label[90, 110] = 1
    maps, free = choose(Augmentation(crop=(9, 9), crop_balance=0.3), label, pixels=(10**12, 1), n=300)
    moved = (maps != free).any(axis=(1, 2))
    assert 0.2 < moved.mean() < 0.4
    ignored, free = choose(Augmentation(crop=(9, 9), crop_balance=0.3), label * 0 + IGNORE)
    np.testing.assert_array_equal(ignored, free)


def test_positions_are_drawn_again_while_one_class_dominates():
    label = np.zeros((200, 200), np.uint8)
    label[:, 100:] = 1
    spec = Augmentation(crop=(20, 20), scale=(0.5, 2.0), cat_max_ratio=0.9)
    maps, free = choose(spec, label, n=100)

    def bad(matrices):
        return np.array([balance.dominated(label, matrix, (20, 20), 0.9) for matrix in matrices])

    once = bad(free).mean()
    assert 0.8 < once < 1
    assert abs(bad(maps).mean() - once**11) < 0.1  # eleven independent draws
    np.testing.assert_array_equal(maps[~bad(free)], free[~bad(free)])  # these are as they were drawn first
    np.testing.assert_array_equal(maps[:, :, :2], free[:, :, :2])


def test_both_together_keep_the_class():
    """A crop that is centred on a rare class stays centred on one of its pixels."""
    label = np.zeros((200, 200), np.uint8)
    label[50, 60] = label[150, 140] = 1
    spec = Augmentation(crop=(9, 9), crop_balance=1.0, cat_max_ratio=0.5)
    for matrix in choose(spec, label, pixels=(10**12, 1))[0]:
        assert min(np.abs(shown(matrix, point) - 4).max() for point in ((50, 60), (150, 140))) <= 0.51


def test_a_place_depends_on_nothing_but_its_numbers():
    label = np.random.default_rng(1).integers(0, 5, (64, 80), np.uint8)
    spec = Augmentation(crop=(16, 16), crop_balance=0.5, cat_max_ratio=0.3, rotate=5.0)
    whole = Crops(spec, seed=7, short_side=0)
    resumed = Crops(spec, seed=7, short_side=0, start=2, first=3)
    for row in range(8):
        expected = whole.choose(label, batch=2, row=row + 3)
        np.testing.assert_array_equal(resumed.choose(label, batch=0, row=row), expected)
