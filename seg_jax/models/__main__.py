"""The command line: python -m seg_jax.models [FILE_OR_DIR] says what weights are, or which networks there are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from seg_jax.models import identify
from seg_jax.runtime.errors import SegJaxError


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    from seg_jax.config import default

    parser = argparse.ArgumentParser(
        prog="python -m seg_jax.models", description="Says what a weight file or folder is, and which flags load it."
    )
    parser.add_argument(
        "path", nargs="*", metavar="FILE_OR_DIR", help="or hf://OWNER/NAME, timm/NAME; without: lists all networks"
    )
    options = parser.parse_args(arguments)
    try:
        for path in options.path:
            print(identify.describe(path, default.get_config()))
    except (SegJaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not options.path:
        for line in identify.listing():
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
