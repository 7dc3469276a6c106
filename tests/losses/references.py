"""Losses of segmentation_models.pytorch as a reference: `fixtures/smp.json` holds what they give for random logits.

    {"reference": "segmentation_models_pytorch 0.6.0", "dice": {"present": 0.6, "ignored": ...}, ...}

The tests use `batch`, which needs only numpy. To write the fixture anew, from the root of the repository, with torch
and segmentation_models.pytorch (see tests/models/references.py): python -m tests.losses.references
"""

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np

FIXTURE = Path(__file__).resolve().parent / "fixtures" / "smp.json"
CLASSES = 4
IGNORE = 255


def batch(case):
    """(logits float32 [2 6 5 4], label int64 [2 6 5]): 'present' has all classes, 'ignored' ignored pixels as well,
    'absent' has no pixel of class 2, 'binary' has the labels 0 and 1."""
    rng = np.random.default_rng(7)
    logits = (2 * rng.standard_normal((2, 6, 5, CLASSES))).astype(np.float32)
    label = rng.integers(CLASSES, size=(2, 6, 5))
    if case == "absent":
        label[label == 2] = 1
    if case == "binary":
        label %= 2
    if case == "ignored":
        label[rng.random(label.shape) < 0.3] = IGNORE
    return logits, label


def memberships():
    """Labels of classes that overlap: [2 6 5 4] of 0 and 1."""
    return np.random.default_rng(8).integers(2, size=(2, 6, 5, CLASSES))


def main():
    """Writes the fixture."""
    import torch

    # The package itself would import every encoder, and with them timm and torchvision.
    name = "segmentation_models_pytorch"
    sys.modules[name] = importlib.util.module_from_spec(importlib.util.find_spec(name))
    losses = importlib.import_module(f"{name}.losses")
    multiclass = {
        "dice": lambda **o: losses.DiceLoss("multiclass", **o),
        "jaccard": lambda **o: losses.JaccardLoss("multiclass", **o),
        "tversky": lambda **o: losses.TverskyLoss("multiclass", alpha=0.3, beta=0.7, **o),
        "lovasz": lambda **o: losses.LovaszLoss("multiclass", **o),
        "focal": lambda **o: losses.FocalLoss("multiclass", alpha=0.25, gamma=2.0, **o),
        "weighted_dice": lambda **o: losses.DiceLoss("multiclass", class_weights=[1.0, 2.0, 3.0, 4.0], **o),
    }

    def given(case):
        logits, label = batch(case)
        return torch.from_numpy(logits).permute(0, 3, 1, 2), torch.from_numpy(label)

    found = {}
    for loss, make in multiclass.items():
        cases = ("present", "absent") if loss == "weighted_dice" else ("present", "absent", "ignored")
        found[loss] = {case: float(make(ignore_index=IGNORE)(*given(case))) for case in cases}
    # To the power of gamma they raise the mean; of one class that is the class.
    found["focal_tversky"] = {
        "present": float(
            np.mean(
                [
                    losses.TverskyLoss("multiclass", alpha=0.3, beta=0.7, gamma=4 / 3, classes=[c])(*given("present"))
                    for c in range(CLASSES)
                ]
            )
        )
    }
    smooth = losses.SoftCrossEntropyLoss(smooth_factor=0.1, ignore_index=IGNORE, reduction="sum")
    found["cross_entropy"] = {case: float(smooth(*given(case))) for case in ("present", "ignored")}
    z, label = given("binary")
    z = z[:, :1]
    found["binary"] = {
        "dice": float(losses.DiceLoss("binary")(z, label)),
        "jaccard": float(losses.JaccardLoss("binary")(z, label)),
        "tversky": float(losses.TverskyLoss("binary", alpha=0.3, beta=0.7, gamma=4 / 3)(z, label)),
        "focal": float(losses.FocalLoss("binary", alpha=0.25, gamma=2.0)(z, label)),
        "cross_entropy": float(losses.SoftBCEWithLogitsLoss()(z, label[:, None].float())),
    }
    logits = given("present")[0]
    dense = torch.from_numpy(memberships()).permute(0, 3, 1, 2)
    found["multilabel"] = {
        "dice": float(losses.DiceLoss("multilabel")(logits, dense)),
        "jaccard": float(losses.JaccardLoss("multilabel")(logits, dense)),
        "tversky": float(losses.TverskyLoss("multilabel", alpha=0.3, beta=0.7)(logits, dense)),
        "focal": float(losses.FocalLoss("multilabel", alpha=0.25, gamma=2.0)(logits, dense)),
        # Their smoothing e is that of (1 - e) t + e (1 - t): half of the share that ours spreads.
        "cross_entropy": float(losses.SoftBCEWithLogitsLoss(smooth_factor=0.05)(logits, dense.float())),
    }
    FIXTURE.parent.mkdir(exist_ok=True)
    reference = {"reference": f"segmentation_models_pytorch {importlib.metadata.version(name.replace('_', '-'))}"}
    FIXTURE.write_text(json.dumps(reference | found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
