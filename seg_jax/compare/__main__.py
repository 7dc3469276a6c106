"""The command line: python -m seg_jax.compare --config=FILE --over=FIELD=VALUE,VALUE ... --workdir=DIR."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax

from seg_jax.compare.plan import Plan, plan
from seg_jax.compare.runs import InterruptedByUserError, Runner
from seg_jax.report import html
from seg_jax.report.__main__ import write
from seg_jax.report.comparison import Comparison, Run
from seg_jax.runtime import process
from seg_jax.runtime.errors import SegJaxError
from seg_jax.runtime.process import Interruption

USAGE = (
    "python -m seg_jax.compare --config=FILE [--config.GROUP.FIELD=VALUE ...] --over=FIELD=VALUE,VALUE ... "
    "[--random=N --seed=S] [--run='FIELD=VALUE ...' ...] [--split=NAME] --workdir=DIR"
)


def parser() -> argparse.ArgumentParser:
    """The command's own flags, besides those of the configuration."""
    made = argparse.ArgumentParser(
        prog="python -m seg_jax.compare",
        usage=USAGE,
        allow_abbrev=False,
        description="Trains the runs that are missing, evaluates all of them, and compares them with the first one.",
    )
    made.add_argument("--over", action="append", default=[], metavar="FIELD=VALUE,VALUE", help="an axis of the grid")
    made.add_argument("--run", action="append", default=[], metavar="'FIELD=VALUE ...'", help="a run beside the grid")
    made.add_argument("--random", type=int, metavar="N", help="draw N runs of the grid, instead of all")
    made.add_argument("--seed", type=int, default=0, metavar="S", help="of --random (default: 0)")
    made.add_argument("--split", default="", metavar="NAME", help="to evaluate on (default: data.val_split)")
    made.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="gets a run directory for each run")
    made.add_argument("--plan", action="store_true", help="print the runs, and train nothing")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 where a run failed, or nothing could be compared."""
    process.quiet()
    jax.config.update("jax_platforms", "cpu")  # this process computes nothing; devices are for the runs
    options, base = parser().parse_known_args(arguments)
    try:
        planned = plan(base, over=options.over, listed=options.run, count=options.random, seed=options.seed)
        for name, reason in planned.refused.items():
            print(f"left out {name}: {reason}", file=sys.stderr)
        if options.plan:
            print("\n".join(run.name for run in planned.runs))
            return 0
        return compare(planned, options.workdir.expanduser(), options.split)
    except InterruptedByUserError as signal:
        print(f"{signal}: what was trained is saved; run the same command to resume", file=sys.stderr)
        return 1
    except (SegJaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def compare(planned: Plan, workdir: Path, split: str) -> int:
    """Trains and evaluates all runs, then writes `workdir/comparison`; returns the exit code."""
    runs, failed = [], {}
    with Interruption() as interruption:
        runner = Runner(workdir, split, interruption)
        for number, run in enumerate(planned.runs, 1):
            print(f"run {number} of {len(planned.runs)}: {run.name}", file=sys.stderr)
            try:
                runner.train(run)
                runs.append(replace(Run.load(str(runner.evaluate(run).path)), name=run.name))
            except InterruptedByUserError:
                raise
            except SegJaxError as error:
                failed[run.name] = str(error)
                print(f"{run.name} failed: {error}", file=sys.stderr)
    absent = [f"{name} was left out: {reason}" for name, reason in planned.refused.items()]
    absent += [f"{name} failed: {reason}" for name, reason in failed.items()]
    if not runs:
        print("error: no run can be compared, since all of them failed", file=sys.stderr)
        return 1
    comparison = Comparison(runs, absent)
    print(html.text(comparison.tables(), comparison.notes), end="")
    write(comparison, workdir / "comparison")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
