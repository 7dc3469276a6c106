"""seg_jax: semantic segmentation with JAX and Flax."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

# Public names by the module that has them, imported when they are first used: `import seg_jax` costs nothing.
# __init__.pyi tells type checkers the same.
_HOMES = {
    "Predictor": "seg_jax.predict.predictor",
    "SegJaxError": "seg_jax.runtime.errors",
    "__version__": "seg_jax.runtime.version",
    "create_model": "seg_jax.run.model",
    "train": "seg_jax.train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seg_jax' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    home = import_module(_HOMES[name])
    return home if name == "train" else getattr(home, name)  # that module itself can be called


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


class _OldPath(ModuleType):
    """`seg_jax.predictor`, where `Predictor` was first."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(_HOMES["Predictor"]), name)


sys.modules["seg_jax.predictor"] = _OldPath("seg_jax.predictor")
