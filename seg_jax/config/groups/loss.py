"""Losses and their options."""

import math

from seg_jax.config.fields import Group, Rule, field, group
from seg_jax.config.rules import NOT_NEGATIVE

LOSS_WEIGHT = Rule(lambda x: 0 <= x < math.inf, "the weight of a loss is not negative", "Use 1.0, or 0 to leave it out")
ERROR_WEIGHT = Rule(lambda x: x > 0, "errors have a positive weight", "Use 0.3 and 0.7")


class LossWeights(Group, path="loss.weights"):
    """The objective is the sum of these weights times the mean of each loss; 0: left out."""

    cross_entropy: float = field(1.0, "of pixels", LOSS_WEIGHT)
    focal: float = field(0.0, "cross-entropy that weighs down pixels that are already right", LOSS_WEIGHT)
    ohem: float = field(0.0, "cross-entropy of the hard pixels alone (online hard example mining, top-k)", LOSS_WEIGHT)
    dice: float = field(0.0, "overlap of regions, 2 TP / (2 TP + FP + FN)", LOSS_WEIGHT)
    jaccard: float = field(0.0, "soft IoU of regions", LOSS_WEIGHT)
    tversky: float = field(0.0, "overlap in which FP and FN weigh differently; with a gamma focal Tversky", LOSS_WEIGHT)
    lovasz: float = field(0.0, "Lovász-softmax: IoU of regions, by the order of the errors", LOSS_WEIGHT)
    boundary: float = field(
        0.0, "distance of errors to the true boundary, in pixels; 0.01 beside another loss", LOSS_WEIGHT
    )
    distillation: float = field(0.0, "divergence from the probabilities of loss.teacher", LOSS_WEIGHT)


class FocalConfig(Group, path="loss.focal"):
    """Options of the focal loss."""

    alpha: float = field(
        0.25,
        "weight of a class that is there, 1 - alpha of one that is not; softmax: of the whole loss",
        Rule(lambda x: x > 0, "it scales the loss", "Use 0.25"),
    )
    gamma: float = field(
        2.0,
        "how strongly pixels that are already right are weighed down",
        Rule(lambda x: x >= 0, "the exponent is not negative", "Use 2.0"),
    )


class OhemConfig(Group, path="loss.ohem"):
    """Options of online hard example mining."""

    share: float = field(
        0.1,
        "at least this share of the pixels, the hardest ones",
        Rule(lambda x: 0 <= x <= 1, "this is a share of the pixels", "Use 0.1"),
    )
    threshold: float = field(
        0.7,
        "and all whose true class has a lower probability; 0: the share alone (top-k)",
        Rule(lambda x: 0 <= x <= 1, "this is a probability", "Use 0.7, or 0 for top-k pixels"),
    )


class TverskyConfig(Group, path="loss.tversky"):
    """Options of the Tversky loss."""

    alpha: float = field(0.3, "of false positives", ERROR_WEIGHT)
    beta: float = field(0.7, "of false negatives", ERROR_WEIGHT)
    gamma: float = field(
        1.0,
        "exponent; 0.75 for the focal Tversky loss of its paper",
        Rule(lambda x: x > 0, "the exponent is positive", "Use 1.0, or 0.75 for focal Tversky"),
    )


class LossConfig(Group, path="loss"):
    """What training minimises."""

    weights: LossWeights = group(LossWeights)
    own: tuple[tuple[str, float], ...] = field(
        (),
        "(name, weight) of each loss that a Python program hands to seg_jax.train, which fills this in",
        Rule(lambda own: all(0 < weight < math.inf for _, weight in own), "a loss has a positive weight", "Use 1.0"),
    )
    head: str = field(
        "softmax",
        "softmax; sigmoid: each class by itself; binary: two classes from one logit",
        names="seg_jax.losses:HEADS",
    )
    class_weights: tuple[float | str, ...] = field(
        (), "one for each class, or ('median_frequency',) or another scheme of data.stats; (): equal"
    )
    label_smoothing: float = field(
        0.0,
        "share of the target spread over all classes (cross_entropy)",
        Rule(lambda x: 0 <= x < 1, "smoothing lies in [0, 1)", "Use 0 to switch it off"),
    )
    focal: FocalConfig = group(FocalConfig)
    ohem: OhemConfig = group(OhemConfig)
    tversky: TverskyConfig = group(TverskyConfig)
    teacher: str = field("", "run directory whose best checkpoint is distilled from")
    temperature: float = field(
        2.0,
        "that the logits of teacher and student are divided by (distillation)",
        Rule(lambda x: x > 0, "logits are divided by the temperature", "Use 2.0"),
    )
    aux_weight: float = field(
        0.4, "of the loss of auxiliary heads, in architectures that have them; 0: no such heads", NOT_NEGATIVE
    )
