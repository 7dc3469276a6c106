"""The scores of the Cityscapes benchmark: IoU by class and by category, and both weighted by instances.

Cordts et al. 2016, section 4.2, as cityscapesScripts 2.3 computes them (evalPixelLevelSemanticLabeling).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seg_jax.data.labels.cityscapes import LABELS
from seg_jax.metrics import counts

EVALUATED = tuple(label for label in LABELS if 0 <= label.train_id < 255)

# Classes with instances -> mean size of an instance in pixels at 1024x2048, from cityscapesScripts.
SIZES = {
    "person": 3462.4756337644,
    "rider": 3930.4788056518,
    "car": 12794.0202738185,
    "truck": 27855.1264367816,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "motorcycle": 6298.7200839748,
    "bicycle": 4672.3249222261,
}


def applies(names: Sequence[str]) -> bool:
    """Whether these are classes of Cityscapes: all 19 evaluated ones, and perhaps other labels."""
    labels = {label.name for label in LABELS}
    return set(names) <= labels and {label.name for label in EVALUATED} <= set(names)


def instance_counts(prediction: np.ndarray, instances: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """float64 [2 2 8]: weighted TP and FN of the classes of `SIZES` over the instances of one image.

    Every instance has the weight of one of its class's mean size. The first axis is what counts as a hit: the class
    itself, then any class of the same category.

    Args:
      prediction: class ids, uint8 [h w].
      instances: values of an `instanceIds` file [h w]: 1000 times the label plus a number; at most 1000 without one.
      names: class names.
    """
    category_of = {label.name: label.category for label in LABELS}
    weighted = np.zeros((2, 2, len(SIZES)))
    for value in np.unique(instances[instances > 1000]):
        label = LABELS[value // 1000]
        if label.name not in SIZES:
            continue
        predicted = np.bincount(prediction[instances == value], minlength=len(names))
        same = [category_of[name] == label.category for name in names]
        index, weight = list(SIZES).index(label.name), SIZES[label.name] / predicted.sum()
        for i, tp in enumerate((predicted[names.index(label.name)], predicted[same].sum())):
            weighted[i, :, index] += weight * tp, weight * (predicted.sum() - tp)
    return weighted


def figures(confusion: np.ndarray, names: Sequence[str], instances: np.ndarray | None) -> dict[str, Any]:
    """The scores of a split.

    Args:
      confusion: int64 [k k] of classes to which the benchmark `applies`.
      names: class names.
      instances: sums of `instance_counts`; None where instances are unknown.
    """
    index = {name: i for i, name in enumerate(names)}
    category = np.array([next(label.category for label in LABELS if label.name == name) for name in names])
    rows = np.zeros(len(names), bool)
    rows[[index[label.name] for label in EVALUATED]] = True
    confusion = np.where(rows[:, None], confusion, 0)  # pixels of other labels do not count
    tp, fp, fn = counts.of_confusion(confusion)
    classes = {label.name: _iou(*(n[index[label.name]] for n in (tp, fp, fn))) for label in EVALUATED}
    categories, weighted_categories = {}, {}
    things = np.array([next(label.category for label in LABELS if label.name == name) for name in SIZES])
    for name in dict.fromkeys(label.category for label in EVALUATED):
        members, evaluated = category == name, rows & (category == name)
        tp_fn, hit = confusion[evaluated].sum(), confusion[np.ix_(evaluated, evaluated)].sum()
        categories[name] = _iou(hit, confusion[np.ix_(~members, evaluated)].sum(), tp_fn - hit)
        if instances is not None and name in things:
            weighted = instances[1][:, things == name].sum(1)
            weighted_categories[name] = _iou(weighted[0], confusion[np.ix_(~members, members)].sum(), weighted[1])
    scores: dict[str, Any] = {"classes": classes, "categories": categories}
    if instances is not None:
        by_class = {name: _iou(instances[0, 0, i], fp[index[name]], instances[0, 1, i]) for i, name in enumerate(SIZES)}
        scores |= {"instance_classes": by_class, "instance_categories": weighted_categories}
    return scores | {f"mean_{kind}": counts.mean(np.array(list(values.values()))) for kind, values in scores.items()}


def _iou(tp: float, fp: float, fn: float) -> float:
    return float(counts.ratio(np.array(tp), np.array(tp + fp + fn)))
