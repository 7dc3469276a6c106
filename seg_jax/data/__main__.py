"""`python -m seg_jax.data inspect|lint|browse|stats|prepare`: runs the tool for data sets, `seg_jax.curate`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("seg_jax.curate", run_name="__main__", alter_sys=True)
