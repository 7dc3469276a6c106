"""`seg-jax VERB ARGUMENTS...`, which is `python -m seg_jax`: hands the arguments on to the program of the verb."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from seg_jax.runtime.version import __version__


class Verb(NamedTuple):
    """A program of this package: its module, the arguments that the verb stands for, and one line on it."""

    module: str
    arguments: tuple[str, ...]
    summary: str


VERBS: Mapping[str, Verb] = {
    "train": Verb("seg_jax.main", (), "train a network, or resume a run: --config=FILE --workdir=RUN"),
    "eval": Verb("seg_jax.main", ("--mode=eval",), "evaluate a checkpoint in detail: --workdir=RUN"),
    "predict": Verb("seg_jax.predict", (), "segment photographs, folders, videos"),
    "export": Verb("seg_jax.export", (), "write a run's network as ONNX, TFLite, StableHLO, ..."),
    "data": Verb("seg_jax.data", (), "inspect, lint, browse, stats, prepare: the tool for data sets"),
    "compare": Verb("seg_jax.compare", (), "train and evaluate what differs in some fields, and compare"),
    "report": Verb("seg_jax.report", (), "compare runs"),
    "demo": Verb("seg_jax.demo", (), "a page in the browser for trained networks"),
    "models": Verb("seg_jax.models", (), "what a weight file is, and which flags load it"),
    "doctor": Verb("seg_jax.doctor", (), "versions, devices, caches and advice; its text belongs in a bug report"),
}


def help_text() -> str:
    """What --help prints."""
    rows = [f"  {name:<8}  {verb.summary}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "usage: seg-jax VERB [ARGUMENTS...]     (or: python -m seg_jax VERB [ARGUMENTS...])",
            "",
            f"seg_jax {__version__}: semantic segmentation with JAX and Flax.",
            "",
            *rows,
            "",
            "seg-jax VERB --help explains each. Every verb also runs as python -m seg_jax.VERB, train and eval as",
            "python -m seg_jax.main.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit code. Most verbs end the process with a code of their own instead.

    Args:
      arguments: those of the command line; None for the ones that this process was started with.
    """
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if name == "--version":
        print(f"seg_jax {__version__}")
        return 0
    if name not in VERBS:
        from seg_jax.config import did_you_mean  # imports ml_collections, which no other path here needs

        print(f"error: {name!r} is not one of: {', '.join(VERBS)}.{did_you_mean(name, VERBS)}", file=sys.stderr)
        return 1
    verb = VERBS[name]
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # `python -m` has it, and configurations import others from there
    # As `python -m MODULE` does it: flags and usage texts belong to the module `__main__`, and a program that starts
    # itself anew (process.tune_malloc) repeats the original command line, which is this one.
    before, sys.argv = sys.argv, [f"seg-jax {name}", *verb.arguments, *rest]
    try:
        runpy.run_module(verb.module, run_name="__main__", alter_sys=True)
    finally:
        sys.argv = before
    return 0


if __name__ == "__main__":
    sys.exit(main())
