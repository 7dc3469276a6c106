"""The features of the augmentation and their ranges."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """Ranges and probabilities of the random changes to each example; the defaults change nothing.

    Attributes:
      crop: output (height, width) in pixels; (0, 0) keeps the size of the source.
      flip, vertical_flip: probability of a horizontal and of a vertical flip.
      scale: range of the zoom factor, uniform in its logarithm.
      rotate: largest rotation to either side, in degrees.
      shear: largest slant of vertical lines to either side, in degrees.
      translate: largest shift to either side, as a share of the output size.
      brightness, contrast, saturation: factors are uniform in [1 - x, 1 + x], see `color.color_map`.
      hue: largest rotation of the hue to either side, as a share of the full circle.
      grayscale: probability that each colour becomes its luma.
      blur: probability of a Gaussian blur.
      blur_sigma: range of its standard deviation, in pixels of the output.
      noise: largest standard deviation of additive Gaussian noise, in levels of 0..255.
      randaugment: (number of operations, their magnitude 0..10), see `randaugment`; (0, 0) is off.
      cutmix: probability that a box of the next example is pasted in, see `mixing`.
      classmix: probability that half of the next example's classes are pasted in.
    """

    crop: tuple[int, int] = (0, 0)
    flip: float = 0.0
    vertical_flip: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    rotate: float = 0.0
    shear: float = 0.0
    translate: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    noise: float = 0.0
    randaugment: tuple[int, float] = (0, 0)
    cutmix: float = 0.0
    classmix: float = 0.0
