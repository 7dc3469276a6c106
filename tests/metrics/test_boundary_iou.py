"""Boundary regions and bands: small pictures by hand, then the definition, one pixel after the other."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seg_jax.metrics import boundary, counts

IGNORE = 255


def by_definition(label, distance, *, outside):
    """Every pixel of the window around every pixel."""
    h, w = label.shape
    found = np.zeros((h, w), bool)
    for y, x in np.ndindex(h, w):
        if label[y, x] == IGNORE:
            continue
        for dy in range(-distance, distance + 1):
            for dx in range(-distance, distance + 1):
                inside = 0 <= y + dy < h and 0 <= x + dx < w
                other = label[y + dy, x + dx] if inside else IGNORE
                found[y, x] |= outside if other == IGNORE else other != label[y, x]
    return found


def test_near_by_hand():
    label = np.array([[0, 0, 0, 0, 1, 1, 1, 255, 2]], np.uint8)
    assert boundary.near(label, 1, outside=False)[0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0]
    assert boundary.near(label, 2, outside=False)[0].tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 1]
    # One row: everything lies at the image's edge.
    assert boundary.near(label, 1, outside=True)[0].tolist() == [1, 1, 1, 1, 1, 1, 1, 0, 1]
    tall = np.zeros((5, 5), np.uint8)
    np.testing.assert_array_equal(boundary.near(tall, 2, outside=True), np.pad([[False]], 2, constant_values=True))
    assert not boundary.near(tall, 2, outside=False).any()


labels = st.tuples(st.integers(1, 7), st.integers(1, 9)).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.sampled_from([0, 0, 1, 254, IGNORE]))
)


@given(labels, st.integers(1, 6), st.booleans())
@settings(max_examples=60)
def test_near_is_its_definition(label, distance, outside):
    expected = by_definition(label, distance, outside=outside)
    np.testing.assert_array_equal(boundary.near(label, distance, outside=outside), expected)


def eroded(mask, times):
    """A mask without its outermost pixels, which those at the edge of the image are, so many times: 3x3 erosion."""
    for _ in range(times):
        padded = np.pad(mask, 1)
        parts = [padded[y : y + mask.shape[0], x : x + mask.shape[1]] for y in range(3) for x in range(3)]
        mask = np.logical_and.reduce(parts)
    return mask


@pytest.mark.parametrize(("size", "ratio"), [((20, 30), 0.02), ((24, 17), 0.1)])
def test_boundary_counts_are_overlaps_of_eroded_masks(size, ratio, monkeypatch):
    # Cheng et al. 2021, as published: the mask minus its erosion by the distance, for each class by itself.
    monkeypatch.setattr(boundary, "RATIO", ratio)
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 3, (2, -(-size[0] // 6), -(-size[1] // 6))).astype(np.uint8)
    label, prediction = coarse.repeat(6, 1).repeat(6, 2)[:, : size[0], : size[1]]
    label[3:5, 4:9] = IGNORE
    distance = max(1, round(ratio * math.hypot(*size)))
    assert distance == (1 if ratio == 0.02 else 3)
    for c, (tp, fp, fn) in enumerate(boundary.boundary_counts(prediction, label, 3).T):
        true, found = label == c, (prediction == c) & (label != IGNORE)
        true, found = true & ~eroded(true, distance), found & ~eroded(found, distance)
        assert (tp, fp, fn) == ((true & found).sum(), (found & ~true).sum(), (true & ~found).sum())


def test_boundary_iou_by_hand():
    # 10x10, distance 1 (0.02 * 14 rounds to 0). A 6x6 square, seen one pixel further right: rings of 20 pixels each,
    # which share 5 pixels of the upper and 5 of the lower side, and of the others none.
    label, prediction = np.zeros((2, 10, 10), np.uint8)
    label[2:8, 1:7], prediction[2:8, 2:8] = 1, 1
    table = boundary.boundary_counts(prediction, label, 2)
    assert table[:, 1].tolist() == [10, 10, 10]
    assert counts.iou(table)[1] == 1 / 3
    same = boundary.boundary_counts(label, label, 2)
    assert same[0, 1] == 20 and not same[1:].any()


def test_bands_by_hand():
    label = np.zeros((3, 64), np.uint8)
    label[:, 32:] = 1
    places = boundary.nearest(label)
    for place, width in enumerate(boundary.WIDTHS):
        assert np.flatnonzero(places[1] <= place).tolist() == list(range(32 - width, 32 + width))
    assert places[1, 0] == len(boundary.WIDTHS)  # too far
