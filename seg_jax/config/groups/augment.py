"""Augmentation."""

from seg_jax.config.fields import Group, Rule, Size, field
from seg_jax.config.rules import SIZE

PROBABILITY = Rule(lambda x: 0 <= x <= 1, "this is a probability", "Use a number in [0, 1]")
STRENGTH = Rule(lambda x: x >= 0, "a strength is not negative", "Use 0 to switch it off")
JITTER = Rule(lambda x: x < 1, "factors are drawn from 1 +- strength and stay positive", "Use a number in [0, 1)")


class AugmentConfig(Group, path="augment"):
    """Random changes of training images."""

    crop: Size = field((0, 0), "(height, width) of training crops; (0, 0): the whole image", SIZE)
    crop_balance: float = field(
        0.0,
        "share of crops centred on a pixel of one of the photograph's classes, rare ones more often",
        PROBABILITY,
    )
    cat_max_ratio: float = field(
        1.0,
        "crops of which one class covers this share of the labelled pixels are drawn again, up to ten times; 1: none",
        Rule(lambda x: 0 < x <= 1, "this is a share of the crop", "Use 0.75, or 1 to switch it off"),
    )
    flip: float = field(0.5, "probability of a horizontal flip", PROBABILITY)
    vertical_flip: float = field(0.0, "probability of a vertical flip", PROBABILITY)
    scale: tuple[float, float] = field(
        (1.0, 1.0),
        "range of the zoom factor, uniform in its logarithm",
        Rule(
            lambda scale: len(scale) == 2 and 0 < scale[0] <= scale[1],
            "it is (low, high) with 0 < low <= high",
            "Use (0.5, 2.0)",
        ),
    )
    rotate: float = field(0.0, "largest rotation to either side, degrees", STRENGTH)
    shear: float = field(
        0.0,
        "largest slant of vertical lines to either side, degrees",
        STRENGTH,
        Rule(lambda x: x < 90, "at 90 degrees nothing is upright any more", "Use 10.0, or 0 to switch it off"),
    )
    translate: float = field(0.0, "largest shift to either side, share of the crop", STRENGTH)
    brightness: float = field(0.0, "factor uniform in 1 +- this", STRENGTH, JITTER)
    contrast: float = field(0.0, "factor uniform in 1 +- this", STRENGTH, JITTER)
    saturation: float = field(0.0, "factor uniform in 1 +- this", STRENGTH, JITTER)
    hue: float = field(0.0, "largest rotation of the hue to either side, share of the full circle", STRENGTH)
    grayscale: float = field(0.0, "probability that each colour becomes its luma", PROBABILITY)
    blur: float = field(0.0, "probability of a Gaussian blur", PROBABILITY)
    blur_sigma: tuple[float, float] = field(
        (0.1, 2.0),
        "range of its standard deviation, pixels of the crop",
        Rule(
            lambda sigma: len(sigma) == 2 and 0 < sigma[0] <= sigma[1],
            "it is (low, high) with 0 < low <= high",
            "Use (0.1, 2.0)",
        ),
    )
    noise: float = field(0.0, "largest standard deviation of Gaussian noise, levels of 0..255", STRENGTH)
    randaugment: tuple[int, float] = field(
        (0, 0),
        "RandAugment: (operations sampled for each image, magnitude 0 to 10); (0, 0): off",
        Rule(
            lambda pair: len(pair) == 2 and isinstance(pair[0], int) and pair[0] >= 0 and 0 <= pair[1] <= 10,
            "it is (number of operations, magnitude from 0 to 10)",
            "Use (2, 9), or (0, 0) to switch it off",
        ),
    )
    cutmix: float = field(0.0, "probability that a box of the batch's next image is pasted in", PROBABILITY)
    classmix: float = field(
        0.0, "probability that half of the classes of the batch's next image are pasted in", PROBABILITY
    )
