"""`Predictor` under the name that it had first; `seg_jax.Predictor` is the same."""

from seg_jax.predict.predictor import Predictor

__all__ = ["Predictor"]
