"""The training loop."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

import jax

from seg_jax.config import Config
from seg_jax.run.directory import RunDirectory
from seg_jax.run.opening import Job, begin, open_training
from seg_jax.runtime import xla
from seg_jax.runtime.process import Interruption
from seg_jax.steps.state import TrainState
from seg_jax.train import rate
from seg_jax.train.bar import Bar
from seg_jax.train.clock import Profiler
from seg_jax.train.health import PROGRAMS_IN_FLIGHT
from seg_jax.train.hooks import NO_HOOKS, Hooks
from seg_jax.train.programs import Programs
from seg_jax.train.session import Session, conclude, saving_at_failure
from seg_jax.train.stream import Stream


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
        xla.make_deterministic()
    run = RunDirectory(workdir)
    with run.training():
        job = open_training(config, run, source=hooks.source, own_losses=hooks.losses)
        checkpoints = run.checkpoint_writer(keep_last=job.config.checkpoint.keep_last)
        state, progress = begin(job, checkpoints)
        logging.info("%s", summary(job, run))
        with closing(Session(job, run, checkpoints, progress, start=int(state.step), hooks=hooks)) as session:
            state = train(job, session, state)
        metric, patience = job.config.checkpoint.metric, job.config.early_stop.patience
        logging.info("%s", session.progress.outcome(split=job.splits[1].split, metric=metric, patience=patience))
    return state


def summary(job: Job, run: RunDirectory) -> str:
    """One line on what is about to be trained."""
    train, val = job.splits
    return (
        f"{job.config.model.name} on {job.config.model.encoder.name}, {len(train)} training and {len(val)} validation "
        f"images of {train.described_size}, {len(train.table)} classes, {job.functions.length.steps} steps, "
        f"{job.mesh.size} {jax.default_backend()} device(s), run directory {run}"
    )


def train(job: Job, session: Session, state: TrainState) -> TrainState:
    """The steps after those of `state`, to the last, to the end of the patience of early stopping, or to a signal."""
    config, functions, done = job.config, job.functions, int(state.step)
    length, teacher = functions.length, functions.teacher
    health, clock = session.health, session.clock
    stream = Stream(job, start=done, stop=length.steps)
    batches = stream.batches()
    with (
        closing(batches),
        Bar(done, length.steps, epoch=session.epoch) as bar,
        closing(Profiler(config.profile, session.run.profile_folder)) as profiler,
        Interruption(processes=jax.process_count()) as interruption,
    ):
        programs = Programs(stream.train_step, functions, health=health, clock=clock, bar=bar)
        while done < length.steps:
            if done in length.restarts:
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
                batch = [next(batches) for _ in range(steps * functions.members)]
            state, metrics = step(state, batch if len(batch) > 1 else batch[0], teacher)
            done += steps
            health.started(done, metrics)
            evaluate_now = length.evaluates(done)
            save_now = evaluate_now or due(done, config.checkpoint.every_steps)
            log_now = due(done, config.log.every_steps) or done == length.steps
            # Nothing is saved, evaluated or logged before every step up to here was found finite.
            last = health.settle(0 if save_now or log_now else PROGRAMS_IN_FLIGHT)
            best = session.progress.note(config.checkpoint.metric)
            bar.advance(steps, clock.postfix(last), session.scores.note, best)
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
        if interruption.name and done < length.steps:
            session.save_unless_saved(state)
            logging.warning("%s: saved step %d; run the same command to resume", interruption.name, done)
        else:
            conclude(session, done, peak_memory=programs.peak_memory)
    return state


def due(step: int, every: int) -> bool:
    """Whether something that happens every `every` steps (0: never) happens after `step`."""
    return every > 0 and step % every == 0
