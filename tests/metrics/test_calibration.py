"""Calibration, Brier score, likelihood and thresholds, worked out by hand."""

import math

import numpy as np
import pytest

from seg_jax.metrics import calibration, counts, thresholds


def test_histogram_and_error_by_hand():
    # Bins are 1/15 wide and closed above: 0.6 = 9/15 falls into the ninth one, 0.61 into the tenth.
    confidence = np.array([0.6, 0.6, 0.61, 1.0])
    table = calibration.histogram(confidence, np.array([0, 0, 1, 1]), np.array([True, False, True, True]), 2)
    assert table.shape == (3, 2, 15)
    assert table[0].sum() == 4 and table[0, 0, 8] == 2 and table[0, 1, 9] == 1 and table[0, 1, 14] == 1
    # |1/2 - 0.6| * 2/4 + |1 - 0.61| * 1/4 + 0
    assert calibration.error(table.sum(1)) == pytest.approx(0.1 / 2 + 0.39 / 4)
    assert calibration.error(table[:, 0]) == pytest.approx(0.1)
    assert math.isnan(calibration.error(np.zeros((3, 15))))


def test_probabilities_that_are_frequencies_have_no_error():
    confidence = np.full(100, 0.75)
    table = calibration.histogram(confidence, np.zeros(100, int), np.arange(100) < 75, 1)
    assert calibration.error(table.sum(1)) == pytest.approx(0, abs=1e-12)


def test_confidence_of_zero_and_one_have_a_bin():
    table = calibration.histogram(np.array([0.0, 1.0], np.float32), np.array([0, 0]), np.array([True, True]), 1)
    assert (table[0, 0, 0], table[0, 0, 14]) == (1, 1)


def test_brier_and_likelihood_by_hand():
    p = np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]], np.float32)
    n, brier, nll = calibration.scores(p, np.array([0, 2]))
    assert n == 2
    assert brier == pytest.approx((0.09 + 0.04 + 0.01) + (0.25 + 0.25))
    assert nll == pytest.approx(-math.log(0.7) - math.log(0.5))
    assert math.isfinite(calibration.scores(p[1:], np.array([0]))[2])  # probability 0


def test_figures():
    tables = np.stack([calibration.histogram(np.array([0.9]), np.array([i]), np.array([i == 0]), 2) for i in (0, 1)])
    found = calibration.figures(tables, np.array([2.0, 1.0, 3.0]), ("a", "b"), (4,))
    assert found["ece"] == pytest.approx(0.1) and found["ece_bands"] == {"4": pytest.approx(0.9)}
    assert found["ece_classes"]["a"] == pytest.approx(0.1) and math.isnan(found["ece_classes"]["b"])
    assert (found["brier"], found["nll"]) == (0.5, 1.5)
    assert found["bins"]["pixels"].tolist() == [0] * 13 + [1, 0]


def test_thresholds_by_hand():
    # 0.5 does not exceed 0.5, 0.05 no threshold at all.
    p, label = np.array([0.05, 0.5, 0.62, 0.97], np.float32), np.array([0, 1, 0, 1])
    found = thresholds.figures(thresholds.histogram(p, label))
    rows = {row["threshold"]: row for row in found["rows"]}
    assert list(rows) == [round(0.05 * i, 2) for i in range(1, 20)]
    # 0.05: found are 0.5, 0.62, 0.97; right are two of them, none is missed.
    assert rows[0.05] == pytest.approx(
        {"threshold": 0.05, "iou": 2 / 3, "dice": 4 / 5, "precision": 2 / 3, "recall": 1}
    )
    # 0.5: found are 0.62 and 0.97.
    assert rows[0.5] == pytest.approx(
        {"threshold": 0.5, "iou": 1 / 3, "dice": 1 / 2, "precision": 1 / 2, "recall": 1 / 2}
    )
    assert rows[0.65]["precision"] == 1 and rows[0.65]["iou"] == 1 / 2
    assert found["best"] == rows[0.05]  # the lowest of equally good ones


def test_thresholds_agree_with_counting_at_each():
    rng = np.random.default_rng(0)
    p, label = rng.random(500).astype(np.float32), rng.integers(0, 2, 500)
    p[:19] = thresholds.THRESHOLDS  # exactly on them
    for row, threshold in zip(
        thresholds.figures(thresholds.histogram(p, label))["rows"], thresholds.THRESHOLDS, strict=True
    ):
        found, true = p > threshold, label == 1
        table = np.array([(found & true).sum(), (found & ~true).sum(), (~found & true).sum()])[:, None]
        assert row["iou"] == counts.iou(table)[0] and row["recall"] == counts.recall(table)[0]


def test_nothing_counted():
    rows = thresholds.figures(np.zeros((2, 20), np.int64))["rows"]
    assert all(math.isnan(row["iou"]) for row in rows)
