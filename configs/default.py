"""Every field with its default: `seg_jax/config/default.py` has them, docs/configuration.md lists them."""

from seg_jax.config.default import get_config

__all__ = ["get_config"]
