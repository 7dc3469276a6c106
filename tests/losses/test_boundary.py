"""Distances to boundaries against all pairs of pixels, and what errors cost by hand."""

import numpy as np
import pytest

from seg_jax.losses.boundary import boundary, signed_distance

IGNORE = 255


def test_by_hand():
    # Class 1 is the right one of four pixels: their distances to its boundary are 2.5, 1.5, 0.5, -0.5.
    z = np.log(3, dtype=np.float32)  # p = 3/4 everywhere
    logits = np.array([[[[0, z]] * 4], [[[0, z]] * 4]], np.float32)
    label = np.array([[[0, 0, 0, 1]], [[0, 0, 0, 0]]], np.uint8)  # no boundary in the second image
    values, weights = boundary(logits, label, head="binary")
    expected = [2.5 * 0.75, 1.5 * 0.75, 0.5 * 0.75, 0.5 * 0.25]
    np.testing.assert_allclose(values[0, 0, :, 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(weights[..., 0], [[[1, 1, 1, 1]], [[0, 0, 0, 0]]])
    # To class 0 the boundary is the same one, seen from the other side.
    both, weights = boundary(logits, label, class_weights=(2.0, 1.0))
    np.testing.assert_allclose(both[0, 0], np.stack([expected, expected], -1), rtol=1e-6)
    np.testing.assert_array_equal(weights[0, 0], [[2, 1]] * 4)
    assert not np.any(both[1]) and not np.any(weights[1])


def nearest(side):
    """Distance of each pixel [h w] to the nearest one of `side`, from all pairs."""
    seeds = np.argwhere(side)
    places = np.argwhere(np.ones_like(side))
    apart = np.sqrt(((places[:, None] - seeds) ** 2).sum(-1))
    return apart.min(1).reshape(side.shape)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_distances_are_exact(share):
    rng = np.random.default_rng(0)
    region = rng.random((3, 13, 9, 2)) < share
    region[2, ..., 1] = True
    valid = rng.random((3, 13, 9, 1)) < 0.8
    distance, known = signed_distance(region, valid)
    assert known.shape == (3, 1, 1, 2) and not known[2, 0, 0, 1]
    checked = 0
    for b in range(3):
        for c in range(2):
            inside = region[b, ..., c] & valid[b, ..., 0]
            outside = ~region[b, ..., c] & valid[b, ..., 0]
            assert bool(known[b, 0, 0, c]) == (inside.any() and outside.any())
            if not known[b, 0, 0, c]:
                np.testing.assert_array_equal(distance[b, ..., c], 0)
                continue
            expected = np.where(region[b, ..., c], 0.5 - nearest(outside), nearest(inside) - 0.5)
            np.testing.assert_allclose(distance[b, ..., c], expected, rtol=1e-6)
            checked += 1
    assert checked >= 4


def test_ignored_pixels_are_no_boundary():
    # Between the region and the next class lie two pixels that nobody knows: the boundary is not at the first of them.
    label = np.array([[[1, 1, IGNORE, IGNORE, 0, 0]]], np.uint8)
    region, valid = (label == 1)[..., None], (label != IGNORE)[..., None]
    distance, _ = signed_distance(region, valid)
    np.testing.assert_allclose(distance[0, 0, [0, 1, 4, 5], 0], [-3.5, -2.5, 2.5, 3.5])
    _, weights = boundary(np.zeros((1, 1, 6, 2), np.float32), label)
    np.testing.assert_array_equal(weights[0, 0, :, 0], [1, 1, 0, 0, 1, 1])
