"""The length of a run: steps, evaluations and phases, and what makes a finished run longer."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from seg_jax.config import Config, ConfigError, differences, require, with_fields
from seg_jax.optim import schedules
from seg_jax.run.directory import RunDirectory, rows
from seg_jax.run.progress import Progress


@dataclass(frozen=True)
class Length:
    """The course of a run, counted in steps.

    Attributes:
      steps: of the whole run.
      every: number of steps between two evaluations.
      frozen: number of steps, from the start, with a frozen encoder.
      restarts: steps after which the learning-rate schedule begins anew, in rising order.
    """

    steps: int = 1
    every: int = 1
    frozen: int = 0
    restarts: tuple[int, ...] = ()

    def evaluates(self, done: int) -> bool:
        """Whether the state after `done` steps is evaluated: regularly, and where a schedule ends."""
        return done % self.every == 0 or done in self.restarts or done == self.steps

    @property
    def ends(self) -> tuple[int, ...]:
        """Steps after which something changes."""
        return (self.frozen, *self.restarts, self.steps)


def plan(config: Config, *, examples: int) -> Length:
    """The course of a run on a training split of `examples`; epochs become steps here.

    Raises:
      ConfigError: a warm-up is longer than what it begins; a second learning rate has no second phase.
    """
    steps, every = run_length(config, examples=examples)
    restarts = tuple(config.train.extended_at)
    bounds = (0, *restarts, steps)
    parts = [end - begin for begin, end in itertools.pairwise(bounds)]
    require(
        all(part > 0 for part in parts),
        config,
        "train.extended_at",
        f"these are steps within the run of {steps} steps, in rising order",
        "Leave it (), the run records it",
    )
    require(
        config.optim.warmup_steps < min(parts),
        config,
        "optim.warmup_steps",
        f"the warm-up ends before each schedule does, the shortest after {min(parts)} steps",
        "Use 0 for none, or a longer run",
    )
    freeze_length(config, examples=examples, steps=parts[0])  # the second rate belongs to the first schedule
    return Length(steps, every, freeze_length(config, examples=examples, steps=steps), restarts)


def epoch_length(config: Config, *, examples: int) -> float:
    """The number of steps, not always a whole one, in which each of `examples` is seen once."""
    return examples / config.train.batch_size


def run_length(config: Config, *, examples: int) -> tuple[int, int]:
    """(steps of the run, steps between evaluations) for a training split of `examples`; epochs become steps here.

    Raises:
      ConfigError: the run would end within its warm-up.
    """
    per_epoch = epoch_length(config, examples=examples)
    steps = config.train.steps or max(1, math.ceil(config.train.epochs * per_epoch))
    require(
        config.optim.warmup_steps < steps,
        config,
        "optim.warmup_steps",
        f"the warm-up ends before the run does, after {steps} steps",
        "Use 0 for none, or a longer run",
    )
    if config.eval.every_steps:
        every = config.eval.every_steps
    elif config.eval.every_epochs:
        every = max(1, round(config.eval.every_epochs * per_epoch))
    else:
        every = steps
    return steps, every


def freeze_length(config: Config, *, examples: int, steps: int) -> int:
    """The number of steps, of `steps`, with a frozen encoder; epochs become steps here.

    Raises:
      ConfigError: a second learning rate without a second phase.
    """
    per_epoch = epoch_length(config, examples=examples)
    asked = config.finetune.freeze_steps or math.ceil(config.finetune.freeze_epochs * per_epoch)
    frozen = steps if config.finetune.freeze else min(asked, steps)
    require(
        not config.finetune.lr or 0 < frozen < steps,
        config,
        "finetune.lr",
        f"it is the learning rate after the encoder was frozen, which ends within the run of {steps} steps",
        "Set finetune.freeze_steps or finetune.freeze_epochs, or use 0",
    )
    return frozen


def refuse_jump(config: Config, recorded: Config | None, run: RunDirectory) -> None:
    """Refuses to resume with another length where the learning rate would jump, before any data is read.

    Args:
      config: the configuration now, resolved.
      recorded: that of the run which is resumed; None for a new one.
      run: its directory.

    Raises:
      ConfigError: naming the fields and what to do instead.
    """
    if recorded is None:
        return
    changed = differences(config.train, recorded.train)
    changed = {f"train.{name}": changed[name] for name in ("steps", "epochs", "extended_at") if name in changed}
    endless = config.optim.schedule in schedules.ENDLESS and not config.finetune.lr
    if changed and ("train.extended_at" in changed or not (endless or config.train.extend)):
        schedule = f"optim.schedule={config.optim.schedule}" + (" and finetune.lr" if config.finetune.lr else "")
        raise ConfigError(
            f"{run} holds a run of another length:\n{rows(changed)}\nWith {schedule} the learning rate depends on the "
            f"length, and would jump. {_ways(run)}"
        )


def lengthened(config: Config, recorded: Config | None, run: RunDirectory, *, examples: int) -> Config:
    """The configuration of a run that is resumed, with `train.extended_at`: where its schedule begins anew.

    A run gets longer by more steps of the same schedule or, with `train.extend`, by a new schedule. That begins where
    the recorded length ends, so an interrupted run first finishes what was planned; or where early stopping ended it.

    Args:
      config: the configuration now, resolved.
      recorded: that of the run which is resumed; None for a new one.
      run: its directory.
      examples: number of training examples.

    Raises:
      ConfigError: the run would get shorter, or has stopped early.
    """
    if recorded is None:
        return config
    restarts = recorded.train.extended_at
    now, then = (run_length(one, examples=examples)[0] for one in (config, recorded))
    if now < then:
        fields = differences(config.train, recorded.train)
        changed = {f"train.{name}": fields[name] for name in ("steps", "epochs") if name in fields}
        raise ConfigError(
            f"{run} holds a run of {then} steps:\n{rows(changed)}\nIt can get longer, not shorter. Use another "
            "--workdir, or at least its length."
        )
    if now > then:
        early = _stopped_early(config, run)
        if config.train.extend:
            restarts = (*restarts, early or then)
        elif early:
            raise ConfigError(
                f"{run} holds a run that stopped early at step {early} (early_stop.patience = "
                f"{config.early_stop.patience}), so that more steps alone train nothing. {_ways(run)}"
            )
    return with_fields(config, {"train.extended_at": restarts})


def _stopped_early(config: Config, run: RunDirectory) -> int | None:
    """The step at which early stopping ended the run; None if it did not."""
    checkpoints = run.checkpoints()
    step = checkpoints.choose("last")
    progress = Progress.from_json(checkpoints.meta(step)["memory"])
    return step if progress.exhausted(config.early_stop.patience) else None


def _ways(run: RunDirectory) -> str:
    return (
        "Add --config.train.extend=True: a new schedule, with its warm-up, then begins where the recorded one ends. Or "
        "continue from its weights in a new directory: the same command with --workdir=NEW "
        f"--config.model.weights={run}."
    )
