"""An evaluation as lines of text."""

from __future__ import annotations

import numpy as np

from seg_jax.metrics import Report, bootstrap
from seg_jax.runtime.quoting import printable


def describe(report: Report) -> list[str]:
    """Lines to print below `Report.table`: interval, boundaries, calibration, confusions, worst images."""
    lines = []
    if report.images is not None and len(report.images.names) > 1:
        limits = bootstrap.interval(report.images.counts)
        low, high, level = limits["low"], limits["high"], round(100 * limits["level"])
        lines.append(f"mean IoU {_number(low)} to {_number(high)} ({level} % interval, bootstrap over images)")
    sections = report.sections
    if "boundary" in sections:
        lines.append(f"boundary IoU {_number(sections['boundary']['miou'])}")
        bands = (f"{width} px {_number(band['miou'])}" for width, band in sections["trimap"].items())
        lines.append(f"mean IoU near true boundaries: {', '.join(bands)}")
        c = sections["calibration"]
        lines.append(f"calibration error {_number(c['ece'])}, Brier {_number(c['brier'])}, NLL {_number(c['nll'])}")
    if "thresholds" in sections:
        best = sections["thresholds"]["best"]
        lines.append(f"best threshold {best['threshold']}: IoU {_number(best['iou'])}, Dice {_number(best['dice'])}")
    if scores := sections.get("compat", {}).get("cityscapesScripts"):
        kinds = ("classes", "categories", "instance_classes", "instance_categories")
        means = (f"{kind.replace('_', ' ')} {_number(scores[f'mean_{kind}'])}" for kind in kinds if kind in scores)
        lines.append(f"Cityscapes: {', '.join(means)}")
    lines += report.confused()
    if report.images is not None and (worst := report.images.worst()):
        names = (f"{printable(report.images.names[i])} {_number(report.images.miou[i])}" for i in worst[:3])
        lines.append(f"worst images: {', '.join(names)}")
    return lines


def brief(report: Report) -> str:
    """The scores that one looks at first, in a line: mean IoU, pixel accuracy, loss."""
    scores = report.scores
    words = [f"mean IoU {_number(scores['miou'])}", f"pixel accuracy {_number(scores['pixel_accuracy'])}"]
    if report.above is not None:
        words.insert(1, f"above {report.above[0]:g} {_number(scores['miou_above'])}")
    return ", ".join([*words, f"loss {_number(scores['loss'])}"])


def worst_classes(report: Report, count: int = 5) -> str:
    """The `count` classes of the lowest IoU with it, the worst first; classes that do not occur have none."""
    present = [i for i in np.argsort(report.iou, kind="stable") if not np.isnan(report.iou[i])]
    return ", ".join(f"{printable(report.names[i])} {_number(report.iou[i])}" for i in present[:count])


def _number(value: float) -> str:
    return f"{value:.3f}"
