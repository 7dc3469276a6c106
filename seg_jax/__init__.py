"""seg_jax: semantic segmentation with JAX and Flax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seg_jax.predict.predictor import Predictor as Predictor
    from seg_jax.run.model import create_model as create_model
    from seg_jax.train.library import train as train

__version__ = "0.1.0"

# Public names by the module that has them, imported when they are first used: `import seg_jax` costs nothing.
_HOMES = {"Predictor": "seg_jax.predict.predictor", "create_model": "seg_jax.run.model", "train": "seg_jax.train"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seg_jax' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    from importlib import import_module

    home = import_module(_HOMES[name])
    return home if name == "train" else getattr(home, name)  # that module itself can be called


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
