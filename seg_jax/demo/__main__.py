"""The command line: python -m seg_jax.demo [MODEL [MODEL]] opens the page `app.py`."""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from seg_jax import shipped
from seg_jax.runtime import extras


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page until it is stopped; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m seg_jax.demo",
        description="Opens a page in the browser for trained networks.",
        epilog="It listens on 127.0.0.1; STREAMLIT_SERVER_ADDRESS and STREAMLIT_SERVER_PORT choose other places.",
    )
    kinds = shipped.choices("run directory or exported file")
    default = f"{kinds}; two are shown side by side (default: runs/synthetic_unet, else a network of the package)"
    parser.add_argument("models", nargs="*", metavar="MODEL", help=default)
    options = parser.parse_args(arguments)
    if len(options.models) > 2:
        parser.error(f"{len(options.models)} networks: the page shows one or two. Leave some out.")
    if not extras.is_installed("demo"):
        print(f"error: the demo needs streamlit. Add it: {extras.install_command('demo')}", file=sys.stderr)
        return 1
    sys.argv = ["streamlit", "run", str(Path(__file__).with_name("app.py")), "--", *options.models]
    runpy.run_module("streamlit", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
