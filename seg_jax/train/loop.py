"""The training loop."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from seg_jax import data, models, process, report, sharding
from seg_jax.config import (
    FREE,
    Config,
    ConfigError,
    check_classes,
    differences,
    flatten,
    load,
    to_json,
    weighting,
    with_fields,
)
from seg_jax.data import feed, sampler, stats
from seg_jax.data.examples import Examples
from seg_jax.data.images import write_image
from seg_jax.data.labels import LabelTable
from seg_jax.evaluate.evaluator import Evaluator, left_out
from seg_jax.files import write_bytes
from seg_jax.metrics import plain
from seg_jax.process import Interruption
from seg_jax.run import log, pretrained, program
from seg_jax.run.checkpoint import Checkpoints, Meta, SaveError
from seg_jax.steps.state import TrainState
from seg_jax.train.hooks import NONE, Hooks

# What a run remembers besides its state: the best score and its step, evaluations since then, and since the rate fell;
# the seconds that it has taken.
FORGOTTEN = {"best": None, "best_step": 0, "without_gain": 0, "waited": 0, "seconds": 0.0}

SKIPS = 20  # steps in a row that are not finite, after which it is no accident

LAG = 2  # programs in flight: losses are looked at this late, so that devices never wait for Python

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class DivergedError(RuntimeError):
    """Loss or gradient is no longer a finite number."""


def train_and_evaluate(config: Config, workdir: Path, hooks: Hooks = NONE) -> TrainState:
    """Trains to the end, or on from the newest checkpoint in `workdir`; evaluates and saves on the way.

    Args:
      config: the fields of `configs/default.py`.
      workdir: the run directory; made if it is missing.
      hooks: what a Python program adds.

    Returns:
      The last state; a signal may have ended the run before its last step.

    Raises:
      ConfigError, DataError, LabelError, CheckpointError: before the first step, with the cure.
      DivergedError: loss or gradient became infinite or NaN.
      DataError, LabelError: a file changed or vanished since it was checked; what was trained is saved.
      SaveError: a checkpoint cannot be written; those before it are whole.
    """
    if config.train.deterministic:
        process.make_deterministic()
    config = pretrained.resolve(config, recorded_configuration(workdir))
    mesh = program.configured_mesh(config)
    program.check(config, devices=sharding.batch_parts(mesh))
    open_run(config, workdir)
    names = (config.data.train_split, config.data.val_split)
    splits = [data.load(config, split, source=hooks.source) for split in names]
    check_classes(config, classes=len(splits[0].table))
    pretrained.check_teacher(config, splits[0].table)
    train, val = (feed.prepare(examples, config.data, mesh, workdir=workdir) for examples in splits)
    write_table(workdir, train.table)
    config = weigh_classes(config, train, workdir)
    total, every = program.run_length(config, examples=len(train))
    frozen = program.freeze_length(config, examples=len(train), steps=total)
    functions = program.Program(
        config, classes=len(train.table), mesh=mesh, steps=total, frozen_steps=frozen, own_losses=hooks.losses
    )
    checkpoints = Checkpoints(workdir / "checkpoints", keep_last=config.checkpoint.keep_last)
    restored = checkpoints.restore_latest(functions.abstract_state)
    if restored:
        state, memory = sharding.to_devices(restored[0], mesh), FORGOTTEN | restored[1]["memory"]
        require_same_examples(restored[1], train, val)
        logging.info("resuming after step %d of %d", int(state.step), total)
    else:
        state, memory = functions.init(), dict(FORGOTTEN)
    done = int(state.step)
    run = Run(config, workdir, functions, train, val, checkpoints, memory, start=done, on_step=hooks.on_step)
    logging.info("%s", run.summary(total))

    compiled: dict[int, Any] = {}  # by the number of steps that run as one program
    order = sampler.training_order(
        config.seed,
        start=done,
        stop=total,
        batch_size=config.train.batch_size,
        n=len(train),
        members=functions.members,
        process=jax.process_index(),
        processes=jax.process_count(),
    )
    batches = feed.batches(train, order, config.data, mesh)
    progress = tqdm(
        disable=not process.is_first(),
        total=total,
        initial=done,
        file=sys.stderr,
        mininterval=1,
        dynamic_ncols=True,
        bar_format=BAR,
    )
    try:
        with Interruption(processes=jax.process_count()) as interruption:
            while done < total and not run.exhausted and not interruption.now():
                if done == frozen:
                    compiled.clear()
                steps = dispatch_length(config, done, every=every, ends=(frozen, total))
                if steps not in compiled:
                    compiled[steps] = run.compiled_train_step(frozen=done < frozen, steps=steps)
                run.profile(done)
                with run.clock.waiting(), run.saving_at_failure(state):
                    given = [next(batches) for _ in range(steps * functions.members)]
                state, metrics = compiled[steps](state, given if len(given) > 1 else given[0], functions.teacher)
                done += steps
                run.started(done, metrics)
                evaluate_now = done % every == 0 or done == total
                save_now = evaluate_now or due(done, config.checkpoint.every_steps)
                log_now = due(done, config.log.every_steps) or done == total
                # Nothing is saved, evaluated or logged before every step up to here was found finite.
                last = run.settle(LAG if not (save_now or log_now) else 0)
                progress.set_postfix_str(run.clock.postfix(last), refresh=False)
                progress.update(steps)
                if log_now:
                    run.log(done, last)
                score = run.evaluate(done, state) if evaluate_now else None
                if evaluate_now:
                    state = run.lower_rate(done, state)
                if save_now:
                    run.save(state, score)
                if evaluate_now:
                    hooks.on_evaluate(done, run.report)  # after the step was saved: it may end the run
            run.settle(0)
            checkpoints.wait()
            if interruption.name:
                run.save_unless_saved(state)
                logging.warning("%s: saved step %d; the same command goes on from there", interruption.name, done)
            else:
                run.write_facts(done)
    finally:
        progress.close()
        batches.close()
        run.close()
    logging.info("%s", run.outcome())
    return state


def dispatch_length(config: Config, done: int, *, every: int, ends: Sequence[int]) -> int:
    """How many steps run as one program after `done`: `train.steps_per_dispatch`, or one if something ends before.

    It depends on nothing but where the run is: one that was interrupted goes on with the same programs.

    Args:
      config: of the run.
      done: finished steps.
      every: steps between evaluations.
      ends: steps after which something changes.
    """
    most = config.train.steps_per_dispatch
    periods = (every, config.checkpoint.every_steps, config.log.every_steps)
    window = (config.profile.start_step, config.profile.start_step + config.profile.steps)
    events = [done + period - done % period for period in periods if period]
    events += [end for end in (*ends, *window) if end > done]
    return most if min(events) >= done + most else 1


def due(step: int, every: int) -> bool:
    """Whether something that happens every so many steps (0: never) happens after `step`."""
    return every > 0 and step % every == 0


class Run:
    """What surrounds the steps of one run: its metrics, evaluations and checkpoints.

    Args:
      config, workdir, functions, checkpoints: of the run.
      train, val: the two splits, checked.
      memory: what a resumed run must know: best score, its step, evaluations since.
      start: finished steps.
    """

    def __init__(
        self,
        config: Config,
        workdir: Path,
        functions: program.Program,
        train: Examples,
        val: Examples,
        checkpoints: Checkpoints,
        memory: dict[str, Any],
        *,
        start: int,
        on_step: Callable[[int, dict[str, float]], Any],
    ):
        self.config, self.workdir, self.functions = config, workdir, functions
        self.train, self.val, self.checkpoints, self.memory = train, val, checkpoints, memory
        self.clock = Clock(config.train.batch_size)
        self._evaluator = Evaluator(functions, val)
        self._on_step = on_step
        self.report: Any = None  # of the newest evaluation
        self._pending: deque[tuple[int, dict[str, jax.Array]]] = deque()
        self._last: dict[str, float] = {}
        self._skipped = 0  # in a row
        self._begin, self._peak_memory = time.perf_counter(), 0
        self._first = process.is_first()  # it writes; the others compute only
        self._writer = (
            log.Writer(workdir, start_step=start, tensorboard=config.log.tensorboard) if self._first else log.Silent()
        )
        self._profiling = False
        if start == 0 and self._first:
            self._writer.texts(0, {"config": to_json(config), "classes": train.table.to_json()})
            self._writer.hparams(flatten(config))
            with log.dispensable("sample.png"):
                write_image(workdir / "sample.png", val.read(0)[0])

    def summary(self, total: int) -> str:
        """One line on what is about to be trained."""
        height, width = self.train.size
        return (
            f"{self.config.model.name} on {self.config.model.encoder.name}, {len(self.train)} training and "
            f"{len(self.val)} validation images of {height}x{width}, {len(self.train.table)} classes, {total} steps, "
            f"{self.functions.mesh.size} {jax.default_backend()} device(s), run directory {self.workdir}"
        )

    def outcome(self) -> str:
        """One line on how it went."""
        best, metric, step = self.memory["best"], self.config.checkpoint.metric, self.memory["best_step"]
        early = (
            f"stopped early after {self.memory['without_gain']} evaluations without gain; " if self.exhausted else ""
        )
        if best is None:
            return f"{early}not evaluated yet"
        return f"{early}best {self.val.split} {metric} {abs(best):.4f} at step {step}"

    def compiled_train_step(self, *, frozen: bool, steps: int) -> Any:
        """So many training steps as one program, of the encoder too unless `frozen`; says how long compiling took."""
        self.settle(0)
        begin = time.perf_counter()
        with self.clock.paused():
            compiled = self.functions.train_step(self.train.size, frozen=frozen, steps=steps)
            self._peak_memory = max(self._peak_memory, program.peak_memory(compiled))
        what = ("decoder's " if frozen else "") + ("training step" if steps == 1 else f"{steps} training steps")
        logging.info("compiled the %s in %.1f s", what, time.perf_counter() - begin)
        return compiled

    @property
    def exhausted(self) -> bool:
        """Whether early stopping has lost patience."""
        patience = self.config.early_stop.patience
        return 0 < patience <= self.memory["without_gain"]

    def profile(self, done: int) -> None:
        """Opens and closes the profiler's window; `done` steps are finished."""
        first, length = self.config.profile.start_step, self.config.profile.steps
        if length and done == first:
            jax.profiler.start_trace(str(self.workdir / "profile"))
            self._profiling = True
        elif self._profiling and done == first + length:
            self.settle(0)
            jax.profiler.stop_trace()
            self._profiling = False

    def started(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Notes a program that the devices work on; `step` is its last, and metrics are [] or one for each step."""
        self._pending.append((step, metrics))

    def settle(self, lag: int) -> dict[str, float]:
        """Waits until at most `lag` programs are in flight; the metrics of the newest finished step.

        Raises:
          DivergedError: one of them was not finite.
        """
        while len(self._pending) > lag:
            last, found = self._pending.popleft()
            metrics = {name: np.atleast_1d(values) for name, values in jax.device_get(found).items()}
            count = len(metrics["loss"])
            for i in range(count):
                self._last = {name: float(values[i]) for name, values in metrics.items()}
                self._finished(last - count + i + 1)
                self._on_step(last - count + i + 1, dict(self._last))
        return self._last

    def _finished(self, step: int) -> None:
        self.clock.finished_steps += 1
        wrong = [name for name, value in self._last.items() if not math.isfinite(value)]
        if not wrong:
            self._skipped = 0
            return
        if self.config.train.nonfinite == "stop":
            raise self._diverged(step, wrong)
        self._skipped += 1
        logging.warning("step %d is skipped: %s", step, self._values(wrong))
        if self._skipped == SKIPS:
            raise self._diverged(step, wrong)

    def _diverged(self, step: int, wrong: list[str]) -> DivergedError:
        config = self.config
        seeds = range(config.seed, config.seed + self.functions.members)
        rows = [sampler.indices(seed, step - 1, config.train.batch_size, len(self.train)) for seed in seeds]
        names = "\n".join(f"  {self.train.names[i]}" for i in np.concatenate(rows))
        self.checkpoints.wait()
        good = self.checkpoints.steps()
        kept = f"The last good checkpoint is {self.checkpoints.directory / str(good[0])}" if good else "None was saved"
        values = self._values(wrong)
        return DivergedError(
            f"{values} at step {step}, on the batch\n{names}\n{kept}. Try a smaller optim.lr (now {config.optim.lr}), "
            "optim.grad_clip=1.0, more optim.warmup_steps, or model.dtype=float32."
        )

    def _values(self, names: list[str]) -> str:
        return ", ".join(f"{name} = {self._last[name]}" for name in names)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Writes the training metrics since the last call."""
        self._writer.scalars(step, {f"train/{name}": v for name, v in (metrics | self.clock.lap()).items()})
        self.checkpoints.check()

    def evaluate(self, step: int, state: TrainState) -> float | None:
        """Evaluates, prints the table, writes the pictures; the score by which 'best' is chosen, higher is better."""
        with self.clock.paused():
            split = self.val.split
            weights = state.weights(averaged=self.config.eval.averaged)
            result = self._evaluator(**weights, step=step)
            result.protocol["left_out"] |= left_out(self.train)
            self.report = result
            if self._first:
                tqdm.write(f"\nstep {step}, {split}\n{result.table()}\n", file=sys.stdout)
            values = {f"{split}/{name}": value for name, value in result.scores.items()}
            for kind in ("iou", "precision", "recall"):
                per_class = zip(result.names, getattr(result, kind), strict=True)
                values |= {f"{split}/{kind}/{name}": float(value) for name, value in per_class}
            self._writer.scalars(step, values)
            panels = self._evaluator.panels(**weights)
            self._writer.images(step, {f"{split}/{i}": picture for i, picture in enumerate(panels.values())})
            value = result.scores[self.config.checkpoint.metric]
            score = None if math.isnan(value) else -value if self.config.checkpoint.metric == "loss" else value
            if score is not None and (self.memory["best"] is None or score > self.memory["best"]):
                self.memory = {**self.memory, "best": score, "best_step": step, "without_gain": 0, "waited": 0}
                if self._first:
                    with log.dispensable(f"the report of step {step}"):
                        report.write(self.workdir, result, panels, self.val.table)
            else:
                waits = {name: self.memory[name] + 1 for name in ("without_gain", "waited")}
                self.memory = {**self.memory, **waits}
            if self._first:
                with log.dispensable("curves.png"):
                    report.write_curves(self.workdir)
        return score

    def lower_rate(self, step: int, state: TrainState) -> TrainState:
        """With the schedule `plateau`, the state with a lower learning rate when the score has stayed behind."""
        optim = self.config.optim
        if optim.schedule != "plateau" or self.memory["waited"] < optim.patience:
            return state
        self.memory = {**self.memory, "waited": 0}
        scale = sharding.to_host(state.lr_scale, self.functions.mesh) * optim.factor
        logging.info(
            "step %d: %d evaluations without gain, the learning rate is now %g of the first",
            step,
            optim.patience,
            scale,
        )
        return replace(state, lr_scale=sharding.to_devices(np.float32(scale), self.functions.mesh))

    @property
    def seconds(self) -> float:
        """How long the run has taken, with evaluations and compilation, without the pauses between its processes."""
        return self.memory["seconds"] + time.perf_counter() - self._begin

    def write_facts(self, steps: int) -> None:
        """Writes `run.json`, what the run cost; one that had nothing left to do keeps what is there."""
        if not (self._first and self._peak_memory):
            return
        facts = {
            "steps": steps,
            "seconds": round(self.seconds, 1),
            "devices": f"{self.functions.mesh.size} x {jax.devices()[0].device_kind}",
            "parameters": models.count(self.functions.abstract_state.params),
            "flops_per_image": self._evaluator.flops,
            "peak_memory_bytes": self._peak_memory,
        }
        with log.dispensable("run.json"):
            write_bytes(self.workdir / "run.json", (json.dumps(plain(facts), indent=1) + "\n").encode())

    def save(self, state: TrainState, score: float | None) -> None:
        """Starts to write a checkpoint."""
        meta = {
            "memory": {**self.memory, "seconds": self.seconds},
            "config": self.config.to_dict(),
            "classes": self.train.table.to_json(),
            "image_size": list(self.val.size),
            "examples": {examples.split: examples.digest for examples in (self.train, self.val)},
        }
        with self.clock.paused():
            self.checkpoints.save(sharding.to_host(state, self.functions.mesh), meta, score=score)

    def save_unless_saved(self, state: TrainState) -> None:
        """Has a checkpoint of a state, which was not evaluated, on disk when it returns."""
        if int(state.step) not in self.checkpoints.steps():
            self.save(state, None)
        self.checkpoints.wait()

    @contextmanager
    def saving_at_failure(self, state: TrainState) -> Iterator[None]:
        """Around what may fail while `state` is good, which is reading: the steps so far are saved before it ends.

        Of several processes only one fails, and saving takes all of them.
        """
        try:
            yield
        except Exception:
            if jax.process_count() == 1:
                self.settle(0)
                try:
                    self.save_unless_saved(state)
                    logging.warning("saved step %d; once the error is mended the same command goes on", int(state.step))
                except SaveError as error:  # not in place of what comes first
                    logging.error("%s", error)
            raise

    def close(self) -> None:
        """Ends everything that runs beside the steps, each of it even if another fails; what was written is on disk."""
        with ExitStack() as ends:
            ends.callback(self.checkpoints.close)
            ends.callback(self._writer.close)
            if self._profiling:
                ends.callback(jax.profiler.stop_trace)


class Clock:
    """Speed between two log lines, without the time of evaluations and checkpoints."""

    def __init__(self, batch_size: int):
        self.finished_steps = 0
        self._batch_size = batch_size
        self._reset()

    def _reset(self) -> None:
        self._begin = time.perf_counter()
        self._waited = self._paused = 0.0
        self._steps_then = self.finished_steps

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for the next batch."""
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around what is not training."""
        begin = time.perf_counter()
        yield
        self._paused += time.perf_counter() - begin

    def speed(self) -> dict[str, float]:
        """Steps and images a second, and the share of the time spent waiting for data."""
        elapsed = max(time.perf_counter() - self._begin - self._paused, 1e-9)
        steps = (self.finished_steps - self._steps_then) / elapsed
        return {
            "steps_per_second": steps,
            "images_per_second": steps * self._batch_size,
            "input_bound": self._waited / elapsed,
        }

    def lap(self) -> dict[str, float]:
        """`speed` since the last lap."""
        speed = self.speed()
        self._reset()
        return speed

    def postfix(self, metrics: dict[str, float]) -> str:
        """For the progress bar."""
        if not metrics or self.finished_steps == self._steps_then:
            return ""
        speed = self.speed()
        pace = f"{speed['steps_per_second']:.2f} step/s, {speed['images_per_second']:.1f} img/s"
        return f"{pace}, loss {metrics['loss']:.3f}"


def open_run(config: Config, workdir: Path) -> None:
    """Makes the run directory, or refuses one that cannot be written or has checkpoints of another configuration.

    Raises:
      ConfigError: naming every field that differs, or what the disk says.
    """
    path, recorded = workdir / "config.json", recorded_configuration(workdir)
    if recorded is not None:
        changed = differences(config, recorded, free=FREE)
        if changed:
            rows = "\n".join(f"  config.{key}: now {now!r}, there {then!r}" for key, (now, then) in changed.items())
            raise ConfigError(
                f"{workdir} holds a run with another configuration:\n{rows}\n"
                "Use another --workdir, or the configuration of that run."
            )
    if process.is_first():
        try:
            write_bytes(path, to_json(config).encode())
        except OSError as error:
            raise ConfigError(
                f"--workdir={workdir} cannot be written to ({error}). Free space there, make it writable, or name "
                "another directory."
            ) from error


def weigh_classes(config: Config, train: Examples, workdir: Path) -> Config:
    """The configuration with numbers for the scheme that `loss.class_weights` may name; the run records them."""
    if scheme := weighting(config):
        counted = stats.load(train, config.data)
        config = with_fields(config, {"loss.class_weights": stats.class_weights(counted, scheme)})
        pairs = zip(counted.names, config.loss.class_weights, strict=True)
        logging.info("class weights by %s: %s", scheme, ", ".join(f"{name} {weight:g}" for name, weight in pairs))
        if counted.missing:
            logging.warning("weight 0, because they occur nowhere in training: %s", ", ".join(counted.missing))
        if process.is_first():
            write_bytes(workdir / "config.json", to_json(config).encode())
    return config


def recorded_configuration(workdir: Path) -> Config | None:
    """The configuration of the run that is to go on, or None for a new one."""
    path = workdir / "config.json"
    return load(path) if path.is_file() and has_checkpoints(workdir) else None


def has_checkpoints(workdir: Path) -> bool:
    """Whether there is a run to go on with; one that ended before its first checkpoint left nothing to lose."""
    names = [place.name for place in (workdir / "checkpoints").glob("*")]
    return any(name.isdigit() or ".damaged" in name for name in names)


def write_table(workdir: Path, table: LabelTable) -> None:
    """Writes the class table, or refuses to go on with another one.

    Raises:
      ConfigError: the data's table is not the one that the run was started with.
    """
    path, text = workdir / "class_names.json", table.to_json()
    if path.is_file() and has_checkpoints(workdir) and path.read_text(encoding="utf-8") != text:
        raise ConfigError(
            f"the label table of the data has changed since this run was started: {path} differs. "
            "Use another --workdir, or restore the table."
        )
    if process.is_first():
        write_bytes(path, text.encode())


def require_same_examples(meta: Meta, *splits: Examples) -> None:
    """Refuses to go on with other examples: the order of training, and scores, would silently be others.

    Raises:
      ConfigError: naming the split.
    """
    for examples in splits:
        if meta["examples"][examples.split] != examples.digest:
            raise ConfigError(
                f"the examples of the split {examples.split!r} (now {len(examples)}) are not those that this run was "
                "started with: some were added, removed, renamed or changed. Use another --workdir, or restore them."
            )
