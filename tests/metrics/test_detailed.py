"""What is counted from the probabilities of one image after the other, and how it is said."""

import tracemalloc

import numpy as np
import pytest

from seg_jax.data.probabilities import resized_bands
from seg_jax.metrics import Images, Report, boundary, calibration, counts, summary
from seg_jax.metrics.detailed import Counter
from seg_jax.predict import windows

IGNORE = 255


@pytest.fixture(scope="module")
def counter():
    """Two images of two classes, four pixels each, one of them ignored; of three that the split has."""
    counted = Counter(("ground", "water"), 3)
    water = np.array([[[0.9, 0.6, 0.2, 0.7]], [[0.5, 0.3, 0.8, 0.1]]], np.float32)
    label = np.array([[[1, 0, 0, IGNORE]], [[0, 1, 1, 0]]], np.uint8)
    for index, p, truth in zip((0, 2), water, label, strict=True):
        seen = counted.add(index, [np.stack([1 - p, p], axis=-1)], truth)
        np.testing.assert_array_equal(seen, p > 0.5)  # equally probable: the first class
    return counted


def test_confusion_and_images(counter):
    np.testing.assert_array_equal(counter.totals["confusion"], [[3, 1], [1, 2]])
    # (TP, FP, FN) of ground and water.
    assert counter.totals["images"].tolist() == [
        [[1, 1], [0, 1], [1, 0]],
        [[0, 0], [0, 0], [0, 0]],  # fed by another process
        [[2, 1], [1, 0], [0, 1]],
    ]
    # Above 0.5: in the third image the first pixel belongs to neither class.
    assert counter.totals["above"][2].tolist() == [[1, 1], [1, 0], [1, 1]]
    np.testing.assert_array_equal(counter.totals["above"][0], counter.totals["images"][0])


def test_bands(counter):
    # Within one pixel of the other class: pixels 0, 1 of the first row, all of the other. Within two: all that count.
    near, wider = counter.totals["bands"][:2]
    assert near[:, 0].tolist() == [2, 1, 1] and near[:, 1].tolist() == [2, 1, 1]
    assert wider[:, 0].tolist() == [3, 1, 1]


def test_figures_of_two_classes(counter):
    found = counter.figures()
    assert found["trimap"]["1"]["miou"] == 0.5 and found["trimap"]["2"]["iou"] == {"ground": 3 / 5, "water": 2 / 4}
    # Water is found in 0.9 and 0.8 (right) and 0.6 (wrong); 0.3 is missed.
    rows = {row["threshold"]: row for row in found["thresholds"]["rows"]}
    assert rows[0.5]["iou"] == 2 / 4 and rows[0.65]["precision"] == 1
    # Above 0.25: 0.9, 0.8, 0.3 of water's three pixels, 0.6 and 0.5 of the other's.
    assert rows[0.25]["iou"] == pytest.approx(3 / 5)
    assert (
        found["thresholds"]["best"]["iou"] == pytest.approx(2 / 3) and found["thresholds"]["best"]["threshold"] == 0.6
    )
    likely = [0.9, 0.4, 0.8, 0.5, 0.3, 0.8, 0.9]  # of the true class
    assert found["calibration"]["nll"] == pytest.approx(-np.log(likely).mean())
    assert found["calibration"]["brier"] == pytest.approx(2 * np.square(np.subtract(1, likely)).mean())


def test_more_classes_have_no_thresholds():
    counted = Counter(("a", "b", "c"), 1)
    counted.add(0, [np.full((2, 2, 3), 1 / 3, np.float32)], np.zeros((2, 2), np.uint8))
    assert "thresholds" not in counted.figures()


def blocks(h, w, k, seed=0):
    """(probabilities, label) of an image of random blocks, the first of them ignored."""
    rng = np.random.default_rng(seed)
    p = rng.random((h, w, k)).astype(np.float32) ** 4
    label = rng.integers(0, k, (-(-h // 8), -(-w // 8))).astype(np.uint8).repeat(8, 0).repeat(8, 1)[:h, :w]
    label[:8, :8] = IGNORE
    return p / p.sum(-1, keepdims=True), label


@pytest.mark.parametrize("k", [2, 4])
def test_it_does_not_matter_where_bands_are_cut(k):
    p, label = blocks(40, 30, k)
    found = []
    for cuts in ([], [1, 17], range(1, 40)):
        counted = Counter(tuple("abcd"[:k]), 1, threshold=0.7)
        seen = counted.add(0, np.split(p, cuts), label)
        np.testing.assert_array_equal(seen, p.argmax(-1))
        found.append(counted.totals)
    for totals in found[1:]:
        for name, array in found[0].items():
            np.testing.assert_allclose(totals[name], array, rtol=1e-12, err_msg=name)
            assert array.dtype == float or (totals[name] == array).all(), name


def test_whole_images_are_what_every_table_counts():
    """The tables of bands and of confidences, against what each band's pixels say by themselves."""
    p, label = blocks(40, 30, 3)
    counted = Counter(("a", "b", "c"), 1, threshold=0.7)
    seen, totals = counted.add(0, np.split(p, [13]), label), counted.totals
    masks = [label != IGNORE, *(boundary.near(label, width, outside=False) for width in boundary.WIDTHS)]
    for i, mask in enumerate(masks):
        confidence = p.max(-1)[mask]
        table = calibration.histogram(confidence, seen[mask], (seen == label)[mask], 3)
        np.testing.assert_allclose(totals["calibration"][i], table, rtol=1e-12)
        counted_here = counts.of_confusion(counts.confusion_of(seen[mask], label[mask], 3))
        np.testing.assert_array_equal(totals["bands"][i - 1] if i else totals["images"][0], counted_here)
    truth = label[masks[0]][:, None] == np.arange(3)
    above = p[masks[0]] > 0.7
    expected = [(above & truth).sum(0), (above & ~truth).sum(0), (~above & truth).sum(0)]
    np.testing.assert_array_equal(totals["above_threshold"], expected)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_probabilities():
    """From a small network's probabilities, resized, and in windows: a taller image costs its class ids, and maps."""

    def engine(tiles):
        return np.full((*tiles.shape[:3], 19), 1 / 19, np.float32)

    def in_windows(height):
        image = np.zeros((height, 256, 3), np.uint8)
        return (band for _, band in windows.slide(engine, image, window=(64, 64), overlap=0.25, batch=1))

    def enlarged(height):
        return resized_bands(np.full((32, 32, 19), 1 / 19, np.float32), (height, 256))

    for way in (in_windows, enlarged):
        peaks = []
        for height in (1024, 4096):
            label = np.zeros((height, 256), np.uint8)
            counted = Counter(tuple(map(str, range(19))), 1)
            tracemalloc.start()
            counted.add(0, way(height), label)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        # Bytes for each pixel of a taller image, of whose probabilities there are 76.
        assert (peaks[1] - peaks[0]) / (3072 * 256) < 16, way


def test_in_words(counter):
    result = Report.from_confusion(
        counter.totals["confusion"],
        counter.names,
        images=Images(("a", "b", "c"), counter.totals["images"]),
        sections=counter.figures(),
    )
    lines = summary.describe(result)
    assert lines[0].startswith("mean IoU 0.") and lines[0].endswith("(95 % interval, bootstrap over images)")
    assert "mean IoU near true boundaries: 1 px 0.500, 2 px 0.550, 4 px 0.550, 8 px 0.550, 16 px 0.550" in lines
    assert "best threshold 0.6: IoU 0.667, Dice 0.800" in lines
    assert "water is taken for ground in 33 % of its pixels" in lines
    assert lines[-1] == "worst images: a 0.500, c 0.583"
    plain = summary.describe(Report.from_confusion(np.eye(2, dtype=int), ("a", "b")))
    assert plain == []
