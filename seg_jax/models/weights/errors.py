"""The error of weight files."""

from seg_jax.runtime.errors import SegJaxError


class WeightsError(SegJaxError, ValueError):
    """A weight file that cannot be used; the message says which, why, and what to do."""
