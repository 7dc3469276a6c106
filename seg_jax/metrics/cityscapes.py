"""The scores of the Cityscapes benchmark: IoU of classes and of categories, and both weighted by instances.

Cordts et al. 2016, section 4.2, as cityscapesScripts 2.3 computes them (evalPixelLevelSemanticLabeling).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seg_jax.data.labels.cityscapes import LABELS
from seg_jax.metrics import counts

EVALUATED = tuple(label for label in LABELS if 0 <= label.train_id < 255)

# Mean size of an instance in pixels at 1024x2048, as cityscapesScripts has it; the classes that have instances.
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
    """Whether these classes are those of Cityscapes: all 19 that are evaluated, and perhaps other labels."""
    labels = {label.name for label in LABELS}
    return set(names) <= labels and {label.name for label in EVALUATED} <= set(names)


def instance_counts(prediction: np.ndarray, instances: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """float64 [2 2 8]: weighted TP and FN of the classes of `SIZES` over the instances of one image.

    An instance weighs as much as one of its class's mean size. First by class, then by whether any class of the same
    category was predicted.

    Args:
      prediction: class ids, uint8 [h w].
      instances: values of an `instanceIds` file [h w]: 1000 times the label plus a number, less for what has none.
      names: of the classes.
    """
    category_of = {label.name: label.category for label in LABELS}
    weighted = np.zeros((2, 2, len(SIZES)))
    for value in np.unique(instances[instances > 1000]):
        label = LABELS[value // 1000]
        if label.name not in SIZES:
            continue
        seen = np.bincount(prediction[instances == value], minlength=len(names))
        same = [category_of[name] == label.category for name in names]
        place, weight = list(SIZES).index(label.name), SIZES[label.name] / seen.sum()
        for i, tp in enumerate((seen[names.index(label.name)], seen[same].sum())):
            weighted[i, :, place] += weight * tp, weight * (seen.sum() - tp)
    return weighted


def figures(confusion: np.ndarray, names: Sequence[str], instances: np.ndarray | None) -> dict[str, Any]:
    """The scores of a split.

    Args:
      confusion: int64 [k k] of classes to which the benchmark `applies`.
      names: of the classes.
      instances: sums of `instance_counts`; None where instances are not known.
    """
    place = {name: i for i, name in enumerate(names)}
    category = np.array([next(label.category for label in LABELS if label.name == name) for name in names])
    rows = np.zeros(len(names), bool)
    rows[[place[label.name] for label in EVALUATED]] = True
    confusion = np.where(rows[:, None], confusion, 0)  # pixels of other labels do not count
    tp, fp, fn = counts.of_confusion(confusion)
    classes = {label.name: _iou(*(n[place[label.name]] for n in (tp, fp, fn))) for label in EVALUATED}
    categories, weighted_categories = {}, {}
    things = np.array([next(label.category for label in LABELS if label.name == name) for name in SIZES])
    for name in dict.fromkeys(label.category for label in EVALUATED):
        there, all_there = rows & (category == name), category == name
        tp_fn, hit = confusion[there].sum(), confusion[np.ix_(there, there)].sum()
        categories[name] = _iou(hit, confusion[np.ix_(~all_there, there)].sum(), tp_fn - hit)
        if instances is not None and name in things:
            weighted = instances[1][:, things == name].sum(1)
            weighted_categories[name] = _iou(weighted[0], confusion[np.ix_(~all_there, all_there)].sum(), weighted[1])
    found: dict[str, Any] = {"classes": classes, "categories": categories}
    if instances is not None:
        by_class = {name: _iou(instances[0, 0, i], fp[place[name]], instances[0, 1, i]) for i, name in enumerate(SIZES)}
        found |= {"instance_classes": by_class, "instance_categories": weighted_categories}
    return found | {f"mean_{kind}": counts.mean(np.array(list(values.values()))) for kind, values in found.items()}


def _iou(tp: float, fp: float, fn: float) -> float:
    return float(counts.ratio(np.array(tp), np.array(tp + fp + fn)))
