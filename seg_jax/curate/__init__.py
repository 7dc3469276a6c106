"""The tool for data sets: `python -m seg_jax.data inspect|lint|stats|prepare`."""
