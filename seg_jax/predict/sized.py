"""A network of one size for images of any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seg_jax.config import Size
from seg_jax.data.images import resize_image, resize_label
from seg_jax.data.probabilities import resize_probabilities

Apply = Callable[[np.ndarray], np.ndarray]  # [b h w c] -> float32 [b h w k] or integer [b h w]


def at_size(apply: Apply, size: Size) -> Apply:
    """`apply` at one size, for images of any size: Pillow resizes them to it, and the result back.

    Probabilities are resized bilinearly, labels by nearest neighbour.
    """

    def resized(image: np.ndarray) -> np.ndarray:
        if image.shape[1:3] == size:
            return apply(image)
        result, back = apply(np.stack([resize_image(one, size) for one in image])), image.shape[1:3]
        restore = resize_label if result.ndim == 3 else resize_probabilities
        return np.stack([restore(one, back) for one in result])

    return resized
