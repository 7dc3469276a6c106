"""Overlapping windows: where they lie, how they are blended, and what an image costs in memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_jax.predict import windows


def test_starts_by_hand():
    assert windows.starts(10, 10, 0.5) == [0]
    assert windows.starts(20, 10, 0.0) == [0, 10]
    assert windows.starts(20, 10, 0.5) == [0, 5, 10]
    assert windows.starts(21, 10, 0.0) == [0, 6, 11]


@given(st.integers(1, 50), st.integers(0, 200), st.floats(0, 0.9))
def test_windows_cover_the_axis_and_overlap(window, more, overlap):
    length = window + more
    found = windows.starts(length, window, overlap)
    assert found[0] == 0 and found[-1] == length - window
    steps = np.diff(found)
    assert (steps <= max(1, np.floor(window * (1 - overlap))) + 1).all() and (steps <= window).all()


def test_the_middle_counts_most_and_no_pixel_nothing():
    blend = windows.weights((9, 5))
    assert blend.shape == (9, 5, 1) and blend.min() > 0
    assert np.unravel_index(blend.argmax(), blend.shape) == (4, 2, 0)
    assert np.allclose(blend, blend[::-1, ::-1])


def pointwise(images):
    """Probabilities of three classes that depend on the pixel alone: what windows must not change."""
    shares = images.astype(np.float32) + 1
    return shares / shares.sum(-1, keepdims=True)


@pytest.mark.parametrize("size", [(7, 9), (32, 32), (33, 100), (100, 5)])
@pytest.mark.parametrize("batch", [1, 3])
def test_what_each_pixel_says_by_itself_comes_back(size, batch):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    seen = []

    def engine(images):
        seen.append(images.shape)
        return pointwise(images)

    bands = list(windows.slide(engine, image, window=(32, 32), overlap=0.25, batch=batch))
    assert set(seen) == {(batch, 32, 32, 3)}  # compiled once
    lengths = [len(band) for _, band in bands]
    assert [top for top, _ in bands] == [0, *np.cumsum(lengths)[:-1]] and max(lengths) <= windows.MAX_BAND
    whole = np.concatenate([band for _, band in bands])
    assert whole.shape == (*size, 3)
    assert np.allclose(whole, pointwise(image), atol=1e-6)


def test_blending_by_hand():
    """Two windows that disagree: the weighted mean where they overlap."""
    calls = iter([0.0, 1.0])

    def engine(images):
        return np.full((*images.shape[:3], 1), next(calls), np.float32)

    ((_, found),) = windows.slide(engine, np.zeros((4, 6, 3), np.uint8), window=(4, 4), overlap=0.5, batch=1)
    blend = windows.weights((4, 4))[0, :, 0]
    right = blend[:2] / (blend[:2] + blend[2:])
    assert np.allclose(found[..., 0], [[0, 0, *right, 1, 1]] * 4)
    assert right[0] < 0.5 < right[1]
