"""The command line: python -m seg_jax.main --config=RECIPE_OR_FILE --workdir=DIR [--config.x.y=value ...]."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path

from seg_jax.runtime import process

if __name__ == "__main__":
    process.tune_malloc()  # before the imports that cost time: it starts the program anew

from absl import app, flags

from seg_jax.config import ConfigError, checked
from seg_jax.config import flags as config_flags
from seg_jax.config.page import lines
from seg_jax.runtime.errors import FULL, SegJaxError

CONFIG = config_flags.define(flags.FLAGS)
WORKDIR = flags.DEFINE_string("workdir", None, "The run directory: checkpoints, metrics, pictures, report.")
MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "eval", "dry_run", "lr_range"],
    "train: train, or resume the run in --workdir. eval: evaluate a checkpoint of that run in detail. "
    "dry_run: compile, print parameters, FLOPs and all memory of a training, and stop. "
    "lr_range: a hundred steps at rising learning rates, with a plot.",
)
FIT_MEMORY = flags.DEFINE_float(
    "fit_memory",
    None,
    "With --mode=dry_run: propose what makes the training step fit into this many GiB on each device.",
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Train with all processes that SLURM, MPI, Kubernetes or a TPU slice has started."
)
COORDINATOR = flags.DEFINE_string("coordinator", "", "One of several processes: HOST:PORT of process 0.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", 0, "With --coordinator: how many processes there are.")
PROCESS_ID = flags.DEFINE_integer("process_id", -1, "With --coordinator: which one this is, from 0.")
CHECKPOINT = flags.DEFINE_string("checkpoint", "best", "With --mode=eval: best, last, or a step.")


def main(argv: list[str]) -> int:
    """Runs one mode; returns the exit code."""
    process.quiet()
    process.collect_rarely()
    if len(argv) > 1:
        return fail(f"unknown argument {argv[1]!r}. Overrides are spelled --config.GROUP.FIELD=VALUE.")
    if MODE.value != "dry_run" and not WORKDIR.value:
        return fail("--workdir is missing. Name the directory that the run is to write to.")
    workdir = Path(WORKDIR.value or ".").expanduser()
    try:
        process.join(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value, automatic=DISTRIBUTED.value)
        process.use_compilation_cache()

        from seg_jax.run.directory import RunDirectory

        if CONFIG.value is not None:
            config = checked(CONFIG.value)
        elif MODE.value != "eval":
            return fail("--config is missing. Try --config=configs/synthetic_unet.py.")
        else:
            config = RunDirectory(workdir).config()
        return {"train": train, "eval": evaluate, "dry_run": dry_run, "lr_range": lr_range}[MODE.value](config, workdir)
    except SegJaxError as error:
        return fail(str(error))
    except OSError as error:  # a full disk, no descriptor, a share that stalls
        return fail(
            f"{error}. The machine refuses: what is stored is unchanged. Mend that, and run the same command again."
        )


def train(config, workdir: Path) -> int:
    """--mode=train."""
    from seg_jax.run.directory import RunDirectory
    from seg_jax.run.finished import finished_step

    step = finished_step(config, RunDirectory(workdir))
    if step is not None:
        conclude(workdir, f"finished already, step {step}: nothing is left to train")
        return 0

    from seg_jax.train.loop import train_and_evaluate

    try:
        state = train_and_evaluate(config, workdir)
    except OSError as error:
        if error.errno not in FULL:
            raise
        return fail(f"{error}. Free space in {workdir}, or make it writable; then run the same command to resume.")
    conclude(workdir, f"finished step {int(state.step)}")
    return 0


def conclude(workdir: Path, headline: str) -> None:
    """Prints what a run has left behind, and what to do with it; the first process does."""
    if not process.is_first():
        return
    print(f"\n{headline}; everything is in {workdir}")
    print(contents(workdir))


def contents(workdir: Path) -> str:
    """What a training has left, a line for each kind of file that is there, and the commands that come next."""
    from seg_jax.run.directory import RunDirectory

    run = RunDirectory(workdir)
    config = run.config()
    kinds = {
        f"the best checkpoint on {config.data.val_split!r}": [
            run.report.report,
            run.report.confusion,
            run.report.predictions,
        ],
        "the course of the training": [run.curves_file, run.class_curves_file, run.metrics_file],
        "the predictions of every evaluation": [run.pictures_folder],
        "the newest and the best": [run.checkpoints_folder],
    }
    rows = []
    for what, paths in kinds.items():
        if names := " ".join(path.name + "/" * path.is_dir() for path in paths if path.exists()):
            rows.append(f"  {names:<42}  {what}")
    python = os.path.relpath(sys.executable) if sys.executable.startswith(os.getcwd()) else sys.executable
    place = shlex.quote(str(run))
    photo = f"{place}/{run.sample_file.name}" if run.sample_file.exists() else "PHOTO"
    rows += [
        "next",
        f"  {python} -m seg_jax.predict {place} {photo} --out={place}/masks",
        f"  {python} -m seg_jax.main --mode=eval --workdir={place}",
    ]
    if config.log.tensorboard:
        rows.append(f"  {python} -m tensorboard.main --logdir={place}")
    return "\n".join(rows)


def evaluate(config, workdir: Path) -> int:
    """--mode=eval."""
    from seg_jax.evaluate.stored import evaluate_checkpoint

    evaluate_checkpoint(config, workdir, CHECKPOINT.value)
    return 0


def dry_run(config, workdir: Path) -> int:
    """--mode=dry_run; writes nothing."""
    del workdir
    from seg_jax.config import with_fields
    from seg_jax.run.directory import RunDirectory
    from seg_jax.run.opening import any_size, equal, open_job
    from seg_jax.train import memory

    splits = (config.data.train_split, config.data.val_split)
    cache = config.data.cache
    with tempfile.TemporaryDirectory() as place:
        # The sizes of photographs are known once they were read. Equal class weights cost as much as counted ones.
        run = RunDirectory(place) if any_size(config) else None
        config = with_fields(config, {"data.cache": "none"}) if run else config
        job = open_job(config, splits, run=run, weigh=equal)
        costs, footprint = memory.measure(job, cache=cache)
    print(costs)
    print(footprint or "memory of the process: unknown, this system does not say")
    if FIT_MEMORY.value is not None:
        if FIT_MEMORY.value <= 0:
            return fail(
                f"--fit_memory={FIT_MEMORY.value}: it is the memory of a device in GiB. Use 8, or leave it out."
            )
        limit = FIT_MEMORY.value * 2**30
        train = job.splits[0]
        found = memory.fit_memory(job.functions, size=train.size, limit=limit, several_sizes=bool(train.sizes))
        print(memory.proposal(found, limit=limit))
        return int(found is None)
    return 0


def lr_range(config, workdir: Path) -> int:
    """--mode=lr_range."""
    from seg_jax.run.directory import RunDirectory
    from seg_jax.train.lr_range import lr_range as measure

    result = measure(config, workdir)
    if (best := result["suggestion"]) is None:
        advice = "the loss does not fall at any of them: try another optimizer or a lower optim.lr"
    else:
        advice = f"the loss falls fastest at {best:.2g}"
    print(f"{len(result['lr'])} rates up to {result['lr'][-1]:.2g}; {advice}")
    print(RunDirectory(workdir).rates_picture)
    return 0


def parse(argv: list[str]) -> list[str]:
    """Reads the flags; a misspelled field or an unfit value ends the program with one line, not a traceback.

    Without --config an evaluation has the configuration that the run recorded, for overrides to change.
    """
    if "--helpfull" in argv:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is how a long text is read, and no error
        print(f"Fields of a configuration:\n{lines()}\n")
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)  # absl's flags are defined before they are read
    for name in ("--mode", "--config", "--workdir"):
        early.add_argument(name)
    known, _ = early.parse_known_args(argv[1:])
    try:
        if known.mode == "eval" and not known.config and known.workdir:
            from seg_jax.run.directory import RunDirectory

            if (run := RunDirectory(known.workdir)).exists:
                delattr(flags.FLAGS, "config")
                config_flags.define(flags.FLAGS, recorded=run.config())
        return config_flags.parse(flags.FLAGS, argv)
    except ConfigError as error:
        overrides = [text for text in argv[1:] if text.startswith(("--config.", "-config."))]
        tried = f" (overrides: {' '.join(overrides)})" if overrides else ""
        sys.exit(fail(f"{error}{tried} docs/configuration.md lists every field, and so does --helpfull."))


def fail(message: str) -> int:
    """Prints an error that the user can act on; returns the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
