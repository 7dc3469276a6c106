"""One training in progress: its log, its evaluations, its checkpoints."""

from __future__ import annotations

import json
import logging
import math
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import jax
from tqdm import tqdm

from seg_jax import models, report
from seg_jax.config import flatten, to_json
from seg_jax.data.images import write_image
from seg_jax.evaluate.evaluator import Evaluator, left_out
from seg_jax.metrics import Report, plain, summary
from seg_jax.report import pictures
from seg_jax.run import log
from seg_jax.run.directory import RunDirectory
from seg_jax.run.length import epoch_length
from seg_jax.run.opening import Job
from seg_jax.run.progress import Progress
from seg_jax.run.saving import CheckpointWriter, SaveError
from seg_jax.runtime import machine, process, sharding
from seg_jax.runtime.files import write_bytes
from seg_jax.runtime.version import __version__
from seg_jax.steps.state import TrainState
from seg_jax.train.clock import Clock
from seg_jax.train.health import DivergedError, Health, diverged
from seg_jax.train.hooks import NO_HOOKS, Hooks
from seg_jax.train.scores import TrainingScores


class Session:
    """Everything around the steps of a training.

    Args:
      job: configuration, training and validation split, functions.
      run: the run directory.
      checkpoints: its checkpoints.
      progress: what a resumed run remembers.
      start: finished steps.
      hooks: callbacks.
    """

    def __init__(
        self,
        job: Job,
        run: RunDirectory,
        checkpoints: CheckpointWriter,
        progress: Progress,
        *,
        start: int,
        hooks: Hooks = NO_HOOKS,
    ):
        self.config, self.functions, (self.train, self.val) = job.config, job.functions, job.splits
        self.run, self.checkpoints, self.progress, self._hooks = run, checkpoints, progress, hooks
        self.clock = Clock(job.config.train.batch_size)
        self.health = Health(
            skip=job.config.train.nonfinite == "skip",
            clock=self.clock,
            diverged=self._diverged,
            on_step=hooks.on_step,
        )
        self.epoch = epoch_length(job.config, examples=len(self.train))
        self.scores = TrainingScores(self.health, self.train.table.names, progress.unreported)
        self.newest: Report | None = None  # of the newest evaluation
        self.best: Report | None = None  # of this process's best evaluation
        self.evaluator = Evaluator(job.functions, self.val)
        self._begin = time.perf_counter()
        self._writes = process.is_first()  # the other processes only compute
        self._writer = _open_log(job, run, start=start) if self._writes else log.NullWriter()

    def _diverged(self, step: int, values: str) -> DivergedError:
        self.checkpoints.wait()
        return diverged(self.config, self.train, self.checkpoints, step, values)

    @property
    def exhausted(self) -> bool:
        """Whether early stopping has lost patience."""
        return self.progress.exhausted(self.config.early_stop.patience)

    @property
    def seconds(self) -> float:
        """Duration of the run, with evaluations and compilation, without the pauses between its processes."""
        return self.progress.seconds + time.perf_counter() - self._begin

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Writes the training metrics since the last call."""
        metrics = metrics | self.scores.logged() | self.clock.lap()
        with self.clock.paused():  # the first time TensorFlow is imported
            self._writer.scalars(step, {f"train/{name}": value for name, value in metrics.items()})
        self.checkpoints.check()

    def evaluate(self, step: int, state: TrainState) -> float | None:
        """Evaluates, prints a summary, writes the pictures; the score by which 'best' is chosen, higher is better."""
        with self.clock.paused():
            split, metric = self.val.split, self.config.checkpoint.metric
            weights = state.weights(averaged=self.config.eval.averaged)
            result = self.evaluator(**weights, step=step)
            result.protocol["left_out"] |= left_out(self.train)
            result.sections.update(self.scores.section())
            self.newest = result
            self._writer.scalars(step, scalars(result, split))
            panels = self.evaluator.panels(**weights)
            self._writer.images(step, {f"{split}/{i}": picture for i, picture in enumerate(panels.values())})
            value = result.scores[metric]
            score = None if math.isnan(value) else -value if metric == "loss" else value
            gain = self.progress.is_gain(score)
            self.best = result if gain else self.best
            if self._writes:
                best = ", the best so far" if gain else ""
                tqdm.write(f"step {step}, {split}: {summary.brief(result)}{best}", file=sys.stdout)
                tqdm.write(f"  worst classes: {summary.worst_classes(result)}", file=sys.stdout)
            self.progress = self.progress.evaluated(step, score)
            if self._writes and gain:
                with log.warn_on_disk_error(f"the report of step {step}"):
                    report.write(self.run.path, result, panels, self.val.table)
                    if panels:
                        logging.info("predictions of step %d: %s", step, self.run.report.predictions)
            if self._writes:
                with log.warn_on_disk_error(self.run.curves_file.name):
                    report.write_curves(self.run.path, epoch=self.epoch, best=self.progress.best_step)
                with log.warn_on_disk_error(f"the picture of step {step}"):
                    pictures.write(self.run, step, panels, self.val.table, miou=result.scores["miou"])
        return score

    def show_report(self, step: int) -> None:
        """Calls `on_evaluate` with the newest report; it may end the run, so that `step` is to be saved before."""
        assert self.newest, "there was an evaluation"
        with self.clock.paused():
            self._hooks.on_evaluate(step, self.newest)

    def save(self, state: TrainState, score: float | None) -> None:
        """Starts to write a checkpoint."""
        meta = {
            "memory": replace(self.progress, seconds=self.seconds).to_json(),
            "unreported": self.scores.unreported(),
            "config": self.config.to_dict(),
            "classes": self.train.table.to_json(),
            "image_size": self._image_size(),
            "examples": {examples.split: examples.digest for examples in (self.train, self.val)},
        }
        with self.clock.paused():
            self.checkpoints.save(sharding.to_host(state, self.functions.mesh), meta, score=score)

    def _image_size(self) -> list[int] | None:
        """(height, width) at which images are evaluated, whose shorter side prediction takes; None: their own scale."""
        if not self.val.sizes:
            return list(self.val.size)
        return [self.config.data.short_side] * 2 if self.config.data.short_side else None

    def save_unless_saved(self, state: TrainState) -> None:
        """Has a checkpoint of a state, which was not evaluated, on disk when it returns."""
        if int(state.step) not in self.checkpoints.steps():
            self.save(state, None)
        self.checkpoints.wait()

    def close(self) -> None:
        """Ends everything that runs beside the steps, each of it even if another fails; what was written is on disk."""
        with ExitStack() as ends:
            ends.callback(self.checkpoints.close)
            ends.callback(self._writer.close)


@contextmanager
def saving_at_failure(session: Session, state: TrainState) -> Iterator[None]:
    """Around the reading of a batch, whose failure leaves `state` good: it is saved before the run ends.

    Of several processes only one fails, and saving takes all of them.
    """
    try:
        yield
    except Exception:
        if jax.process_count() == 1:
            session.health.settle()
            try:
                session.save_unless_saved(state)
                logging.warning("saved step %d; mend the error and run the same command to resume", int(state.step))
            except SaveError as error:  # not in place of the first error
                logging.error("%s", error)
        raise


def conclude(session: Session, steps: int, *, peak_memory: int) -> None:
    """Prints the whole table of this process's best evaluation, or of its newest; writes what sums up the run.

    Args:
      steps: finished steps.
      peak_memory: bytes on each device; 0: there was nothing left to do, and what the run cost is written already.
    """
    if not process.is_first():
        return
    if peak_memory:
        facts = plain(costs(session, steps, peak_memory=peak_memory))
        with log.warn_on_disk_error(session.run.facts_file.name):
            write_bytes(session.run.facts_file, (json.dumps(facts, indent=1) + "\n").encode())
    if shown := session.best or session.newest:
        print(f"\nstep {shown.protocol['step']}, {session.val.split}\n{shown.table()}\n")
    run, best = session.run, session.progress.best_step
    with log.warn_on_disk_error("curves.pdf"):
        report.write_curves(run.path, epoch=session.epoch, best=best, form="pdf")
    with log.warn_on_disk_error(run.class_curves_file.name):
        report.write_class_curves(run.path, best=best)
    with log.warn_on_disk_error(run.animation_file.name):
        pictures.animate(run)
    with log.warn_on_disk_error("confusion.pdf"):
        report.write_confusion_pdf(session.run.path)


def scalars(result: Report, split: str) -> dict[str, float]:
    """The numbers of a report by name: scores, IoU, precision and recall of each class, IoU on the training batches."""
    trained = result.sections.get("train", {"iou": {}})["iou"]
    values = {f"train/iou/{name}": float(value) for name, value in trained.items()}
    values |= {f"{split}/{name}": value for name, value in result.scores.items()}
    for kind in ("iou", "precision", "recall"):
        per_class = zip(result.names, getattr(result, kind), strict=True)
        values |= {f"{split}/{kind}/{name}": float(value) for name, value in per_class}
    return values


def costs(session: Session, steps: int, *, peak_memory: int) -> dict[str, Any]:
    """What a run cost, after `steps`."""
    functions = session.functions
    return {
        "steps": steps,
        "extended_at": list(session.config.train.extended_at),
        "seconds": round(session.seconds, 1),
        "devices": f"{functions.mesh.size} x {jax.devices()[0].device_kind}",
        "parameters": models.count(functions.abstract_state.params),
        "flops_per_image": session.evaluator.flops,
        "peak_memory_bytes": peak_memory,
        "resident_peak_bytes": resident[1] if (resident := machine.resident()) else None,
        "processor": machine.processor(),
        "versions": {name: machine.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")}
        | {"python": platform.python_version(), "seg_jax": __version__},
    }


def _open_log(job: Job, run: RunDirectory, *, start: int) -> log.Writer:
    """The log of the first process; a new run begins it with its configuration and a sample of the data."""
    train, val = job.splits
    writer = log.Writer(run.path, start_step=start, tensorboard=job.config.log.tensorboard)
    with log.warn_on_disk_error(str(run.pictures_folder)):
        pictures.remove_after(run, start)
    if start == 0:
        writer.texts(0, {"config": to_json(job.config), "classes": train.table.to_json()})
        writer.hparams(flatten(job.config))
        with log.warn_on_disk_error(run.sample_file.name):
            if val.depth.is_rgb:
                write_image(run.sample_file, val.read(0)[0])
    return writer
