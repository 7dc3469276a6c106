"""`python -m seg_jax` is the command `seg-jax`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("seg_jax.cli", run_name="__main__", alter_sys=True)
