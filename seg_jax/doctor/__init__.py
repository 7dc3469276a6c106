"""The state of an installation, for bug reports: facts, advice, and `python -m seg_jax.doctor`, which prints both."""
