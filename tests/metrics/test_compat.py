"""What other codebases print: the numbers that they gave for stored predictions (fixtures/make_compat.py)."""

import json
from pathlib import Path

import numpy as np
import pytest

from seg_jax.metrics import compat
from seg_jax.metrics.detailed import Counter

FIXTURES = Path(__file__).parent / "fixtures"
EXPECTED = json.loads((FIXTURES / "compat.json").read_text())


@pytest.fixture(scope="module")
def found():
    with np.load(FIXTURES / "compat.npz") as stored:
        probabilities, label = stored["probabilities"], stored["label"]
    counter = Counter(tuple("abcde"), len(label))
    for i, (p, t) in enumerate(zip(probabilities, label, strict=True)):
        counter.add(i, [p], t)
    totals = counter.totals
    assert totals["confusion"].sum() == (label != 255).sum()
    return compat.figures(totals["confusion"], totals["images"], totals["above"])


@pytest.mark.parametrize("codebase", EXPECTED)
def test_the_figures_of(codebase, found):
    got = dict(found[codebase])
    assert len(got.pop("definition")) > 40
    assert got.keys() == EXPECTED[codebase].keys()
    for name, expected in EXPECTED[codebase].items():
        assert got[name] == pytest.approx(expected, rel=1e-6), name


def test_they_differ(found):
    # Class e occurs nowhere, d in one image: each codebase has its own opinion of what that is worth.
    values = [
        found["TASM"]["iou_score"],
        found["image-segmentation-keras"]["mean_IU"],
        found["segmentation_models.pytorch"]["macro"],
        found["mmsegmentation"]["mIoU"] / 100,
    ]
    assert min(abs(a - b) for i, a in enumerate(values) for b in values[:i]) > 0.01


def test_by_hand():
    # Two images of two classes: (TP, FP, FN) = (2, 0, 2), (1, 2, 0) and (4, 0, 0), absent.
    images = np.array([[[2, 1], [0, 2], [2, 0]], [[4, 0], [0, 0], [0, 0]]])
    confusion = np.array([[6, 2], [0, 1]])
    got = compat.figures(confusion, images)
    assert "TASM" not in got  # thresholded counts are not known
    assert got["segmentation_models.pytorch"]["micro"] == 7 / 11
    assert got["segmentation_models.pytorch"]["macro"] == (6 / 8 + 1 / 3) / 2
    assert got["segmentation_models.pytorch"]["micro-imagewise"] == (3 / 7 + 1) / 2
    assert got["segmentation_models.pytorch"]["macro-imagewise"] == pytest.approx((2 / 4 + 1 / 3 + 1 + 1) / 4)
    assert got["mmsegmentation"]["mIoU"] == round(100 * (6 / 8 + 1 / 3) / 2, 2)
    assert got["mmsegmentation"]["aAcc"] == round(100 * 7 / 9, 2)
