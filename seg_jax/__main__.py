"""`python -m seg_jax` is the command `seg-jax`."""

import sys

from seg_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
