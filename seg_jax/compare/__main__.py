"""The command line: python -m seg_jax.compare --config=FILE --over=FIELD=VALUE,VALUE ... --workdir=DIR."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jax

from seg_jax.compare import devices, search
from seg_jax.compare.plan import Planned, axes_of, base_of, plan
from seg_jax.compare.runs import InterruptedByUserError, Runner, at_once, with_each
from seg_jax.config import ConfigError
from seg_jax.report import html
from seg_jax.report.__main__ import write
from seg_jax.report.comparison import Comparison, Run
from seg_jax.runtime import process
from seg_jax.runtime.errors import SegJaxError
from seg_jax.runtime.process import Interruption

USAGE = (
    "python -m seg_jax.compare --config=FILE [--config.GROUP.FIELD=VALUE ...] --over=FIELD=VALUE,VALUE ... "
    "[--random=N | --search=optuna --trials=N] [--seed=S] [--run='FIELD=VALUE ...' ...] [--split=NAME] [--jobs=N] "
    "--workdir=DIR"
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
    made.add_argument("--search", choices=("optuna",), help="let optuna choose values, also of FIELD=LOW..HIGH[:log]")
    made.add_argument("--trials", type=int, metavar="N", help="number of runs of --search")
    made.add_argument("--seed", type=int, default=0, metavar="S", help="of --random and --search (default: 0)")
    made.add_argument("--split", default="", metavar="NAME", help="to evaluate on (default: data.val_split)")
    made.add_argument("--jobs", type=int, metavar="N", help="runs at once (default: one for each GPU; 1 on a CPU)")
    made.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="gets a run directory for each run")
    made.add_argument("--plan", action="store_true", help="print the runs, or what --search varies; train nothing")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 where a run failed, or nothing could be compared."""
    process.quiet()
    jax.config.update("jax_platforms", "cpu")  # this process computes nothing; devices are for the runs
    options, base = parser().parse_known_args(arguments)
    options.workdir = options.workdir.expanduser()
    try:
        if bool(options.search) != (options.trials is not None):
            raise ConfigError("--search and --trials belong together: --search=optuna --trials=20.")
        with Interruption() as interruption:
            runner = Runner(options.workdir, options.split, interruption)
            return _search(options, base, runner) if options.search else _compare(options, base, runner)
    except InterruptedByUserError as signal:
        print(f"{signal}: what was trained is saved; run the same command to resume", file=sys.stderr)
        return 1
    except (SegJaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _compare(options: argparse.Namespace, base: Sequence[str], runner: Runner) -> int:
    """The runs of a grid, a part of it or a list."""
    made = plan(base, over=options.over, listed=options.run, count=options.random, seed=options.seed)
    for name, reason in made.refused.items():
        print(f"left out {name}: {reason}", file=sys.stderr)
    if options.plan:
        print("\n".join(run.name for run in made.runs))
        return 0
    shares = devices.shares(options.jobs, [run.config for run in made.runs], devices.gpus())
    absent = {name: f"was left out: {reason}" for name, reason in made.refused.items()}
    return evaluate(made.runs, at_once(runner, shares), absent)


def _search(options: argparse.Namespace, base: Sequence[str], runner: Runner) -> int:
    """The runs that optuna chooses."""
    if options.random is not None or options.run or not options.over:
        raise ConfigError("--search chooses the runs itself: give --over, and neither --random nor --run.")
    space = search.space(axes_of(options.over))
    shares = devices.shares(options.jobs, [base_of(base)] * options.trials, devices.gpus())
    if options.plan:
        print("\n".join(f"{field}: {values}" for field, values in space.items()))
        return 0
    study = search.Search(options.workdir, base, space, trials=options.trials, seed=options.seed)
    runners = at_once(runner, shares)
    study.run(runners)
    ranked = sorted(study.runs.values(), key=lambda run: -study.scores[run.name])
    return evaluate(ranked, runners, study.absent)


def evaluate(runs: Sequence[Planned], runners: Sequence[Runner], absent: Mapping[str, str]) -> int:
    """Trains what is missing, evaluates all, and writes the comparison; returns the exit code.

    Args:
      runs: the others are compared with the first one.
      runners: one for each program that runs at once.
      absent: {name: reason} of what was asked for and is not in `runs`.
    """
    done: dict[str, Run] = {}

    def work(runner: Runner, run: Planned) -> None:
        print(f"run {runs.index(run) + 1} of {len(runs)}: {run.name}", file=sys.stderr)
        try:
            runner.train(run)
            done[run.name] = replace(Run.load(str(runner.evaluate(run).path)), name=run.title)
        except InterruptedByUserError:
            raise
        except SegJaxError as error:
            print(f"{run.name} failed: {error}", file=sys.stderr)
            raise

    failed = {runs[index].name: f"failed: {error}" for index, error in with_each(runners, work, runs).items()}
    if not done:
        print("error: no run can be compared, since all of them failed", file=sys.stderr)
        return 1
    sentences = [f"{name} {reason}" for name, reason in {**absent, **failed}.items()]
    comparison = Comparison([done[run.name] for run in runs if run.name in done], sentences)
    print(html.text(comparison.tables(), comparison.notes), end="")
    write(comparison, runners[0].workdir / "comparison")
    return int(any(reason.startswith("failed: ") for reason in [*absent.values(), *failed.values()]))


if __name__ == "__main__":
    sys.exit(main())
