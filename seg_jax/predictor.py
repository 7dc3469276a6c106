"""`Predictor` under the name that it had first; `seg_jax.Predictor` is the same."""

from importlib import import_module
from typing import Any

Predictor: Any = import_module("seg_jax.predict.predictor").Predictor
