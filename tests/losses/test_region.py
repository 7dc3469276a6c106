"""Overlap of regions against counts by hand."""

import numpy as np
import pytest

from seg_jax import losses
from seg_jax.losses import region

IGNORE = 255


def certain(rows):
    """Logits [1 n 1 k] of the probabilities in `rows`."""
    return np.log(np.maximum(np.asarray(rows, np.float32), 1e-30))[None, :, None]


# Class 0: p = 3/4, 1/2, 0 with the truths 1, 1, 0: TP 5/4, FP 0, FN 3/4. Class 1: TP 1, FP 3/4, FN 0. Class 2: absent.
LOGITS = certain([[0.75, 0.25, 0.0], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]])
LABEL = np.array([0, 0, 1, IGNORE], np.uint8)[None, :, None]


@pytest.mark.parametrize(
    ("loss", "options", "expected"),
    [
        (region.dice, {}, (1 - 2.5 / 3.25, 1 - 2 / 2.75)),
        (region.jaccard, {}, (1 - 1.25 / 2, 1 - 1 / 1.75)),
        (region.tversky, {"alpha": 0.2, "beta": 0.6}, (1 - 1.25 / 1.7, 1 - 1 / 1.15)),
        (region.tversky, {"alpha": 1.0, "beta": 1.0, "gamma": 2.0}, (0.375**2, (3 / 7) ** 2)),
        (region.tversky, {"alpha": 1.0, "beta": 1.0, "gamma": 0.75}, (0.375**0.75, (3 / 7) ** 0.75)),
    ],
)
def test_by_hand(loss, options, expected):
    values, weights = loss(LOGITS, LABEL, class_weights=(1.0, 3.0, 5.0), **options)
    np.testing.assert_allclose(values, [*expected, 0], rtol=1e-5)
    np.testing.assert_array_equal(weights, [1, 3, 0])
    mean = losses.mean(*losses.reduce(values, weights))
    assert float(mean) == pytest.approx((expected[0] + 3 * expected[1]) / 4, rel=1e-5)


def test_each_class_by_itself():
    # Overlapping classes, p = 1/2 everywhere. Class 0 fills both pixels: TP 1, FN 1. Class 1 one: TP = FP = FN = 1/2.
    label = np.array([[1, 1, 0], [1, 0, 0]], np.uint8)[None, :, None]
    values, weights = region.jaccard(np.zeros((1, 2, 1, 3), np.float32), label, head="sigmoid")
    np.testing.assert_allclose(values, [1 - 1 / 2, 1 - 1 / 3, 0], rtol=1e-6)
    np.testing.assert_array_equal(weights, [1, 1, 0])


def test_two_classes_are_one_region():
    label = np.array([1, 0, 0], np.uint8)[None, :, None]
    logits = certain([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    values, weights = region.dice(logits, label, head="binary")
    np.testing.assert_allclose(values, [1 - 2 * 0.5 / (2 * 0.5 + 0.25 + 0.5)], rtol=1e-5)
    np.testing.assert_array_equal(weights, [1])
    # Without the region there is nothing to overlap with.
    assert not np.any(region.dice(logits, 0 * label, head="binary")[1])


def test_counts_are_those_of_the_batch():
    # One pixel in the first image, three in the second: four in all, of which one is right.
    label = np.zeros((2, 2, 2), np.uint8)
    label[0, 0, 0] = 1
    label[1, :, 0] = label[1, 1, 1] = 1
    found = np.zeros_like(label)
    found[0, 0, 0] = 1
    logits = np.where(found[..., None] == np.arange(2), 50.0, -50.0).astype(np.float32)
    np.testing.assert_allclose(region.jaccard(logits, label)[0], [1 - 4 / 7, 1 - 1 / 4], rtol=1e-5)
