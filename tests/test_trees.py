"""Names of leaves, by hand."""

from typing import NamedTuple

from seg_jax.runtime import trees


class Moments(NamedTuple):
    mu: dict
    count: int


TREE = {"b": {"conv": {"kernel": 1}}, "a": [2, Moments({"w": 3}, 4)]}


def test_names_of_all_kinds_of_nodes():
    assert trees.by_name(TREE) == {"a/0": 2, "a/1/mu/w": 3, "a/1/count": 4, "b/conv/kernel": 1}
    assert trees.names(TREE) == {
        "b": {"conv": {"kernel": "b/conv/kernel"}},
        "a": ["a/0", Moments({"w": "a/1/mu/w"}, "a/1/count")],
    }


def test_nothing_has_no_names():
    assert trees.by_name({"a": {}}) == {}
