"""Training and evaluation of planned runs, each in a process of its own: the failure of one does not end the rest."""

from __future__ import annotations

import codecs
import os
import queue
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from seg_jax import report
from seg_jax.compare.plan import Planned
from seg_jax.config import Config, with_fields
from seg_jax.evaluate.evaluator import refined
from seg_jax.evaluate.stored import files_of
from seg_jax.run.directory import ReportFiles, RunDirectory
from seg_jax.run.finished import finished_step
from seg_jax.runtime.errors import SegJaxError
from seg_jax.runtime.process import Interruption

T = TypeVar("T")
Watch = Callable[[], bool]


class FailedError(SegJaxError, RuntimeError):
    """A program of a run ended without its result; the message is its last error."""


class StoppedError(SegJaxError, RuntimeError):
    """A run that a search has given up; the message says why."""


class InterruptedByUserError(SegJaxError, RuntimeError):
    """A signal has ended the comparison between or within two runs."""


@dataclass(frozen=True)
class Runner:
    """Starts the programs of runs.

    Attributes:
      workdir: gets a run directory of each, and what they print in `comparison/NAME.log`.
      split: on which they are evaluated; '': their validation split.
      interruption: the signals of this process; they are passed on to the program that runs.
      environment: variables that its programs get besides those of this process.
      echo: print what programs print, too; of several at once it would be a tangle.
    """

    workdir: Path
    split: str
    interruption: Interruption
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    echo: bool = True

    def directory(self, run: Planned) -> RunDirectory:
        """The directory of a run."""
        return RunDirectory(self.workdir / run.name)

    def train(self, run: Planned, *, hopeless: Watch = lambda: False) -> None:
        """Trains a run to its end, or resumes it; does nothing where it is finished.

        Args:
          run: what to train.
          hopeless: asked while it trains; True stops it.

        Raises:
          StoppedError: it was hopeless; what was trained is saved.
          FailedError: it did not reach its end.
          InterruptedByUserError: on a signal; what was trained is saved.
        """
        directory = self.directory(run)
        if finished_step(run.config, directory) is not None:
            return
        stopped = self._start(run, [*run.arguments, f"--workdir={directory}"], append=False, hopeless=hopeless)
        if finished_step(run.config, directory) is None:
            if stopped:
                raise StoppedError("was stopped: the median of the other runs was better at the same step")
            raise FailedError(f"it was stopped before its last step, see {self.log(run)}")

    def evaluate(self, run: Planned) -> ReportFiles:
        """The report of a trained run's best checkpoint on the split; evaluates it where there is none as asked for.

        Raises:
          FailedError: the evaluation failed.
          InterruptedByUserError: on a signal.
          SegJaxError: the run has no whole checkpoint.
        """
        directory = self.directory(run)
        config = with_fields(run.config, {"data.val_split": self.split}) if self.split else run.config
        files = files_of(directory, config, directory.checkpoints().choose("best"))
        if not _as_asked(files, config):
            split = [f"--config.data.val_split={self.split}"] if self.split else []
            self._start(run, [*run.arguments, *split, "--mode=eval", f"--workdir={directory}"], append=True)
        return files

    def log(self, run: Planned) -> Path:
        """What the programs of a run have printed."""
        return self.workdir / "comparison" / f"{run.name}.log"

    def _start(self, run: Planned, arguments: Sequence[str], *, append: bool, hopeless: Watch = lambda: False) -> bool:
        """Runs `seg_jax.main`; what it prints goes to the log, and to stderr. Returns whether it was `hopeless`."""
        if self.interruption.name:
            raise InterruptedByUserError(self.interruption.name)
        last = b""
        self.log(run).parent.mkdir(parents=True, exist_ok=True)
        with (
            self.log(run).open("ab" if append else "wb") as log,
            subprocess.Popen(
                [sys.executable, "-m", "seg_jax.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
            ) as program,
        ):
            assert program.stdout, "it is a pipe"
            passed, stopped, text = (
                False,
                False,
                codecs.getincrementaldecoder("utf-8")("replace"),
            )  # a chunk may end within a character
            while chunk := program.stdout.read1(1 << 16):  # type: ignore[attr-defined]
                log.write(chunk)
                if self.echo:
                    sys.stderr.write(text.decode(chunk))
                    sys.stderr.flush()
                last = (last + chunk)[-4096:]
                stopped = stopped or (not passed and hopeless())
                # The terminal sends SIGINT to both; a second one would end the program before it has saved.
                if (stopped or self.interruption.name not in ("", "SIGINT")) and not passed:
                    program.send_signal(signal.SIGTERM)
                    passed = True
        if self.interruption.name:
            raise InterruptedByUserError(self.interruption.name)
        if program.returncode:
            raise FailedError(f"{_reason(last, program.returncode)}, see {self.log(run)}")
        return stopped


def at_once(runner: Runner, environments: Sequence[Mapping[str, str]]) -> list[Runner]:
    """A runner for each of the programs that run at once, see `devices.shares`."""
    return [replace(runner, environment=one, echo=len(environments) == 1) for one in environments]


def with_each(
    runners: Sequence[Runner], work: Callable[[Runner, T], None], items: Sequence[T]
) -> dict[int, SegJaxError]:
    """Calls `work` for every item, each with a runner that no other one has; returns {index of an item: its error}.

    Raises:
      InterruptedByUserError: on a signal, after all programs have ended.
    """
    free: queue.SimpleQueue[Runner] = queue.SimpleQueue()
    for runner in runners:
        free.put(runner)

    def attempt(item: T) -> SegJaxError | None:
        runner = free.get()
        try:
            work(runner, item)
        except SegJaxError as error:
            return error
        finally:
            free.put(runner)
        return None

    with ThreadPoolExecutor(len(runners)) as pool:
        outcomes = list(pool.map(attempt, items))
    for outcome in outcomes:
        if isinstance(outcome, InterruptedByUserError):
            raise outcome
    return {index: outcome for index, outcome in enumerate(outcomes) if outcome is not None}


def _as_asked(files: ReportFiles, config: Config) -> bool:
    """Whether there is a report that can be read, of the network as `config.eval` applies it."""
    try:
        protocol = report.read(files.report)["protocol"]
    except (SegJaxError, OSError):
        return False
    return all(protocol.get(name) == value for name, value in refined(config.eval).items())


def _reason(output: bytes, code: int) -> str:
    """The last error in what a program has printed, or its last line."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    lines = [line.strip() for line in re.split(r"[\r\n]+", output.decode(errors="replace")) if line.strip()]
    errors = [line for line in lines if re.match(r"(error|[\w.]*(Error|Exception)): ", line)]
    return (errors or lines or [f"exit code {code}"])[-1].removeprefix("error: ").rstrip(".")
