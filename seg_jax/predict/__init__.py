"""Prediction from a run directory or an exported file; importing this package loads no JAX."""
