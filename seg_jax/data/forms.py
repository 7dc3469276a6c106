"""Cures for arrays of another form than images uint8 [... h w 3] and labels uint8 or uint16 [... h w].

A cure is an expression of NumPy. Casting alone is none: images in 0..1 would become black, and class -1 class 255.
"""

from __future__ import annotations

import numpy as np

from seg_jax.data.depth import scaling

LARGEST = 65535  # of a stored mask value


def image_cure(images: np.ndarray, *, leading: int, name: str) -> str:
    """An expression that makes photographs of an array, or what to do where none can.

    Args:
      images: the array.
      leading: the number of dimensions before height, width and channels.
      name: the name of the array in the expression.
    """
    if images.dtype.kind not in "fiub" or not images.size:
        return "Give numbers in 0..255."
    if not np.isfinite((low := float(images.min())) + (high := float(images.max()))):
        return f"They are NaN or infinite in places; correct them, such as by np.nan_to_num({name})."
    shape = images.shape[leading:]
    if len(shape) == 2:
        made = f"np.repeat({name}[..., None], 3, axis=-1)"
    elif len(shape) != 3:
        return f"Give {leading + 3} dimensions."
    elif shape[-1] in (3, 4):
        made = name if shape[-1] == 3 else f"{name}[..., :3]"
    elif shape[-1] == 1:
        made = f"np.repeat({name}, 3, axis=-1)"
    elif shape[0] == 3:
        made = f"np.moveaxis({name}, -3, -1)"
    else:
        return f"Choose three of the {shape[-1]} channels, such as {name}[..., :3]."
    return f"Use {made if images.dtype == np.uint8 else scaling(low, high, made)}."


def label_cure(labels: np.ndarray, *, leading: int, name: str) -> str:
    """The same for labels; `leading` is the number of dimensions before height and width.

    Labels that have the right form already differ from the images in number or size.
    """
    if labels.dtype in (np.uint8, np.uint16) and labels.ndim == leading + 2:
        return "Give one label for each image, of its size."
    if labels.dtype.kind not in "fiub" or not labels.size:
        return "Give whole numbers, a class index for each pixel."
    made, shape = name, labels.shape[leading:]
    if len(shape) == 3:
        axis = next((axis for axis in (-1, -3) if (labels.sum(axis=axis) == 1).all()), None)
        if shape[-1] == 1:
            made, labels = f"{name}[..., 0]", labels[..., 0]
        elif shape[0] == 1:
            made, labels = f"{name}[..., 0, :, :]", labels[..., 0, :, :]
        elif axis is not None:  # one channel a class
            return f"Use {name}.argmax(axis={axis}).astype(np.uint8)."
        else:
            return "Their channels are neither one nor a class each; give class indices."
    elif len(shape) != 2:
        return f"Give {leading + 2} dimensions."
    low, high = labels.min(), labels.max()
    if labels.dtype.kind == "f" and not (labels == np.round(labels)).all():
        if low >= 0 and high <= 1:
            return f"They are shares; a pixel belongs to one class. Use ({made} >= 0.5).astype(np.uint8)."
        return "They are no whole numbers; give class indices."
    if high > LARGEST:
        return f"A value is at most {LARGEST}; number the classes from 0."
    if low < 0:
        if high > 254:
            return "Number the classes from 0."
        return f"Use np.where({made} < 0, 255, {made}).astype(np.uint8), where 255 is ignored."
    return f"Use {made}.astype(np.{'uint8' if high <= 255 else 'uint16'})."
