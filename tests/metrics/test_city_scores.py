"""The scores of the Cityscapes benchmark: by hand, and those of the package that computes them for the server."""

import numpy as np
import pytest

from seg_jax.data.images import write_image
from seg_jax.data.labels.cityscapes import LABELS, TABLES, write_prediction
from seg_jax.metrics import cityscapes, counts

NAMES = TABLES["trainids"].names
PERSON, RIDER, CAR = (NAMES.index(name) for name in ("person", "rider", "car"))


def test_what_it_applies_to():
    assert cityscapes.applies(NAMES) and cityscapes.applies(TABLES["ids"].names)
    assert not cityscapes.applies(TABLES["categories"].names)
    assert not cityscapes.applies(NAMES[1:]) and not cityscapes.applies((*NAMES, "zebra"))


def test_instances_by_hand():
    # Two persons of 4 pixels and of 1, one car of 2; a group of persons (24) has no instances.
    instances = np.array([[24001, 24001, 24001, 24001, 24002, 26000, 26001, 26001, 24, 0]])
    prediction = np.array([[PERSON, PERSON, RIDER, 0, PERSON, 0, CAR, 0, PERSON, 0]], np.uint8)
    found = cityscapes.instance_counts(prediction, instances, NAMES)
    size = cityscapes.SIZES["person"]
    # By class: 2 of 4 pixels and 1 of 1. By category the rider is right too.
    np.testing.assert_allclose(found[0, :, 0], [size * (2 / 4 + 1), size * 2 / 4])
    np.testing.assert_allclose(found[1, :, 0], [size * (3 / 4 + 1), size * 1 / 4])
    car = list(cityscapes.SIZES).index("car")
    # The car 26000 is one of label 26 without a number: its value exceeds 1000, so it counts.
    np.testing.assert_allclose(found[0, :, car], np.array([1 / 2, 1 + 1 / 2]) * cityscapes.SIZES["car"])
    assert not found[:, :, [1, 3, 4, 5, 6, 7]].any()


def test_categories_by_hand():
    confusion = np.zeros((19, 19), np.int64)
    road, sidewalk, sky = NAMES.index("road"), NAMES.index("sidewalk"), NAMES.index("sky")
    confusion[road, road], confusion[road, sidewalk], confusion[sky, road], confusion[sky, sky] = 5, 3, 1, 7
    found = cityscapes.figures(confusion, NAMES, None)
    assert found["classes"]["road"] == 5 / 9 and found["classes"]["sidewalk"] == 0
    assert found["categories"]["flat"] == 8 / 9 and found["categories"]["sky"] == 7 / 8
    assert np.isnan(found["categories"]["human"])
    assert found["mean_classes"] == (5 / 9 + 0 + 7 / 8) / 3
    assert found["mean_categories"] == (8 / 9 + 7 / 8) / 2
    assert "instance_classes" not in found


@pytest.fixture(scope="module")
def frames():
    """Label ids, instance ids and predicted label ids of three frames, with every label and ignored predictions."""
    rng = np.random.default_rng(0)
    ids = np.array([label.id for label in LABELS if label.id >= 0])
    found = []
    for _ in range(3):
        truth = rng.choice(ids, (8, 16)).repeat(8, 0).repeat(8, 1)
        guess = np.where(rng.random(truth.shape) < 0.6, truth, rng.choice(ids, truth.shape))
        number = rng.integers(0, 4, (8, 16)).repeat(8, 0).repeat(8, 1)
        instances = np.where((truth >= 24) & (number > 0), truth * 1000 + number, truth)
        found.append((truth.astype(np.uint8), instances.astype(np.uint16), guess.astype(np.uint8)))
    return found


@pytest.mark.parametrize("labels", ["trainids", "ids"])
def test_the_package_says_the_same(labels, frames, tmp_path, monkeypatch):
    official = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # the package uses what NumPy 2.4 removed
    table = TABLES[labels]
    total, instance_counts = np.zeros((len(table), len(table)), np.int64), np.zeros((2, 2, 8))
    for i, (truth, instances, guess) in enumerate(frames):
        frame = f"aachen_{i:06}_000019"
        for kind, array in (("labelIds", truth), ("instanceIds", instances)):
            write_image(tmp_path / "gt" / f"{frame}_gtFine_{kind}.png", array)
        label, prediction = table.encode(truth), table.encode(guess)
        prediction = np.where(prediction == 255, 0, prediction).astype(np.uint8)  # a network names a class everywhere
        write_prediction(tmp_path / "results", frame, prediction, table)
        total += counts.confusion_of(prediction, label, len(table))
        instance_counts += cityscapes.instance_counts(prediction, instances, table.names)
    ours = cityscapes.figures(total, table.names, instance_counts)

    truths = sorted(str(path) for path in (tmp_path / "gt").glob("*labelIds.png"))
    official.args.quiet, official.args.JSONOutput = True, False
    official.args.predictionPath, official.args.predictionWalk = str(tmp_path / "results"), None
    predictions = [official.getPrediction(official.args, truth) for truth in truths]
    theirs = official.evaluateImgLists(predictions, truths, official.args)
    pairs = {
        "classes": ("classScores", "averageScoreClasses"),
        "categories": ("categoryScores", "averageScoreCategories"),
        "instance_classes": ("classInstScores", "averageScoreInstClasses"),
        "instance_categories": ("categoryInstScores", "averageScoreInstCategories"),
    }
    for kind, (each, mean) in pairs.items():
        assert all(0.1 < value < 0.9 for value in ours[kind].values())
        expected = {name: value for name, value in theirs[each].items() if not np.isnan(value)}
        assert ours[kind] == pytest.approx(expected, rel=1e-12)
        assert ours[f"mean_{kind}"] == pytest.approx(theirs[mean], rel=1e-12)
