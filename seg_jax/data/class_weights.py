"""Class weights from the pixel counts of a split: the schemes that `loss.class_weights` may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np


def median_frequency(pixels: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Median of the classes' frequencies divided by the frequency of a class (Eigen and Fergus 2015, section 6.3.2).

    Args:
      pixels: [k], number of pixels of each class.
      present: [k], number of labelled pixels in the examples in which the class occurs; the frequency is relative to
        these.

    Returns:
      [k]; 0 for a class that never occurs, which does not enter the median either.
    """
    occurs = pixels > 0
    frequency = pixels[occurs] / present[occurs]
    return _where(occurs, np.median(frequency) / frequency)


def inverse_log(pixels: np.ndarray) -> np.ndarray:
    """1 / ln(1.02 + share of the pixels), [k] from 1.42 to 50.5; 0 for a class that never occurs (Paszke et al. 2016,
    ENet, section 5.2)."""
    occurs = pixels > 0
    return _where(occurs, 1 / np.log(1.02 + pixels[occurs] / pixels.sum()))


def effective_number(pixels: np.ndarray, beta: float | None = None) -> np.ndarray:
    """(1 - beta) / (1 - beta^n) for a class of n pixels, scaled to a mean of 1 (Cui et al. 2019, equations 2 and 4).

    Args:
      pixels: [k], number of pixels of each class.
      beta: (N - 1) / N, in (0, 1), where N pixels would show everything. Near 1 the weights approach those of inverse
        frequency, far from it they are equal. None: N is the number of all labelled pixels.

    Returns:
      [k]; 0 for a class that never occurs, which does not enter the mean either.
    """
    occurs = pixels > 0
    log_beta = np.log(beta) if beta else np.log1p(-1 / max(pixels.sum(), 2))  # one pixel alone would give log 0
    weights = 1 / -np.expm1(pixels[occurs] * log_beta)  # log beta: beta itself would be rounded to 1
    return _where(occurs, weights / weights.mean())


def inverse_square_root(pixels: np.ndarray) -> np.ndarray:
    """1 / sqrt(number of pixels), scaled to a mean of 1: [k], 0 for a class that never occurs (Mahajan et al. 2018,
    section 2.2)."""
    occurs = pixels > 0
    weights = 1 / np.sqrt(pixels[occurs])
    return _where(occurs, weights / weights.mean())


def _where(occurs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    spread = np.zeros(len(occurs))
    spread[occurs] = weights
    return spread


# Scheme -> function of (pixels [k] of each class, labelled pixels [k] of the examples in which it occurs).
SCHEMES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "median_frequency": median_frequency,
    "inverse_log": lambda pixels, present: inverse_log(pixels),
    "effective_number": lambda pixels, present: effective_number(pixels),
    "inverse_square_root": lambda pixels, present: inverse_square_root(pixels),
}
