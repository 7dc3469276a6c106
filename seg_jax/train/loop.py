"""The training loop."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from seg_jax.config import Config
from seg_jax.data import feed, sampler
from seg_jax.data.examples import Examples
from seg_jax.data.images import DataError
from seg_jax.run.directory import RunDirectory, require_same_examples
from seg_jax.run.opening import Job, open_job
from seg_jax.run.saving import CheckpointWriter
from seg_jax.runtime import process, sharding
from seg_jax.runtime.process import Interruption
from seg_jax.steps.state import TrainState
from seg_jax.train import length, rate
from seg_jax.train.bar import Bar
from seg_jax.train.clock import Profiler
from seg_jax.train.health import PROGRAMS_IN_FLIGHT
from seg_jax.train.hooks import NO_HOOKS, Hooks
from seg_jax.train.length import Length
from seg_jax.train.programs import Programs
from seg_jax.train.progress import Progress
from seg_jax.train.session import Session, saving_at_failure


def train_and_evaluate(config: Config, workdir: Path, hooks: Hooks = NO_HOOKS) -> TrainState:
    """Trains to the end, or resumes from the newest checkpoint in `workdir`; evaluates and saves on the way.

    Args:
      config: what to train, see docs/configuration.md.
      workdir: the run directory; made if it is missing.
      hooks: what a Python program adds.

    Returns:
      The last state; a signal may have ended the run before its last step.

    Raises:
      ConfigError, DataError, LabelError, CheckpointError: before the first step, with the cure.
      LockedError: another process trains in `workdir`.
      DivergedError: loss or gradient became infinite or NaN.
      DataError, LabelError: a file changed or vanished since it was checked; what was trained is saved.
      SaveError: a checkpoint cannot be written; those before it are whole.
    """
    if config.train.deterministic:
        process.make_deterministic()
    run = RunDirectory(workdir)
    with run.training():
        job, plan = open_training(config, run, hooks)
        checkpoints = run.checkpoint_writer(keep_last=job.config.checkpoint.keep_last)
        state, progress = begin(job, checkpoints)
        logging.info("%s", summary(job, plan, run))
        with closing(Session(job, run, checkpoints, progress, start=int(state.step), hooks=hooks)) as session:
            state = train(job, plan, session, state)
        metric, patience = job.config.checkpoint.metric, job.config.early_stop.patience
        logging.info("%s", session.progress.outcome(split=job.splits[1].split, metric=metric, patience=patience))
    return state


def open_training(config: Config, run: RunDirectory, hooks: Hooks) -> tuple[Job, Length]:
    """The job that `run` is to be trained on, which records it, and its course; what cannot be resumed is refused."""
    recorded = run.resumable()

    def guard(config: Config) -> None:
        run.begin(config)
        length.refuse_jump(config, recorded, run)

    job = open_job(
        config,
        (config.data.train_split, config.data.val_split),
        run=run,
        recorded=recorded,
        guard=guard,
        source=hooks.source,
        own_losses=hooks.losses,
    )
    for one, field in zip(job.splits, ("train_split", "val_split"), strict=True):
        require_labels(one, field)
    examples = len(job.splits[0])
    config = length.lengthened(job.config, recorded, run, examples=examples)
    plan = length.plan(config, examples=examples)
    run.write_table(job.splits[0].table)
    run.write_config(config)
    functions = replace(
        job.functions, config=config, steps=plan.steps, frozen_steps=plan.frozen, restarts=plan.restarts
    )
    return replace(job, config=config, functions=functions), plan


def require_labels(examples: Examples, field: str) -> None:
    """Refuses a split in which every pixel is ignored: it teaches nothing, and no score of it exists.

    Args:
      examples: the split, checked.
      field: that of `config.data` which names it.

    Raises:
      DataError: with the number of masks, and what to do.
    """
    if not examples.labelled:
        raise DataError(
            f"config.data.{field} = {examples.split!r} has no labelled pixel: its {len(examples)} masks say 'ignore' "
            f"everywhere, as those of a test set do. Name a split with labels: --config.data.{field}=NAME. If these "
            "masks do have labels, `python -m seg_jax.data inspect` shows what their values are taken for."
        )


def begin(job: Job, checkpoints: CheckpointWriter) -> tuple[TrainState, Progress]:
    """State and progress of the newest checkpoint, or of step 0."""
    restored = checkpoints.restore_latest(job.functions.abstract_state)
    if restored is None:
        return job.functions.init(), Progress()
    state, meta = restored
    require_same_examples(meta, *job.splits)
    logging.info("resuming after step %d of %d", int(state.step), job.functions.steps)
    return sharding.to_devices(state, job.mesh), Progress.from_json(meta["memory"])


def summary(job: Job, plan: Length, run: RunDirectory) -> str:
    """One line on what is about to be trained."""
    train, val = job.splits
    height, width = train.size
    return (
        f"{job.config.model.name} on {job.config.model.encoder.name}, {len(train)} training and {len(val)} validation "
        f"images of {height}x{width}, {len(train.table)} classes, {plan.steps} steps, "
        f"{job.mesh.size} {jax.default_backend()} device(s), run directory {run}"
    )


def train(job: Job, plan: Length, session: Session, state: TrainState) -> TrainState:
    """The steps after those of `state`, to the end of `plan`, of the patience of early stopping, or to a signal."""
    config, teacher, done = job.config, job.functions.teacher, int(state.step)
    health, clock = session.health, session.clock
    batches = training_batches(job, start=done, stop=plan.steps)
    with (
        closing(batches),
        Bar(done, plan.steps, epoch=session.epoch) as bar,
        closing(Profiler(config.profile, session.run.profile_folder)) as profiler,
        Interruption(processes=jax.process_count()) as interruption,
    ):
        programs = Programs(job.functions, job.splits[0].size, plan, health=health, clock=clock, bar=bar)
        while done < plan.steps:
            if done in plan.restarts:
                state = rate.begun_anew(session, done, state)
            if session.exhausted or interruption.now():
                break
            steps, step = programs.after(done)
            if profiler.ends(done):
                health.settle()
                profiler.close()
            if profiler.begins(done):
                profiler.open()
            with clock.waiting(), saving_at_failure(session, state):
                batch = [next(batches) for _ in range(steps * job.functions.members)]
            state, metrics = step(state, batch if len(batch) > 1 else batch[0], teacher)
            done += steps
            health.started(done, metrics)
            evaluate_now = plan.evaluates(done)
            save_now = evaluate_now or due(done, config.checkpoint.every_steps)
            log_now = due(done, config.log.every_steps) or done == plan.steps
            # Nothing is saved, evaluated or logged before every step up to here was found finite.
            last = health.settle(0 if save_now or log_now else PROGRAMS_IN_FLIGHT)
            bar.advance(steps, clock.postfix(last), session.progress.record(config.checkpoint.metric))
            if log_now:
                session.log(done, last)
            score = None
            if evaluate_now:
                if not session.evaluator.is_compiled:
                    with clock.paused(), bar.compiling():
                        session.evaluator.compile()
                with bar.showing("evaluating"):
                    score = session.evaluate(done, state)
                state = rate.lowered(session, done, state)
            if save_now:
                session.save(state, score)
            if evaluate_now:
                session.show_report(done)
        health.settle()
        session.checkpoints.wait()
        if interruption.name:
            session.save_unless_saved(state)
            logging.warning("%s: saved step %d; run the same command to resume", interruption.name, done)
        else:
            session.write_facts(done, peak_memory=programs.peak_memory)
            session.conclude()
    return state


def training_batches(job: Job, *, start: int, stop: int) -> Generator[Any]:
    """The batches of the steps from `start` to `stop`, one for each step and member."""
    config, train = job.config, job.splits[0]
    order = sampler.training_order(
        config.seed,
        start=start,
        stop=stop,
        batch_size=config.train.batch_size,
        n=len(train),
        members=job.functions.members,
        process=jax.process_index(),
        processes=jax.process_count(),
    )
    return feed.batches(train, order, config.data, job.mesh)


def due(step: int, every: int) -> bool:
    """Whether something that happens every `every` steps (0: never) happens after `step`."""
    return every > 0 and step % every == 0
