"""Names of the leaves of nested trees, such as 'encoder/stem/conv/kernel'."""

from __future__ import annotations

from typing import Any

import jax


def name(path: Any) -> str:
    """The name of the leaf at `path`, a sequence of JAX's keys."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def names(tree: Any) -> Any:
    """The name of every leaf, in the structure of the tree."""
    return jax.tree_util.tree_map_with_path(lambda path, _: name(path), tree)


def by_name(tree: Any) -> dict[str, Any]:
    """A tree -> {'params/encoder/stem/conv/kernel': leaf}."""
    return {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
