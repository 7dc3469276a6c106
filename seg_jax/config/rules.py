"""Rules that several groups share."""

from __future__ import annotations

from seg_jax.config.fields import Rule

EACH_AT_LEAST_ONE = Rule(
    lambda numbers: all(n >= 1 for n in numbers),
    "each of them is at least 1",
    "Use positive numbers, such as the default",
)
DIFFERENT = Rule(
    lambda numbers: len(set(numbers)) == len(numbers), "its numbers differ", "Leave out those that are there twice"
)
NOT_NEGATIVE = Rule(lambda n: n >= 0, "this cannot be negative", "Use 0 to switch it off")
AT_LEAST_ONE = Rule(lambda n: n >= 1, "this is at least 1", "Use a positive number")
SIZE = Rule(
    lambda size: len(size) == 2 and all(isinstance(n, int) and n >= 0 for n in size) and (size[0] > 0) == (size[1] > 0),
    "a size is (height, width) in pixels",
    "Use two positive integers, or (0, 0) for the size of the stored images",
)
