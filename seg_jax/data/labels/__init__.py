"""LabelTable: the single owner of the meaning of a pixel value in a mask.

Inside the program class ids are 0..k-1 and the largest value of the array's type (255; 65535 for more than 255 classes)
marks pixels that are not counted. A table knows the ordered
class names, their colours, the stored values of each class, and the stored values that are ignored. The meaning of an
unknown value is never guessed: `encode` reports it.
"""

from seg_jax.data.labels.ids import IGNORE, IGNORE_GROUP, UNKNOWN, Color, LabelError, ignored_in, label_type, palette
from seg_jax.data.labels.table import LabelTable

__all__ = [
    "IGNORE",
    "IGNORE_GROUP",
    "UNKNOWN",
    "Color",
    "LabelError",
    "LabelTable",
    "ignored_in",
    "label_type",
    "palette",
]
