"""The confusion matrix and the scores that follow from it, checked by hand and against a published table."""

import json
import math
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seg_jax.metrics import Images, Report, above, confusion_matrices, of_confusion, summary
from seg_jax.metrics.counts import confusion_of

IGNORE = 255
K = 4

count = jax.jit(lambda *arguments: confusion_matrices(*arguments).sum(0), static_argnums=2)


def reference(prediction, label, k):
    """The definition, one pixel after the other."""
    matrix = np.zeros((k, k), np.int64)
    for p, t in zip(prediction.ravel(), label.ravel(), strict=True):
        if t in range(k):
            matrix[t, p] += 1
    return matrix


def report(confusion, names=None, **fields):
    confusion = np.asarray(confusion)
    names = names or [f"class {i}" for i in range(len(confusion))]
    return Report.from_confusion(confusion, names, **{"loss": 0.5, "protocol": {}, **fields})


# ----- confusion_matrix


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_confusion_by_hand(dtype):
    # Two images of 2x2. Truth 0 is seen as 0, 2; truth 1 as 1, 1; truth 2 as 2; one pixel is ignored.
    label = np.array([[[0, 0], [1, 1]], [[2, IGNORE], [0, 0]]], dtype)
    prediction = np.array([[[0, 2], [1, 1]], [[2, 1], [0, 1]]], dtype)
    matrix = count(prediction, label, 3)
    assert matrix.dtype == jnp.int32
    np.testing.assert_array_equal(matrix, [[2, 1, 1], [0, 2, 0], [0, 0, 1]])


labels = arrays(np.int32, (3, 4, 5), elements=st.sampled_from([*range(K), IGNORE, K, K + 1, -1, -7, 1000]))
predictions = arrays(np.int32, (3, 4, 5), elements=st.integers(0, K - 1))


@given(predictions, labels)
def test_confusion_is_the_pixel_by_pixel_count(prediction, label):
    np.testing.assert_array_equal(count(prediction, label, K), reference(prediction, label, K))


@pytest.mark.parametrize("classes", [2, 11, 254, 255])
def test_ignored_pixels_count_nowhere(classes):
    label = np.full((2, 3, 3), IGNORE, np.uint8)
    prediction = np.full((2, 3, 3), classes - 1, np.uint8)
    assert not np.asarray(count(prediction, label, classes)).any()
    label[0, 0, 0] = classes - 1
    expected = np.zeros((classes, classes), int)
    expected[-1, -1] = 1
    np.testing.assert_array_equal(count(prediction, label, classes), expected)


@given(predictions, labels)
@settings(max_examples=20)
def test_host_and_device_count_alike(prediction, label):
    label = np.where((label < 0) | (label > K), IGNORE, label).astype(np.uint8)
    matrices = confusion_matrices(prediction, label, K)
    for one, p, t in zip(matrices, prediction, label, strict=True):
        np.testing.assert_array_equal(one, confusion_of(p, t, K))


@given(predictions, labels, st.integers(1, 2))
@settings(max_examples=20)
def test_confusion_adds_up_over_batches(prediction, label, cut):
    parts = [count(prediction[s], label[s], K) for s in (slice(None, cut), slice(cut, None))]
    np.testing.assert_array_equal(sum(np.asarray(p) for p in parts), count(prediction, label, K))


def test_confusion_of_a_large_image_is_exact():
    # float32 would stop counting at 2**24 = 16 777 216.
    label = np.zeros((1, 4099, 4099), np.uint8)
    matrix = count(np.zeros_like(label), label, 2)
    np.testing.assert_array_equal(matrix, [[4099 * 4099, 0], [0, 0]])


# ----- Report: a published table

# TP, FP, FN of eight classes and the scores with the three decimals that were printed with them.
PUBLISHED = {
    "counts": [
        (96121, 4868, 51077),
        (375257, 47927, 6246),
        (232483, 30382, 31860),
        (9355, 5289, 13990),
        (127484, 16921, 8389),
        (18878, 1802, 982),
        (13451, 14468, 5578),
        (46815, 7075, 10610),
    ],
    "iou": [0.632, 0.874, 0.789, 0.327, 0.834, 0.871, 0.402, 0.726],
    "miou": 0.682,
    "pixel_accuracy": 0.877,
    "fwiou": 0.784,
}


@pytest.fixture(scope="module")
def published():
    tp, fp, fn = np.array(PUBLISHED["counts"], np.int64).T
    return Report(names=[f"class {i}" for i in range(8)], tp=tp, fp=fp, fn=fn)


def test_published_scores(published):
    np.testing.assert_array_equal(np.round(published.iou, 3), PUBLISHED["iou"])
    scores = published.scores
    assert {key: round(scores[key], 3) for key in ("miou", "pixel_accuracy", "fwiou")} == {
        key: PUBLISHED[key] for key in ("miou", "pixel_accuracy", "fwiou")
    }


def test_published_table(published):
    lines = published.table().splitlines()
    assert lines[0].split() == ["class", "#TP", "#FP", "#FN", "IoU"]
    for i, (line, counts) in enumerate(zip(lines[1:9], PUBLISHED["counts"], strict=True)):
        assert line.split() == ["class", str(i), *map(str, counts), f"{PUBLISHED['iou'][i]:.3f}"]
    means = {label: value for label, value in (re.split(r"\s{2,}", line) for line in lines[9:])}
    assert means["mean IoU"] == "0.682"
    assert means["pixel accuracy"] == "0.877"
    assert means["frequency-weighted IoU"] == "0.784"
    # Recall by hand: 96121 / (96121 + 51077) = 0.6530 and so on, mean 0.7966.
    recall = [tp / (tp + fn) for tp, _, fn in PUBLISHED["counts"]]
    assert means["mean accuracy"] == f"{sum(recall) / 8:.3f}"
    assert len({len(line) for line in lines}) == 1  # the columns stand below each other


# ----- Report: by hand


def test_scores_by_hand():
    #           seen as 0  1  2     truth 0: 6 pixels, 1: 3, 2: 1
    result = report([[4, 1, 1], [0, 3, 0], [1, 0, 0]])
    np.testing.assert_array_equal(result.tp, [4, 3, 0])
    np.testing.assert_array_equal(result.fp, [1, 1, 1])
    np.testing.assert_array_equal(result.fn, [2, 0, 1])
    np.testing.assert_allclose(result.iou, [4 / 7, 3 / 4, 0])
    np.testing.assert_allclose(result.dice, [8 / 11, 6 / 7, 0])
    np.testing.assert_allclose(result.precision, [4 / 5, 3 / 4, 0])
    np.testing.assert_allclose(result.recall, [4 / 6, 1, 0])
    assert result.scores == pytest.approx(
        {
            "loss": 0.5,
            "miou": (4 / 7 + 3 / 4) / 3,
            "mean_dice": (8 / 11 + 6 / 7) / 3,
            "fwiou": (6 * 4 / 7 + 3 * 3 / 4) / 10,
            "pixel_accuracy": 7 / 10,
            "mean_accuracy": (4 / 6 + 1) / 3,
        }
    )


def test_perfect_predictions_score_one():
    scores = report(np.diag([5, 1, 900])).scores
    assert {scores[key] for key in ("miou", "mean_dice", "fwiou", "pixel_accuracy")} == {1.0}


def test_absent_classes_have_no_score():
    # Class 2 occurs neither in truth nor in prediction.
    result = report([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert np.isnan([result.iou[2], result.precision[2], result.recall[2]]).all()
    assert result.scores["miou"] == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert result.scores["mean_accuracy"] == pytest.approx((3 / 4 + 1) / 2)
    assert result.table().splitlines()[3].split() == ["class", "2", "0", "0", "0", "-"]
    entry = json.loads(result.to_json())["classes"][2]
    assert entry == {"name": "class 2", "tp": 0, "fp": 0, "fn": 0} | dict.fromkeys(
        ("iou", "dice", "precision", "recall")
    )


def test_classes_that_are_only_predicted_count_as_zero():
    result = report([[3, 0, 1], [0, 4, 0], [0, 0, 0]])
    assert result.iou[2] == 0
    assert result.precision[2] == 0
    assert np.isnan(result.recall[2])  # and mean accuracy is over the classes of the truth
    assert result.scores["miou"] == pytest.approx((3 / 4 + 1 + 0) / 3)
    assert result.scores["mean_accuracy"] == pytest.approx((3 / 4 + 1) / 2)
    assert result.table().splitlines()[3].split() == ["class", "2", "0", "1", "0", "0.000"]


def test_nothing_counted():
    result = report(np.zeros((2, 2), int), loss=math.nan)
    assert all(math.isnan(value) for value in result.scores.values())
    assert set(json.loads(result.to_json())["scores"].values()) == {None}
    assert "mean IoU" in result.table()


def test_counts_beyond_32_bits_are_exact():
    # Cityscapes' training split has 6.2e9 pixels; a float would lose the last digits of 2**53 + 1.
    big = 2**53 + 1
    result = report(np.array([[big, 3], [2**31, 2**33]], np.int64))
    assert [int(n) for n in (*result.tp, *result.fp, *result.fn)] == [big, 2**33, 2**31, 3, 3, 2**31]
    assert str(big) in result.table()
    content = json.loads(result.to_json())
    assert content["confusion"] == [[big, 3], [2**31, 2**33]]
    assert content["classes"][0]["tp"] == big
    assert report(np.full((2, 2), 2**30, np.int32)).fp.tolist() == [2**30, 2**30]
    assert report(np.full((3, 3), 2**30, np.int32)).fp.tolist() == [2**31] * 3  # int32 would overflow


def test_only_counts_give_no_matrix():
    one = np.array([1, 2])
    assert json.loads(Report(names=("a", "b"), tp=one, fp=one, fn=one).to_json())["confusion"] is None


def test_json_carries_everything():
    result = report([[3, 1], [0, 4]], ["sky", "road"], loss=0.25, protocol={"split": "val", "size": [4, 6]})
    content = json.loads(result.to_json())
    assert content["protocol"] == {"split": "val", "size": [4, 6]}
    assert content["scores"] == result.scores
    assert content["confusion"] == [[3, 1], [0, 4]]
    assert content["classes"][1] == {
        **{"name": "road", "tp": 4, "fp": 1, "fn": 0},
        **{"iou": 0.8, "dice": 8 / 9, "precision": 0.8, "recall": 1.0},
    }


matrices = st.integers(1, 5).flatmap(lambda k: arrays(np.int64, (k, k), elements=st.integers(0, 2**40) | st.just(0)))


@given(matrices, st.sampled_from([0.5, math.nan, math.inf, -math.inf]))
def test_any_report_is_valid_json(confusion, loss):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    content = json.loads(report(confusion, loss=loss).to_json(), parse_constant=refuse)
    assert content["confusion"] == confusion.tolist()


@given(matrices, st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_classes(confusion, random):
    order = list(range(len(confusion)))
    random.shuffle(order)
    one, two = report(confusion), report(confusion[order][:, order])
    np.testing.assert_allclose(two.iou, one.iou[order])
    np.testing.assert_allclose(list(two.scores.values()), list(one.scores.values()))


@given(matrices)
def test_scores_lie_between_zero_and_one(confusion):
    result = report(confusion)
    values = np.array([*result.iou, *result.precision, *result.recall, *list(result.scores.values())[1:]])
    values = values[~np.isnan(values)]
    assert ((values >= 0) & (values <= 1 + 1e-12)).all()
    # IoU is the harmonic relation of precision and recall: never above either of them.
    present = confusion.diagonal() > 0
    assert (result.iou[present] <= np.minimum(result.precision, result.recall)[present] + 1e-12).all()


# ----- single images and confusions in words


def test_images_and_the_worst_of_them():
    # Image 0: class 0 has IoU 1/2, class 1 1/4. Image 1: class 0 alone, 3/4. Image 2: nothing counted.
    one = [[[1, 1], [1, 2], [0, 1]], [[3, 0], [1, 0], [0, 0]], [[0, 0], [0, 0], [0, 0]]]
    images = Images(("a", "b", "c"), np.array(one))
    np.testing.assert_allclose(images.miou, [3 / 8, 3 / 4, np.nan])
    assert images.worst() == [0, 1]
    content = json.loads(report([[4, 1], [2, 1]], images=images).to_json())
    assert content["worst"] == [{"name": "a", "miou": 0.375}, {"name": "b", "miou": 0.75}]
    assert content["interval"]["low"] <= content["scores"]["miou"] <= content["interval"]["high"]


def test_confusions_in_words():
    result = report([[69, 31, 0], [4, 96, 0], [1, 0, 9]], names=["pole", "building", "sky"])
    assert result.confused() == [
        "pole is taken for building in 31 % of its pixels",
        "sky is taken for pole in 10 % of its pixels",
    ]
    assert report(np.zeros((2, 2), int)).confused() == []


def test_counts_of_matrices():
    matrices = np.array([[[4, 1], [0, 3]], [[1, 2], [3, 4]]])
    for got, expected in zip(
        of_confusion(matrices), ([[4, 3], [1, 4]], [[0, 1], [3, 2]], [[1, 0], [2, 3]]), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


# ----- counts above a threshold


def test_counts_above_by_hand():
    # Four pixels of truth 0, 1, 1, ignored. A pixel may be found in two classes or in none.
    probabilities = np.array([[[[0.6, 0.6], [0.3, 0.4], [0.7, 0.5], [0.9, 0.9]]]], np.float32)
    label = np.array([[[0, 1, 1, IGNORE]]], np.uint8)
    counts = above(probabilities, label, 0.5).sum(0)
    assert counts.dtype == jnp.int32
    # Class 0: found in pixels 0 (right) and 2 (wrong). Class 1: found in 0 (wrong), missed in 1 and 2 (0.5: not above).
    np.testing.assert_array_equal(counts, [[1, 0], [1, 1], [0, 2]])
    scored = report(np.eye(2, dtype=int), above=(0.5, np.asarray(counts)))
    assert scored.scores["miou_above"] == pytest.approx((1 / 2 + 0 / 3) / 2)
    assert "mean IoU, p > 0.5" in scored.table() and json.loads(scored.to_json())["scores"]["miou_above"] == 0.25
    assert "miou_above" not in report(np.eye(2, dtype=int)).scores


def test_counts_above_agree_with_the_confusion_matrix_of_sure_predictions():
    rng = np.random.default_rng(0)
    label, prediction = rng.integers(0, 5, (2, 2, 7, 9)).astype(np.uint8)
    label[label == 4], prediction = IGNORE, prediction % K
    counts = above(np.eye(K, dtype=np.float32)[prediction], label, 0.5).sum(0)
    exact = report(count(prediction, label, K))
    np.testing.assert_array_equal(counts, [exact.tp, exact.fp, exact.fn])


def test_a_summary_by_hand():
    # IoU 1/2 of road, 1/4 of pole, 2/2 of sky; cars do not occur, so they are not among the worst.
    report = Report(
        names=("road", "pole", "car", "sky"),
        tp=np.array([1, 1, 0, 2]),
        fp=np.array([1, 0, 0, 0]),
        fn=np.array([0, 3, 0, 0]),
        loss=0.25,
    )
    assert summary.brief(report) == "mean IoU 0.583, pixel accuracy 0.571, loss 0.250"
    assert summary.worst_classes(report) == "pole 0.250, road 0.500, sky 1.000"
    assert summary.worst_classes(report, count=1) == "pole 0.250"
    assert summary.worst_classes(replace(report, names=("a", "\x1bpole", "c", "d")), count=1) == "\\x1bpole 0.250"
    above = (0.5, np.array([[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]]))
    assert summary.brief(replace(report, above=above)).startswith("mean IoU 0.583, above 0.5 0.500, ")
