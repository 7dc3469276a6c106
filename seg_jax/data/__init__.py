"""The door to the data: named sources, and `load`, which gives the examples of one split.

The batch contract: `image` uint8 [b h w 3], `label` uint8 [b h w] with class ids 0..k-1 and 255 = ignore.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from seg_jax.config import Config, lookup
from seg_jax.data import images
from seg_jax.data.examples import Examples
from seg_jax.data.sources import folder, synthetic

SOURCES: Mapping[str, Callable[..., Examples]] = {
    "folder": folder.load,
    "synthetic": synthetic.load,
}


def load(config: Config, split: str) -> Examples:
    """The examples of one split, each read at `config.data.size` where that is set.

    Raises:
      ConfigError, DataError, LabelError: naming the field or the file, the rule and the cure.
    """
    examples = lookup(SOURCES, config.data.source, "data.source")(config.data, split, seed=config.seed)
    size = tuple(config.data.size)
    if not all(size):
        return examples
    read = examples.read
    return replace(examples, read=lambda i: images.resize(*read(i), size), resized=size)
