"""Search over fields with optuna: each trial is a run of the comparison, and the study is stored beside them.

A trial's value is the score of its best checkpoint on the validation split, `checkpoint.metric`: what is reported on a
test split has no part in the choice. A trial whose evaluations stay below the median of the others' at the same step is
stopped (optuna's MedianPruner).
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_jax.compare.plan import Planned, labels, name_of, planned
from seg_jax.compare.runs import InterruptedByUserError, Runner, StoppedError, with_each
from seg_jax.config import ConfigError
from seg_jax.run import log
from seg_jax.runtime.errors import SegJaxError
from seg_jax.runtime.extras import install_command, is_installed

LOOK_SECONDS = 2.0  # between two looks at a run's evaluations


@dataclass(frozen=True)
class Span:
    """The numbers from `low` to `high`; whole ones, where both are whole.

    Attributes:
      low, high: both included.
      log: the sampler sees their logarithms.
    """

    low: float
    high: float
    log: bool

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant: both ends are written as such."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Space = Mapping[str, Sequence[str] | Span]


def space(axes: Mapping[str, Sequence[str]]) -> Space:
    """{field: its values, or a `Span` for a single value such as '0.001..0.1' or '1e-4..1e-2:log'}.

    Raises:
      ConfigError: a span that is none.
    """
    one = {field: values[0] for field, values in axes.items() if len(values) == 1}
    return {**axes, **{field: _span(field, text) for field, text in one.items() if ".." in text and "/" not in text}}


def _span(field: str, text: str) -> Span:
    scale = text.removesuffix(":log")
    ends = [_number(end) for end in scale.split("..")]
    numbers = [end for end in ends if end is not None and math.isfinite(end)]
    if len(ends) != 2 or len(numbers) != 2 or numbers[0] >= numbers[1] or (scale != text and numbers[0] <= 0):
        raise ConfigError(
            f"--over={field}={text}: a span is LOW..HIGH, or LOW..HIGH:log above 0, such as "
            "--over=optim.lr=1e-4..1e-2:log."
        )
    return Span(numbers[0], numbers[1], scale != text)


def _number(text: str) -> float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


class Search:
    """A study, in `comparison/search.journal` of the comparison's directory.

    Args:
      workdir: that directory.
      base: the arguments of the configuration that all trials share.
      space: what to vary.
      trials: how many there are in the end, with those of earlier calls.
      seed: of the sampler.

    Attributes:
      runs: {name: run} of the trials that were trained to their end.
      scores: {name: score} of the same, higher is better.
      absent: {name: reason} of the others.

    Raises:
      ConfigError: optuna is not installed, `trials` is none, or the study in this directory has another space.
    """

    def __init__(self, workdir: Path, base: Sequence[str], space: Space, *, trials: int, seed: int):
        if not is_installed("search"):
            raise ConfigError(f"--search=optuna: optuna is not installed. Run {install_command('search')}.")
        if trials < 1:
            raise ConfigError(f"--trials={trials}: this is how many runs the search makes, at least 1.")
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = workdir / "comparison" / "search.journal"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._study = optuna.create_study(
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))),
            study_name="search",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
        )
        described, then = repr(dict(space)), self._study.user_attrs.get("space")
        if then not in (None, described):
            raise ConfigError(f"{path} is a search of {then}, now {described}. Use another --workdir, or that space.")
        self._study.set_user_attr("space", described)
        # A sampler has no state on disk: with the same seed again it would repeat the draws of the first call.
        self._study.sampler = optuna.samplers.TPESampler(seed=seed + len(self._study.trials))
        self._base, self._space, self._trials = tuple(base), space, trials
        self._labels, self._lock = labels(list(space)), threading.Lock()
        self.runs: dict[str, Planned] = {}
        self.scores: dict[str, float] = {}
        self.absent: dict[str, str] = {}

    def run(self, runners: Sequence[Runner]) -> None:
        """Makes the trials that are missing, and resumes those that were interrupted or failed.

        Args:
          runners: one for each program that runs at once.

        Raises:
          InterruptedByUserError: on a signal; the same command resumes.
        """
        import optuna

        known: list[Any] = self._study.trials
        for trial in known:
            name, reason = self._name(trial), trial.user_attrs.get("reason", "")
            if trial.state == optuna.trial.TrialState.COMPLETE:
                self.runs[name] = planned(self._base, self._fields(trial), self._labels)
                self.scores[name] = trial.values[0]
            elif trial.state.is_finished():
                self.absent[name] = reason
        todo: list[Any] = [
            optuna.trial.Trial(self._study, trial._trial_id) for trial in known if not trial.state.is_finished()
        ]
        todo += [None] * max(self._trials - len(known), 0)
        with_each(runners, self._attempt, todo)

    def _attempt(self, runner: Runner, trial: Any) -> None:
        """One trial: asks, trains, tells. One that fails stays open, so that the same command tries it again."""
        with self._lock:  # of two threads that trace a network, or write the journal
            trial = trial or self._study.ask()
            name = self._name(trial)
            try:
                run = planned(self._base, self._fields(trial), self._labels)
            except SegJaxError as error:
                self._end(trial, name, "FAIL", f"was left out: {error}")
                return
        print(f"trial {trial.number + 1} of {self._trials}: {name}", file=sys.stderr)
        try:
            runner.train(run, hopeless=_Median(trial, runner, run))
            checkpoints = runner.directory(run).checkpoints()
            score = checkpoints.meta(checkpoints.choose("best"))["score"]
        except InterruptedByUserError:
            raise
        except StoppedError as error:
            self._end(trial, name, "PRUNED", str(error))
        except SegJaxError as error:
            self.absent[name] = f"failed: {error}"
        else:
            if score is None:
                self._end(trial, name, "FAIL", "failed: its score is not a number")
                return
            self._study.tell(trial, score)
            self.runs[name], self.scores[name] = run, score

    def _end(self, trial: Any, name: str, state: str, reason: str) -> None:
        import optuna

        trial.set_user_attr("reason", reason)
        self._study.tell(trial, state=optuna.trial.TrialState[state])
        self.absent[name] = reason

    def _name(self, trial: Any) -> str:
        return name_of(self._fields(trial), self._labels)

    def _fields(self, trial: Any) -> dict[str, str]:
        """The values of a trial as text of the command line; numbers have four digits, which names can show."""
        fields = {}
        for field, values in self._space.items():
            if not isinstance(values, Span):
                fields[field] = trial.suggest_categorical(field, list(values))
            elif values.whole:
                fields[field] = str(trial.suggest_int(field, values.low, values.high, log=values.log))
            else:
                fields[field] = f"{trial.suggest_float(field, values.low, values.high, log=values.log):.4g}"
        return fields


class _Median:
    """Whether a trial is to be stopped, asked while its program runs.

    Args:
      trial: gets the scores of the evaluations.
      runner, run: whose metrics.jsonl has them.
    """

    def __init__(self, trial: Any, runner: Runner, run: Planned):
        self._trial, self._workdir = trial, runner.directory(run).path
        metric = run.config.checkpoint.metric
        self._entry, self._sign = f"{run.config.data.val_split}/{metric}", -1 if metric == "loss" else 1
        self._reported, self._next = set(trial.study.trials[trial.number].intermediate_values), 0.0

    def __call__(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + LOOK_SECONDS
        new = False
        for line in log.read(self._workdir):
            value = line.get(self._entry)
            if value is not None and line["step"] not in self._reported:
                self._trial.report(self._sign * value, line["step"])
                self._reported.add(line["step"])
                new = True
        return new and self._trial.should_prune()
