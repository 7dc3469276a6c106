"""seg_jax: semantic segmentation with JAX and Flax."""

__version__ = "0.1.0"
