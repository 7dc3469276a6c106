"""Tables over all colours: the right entry for every pixel, and the exact nearest colour everywhere."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seg_jax.data.labels import colors
from seg_jax.data.labels.colors import indices, lookup, nearest_table, unlike

EVERY = np.arange(1 << 24, dtype=np.uint32)  # each colour's own place


def nearest(palette, pixels, weights=(1, 1, 1)):
    """The position of the nearest colour, pixel by pixel."""
    differences = pixels[..., None, :].astype(np.int64) - np.asarray(palette)
    return (np.square(differences) * weights).sum(axis=-1).argmin(axis=-1)


def test_places():
    assert indices(np.array([[1, 2, 3], [255, 255, 255], [0, 0, 0]], np.uint8)).tolist() == [197121, (1 << 24) - 1, 0]


BLACK, WHITE, GREY = (0, 0, 0), (255, 255, 255), (128, 128, 128)


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        ([(255, 0, 0)], BLACK),
        ([BLACK], WHITE),
        ([(0, 47, 0)], WHITE),  # nearly black
        ([(0, 48, 0)], BLACK),
        ([BLACK, (255, 255, 220)], GREY),
    ],
)
def test_a_colour_unlike_those_that_are_taken(taken, free):
    assert unlike(np.array(taken)) == free


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=255))
@settings(max_examples=30, deadline=None)
def test_a_colour_that_is_not_taken_is_always_found(taken):
    assert unlike(np.array([*taken, BLACK, WHITE, GREY])) not in {*taken, BLACK, WHITE, GREY}


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (5, 7), (2, 3, 4), (257, 255), (256, 256), (1, 65537), (300, 500)])
def test_every_pixel_is_looked_up(size, channels):
    mask = np.random.default_rng(0).integers(0, 256, (*size, channels), np.uint8)
    found = lookup(EVERY, mask)
    assert (found.shape, found.dtype) == (size, EVERY.dtype)
    np.testing.assert_array_equal(found, indices(mask[..., :3]))


def test_slices_are_looked_up():
    mask = np.random.default_rng(0).integers(0, 256, (9, 12, 4), np.uint8)
    for part in (mask[::2, 1::3], mask[:, :, :3], mask[::-1], mask.transpose(1, 0, 2)):
        np.testing.assert_array_equal(lookup(EVERY, part), indices(part[..., :3]))


level = st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 31, 32, 33, 127, 128, 254, 255]))
palettes = st.lists(st.tuples(level, level, level), min_size=1, max_size=12, unique=True)


@settings(max_examples=25)
@given(palettes, st.sampled_from([(1, 1, 1), (8, 1, 1), (1, 2, 5)]))
@example([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)], (1, 1, 1))
@example([(10, 10, 10), (20, 10, 10), (10, 20, 10), (15, 15, 10)], (1, 1, 1))  # equally near ones
@example(list(itertools.product((0, 255), repeat=3)), (1, 1, 1))
def test_nearest_is_exact(palette, weights):
    table = nearest_table(np.array(palette), weights)
    assert (table.shape, table.dtype) == ((1 << 24,), np.uint8)
    rng = np.random.default_rng(0)
    # Anywhere, and on the borders between two colours, where it is decided.
    pairs = rng.choice(np.array(palette), (4000, 2)).sum(axis=1) / 2 + rng.integers(-2, 3, (4000, 3))
    pixels = np.concatenate([rng.integers(0, 256, (4000, 3)), pairs.clip(0, 255)]).astype(np.uint8)
    np.testing.assert_array_equal(lookup(table, pixels[None])[0], nearest(palette, pixels, weights))


def test_nearest_is_exact_on_a_grid():
    palette = np.random.default_rng(1).integers(0, 256, (30, 3))
    steps = np.append(np.arange(0, 256, 5), [127, 128, 254]).astype(np.uint8)
    pixels = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    np.testing.assert_array_equal(lookup(nearest_table(palette), pixels), nearest(palette, pixels))


def test_256_colours():
    palette = np.random.default_rng(2).permutation(1 << 12)[:256, None] // [1, 16, 256] % 16 * 17
    table = nearest_table(palette)
    np.testing.assert_array_equal(table[indices(palette)], np.arange(256))
    pixels = np.random.default_rng(3).integers(0, 256, (1, 5000, 3), np.uint8)
    np.testing.assert_array_equal(lookup(table, pixels), nearest(palette, pixels))


def test_the_way_it_is_computed_does_not_matter(monkeypatch):
    palette = np.random.default_rng(4).integers(0, 256, (7, 3))
    table = nearest_table(palette)
    monkeypatch.setattr(colors, "LEAF", 128)
    np.testing.assert_array_equal(nearest_table(palette), table)
