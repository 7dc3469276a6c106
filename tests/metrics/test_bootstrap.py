"""Intervals and comparisons of runs by drawing images again."""

import numpy as np
import pytest

from seg_jax.metrics import bootstrap


def images(correct, wrong):
    """Counts of one class in each image: so many right and so many missed pixels."""
    correct, wrong = np.asarray(correct), np.asarray(wrong)
    return np.stack([correct, np.zeros_like(correct), wrong], axis=1)[..., None]


def test_equal_images_leave_no_doubt():
    found = bootstrap.interval(images([3, 3, 3], [1, 1, 1]))
    assert found == {"low": 0.75, "high": 0.75, "level": 0.95, "resamples": 1000, "seed": 0}


def test_interval_of_a_binomial():
    # 400 images of one pixel, 80 % of them right: the normal approximation gives 0.8 +- 1.96 sqrt(0.16 / 400).
    right = np.arange(400) < 320
    found = bootstrap.interval(images(right.astype(int), (~right).astype(int)))
    assert found["low"] == pytest.approx(0.8 - 1.96 * 0.02, abs=0.006)
    assert found["high"] == pytest.approx(0.8 + 1.96 * 0.02, abs=0.006)
    assert found == bootstrap.interval(images(right.astype(int), (~right).astype(int)))  # drawn by a seed


def test_a_draw_without_a_class_leaves_it_out_of_the_mean():
    # Class 1 occurs in one of two images, with IoU 0; class 0 is perfect in both: draws score 1 or 1/2.
    table = np.array([[[2, 0], [0, 0], [0, 4]], [[2, 0], [0, 0], [0, 0]]])
    found = bootstrap.interval(table)
    assert (found["low"], found["high"]) == (0.5, 1.0)


def test_one_image_tells_nothing_of_others():
    one = images([3], [1])
    assert np.isnan(bootstrap.interval(one)["low"]) and np.isnan(bootstrap.interval(one)["high"])
    with pytest.raises(ValueError, match="at least two"):
        bootstrap.paired(one, one)


def test_nothing_counted():
    assert np.isnan(bootstrap.interval(np.zeros((2, 3, 2), int))["low"])


def test_paired_runs():
    rng = np.random.default_rng(0)
    hard = rng.integers(0, 100, 50)  # what is hard is hard for both
    one, two = images(100 - hard, hard), images(100 - hard * 9 // 10, hard * 9 // 10)
    better = bootstrap.paired(one, two)
    expected = (100 - hard * 9 // 10).sum() / 5000 - (100 - hard).sum() / 5000
    assert better["difference"] == pytest.approx(expected)
    assert 0 < better["low"] < expected < better["high"] and better["p"] == pytest.approx(2 / 1001)
    worse = bootstrap.paired(two, one)
    assert worse["difference"] == -better["difference"] and worse["p"] == better["p"]
    # Beside the interval of either of them the difference would be nothing.
    apart = bootstrap.interval(one)
    assert apart["high"] - apart["low"] > 2 * (better["high"] - better["low"])


def test_the_same_run_twice_is_no_difference():
    one = images([1, 2, 3], [3, 2, 1])
    found = bootstrap.paired(one, one)
    assert (found["difference"], found["low"], found["high"], found["p"]) == (0, 0, 0, 1)


def test_other_images_cannot_be_paired():
    with pytest.raises(ValueError, match=r"\(2, 3, 1\) and \(3, 3, 1\)"):
        bootstrap.paired(images([1, 1], [0, 0]), images([1, 1, 1], [0, 0, 0]))
